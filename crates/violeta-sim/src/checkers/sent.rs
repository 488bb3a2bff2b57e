//! What honest validators have said, over all their lives: never two things in one place.
//!
//! Counts what *left* a validator: what it signed and lost in a crash, before a byte of it was sent, may be signed
//! otherwise afterwards (consensus.md §3: sign → persist → send).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use violeta_types::{Attestation, HeadId, Height, Round, ValidatorIndex, VertexId, VertexRef};

use super::{Property, Verdict, ensure};

/// What was said.
#[derive(Default)]
pub(crate) struct Sent {
    vertices: BTreeMap<(ValidatorIndex, Round), VertexId>,
    attestations: BTreeMap<(ValidatorIndex, Height), HeadId>,
    /// The newest height that each attested for the first time with the store that it has.
    vouched: BTreeMap<ValidatorIndex, Height>,
}

impl Sent {
    /// A validator sent a vertex of its own.
    pub(crate) fn vertex(&mut self, reference: &VertexRef) -> Verdict {
        let slot = (reference.author, reference.round);
        let first = *self.vertices.entry(slot).or_insert(reference.id);
        ensure!(
            first == reference.id,
            Property::NoEquivocation,
            "validator {} sent two vertices of round {}: {first} and {}",
            reference.author,
            reference.round,
            reference.id
        );
        Ok(())
    }

    /// A validator sent an attestation of its own.
    pub(crate) fn attestation(&mut self, attestation: &Attestation) -> Verdict {
        let (who, height) = (attestation.validator, attestation.height);
        let first = match self.attestations.entry((who, height)) {
            Entry::Occupied(said) => *said.get(),
            Entry::Vacant(unsaid) => {
                let newest = self.vouched.entry(who).or_default();
                *newest = height.max(*newest);
                *unsaid.insert(attestation.head)
            }
        };
        ensure!(
            first == attestation.head,
            Property::NoEquivocation,
            "validator {} attested two heads at height {}: {first} and {}",
            attestation.validator,
            attestation.height,
            attestation.head
        );
        Ok(())
    }

    /// A certificate has a validator's signature: it must be for the head that it attested, if it sent any.
    pub(crate) fn attested(&self, signer: ValidatorIndex, height: Height, head: HeadId) -> Verdict {
        if let Some(sent) = self.attestations.get(&(signer, height)) {
            ensure!(
                *sent == head,
                Property::Certificates,
                "a certificate at height {height} has the signature of validator {signer}, who attested {sent}, under \
                 {head}"
            );
        }
        Ok(())
    }

    /// A validator starts, with these own vertices in its journal and a store of this height: all that it ever sent
    /// must be there, and all that it attested since it has this store.
    pub(crate) fn restarted(
        &self,
        who: ValidatorIndex,
        own: &[VertexRef],
        height: Height,
    ) -> Verdict {
        let kept: BTreeMap<Round, VertexId> = own.iter().map(|v| (v.round, v.id)).collect();
        let range = (who, Round(0))..=(who, Round(u64::MAX));
        for ((_, round), id) in self.vertices.range(range) {
            ensure!(
                kept.get(round) == Some(id),
                Property::NoEquivocation,
                "validator {who} sent vertex {id} of round {round}, which its journal doesn't hold after a crash: it \
                 left before it was durable"
            );
        }
        if let Some(attested) = self.vouched.get(&who) {
            ensure!(
                *attested <= height,
                Property::Durability,
                "validator {who} attested height {attested}, but has {height} after a crash: it did before its store \
                 was durable"
            );
        }
        Ok(())
    }

    /// A validator's store is lost. What it said still binds it; that its store holds it, nobody may expect.
    pub(crate) fn store_lost(&mut self, who: ValidatorIndex) {
        self.vouched.remove(&who);
    }

    /// Number of honest vertices that were sent.
    pub(crate) fn vertices_count(&self) -> u64 {
        self.vertices.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::vertex;
    use super::*;
    use violeta_types::{Domain, ValidatorSignature};

    const A: ValidatorIndex = ValidatorIndex(0);

    fn attestation(height: u64, head: &str) -> Attestation {
        Attestation {
            height: Height(height),
            head: HeadId(Domain::Head.hash(head.as_bytes())),
            validator: A,
            signature: ValidatorSignature([0; 64]),
            seal_share: None,
        }
    }

    #[test]
    fn saying_the_same_again_is_fine() {
        let mut sent = Sent::default();
        for _ in 0..2 {
            sent.vertex(&vertex(1, 0, "")).unwrap();
            sent.vertex(&vertex(1, 1, "")).unwrap();
            sent.attestation(&attestation(1, "a")).unwrap();
        }
        assert_eq!(sent.vertices_count(), 2);
        sent.restarted(A, &[vertex(1, 0, "")], Height(1)).unwrap();
    }

    #[test]
    fn a_second_vertex_in_a_round_is_seen_also_after_a_restart() {
        let mut sent = Sent::default();
        sent.vertex(&vertex(1, 0, "")).unwrap();
        sent.restarted(A, &[vertex(1, 0, "")], Height(1)).unwrap();
        let violation = sent.vertex(&vertex(1, 0, "twin")).unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
    }

    #[test]
    fn a_vertex_that_left_before_it_was_durable_is_seen() {
        let mut sent = Sent::default();
        sent.vertex(&vertex(1, 0, "")).unwrap();
        let violation = sent.restarted(A, &[], Height(0)).unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
        let violation = sent
            .restarted(A, &[vertex(1, 0, "twin")], Height(0))
            .unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
    }

    #[test]
    fn an_attestation_that_left_before_the_store_was_durable_is_seen() {
        let mut sent = Sent::default();
        sent.attestation(&attestation(1, "a")).unwrap();
        sent.attestation(&attestation(2, "b")).unwrap();
        sent.restarted(A, &[], Height(2)).unwrap();
        let violation = sent.restarted(A, &[], Height(1)).unwrap_err();
        assert_eq!(violation.property, Property::Durability);
    }

    #[test]
    fn a_lost_store_owes_only_what_was_attested_since_and_what_was_said_still_binds() {
        let mut sent = Sent::default();
        sent.attestation(&attestation(1, "a")).unwrap();
        sent.attestation(&attestation(2, "b")).unwrap();
        sent.store_lost(A);
        sent.restarted(A, &[], Height(0)).unwrap();
        // From the journal, while the store is being rebuilt.
        sent.attestation(&attestation(2, "b")).unwrap();
        sent.restarted(A, &[], Height(1)).unwrap();
        sent.attestation(&attestation(2, "other")).unwrap_err();
        sent.attestation(&attestation(3, "c")).unwrap();
        sent.restarted(A, &[], Height(3)).unwrap();
        let violation = sent.restarted(A, &[], Height(2)).unwrap_err();
        assert_eq!(violation.property, Property::Durability);
    }

    #[test]
    fn a_second_head_at_a_height_and_a_certificate_over_another_are_seen() {
        let mut sent = Sent::default();
        sent.attestation(&attestation(1, "a")).unwrap();
        let violation = sent.attestation(&attestation(1, "b")).unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
        let other = attestation(1, "b").head;
        let violation = sent.attested(A, Height(1), other).unwrap_err();
        assert_eq!(violation.property, Property::Certificates);
    }
}
