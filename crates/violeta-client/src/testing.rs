//! A committee for the tests of this crate.

use violeta_crypto::ValidatorSecretKey;
use violeta_types::{Committee, Epoch, Member, NodePublicKey, OperatorPublicKey, Stake};

pub(crate) fn secret(i: u8) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([i + 1; 32])
}

pub(crate) fn committee(n: u8) -> Committee {
    let members = (0..n).map(|i| Member {
        stake: Stake(1),
        validator_key: secret(i).public_key(),
        share_key: None,
        node_key: NodePublicKey([i; 32]),
        operator_key: OperatorPublicKey([i; 32]),
    });
    Committee::new(Epoch(0), members.collect(), None).unwrap()
}
