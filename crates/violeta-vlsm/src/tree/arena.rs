//! The newest version's nodes in memory: words that one writes in place and all read.
//!
//! ```text
//!  Link ┬ page, seq ──────────────▶ the page's image at that version       (if the seat has another node, or none)
//!       └ seat ──▶ row │ node │ node │ … │   rows of 32 KiB, nodes of one size in each
//!
//!  node   stamp │ bits │ cells of slots │ cells of halves │ cell … │ half …                  words of 64 bits
//!
//!  stamp  the version (seq) of its last change, its bits turned over; zero: none
//!  bits   bitmap 16 │ inner 16 │ leaves 16 │ nothing 8 │ capacity 8, the lowest first
//!  cells  four bits each: where among the cells (halves) slot i (half i) is
//!  cell   digest 4 │ leaf: path 4 │ position │ length
//!                  │ node: seq │ page 32, seat 32 │ …
//!  half   digest 4; one for each half with a hash of its own but the topmost, which nobody asks for
//! ```
//!
//! A change of a few slots writes those, the halves above them and the head: nothing else of the node is touched, and
//! nothing is allocated. What the node was before is in its page (redirect on write happens there).
//!
//! Readers look without waiting and without a lock: a reader reads the stamp, what he wants, and the stamp again. If it
//! is that of the version he was led to, both times, so was all between (a sequence lock whose number is the version: a
//! seat's occupant only changes with a new version). Else he reads the page. The one thing that changes without a new
//! stamp is which page begins with a child, when its page is split: half a word.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use violeta_proof::tree::{FANOUT, KeyPath, inner_hash};
use violeta_types::Digest;

use super::Entry;
use super::node::{Child, Link, Place, View, bits, resolve};
use crate::page::{PageId, Seq};

/// Where a node may be in memory: half the number of its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(pub(super) u32);

impl Seat {
    /// Nowhere.
    pub(crate) const NONE: Seat = Seat(u32::MAX);

    /// The place `index` among those of `words` words each in a row.
    pub(super) fn new(row: usize, index: usize, words: usize) -> Self {
        Seat(((row * ROW_WORDS + index * words) / 2) as u32)
    }

    /// Its number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The seat with a number.
    pub(crate) fn numbered(number: u32) -> Self {
        Seat(number)
    }

    /// Its row, and its first word there.
    pub(super) fn place(self) -> (usize, usize) {
        let word = self.0 as usize * 2;
        (word / ROW_WORDS, word % ROW_WORDS)
    }
}

/// Words of a row.
pub(super) const ROW_WORDS: usize = 1 << 12;
/// Bytes of a row.
pub(super) const ROW_BYTES: usize = ROW_WORDS * 8;
/// Rows, so that there is one for nodes of every size.
const ROWS_MIN: usize = CAPACITIES.len();
/// Rows, so that every word has a seat's number.
pub(super) const ROWS_MAX: usize = (u32::MAX as usize) / (ROW_WORDS / 2);
/// How many slots nodes have room for.
pub(super) const CAPACITIES: [usize; 10] = [2, 3, 4, 5, 6, 8, 10, 12, 14, 16];

const HEAD_WORDS: usize = 4;
pub(super) const CELL_WORDS: usize = 10;
pub(super) const HALF_WORDS: usize = 4;

const _: () = assert!(node_words(FANOUT) <= ROW_WORDS);
const _: () = assert!(CAPACITIES[CAPACITIES.len() - 1] == FANOUT);

/// Words of a node with room for so many slots: always even.
pub(super) const fn node_words(capacity: usize) -> usize {
    HEAD_WORDS + capacity * CELL_WORDS + (capacity - 2) * HALF_WORDS
}

/// Which of the capacities has room for so many slots.
pub(super) fn class_of(slots: usize) -> usize {
    CAPACITIES.partition_point(|capacity| *capacity < slots)
}

/// Rows that are allocated at once: allocators give out memory by the megabyte without loss.
const BLOCK_ROWS: usize = 32;

/// The rows, in blocks.
#[derive(Debug)]
pub(crate) struct Arena {
    rows_max: usize,
    blocks: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Arena {
    /// Of at most so many bytes, none of which are allocated before they are needed.
    pub(crate) fn new(bytes: usize) -> Self {
        let rows_max = (bytes / ROW_BYTES).clamp(ROWS_MIN, ROWS_MAX);
        let blocks = 0..rows_max.div_ceil(BLOCK_ROWS);
        Arena {
            rows_max,
            blocks: blocks.map(|_| OnceLock::new()).collect(),
        }
    }

    /// How many rows there may be.
    pub(super) fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// All words from a seat to the end of its row.
    fn words(&self, seat: Seat) -> Option<&[AtomicU64]> {
        let (row, word) = seat.place();
        let block = self.blocks.get(row / BLOCK_ROWS)?.get()?;
        let start = row % BLOCK_ROWS * ROW_WORDS;
        block.get(start + word..start + ROW_WORDS)
    }

    /// The words of a place that the writer gives to a node; they are allocated now if they aren't yet.
    pub(super) fn seat(&self, seat: Seat) -> Option<Seated<'_>> {
        let block = seat.place().0 / BLOCK_ROWS;
        self.blocks.get(block)?.get_or_init(|| {
            let rows = (self.rows_max - block * BLOCK_ROWS).min(BLOCK_ROWS);
            (0..rows * ROW_WORDS).map(|_| AtomicU64::new(0)).collect()
        });
        self.words(seat).map(Seated::new)
    }

    /// The node that a link leads to, if it has its seat.
    pub(crate) fn get(&self, link: &Link) -> Option<Seated<'_>> {
        let node = Seated::new(self.words(link.seat)?);
        (node.words.first()?.load(Ordering::Acquire) == stamp(link.seq)).then_some(node)
    }
}

impl Arena {
    /// Reads what a change of some slots will read of the node in a seat.
    pub(crate) fn touch(&self, seat: Seat, slots: u16) {
        if let Some(words) = self.words(seat) {
            Seated::new(words).touch(slots);
        }
    }
}

/// Words of a line of the processor's cache.
const WORDS_PER_LINE: usize = 8;

/// Turned over, since a parent has its children's versions among its words as they are: a seat that was given to other
/// nodes meanwhile must not be taken for one of the old.
pub(super) fn stamp(seq: Seq) -> u64 {
    !seq.0
}

/// A node in its seat. The holder of the version cursor, who alone changes it, may believe what it says; others have to
/// ask [`Seated::is_still`] afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seated<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Seated<'a> {
    fn new(words: &'a [AtomicU64]) -> Self {
        Seated { words }
    }

    /// Whether all that was read since [`Arena::get`] is of the node that changed last at `seq`.
    pub(crate) fn is_still(&self, seq: Seq) -> bool {
        fence(Ordering::Acquire);
        self.word(0) == stamp(seq)
    }

    /// The slots below which there are nodes.
    pub(crate) fn nodes(&self) -> u16 {
        let bits = self.bits();
        bits.bitmap & !bits.leaves
    }

    /// The link whose words begin at `word`.
    fn link(&self, word: usize) -> Link {
        let (seq, place) = (self.word(word), self.word(word + 1));
        Link {
            seq: Seq(seq),
            seat: Seat(place as u32),
            page: PageId::new((place >> 32) as u32),
        }
    }

    fn word(&self, number: usize) -> u64 {
        let word = self.words.get(number);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Reads the halves and the cells of some slots.
    fn touch(&self, slots: u16) {
        let capacity = usize::from(self.bits().capacity);
        let halves = HEAD_WORDS + capacity * CELL_WORDS..node_words(capacity.max(2));
        let mut sum = 0;
        for word in halves.step_by(WORDS_PER_LINE) {
            sum ^= self.word(word);
        }
        for cell in bits(slots).map(|slot| self.cell(slot)) {
            sum ^= self.word(cell) ^ self.word(cell + CELL_WORDS - 1);
        }
        black_box(sum);
    }

    fn digest(&self, from: usize) -> Digest {
        let mut digest = Digest::ZERO;
        for (i, bytes) in digest.0.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&self.word(from + i).to_le_bytes());
        }
        digest
    }

    pub(super) fn bits(&self) -> Bits {
        Bits::from_word(self.word(1))
    }

    /// The cells of the slots, and of the halves.
    pub(super) fn cells(&self) -> (u64, u64) {
        (self.word(2), self.word(3))
    }

    /// The first word of a slot's cell.
    pub(super) fn cell(&self, slot: usize) -> usize {
        HEAD_WORDS + nibble(self.word(2), slot) * CELL_WORDS
    }

    /// The first word of a half.
    pub(super) fn half_cell(&self, half: usize) -> usize {
        let halves = HEAD_WORDS + usize::from(self.bits().capacity) * CELL_WORDS;
        halves + nibble(self.word(3), half) * HALF_WORDS
    }

    /// Turns over a bit of the first digest, as bad memory would.
    #[cfg(test)]
    pub(crate) fn spoil(&self) {
        self.set(HEAD_WORDS, self.word(HEAD_WORDS) ^ 1);
    }

    // What only the writer does.

    /// From now on no reader takes what is here for a node.
    pub(super) fn vacate(&self) {
        self.set(0, 0);
        fence(Ordering::Release);
    }

    /// What is here now is a node that changed last at `seq`.
    pub(super) fn stamp(&self, seq: Seq) {
        if let Some(word) = self.words.first() {
            word.store(stamp(seq), Ordering::Release);
        }
    }

    /// The node below `slot` is the first of a page from now on. Whoever reads the cell meanwhile has the page or
    /// doesn't, and finds the same node either way.
    pub(crate) fn set_page(&self, slot: usize, page: PageId) {
        let place = self.cell(slot) + 5;
        let seat = self.word(place) & u64::from(u32::MAX);
        // Whoever reads the number follows it to the directory, where the page's newest items were entered before: they
        // have to be seen by then. This fence pairs with the one in `is_still`, which readers pass in between.
        fence(Ordering::Release);
        self.set(place, seat | u64::from(page.number()) << 32);
    }

    pub(super) fn set_head(&self, bits: Bits, slot_cells: u64, half_cells: u64) {
        self.set(1, bits.to_word());
        self.set(2, slot_cells);
        self.set(3, half_cells);
    }

    pub(super) fn set(&self, number: usize, value: u64) {
        if let Some(word) = self.words.get(number) {
            word.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, from: usize, values: &[u64]) {
        for (i, value) in values.iter().enumerate() {
            self.set(from + i, *value);
        }
    }

    pub(super) fn copy(&self, from: usize, source: &Seated<'_>, at: usize, words: usize) {
        for i in 0..words {
            self.set(from + i, source.word(at + i));
        }
    }
}

/// The `i`th four bits.
pub(super) fn nibble(word: u64, i: usize) -> usize {
    (word >> (4 * i) & 15) as usize
}

/// The second word of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    /// Which slots are filled.
    pub(super) bitmap: u16,
    /// Which halves have a hash of their own.
    pub(super) inner: u16,
    /// Which slots hold leaves.
    pub(super) leaves: u16,
    /// For how many slots there is room.
    pub(super) capacity: u8,
}

impl Bits {
    fn from_word(word: u64) -> Self {
        Bits {
            bitmap: word as u16,
            inner: (word >> 16) as u16,
            leaves: (word >> 32) as u16,
            capacity: (word >> 56) as u8,
        }
    }

    fn to_word(self) -> u64 {
        u64::from(self.bitmap)
            | u64::from(self.inner) << 16
            | u64::from(self.leaves) << 32
            | u64::from(self.capacity) << 56
    }

    /// The halves whose digests are kept: all in `inner` but the topmost, which has the lowest number.
    pub(super) fn halves(self) -> u16 {
        self.inner & self.inner.wrapping_sub(1)
    }
}

impl View<Entry> for Seated<'_> {
    fn bitmap(&self) -> u16 {
        self.bits().bitmap
    }

    fn slot(&self, slot: usize) -> Place<Entry> {
        let bits = self.bits();
        if bits.bitmap >> slot & 1 == 0 {
            return None;
        }
        let cell = self.cell(slot);
        let child = cell + 4;
        let child = match bits.leaves >> slot & 1 {
            1 => Child::Leaf(Entry {
                path: KeyPath(self.digest(child).0),
                position: self.word(child + 4),
                len: self.word(child + 5) as u32,
            }),
            _ => Child::Node(self.link(child)),
        };
        Some((self.digest(cell), child))
    }

    fn half(&self, half: usize) -> Digest {
        let bits = self.bits();
        let half = resolve(half, bits.bitmap, bits.inner);
        match half.checked_sub(FANOUT) {
            Some(slot) => self.digest(self.cell(slot)),
            // The topmost isn't kept. Those below it have greater numbers, so this ends.
            None if bits.halves() >> half & 1 == 0 => {
                inner_hash(&self.half(2 * half), &self.half(2 * half + 1))
            }
            None => self.digest(self.half_cell(half)),
        }
    }
}

/// The words of what fills a slot.
pub(super) fn cell_words(digest: &Digest, child: &Child<Entry>) -> [u64; CELL_WORDS] {
    let mut words = [0; CELL_WORDS];
    words[..4].copy_from_slice(&digest_words(digest));
    match child {
        Child::Leaf(entry) => {
            words[4..8].copy_from_slice(&digest_words(&Digest(entry.path.0)));
            words[8] = entry.position;
            words[9] = u64::from(entry.len);
        }
        Child::Node(link) => {
            words[4] = link.seq.0;
            words[5] =
                u64::from(link.seat.0) | u64::from(link.page.map_or(0, PageId::number)) << 32;
        }
    }
    words
}

/// The words of a digest.
pub(super) fn digest_words(digest: &Digest) -> [u64; 4] {
    let (words, _) = digest.0.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}
