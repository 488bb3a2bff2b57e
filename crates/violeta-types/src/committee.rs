//! The validators of an epoch, their keys by purpose, and arithmetic with their stake.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::{Bounded, DecodeError};
use crate::digest::{Digest, Domain};
use crate::ids::{Epoch, Stake, ValidatorIndex};
use crate::keys::{
    GroupPublicKey, NodePublicKey, OperatorPublicKey, SharePublicKey, ValidatorPublicKey,
};
use crate::limits::VALIDATORS_MAX;
use crate::seeded::{self, Bug};

/// One validator's entry: a key for each purpose, of distinct types.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Member {
    /// Voting weight.
    pub stake: Stake,
    /// Signs vertices and attestations.
    pub validator_key: ValidatorPublicKey,
    /// Checks this validator's coin and seal shares.
    pub share_key: Option<SharePublicKey>,
    /// Stands in this validator's TLS certificate.
    pub node_key: NodePublicKey,
    /// Signs committee changes.
    pub operator_key: OperatorPublicKey,
}

/// What makes a committee impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// No members.
    #[error("a committee needs at least one member")]
    Empty,
    /// Too many members.
    #[error("{0} members where at most {VALIDATORS_MAX} may be")]
    TooMany(usize),
    /// A member without stake, or stakes whose sum overflows.
    #[error("member {0} has no stake, or the stakes add up to more than 2^63")]
    Stake(ValidatorIndex),
    /// Two members share a key.
    #[error("members {0} and {1} share a key")]
    SharedKey(ValidatorIndex, ValidatorIndex),
    /// A threshold key needs equal stakes and a share key for each member.
    #[error("a group key needs equal stakes and a share key for every member")]
    GroupKey,
}

/// The validators of an epoch. Checked: at least one, stakes that add up, and for each purpose keys that differ from
/// member to member. Across purposes they aren't compared: such keys have different types and sign in different domains,
/// so a key used twice harms nobody but its holder.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize)]
pub struct Committee {
    epoch: Epoch,
    members: Bounded<Member, VALIDATORS_MAX>,
    group_key: Option<GroupPublicKey>,
    #[borsh(skip)]
    #[serde(skip)]
    total: u64,
}

#[derive(BorshDeserialize, Deserialize)]
struct UncheckedCommittee {
    epoch: Epoch,
    members: Bounded<Member, VALIDATORS_MAX>,
    group_key: Option<GroupPublicKey>,
}

impl BorshDeserialize for Committee {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let raw = UncheckedCommittee::deserialize_reader(reader)?;
        Committee::new(raw.epoch, raw.members.into_inner(), raw.group_key)
            .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidData, e))
    }
}

impl<'de> Deserialize<'de> for Committee {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <UncheckedCommittee as Deserialize>::deserialize(deserializer)?;
        Committee::new(raw.epoch, raw.members.into_inner(), raw.group_key)
            .map_err(serde::de::Error::custom)
    }
}

impl Committee {
    /// A committee of `members`, in this order.
    ///
    /// # Errors
    /// If there is no such committee, see [`CommitteeError`].
    pub fn new(
        epoch: Epoch,
        members: Vec<Member>,
        group_key: Option<GroupPublicKey>,
    ) -> Result<Self, CommitteeError> {
        if members.is_empty() {
            return Err(CommitteeError::Empty);
        }
        let count = members.len();
        let mut total: u64 = 0;
        for (i, member) in members.iter().enumerate() {
            let index = ValidatorIndex(i.min(usize::from(u16::MAX)) as u16);
            total = total
                .checked_add(member.stake.0)
                .filter(|&sum| member.stake.0 > 0 && sum < 1 << 63)
                .ok_or(CommitteeError::Stake(index))?;
            let shared = members[..i].iter().position(|other| {
                other.validator_key == member.validator_key
                    || other.node_key == member.node_key
                    || other.operator_key == member.operator_key
                    || (other.share_key.is_some() && other.share_key == member.share_key)
            });
            if let Some(other) = shared {
                return Err(CommitteeError::SharedKey(
                    ValidatorIndex(other as u16),
                    index,
                ));
            }
        }
        let equal = members.iter().all(|m| m.stake == members[0].stake);
        let shares = members.iter().all(|m| m.share_key.is_some());
        if group_key.is_some() && !(equal && shares) {
            return Err(CommitteeError::GroupKey);
        }
        let members = members
            .try_into()
            .map_err(|_| CommitteeError::TooMany(count))?;
        Ok(Committee {
            epoch,
            members,
            group_key,
            total,
        })
    }

    /// The epoch that this committee serves.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The members, in order.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Number of members, `n`.
    #[expect(clippy::len_without_is_empty, reason = "a committee is never empty")]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Every index, in order.
    pub fn indices(&self) -> impl DoubleEndedIterator<Item = ValidatorIndex> + use<> {
        (0..self.members.len() as u16).map(ValidatorIndex)
    }

    /// The member at `index`.
    pub fn member(&self, index: ValidatorIndex) -> Option<&Member> {
        self.members.get(index.as_usize())
    }

    /// Stake of the member at `index`; 0 if there is none.
    pub fn stake(&self, index: ValidatorIndex) -> Stake {
        self.member(index).map_or(Stake(0), |m| m.stake)
    }

    /// The threshold key of coin and seal; none where stakes are unequal.
    pub fn group_key(&self) -> Option<&GroupPublicKey> {
        self.group_key.as_ref()
    }

    /// Who holds this validator key.
    pub fn index_of(&self, key: &ValidatorPublicKey) -> Option<ValidatorIndex> {
        self.indices()
            .find(|i| self.members[i.as_usize()].validator_key == *key)
    }

    /// Who holds this node key.
    pub fn index_of_node(&self, key: &NodePublicKey) -> Option<ValidatorIndex> {
        self.indices()
            .find(|i| self.members[i.as_usize()].node_key == *key)
    }

    /// The stake of all.
    pub fn total_stake(&self) -> Stake {
        Stake(self.total)
    }

    /// `f`: the most stake that may be faulty, ⌊(total − 1) / 3⌋.
    pub fn fault_stake(&self) -> Stake {
        Stake((self.total - 1) / 3)
    }

    /// `Q`: the stake of a quorum, total − f.
    pub fn quorum_stake(&self) -> Stake {
        let slip = u64::from(seeded::is(Bug::QuorumOneTooSmall));
        Stake(self.total - self.fault_stake().0 - slip)
    }

    /// Number of shares that make a threshold signature: `Q` counted in members. Only where stakes are equal.
    pub fn share_threshold(&self) -> usize {
        let n = self.members.len();
        if seeded::is(Bug::CoinAtTooFewShares) {
            return (n - 1) / 3 + 1;
        }
        n - (n - 1) / 3
    }

    /// The digest that heads name the committee by.
    pub fn digest(&self) -> Digest {
        Domain::Committee.hash_encoded(self)
    }

    /// Decodes a committee.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of a possible committee.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        crate::codec::decode(bytes)
    }
}

/// A set of validators and the stake they have together: "Q authors" counts authors once, never votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StakeTally {
    members: u128,
    stake: u64,
}

const _: () = assert!(VALIDATORS_MAX <= 128);

impl StakeTally {
    /// Adds a validator; says whether it was new. One that isn't in the committee is never added.
    pub fn add(&mut self, committee: &Committee, index: ValidatorIndex) -> bool {
        let Some(member) = committee.member(index) else {
            return false;
        };
        let bit = 1u128 << index.0;
        if self.members & bit != 0 && !seeded::is(Bug::AuthorsNotCountedOnce) {
            return false;
        }
        self.members |= bit;
        self.stake += member.stake.0;
        true
    }

    /// Whether the validator is in the set.
    pub fn contains(&self, index: ValidatorIndex) -> bool {
        index.as_usize() < VALIDATORS_MAX && self.members >> index.0 & 1 == 1
    }

    /// The stake of the set.
    pub fn stake(&self) -> Stake {
        Stake(self.stake)
    }

    /// Number of validators in the set.
    pub fn count(&self) -> usize {
        self.members.count_ones() as usize
    }

    /// Whether the set is a quorum: stake of at least `Q`.
    pub fn is_quorum(&self, committee: &Committee) -> bool {
        self.stake >= committee.quorum_stake().0
    }

    /// Whether the set holds at least one honest validator: stake above `f`.
    pub fn exceeds_faults(&self, committee: &Committee) -> bool {
        self.stake > committee.fault_stake().0
    }

    /// The validators, in order.
    pub fn iter(&self) -> impl Iterator<Item = ValidatorIndex> + use<> {
        let members = self.members;
        (0..VALIDATORS_MAX as u16)
            .filter(move |&i| members >> i & 1 == 1)
            .map(ValidatorIndex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(i: u8, stake: u64) -> Member {
        Member {
            stake: Stake(stake),
            validator_key: ValidatorPublicKey([i; 32]),
            share_key: None,
            node_key: NodePublicKey([i; 32]),
            operator_key: OperatorPublicKey([i; 32]),
        }
    }

    fn committee(stakes: &[u64]) -> Committee {
        let members = stakes.iter().zip(0..).map(|(&s, i)| member(i, s)).collect();
        Committee::new(Epoch(0), members, None).unwrap()
    }

    #[test]
    fn quorum_and_fault_stake_for_small_committees() {
        // n: (f, Q), worked out by hand.
        for (n, f, q) in [
            (1, 0, 1),
            (2, 0, 2),
            (3, 0, 3),
            (4, 1, 3),
            (5, 1, 4),
            (6, 1, 5),
            (7, 2, 5),
            (10, 3, 7),
        ] {
            let committee = committee(&vec![1; n]);
            assert_eq!(committee.fault_stake(), Stake(f), "n = {n}");
            assert_eq!(committee.quorum_stake(), Stake(q), "n = {n}");
            assert_eq!(committee.share_threshold() as u64, q, "n = {n}");
        }
    }

    #[test]
    fn an_author_counts_once_and_a_stranger_never() {
        let committee = committee(&[1, 1, 1, 5]);
        let mut tally = StakeTally::default();
        assert!(tally.add(&committee, ValidatorIndex(3)));
        assert!(!tally.add(&committee, ValidatorIndex(3)));
        assert!(!tally.add(&committee, ValidatorIndex(4)));
        assert!(!tally.add(&committee, ValidatorIndex(u16::MAX)));
        assert!(!tally.contains(ValidatorIndex(u16::MAX)));
        assert_eq!(tally.stake(), Stake(5));
        assert!(!tally.is_quorum(&committee), "Q = 8 - 2 = 6");
        assert!(tally.exceeds_faults(&committee));
        assert!(tally.add(&committee, ValidatorIndex(0)));
        assert!(tally.is_quorum(&committee));
    }

    #[test]
    fn impossible_committees_are_refused_also_when_decoded() {
        let refuse = |members: Vec<Member>| Committee::new(Epoch(0), members, None).unwrap_err();
        assert_eq!(refuse(vec![]), CommitteeError::Empty);
        assert_eq!(
            refuse(vec![member(0, 0)]),
            CommitteeError::Stake(ValidatorIndex(0))
        );
        assert_eq!(
            refuse(vec![member(0, 1), member(1, u64::MAX)]),
            CommitteeError::Stake(ValidatorIndex(1))
        );
        assert_eq!(
            refuse(vec![member(7, 1), member(7, 1)]),
            CommitteeError::SharedKey(ValidatorIndex(0), ValidatorIndex(1))
        );
        let with = |change: fn(&mut Member)| {
            let mut members = vec![member(7, 1), member(8, 1), member(9, 1)];
            members.iter_mut().skip(1).for_each(change);
            refuse(members)
        };
        let shared = CommitteeError::SharedKey(ValidatorIndex(1), ValidatorIndex(2));
        assert_eq!(with(|m| m.validator_key.0 = [1; 32]), shared);
        assert_eq!(with(|m| m.node_key.0 = [1; 32]), shared);
        assert_eq!(with(|m| m.operator_key.0 = [1; 32]), shared);
        let share = |m: &mut Member| m.share_key = Some(SharePublicKey([1; 96]));
        assert_eq!(with(share), shared);
        let twins = (
            Epoch(0),
            vec![member(7, 1), member(7, 1)],
            None::<GroupPublicKey>,
        );
        assert!(Committee::decode(&crate::encode(&twins)).is_err());
        let good = committee(&[1, 2]);
        assert_eq!(Committee::decode(&crate::encode(&good)).unwrap(), good);
    }
}
