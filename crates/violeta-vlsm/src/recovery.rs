//! Opening a store (vlsm.md §5).
//!
//! ```text
//!  superblock ──▶ newest version of the checkpoint, page directory
//!      │
//!      └ log from there: record ─▶ apply, root as recorded? ─▶ record ─▶ … ─▶ no good record
//!                                                                              │
//!                            a later record that was written when this place was durable?
//!                             yes: corruption, refused        no: torn tail, cut durably
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use violeta_journal::{DirLock, Disk, OpenMode};

use crate::compaction::Turns;
use crate::cursor::{Cursor, Scratch};
use crate::error::StoreError;
use crate::files::in_dir;
use crate::import::MARKER;
use crate::limits::Options;
use crate::log::{Log, LogWriter, Record, Scan, Segment};
use crate::nodes::Nodes;
use crate::page::{Pages, TailWriter};
use crate::records::{RecordFiles, RecordWriter, Stream, open_sparse};
use crate::sparse::{self, Sparse};
use crate::store::{Shared, State, Version};
use crate::superblock::{Superblock, Superblocks};
use crate::tree::Seating;
use crate::versions::Versions;

/// What a directory is opened as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A store.
    Store,
    /// A store to be, whose one version is made part by part: records of the log may have the same number.
    Import,
}

/// Opens the store in `dir`, or makes it.
pub(crate) fn open(disk: Arc<dyn Disk>, dir: &str, options: Options) -> Result<Shared, StoreError> {
    let lock = lock(&*disk, dir)?;
    if disk.list(dir)?.iter().any(|name| name == MARKER) {
        let dir = dir.to_owned();
        return Err(StoreError::Importing { dir });
    }
    open_locked(disk, dir, options, lock, Purpose::Store)
}

/// Makes the directory, if it isn't there, and takes it.
pub(crate) fn lock(disk: &dyn Disk, dir: &str) -> Result<DirLock, StoreError> {
    if !dir.is_empty() {
        disk.create_dir(dir)?;
    }
    Ok(disk.lock(dir)?)
}

/// Opens the store in a directory that was taken.
pub(crate) fn open_locked(
    disk: Arc<dyn Disk>,
    dir: &str,
    options: Options,
    lock: DirLock,
    purpose: Purpose,
) -> Result<Shared, StoreError> {
    let options = options.within_bounds();
    let names = disk.list(dir)?;
    let mut segments: Vec<_> = names.iter().filter_map(|n| Segment::from_name(n)).collect();
    segments.sort_unstable();
    let superblocks = Superblocks::open(&*disk, dir)?;
    let versions = disk.open(&in_dir(dir, "versions"), OpenMode::Any)?;
    let superblock = match superblocks.read()? {
        Some(superblock) => superblock,
        None if segments.is_empty() => create(&*disk, dir, &superblocks, &options)?,
        None => {
            let what = "neither superblock is whole, but there is a log";
            let file = in_dir(dir, "super-a");
            return Err(StoreError::corrupt(file, 0, what));
        }
    };
    if sparse::is_any(&names) {
        // What sparse files were made of may go once their own names are durable: a process that died may have left that
        // undone.
        disk.sync_dir(dir)?;
    }
    let sparse = sparse::open_all(&*disk, dir, crate::log::SPARSE_KIND, &names)?;
    remove_replaced(&*disk, dir, &mut segments, &sparse)?;
    let log = Arc::new(Log::new(Arc::clone(&disk), dir, segments, sparse));
    let file_bytes = superblock.file_bytes;
    let files = |stream| {
        let sparse = open_sparse(&*disk, dir, (stream, file_bytes), &names)?;
        let disk = Arc::clone(&disk);
        Ok::<_, StoreError>(RecordFiles::new(disk, dir, stream, file_bytes, sparse))
    };
    let shared = Shared {
        nodes: Nodes::new(files(Stream::Nodes)?, files(Stream::Pages)?, &options),
        versions: Versions::new(versions),
        state: ArcSwap::from_pointee(State {
            era: superblock.era,
            latest: Arc::new(Version::empty()),
            indexed: superblock.versions,
            recent: Vec::new(),
            retained: Arc::clone(&superblock.retained),
        }),
        floor: ArcSwapOption::empty(),
        turns: Turns::new(sparse::highest_number(&names)),
        durable: AtomicU64::new(0),
        cursor: Mutex::new(None),
        log,
        disk,
        dir: dir.to_owned(),
        options,
        _lock: lock,
    };
    restore_checkpoint(&shared, &superblock)?;
    let pages = restore_pages(&shared.nodes, &superblock)?;
    let cursor = replay(&shared, purpose, superblocks, superblock, pages)?;
    *shared.cursor() = Some(cursor);
    Ok(shared)
}

/// Takes away the segments of the log in whose place sparse files are: a crash left them.
fn remove_replaced(
    disk: &dyn Disk,
    dir: &str,
    segments: &mut Vec<Segment>,
    sparse: &[Arc<Sparse>],
) -> Result<(), StoreError> {
    let replaced = |segment: &Segment| sparse::stretch_of(sparse, segment.start).is_some();
    for segment in segments.iter().filter(|segment| replaced(segment)) {
        disk.remove(&in_dir(dir, &segment.name()))?;
    }
    segments.retain(|segment| !replaced(segment));
    Ok(())
}

/// Makes an empty store: both superblocks are there before anything else is.
fn create(
    disk: &dyn Disk,
    dir: &str,
    superblocks: &Superblocks,
    options: &Options,
) -> Result<Superblock, StoreError> {
    let mut superblock = Superblock::empty(options.record_file_bytes);
    for generation in [1, 2] {
        superblock.generation = generation;
        superblocks.write(&superblock)?;
    }
    disk.sync_dir(dir)?;
    if let Some((parent, _)) = dir.rsplit_once('/') {
        disk.sync_dir(parent)?;
    } else if !dir.is_empty() {
        disk.sync_dir("")?;
    }
    Ok(superblock)
}

fn restore_checkpoint(shared: &Shared, superblock: &Superblock) -> Result<(), StoreError> {
    let Some(last) = superblock.versions.checked_sub(1) else {
        return Ok(());
    };
    let entry = shared.versions.get(last)?;
    if entry.log_end != superblock.log_position {
        let what = "the last version of the checkpoint doesn't end where its log does";
        return Err(shared.log.corrupt(superblock.log_position, what));
    }
    let latest = Arc::new(Version {
        version: entry.version,
        root: entry.root,
        top: shared.top_tree(entry.at, &entry.root)?,
        log_end: entry.log_end,
    });
    shared.durable.store(entry.version.0, Ordering::Release);
    shared.state.store(Arc::new(State {
        era: superblock.era,
        latest,
        indexed: superblock.versions,
        recent: Vec::new(),
        retained: Arc::clone(&superblock.retained),
    }));
    Ok(())
}

fn restore_pages(nodes: &Nodes, superblock: &Superblock) -> Result<Pages, StoreError> {
    let (root, next) = (superblock.directory, superblock.next_page);
    let (pages, void) = Pages::read(&nodes.directory, &nodes.pages, root, next)?;
    nodes.void.store(Arc::new(void));
    Ok(pages)
}

/// Applies the log from the checkpoint on, and cuts what was never acknowledged.
fn replay(
    shared: &Shared,
    purpose: Purpose,
    superblocks: Superblocks,
    superblock: Superblock,
    pages: Pages,
) -> Result<Cursor, StoreError> {
    let (era, log_position) = (superblock.era, superblock.log_position);
    let link = superblock.link;
    let writer = |end, link| {
        let bytes = shared.options.log_segment_bytes;
        LogWriter::new(Arc::clone(&shared.log), bytes, end, era, link)
    };
    let mut cursor = Cursor {
        log: writer(log_position, link),
        tops: RecordWriter::new(&shared.nodes.tops, superblock.nodes_end),
        records: RecordWriter::new(&shared.nodes.pages, superblock.pages_end),
        tail: TailWriter::new(shared.options.tail_bytes),
        pages,
        next_seq: superblock.next_seq,
        superblocks,
        retained: Arc::clone(&superblock.retained),
        pages_floor: None,
        superblock,
        unindexed: Vec::new(),
        checkpoint: None,
        seating: Seating::new(&shared.nodes.arena),
        scratch: Scratch::default(),
        broken: false,
    };
    let mut scan = Scan::new(&shared.log, log_position, link, Some(era));
    while let Some(record) = scan.next()? {
        let log = writer(scan.position(), scan.link());
        apply(shared, purpose, &mut cursor, &record, log)?;
    }
    scan.require_tail()?;
    let end = scan.position();
    shared.log.cut(end)?;
    sync_replayed(shared, log_position)?;
    let latest = shared.state.load().latest.version;
    shared.durable.store(latest.0, Ordering::Release);
    Ok(cursor)
}

/// Makes the version of a record again; `log` goes on after it.
fn apply(
    shared: &Shared,
    purpose: Purpose,
    cursor: &mut Cursor,
    record: &Record,
    log: LogWriter,
) -> Result<(), StoreError> {
    let (position, version) = (record.header.position, record.header.version);
    let state = shared.state.load_full();
    let newest = state.latest.version;
    let is_part = version == newest && purpose == Purpose::Import;
    if state.count() > 0 && version <= newest && !is_part {
        let what = format!("version {version} after {newest}");
        return Err(shared.log.corrupt(position, what));
    }
    let changes = record.changes();
    let (changes, _) =
        changes.ok_or_else(|| shared.log.corrupt(position, "the record's body isn't one"))?;
    let staged = cursor.stage(shared, &changes)?;
    if staged.root() != record.root {
        let what = format!(
            "version {version} was recorded with root {}, and has {}",
            record.root,
            staged.root()
        );
        return Err(shared.log.corrupt(position, what));
    }
    cursor.adopt(shared, version, log, staged)
}

/// What was replayed may have been written but not synced before: it is served, so it must be durable.
fn sync_replayed(shared: &Shared, from: u64) -> Result<(), StoreError> {
    let segments = shared.log.segments();
    let first = segments.partition_point(|segment| segment.start <= from);
    for segment in &segments[first.saturating_sub(1)..] {
        let path = shared.log.path(*segment);
        shared.disk.open(&path, OpenMode::Existing)?.sync_data()?;
    }
    shared.disk.sync_dir(&shared.dir)?;
    Ok(())
}
