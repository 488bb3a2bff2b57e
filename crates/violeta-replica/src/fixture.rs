//! What this crate's tests share: a committee with real keys, heads, commits.

use bytes::Bytes;
use violeta_consensus::{EpochData, ValidVertex, trust_vertex};
use violeta_crypto::ValidatorSecretKey;
use violeta_types::{
    Attestation, ChainId, Commit, CommitIndex, Committee, Digest, Election, Epoch, Head, HeadId,
    Height, Member, NodePublicKey, OperatorPublicKey, Parameters, Payload, Round, SignedHeader,
    Stake, TimeMs, ValidatorIndex, Vertex, VertexHeader, VertexId, VertexRef, encode,
};

use crate::machine::Block;

pub(crate) const CHAIN: ChainId = ChainId(Digest([3; 32]));

pub(crate) fn key(index: u16) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([index as u8 + 1; 32])
}

pub(crate) fn committee(n: u16) -> Committee {
    let member = |index: u16| Member {
        stake: Stake(1),
        validator_key: key(index).public_key(),
        share_key: None,
        node_key: NodePublicKey([index as u8; 32]),
        operator_key: OperatorPublicKey([index as u8; 32]),
    };
    Committee::new(Epoch(0), (0..n).map(member).collect(), None).unwrap()
}

pub(crate) fn head(height: u64, state: u8) -> Head {
    Head {
        chain: CHAIN,
        epoch: Epoch(0),
        height: Height(height),
        previous: HeadId::default(),
        commit_index: CommitIndex(height),
        commit_digest: Digest::ZERO,
        time: TimeMs(0),
        transactions_root: Digest::ZERO,
        results_root: Digest::ZERO,
        state_root: Digest([state; 32]),
        history_root: Digest::ZERO,
        committee: Digest::ZERO,
        next_committee: Digest::ZERO,
    }
}

pub(crate) fn block(height: u64, state: u8) -> Block {
    Block {
        head: head(height, state),
        outcomes: Vec::new().try_into().unwrap(),
    }
}

pub(crate) fn attestation(validator: u16, head: &Head) -> Attestation {
    Attestation {
        height: head.height,
        head: head.id(),
        validator: ValidatorIndex(validator),
        signature: key(validator).sign_attestation(&head.id()),
        seal_share: None,
    }
}

/// A commit of a vertex that nobody has.
pub(crate) fn commit(index: u64, previous: Digest) -> Commit {
    let leader = VertexRef {
        round: Round(3 * index),
        author: ValidatorIndex(0),
        id: VertexId(Digest([7; 32])),
    };
    commit_of(index, previous, vec![leader])
}

/// A commit of these vertices, of which the first leads.
fn commit_of(index: u64, previous: Digest, vertices: Vec<VertexRef>) -> Commit {
    Commit {
        epoch: Epoch(0),
        index: CommitIndex(index),
        previous,
        leader: vertices[0],
        vertices: vertices.try_into().unwrap(),
        time: TimeMs(100),
        coin: None,
    }
}

/// Commits 1 … n in a chain, of so many of their round's vertices each, and a head that binds the last.
pub(crate) fn chain(n: u64, vertices: impl Fn(u64) -> u16) -> (Vec<Commit>, Head) {
    let mut previous = Digest::ZERO;
    let mut commits = Vec::new();
    for index in 1..=n {
        let reference = |author| *vertex(index, author).reference();
        let commit = commit_of(
            index,
            previous,
            (0..vertices(index)).map(reference).collect(),
        );
        previous = commit.digest(&CHAIN);
        commits.push(commit);
    }
    let head = Head {
        commit_index: CommitIndex(n),
        commit_digest: previous,
        ..head(1, 1)
    };
    (commits, head)
}

/// A committee of four, its leaders drawn from the seed.
pub(crate) fn epoch() -> EpochData {
    let parameters = Parameters {
        election: Election::Seeded,
        ..Parameters::for_validators(4)
    };
    let base = (CommitIndex(0), Digest::ZERO);
    EpochData::new(
        CHAIN,
        committee(4),
        parameters,
        Digest([5; 32]),
        TimeMs(0),
        base,
    )
}

/// The one vertex of a slot, properly signed; its parents but those of round 0 don't exist.
pub(crate) fn vertex(round: u64, author: u16) -> ValidVertex {
    let epoch = epoch();
    let mut parents = match round {
        1 => epoch.virtual_vertices().to_vec(),
        _ => (0..4)
            .map(|author| VertexRef {
                round: Round(round - 1),
                author: ValidatorIndex(author),
                id: VertexId(Digest([author as u8 + 1; 32])),
            })
            .collect(),
    };
    parents[..=author as usize].rotate_right(1);
    let payload = Payload::default();
    let header = VertexHeader {
        epoch: Epoch(0),
        round: Round(round),
        author: ValidatorIndex(author),
        parents: parents.try_into().unwrap(),
        payload: payload.commitment(),
        coin_share: None,
        end_mark: false,
        timestamp: TimeMs(1),
    };
    let signature = key(author).sign_vertex(&header.id(&CHAIN));
    let signed = SignedHeader { header, signature };
    let bytes = Bytes::from(encode(&Vertex { signed, payload }));
    trust_vertex(&bytes, &epoch).unwrap()
}
