//! Threshold signatures: the coin and the seal (consensus.md §10, §12).
//!
//! ```text
//!                 share_1 ─┐
//!  message ──▶    share_2 ─┤  any Q of n, lifted by their       one signature:
//!  (coin or seal) share_3 ─┼─▶ Lagrange coefficients ─────────▶ the same whoever the Q are,
//!                    …     │  and added                         good under the group key
//!                 share_n ─┘
//! ```
//!
//! - Fewer than Q = `Committee::share_threshold()` shares say nothing about the signature: the coin of a round is
//!   known to nobody before Q validators have shown their shares, Q − f of them honest.
//! - There is one signature for a message and no other, so nobody can bias the coin by choosing whose shares count.
//! - Who has the group key can check a seal, whoever is in the committee.
//!
//! **The lazy check** (§12). Shares come without being checked. [`Threshold::combine`] takes the first Q, combines
//! them and checks the result against the group key: one pairing check if all is well. Only if that fails are the
//! shares themselves checked, all of them; the bad ones are named, and the rest combined. What comes out has always
//! been checked.
//!
//! **Domains.** [`ThresholdMessage`] can be made for a coin or for a seal and for nothing else, each hashed in its own
//! domain: a coin share is never a seal share, though one sharing of the key serves both.
//!
//! [`BlsThreshold`] is the real thing; [`MockThreshold`] has the same shape and no security, for simulations that
//! would otherwise do little else than pairings. Who uses either sees [`Threshold`] and [`ShareSigner`] only.

mod bls;
mod dealing;
mod field;
mod mock;

use violeta_types::limits::VALIDATORS_MAX;
use violeta_types::{
    ChainId, Digest, Domain, Epoch, HeadId, Round, ThresholdShare, ThresholdSignature,
    ValidatorIndex,
};

pub use bls::{BlsThreshold, ShareSecretKey};
pub use dealing::{Dealing, deal};
pub use mock::{MockShareSigner, MockThreshold};

/// What a group signs together: a coin or a seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThresholdMessage(Digest);

impl ThresholdMessage {
    /// The coin of a round (consensus.md §12: domain ‖ chain ‖ epoch ‖ round).
    pub fn coin(chain: &ChainId, epoch: Epoch, round: Round) -> Self {
        ThresholdMessage(Domain::Coin.hash_parts(&[
            chain.as_ref(),
            &epoch.0.to_le_bytes(),
            &round.0.to_le_bytes(),
        ]))
    }

    /// The seal of a head (consensus.md §10). The head names its chain and epoch.
    pub fn seal(head: &HeadId) -> Self {
        ThresholdMessage(Domain::Seal.hash(head.as_ref()))
    }

    /// The digest that is hashed to the curve.
    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

/// What came of combining shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Combined {
    /// The group's signature, checked; none while good shares of fewer than Q members are here.
    pub signature: Option<ThresholdSignature>,
    /// Whose shares were found bad, by rising index: bytes that are no share, shares of another message or key,
    /// indices outside the committee. Not all need be found: if the first Q shares are good, no other is looked at.
    pub bad: Vec<ValidatorIndex>,
}

/// The public side of a threshold key: whoever has it can combine and check.
pub trait Threshold: Send + Sync {
    /// Q: how many members' shares make a signature.
    fn threshold(&self) -> usize;

    /// Combines unchecked shares; checks lazily (see the head of this module). The first shares are tried first, so
    /// a caller who remembers liars puts theirs last. A member counts once however many shares come in its name; if
    /// one of them is good it counts, and if one is bad it is blamed (so a share must come here under the name of who
    /// signed the vertex or attestation that held it).
    fn combine(
        &self,
        message: &ThresholdMessage,
        shares: &[(ValidatorIndex, ThresholdShare)],
    ) -> Combined;

    /// [`combine`](Self::combine) of several messages. If all goes well one check does for all of them.
    fn combine_all(
        &self,
        batch: &[(ThresholdMessage, &[(ValidatorIndex, ThresholdShare)])],
    ) -> Vec<Combined> {
        let each = batch.iter();
        each.map(|(message, shares)| self.combine(message, shares))
            .collect()
    }

    /// Whether this is the group's signature.
    fn verify(&self, message: &ThresholdMessage, signature: &ThresholdSignature) -> bool;

    /// Whether this is the holder's share. For evidence; [`Threshold::combine`] needs no share checked before.
    fn verify_share(
        &self,
        message: &ThresholdMessage,
        holder: ValidatorIndex,
        share: &ThresholdShare,
    ) -> bool;
}

/// The secret side: one member's share of a threshold key.
pub trait ShareSigner: Send + Sync {
    /// This member's share of the group's signature.
    fn share(&self, message: &ThresholdMessage) -> ThresholdShare;
}

/// Why there can't be such a threshold key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// Impossible numbers.
    #[error(
        "no key can be shared among {members} members with threshold {threshold}: there must be 1 to \
         {VALIDATORS_MAX} members, and a threshold from 1 to their number"
    )]
    Size {
        /// Number of members.
        members: usize,
        /// Number of shares that should make a signature.
        threshold: usize,
    },
    /// Not a point of the group, or the neutral one.
    #[error(
        "the group key isn't a point of G2 other than infinity: take it from the dealing again"
    )]
    GroupKey,
    /// Not a point of the group, or the neutral one.
    #[error(
        "the share key of member {0} isn't a point of G2 other than infinity: take it from the dealing again"
    )]
    ShareKey(ValidatorIndex),
    /// Keys that can't have come from one dealing with this threshold.
    #[error(
        "group key and share keys aren't of one dealing with threshold {0}: take all of them from the same one"
    )]
    NotOneSharing(usize),
    /// Zero, or not below the order of the group.
    #[error("the bytes aren't a secret share: restore the key file")]
    SecretShare,
}

/// Checks the numbers of a sharing.
fn check_size(members: usize, threshold: usize) -> Result<(), ThresholdError> {
    if (1..=VALIDATORS_MAX).contains(&members) && (1..=members).contains(&threshold) {
        Ok(())
    } else {
        Err(ThresholdError::Size { members, threshold })
    }
}

#[cfg(test)]
mod scenarios;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_messages_are_the_same() {
        let (chain, other) = (ChainId::default(), ChainId(Domain::Genesis.hash(b"other")));
        let messages = [
            ThresholdMessage::coin(&chain, Epoch(1), Round(2)),
            ThresholdMessage::coin(&chain, Epoch(2), Round(1)),
            ThresholdMessage::coin(&chain, Epoch(1), Round(3)),
            ThresholdMessage::coin(&other, Epoch(1), Round(2)),
            ThresholdMessage::seal(&HeadId(chain.0)),
            ThresholdMessage::seal(&HeadId(other.0)),
        ];
        for (i, message) in messages.iter().enumerate() {
            assert!(!messages[..i].contains(message));
        }
    }

    #[test]
    fn a_sharing_needs_members_and_a_threshold_that_they_can_reach() {
        for (members, threshold) in [(1, 1), (4, 3), (VALIDATORS_MAX, VALIDATORS_MAX)] {
            assert_eq!(check_size(members, threshold), Ok(()));
        }
        for (members, threshold) in [(0, 0), (4, 0), (4, 5), (VALIDATORS_MAX + 1, 1)] {
            let error = check_size(members, threshold).unwrap_err();
            assert_eq!(error, ThresholdError::Size { members, threshold });
        }
    }
}
