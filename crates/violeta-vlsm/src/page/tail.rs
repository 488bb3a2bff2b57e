//! The tail: items of the newest versions, in memory.
//!
//! ```text
//!  positions   1 … dropped ┊ piece │ piece │ piece ┊ piece │ piece │ … end
//!                          └ older generation:     └ younger generation:
//!                            is being frozen         grows
//!
//!  piece    group │ group │ …            what one version adds, or several that follow one another
//!  group    page u32 │ depth u8 │ bytes u32 │ items u32 │ prev u64 │ seq u64 │ item …
//!                                                                               what one version does to one page
//! ```
//!
//! `prev` is the position of the same page's group before, so a page's groups are a list through the pieces; it ends
//! where it leads to what was dropped, or to 0. Small pieces are joined as they get many, eight of about one size into one:
//! so there are never many, and no byte is copied often.
//!
//! Readers follow the list without waiting. They load, in this order, the page's newest group, the pieces, and the
//! page's newest frozen record: pieces that hold a group are there before the directory names it, and a record is in
//! the directory before the pieces with its items are dropped. So what isn't in the pieces is in the record, and what is
//! in both is told by its version.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::{PageId, Seq};
use crate::spare::Spare;
use crate::tree::take;

/// Pieces of about one size that are joined.
const JOINED_PIECES: usize = 8;
/// Bytes of a piece that is made so, at most.
const PIECE_BYTES: usize = 1 << 20;
/// Bytes that a change takes, in a large version: a new leaf in a group of its own, and a digest in the page above.
const CHANGE_BYTES: usize = 160;
/// How much more than its bytes a piece may hold. Nearly all versions fit that, as they take about three fifths of what
/// they were given room for: few are copied.
const ROOM_MAX: usize = 2;
/// Buffers that are kept for pieces to come.
const BUFFERS_MAX: usize = 256;

/// Items of one version, in the order in which readers find them.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    start: u64,
    bytes: Arc<Vec<u8>>,
}

impl Piece {
    /// A piece that holds no more than [`ROOM_MAX`] times its bytes.
    fn new(start: u64, mut bytes: Vec<u8>) -> Self {
        if bytes.capacity() > ROOM_MAX.saturating_mul(bytes.len()) {
            bytes.shrink_to_fit();
        }
        let bytes = Arc::new(bytes);
        Piece { start, bytes }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// The tail as readers see it.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pieces: ArcSwap<Vec<Piece>>,
}

/// What one version does to one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) page: PageId,
    pub(super) depth: usize,
    /// Where the page's group before is.
    prev: u64,
    pub(super) seq: Seq,
    /// How many items there are.
    pub(super) count: u32,
    pub(super) items: &'a [u8],
}

impl<'a> Group<'a> {
    /// A group; `prev` is where the page's group before is, 0 if there is none.
    pub(super) fn new(
        (page, depth): (PageId, usize),
        (prev, seq): (u64, Seq),
        (count, items): (u32, &'a [u8]),
    ) -> Self {
        Group {
            page,
            depth,
            prev,
            seq,
            count,
            items,
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        // A batch has 16 M operations at most, so a page's items have less than 4 GiB.
        out.extend_from_slice(&self.page.number().to_le_bytes());
        out.push(self.depth as u8);
        out.extend_from_slice(&(self.items.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.count.to_le_bytes());
        out.extend_from_slice(&self.prev.to_le_bytes());
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        out.extend_from_slice(self.items);
    }

    fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let page = PageId::new(u32::from_le_bytes(take(bytes)?))?;
        let [depth] = take(bytes)?;
        let len = u32::from_le_bytes(take(bytes)?) as usize;
        let count = u32::from_le_bytes(take(bytes)?);
        let prev = u64::from_le_bytes(take(bytes)?);
        let seq = Seq(u64::from_le_bytes(take(bytes)?));
        Some(Group {
            page,
            depth: depth.into(),
            prev,
            seq,
            count,
            items: bytes.get(..len)?,
        })
    }
}

/// The pieces at one moment.
pub(super) struct Pieces(Guard<Arc<Vec<Piece>>>);

impl Tail {
    pub(super) fn pieces(&self) -> Pieces {
        Pieces(self.pieces.load())
    }
}

impl Pieces {
    fn group(&self, position: u64) -> Option<Group<'_>> {
        let after = self.0.partition_point(|piece| piece.start <= position);
        let piece = &self.0[after.checked_sub(1)?];
        let start = usize::try_from(position - piece.start).ok()?;
        Group::decode(piece.bytes.get(start..)?)
    }

    /// The groups of a page from the one at `head` on, newest first.
    pub(super) fn groups(&self, head: u64) -> impl Iterator<Item = Group<'_>> {
        std::iter::successors(self.group(head), |group| self.group(group.prev))
    }

    /// The groups of a page below `end`, from the one at `head` on.
    pub(super) fn groups_below(&self, head: u64, end: u64) -> impl Iterator<Item = Group<'_>> {
        let mut at = head;
        while at >= end {
            at = self.group(at).map_or(0, |group| group.prev);
        }
        self.groups(at)
    }
}

/// The tail as the writer sees it.
#[derive(Debug)]
pub(crate) struct TailWriter {
    /// Where the younger generation begins.
    young: u64,
    end: u64,
    /// Of pieces that were joined or dropped, for those to come.
    spare: Spare<u8>,
}

impl TailWriter {
    /// Of an empty tail, each of whose generations has about `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        TailWriter {
            young: 1,
            end: 1,
            spare: Spare::new(bytes, BUFFERS_MAX),
        }
    }

    /// A buffer for the groups of a version with so many changes.
    pub(super) fn buffer(&self, changes: usize) -> Vec<u8> {
        self.spare.take_for(changes.saturating_mul(CHANGE_BYTES))
    }

    /// Where the next group goes.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Where the younger generation begins.
    pub(super) fn young(&self) -> u64 {
        self.young
    }

    /// How much the younger generation has.
    pub(crate) fn young_bytes(&self) -> u64 {
        self.end - self.young
    }

    /// Takes groups, which readers find once the directory leads to them.
    pub(super) fn append(&mut self, tail: &Tail, bytes: Vec<u8>) {
        if bytes.is_empty() {
            self.spare.keep(bytes);
            return;
        }
        let mut pieces = tail.pieces.load().to_vec();
        let piece = Piece::new(self.end, bytes);
        self.end = piece.end();
        pieces.push(piece);
        while let Some(from) = self.joined(&pieces) {
            let parts = pieces.split_off(from);
            pieces.push(self.join(parts));
        }
        tail.pieces.store(Arc::new(pieces));
    }

    /// From where on pieces are to be joined, if there are enough of about one size at the end.
    fn joined(&self, pieces: &[Piece]) -> Option<usize> {
        let from = pieces.len().checked_sub(JOINED_PIECES)?;
        let last = &pieces[from..];
        let class = |piece: &Piece| piece.bytes.len().ilog2() / JOINED_PIECES.ilog2();
        let alike = last
            .iter()
            .all(|piece| class(piece) <= class(&last[JOINED_PIECES - 1]));
        let bytes: usize = last.iter().map(|piece| piece.bytes.len()).sum();
        (last[0].start >= self.young && alike && bytes <= PIECE_BYTES).then_some(from)
    }

    fn join(&mut self, parts: Vec<Piece>) -> Piece {
        let start = parts[0].start;
        let bytes = parts.iter().map(|part| part.bytes.len()).sum();
        let mut joined = self.spare.take_for(bytes);
        for part in parts {
            joined.extend_from_slice(&part.bytes);
            if let Some(bytes) = Arc::into_inner(part.bytes) {
                self.spare.keep(bytes);
            }
        }
        Piece::new(start, joined)
    }

    /// Begins a generation. The one before the last was dropped.
    pub(super) fn turn(&mut self) {
        self.young = self.end;
    }

    /// Drops the older generation: it is frozen.
    pub(crate) fn drop_old(&mut self, tail: &Tail) {
        let mut pieces = tail.pieces.load().to_vec();
        let young = pieces.partition_point(|piece| piece.start < self.young);
        let old: Vec<_> = pieces.drain(..young).collect();
        tail.pieces.store(Arc::new(pieces));
        // Unless a reader has them, the buffers serve the generation to come: it needs as many.
        for piece in old {
            if let Some(bytes) = Arc::into_inner(piece.bytes) {
                self.spare.keep(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> PageId {
        PageId::new(number).unwrap()
    }

    #[test]
    fn a_pages_groups_are_found_newest_first_however_pieces_are_joined() {
        let (tail, mut writer) = (Tail::default(), TailWriter::new(1 << 20));
        let mut heads = [0; 3];
        for seq in 1..200u64 {
            let mut bytes = Vec::new();
            for number in (0..3).filter(|n| !(seq + n).is_multiple_of(3)) {
                let at = writer.end() + bytes.len() as u64;
                let head = std::mem::replace(&mut heads[number as usize], at);
                let items = vec![number as u8; seq as usize % 7];
                let page = (page(number as u32 + 1), 2);
                Group::new(page, (head, Seq(seq)), (9, &items)).encode(&mut bytes);
            }
            writer.append(&tail, bytes);
        }
        let pieces = tail.pieces();
        assert!(pieces.0.len() < 30, "{} pieces", pieces.0.len());
        for number in 0..3 {
            let groups: Vec<_> = pieces.groups(heads[number as usize]).collect();
            let seqs: Vec<_> = groups.iter().map(|group| group.seq.0).collect();
            let expected: Vec<_> = (1..200)
                .rev()
                .filter(|seq| (seq + number) % 3 != 0)
                .collect();
            assert_eq!(seqs, expected);
            for group in groups {
                assert_eq!((group.page, group.depth), (page(number as u32 + 1), 2));
                assert_eq!(group.items, vec![number as u8; group.seq.0 as usize % 7]);
            }
        }
    }

    #[test]
    fn pieces_hold_at_most_twice_their_bytes_whatever_room_they_were_given() {
        let (tail, mut writer) = (Tail::default(), TailWriter::new(1 << 20));
        let mut held = |changes: usize, len: usize| {
            let mut bytes = writer.buffer(changes);
            bytes.resize(len, 1);
            let (room, address) = (bytes.capacity(), bytes.as_ptr());
            writer.append(&tail, bytes);
            let last = tail.pieces().0.last().unwrap().clone();
            (room, last.bytes.capacity(), address == last.bytes.as_ptr())
        };
        assert_eq!(held(100, 16_000), (16_000, 16_000, true));
        assert_eq!(held(100, 8_000), (16_000, 16_000, true), "not copied");
        let (room, kept, _) = held(100, 7_999);
        assert_eq!((room, kept), (16_000, 7_999));
        // Those that are made of eight, too: a buffer is found that is four times as large.
        writer.spare.keep(Vec::with_capacity(900));
        for _ in 0..2 * JOINED_PIECES {
            writer.append(&tail, vec![1; 30]);
        }
        for piece in tail.pieces().0.iter() {
            assert!(piece.bytes.capacity() <= 2 * piece.bytes.len());
        }
    }

    #[test]
    fn generations_are_dropped_whole_and_lists_end_there() {
        let (tail, mut writer) = (Tail::default(), TailWriter::new(1 << 20));
        let (mut head, mut ends) = (0, vec![]);
        for seq in 1..=30u64 {
            let mut bytes = Vec::new();
            Group::new((page(1), 0), (head, Seq(seq)), (0, &[])).encode(&mut bytes);
            head = writer.end();
            writer.append(&tail, bytes);
            if seq % 10 == 0 {
                ends.push(writer.end());
                if seq == 20 {
                    assert_eq!(writer.young(), ends[0]);
                    writer.drop_old(&tail);
                }
                writer.turn();
            }
        }
        let pieces = tail.pieces();
        let seqs = |head, end| {
            let groups = pieces.groups_below(head, end).map(|group| group.seq.0);
            groups.collect::<Vec<_>>()
        };
        assert_eq!(seqs(head, u64::MAX), (11..=30).rev().collect::<Vec<_>>());
        assert_eq!(seqs(head, ends[1]), (11..=20).rev().collect::<Vec<_>>());
        assert_eq!(seqs(head, ends[0]), [0u64; 0]);
    }
}
