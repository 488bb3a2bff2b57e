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
/// A page of a listing ends after the entry that takes it to this size, and so does a proof of a range or of changes by
/// what was read for it.
pub const PAGE_BYTES: usize = 4 << 20;
/// Bytes of keys and values of a chunk of a snapshot that suit a network and a disk (vlsm.md §6: 1 to 4 MiB).
pub const CHUNK_BYTES: usize = 2 << 20;
/// Bytes of chunks that come together in memory before they are imported as one batch; a key counts
/// [`IMPORT_KEY_BYTES`] more than it has.
pub(crate) const IMPORT_BATCH_BYTES: usize = 32 << 20;
/// What a key costs while it is imported, besides its own bytes and its value's.
pub(crate) const IMPORT_KEY_BYTES: usize = 256;
/// Spaces of which an import has a part: with more, none are listed before some of these are whole.
pub(crate) const IMPORT_OPEN_SPACES_MAX: usize = 1 << 14;
/// Ranges of paths that an import has, in spaces that aren't whole.
pub(crate) const IMPORT_RANGES_MAX: usize = 1 << 14;
/// Keys of a space with which an import asks for sixteen parts of it side by side.
pub(crate) const IMPORT_SPLIT_KEYS: u64 = 1 << 14;
/// Versions that one call for a key's history looks at.
pub const HISTORY_VERSIONS_MAX: usize = 4_096;

/// Versions whose index entries and nodes of the top tree are in memory only: the next one writes them out.
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
/// Versions below the window that are kept.
pub const PINNED_VERSIONS_MAX: usize = 200;
/// Items (leaves, and pages below) of a page; with more, it is split. A page has 256 places for pages below.
pub const PAGE_ITEMS_MAX: usize = 256;
/// Ranges of versions that were rolled back: what one rollback adds, unless it reaches back to the one before.
pub const VOID_RANGES_MAX: usize = 1_024;
/// Deltas of a page since its last base; one more, and there is another base.
pub(crate) const CHAIN_RECORDS_MAX: u32 = 16;
/// Items in them, or twice as many as the page has.
pub(crate) const CHAIN_ITEMS_MAX: usize = 512;
/// Items of one delta, and their bytes.
pub(crate) const DELTA_ITEMS_MAX: usize = 256;
pub(crate) const DELTA_BYTES_MAX: usize = 32 << 10;
/// Bytes of page records that one step of what is done when there is time makes.
pub(crate) const FREEZE_BYTES: usize = 256 << 10;
/// How often a value of an older version is looked for one operation on its key further back, before the version's tree
/// is asked; and bytes of an operation that is read on the way.
pub(crate) const STEPS_BACK_MAX: usize = 16;
pub(crate) const STEP_BACK_BYTES_MAX: u32 = 64 << 10;
/// Open files kept for reading, of the log, of the top tree's nodes and of pages each.
pub const OPEN_FILES_MAX: usize = 64;

// An operation's length fits its field (28 bytes of header).
const _: () = assert!(STORE_KEY_BYTES_MAX + STORE_VALUE_BYTES_MAX + 64 < u32::MAX as usize);
// An operation's distance from its record's start fits its field.
const _: () = assert!(BATCH_BYTES_MAX + BATCH_OPERATIONS_MAX * 40 < u32::MAX as usize);
const _: () =
    assert!(1 << 20 <= CHUNK_BYTES && CHUNK_BYTES <= violeta_proof::tree::CHUNK_BYTES_MAX);
const _: () = assert!(PAGE_BYTES + STORE_VALUE_BYTES_MAX + STORE_KEY_BYTES_MAX < 64 << 20);
// Sixteen spaces with the longest names fit one node record: digest, path, record, tree, name.
const _: () = assert!(16 * (32 + 32 + 64 + 64 + 64 + STORE_SPACE_BYTES_MAX) < u16::MAX as usize);

/// The least log between checkpoints: with none, the next would be due as soon as one is made.
pub const CHECKPOINT_BYTES_MIN: u64 = 1 << 10;
/// The least that comes together in memory: with none, there would always be something to freeze.
pub const TAIL_BYTES_MIN: usize = 1 << 10;
/// The fewest items at which a page is split: its node has two leaves at least.
pub const PAGE_ITEMS_MIN: usize = 2;
/// The least that a file of records has: room for one of them.
pub const RECORD_FILE_BYTES_MIN: u64 = 64 << 10;

const _: () = assert!(CHECKPOINT_BYTES_MIN / 2 > 0 && TAIL_BYTES_MIN > 0);
const _: () = assert!(PAGE_ITEMS_MIN <= PAGE_ITEMS_MAX && PAGE_ITEMS_MAX <= 256);
const _: () = assert!(RECORD_FILE_BYTES_MIN >= crate::tree::NODE_RECORD_BYTES_MAX as u64);

/// How a store uses memory and disk. A store may be opened with other options than it was made with. What is out of bounds counts as the nearest that isn't.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of one segment of the log, allocated at once; a version with more gets a larger one to itself.
    pub log_segment_bytes: u64,
    /// How much log a recovery replays at most, roughly: a checkpoint is due each time this much was written.
    /// [`CHECKPOINT_BYTES_MIN`] at least.
    pub checkpoint_bytes: u64,
    /// Bytes of pages of older versions (and of pages read after a start) that are cached.
    pub cache_bytes: usize,
    /// Bytes of nodes of the newest version that stay in memory; above, parts of it are read when needed. A key takes
    /// about 170. Ten rows of 32 KiB at least, one for nodes of each size.
    pub resident_bytes: usize,
    /// Bytes of what the newest versions changed that come together in memory before they are written to the page
    /// files. A changed key takes about 100. [`TAIL_BYTES_MIN`] at least.
    ///
    /// More is held: as much again comes together while that is being done, both may have room for as much more, and
    /// buffers of this size in all are kept for what comes. So five times as much at most, but for what one version
    /// changes.
    pub tail_bytes: usize,
    /// Items at which a page is split: [`PAGE_ITEMS_MAX`] at most, less for tests, which have few keys.
    /// [`PAGE_ITEMS_MIN`] at least.
    pub page_items: usize,
    /// Bytes of one file of node or page records: the one option that counts only when a store is made.
    /// [`RECORD_FILE_BYTES_MIN`] at least.
    pub record_file_bytes: u64,
}

impl Options {
    /// These, within bounds.
    pub(crate) fn within_bounds(self) -> Self {
        Options {
            log_segment_bytes: self.log_segment_bytes.max(1),
            checkpoint_bytes: self.checkpoint_bytes.max(CHECKPOINT_BYTES_MIN),
            tail_bytes: self.tail_bytes.max(TAIL_BYTES_MIN),
            page_items: self.page_items.clamp(PAGE_ITEMS_MIN, PAGE_ITEMS_MAX),
            // A compaction tells of parts of a file of up to 2^39 bytes.
            record_file_bytes: (self.record_file_bytes).clamp(RECORD_FILE_BYTES_MIN, 1 << 38),
            ..self
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            log_segment_bytes: 64 << 20,
            checkpoint_bytes: 64 << 20,
            cache_bytes: 16 << 20,
            resident_bytes: 256 << 20,
            tail_bytes: 24 << 20,
            page_items: PAGE_ITEMS_MAX,
            record_file_bytes: 64 << 20,
        }
    }
}
