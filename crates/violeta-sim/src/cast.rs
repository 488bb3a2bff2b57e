//! Who takes part: a committee with all its keys, made from the seed.
//!
//! Signatures of vertices, attestations and transactions are real (Ed25519). Coin and seal are made by a hash mock with
//! the threshold's arithmetic and none of its pairings: who lacks a quorum of shares has no signature, bad shares are
//! found and named, and the result is unique. That a pairing says the same is for `violeta-crypto` to show.

use std::sync::Arc;

use violeta_consensus::EpochData;
use violeta_crypto::{ClientSecretKey, MockThreshold, ValidatorSecretKey};
use violeta_types::{
    Admission, Committee, Epoch, Genesis, Member, NodePublicKey, OperatorPublicKey, Parameters,
    Stake, ValidatorIndex,
};

use crate::clock::GENESIS;
use crate::dice::Dice;

/// A committee whose secrets are known, and clients.
pub(crate) struct Cast {
    pub(crate) genesis: Genesis,
    pub(crate) epoch: Arc<EpochData>,
    pub(crate) threshold: MockThreshold,
    validator_seeds: Vec<[u8; 32]>,
    client_seeds: Vec<[u8; 32]>,
}

impl Cast {
    /// A committee of `n` of equal stake, and `clients` clients.
    pub(crate) fn new(n: usize, parameters: Parameters, clients: usize, mut dice: Dice) -> Self {
        let validator_seeds: Vec<_> = (0..n).map(|_| dice.bytes()).collect();
        let client_seeds: Vec<_> = (0..clients).map(|_| dice.bytes()).collect();
        let quorum = n - (n - 1) / 3;
        #[expect(
            clippy::expect_used,
            reason = "a quorum of 1 to 64 members is a possible sharing"
        )]
        let threshold =
            MockThreshold::insecure(n, quorum, dice.bytes()).expect("a possible sharing");
        let member = |(i, seed): (usize, &[u8; 32])| Member {
            stake: Stake(1),
            validator_key: ValidatorSecretKey::from_seed(*seed).public_key(),
            share_key: Some(threshold.share_key(ValidatorIndex(i as u16))),
            node_key: NodePublicKey([i as u8; 32]),
            operator_key: OperatorPublicKey([i as u8; 32]),
        };
        let members = validator_seeds.iter().enumerate().map(member).collect();
        #[expect(
            clippy::expect_used,
            reason = "equal stakes, different keys, at most 64 members"
        )]
        let committee = Committee::new(Epoch(0), members, Some(threshold.group_key()))
            .expect("a possible committee");
        let genesis = Genesis {
            name: "simulation".to_owned(),
            time: GENESIS,
            committee,
            parameters,
            admission: Admission::Open,
            administrators: Default::default(),
        };
        let epoch = Arc::new(EpochData::genesis(&genesis));
        Cast {
            genesis,
            epoch,
            threshold,
            validator_seeds,
            client_seeds,
        }
    }

    /// A validator's key.
    pub(crate) fn validator_key(&self, index: ValidatorIndex) -> ValidatorSecretKey {
        ValidatorSecretKey::from_seed(self.validator_seeds[index.as_usize()])
    }

    /// A client's key.
    pub(crate) fn client_key(&self, client: usize) -> ClientSecretKey {
        ClientSecretKey::from_seed(self.client_seeds[client])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_committee_that_can_be_drawn_is_a_possible_one() {
        for n in 4..=13 {
            let cast = Cast::new(n, Parameters::for_validators(n), 2, Dice::new(n as u64));
            cast.genesis.check().unwrap();
            let key = cast.validator_key(ValidatorIndex(1)).public_key();
            assert_eq!(
                cast.epoch.committee().index_of(&key),
                Some(ValidatorIndex(1))
            );
            assert_ne!(
                cast.client_key(0).public_key(),
                cast.client_key(1).public_key()
            );
        }
    }
}
