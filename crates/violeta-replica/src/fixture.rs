//! What this crate's tests share: a committee with real keys, heads, commits.

use violeta_crypto::ValidatorSecretKey;
use violeta_types::{
    Attestation, ChainId, Commit, CommitIndex, Committee, Digest, Epoch, Head, HeadId, Height,
    Member, NodePublicKey, OperatorPublicKey, Round, Stake, TimeMs, ValidatorIndex, VertexId,
    VertexRef,
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

pub(crate) fn commit(index: u64, previous: Digest) -> Commit {
    let leader = VertexRef {
        round: Round(3 * index),
        author: ValidatorIndex(0),
        id: VertexId(Digest([7; 32])),
    };
    Commit {
        epoch: Epoch(0),
        index: CommitIndex(index),
        previous,
        leader,
        vertices: vec![leader].try_into().unwrap(),
        time: TimeMs(100),
        coin: None,
    }
}
