//! A hash in the shape of a threshold signature, for tests and simulation only.
//!
//! ```text
//!  share i    = H(seed ‖ "share" ‖ i ‖ message)         48 bytes
//!  signature  = H(seed ‖ "group" ‖ message)             48 bytes, given out for Q distinct good shares
//! ```
//!
//! It behaves like [`super::BlsThreshold`] towards whoever plays by the rules and whoever sends bad shares: unique,
//! independent of whose shares were combined, bad ones named. It keeps nothing secret: **everybody who can check can
//! also sign**, so a simulated adversary must be kept from calling it for others.

use std::collections::BTreeSet;

use violeta_types::{
    Domain, GroupPublicKey, SharePublicKey, ThresholdShare, ThresholdSignature, ValidatorIndex,
};

use super::{Combined, ShareSigner, Threshold, ThresholdError, ThresholdMessage, check_size};

/// The public side of the mock. Both sides, in truth.
#[derive(Clone, Debug)]
pub struct MockThreshold {
    seed: [u8; 32],
    members: usize,
    threshold: usize,
}

/// One member's side of the mock.
#[derive(Clone, Debug)]
pub struct MockShareSigner {
    group: MockThreshold,
    holder: ValidatorIndex,
}

impl MockThreshold {
    /// A mock: it has no security whatever.
    ///
    /// # Errors
    /// If a real key couldn't be shared like this.
    pub fn insecure(
        members: usize,
        threshold: usize,
        seed: [u8; 32],
    ) -> Result<Self, ThresholdError> {
        check_size(members, threshold)?;
        Ok(MockThreshold {
            seed,
            members,
            threshold,
        })
    }

    /// Bytes for the place of the group key in a committee. No point of a curve.
    pub fn group_key(&self) -> GroupPublicKey {
        GroupPublicKey(self.hash(b"group key", &[]))
    }

    /// Bytes for the place of a member's share key in a committee. No point of a curve.
    pub fn share_key(&self, holder: ValidatorIndex) -> SharePublicKey {
        SharePublicKey(self.hash(b"share key", &holder.0.to_le_bytes()))
    }

    /// The signer of a member.
    pub fn signer(&self, holder: ValidatorIndex) -> MockShareSigner {
        MockShareSigner {
            group: self.clone(),
            holder,
        }
    }

    fn share(&self, holder: ValidatorIndex, message: &ThresholdMessage) -> ThresholdShare {
        let mut rest = holder.0.to_le_bytes().to_vec();
        rest.extend(message.digest().0);
        ThresholdShare(self.hash(b"share    ", &rest))
    }

    fn signature(&self, message: &ThresholdMessage) -> ThresholdSignature {
        ThresholdSignature(self.hash(b"group    ", &message.digest().0))
    }

    fn hash<const N: usize>(&self, what: &[u8; 9], rest: &[u8]) -> [u8; N] {
        let mut hasher = Domain::MockThreshold.hasher();
        hasher.update(&self.seed);
        hasher.update(what);
        hasher.update(rest);
        let mut out = [0; N];
        hasher.finalize_xof().fill(&mut out);
        out
    }
}

impl Threshold for MockThreshold {
    fn threshold(&self) -> usize {
        self.threshold
    }

    fn combine(
        &self,
        message: &ThresholdMessage,
        shares: &[(ValidatorIndex, ThresholdShare)],
    ) -> Combined {
        let (mut good, mut bad) = (BTreeSet::new(), BTreeSet::new());
        for (holder, share) in shares {
            if self.verify_share(message, *holder, share) {
                good.insert(*holder);
            } else {
                bad.insert(*holder);
            }
        }
        Combined {
            signature: (good.len() >= self.threshold).then(|| self.signature(message)),
            bad: bad.into_iter().collect(),
        }
    }

    fn verify(&self, message: &ThresholdMessage, signature: &ThresholdSignature) -> bool {
        self.signature(message) == *signature
    }

    fn verify_share(
        &self,
        message: &ThresholdMessage,
        holder: ValidatorIndex,
        share: &ThresholdShare,
    ) -> bool {
        holder.as_usize() < self.members && self.share(holder, message) == *share
    }
}

impl ShareSigner for MockShareSigner {
    fn share(&self, message: &ThresholdMessage) -> ThresholdShare {
        self.group.share(self.holder, message)
    }
}
