//! The VLSM tree: an authenticated key-value store with every version readable and provable
