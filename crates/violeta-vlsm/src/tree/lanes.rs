//! Hashing many nodes at once: those of one level, whose children have their digests.
//!
//! ```text
//!  halves 8…15   node a: 9    node b: 8, 14    node c: …   ─▶ inner hashes side by side
//!  halves 4…7    node a: 4    node b: 4, 7     node c: …   ─▶ of which these need some
//!  halves 2, 3   …
//!  half 1        …
//!  node          its own hash, one by one: these aren't whole blocks
//! ```

use violeta_proof::tree::{FANOUT, Pair, inner_hashes, node_hash};
use violeta_types::Digest;

use super::Leaf;
use super::node::{Halves, Hashed, Sides, View, bits};

/// The levels of the halves that can have a hash of their own, lowest first: as masks.
const LEVELS: [u16; 4] = [0xff00, 0x00f0, 0x000c, 0x0002];

/// A node that is hashed here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    bitmap: u16,
    halves: Halves,
    /// Where its digests begin.
    first: usize,
}

/// Digests of new nodes, and what it takes to hash them.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    digests: Vec<Digest>,
    pairs: Vec<Pair>,
    /// Where the pairs' digests go.
    targets: Vec<usize>,
    made: Vec<Digest>,
}

impl Lanes {
    /// Forgets all nodes.
    pub(super) fn clear(&mut self) {
        self.digests.clear();
    }

    /// A node with these slots filled, some of which changed.
    pub(super) fn add(&mut self, bitmap: u16, changed: u16) -> Lane {
        let halves = Halves::of(bitmap, changed);
        let first = self.digests.len();
        self.digests.resize(first + halves.touched(), Digest::ZERO);
        Lane {
            bitmap,
            halves,
            first,
        }
    }

    /// Sets the digest of a slot that changed.
    pub(super) fn set(&mut self, lane: &Lane, slot: usize, digest: &Digest) {
        self.digests[lane.first + lane.halves.rank(FANOUT + slot)] = *digest;
    }

    /// Hashes nodes, none of which is below another. With each comes the node before, if there was one.
    pub(super) fn hash<'n, L: Leaf, N: View<L> + 'n>(
        &mut self,
        nodes: impl Iterator<Item = (Lane, Option<&'n N>)> + Clone,
    ) {
        for level in LEVELS {
            self.pairs.clear();
            self.targets.clear();
            for (lane, old) in nodes.clone() {
                for half in bits(lane.halves.touched_halves() & level) {
                    let side = |half| self.digest(&lane, old, half);
                    let to = lane.first + lane.halves.rank(half);
                    match lane.halves.sides(half) {
                        Sides::None => {}
                        Sides::One(filled) => self.digests[to] = side(filled),
                        Sides::Both => {
                            self.pairs
                                .push(Pair::new(&side(2 * half), &side(2 * half + 1)));
                            self.targets.push(to);
                        }
                    }
                }
            }
            self.made.clear();
            inner_hashes(&self.pairs, &mut self.made);
            for (to, digest) in self.targets.iter().zip(&self.made) {
                self.digests[*to] = *digest;
            }
        }
    }

    /// The digest of a node all of whose halves are hashed.
    pub(super) fn node<L: Leaf>(&self, lane: &Lane, old: Option<&impl View<L>>) -> Digest {
        node_hash(lane.bitmap, &self.digest(lane, old, 1))
    }

    /// What was hashed of a node, and its digest.
    pub(super) fn hashed(&self, lane: &Lane, node: Digest) -> Hashed<'_> {
        let digests = &self.digests[lane.first..lane.first + lane.halves.touched()];
        Hashed {
            halves: lane.halves,
            digests,
            node,
        }
    }

    fn digest<L: Leaf>(&self, lane: &Lane, old: Option<&impl View<L>>, half: usize) -> Digest {
        lane.halves.digest(&self.digests[lane.first..], old, half)
    }
}
