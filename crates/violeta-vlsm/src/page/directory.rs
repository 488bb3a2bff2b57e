//! Where pages are: of each its newest record, its newest items, and its first node in memory.
//!
//! ```text
//!  in memory   page ─▶ block (1,024 pages, then twice as many, …) ─▶ head │ frozen │ seat │ count
//!
//!  in the page files, at each checkpoint:
//!  root    6 │ next u64 │ ranges u16 │ first u64, last u64 … │ chunks u16 │ chunk u64 …
//!  chunk   5 │ first page u32 │ pages u16 │ frozen u64 …                   0: the page has no record
//! ```
//!
//! `next` is another root with more chunks, 0 for none; `ranges` are the void versions. Chunks in which nothing changed
//! are written once. A crc32 follows each record, as always in these files.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::record::Since;
use super::scribe::Touched;
use super::{PageId, Seq, Void};
use crate::error::StoreError;
use crate::records::RecordFiles;
use crate::spare::Spare;
use crate::tree::{At, NodeSink, Seat, take};

const CHUNK: u8 = 5;
const ROOT: u8 = 6;

/// Pages of a chunk.
const CHUNK_PAGES: usize = 4_096;
/// Chunks that one root names.
const ROOT_CHUNKS: usize = 4_096;

const _: () = assert!(CHUNK_PAGES * 8 + 16 < u16::MAX as usize);
const _: () =
    assert!(ROOT_CHUNKS * 8 + crate::limits::VOID_RANGES_MAX * 16 + 32 < u16::MAX as usize);

/// What readers know of a page.
#[derive(Debug)]
struct Slot {
    /// Position of its newest group in the tail, 0 for none.
    head: AtomicU64,
    /// Its newest record, 0 for none.
    frozen: AtomicU64,
    /// Where its first node may be in memory.
    seat: AtomicU32,
    /// How many items it has at the newest version, as far as the writer knows: nobody else asks.
    count: AtomicU32,
}

/// A count that isn't known.
const UNKNOWN: u32 = u32::MAX;

impl Slot {
    fn new() -> Self {
        Slot {
            head: AtomicU64::new(0),
            frozen: AtomicU64::new(0),
            seat: AtomicU32::new(Seat::NONE.number()),
            count: AtomicU32::new(UNKNOWN),
        }
    }
}

/// Slots of the first block.
const FIRST_BLOCK: usize = 1 << 10;
/// Blocks: a slot for every number.
const BLOCKS: usize = 23;

/// The pages, as readers see them: wait-free.
#[derive(Debug)]
pub(crate) struct Directory {
    blocks: [OnceLock<Box<[Slot]>>; BLOCKS],
}

/// The block of a page, and its place there.
fn place(page: PageId) -> (usize, usize) {
    let number = page.number() as usize + FIRST_BLOCK;
    let block = (number / FIRST_BLOCK).ilog2() as usize;
    (block, number - (FIRST_BLOCK << block))
}

impl Directory {
    pub(crate) fn new() -> Self {
        Directory {
            blocks: [const { OnceLock::new() }; BLOCKS],
        }
    }

    fn slot(&self, page: PageId) -> Option<&Slot> {
        let (block, place) = place(page);
        self.blocks.get(block)?.get()?.get(place)
    }

    fn slot_mut(&self, page: PageId) -> Option<&Slot> {
        let (block, _) = place(page);
        self.blocks.get(block)?.get_or_init(|| {
            let slots = (0..FIRST_BLOCK << block).map(|_| Slot::new());
            slots.collect()
        });
        self.slot(page)
    }

    /// The position of a page's newest group, 0 for none.
    pub(super) fn head(&self, page: PageId) -> u64 {
        let slot = self.slot(page);
        slot.map_or(0, |slot| slot.head.load(Ordering::Acquire))
    }

    /// A page's newest record.
    pub(super) fn frozen(&self, page: PageId) -> Option<At> {
        At::from_word(self.slot(page)?.frozen.load(Ordering::Acquire))
    }

    /// Where a page's first node may be in memory.
    pub(crate) fn seat(&self, page: PageId) -> Seat {
        let slot = self.slot(page);
        slot.map_or(Seat::NONE, |slot| {
            Seat::numbered(slot.seat.load(Ordering::Acquire))
        })
    }

    /// Reads what is needed of a page when it is changed, so that it is in the processor's cache by then.
    pub(crate) fn touch(&self, page: PageId) {
        black_box(self.head(page));
    }

    // What only the writer does.

    /// How many items a page has, if that is known.
    pub(super) fn count(&self, page: PageId) -> Option<u32> {
        let count = self.slot(page)?.count.load(Ordering::Relaxed);
        (count != UNKNOWN).then_some(count)
    }

    pub(super) fn set_count(&self, page: PageId, count: u32) {
        if let Some(slot) = self.slot_mut(page) {
            slot.count.store(count, Ordering::Relaxed);
        }
    }

    /// Nobody knows any more how many items pages have: after a rollback.
    pub(crate) fn forget_counts(&self) {
        for slot in self.blocks.iter().filter_map(OnceLock::get).flatten() {
            slot.count.store(UNKNOWN, Ordering::Relaxed);
        }
    }

    pub(super) fn set_head(&self, page: PageId, head: u64) {
        if let Some(slot) = self.slot_mut(page) {
            slot.head.store(head, Ordering::Release);
        }
    }

    pub(super) fn set_frozen(&self, page: PageId, at: At) {
        if let Some(slot) = self.slot_mut(page) {
            slot.frozen.store(at.0, Ordering::Release);
        }
    }

    pub(super) fn set_seat(&self, page: PageId, seat: Seat) {
        if let Some(slot) = self.slot_mut(page) {
            slot.seat.store(seat.number(), Ordering::Release);
        }
    }
}

/// The pages, as the writer sees them.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The number of the next page.
    next: u32,
    /// Of each how far its newest record is from a base, as far as that is known.
    since: Vec<Option<Since>>,
    /// Pages with groups in the younger generation of the tail.
    pub(super) young: Vec<PageId>,
    /// Pages of the older generation that aren't frozen yet.
    pub(super) old: Vec<PageId>,
    /// Where the chunks of the directory lie.
    chunks: Vec<Option<At>>,
    /// For what versions to come do to pages.
    pub(crate) spare: Spare<Touched>,
}

impl Pages {
    /// Of a store that has none yet.
    pub(crate) fn new() -> Self {
        Pages {
            next: 1,
            since: Vec::new(),
            young: Vec::new(),
            old: Vec::new(),
            chunks: Vec::new(),
            spare: Spare::default(),
        }
    }

    /// The number that the next page will have, 0 if there are no more.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Pages below `next` are there.
    pub(crate) fn set_next(&mut self, next: u32) {
        self.next = next;
    }

    /// A number for a page; none if there are no more.
    pub(super) fn allocate(&mut self) -> Option<PageId> {
        let page = PageId::new(self.next)?;
        self.next = self.next.wrapping_add(1);
        Some(page)
    }

    pub(super) fn since(&self, page: PageId) -> Option<Since> {
        *self.since.get(page.number() as usize)?
    }

    /// A page has a new record.
    pub(super) fn froze(&mut self, page: PageId, since: Since) {
        let index = page.number() as usize;
        if index >= self.since.len() {
            self.since.resize(index + 1, None);
        }
        self.since[index] = Some(since);
        let chunk = index / CHUNK_PAGES;
        if let Some(chunk) = self.chunks.get_mut(chunk) {
            *chunk = None;
        }
    }

    /// All chunks of the directory are to be written again, at the next checkpoint.
    pub(crate) fn forget_chunks(&mut self) {
        self.chunks.fill(None);
    }

    /// How many pages aren't frozen yet.
    pub(crate) fn unfrozen(&self) -> usize {
        self.old.len()
    }

    /// Writes the directory: of the chunks, those in which something changed. Returns where its root is; none if
    /// there is nothing to say.
    pub(crate) fn write(
        &mut self,
        directory: &Directory,
        void: &Void,
        sink: &mut NodeSink,
    ) -> Option<At> {
        let pages = match self.next {
            0 => 1 << 32,
            next => next as usize,
        };
        let chunks = pages.div_ceil(CHUNK_PAGES);
        if pages <= 1 {
            return None;
        }
        // The last one may have grown.
        self.chunks.truncate(chunks - 1);
        self.chunks.resize(chunks, None);
        for (number, chunk) in self.chunks.iter_mut().enumerate() {
            if chunk.is_none() {
                let first = number * CHUNK_PAGES;
                let (at, ()) = sink.record(|out| {
                    encode_chunk(directory, first, CHUNK_PAGES.min(pages - first), out);
                });
                *chunk = Some(at);
            }
        }
        let mut next = None;
        let mut parts: Vec<_> = self.chunks.chunks(ROOT_CHUNKS).enumerate().collect();
        while let Some((number, chunks)) = parts.pop() {
            let ranges = if number == 0 { void.ranges() } else { &[] };
            let (at, ()) = sink.record(|out| encode_root(next, ranges, chunks, out));
            next = Some(at);
        }
        next
    }

    /// Reads the directory whose root is at `root`. Pages below `next` are there.
    pub(crate) fn read(
        directory: &Directory,
        files: &RecordFiles,
        root: Option<At>,
        next: u32,
    ) -> Result<(Pages, Void), StoreError> {
        let (mut pages, mut void, mut at) = (Pages::new(), None, root);
        pages.next = next;
        while let Some(root) = at {
            let read = decode_root(&files.read(root)?);
            let read = read.filter(|(next, ..)| next.is_none_or(|n| n.offset() < root.offset()));
            let (next, ranges, chunks) =
                read.ok_or_else(|| files.corrupt(root, "not a page directory"))?;
            void.get_or_insert(ranges);
            for chunk in chunks {
                let first = pages.chunks.len() * CHUNK_PAGES;
                let read = load_chunk(directory, first, &files.read(chunk)?);
                read.ok_or_else(|| files.corrupt(chunk, "not a part of the page directory"))?;
                pages.chunks.push(Some(chunk));
            }
            at = next;
        }
        Ok((pages, void.unwrap_or_default()))
    }
}

fn encode_chunk(directory: &Directory, first: usize, count: usize, out: &mut Vec<u8>) {
    out.push(CHUNK);
    out.extend_from_slice(&(first as u32).to_le_bytes());
    out.extend_from_slice(&(count as u16).to_le_bytes());
    for number in first..first + count {
        let frozen = PageId::new(number as u32).and_then(|page| directory.frozen(page));
        out.extend_from_slice(&frozen.map_or(0, |at| at.0).to_le_bytes());
    }
}

fn load_chunk(directory: &Directory, first: usize, mut bytes: &[u8]) -> Option<()> {
    let bytes = &mut bytes;
    (take(bytes)? == [CHUNK]).then_some(())?;
    (u32::from_le_bytes(take(bytes)?) as usize == first).then_some(())?;
    let count = usize::from(u16::from_le_bytes(take(bytes)?));
    for number in first..first + count {
        let at = At::from_word(u64::from_le_bytes(take(bytes)?));
        if let (Some(at), Some(page)) = (at, PageId::new(number as u32)) {
            directory.set_frozen(page, at);
        }
    }
    bytes.is_empty().then_some(())
}

fn encode_root(next: Option<At>, ranges: &[(Seq, Seq)], chunks: &[Option<At>], out: &mut Vec<u8>) {
    out.push(ROOT);
    out.extend_from_slice(&next.map_or(0, |at| at.0).to_le_bytes());
    out.extend_from_slice(&(ranges.len() as u16).to_le_bytes());
    for (first, last) in ranges {
        out.extend_from_slice(&first.0.to_le_bytes());
        out.extend_from_slice(&last.0.to_le_bytes());
    }
    out.extend_from_slice(&(chunks.len() as u16).to_le_bytes());
    for chunk in chunks {
        out.extend_from_slice(&chunk.map_or(0, |at| at.0).to_le_bytes());
    }
}

fn decode_root(mut bytes: &[u8]) -> Option<(Option<At>, Void, Vec<At>)> {
    let bytes = &mut bytes;
    (take(bytes)? == [ROOT]).then_some(())?;
    let next = At::from_word(u64::from_le_bytes(take(bytes)?));
    let ranges = u16::from_le_bytes(take(bytes)?);
    let range = |bytes: &mut &[u8]| {
        let first = Seq(u64::from_le_bytes(take(bytes)?));
        Some((first, Seq(u64::from_le_bytes(take(bytes)?))))
    };
    let ranges: Option<Vec<_>> = (0..ranges).map(|_| range(bytes)).collect();
    let chunks = u16::from_le_bytes(take(bytes)?);
    let chunk = |bytes: &mut &[u8]| At::from_word(u64::from_le_bytes(take(bytes)?));
    let chunks: Option<Vec<_>> = (0..chunks).map(|_| chunk(bytes)).collect();
    let root = (next, Void::from_ranges(ranges?)?, chunks?);
    bytes.is_empty().then_some(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let page = |number| PageId::new(number).unwrap();
        assert_eq!(place(page(1)), (0, 1));
        assert_eq!(place(page(1_023)), (0, 1_023));
        assert_eq!(place(page(1_024)), (1, 0));
        assert_eq!(place(page(3_071)), (1, 2_047));
        assert_eq!(place(page(3_072)), (2, 0));
        let (block, last) = place(page(u32::MAX));
        assert!(block < BLOCKS && last < FIRST_BLOCK << block);
    }

    #[test]
    fn what_isnt_there_is_nowhere() {
        let directory = Directory::new();
        let page = PageId::new(5_000).unwrap();
        assert_eq!((directory.head(page), directory.frozen(page)), (0, None));
        assert_eq!(directory.seat(page), Seat::NONE);
        directory.set_head(page, 7);
        directory.set_frozen(page, At::new(1, 2));
        assert_eq!(
            (directory.head(page), directory.frozen(page)),
            (7, Some(At::new(1, 2)))
        );
        assert_eq!(directory.head(PageId::new(4_999).unwrap()), 0);
    }

    #[test]
    fn numbers_of_pages_end_and_none_is_given_twice() {
        let mut pages = Pages::new();
        pages.set_next(u32::MAX);
        assert_eq!(pages.allocate(), PageId::new(u32::MAX));
        assert_eq!(pages.allocate(), None);
        assert_eq!(pages.allocate(), None);
    }

    #[test]
    fn roots_read_as_they_were_written_and_no_shorter() {
        let void = Void::default().and_above(Seq(5), Seq(9)).unwrap();
        let chunks = [Some(At::new(7, 8)), Some(At::new(3, 4))];
        let mut bytes = Vec::new();
        encode_root(Some(At::new(1, 2)), void.ranges(), &chunks, &mut bytes);
        let (next, ranges, read) = decode_root(&bytes).unwrap();
        assert_eq!((next, ranges), (Some(At::new(1, 2)), void));
        assert_eq!(read, [At::new(7, 8), At::new(3, 4)]);
        for len in 0..bytes.len() {
            assert!(decode_root(&bytes[..len]).is_none());
        }
    }
}
