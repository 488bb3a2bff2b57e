//! Seats: the nodes that are in memory, and making them fewer (vlsm.md §1.8).
//!
//! ```text
//!  Link ┬ at    ──────────────────────────────▶ record in the node files   (if the seat has another node, or none)
//!       └ seat ──▶ Seats: │ node │ vacant │ node │ …                       (if that node's record lies at `at`)
//! ```
//!
//! A parent doesn't hold its children, it only says where they sit. So making a new version of a node touches that
//! node alone, and not the reference counts of all its children, which is what an update would spend most of its time
//! on. Whoever finds another node in a seat, or none, reads the one he wants from the node files: seats are a cache
//! that the writer keeps, and nothing but speed depends on who sits where. There is one exception, which the writer
//! sees to: what isn't in the files yet keeps its seat.
//!
//! Readers look at a seat without waiting, and what they found stays for as long as they hold it.

use std::collections::VecDeque;
use std::sync::OnceLock;

use arc_swap::{ArcSwapAny, Guard};

use super::node::{Child, Link, Node, SharedNode, vacant};

/// The number of a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Seat {
    /// None: of a node that was read from the files.
    pub(crate) const NONE: Seat = Seat(u32::MAX);
}

/// A node that somebody looks at.
#[derive(Debug)]
pub(crate) struct Loaded<L>(Guard<SharedNode<L>>);

impl<L> Loaded<L> {
    pub(crate) fn new(node: SharedNode<L>) -> Self {
        Loaded(Guard::from_inner(node))
    }

    pub(crate) fn node(&self) -> Node<'_, L> {
        Node::of(&self.0)
    }
}

/// Seats of the first row; every row has twice those of the one before.
const FIRST_ROW: u64 = 1 << 10;
/// Rows, so that every number but that of no seat has one.
const ROWS: usize = 22;

type Row<L> = Box<[ArcSwapAny<SharedNode<L>>]>;

/// The seats, as readers see them.
#[derive(Debug)]
pub(crate) struct Seats<L> {
    rows: [OnceLock<Row<L>>; ROWS],
    vacant: SharedNode<L>,
}

impl<L> Seats<L> {
    pub(crate) fn new() -> Self {
        Seats {
            rows: [const { OnceLock::new() }; ROWS],
            vacant: vacant(),
        }
    }

    /// A seat's row, and its number in it.
    fn row(seat: Seat) -> (usize, usize) {
        let number = u64::from(seat.0) + FIRST_ROW;
        let row = number.ilog2() - FIRST_ROW.ilog2();
        (row as usize, (number - (FIRST_ROW << row)) as usize)
    }

    fn seat(&self, seat: Seat) -> Option<&ArcSwapAny<SharedNode<L>>> {
        let (row, number) = Self::row(seat);
        self.rows.get(row)?.get()?.get(number)
    }

    /// The node that a link leads to, if it has its seat.
    pub(crate) fn get(&self, link: &Link) -> Option<Loaded<L>> {
        let found = Loaded(self.seat(link.seat)?.load());
        (found.node().link().at == link.at).then_some(found)
    }

    fn put(&self, seat: Seat, node: SharedNode<L>) {
        let (row, number) = Self::row(seat);
        let Some(row_seats) = self.rows.get(row) else {
            return;
        };
        let seats = row_seats.get_or_init(|| {
            let seats = 0..FIRST_ROW << row;
            seats
                .map(|_| ArcSwapAny::new(self.vacant.clone()))
                .collect()
        });
        seats[number].store(node);
    }

    /// Takes the node that a link leads to from its seat; returns it if it had it.
    fn take(&self, link: &Link) -> Option<SharedNode<L>> {
        self.get(link)?;
        Some(self.seat(link.seat)?.swap(self.vacant.clone()))
    }
}

/// Nodes that a version adds, and those that it has no more.
#[derive(Debug)]
pub(crate) struct Made<L> {
    nodes: Vec<SharedNode<L>>,
    replaced: Vec<Gone>,
    /// How many of the free seats are taken, and how many new ones.
    free_taken: usize,
    added: u32,
}

/// A node that the newest version doesn't have, and whether the same is true of all below it.
#[derive(Clone, Copy, Debug)]
struct Gone {
    link: Link,
    whole: bool,
}

/// Gives seats to the nodes of a version that is being staged. Nobody sits down before it is appended.
#[derive(Debug)]
pub(crate) struct Usher<'a, L> {
    seating: &'a Seating,
    made: Made<L>,
}

impl<L> Usher<'_, L> {
    /// The seat of the next node that is made.
    pub(crate) fn next(&mut self) -> Seat {
        if let Some(seat) = self.seating.free.get(self.made.free_taken) {
            self.made.free_taken += 1;
            return *seat;
        }
        self.made.added += 1;
        Seat(self.seating.end.saturating_add(self.made.added - 1))
    }

    /// Takes a node that was made.
    pub(crate) fn made(&mut self, node: SharedNode<L>) {
        self.made.nodes.push(node);
    }

    /// Takes note of a node that the version has no more.
    pub(crate) fn replaced(&mut self, link: Link) {
        self.made.replaced.push(Gone { link, whole: false });
    }

    /// Takes note of a node that the version has no more, nor anything below it.
    pub(crate) fn dropped(&mut self, link: Link) {
        self.made.replaced.push(Gone { link, whole: true });
    }

    pub(crate) fn finish(self) -> Made<L> {
        self.made
    }
}

/// The seats, as the writer sees them.
#[derive(Debug, Default)]
pub(crate) struct Seating {
    /// Seats that nobody has, those that were left last at the end.
    free: VecDeque<Seat>,
    /// Seats so far.
    end: u32,
    /// Nodes in memory.
    count: usize,
    /// Nodes that versions need which aren't in the files.
    replaced: Vec<Gone>,
    /// Nodes that no reader needs here.
    leaving: VecDeque<Gone>,
    /// Where to look next for a node that might leave.
    hand: u32,
}

impl Seating {
    /// For the next version.
    pub(crate) fn usher<L>(&self) -> Usher<'_, L> {
        let made = Made {
            nodes: Vec::new(),
            replaced: Vec::new(),
            free_taken: 0,
            added: 0,
        };
        Usher {
            seating: self,
            made,
        }
    }

    /// Seats the nodes of the newest version. It was staged on the one that was the newest until now: since then, seats
    /// were left at most, and those are at the end. Then lets a few of those go who may.
    pub(crate) fn seat<L>(&mut self, seats: &Seats<L>, made: Made<L>, max: usize, written: u64) {
        assert!(
            made.free_taken <= self.free.len(),
            "free when it was staged"
        );
        let work = made.nodes.len();
        self.free.drain(..made.free_taken);
        self.end = self.end.saturating_add(made.added);
        self.count += work;
        for node in made.nodes {
            seats.put(Node::of(&node).link().seat, node);
        }
        self.replaced.extend(made.replaced);
        self.release(seats, 2 * work + 64);
        self.thin_out(seats, max, written, 16 * work + 1_024);
    }

    /// All versions so far are in the files.
    pub(crate) fn written(&mut self) {
        self.leaving.extend(self.replaced.drain(..));
    }

    /// Lets at most `steps` nodes go that the newest version doesn't have. Returns whether there were any.
    pub(crate) fn release<L>(&mut self, seats: &Seats<L>, steps: usize) -> bool {
        for step in 0..steps {
            let Some(gone) = self.leaving.pop_front() else {
                return step > 0;
            };
            let Some(node) = seats.take(&gone.link) else {
                continue;
            };
            self.left(gone.link.seat);
            if gone.whole {
                let below = links(Node::of(&node));
                let below = below.map(|link| Gone { link, whole: true });
                self.leaving.extend(below);
            }
        }
        true
    }

    fn left(&mut self, seat: Seat) {
        self.free.push_back(seat);
        self.count -= 1;
    }

    /// While there are more than `max`, goes round and lets nodes go that can be read again: whose records lie below
    /// `written`, and below which none is in memory, so that the upper ones stay. Looks at `steps` seats at most.
    fn thin_out<L>(&mut self, seats: &Seats<L>, max: usize, written: u64, steps: usize) {
        for _ in 0..steps {
            if self.count <= max {
                return;
            }
            self.hand = match self.hand {
                last if last.saturating_add(1) >= self.end => 0,
                hand => hand + 1,
            };
            let seat = Seat(self.hand);
            let Some(found) = seats.seat(seat).map(|seat| Loaded(seat.load())) else {
                continue;
            };
            let link = found.node().link();
            let may_leave = link.at.offset() < written
                && links(found.node()).all(|link| seats.get(&link).is_none());
            drop(found);
            if may_leave && seats.take(&link).is_some() {
                self.left(seat);
            }
        }
    }

    /// Lets all go: after a rollback, whose nodes are all in the files.
    pub(crate) fn clear<L>(&mut self, seats: &Seats<L>) {
        for seat in 0..self.end {
            if let Some(seat) = seats.seat(Seat(seat)) {
                seat.store(seats.vacant.clone());
            }
        }
        let end = self.end;
        *self = Seating {
            free: (0..end).map(Seat).collect(),
            end,
            ..Seating::default()
        };
    }
}

fn links<'a, L>(node: Node<'a, L>) -> impl Iterator<Item = Link> + 'a {
    node.children().filter_map(|child| match child {
        Child::Leaf(_) => None,
        Child::Node(link) => Some(*link),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::codec::At;
    use crate::tree::node::Content;
    use violeta_types::Digest;

    const MANY: usize = 1_000_000;

    /// A node with its record at `offset` and one child: a leaf, or the node that `child` leads to.
    fn node(usher: &mut Usher<'_, ()>, offset: u64, child: Option<Link>) -> Link {
        let link = Link {
            at: At::new(offset, 1),
            seat: usher.next(),
        };
        let child = child.map_or(Child::Leaf(()), Child::Node);
        let mut places = [const { None }; 16];
        places[3] = Some((Digest::ZERO, child));
        let (node, _) = Content::new(&places, None).make(link, 0);
        usher.made(node);
        link
    }

    fn seated(seats: &Seats<()>, links: &[Link]) -> Vec<bool> {
        links.iter().map(|link| seats.get(link).is_some()).collect()
    }

    #[test]
    fn a_replaced_node_stays_until_it_is_written_and_its_seat_is_used_again() {
        let (seats, mut seating) = (Seats::new(), Seating::default());
        let mut usher = seating.usher();
        let old = node(&mut usher, 1, None);
        let made = usher.finish();
        assert_eq!(seated(&seats, &[old]), [false], "staged only");
        seating.seat(&seats, made, MANY, 0);

        let mut usher = seating.usher();
        usher.replaced(old);
        let new = node(&mut usher, 2, None);
        seating.seat(&seats, usher.finish(), MANY, 0);
        assert_eq!(seated(&seats, &[old, new]), [true, true]);

        let held = seats.get(&old).unwrap();
        // Staged before the seat is left, and appended after.
        let mut usher = seating.usher();
        let next = node(&mut usher, 3, None);
        let made = usher.finish();
        seating.written();
        assert!(seating.release(&seats, 10));
        assert!(!seating.release(&seats, 10), "nothing is left to do");
        seating.seat(&seats, made, MANY, 0);
        assert_eq!(seated(&seats, &[old, new, next]), [false, true, true]);
        assert_eq!(held.node().link(), old, "who holds it, has it");

        let mut usher = seating.usher();
        let last = node(&mut usher, 4, None);
        assert_eq!(last.seat, old.seat);
        seating.seat(&seats, usher.finish(), MANY, 0);
        assert_eq!(seated(&seats, &[old, last]), [false, true]);
        assert_eq!(seating.count, 3);
    }

    #[test]
    fn a_dropped_tree_leaves_with_all_below_step_by_step() {
        let (seats, mut seating) = (Seats::new(), Seating::default());
        let mut usher = seating.usher();
        let mut links = vec![node(&mut usher, 1, None)];
        for offset in 2..10 {
            links.push(node(&mut usher, offset, links.last().copied()));
        }
        let root = links[8];
        seating.seat(&seats, usher.finish(), MANY, 0);
        let mut usher = seating.usher();
        usher.dropped(root);
        seating.seat(&seats, usher.finish(), MANY, 0);
        seating.written();
        for left in (0..9).rev() {
            assert!(seating.release(&seats, 1));
            assert_eq!(seating.count, left);
        }
        assert!(!seating.release(&seats, 1));
        assert_eq!(seated(&seats, &links), [false; 9]);
    }

    #[test]
    fn above_the_budget_the_lowest_leave_and_never_what_is_not_written() {
        let (seats, mut seating) = (Seats::new(), Seating::default());
        let mut usher = seating.usher();
        let mut links = vec![node(&mut usher, 1, None)];
        for offset in 2..10 {
            links.push(node(&mut usher, offset, links.last().copied()));
        }
        seating.seat(&seats, usher.finish(), 0, 0);
        assert_eq!(seating.count, 9, "none can be read again");
        seating.thin_out(&seats, 4, 4, 1_000);
        let mut left = [true; 9];
        left[..3].fill(false);
        assert_eq!(seated(&seats, &links), left);
        seating.thin_out(&seats, 4, 100, 1_000);
        assert_eq!(seating.count, 4);
        assert_eq!(seated(&seats, &links[5..]), [true; 4], "the upper ones");
    }

    #[test]
    fn after_a_rollback_all_seats_are_free() {
        let (seats, mut seating) = (Seats::new(), Seating::default());
        let mut usher = seating.usher();
        let links: Vec<_> = (1..3_000).map(|at| node(&mut usher, at, None)).collect();
        seating.seat(&seats, usher.finish(), MANY, 0);
        assert!(seated(&seats, &links).iter().all(|seated| *seated));
        seating.clear(&seats);
        assert!(!seated(&seats, &links).iter().any(|seated| *seated));
        assert_eq!((seating.count, seating.free.len()), (0, 2_999));
        assert!(
            seats
                .get(&Link {
                    seat: Seat::NONE,
                    ..links[0]
                })
                .is_none()
        );
    }
}
