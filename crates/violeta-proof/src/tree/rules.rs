//! The hash rules (vlsm.md §2). The layouts are drawn in the module above.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::seeded::{self, Bug};
use violeta_types::{Digest, Domain};

/// Slots of a node.
pub const FANOUT: usize = 16;
/// Nibbles of a path, so the greatest depth of a leaf.
pub const DEPTH_MAX: usize = 64;

/// Where a key (or a space's name) lies in its tree: the nibbles of its digest, of each byte the high one first.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(from = "Digest", into = "Digest")]
pub struct KeyPath(pub [u8; 32]);

impl From<Digest> for KeyPath {
    fn from(digest: Digest) -> Self {
        KeyPath(digest.0)
    }
}

impl From<KeyPath> for Digest {
    fn from(path: KeyPath) -> Self {
        Digest(path.0)
    }
}

impl KeyPath {
    /// The path of a key in a hashed space, or of a space's name in the top tree.
    pub fn of(key: &[u8]) -> Self {
        KeyPath(Domain::TreePath.hash(key).0)
    }

    /// The slot that the path takes in the node at `depth`.
    ///
    /// # Panics
    /// If `depth` isn't below [`DEPTH_MAX`].
    pub fn slot(&self, depth: usize) -> usize {
        assert!(depth < DEPTH_MAX, "a path has {DEPTH_MAX} nibbles");
        let byte = self.0[depth / 2];
        usize::from(if depth.is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 15
        })
    }

    /// How many nibbles the two paths begin with alike.
    pub fn common_nibbles(&self, other: &KeyPath) -> usize {
        for (i, (a, b)) in self.0.iter().zip(&other.0).enumerate() {
            match a ^ b {
                0 => {}
                1..=15 => return 2 * i + 1,
                _ => return 2 * i,
            }
        }
        DEPTH_MAX
    }
}

/// How keys become paths in a space. Ordered spaces will be another kind.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum SpaceKind {
    /// The path is the key's digest.
    Hashed = 1,
}

/// What the top tree says of a space.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct SpaceRecord {
    /// How its keys become paths.
    pub kind: SpaceKind,
    /// How many keys it has.
    pub count: u64,
    /// The root of its tree; zero if it has no key.
    pub root: Digest,
}

impl SpaceRecord {
    /// A space without keys.
    pub const EMPTY: SpaceRecord = SpaceRecord {
        kind: SpaceKind::Hashed,
        count: 0,
        root: Digest::ZERO,
    };

    /// The digest of the top tree's leaf for the space called `name`.
    pub fn leaf_hash(&self, name: &[u8]) -> Digest {
        Domain::TreeSpace.hash_parts(&[
            &(name.len() as u32).to_le_bytes(),
            name,
            &[self.kind as u8],
            &self.count.to_le_bytes(),
            &self.root.0,
        ])
    }
}

/// The digest of a value: what a proof carries in place of a value that it may leave out.
pub fn value_hash(value: &[u8]) -> Digest {
    Domain::TreeValue.hash(value)
}

/// The digest of the leaf of `key` with `value`.
pub fn leaf_hash(key: &[u8], value: &[u8]) -> Digest {
    leaf_hash_of(key, &value_hash(value))
}

/// The digest of the leaf of `key` whose value has the digest `value_hash`.
pub fn leaf_hash_of(key: &[u8], value_hash: &Digest) -> Digest {
    /// Keys up to this length are hashed from the stack in one call, which is faster than a hasher.
    const SHORT: usize = 92;
    let len = (key.len() as u32).to_le_bytes();
    if key.len() > SHORT {
        return Domain::TreeLeaf.hash_parts(&[&len, key, &value_hash.0]);
    }
    let mut bytes = [0; 4 + SHORT + 32];
    let value_at = 4 + key.len();
    bytes[..4].copy_from_slice(&len);
    bytes[4..value_at].copy_from_slice(key);
    bytes[value_at..value_at + 32].copy_from_slice(&value_hash.0);
    Domain::TreeLeaf.hash(&bytes[..value_at + 32])
}

/// The digest of two halves of a node's slots, neither of them empty.
pub fn inner_hash(left: &Digest, right: &Digest) -> Digest {
    inner_domain().hash(&Pair::new(left, right).0)
}

/// Two halves of a node's slots, neither of them empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair([u8; 64]);

impl Pair {
    /// The halves with these digests.
    pub fn new(left: &Digest, right: &Digest) -> Self {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&left.0);
        bytes[32..].copy_from_slice(&right.0);
        Pair(bytes)
    }
}

/// Appends what [`inner_hash`] says of each pair, several of which are hashed at once where the processor can.
pub fn inner_hashes(pairs: &[Pair], digests: &mut Vec<Digest>) {
    inner_domain().hash_blocks(pairs.iter().map(|pair| &pair.0), digests);
}

fn inner_domain() -> Domain {
    match seeded::is(Bug::LeafInnerDomainMissing) {
        true => Domain::TreeLeaf,
        false => Domain::TreeInner,
    }
}

/// The digest of a node from its bitmap and the compressed root of its slots.
pub fn node_hash(bitmap: u16, compressed: &Digest) -> Digest {
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&bitmap.to_le_bytes());
    bytes[2..].copy_from_slice(&compressed.0);
    Domain::TreeNode.hash(&bytes)
}

/// The compressed root over a node's slots; none if all are empty.
pub fn slots_root(slots: &[Option<Digest>; FANOUT]) -> Option<Digest> {
    let mut level = *slots;
    let mut width = FANOUT;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            level[i] = join(level[2 * i], level[2 * i + 1]);
        }
    }
    level[0]
}

/// Two halves become one: an empty half costs no hash.
pub(super) fn join(left: Option<Digest>, right: Option<Digest>) -> Option<Digest> {
    match (left, right) {
        (Some(left), Some(right)) => Some(inner_hash(&left, &right)),
        (one, None) | (None, one) => one,
    }
}

/// A version's root from the root of its top tree.
pub fn top_hash(top_tree_root: &Digest) -> Digest {
    Domain::TreeTop.hash(&top_tree_root.0)
}

/// The root of a store without spaces.
pub fn empty_root() -> Digest {
    top_hash(&Digest::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nibbles_come_high_first() {
        let mut bytes = [0; 32];
        bytes[0] = 0xa5;
        bytes[31] = 0x0f;
        let path = KeyPath(bytes);
        let ends = [0, 1, 2, 62, 63].map(|depth| path.slot(depth));
        assert_eq!(ends, [10, 5, 0, 0, 15]);
        let mut other = bytes;
        other[0] = 0xa4;
        assert_eq!(path.common_nibbles(&KeyPath(other)), 1);
        other[0] = 0xb5;
        assert_eq!(path.common_nibbles(&KeyPath(other)), 0);
        assert_eq!(path.common_nibbles(&path), DEPTH_MAX);
    }

    #[test]
    fn one_filled_slot_passes_up_unchanged_from_every_position() {
        let digest = value_hash(b"x");
        for i in 0..FANOUT {
            let mut slots = [None; FANOUT];
            slots[i] = Some(digest);
            assert_eq!(slots_root(&slots), Some(digest));
        }
        assert_eq!(slots_root(&[None; FANOUT]), None);
    }

    #[test]
    fn the_drawn_example_hashes_as_drawn() {
        let [a, b, c, d] = [b"1", b"4", b"6", b"c"].map(|v| value_hash(v));
        let mut slots = [None; FANOUT];
        (slots[1], slots[4], slots[6], slots[12]) = (Some(a), Some(b), Some(c), Some(d));
        let inner = |left: &Digest, right: &Digest| {
            Domain::TreeInner.hash(&[left.0.as_slice(), &right.0].concat())
        };
        assert_eq!(
            slots_root(&slots),
            Some(inner(&inner(&a, &inner(&b, &c)), &d))
        );
    }

    #[test]
    fn short_and_long_keys_are_hashed_alike() {
        let value = value_hash(b"v");
        for len in [0, 1, 91, 92, 93, 4096] {
            let key = vec![7; len];
            let whole = [&(len as u32).to_le_bytes()[..], &key, &value.0].concat();
            assert_eq!(leaf_hash(&key, b"v"), Domain::TreeLeaf.hash(&whole));
        }
    }

    proptest! {
        #[test]
        fn common_nibbles_is_the_first_slot_that_differs(a: [u8; 32], at in 0usize..64, flip in 1u8..16) {
            let mut b = a;
            b[at / 2] ^= if at % 2 == 0 { flip << 4 } else { flip };
            let (a, b) = (KeyPath(a), KeyPath(b));
            prop_assert_eq!(a.common_nibbles(&b), at);
            prop_assert_ne!(a.slot(at), b.slot(at));
        }
    }
}
