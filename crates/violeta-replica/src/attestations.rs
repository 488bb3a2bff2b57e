//! From executed blocks to certified heads (consensus.md §10, replica.md §2, §3).
//!
//! ```text
//!  Block (root known) ──▶ record in the journal ──sync──▶ machine flushes ──▶ Durable ──▶ attest, send
//!                                                                                             │
//!  others' attestations ─────────────────────────────────────────────▶ a quorum: certificate ◀┘
//!                                                        shares of a quorum, when there is time: seal
//! ```
//!
//! A validator attests a height once: it attests only what its machine made, the machine makes each block once, and a
//! block is in the journal before it is durable in the store. One whose own head differs from a certified one has a
//! fault and stops.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_types::{
    Attestation, Bounded, Certificate, CertifiedHead, Committee, Head, HeadId, Height, Seal,
    StakeTally, ThresholdShare, ValidatorIndex, ValidatorSignature,
};

use crate::limits::{ATTESTED_HEIGHTS_MAX, DIVERGENCES_MAX, REATTESTED_HEIGHTS_MAX};
use crate::machine::Block;

/// Heights that something is kept of.
const TRACKED_HEIGHTS_MAX: usize = 4 * ATTESTED_HEIGHTS_MAX as usize;

/// Two attestations of one validator for different heads of one height: proof that it lies.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ConflictingAttestations {
    /// The one that came first.
    pub first: Attestation,
    /// The one that came later.
    pub second: Attestation,
}

impl ConflictingAttestations {
    /// Whether it says what it is for: two heads, of one height and one validator. Signatures are checked before.
    fn is_conflict(&self) -> bool {
        let of = |attestation: &Attestation| (attestation.height, attestation.validator);
        of(&self.first) == of(&self.second) && self.first.head != self.second.head
    }
}

/// What a replica keeps when it finds that a quorum made another block (replica.md §2).
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Divergence {
    /// The head made here.
    pub ours: HeadId,
    /// The quorum's word for another one.
    pub certificate: Certificate,
}

/// What an attestation led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// A head that has its certificate now.
    pub certified: Option<CertifiedHead>,
    /// A proof that the validator lies.
    pub conflict: Option<Box<ConflictingAttestations>>,
}

/// A quorum vouches for another head than the one that was made here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at height {height} a quorum vouches for head {theirs}, and this replica made {ours}: it has a \
     fault (a bug, bit rot or bad memory); keep its data for inspection and restore it from a healthy replica"
)]
pub struct Diverged {
    /// The height.
    pub height: Height,
    /// The head made here.
    pub ours: HeadId,
    /// The certified head.
    pub theirs: HeadId,
}

/// Executed again after a restart, a block isn't the one that the journal has. No quorum has said which is right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "at height {height} the journal has a block with head {recorded}, and the same commits, executed again now, give \
     {executed}: the store below is damaged, another version of the program made the block, or memory was bad; keep a \
     copy of the data, move the store aside and start again, so that it is built anew from the journal, and if that \
     ends here too, restore this replica from a healthy one"
)]
pub struct Contradiction {
    /// The height.
    pub height: Height,
    /// The head in the journal.
    pub recorded: HeadId,
    /// The head made now.
    pub executed: HeadId,
}

#[derive(Debug, Default)]
struct AtHeight {
    own: Option<(HeadId, Head)>,
    /// The first attestation of each validator.
    attestations: BTreeMap<ValidatorIndex, Attestation>,
    certified: bool,
    sealed: bool,
}

/// A seal that can be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealShares {
    /// The height.
    pub height: Height,
    /// The head.
    pub head: HeadId,
    /// Unchecked shares of at least a threshold of validators.
    pub shares: Vec<(ValidatorIndex, ThresholdShare)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Attestations {
    heights: BTreeMap<Height, AtHeight>,
    /// Executed, not yet attested: head, and the mark of its record in the journal.
    waiting: VecDeque<(Head, u64)>,
    newest_own: Option<Attestation>,
    newest_certified: Option<Arc<CertifiedHead>>,
    newest_executed: Height,
    newest_sealed: Height,
    /// Who attested two heads of one height. One proof each is enough.
    convicted: BTreeMap<ValidatorIndex, ConflictingAttestations>,
    /// What a quorum said against blocks made here.
    divergences: Vec<Divergence>,
}

impl Attestations {
    /// Takes one's own attestation from the journal.
    pub fn restore_own(&mut self, attestation: Attestation) {
        self.newest_own = Some(attestation);
    }

    /// Takes a certified head from the journal.
    pub fn restore_certified(&mut self, certified: Arc<CertifiedHead>) {
        if certified.head.height > self.certified_height() {
            self.newest_certified = Some(certified);
        }
    }

    /// Takes the proof of a lie from the journal. Says whether it is one.
    #[must_use]
    pub fn restore_conflict(&mut self, conflict: ConflictingAttestations) -> bool {
        let proves = conflict.is_conflict();
        if proves {
            self.convicted.insert(conflict.first.validator, conflict);
        }
        proves
    }

    /// Takes from the journal what a quorum said against a block made here.
    pub fn restore_divergence(&mut self, divergence: Divergence) {
        self.divergences.push(divergence);
    }

    /// Proofs of lies, one a validator.
    pub fn conflicts(&self) -> impl Iterator<Item = &ConflictingAttestations> {
        self.convicted.values()
    }

    /// What a quorum said against blocks made here.
    pub fn divergences(&self) -> &[Divergence] {
        &self.divergences
    }

    /// Keeps what a quorum says against a block made here. Says whether it is news, and one of the first.
    pub fn keep_divergence(&mut self, divergence: &Divergence) -> bool {
        let height = divergence.certificate.height;
        let known = |kept: &Divergence| kept.certificate.height == height;
        let keep = self.divergences.len() < DIVERGENCES_MAX && !self.divergences.iter().any(known);
        if keep {
            self.divergences.push(divergence.clone());
        }
        keep
    }

    /// The quorum's word for another head than the one made here, if it is held.
    pub fn certificate_against(
        &self,
        diverged: &Diverged,
        committee: &Committee,
    ) -> Option<Certificate> {
        let (height, theirs) = (diverged.height, diverged.theirs);
        let newest = self.newest_certified.as_ref();
        if let Some(newest) = newest.filter(|newest| newest.certificate.head == theirs) {
            return Some(newest.certificate.clone());
        }
        let attestations = &self.heights.get(&height)?.attestations;
        let vouched = quorum_head(attestations, committee) == Some(theirs);
        vouched.then(|| certificate(height, theirs, attestations))
    }

    /// Takes an executed block's head from the journal. The newest are attested again after the start, unless they
    /// are certified: their attestations may never have left.
    pub fn restore_block(&mut self, head: Head) {
        self.newest_executed = head.height;
        self.waiting.push_back((head, 0));
        while self.waiting.len() > REATTESTED_HEIGHTS_MAX {
            self.waiting.pop_front();
        }
    }

    /// Begins to work with a store at `height`: what lies above will be executed again.
    pub fn start_at(&mut self, height: Height) {
        let certified = self.certified_height();
        self.newest_executed = height;
        self.waiting
            .retain(|(head, _)| head.height <= height && head.height > certified);
        for (head, _) in &self.waiting {
            let entry = self.heights.entry(head.height).or_default();
            entry.own = Some((head.id(), head.clone()));
        }
    }

    /// The newest head with a certificate.
    pub fn newest_certified(&self) -> Option<&Arc<CertifiedHead>> {
        self.newest_certified.as_ref()
    }

    /// The height of the newest head with a certificate; 0 for none.
    pub fn certified_height(&self) -> Height {
        let newest = self.newest_certified.as_ref();
        newest.map_or(Height(0), |certified| certified.head.height)
    }

    /// One's own newest attestation.
    pub fn newest_own(&self) -> Option<&Attestation> {
        self.newest_own.as_ref()
    }

    /// The height of the newest block executed here.
    pub fn executed_height(&self) -> Height {
        self.newest_executed
    }

    /// Heights that something is kept of.
    pub fn tracked(&self) -> usize {
        self.heights.len()
    }

    /// A block was executed; its record carries `mark` in the journal. May complete a certificate.
    ///
    /// # Errors
    /// If a quorum vouches for another head.
    pub fn executed(
        &mut self,
        block: &Block,
        mark: u64,
        committee: &Committee,
    ) -> Result<Option<CertifiedHead>, Diverged> {
        let height = block.head.height;
        assert!(
            height > self.newest_executed,
            "each height is executed once"
        );
        self.newest_executed = height;
        let id = block.head.id();
        if let Some(certified) = &self.newest_certified
            && certified.head.height == height
            && certified.certificate.head != id
        {
            let theirs = certified.certificate.head;
            return Err(Diverged {
                height,
                ours: id,
                theirs,
            });
        }
        self.waiting.push_back((block.head.clone(), mark));
        let entry = self.heights.entry(height).or_default();
        entry.own = Some((id, block.head.clone()));
        let certified = self.complete(height, committee)?;
        self.forget_old();
        Ok(certified)
    }

    /// The blocks that may be attested now: durable in the machine up to `durable`, their records synced up to
    /// `synced`. Each is returned once, but those so far below a certified head, here or `ahead`, that nobody
    /// [wants](Self::is_wanted) an attestation of them: whoever executes a long log again signs for none of it.
    pub fn attestable(&mut self, durable: Height, synced: u64, ahead: Height) -> Vec<Head> {
        let certified = self.certified_height().max(ahead);
        let mut ready = Vec::new();
        while let Some((head, mark)) = self.waiting.front() {
            if head.height > durable || *mark > synced {
                break;
            }
            let head = self.waiting.pop_front().map(|(head, _)| head);
            ready.extend(head.filter(|head| is_recent(head.height, certified)));
        }
        ready
    }

    /// Takes an attestation whose signature has been checked, one's own or another's.
    ///
    /// # Errors
    /// If it completes a certificate for another head than the one made here.
    pub fn take(
        &mut self,
        attestation: Attestation,
        own: bool,
        committee: &Committee,
    ) -> Result<Taken, Diverged> {
        let height = attestation.height;
        let mut taken = Taken::default();
        if own
            && self
                .newest_own
                .as_ref()
                .is_none_or(|newest| newest.height < height)
        {
            self.newest_own = Some(attestation.clone());
        }
        if !self.is_wanted(height) {
            return Ok(taken);
        }
        let entry = self.heights.entry(height).or_default();
        if let Some(first) = entry.attestations.get(&attestation.validator) {
            let validator = attestation.validator;
            if first.head != attestation.head && !self.convicted.contains_key(&validator) {
                let conflict = ConflictingAttestations {
                    first: first.clone(),
                    second: attestation,
                };
                assert!(conflict.is_conflict());
                self.convicted.insert(validator, conflict.clone());
                taken.conflict = Some(Box::new(conflict));
            }
            return Ok(taken);
        }
        entry
            .attestations
            .insert(attestation.validator, attestation);
        taken.certified = self.complete(height, committee)?;
        self.forget_old();
        Ok(taken)
    }

    /// Whether an attestation of this height is still of use. A liar can fill no more than the window.
    pub fn is_wanted(&self, height: Height) -> bool {
        let certified = self.certified_height().0;
        let newest = certified.max(self.newest_executed.0);
        is_recent(height, self.certified_height())
            && height.0 <= newest.saturating_add(ATTESTED_HEIGHTS_MAX)
    }

    /// Whether this validator's attestation of this height is here already, or another one of a convicted liar:
    /// checking its signature would be in vain.
    pub fn has(&self, height: Height, validator: ValidatorIndex, head: &HeadId) -> bool {
        let entry = self.heights.get(&height);
        let known = entry.and_then(|entry| entry.attestations.get(&validator));
        known.is_some_and(|attestation| {
            attestation.head == *head || self.convicted.contains_key(&validator)
        })
    }

    /// Takes a certified head from elsewhere, verified by the caller. Says whether it is news.
    ///
    /// # Errors
    /// If another head was made here at its height.
    pub fn adopt(&mut self, certified: Arc<CertifiedHead>) -> Result<bool, Diverged> {
        let height = certified.head.height;
        let theirs = certified.certificate.head;
        let own = self
            .heights
            .get(&height)
            .and_then(|entry| entry.own.as_ref());
        if let Some(&(ours, _)) = own
            && ours != theirs
        {
            return Err(Diverged {
                height,
                ours,
                theirs,
            });
        }
        let newest = height > self.certified_height();
        let known = self
            .heights
            .get(&height)
            .is_some_and(|entry| entry.certified);
        if let Some(entry) = self.heights.get_mut(&height) {
            entry.certified = true;
        }
        if newest {
            self.newest_certified = Some(certified);
            self.forget_old();
        }
        Ok(newest || !known)
    }

    /// The newest certified head that isn't sealed and has the shares for it.
    pub fn sealable(&self, committee: &Committee) -> Option<SealShares> {
        let (&height, entry) = self
            .heights
            .range(self.newest_sealed.next()..)
            .rev()
            .find(|(_, entry)| entry.certified && !entry.sealed && entry.own.is_some())?;
        let head = entry.own.as_ref()?.0;
        let shares: Vec<_> = entry
            .attestations
            .values()
            .filter(|attestation| attestation.head == head)
            .filter_map(|attestation| Some((attestation.validator, attestation.seal_share?)))
            .collect();
        (shares.len() >= committee.share_threshold()).then_some(SealShares {
            height,
            head,
            shares,
        })
    }

    /// A seal was made.
    pub fn sealed(&mut self, seal: &Seal) {
        self.newest_sealed = self.newest_sealed.max(seal.height);
        if let Some(entry) = self.heights.get_mut(&seal.height) {
            entry.sealed = true;
        }
    }

    /// Bad shares of a seal: they don't count again. Their validators' attestations stay good.
    pub fn drop_shares(&mut self, height: Height, bad: &[ValidatorIndex]) {
        if let Some(entry) = self.heights.get_mut(&height) {
            for validator in bad {
                if let Some(attestation) = entry.attestations.get_mut(validator) {
                    attestation.seal_share = None;
                }
            }
        }
    }

    /// Makes the certificate of a height if a quorum agrees and the head is known here.
    fn complete(
        &mut self,
        height: Height,
        committee: &Committee,
    ) -> Result<Option<CertifiedHead>, Diverged> {
        let Some(entry) = self.heights.get_mut(&height) else {
            return Ok(None);
        };
        let Some((ours, head)) = &entry.own else {
            return Ok(None);
        };
        if entry.certified {
            return Ok(None);
        }
        let Some(theirs) = quorum_head(&entry.attestations, committee) else {
            return Ok(None);
        };
        if theirs != *ours {
            return Err(Diverged {
                height,
                ours: *ours,
                theirs,
            });
        }
        let certificate = certificate(height, theirs, &entry.attestations);
        let head = head.clone();
        entry.certified = true;
        let certified = CertifiedHead { head, certificate };
        if height > self.certified_height() {
            self.newest_certified = Some(Arc::new(certified.clone()));
        }
        Ok(Some(certified))
    }

    fn forget_old(&mut self) {
        let oldest = self
            .certified_height()
            .0
            .saturating_sub(ATTESTED_HEIGHTS_MAX);
        while let Some((&height, _)) = self.heights.first_key_value() {
            if height.0 > oldest {
                break;
            }
            self.heights.pop_first();
        }
        // Certificates can stay away for long (consensus.md §6). The lowest heights go: a later head vouches for them.
        while self.heights.len() > TRACKED_HEIGHTS_MAX {
            self.heights.pop_first();
        }
    }
}

/// Whether attestations of a height are of use to whoever knows a certified head at `certified`, which vouches for all
/// before.
fn is_recent(height: Height, certified: Height) -> bool {
    height.0 > certified.0.saturating_sub(ATTESTED_HEIGHTS_MAX)
}

/// The head that a quorum attests, if there is one.
fn quorum_head(
    attestations: &BTreeMap<ValidatorIndex, Attestation>,
    committee: &Committee,
) -> Option<HeadId> {
    let mut tallies: BTreeMap<HeadId, StakeTally> = BTreeMap::new();
    for attestation in attestations.values() {
        let tally = tallies.entry(attestation.head).or_default();
        tally.add(committee, attestation.validator);
    }
    let quorum = |(_, tally): &(&HeadId, &StakeTally)| tally.is_quorum(committee);
    tallies.iter().find(quorum).map(|(head, _)| *head)
}

fn certificate(
    height: Height,
    head: HeadId,
    attestations: &BTreeMap<ValidatorIndex, Attestation>,
) -> Certificate {
    let signatures: Vec<(ValidatorIndex, ValidatorSignature)> = attestations
        .values()
        .filter(|attestation| attestation.head == head)
        .map(|attestation| (attestation.validator, attestation.signature))
        .collect();
    // One a validator of the committee, whose size is within the bound.
    let signatures = Bounded::try_from(signatures).unwrap_or_default();
    Certificate {
        height,
        head,
        signatures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{attestation, block, committee, head};

    /// No certified head ahead.
    const NONE: Height = Height(0);

    fn take(
        attestations: &mut Attestations,
        validator: u16,
        head: &Head,
    ) -> Result<Taken, Diverged> {
        attestations.take(attestation(validator, head), false, &committee(4))
    }

    #[test]
    fn a_quorum_and_the_own_head_make_a_certificate_in_either_order() {
        let committee = committee(4);
        let head = head(1, 9);
        let mut first = Attestations::default();
        first.executed(&block(1, 9), 1, &committee).unwrap();
        assert_eq!(take(&mut first, 0, &head).unwrap().certified, None);
        assert_eq!(take(&mut first, 2, &head).unwrap().certified, None);
        let by_votes = take(&mut first, 3, &head).unwrap().certified.unwrap();
        let signers: Vec<u16> = by_votes
            .certificate
            .signatures
            .iter()
            .map(|s| s.0.0)
            .collect();
        assert_eq!(signers, [0, 2, 3]);

        let mut last = Attestations::default();
        for validator in [3, 2, 0] {
            assert_eq!(take(&mut last, validator, &head).unwrap().certified, None);
        }
        let by_execution = last.executed(&block(1, 9), 1, &committee).unwrap();
        assert_eq!(by_execution, Some(by_votes));
        assert_eq!(last.certified_height(), Height(1));
    }

    #[test]
    fn one_validator_counts_once_and_two_heads_convict_it() {
        let mut attestations = Attestations::default();
        attestations
            .executed(&block(1, 9), 1, &committee(4))
            .unwrap();
        take(&mut attestations, 1, &head(1, 9)).unwrap();
        for _ in 0..5 {
            let again = take(&mut attestations, 1, &head(1, 9)).unwrap();
            assert_eq!(again, Taken::default());
        }
        let lie = take(&mut attestations, 1, &head(1, 8)).unwrap();
        let conflict = lie.conflict.unwrap();
        assert_eq!(conflict.first.validator, conflict.second.validator);
        assert_ne!(conflict.first.head, conflict.second.head);
        for state in 10..20 {
            let lie = head(1, state);
            assert!(attestations.has(Height(1), ValidatorIndex(1), &lie.id()));
            let again = take(&mut attestations, 1, &lie).unwrap();
            assert_eq!(again, Taken::default(), "one proof is enough");
        }
        take(&mut attestations, 0, &head(1, 9)).unwrap();
        assert_eq!(attestations.certified_height(), Height(0), "two of three");
    }

    #[test]
    fn a_quorum_for_another_head_stops_the_replica() {
        let mut attestations = Attestations::default();
        for validator in [1, 2, 3] {
            take(&mut attestations, validator, &head(1, 8)).unwrap();
        }
        let diverged = attestations
            .executed(&block(1, 9), 1, &committee(4))
            .unwrap_err();
        assert_eq!(diverged.ours, head(1, 9).id());
        assert_eq!(diverged.theirs, head(1, 8).id());
    }

    #[test]
    fn only_a_quorum_s_attestations_make_a_certificate_against_the_own_head() {
        let committee = committee(4);
        let mut attestations = Attestations::default();
        let diverged = Diverged {
            height: Height(1),
            ours: head(1, 9).id(),
            theirs: head(1, 8).id(),
        };
        for (validator, signers) in [(1, None), (2, None), (3, Some([1, 2, 3]))] {
            take(&mut attestations, validator, &head(1, 8)).unwrap();
            let certificate = attestations.certificate_against(&diverged, &committee);
            let found = certificate.map(|c| c.signatures.iter().map(|s| s.0.0).collect());
            assert_eq!(found, signers.map(Vec::from), "with {validator}'s");
        }
        let other = Diverged {
            theirs: head(1, 7).id(),
            ..diverged
        };
        let none = attestations.certificate_against(&other, &committee);
        assert_eq!(none, None, "a quorum, but for another head");
    }

    #[test]
    fn one_liar_cannot_stop_a_replica() {
        let mut attestations = Attestations::default();
        attestations
            .executed(&block(1, 9), 1, &committee(4))
            .unwrap();
        take(&mut attestations, 3, &head(1, 8)).unwrap();
        for validator in [0, 1] {
            take(&mut attestations, validator, &head(1, 9)).unwrap();
        }
        assert!(
            take(&mut attestations, 2, &head(1, 9))
                .unwrap()
                .certified
                .is_some()
        );
    }

    #[test]
    fn nothing_is_attested_before_store_and_journal_are_durable() {
        let mut attestations = Attestations::default();
        for (height, mark) in [(1, 10), (2, 20), (3, 30)] {
            attestations
                .executed(&block(height, 9), mark, &committee(4))
                .unwrap();
        }
        assert!(attestations.attestable(Height(3), 9, NONE).is_empty());
        assert!(attestations.attestable(Height(0), 99, NONE).is_empty());
        let heights = |heads: Vec<Head>| heads.iter().map(|h| h.height.0).collect::<Vec<_>>();
        assert_eq!(heights(attestations.attestable(Height(2), 10, NONE)), [1]);
        assert_eq!(heights(attestations.attestable(Height(2), 30, NONE)), [2]);
        assert_eq!(heights(attestations.attestable(Height(3), 30, NONE)), [3]);
        assert!(
            attestations.attestable(Height(3), 30, NONE).is_empty(),
            "each once"
        );
    }

    #[test]
    fn a_liar_fills_no_more_than_the_window() {
        let mut attestations = Attestations::default();
        for height in (1..100_000).step_by(7) {
            take(&mut attestations, 3, &head(height, 8)).unwrap();
        }
        assert!(attestations.tracked() as u64 <= ATTESTED_HEIGHTS_MAX);
        assert!(!attestations.is_wanted(Height(u64::MAX / 2)));
    }

    #[test]
    fn heights_at_the_end_of_numbers_are_not_wanted_and_hurt_nobody() {
        let mut attestations = Attestations::default();
        for height in [u64::MAX, u64::MAX - 1] {
            assert!(!attestations.is_wanted(Height(height)));
            take(&mut attestations, 3, &head(height, 8)).unwrap();
        }
        assert_eq!(attestations.tracked(), 0);
    }

    #[test]
    fn certificates_that_stay_away_cost_no_more_than_the_window() {
        let mut attestations = Attestations::default();
        let committee = committee(4);
        let end = 4 * ATTESTED_HEIGHTS_MAX;
        for height in 1..=end {
            attestations
                .executed(&block(height, 9), 1, &committee)
                .unwrap();
            // A liar attests as far ahead as anybody listens.
            if height > end - 64 {
                take(
                    &mut attestations,
                    3,
                    &head(height + ATTESTED_HEIGHTS_MAX, 8),
                )
                .unwrap();
            }
            assert!(attestations.tracked() as u64 <= 4 * ATTESTED_HEIGHTS_MAX);
        }
        for validator in [0, 1, 2] {
            take(&mut attestations, validator, &head(end, 9)).unwrap();
        }
        assert_eq!(attestations.certified_height(), Height(end));
    }

    #[test]
    fn a_certificate_from_elsewhere_must_agree_with_what_was_executed() {
        let certified = |state| {
            let head = head(1, state);
            let all: BTreeMap<_, _> = (0..3)
                .map(|v| (ValidatorIndex(v), attestation(v, &head)))
                .collect();
            let certificate = certificate(Height(1), head.id(), &all);
            Arc::new(CertifiedHead { head, certificate })
        };
        let mut attestations = Attestations::default();
        attestations
            .executed(&block(1, 9), 1, &committee(4))
            .unwrap();
        assert!(attestations.adopt(certified(8)).is_err());
        assert_eq!(attestations.adopt(certified(9)), Ok(true));
        assert_eq!(attestations.adopt(certified(9)), Ok(false));
    }

    #[test]
    fn after_a_restart_what_is_not_certified_is_attested_again_once_it_is_durable() {
        let mut attestations = Attestations::default();
        for height in 1..=3 {
            attestations.restore_block(head(height, 9));
        }
        attestations.start_at(Height(2));
        let again = attestations.attestable(Height(2), 0, NONE);
        assert_eq!(again, [head(1, 9), head(2, 9)]);
        attestations
            .executed(&block(3, 9), 1, &committee(4))
            .unwrap();
        assert_eq!(attestations.attestable(Height(3), 1, NONE), [head(3, 9)]);
    }

    #[test]
    fn of_a_long_log_executed_again_only_what_others_want_is_attested() {
        let heights = |found: Vec<Head>| -> Vec<u64> { found.iter().map(|h| h.height.0).collect() };
        let certified = |height: u64| {
            let head = head(height, 9);
            let certificate = certificate(head.height, head.id(), &BTreeMap::new());
            Arc::new(CertifiedHead { head, certificate })
        };
        let newest = ATTESTED_HEIGHTS_MAX + 3;
        let mut attestations = Attestations::default();
        attestations.restore_certified(certified(newest));
        attestations.start_at(Height(0));
        for height in 1..=5 {
            attestations
                .executed(&block(height, 9), 0, &committee(4))
                .unwrap();
        }
        assert_eq!(heights(attestations.attestable(Height(4), 0, NONE)), [4]);
        let ahead = Height(newest + 2);
        assert!(attestations.attestable(Height(5), 0, ahead).is_empty());
        for height in [3, 4] {
            assert_eq!(attestations.is_wanted(Height(height)), height == 4);
        }
    }
}
