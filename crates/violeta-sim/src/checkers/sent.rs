//! What honest validators have said, over all their lives: never two things in one place.
//!
//! Counts what *left* a validator: what it signed and lost in a crash, before a byte of it was sent, may be signed
//! otherwise afterwards (consensus.md §3: sign → persist → send).

use std::collections::BTreeMap;

use violeta_types::{Attestation, HeadId, Height, Round, ValidatorIndex, VertexId, VertexRef};

use super::{Property, Verdict, ensure};

/// What was said.
#[derive(Default)]
pub(crate) struct Sent {
    vertices: BTreeMap<(ValidatorIndex, Round), VertexId>,
    attestations: BTreeMap<(ValidatorIndex, Height), HeadId>,
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
        let place = (attestation.validator, attestation.height);
        let first = *self.attestations.entry(place).or_insert(attestation.head);
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

    /// A certificate has a validator's signature: it must have sent it (or hold it itself, not sent yet).
    pub(crate) fn attested(
        &mut self,
        signer: ValidatorIndex,
        height: Height,
        head: HeadId,
    ) -> Verdict {
        let first = *self.attestations.entry((signer, height)).or_insert(head);
        ensure!(
            first == head,
            Property::Certificates,
            "a certificate at height {height} has the signature of validator {signer}, who attested {first}, under {head}"
        );
        Ok(())
    }

    /// A validator starts, with these own vertices in its journal: all that it ever sent must be there.
    pub(crate) fn restarted(&self, who: ValidatorIndex, own: &[VertexRef]) -> Verdict {
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
        Ok(())
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
        sent.restarted(A, &[vertex(1, 0, "")]).unwrap();
    }

    #[test]
    fn a_second_vertex_in_a_round_is_seen_also_after_a_restart() {
        let mut sent = Sent::default();
        sent.vertex(&vertex(1, 0, "")).unwrap();
        sent.restarted(A, &[vertex(1, 0, "")]).unwrap();
        let violation = sent.vertex(&vertex(1, 0, "twin")).unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
    }

    #[test]
    fn a_vertex_that_left_before_it_was_durable_is_seen() {
        let mut sent = Sent::default();
        sent.vertex(&vertex(1, 0, "")).unwrap();
        let violation = sent.restarted(A, &[]).unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
        let violation = sent.restarted(A, &[vertex(1, 0, "twin")]).unwrap_err();
        assert_eq!(violation.property, Property::NoEquivocation);
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
