//! Who sits where in the [arena](super::arena), and what becomes of it when a version is appended.
//!
//! ```text
//!  stage   ── Usher ──▶ Made: patches (seat, what changed in the node), nodes that are gone       nothing is written
//!  append  ── Seating::seat(made) ──▶ patches are written in place · seats of what is gone are free
//!                                     rows in which nobody sits are spare · above the budget, rows are cleared
//! ```
//!
//! Seats are a cache that the writer keeps: nothing but speed depends on who sits where. A node whose seat is taken is
//! made again from its page, and gets another one when it changes next. Nodes below it that sit are found by their
//! pages: where a page's first node sits is known ([`Directory`](crate::page::Directory)).

use std::collections::VecDeque;

use violeta_types::Digest;

use super::Entry;
use super::arena::{
    Arena, Bits, CAPACITIES, CELL_WORDS, HALF_WORDS, ROW_WORDS, Seat, Seated, cell_words, class_of,
    digest_words, nibble, node_words,
};
use super::group::GROUP_MAX;
use super::node::{Child, Content, Hashed, Link, View, bits};
use crate::page::Seq;
use crate::spare::Spare;

const CLASSES: usize = CAPACITIES.len();
/// Of this many rows, one is cleared at most when a version is appended.
const CLEARED_PART: usize = 4;

/// A node as it is in memory: in its seat, or for itself.
#[derive(Debug)]
pub(crate) enum Resident<'a, H> {
    /// In its seat.
    Seated(Link, Seated<'a>),
    /// Made from its page.
    Held(H),
}

impl<H: View<Entry>> View<Entry> for Resident<'_, H> {
    fn bitmap(&self) -> u16 {
        match self {
            Resident::Seated(_, node) => node.bitmap(),
            Resident::Held(node) => node.bitmap(),
        }
    }

    fn slot(&self, slot: usize) -> super::node::Place<Entry> {
        match self {
            Resident::Seated(_, node) => node.slot(slot),
            Resident::Held(node) => node.slot(slot),
        }
    }

    fn half(&self, half: usize) -> Digest {
        match self {
            Resident::Seated(_, node) => node.half(half),
            Resident::Held(node) => node.half(half),
        }
    }
}

/// A new node: what it has that the one at `from` doesn't.
#[derive(Debug)]
struct Patch {
    from: Option<Link>,
    to: Seat,
    bits: Bits,
    /// Slots and halves that are given.
    slots: u16,
    halves: u16,
    /// Where their words begin.
    words: usize,
}

/// Nodes that a version adds, and those that it has no more.
#[derive(Debug)]
pub(crate) struct Made {
    seq: Seq,
    patches: Vec<Patch>,
    words: Vec<u64>,
    gone: Vec<Link>,
    /// Roots of trees that are gone with all below.
    dropped: Vec<Link>,
    taken: Taken,
    /// Rows that were opened, with their classes, in that order.
    opened: Vec<(usize, usize)>,
    /// Words of nodes for which there was no room.
    unseated: usize,
}

impl Made {
    /// Rows that the next version will need, if it is like this one.
    fn rows(&self) -> usize {
        self.opened.len() + self.unseated.div_ceil(ROW_WORDS)
    }
}

/// Seats that were taken from those that were free.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// By class, how many of the free ones (some of which may not be any more).
    free: [usize; CLASSES],
    /// By class, the row that was opened last, and how many of its seats are taken.
    open: [Option<(usize, usize)>; CLASSES],
    /// Spare rows, and rows that nobody had before.
    spare: usize,
    added: usize,
}

/// Gives seats to the nodes of a version that is being staged. Nobody sits down before it is appended.
#[derive(Debug)]
pub(crate) struct Usher<'a> {
    seating: &'a Seating,
    made: Made,
}

impl Usher<'_> {
    /// Takes note of a tree that the version has no more.
    pub(crate) fn dropped(&mut self, root: Link) {
        self.made.dropped.push(root);
    }

    pub(crate) fn finish(self) -> Made {
        self.made
    }

    /// A free seat for a node of this class; none if there is no room.
    fn take(&mut self, class: usize) -> Seat {
        let taken = &mut self.made.taken;
        while let Some(free) = self.seating.free[class].get(taken.free[class]) {
            taken.free[class] += 1;
            if self.seating.is_of(free, class) {
                return free.seat;
            }
        }
        let words = node_words(CAPACITIES[class]);
        if let Some((row, used)) = &mut taken.open[class]
            && (*used + 1) * words <= ROW_WORDS
        {
            *used += 1;
            return Seat::new(*row, *used - 1, words);
        }
        let Some(row) = self.seating.row(taken) else {
            self.made.unseated += words;
            return Seat::NONE;
        };
        taken.open[class] = Some((row, 1));
        self.made.opened.push((row, class));
        Seat::new(row, 0, words)
    }
}

impl Usher<'_> {
    /// Makes a node. Returns where it will sit.
    pub(crate) fn make<H: View<Entry>>(
        &mut self,
        content: &Content<'_, Entry, Resident<'_, H>>,
        hashed: &Hashed<'_>,
    ) -> Seat {
        let class = class_of(content.bitmap().count_ones() as usize);
        // Where the node is now, and how much room it has there.
        let old = content.old().and_then(|old| match old {
            Resident::Seated(link, node) => Some((*link, node.bits())),
            Resident::Held(_) => None,
        });
        let kept = old.filter(|(_, bits)| fits(bits.capacity, class));
        let (to, capacity) = match kept {
            Some((link, bits)) => (link.seat, bits.capacity),
            None => (self.take(class), CAPACITIES[class] as u8),
        };
        let from = old.map(|(link, _)| link);
        if to == Seat::NONE {
            self.made.gone.extend(from);
            return to;
        }
        let mut made = Bits {
            bitmap: content.bitmap(),
            inner: hashed.halves.inner,
            leaves: old.map_or(0, |(_, bits)| {
                bits.leaves & bits.bitmap & !content.changed()
            }),
            capacity,
        };
        let words = self.made.words.len();
        let slots = made.bitmap & old.map_or(u16::MAX, |_| content.changed());
        for (slot, digest, child) in content.slots(slots) {
            made.leaves |= u16::from(matches!(child, Child::Leaf(_))) << slot;
            self.made.words.extend(cell_words(&digest, &child));
        }
        let there = old.map_or(0, |(_, bits)| bits.halves());
        let halves = made.halves() & (hashed.halves.touched_halves() | !there);
        for half in bits(halves) {
            let digest = content.half(hashed, half);
            self.made.words.extend(digest_words(&digest));
        }
        self.made.patches.push(Patch {
            from,
            to,
            bits: made,
            slots,
            halves,
            words,
        });
        to
    }

    /// Takes note of a node that the version has no more.
    pub(crate) fn gone<H>(&mut self, node: &Resident<'_, H>) {
        if let Resident::Seated(link, _) = node {
            self.made.gone.push(*link);
        }
    }
}

/// Whether a node that needs room of this class stays where it has this capacity: not if that is more than twice as
/// much.
fn fits(capacity: u8, class: usize) -> bool {
    let (has, needs) = (usize::from(capacity), CAPACITIES[class]);
    needs <= has && has <= 2 * needs
}

/// A seat that was left, and the number of times that its row had changed hands then.
#[derive(Clone, Copy, Debug)]
struct Free {
    seat: Seat,
    turn: u32,
}

/// What the writer knows of a row.
#[derive(Clone, Copy, Debug, Default)]
struct RowState {
    /// Of which class its nodes are, if it was given to one.
    class: Option<usize>,
    /// How many there are.
    count: usize,
    /// Rises each time that it is taken from a class.
    turn: u32,
}

/// The seats, as the writer sees them.
#[derive(Debug, Default)]
pub(crate) struct Seating {
    rows_max: usize,
    rows: Vec<RowState>,
    /// Rows that were taken from their class.
    spare: VecDeque<usize>,
    /// By class, seats that nobody has.
    free: [VecDeque<Free>; CLASSES],
    /// Rows in which nobody sits any more, maybe.
    emptied: Vec<usize>,
    /// Nodes that go with all below.
    leaving: VecDeque<Link>,
    /// The row that was cleared last.
    hand: usize,
    /// For the patches' words.
    words: Spare<u64>,
    patches: Spare<Patch>,
}

impl Seating {
    /// Of an arena in which nobody sits.
    pub(crate) fn new(arena: &Arena) -> Self {
        Seating {
            rows_max: arena.rows_max(),
            ..Seating::default()
        }
    }

    /// For the next version, which will be `seq`.
    pub(crate) fn usher(&self, seq: Seq) -> Usher<'_> {
        Usher {
            seating: self,
            made: Made {
                seq,
                patches: self.patches.take(),
                words: self.words.take(),
                gone: Vec::new(),
                dropped: Vec::new(),
                taken: Taken::default(),
                opened: Vec::new(),
                unseated: 0,
            },
        }
    }

    /// Whether a free seat is still of this class.
    fn is_of(&self, free: &Free, class: usize) -> bool {
        let row = &self.rows[free.seat.place().0];
        row.turn == free.turn && row.class == Some(class)
    }

    /// The next row that no class has.
    fn row(&self, taken: &mut Taken) -> Option<usize> {
        if let Some(row) = self.spare.get(taken.spare) {
            taken.spare += 1;
            return Some(*row);
        }
        let row = self.rows.len() + taken.added;
        (row < self.rows_max).then(|| {
            taken.added += 1;
            row
        })
    }

    /// Seats the nodes of the newest version. It was staged on the one that was the newest until now: since then, seats
    /// were left at most, and those are at the end. Then makes room for the next.
    pub(crate) fn seat(&mut self, arena: &Arena, made: Made) {
        self.take(&made);
        for patches in made.patches.chunks(GROUP_MAX) {
            (patches.iter()).for_each(|patch| arena.touch(patch.to, patch.slots));
            for patch in patches {
                self.sit_down(arena, made.seq, patch, &made.words[patch.words..]);
            }
        }
        for link in &made.gone {
            self.leave(arena, link);
        }
        self.leaving.extend(&made.dropped);
        self.release(arena, 2 * made.patches.len() + 64);
        self.reclaim();
        self.make_room(arena, made.rows());
        self.patches.keep(made.patches);
        self.words.keep(made.words);
    }

    /// What the usher gave isn't free any more.
    fn take(&mut self, made: &Made) {
        for (free, taken) in self.free.iter_mut().zip(made.taken.free) {
            assert!(taken <= free.len(), "free when it was staged");
            free.drain(..taken);
        }
        self.spare.drain(..made.taken.spare);
        for (row, class) in &made.opened {
            if *row >= self.rows.len() {
                self.rows.resize_with(row + 1, RowState::default);
            }
            let state = &mut self.rows[*row];
            state.class = Some(*class);
            let words = node_words(CAPACITIES[*class]);
            let used = match made.taken.open[*class] {
                Some((last, used)) if last == *row => used,
                _ => ROW_WORDS / words,
            };
            let turn = state.turn;
            self.free[*class].extend((used..ROW_WORDS / words).map(|index| Free {
                seat: Seat::new(*row, index, words),
                turn,
            }));
        }
    }

    fn sit_down(&mut self, arena: &Arena, seq: Seq, patch: &Patch, words: &[u64]) {
        let moves = patch.from.is_none_or(|from| from.seat != patch.to);
        if moves {
            self.rows[patch.to.place().0].count += 1;
        }
        let written = write(arena, seq, patch, words);
        debug_assert!(written, "a patch is of what sits there");
        if !written {
            self.left(patch.to);
        }
        if let Some(from) = patch.from.filter(|_| moves) {
            self.leave(arena, &from);
        }
    }

    /// Takes a node out of its seat. Returns whether it had it.
    fn leave(&mut self, arena: &Arena, link: &Link) -> bool {
        let Some(node) = arena.get(link) else {
            return false;
        };
        node.vacate();
        self.left(link.seat);
        true
    }

    /// A seat is free.
    fn left(&mut self, seat: Seat) {
        let (row, _) = seat.place();
        let state = &mut self.rows[row];
        state.count -= 1;
        if state.count == 0 {
            self.emptied.push(row);
        }
        if let Some(class) = state.class {
            let turn = state.turn;
            self.free[class].push_back(Free { seat, turn });
        }
    }

    /// Lets at most `steps` nodes go that are below what was dropped. Returns whether there were any. What isn't in
    /// memory isn't looked for, and what sits below it stays until its row is cleared.
    pub(crate) fn release(&mut self, arena: &Arena, steps: usize) -> bool {
        for step in 0..steps {
            let Some(link) = self.leaving.pop_front() else {
                return step > 0;
            };
            if let Some(node) = arena.get(&link) {
                self.leaving.extend(links(&node));
                self.leave(arena, &link);
            }
        }
        true
    }

    /// Takes rows from their class in which nobody sits.
    fn reclaim(&mut self) {
        while let Some(row) = self.emptied.pop() {
            if self.rows[row].count == 0 && self.rows[row].class.is_some() {
                self.take_back(row);
            }
        }
    }

    /// The row's free seats aren't its class's any more.
    fn take_back(&mut self, row: usize) {
        let state = &mut self.rows[row];
        state.class = None;
        state.count = 0;
        state.turn = state.turn.wrapping_add(1);
        self.spare.push_back(row);
    }

    /// When all rows are in use, clears some, going round, so that `rows` are spare: at least one, at most a part.
    fn make_room(&mut self, arena: &Arena, rows: usize) {
        if self.rows.len() < self.rows_max {
            return;
        }
        let rows = rows.min(self.rows_max / CLEARED_PART).max(1);
        for _ in 0..rows.saturating_sub(self.spare.len()) {
            self.hand = (self.hand + 1) % self.rows.len().max(1);
            if let Some(class) = self.rows.get(self.hand).and_then(|row| row.class) {
                clear(arena, self.hand, class);
                self.take_back(self.hand);
            }
        }
    }

    /// Lets all go: after a rollback, whose nodes are all in the files.
    pub(crate) fn clear(&mut self, arena: &Arena) {
        for row in 0..self.rows.len() {
            if let Some(class) = self.rows[row].class {
                clear(arena, row, class);
                self.take_back(row);
            }
        }
        self.leaving.clear();
        self.emptied.clear();
    }

    /// How many nodes are in memory.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.rows.iter().map(|row| row.count).sum()
    }
}

/// Takes all nodes of a row out of their seats.
fn clear(arena: &Arena, row: usize, class: usize) {
    let words = node_words(CAPACITIES[class]);
    for index in 0..ROW_WORDS / words {
        if let Some(node) = arena.seat(Seat::new(row, index, words)) {
            node.vacate();
        }
    }
}

/// Writes a node into its seat. False if what it changes isn't there.
fn write(arena: &Arena, seq: Seq, patch: &Patch, words: &[u64]) -> bool {
    let Some(to) = arena.seat(patch.to) else {
        return false;
    };
    let old = match patch.from.map(|from| arena.get(&from).ok_or(())) {
        None => None,
        Some(Ok(old)) => Some(old),
        Some(Err(())) => return false,
    };
    let stays = patch.from.is_some_and(|from| from.seat == patch.to);
    to.vacate();
    let (bitmap, halves) = (patch.bits.bitmap, patch.bits.halves());
    let (there, (slot_cells, half_cells)) = match old.filter(|_| stays) {
        Some(old) => (old.bits(), old.cells()),
        None => (Bits::default(), (0, 0)),
    };
    let slot_cells = assign(there.bitmap & bitmap, slot_cells, bitmap);
    let half_cells = assign(there.halves() & halves, half_cells, halves);
    to.set_head(patch.bits, slot_cells, half_cells);
    if let Some(old) = old.filter(|_| !stays) {
        for slot in bits(bitmap & !patch.slots) {
            to.copy(to.cell(slot), &old, old.cell(slot), CELL_WORDS);
        }
        for half in bits(halves & !patch.halves) {
            to.copy(to.half_cell(half), &old, old.half_cell(half), HALF_WORDS);
        }
    }
    let (cells, rest) = words.split_at(patch.slots.count_ones() as usize * CELL_WORDS);
    for (slot, words) in bits(patch.slots).zip(cells.chunks_exact(CELL_WORDS)) {
        to.write(to.cell(slot), words);
    }
    for (half, words) in bits(patch.halves).zip(rest.chunks_exact(HALF_WORDS)) {
        to.write(to.half_cell(half), words);
    }
    to.stamp(seq);
    true
}

/// Gives each of `all` a cell: those that are there already keep theirs, which `cells` says.
fn assign(there: u16, cells: u64, all: u16) -> u64 {
    if there == all {
        return cells;
    }
    let (mut used, mut assigned) = (0u16, 0);
    for i in bits(there) {
        used |= 1 << nibble(cells, i);
        assigned |= cells & 15 << (4 * i);
    }
    for i in bits(all & !there) {
        let cell = used.trailing_ones();
        used |= 1 << cell;
        assigned |= u64::from(cell) << (4 * i);
    }
    assigned
}

fn links(node: &Seated<'_>) -> impl Iterator<Item = Link> {
    bits(node.bitmap()).filter_map(|slot| match node.slot(slot) {
        Some((_, Child::Node(link))) => Some(link),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::node::{Place, SharedNode};
    use super::*;
    use crate::page::PageId;
    use proptest::prelude::*;
    use violeta_proof::tree::{FANOUT, KeyPath, node_hash, slots_root, value_hash};

    type Places = [Place<Entry>; FANOUT];
    type Node<'a> = Resident<'a, SharedNode<Entry>>;

    /// An arena, and versions that follow one another.
    struct World {
        arena: Arena,
        seating: Seating,
        next: u64,
    }

    impl World {
        fn new(bytes: usize) -> Self {
            let arena = Arena::new(bytes);
            World {
                seating: Seating::new(&arena),
                arena,
                next: 0,
            }
        }

        fn resident(&self, link: &Link) -> Option<Node<'_>> {
            let node = self.arena.get(link)?;
            Some(Resident::Seated(*link, node))
        }

        /// A version that makes one node, of `places` where `old`'s bits say so; appended if `append`.
        fn version(&mut self, places: &Places, old: Option<(Link, u16)>, append: bool) -> Link {
            self.next += 1;
            let seq = Seq(self.next);
            let old = old.map(|(link, changed)| (self.resident(&link).unwrap(), changed));
            let content = Content::new(places, old.as_ref().map(|(node, c)| (node, *c)));
            let mut usher = self.seating.usher(seq);
            let mut room = [Digest::ZERO; 2 * FANOUT];
            let hashed = content.hash(&mut room);
            let seat = usher.make(&content, &hashed);
            let made = usher.finish();
            let whole = std::array::from_fn(|slot| content.slot(slot));
            assert_eq!(hashed.node, naive(&whole));
            if append {
                self.seating.seat(&self.arena, made);
            }
            let page = None;
            Link { seq, seat, page }
        }

        fn seated(&self, links: &[Link]) -> Vec<bool> {
            let get = |link| self.arena.get(link).is_some();
            links.iter().map(get).collect()
        }
    }

    fn naive(places: &Places) -> Digest {
        let slots = std::array::from_fn(|slot| places[slot].as_ref().map(|(digest, _)| *digest));
        let bitmap = (0..FANOUT).filter(|slot| slots[*slot].is_some());
        let bitmap = bitmap.fold(0, |bitmap, slot| bitmap | 1 << slot);
        node_hash(bitmap, &slots_root(&slots).unwrap())
    }

    fn place(slot: usize, salt: u8) -> Place<Entry> {
        let digest = value_hash(&[slot as u8, salt]);
        let child = match salt % 3 {
            0 => Child::Node(Link {
                seq: Seq(u64::from(salt)),
                seat: Seat(u32::from(salt)),
                page: PageId::new(u32::from(salt) << 8),
            }),
            _ => Child::Leaf(Entry {
                path: KeyPath(value_hash(&digest.0).0),
                position: u64::from(salt) << 40,
                len: slot as u32,
            }),
        };
        Some((digest, child))
    }

    fn places(bitmap: u16, salt: u8) -> Places {
        std::array::from_fn(|slot| match bitmap >> slot & 1 {
            1 => place(slot, salt),
            _ => None,
        })
    }

    fn child(link: Link) -> Places {
        let mut places = places(1, 1);
        places[7] = Some((Digest::ZERO, Child::Node(link)));
        places
    }

    /// The node says of everything what the places do.
    fn check(node: &impl View<Entry>, places: &Places) {
        let words = |place: &Place<Entry>| place.as_ref().map(|(d, c)| cell_words(d, c));
        for (slot, place) in places.iter().enumerate() {
            assert_eq!(words(&node.slot(slot)), words(place));
        }
        let (held, _) = Content::<_, SharedNode<Entry>>::new(places, None).make(());
        assert_eq!(node.bitmap(), held.bitmap());
        for slot in bits(node.bitmap()) {
            assert_eq!(node.siblings(slot), held.siblings(slot));
        }
        assert_eq!(node.half(1), held.half(1));
    }

    proptest! {
        #[test]
        fn a_node_that_changes_in_its_seat_is_what_it_would_be_if_made_anew(
            first in 1u16..,
            changes in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u8>()), 1..12),
        ) {
            let mut world = World::new(0);
            let mut model = places(first, 1);
            let mut link = world.version(&model, None, true);
            for (changed, filled, salt) in changes {
                let fresh = places(filled & changed, salt);
                let mut after = model.clone();
                for slot in bits(changed) {
                    after[slot] = fresh[slot].clone();
                }
                if changed == 0 || after.iter().all(Option::is_none) {
                    continue;
                }
                world.version(&fresh, Some((link, changed)), false);
                check(&world.arena.get(&link).unwrap(), &model);
                let before = link;
                link = world.version(&fresh, Some((link, changed)), true);
                model = after;
                check(&world.arena.get(&link).unwrap(), &model);
                prop_assert!(world.arena.get(&before).is_none());
                prop_assert_eq!(world.seating.count(), 1);
            }
        }
    }

    #[test]
    fn a_reader_finds_out_that_the_node_changed_under_his_eyes() {
        let mut world = World::new(0);
        let old = world.version(&places(0xff, 1), None, true);
        let fresh = places(1, 2);
        let seen = world.arena.get(&old).unwrap();
        assert!(seen.is_still(old.seq));
        let content = world.resident(&old).unwrap();
        let mut usher = world.seating.usher(Seq(world.next + 1));
        let content = Content::new(&fresh, Some((&content, 1)));
        usher.make(&content, &content.hash(&mut [Digest::ZERO; 2 * FANOUT]));
        let made = usher.finish();
        assert!(seen.is_still(old.seq), "staged only");
        world.seating.seat(&world.arena, made);
        assert!(!seen.is_still(old.seq));
    }

    #[test]
    fn a_child_is_told_that_it_begins_a_page_and_nothing_else_changes() {
        let mut world = World::new(0);
        let below = world.version(&places(3, 1), None, true);
        let model = child(below);
        let above = world.version(&model, None, true);
        let page = PageId::new(u32::MAX).unwrap();
        world.arena.get(&above).unwrap().set_page(7, page);
        let told = child(Link {
            page: Some(page),
            ..below
        });
        check(&world.arena.get(&above).unwrap(), &told);
    }

    #[test]
    fn seats_of_nodes_that_are_gone_are_used_again() {
        let mut world = World::new(0);
        let links: Vec<_> = (0..300)
            .map(|_| world.version(&places(3, 1), None, true))
            .collect();
        let rows = world.seating.rows.len();
        for round in 0..5 {
            let mut usher = world.seating.usher(Seq(world.next + 1));
            for link in &links {
                if let Some(node) = world.resident(link) {
                    usher.gone(&node);
                }
            }
            let made = usher.finish();
            world.seating.seat(&world.arena, made);
            assert_eq!(world.seating.count(), if round == 0 { 0 } else { 300 });
            for _ in 0..300 * usize::from(round == 0) {
                world.version(&places(3, 2), None, true);
            }
        }
        assert_eq!(world.seating.rows.len(), rows);
        assert!(!world.seated(&links).contains(&true));
    }

    #[test]
    fn rows_that_small_nodes_left_serve_large_ones() {
        let mut world = World::new(1 << 20);
        let links: Vec<_> = (0..200)
            .map(|_| world.version(&places(3, 1), None, true))
            .collect();
        for link in links {
            world.version(&places(u16::MAX, 2), Some((link, u16::MAX)), true);
        }
        let small = world.seating.rows.iter().filter(|r| r.class == Some(0));
        assert_eq!(small.count(), 0);
        assert_eq!(world.seating.count(), 200);
    }

    #[test]
    fn a_dropped_tree_leaves_with_all_below_step_by_step() {
        let mut world = World::new(0);
        let mut root = world.version(&places(3, 1), None, true);
        let mut links = vec![root];
        for _ in 0..100 {
            root = world.version(&child(root), None, true);
            links.push(root);
        }
        let mut usher = world.seating.usher(Seq(world.next + 1));
        usher.dropped(root);
        let made = usher.finish();
        world.seating.seat(&world.arena, made);
        assert_eq!(world.seating.count(), 101 - 64);
        assert!(world.seating.release(&world.arena, 30));
        assert!(world.seating.release(&world.arena, 30));
        assert!(!world.seating.release(&world.arena, 30), "nothing is left");
        assert_eq!(world.seating.count(), 0);
        assert_eq!(world.seated(&links), [false; 101]);
    }

    #[test]
    fn above_the_budget_rows_are_cleared_in_turn_and_the_newest_find_room() {
        let mut world = World::new(0);
        let mut links = Vec::new();
        for _ in 0..2_000 {
            links.push(world.version(&places(u16::MAX, 1), None, true));
        }
        assert_eq!(world.seating.rows.len(), world.arena.rows_max());
        let seated = world.seated(&links);
        assert!(seated.ends_with(&[true; 100]));
        assert!(!seated[..1_000].contains(&true));
    }

    #[test]
    fn a_version_that_found_no_room_makes_some_for_the_next() {
        let mut world = World::new(64 * (32 << 10));
        let content = places(u16::MAX, 1);
        let mut unseated = Vec::new();
        for _ in 0..12 {
            world.next += 1;
            let mut usher = world.seating.usher(Seq(world.next));
            let made: Vec<_> = (0..200)
                .map(|_| {
                    let content = Content::<_, Node<'_>>::new(&content, None);
                    usher.make(&content, &content.hash(&mut [Digest::ZERO; 2 * FANOUT]))
                })
                .collect();
            unseated.push(made.iter().filter(|seat| **seat == Seat::NONE).count());
            let made = usher.finish();
            world.seating.seat(&world.arena, made);
        }
        assert_eq!(unseated[..5], [0; 5], "64 rows of 18");
        assert!(unseated[5] > 0);
        assert!(unseated[6] < unseated[5] / 10, "rows were cleared");
        assert_eq!(unseated[7..], [0; 5]);
    }

    #[test]
    fn after_a_rollback_all_seats_are_free() {
        let mut world = World::new(0);
        let links: Vec<_> = (0..150)
            .map(|i| world.version(&places(3 << (i % 8), 1), None, true))
            .collect();
        assert_eq!(world.seated(&links), [true; 150]);
        world.seating.clear(&world.arena);
        assert_eq!(world.seated(&links), [false; 150]);
        assert_eq!(world.seating.count(), 0);
        assert_eq!(world.seating.spare.len(), world.seating.rows.len());
        let nowhere = Link {
            seat: Seat::NONE,
            ..links[0]
        };
        assert!(world.arena.get(&nowhere).is_none());
    }
}
