//! A commit: one decided leader with the part of its light cone not committed before (consensus.md §6).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::Bounded;
use crate::digest::{Digest, Domain};
use crate::ids::{ChainId, CommitIndex, Epoch, TimeMs};
use crate::keys::ThresholdSignature;
use crate::limits::{COMMIT_BYTES_MAX, COMMIT_VERTICES_MAX};
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

    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        let coin = self.coin.map_or(0, |coin| coin.0.len());
        FIXED_BYTES + coin + self.vertices.len() * VERTEX_REF_BYTES
    }
}

/// Round, author, id.
const VERTEX_REF_BYTES: usize = 8 + 2 + 32;
/// Epoch, index, previous, leader, the number of vertices, time, whether there is a coin.
const FIXED_BYTES: usize = 8 + 8 + 32 + VERTEX_REF_BYTES + 4 + 8 + 1;

const _: () = assert!(
    FIXED_BYTES + size_of::<ThresholdSignature>() + COMMIT_VERTICES_MAX * VERTEX_REF_BYTES
        <= COMMIT_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::encode;
    use crate::ids::{Round, ValidatorIndex};
    use crate::vertex::VertexId;

    #[test]
    fn the_length_is_that_of_the_encoding() {
        let leader = VertexRef {
            round: Round(7),
            author: ValidatorIndex(1),
            id: VertexId(Digest([1; 32])),
        };
        for count in [0, 1, 5] {
            for coin in [None, Some(ThresholdSignature([2; 48]))] {
                let commit = Commit {
                    epoch: Epoch(0),
                    index: CommitIndex(3),
                    previous: Digest::ZERO,
                    leader,
                    vertices: vec![leader; count].try_into().unwrap(),
                    time: TimeMs(9),
                    coin,
                };
                assert_eq!(commit.encoded_len(), encode(&commit).len());
            }
        }
    }
}
