//! One head a height, each transaction once, no two certificates.

use std::collections::BTreeMap;

use violeta_types::{CertifiedHead, Head, HeadId, Height, Outcome, TxId, ValidatorIndex};

use super::{Property, Verdict, Violation, ensure};

struct Canonical {
    id: HeadId,
    head: Head,
    by: ValidatorIndex,
}

/// The blocks, as the first to execute each had it.
pub(crate) struct Blocks {
    validators: usize,
    heads: Vec<Canonical>,
    outcomes: BTreeMap<TxId, Outcome>,
    certified: BTreeMap<Height, (HeadId, ValidatorIndex)>,
    /// The newest height that each validator has executed in its present life.
    heights: BTreeMap<ValidatorIndex, Height>,
}

impl Blocks {
    pub(crate) fn new(validators: usize) -> Self {
        Blocks {
            validators,
            heads: Vec::new(),
            outcomes: BTreeMap::new(),
            certified: BTreeMap::new(),
            heights: BTreeMap::new(),
        }
    }

    /// The newest height.
    pub(crate) fn height(&self) -> Height {
        Height(self.heads.len() as u64)
    }

    /// The newest certified height.
    pub(crate) fn certified_height(&self) -> Height {
        self.certified
            .last_key_value()
            .map_or(Height(0), |(height, _)| *height)
    }

    /// What became of a transaction.
    pub(crate) fn outcome(&self, id: &TxId) -> Option<&Outcome> {
        self.outcomes.get(id)
    }

    /// How many transactions have an outcome.
    pub(crate) fn outcomes_count(&self) -> u64 {
        self.outcomes.len() as u64
    }

    /// The head at a height.
    pub(crate) fn head(&self, height: Height) -> Option<&Head> {
        let position = height.checked_previous()?.0 as usize;
        self.heads.get(position).map(|canonical| &canonical.head)
    }

    /// A validator starts with a store at this height.
    pub(crate) fn restarted(&mut self, who: ValidatorIndex, height: Height) {
        self.heights.insert(who, height);
    }

    /// A validator executed a block. Says whether nobody had got that far before.
    pub(crate) fn executed(
        &mut self,
        who: ValidatorIndex,
        head: &Head,
        outcomes: &[Outcome],
    ) -> Result<bool, Violation> {
        let height = head.height;
        let before = self.heights.insert(who, height).unwrap_or_default();
        ensure!(
            height == before.next(),
            Property::EqualHeads,
            "validator {who} went from height {before} to height {height}"
        );
        let id = head.id();
        if let Some(known) = self.heads.get(height.0 as usize - 1) {
            ensure!(
                known.head.state_root == head.state_root,
                Property::EqualHeads,
                "at height {height} validator {who} has state root {}, validator {} {}",
                head.state_root,
                known.by,
                known.head.state_root
            );
            ensure!(
                known.id == id,
                Property::EqualHeads,
                "at height {height} validator {who} has head {id}, validator {} {}: {head:?} against {:?}",
                known.by,
                known.id,
                known.head
            );
            return Ok(false);
        }
        self.extend(who, head, id, outcomes)?;
        Ok(true)
    }

    fn extend(
        &mut self,
        who: ValidatorIndex,
        head: &Head,
        id: HeadId,
        outcomes: &[Outcome],
    ) -> Verdict {
        let height = head.height;
        let previous = self
            .heads
            .last()
            .map_or(HeadId::default(), |canonical| canonical.id);
        ensure!(
            head.previous == previous,
            Property::EqualHeads,
            "the head of height {height} names {} as the one before, which is {previous}",
            head.previous
        );
        for (index, outcome) in (0..).zip(outcomes) {
            ensure!(
                outcome.height == height && outcome.index == index,
                Property::EqualHeads,
                "an outcome at height {height}, place {index} says that it is {outcome:?}"
            );
            let first = self.outcomes.insert(outcome.transaction, outcome.clone());
            ensure!(
                first.is_none(),
                Property::ExactlyOnce,
                "transaction {} has an outcome at height {height} and before: {first:?}",
                outcome.transaction
            );
        }
        let (head, by) = (head.clone(), who);
        self.heads.push(Canonical { id, head, by });
        Ok(())
    }

    /// A validator took a head for certified.
    pub(crate) fn certified(&mut self, who: ValidatorIndex, certified: &CertifiedHead) -> Verdict {
        let (height, id) = (certified.head.height, certified.head.id());
        let certificate = &certified.certificate;
        ensure!(
            certificate.height == height && certificate.head == id,
            Property::Certificates,
            "validator {who} took a certificate of {} for one of {id}",
            certificate.head
        );
        // Its own count: more than two thirds of all, each once.
        let mut signers: Vec<u16> = certificate.signatures.iter().map(|(v, _)| v.0).collect();
        signers.sort_unstable();
        signers.dedup();
        let known = signers
            .iter()
            .filter(|&&v| usize::from(v) < self.validators)
            .count();
        ensure!(
            known == certificate.signatures.len() && 3 * known > 2 * self.validators,
            Property::Certificates,
            "validator {who} took {known} signatures of {} for a quorum at height {height}",
            self.validators
        );
        let (first, by) = *self.certified.entry(height).or_insert((id, who));
        ensure!(
            first == id,
            Property::Certificates,
            "two certificates at height {height}: {first} at validator {by}, {id} at validator {who}"
        );
        if let Some(executed) = self.heads.get(height.0.saturating_sub(1) as usize) {
            ensure!(
                executed.id == id,
                Property::Certificates,
                "head {id} at height {height} is certified, but honest validators executed {}",
                executed.id
            );
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use violeta_types::{
        Certificate, ChainId, CommitIndex, Digest, Domain, Epoch, TimeMs, ValidatorSignature,
    };

    pub(crate) fn head(height: u64, previous: HeadId, state: &str) -> Head {
        Head {
            chain: ChainId::default(),
            epoch: Epoch(0),
            height: Height(height),
            previous,
            commit_index: CommitIndex(height),
            commit_digest: Digest::ZERO,
            time: TimeMs(0),
            transactions_root: Digest::ZERO,
            results_root: Digest::ZERO,
            state_root: Domain::TreeTop.hash(state.as_bytes()),
            history_root: Digest::ZERO,
            committee: Digest::ZERO,
            next_committee: Digest::ZERO,
        }
    }

    pub(crate) fn outcome(height: u64, index: u32, name: &str) -> Outcome {
        Outcome {
            height: Height(height),
            index,
            transaction: TxId(Domain::Transaction.hash(name.as_bytes())),
            refused: None,
        }
    }

    fn certified(head: &Head, signers: &[u16]) -> CertifiedHead {
        let sign = |&v: &u16| (ValidatorIndex(v), ValidatorSignature([0; 64]));
        let signatures: Vec<_> = signers.iter().map(sign).collect();
        CertifiedHead {
            certificate: Certificate {
                height: head.height,
                head: head.id(),
                signatures: signatures.try_into().unwrap(),
            },
            head: head.clone(),
        }
    }

    const A: ValidatorIndex = ValidatorIndex(0);
    const B: ValidatorIndex = ValidatorIndex(1);

    #[test]
    fn equal_histories_with_certificates_pass() {
        let mut blocks = Blocks::new(4);
        let first = head(1, HeadId::default(), "a");
        let second = head(2, first.id(), "b");
        assert!(blocks.executed(A, &first, &[outcome(1, 0, "x")]).unwrap());
        assert!(!blocks.executed(B, &first, &[outcome(1, 0, "x")]).unwrap());
        assert!(blocks.executed(A, &second, &[outcome(2, 0, "y")]).unwrap());
        blocks
            .certified(A, &certified(&second, &[0, 1, 3]))
            .unwrap();
        assert_eq!(
            (blocks.height(), blocks.certified_height()),
            (Height(2), Height(2))
        );
        assert_eq!(blocks.head(Height(2)), Some(&second));
        blocks.restarted(A, Height(1));
        assert!(!blocks.executed(A, &second, &[outcome(2, 0, "y")]).unwrap());
    }

    #[test]
    fn another_state_root_another_head_and_a_gap_are_seen() {
        let first = head(1, HeadId::default(), "a");
        let mut other_time = first.clone();
        other_time.time = TimeMs(9);
        for other in [
            head(1, HeadId::default(), "b"),
            other_time,
            head(2, first.id(), "a"),
        ] {
            let mut blocks = Blocks::new(4);
            blocks.executed(A, &first, &[]).unwrap();
            let violation = blocks.executed(B, &other, &[]).unwrap_err();
            assert_eq!(violation.property, Property::EqualHeads, "{violation}");
        }
        let mut blocks = Blocks::new(4);
        blocks.executed(A, &first, &[]).unwrap();
        let loose = head(2, HeadId::default(), "b");
        assert_eq!(
            blocks.executed(A, &loose, &[]).unwrap_err().property,
            Property::EqualHeads
        );
    }

    #[test]
    fn a_transaction_with_two_outcomes_is_seen() {
        let mut blocks = Blocks::new(4);
        let first = head(1, HeadId::default(), "a");
        blocks.executed(A, &first, &[outcome(1, 0, "x")]).unwrap();
        let second = head(2, first.id(), "b");
        let violation = blocks
            .executed(A, &second, &[outcome(2, 0, "x")])
            .unwrap_err();
        assert_eq!(violation.property, Property::ExactlyOnce);
    }

    #[test]
    fn an_outcome_in_the_wrong_place_is_seen() {
        let first = head(1, HeadId::default(), "a");
        let violation = Blocks::new(4)
            .executed(A, &first, &[outcome(1, 1, "x")])
            .unwrap_err();
        assert_eq!(violation.property, Property::EqualHeads);
    }

    #[test]
    fn certificates_that_conflict_lack_a_quorum_or_arent_of_what_was_executed_are_seen() {
        let (one, other) = (
            head(1, HeadId::default(), "a"),
            head(1, HeadId::default(), "b"),
        );
        let mut blocks = Blocks::new(4);
        blocks.certified(A, &certified(&one, &[0, 1, 2])).unwrap();
        let conflict = blocks
            .certified(B, &certified(&other, &[1, 2, 3]))
            .unwrap_err();
        assert_eq!(conflict.property, Property::Certificates);

        for few in [&[0, 1][..], &[0, 1, 1], &[0, 1, 4]] {
            let verdict = Blocks::new(4).certified(A, &certified(&one, few));
            assert_eq!(
                verdict.unwrap_err().property,
                Property::Certificates,
                "{few:?}"
            );
        }

        let mut blocks = Blocks::new(4);
        blocks.executed(A, &one, &[]).unwrap();
        let foreign = blocks
            .certified(B, &certified(&other, &[0, 1, 2]))
            .unwrap_err();
        assert_eq!(foreign.property, Property::Certificates);
    }
}
