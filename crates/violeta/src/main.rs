//! Violeta: a replicated database that can prove what it tells you.
fn main() {}
