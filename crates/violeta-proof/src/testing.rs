//! Committees, heads and vouches for the tests of this crate.

use violeta_crypto::ValidatorSecretKey;
use violeta_types::{
    Certificate, ChainId, CommitIndex, Committee, Digest, Domain, Epoch, Head, HeadId, Height,
    Member, NodePublicKey, OperatorPublicKey, Stake, TimeMs, ValidatorIndex,
};

pub(crate) fn secret(i: u8) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([i + 1; 32])
}

pub(crate) fn committee(stakes: &[u64]) -> Committee {
    let members = (0..)
        .zip(stakes)
        .map(|(i, stake)| Member {
            stake: Stake(*stake),
            validator_key: secret(i).public_key(),
            share_key: None,
            node_key: NodePublicKey([i; 32]),
            operator_key: OperatorPublicKey([i; 32]),
        })
        .collect();
    Committee::new(Epoch(0), members, None).unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Domain::File.hash(text.as_bytes())
}

pub(crate) fn chain() -> ChainId {
    ChainId(digest("chain"))
}

pub(crate) fn head(height: u64, committee: &Committee) -> Head {
    Head {
        chain: chain(),
        epoch: Epoch(0),
        height: Height(height),
        previous: HeadId(digest("previous")),
        commit_index: CommitIndex(2 * height),
        commit_digest: digest("commit"),
        time: TimeMs(1_700_000_000_000),
        transactions_root: digest("transactions"),
        results_root: digest("results"),
        state_root: digest("state"),
        history_root: digest("history"),
        committee: committee.digest(),
        next_committee: committee.digest(),
    }
}

pub(crate) fn certificate(head: &Head, signers: &[u8]) -> Certificate {
    let id = head.id();
    let signatures: Vec<_> = signers
        .iter()
        .map(|&i| {
            let signature = secret(i).sign_attestation(&id);
            (ValidatorIndex(u16::from(i)), signature)
        })
        .collect();
    Certificate {
        height: head.height,
        head: id,
        signatures: signatures.try_into().unwrap(),
    }
}

/// Every encoding with one bit flipped, and every one cut short.
pub(crate) fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flipped = (0..bytes.len() * 8).map(|bit| {
        let mut copy = bytes.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        copy
    });
    flipped.chain((0..bytes.len()).map(|len| bytes[..len].to_vec()))
}
