//! The VLSM tree as a verifier sees it: how a state is hashed to one root, and proofs (vlsm.md §2, §6).
//!
//! ```text
//!  root(v) = H_top(top-tree root)
//!                    │
//!              ┌─────┴── top tree: one leaf a space ─────────────────────────────────────────┐
//!              │   space leaf = H_space(len(name) u32 ‖ name ‖ kind u8 ‖ count u64 ‖ root)   │
//!              └─────┬───────────────────────────────────────────────────────────────────────┘
//!                    │ root                                   (numbers little-endian)
//!              ┌─────┴── a space's tree: one leaf a key ─────────────────────────────────────┐
//!              │   leaf = H_leaf(len(key) u32 ‖ key ‖ H_value(value))                        │
//!              └─────────────────────────────────────────────────────────────────────────────┘
//!
//!  Both trees are 16-way tries over paths: path = H_path(key or name), 64 nibbles, of each byte the high one first.
//!
//!      no leaf     root is zero
//!      one leaf    the subtree is that leaf, at whatever depth
//!      more        a node: node = H_node(bitmap u16 ‖ compressed root), bit i of the bitmap set if slot i is filled
//!
//!  The compressed root of a node's slots (here 1, 4, 6 and 12 are filled):
//!
//!            ●─────────────┐           ● = H_inner(left ‖ right)
//!        ┌───●─────┐       │           An empty half costs no hash: what is in the other half passes up
//!        │       ┌─●─┐     │           unchanged. The bitmap says which halves are empty, so it binds the
//!        1       4   6     12          positions that the passing up leaves out.
//! ```
//!
//! **Why a bitmap and not a constant for *empty*.** With a constant every node costs its 15 inner hashes (or a lookup of
//! the precomputed subtrees that are all empty), and a path always carries four siblings a level. The trie's lowest
//! level, where most nodes are, has two or three of its sixteen slots filled: with the bitmap such a node costs two or
//! three compressions and one or two siblings, for two bytes of bitmap. At a million keys a proof has about 20
//! siblings instead of 23, and an update hashes about ten blocks instead of fifteen (arithmetic, not timing: both
//! ways hash blocks of 64 bytes). Absence needs the bitmap bound, which `H_node` does.
//!
//! **Nothing but the set.** No version, order or location is hashed: the shape and all digests are a function of the
//! keys and values alone, so equal sets have equal roots (vlsm.md §1.1).
//!
//! | proof | shows | files |
//! | --- | --- | --- |
//! | [`TreeProof`] | one key, present or absent | `proof.rs` |
//! | [`MultiProof`] | many keys, each present or absent | `multi.rs` on `partial.rs` |
//! | [`RangeProof`] | all keys whose paths are in a range, page by page | `range.rs` on `partial.rs` |
//! | [`ChangeProof`] | all keys in a range that differ between two versions | `change_proof.rs` on `changes.rs` |
//! | [`Chunk`] | a part of a snapshot: all spaces, or keys and values, in a range | `chunk.rs` on `range.rs`, `partial.rs` |
//!
//! All but the first are made by [`prove`], from any tree that shows its nodes.

mod change_proof;
mod changes;
mod changes_walk;
mod chunk;
mod error;
mod multi;
mod partial;
mod proof;
pub mod prove;
mod prove_changes;
mod range;
mod rules;
mod slots;
mod space;
mod window;

pub use change_proof::{Change, ChangeClaim, ChangeProof};
pub use changes::{ChangedLeaf, ChangedTree, Kind, LeafChange, OpenPair, Sides};
pub use chunk::{
    CHUNK_BYTES_MAX, CHUNK_ENCODED_BYTES_MAX, Chunk, ChunkLeaf, ChunkPlace, KeysChunk, ListedSpace,
    SpacesChunk, VerifiedChunk, VerifiedKeys, VerifiedSpaces,
};
pub use error::{PartialTreeError, Piece, Side};
pub use multi::{MULTI_KEYS_MAX, MultiProof};
pub use partial::{
    Leaf, OpenNode, PROOF_DIGESTS_MAX, PROOF_LEAVES_MAX, PROOF_NODES_MAX, PartialTree, TreeLeaf,
};
pub use proof::{BRANCH_SIBLINGS_MAX, Branch, End, Place, TreePart, TreeProof, TreeProofError};
pub use range::{Proved, RangeProof};
pub use rules::{
    DEPTH_MAX, FANOUT, KeyPath, Pair, SpaceKind, SpaceRecord, empty_root, inner_hash, inner_hashes,
    leaf_hash, leaf_hash_of, node_hash, slots_root, top_hash, value_hash,
};
pub use space::{SpacePlace, SpaceProof};
pub use window::PathRange;
