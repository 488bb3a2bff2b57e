//! What the store bounds, and by how much (vlsm.md §8). Keys, values and names of spaces: `violeta_types::limits`.

pub use violeta_types::limits::{
    STORE_KEY_BYTES_MAX, STORE_SPACE_BYTES_MAX, STORE_VALUE_BYTES_MAX,
};

/// Bytes of the keys, values and names in one batch.
pub const BATCH_BYTES_MAX: usize = 1 << 30;
/// Operations of one batch.
pub const BATCH_OPERATIONS_MAX: usize = 16 << 20;
/// Entries of one page of a listing.
pub const PAGE_ENTRIES_MAX: usize = 10_000;
/// A page of a listing ends after the entry that takes it to this size.
pub const PAGE_BYTES: usize = 4 << 20;
/// Versions that one call for a key's history looks at.
pub const HISTORY_VERSIONS_MAX: usize = 4_096;

/// Versions whose nodes are in memory only: the next one writes them out.
pub(crate) const UNWRITTEN_VERSIONS_MAX: usize = 256;
/// Bytes of node records in memory before they are written out.
pub(crate) const UNWRITTEN_BYTES: usize = 1 << 20;
/// Bytes of node records written and not synced, at which there is time to sync them.
pub(crate) const UNSYNCED_NODE_BYTES: u64 = 8 << 20;
/// Nodes that leave memory in one step of what is done when there is time.
pub(crate) const RELEASE_STEPS: usize = 4_096;
/// Bytes of buffers of one kind that are kept for versions to come, and how many there are.
pub(crate) const SPARE_BYTES_MAX: usize = 8 << 20;
pub(crate) const SPARE_BUFFERS_MAX: usize = 4;
/// Bytes of one node file.
pub(crate) const NODE_FILE_BYTES: u64 = 256 << 20;
/// Open files kept for reading, of the log and of the nodes each.
pub const OPEN_FILES_MAX: usize = 64;

// An operation's length fits its field (20 bytes of header).
const _: () = assert!(STORE_KEY_BYTES_MAX + STORE_VALUE_BYTES_MAX + 64 < u32::MAX as usize);
// An operation's distance from its record's start fits its field.
const _: () = assert!(BATCH_BYTES_MAX + BATCH_OPERATIONS_MAX * 32 < u32::MAX as usize);
const _: () = assert!(PAGE_BYTES + STORE_VALUE_BYTES_MAX + STORE_KEY_BYTES_MAX < 64 << 20);
// Sixteen spaces with the longest names fit one node record: digest, path, record, tree, name.
const _: () = assert!(16 * (32 + 32 + 64 + 64 + 64 + STORE_SPACE_BYTES_MAX) < u16::MAX as usize);

/// How a store uses memory and disk. Nothing here is part of the format: a store may be opened with other options
/// than it was made with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of one segment of the log, allocated at once.
    pub log_segment_bytes: u64,
    /// How much log a recovery replays at most, roughly: a checkpoint is due each time this much was written.
    pub checkpoint_bytes: u64,
    /// Historical nodes (and nodes read after a start) that are cached, in number. A node takes about 1 KiB.
    pub cache_nodes: usize,
    /// Bytes of nodes of the newest version that stay in memory; above, parts of it are read when needed. A key takes
    /// about 170.
    pub resident_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log_segment_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            cache_nodes: 16 << 10,
            resident_bytes: 256 << 20,
        }
    }
}
