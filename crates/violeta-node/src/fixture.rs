//! Made-up blocks and certificates, for tests.

use violeta_replica::Block;
use violeta_types::{
    Certificate, CertifiedHead, ChainId, CommitIndex, Digest, Epoch, Head, HeadId, Height, Outcome,
    Seal, ThresholdSignature, TimeMs, TxId,
};

pub(crate) fn chain() -> ChainId {
    ChainId(Digest([1; 32]))
}

pub(crate) fn tx(i: u64) -> TxId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&i.to_be_bytes());
    TxId(Digest(bytes))
}

/// The block at `height`, made of commit 2 × `height`, with these transactions.
pub(crate) fn block(height: u64, ids: &[u64]) -> Block {
    let outcomes: Vec<_> = ids
        .iter()
        .zip(0..)
        .map(|(&i, index)| Outcome {
            height: Height(height),
            index,
            transaction: tx(i),
            refused: None,
        })
        .collect();
    let zero = Digest::ZERO;
    Block {
        head: Head {
            chain: chain(),
            epoch: Epoch(0),
            height: Height(height),
            previous: HeadId(zero),
            commit_index: CommitIndex(2 * height),
            commit_digest: zero,
            time: TimeMs(1_000 * height),
            transactions_root: zero,
            results_root: zero,
            state_root: zero,
            history_root: zero,
            committee: zero,
            next_committee: zero,
        },
        outcomes: outcomes.try_into().unwrap(),
    }
}

pub(crate) fn certified(height: u64) -> CertifiedHead {
    let head = block(height, &[]).head;
    let certificate = Certificate {
        height: head.height,
        head: head.id(),
        signatures: Vec::new().try_into().unwrap(),
    };
    CertifiedHead { head, certificate }
}

pub(crate) fn seal(height: u64) -> Seal {
    Seal {
        height: Height(height),
        head: block(height, &[]).head.id(),
        signature: ThresholdSignature([7; 48]),
    }
}
