//! Files as Violeta sees them, and the checksummed, segmented journal
