//! A commit: one decided leader with the part of its light cone not committed before (consensus.md §6).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::Bounded;
use crate::digest::{Digest, Domain};
use crate::ids::{ChainId, CommitIndex, Epoch, TimeMs};
use crate::keys::ThresholdSignature;
use crate::limits::COMMIT_VERTICES_MAX;
use crate::vertex::VertexRef;

/// One entry of the commit log. The digest of each binds the one before: the log is a hash chain.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Commit {
    /// The epoch that the leader belongs to.
    pub epoch: Epoch,
    /// Position in the log, from 1.
    pub index: CommitIndex,
    /// Digest of the commit before; zero for the first.
    pub previous: Digest,
    /// The committed leader.
    pub leader: VertexRef,
    /// What is committed, in order: round, author, id. The leader is among them.
    pub vertices: Bounded<VertexRef, COMMIT_VERTICES_MAX>,
    /// Never before the commit before; within what honest clocks said.
    pub time: TimeMs,
    /// The coin that elected the leader, where a coin did.
    pub coin: Option<ThresholdSignature>,
}

impl Commit {
    /// The digest that the next commit and the head name this one by.
    pub fn digest(&self, chain: &ChainId) -> Digest {
        let mut hasher = Domain::Commit.hasher();
        hasher.update(chain.as_ref());
        crate::codec::encode_into(self, &mut hasher);
        Digest(*hasher.finalize().as_bytes())
    }
}
