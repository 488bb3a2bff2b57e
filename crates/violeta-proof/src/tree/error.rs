//! What can be wrong with a proof of many keys.

use violeta_types::Digest;

use super::proof::TreeProofError;

/// What a partial tree consists of, besides its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// An opened node.
    Node,
    /// An opened leaf.
    Leaf,
    /// The digest of what is closed.
    Digest,
}

impl std::fmt::Display for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Piece::Node => "node",
            Piece::Leaf => "leaf",
            Piece::Digest => "digest",
        })
    }
}

/// Which of the versions that a change proof is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The older version. A proof of one version speaks of the newer one.
    Old,
    /// The newer version, or the only one.
    New,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Side::Old => "the older version",
            Side::New => "the version",
        })
    }
}

/// Why a proof of many keys doesn't convince. Whoever sent it lies, or answers another question: ask another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartialTreeError {
    /// The question is at fault: it asks for no key, or for a range that ends before it begins.
    #[error("nothing is asked: no key, or a range that ends before it begins")]
    NothingAsked,
    /// More keys are asked for than a proof may be about.
    #[error("{count} keys are asked for, at most {max} may be: ask in parts")]
    TooManyKeys {
        /// How many.
        count: usize,
        /// How many may be.
        max: usize,
    },
    /// The way to the space is wrong.
    #[error("the way to the space in {side} is wrong: {error}")]
    Space {
        /// In which version.
        side: Side,
        /// What is wrong.
        error: TreeProofError,
    },
    /// The shape asks for more than the proof holds.
    #[error("the proof ends early: a {0} is missing")]
    Missing(Piece),
    /// The proof holds more than its shape asks for.
    #[error("the proof has a {0} too many")]
    Surplus(Piece),
    /// An opened node without children.
    #[error("the node at depth {depth} has no children")]
    EmptyNode {
        /// Where.
        depth: usize,
    },
    /// A node below the end of every path.
    #[error("there is a node below the end of all paths")]
    TooDeep,
    /// A node's own account of its slots contradicts itself, or the question: it marks as open, or as leaves, slots
    /// that can't be, or leaves closed what must be open.
    #[error("the node at depth {depth} opens other slots than the question asks for")]
    Slots {
        /// Where.
        depth: usize,
    },
    /// A leaf whose path doesn't lead to where it is.
    #[error("a leaf at depth {depth} belongs elsewhere")]
    LeafElsewhere {
        /// Where it is said to be.
        depth: usize,
    },
    /// A leaf of a chunk without its value, or one beside the chunk's range with it.
    #[error("a leaf at depth {depth} lacks its value, or has one where none belongs")]
    LeafForm {
        /// Where it is said to be.
        depth: usize,
    },
    /// The leaves of a change proof aren't what the shape asks for at this place.
    #[error("at depth {depth} the leaves don't fit the two versions' shapes")]
    LeafSides {
        /// Where.
        depth: usize,
    },
    /// Two leaves are out of order, or one is there twice.
    #[error("a leaf at depth {depth} is out of order")]
    LeafOrder {
        /// Where.
        depth: usize,
    },
    /// What is the same in both versions is opened, or told as a change.
    #[error("at depth {depth} nothing differs, and yet it is opened")]
    OpenedInVain {
        /// Where.
        depth: usize,
    },
    /// What differs is said to be the same.
    #[error("at depth {depth} what has other slots filled is said to be the same")]
    ClosedTooMuch {
        /// Where.
        depth: usize,
    },
    /// The range is said to be proved up to a path that ends none of its leaves, or isn't inside of it.
    #[error("the proof ends its range where no leaf of it is")]
    CutElsewhere,
    /// The proof is sound in itself but leads to another root.
    #[error("in {side} the space's tree leads to the root {found}, not to {expected}")]
    Root {
        /// In which version.
        side: Side,
        /// Where it leads.
        found: Digest,
        /// Where it should.
        expected: Digest,
    },
    /// A key is claimed to be absent, and has a value.
    #[error("claim {claim} says that its key is absent, and it has a value")]
    ClaimedAbsent {
        /// Which claim, counted from 0.
        claim: usize,
    },
    /// A key is claimed to have a value, and is absent, or isn't the next one of the range.
    #[error("claim {claim} names a key that isn't there")]
    ClaimedPresent {
        /// Which claim, counted from 0.
        claim: usize,
    },
    /// A key has another value than is claimed.
    #[error("claim {claim} says another value than the key has")]
    ClaimedOtherwise {
        /// Which claim, counted from 0.
        claim: usize,
    },
    /// There is more than is claimed to be all.
    #[error("the range has more in it than the {claims} claims say")]
    ClaimedTooLittle {
        /// How many claims there are.
        claims: usize,
    },
}

impl PartialTreeError {
    pub(super) fn space(side: Side) -> impl Fn(TreeProofError) -> Self {
        move |error| PartialTreeError::Space { side, error }
    }

    pub(super) fn require_root(
        side: Side,
        found: Digest,
        expected: Digest,
    ) -> Result<(), PartialTreeError> {
        if found == expected {
            return Ok(());
        }
        Err(PartialTreeError::Root {
            side,
            found,
            expected,
        })
    }
}
