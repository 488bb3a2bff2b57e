//! Durability: what a client was told, with a certificate, stays so whoever crashes.

use std::collections::BTreeMap;

use violeta_types::{Outcome, TxId};

use super::blocks::Blocks;
use super::{Property, Verdict, ensure};

/// What clients were told.
#[derive(Default)]
pub(crate) struct Acknowledged {
    outcomes: BTreeMap<TxId, Outcome>,
}

impl Acknowledged {
    /// A client was told what became of its transaction.
    pub(crate) fn told(&mut self, id: TxId, outcome: &Outcome) -> Verdict {
        ensure!(
            outcome.transaction == id,
            Property::Durability,
            "a client asked for transaction {id} and was told of {}",
            outcome.transaction
        );
        let first = self.outcomes.entry(id).or_insert_with(|| outcome.clone());
        ensure!(
            first == outcome,
            Property::Durability,
            "of transaction {id} a client was told {first:?}, and later {outcome:?}"
        );
        Ok(())
    }

    /// How many transactions were acknowledged.
    pub(crate) fn count(&self) -> u64 {
        self.outcomes.len() as u64
    }

    /// In the end every one is where it was said to be. (That every honest validator has these blocks is for
    /// [`Blocks`] and the world's end to see.)
    pub(crate) fn check(&self, blocks: &Blocks) -> Verdict {
        for (id, told) in &self.outcomes {
            let found = blocks.outcome(id);
            ensure!(
                found == Some(told),
                Property::Durability,
                "of transaction {id} a client was told {told:?}; the history has {found:?}"
            );
            ensure!(
                told.height <= blocks.certified_height(),
                Property::Durability,
                "transaction {id} was acknowledged at height {}, but only {} is certified",
                told.height,
                blocks.certified_height()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::tests::{head, outcome};
    use super::*;
    use violeta_types::{Certificate, CertifiedHead, HeadId, ValidatorIndex, ValidatorSignature};

    fn history(certify: bool) -> Blocks {
        let mut blocks = Blocks::new(1);
        let first = head(1, HeadId::default(), "a");
        let who = ValidatorIndex(0);
        blocks.executed(who, &first, &[outcome(1, 0, "x")]).unwrap();
        if certify {
            let certificate = Certificate {
                height: first.height,
                head: first.id(),
                signatures: vec![(who, ValidatorSignature([0; 64]))].try_into().unwrap(),
            };
            blocks
                .certified(
                    who,
                    &CertifiedHead {
                        head: first,
                        certificate,
                    },
                )
                .unwrap();
        }
        blocks
    }

    #[test]
    fn what_was_told_and_is_there_passes() {
        let mut told = Acknowledged::default();
        let x = outcome(1, 0, "x");
        told.told(x.transaction, &x).unwrap();
        told.told(x.transaction, &x).unwrap();
        assert_eq!(told.count(), 1);
        told.check(&history(true)).unwrap();
    }

    #[test]
    fn what_was_told_and_is_gone_moved_or_never_certified_is_seen() {
        for (outcome, certify) in [
            (outcome(1, 0, "y"), true),
            (outcome(2, 0, "x"), true),
            (outcome(1, 0, "x"), false),
        ] {
            let mut told = Acknowledged::default();
            told.told(outcome.transaction, &outcome).unwrap();
            let violation = told.check(&history(certify)).unwrap_err();
            assert_eq!(violation.property, Property::Durability);
        }
    }

    #[test]
    fn two_stories_about_one_transaction_are_seen() {
        let mut told = Acknowledged::default();
        let (one, other) = (outcome(1, 0, "x"), outcome(2, 0, "x"));
        told.told(one.transaction, &one).unwrap();
        let violation = told.told(one.transaction, &other).unwrap_err();
        assert_eq!(violation.property, Property::Durability);
    }
}
