//! The part of two versions' trees that shows all that differs between them within a window: what a change proof is
//! made of (vlsm.md §1.2).
//!
//! ```text
//!      older version                     newer version
//!   0  1  2  3 … 7  8 … f             0  1  2  3 … 7  8 … f
//!   ─d₀─  │  └────d₁────┘             ─d₀─  │  └────d₁────┘      the same in both: one digest for both
//!        node                              node                  different: opened in both
//!       ╱    ╲                            ╱    ╲
//!     a=1    b=2                        a=5    node              a leaf against a node: the node is opened down to
//!                                             ╱    ╲             its leaves, and the leaf is found among them, or not
//!                                           b=2    c=3
//!
//!   leaves: a replaced, b kept, c added: the list of changes, in the order of paths
//! ```
//!
//! Two places of which one is empty or a leaf and the other a node begin a *one-sided* part, where there is no half to
//! be the same: all that the window meets is open. The single leaf of the other version, if there is one, is told where
//! its path puts it: together with the same key's leaf if that is opened, else by itself.
//!
//! What is open is decided by the trees and the window: of two nodes, the slots that differ and meet the window; of the
//! others, the largest halves in the window, which are the same, go by one digest, and the largest halves outside of it
//! by one for each version that has something there. A verifier computes both roots in one walk. It checks that what is
//! opened differs, and that what is said to be the same has the same slots filled; so there is one proof for two trees
//! and a window. A leaf outside of the window may have to be opened: what is said of it in the other version means
//! nothing, and isn't told.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::limits::STORE_KEY_BYTES_MAX;
use violeta_types::{Blob, Bounded, Digest};

use super::error::Side;
use super::partial::{OpenNode, PROOF_DIGESTS_MAX, PROOF_LEAVES_MAX, PROOF_NODES_MAX};

/// One of something for each of the two versions.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Sides<T> {
    /// The older version's.
    pub old: T,
    /// The newer version's.
    pub new: T,
}

impl<T> Sides<T> {
    /// Both, where `here` is that of `side`.
    pub(super) fn put(side: Side, here: T, there: T) -> Self {
        match side {
            Side::Old => Sides {
                old: here,
                new: there,
            },
            Side::New => Sides {
                old: there,
                new: here,
            },
        }
    }

    pub(super) fn get(&self, side: Side) -> &T {
        match side {
            Side::Old => &self.old,
            Side::New => &self.new,
        }
    }
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Old => Side::New,
            Side::New => Side::Old,
        }
    }
}

/// What a tree begins with.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Nothing.
    #[default]
    Empty,
    /// A leaf: the only key.
    Leaf,
    /// A node.
    Node,
}

/// What is opened in a place where the versions differ, and at least one has a node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OpenPair {
    /// The older version's node. The newer version has nothing here, or one leaf.
    Old(OpenNode),
    /// The newer version's node. The older version has nothing here, or one leaf.
    New(OpenNode),
    /// Both versions' nodes.
    Both {
        /// The older version's.
        old: OpenNode,
        /// The newer version's.
        new: OpenNode,
        /// The slots that are open: those in the window that differ.
        differ: u16,
    },
}

/// What happened to a leaf that is opened.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LeafChange {
    /// Only the newer version has it.
    Added {
        /// The digest of its value there.
        new: Digest,
    },
    /// Only the older version has it.
    Removed {
        /// The digest of its value there.
        old: Digest,
    },
    /// Both have it, with different values.
    Replaced {
        /// The digest of the older value.
        old: Digest,
        /// The digest of the newer value.
        new: Digest,
    },
    /// Both have it with the same value, at different depths.
    Kept {
        /// The digest of the value.
        value_hash: Digest,
    },
}

impl LeafChange {
    /// The digests of the value in both versions.
    pub fn value_hashes(&self) -> Sides<Option<Digest>> {
        let (old, new) = match *self {
            LeafChange::Added { new } => (None, Some(new)),
            LeafChange::Removed { old } => (Some(old), None),
            LeafChange::Replaced { old, new } => (Some(old), Some(new)),
            LeafChange::Kept { value_hash } => (Some(value_hash), Some(value_hash)),
        };
        Sides { old, new }
    }
}

/// A leaf that is opened in one version or both.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedLeaf {
    /// The key.
    pub key: Blob<STORE_KEY_BYTES_MAX>,
    /// What happened to it.
    pub change: LeafChange,
}

/// As much of two trees as shows all that differs within a window of paths.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct ChangedTree {
    /// What the trees begin with; both empty if they are the same, and nothing is opened.
    pub roots: Sides<Kind>,
    /// The opened nodes, in preorder.
    pub nodes: Bounded<OpenPair, PROOF_NODES_MAX>,
    /// The opened leaves, in the order of their paths.
    pub leaves: Bounded<ChangedLeaf, PROOF_LEAVES_MAX>,
    /// The digests of closed halves, in the order of their slots; where there are two, the older version's first.
    pub digests: Bounded<Digest, PROOF_DIGESTS_MAX>,
}
