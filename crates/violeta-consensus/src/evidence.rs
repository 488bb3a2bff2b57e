//! Equivocation (consensus.md §7): two signed headers of one author and round.

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_types::{Round, SignedHeader, ValidatorIndex};

use crate::epoch::EpochData;
use crate::vertex::{Invalid, check_signature};

/// Proof that a validator signed two vertices for one slot. Checked: [`UncheckedEvidence::check`] is the only way to
/// one from outside. The header with the lower id comes first, so two validators hold the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Evidence {
    first: SignedHeader,
    second: SignedHeader,
}

impl Evidence {
    /// The proof that two headers of valid vertices make; none if they are of two slots, or one vertex.
    pub(crate) fn of(epoch: &EpochData, one: &SignedHeader, other: &SignedHeader) -> Option<Self> {
        let a = one.header.vertex_ref(epoch.chain());
        let b = other.header.vertex_ref(epoch.chain());
        if (a.round, a.author) != (b.round, b.author) || a.id == b.id {
            return None;
        }
        let (first, second) = if a.id < b.id {
            (one, other)
        } else {
            (other, one)
        };
        Some(Evidence {
            first: first.clone(),
            second: second.clone(),
        })
    }

    /// The header with the lower id.
    pub fn first(&self) -> &SignedHeader {
        &self.first
    }

    /// The other one.
    pub fn second(&self) -> &SignedHeader {
        &self.second
    }

    /// Who equivocated.
    pub fn author(&self) -> ValidatorIndex {
        self.first.header.author
    }

    /// In which round.
    pub fn round(&self) -> Round {
        self.first.header.round
    }
}

/// What may be [`Evidence`], as it comes from the network or the journal. Encoded alike.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UncheckedEvidence {
    /// One header.
    pub first: SignedHeader,
    /// Another one.
    pub second: SignedHeader,
}

impl From<Evidence> for UncheckedEvidence {
    fn from(evidence: Evidence) -> Self {
        UncheckedEvidence {
            first: evidence.first,
            second: evidence.second,
        }
    }
}

impl UncheckedEvidence {
    /// Whether both headers belong to this epoch and one slot, and are signed by its author.
    ///
    /// # Errors
    /// Which rule they break; a pair that proves nothing counts as a bad place.
    pub fn check(&self, epoch: &EpochData) -> Result<Evidence, Invalid> {
        let author = self.first.header.author;
        let evidence =
            Evidence::of(epoch, &self.first, &self.second).ok_or(Invalid::Place(author))?;
        for signed in [&self.first, &self.second] {
            if signed.header.epoch != epoch.epoch() || signed.header.round < Round(1) {
                return Err(Invalid::Place(author));
            }
            let reference = signed.header.vertex_ref(epoch.chain());
            check_signature(epoch, &reference, &signed.signature)?;
        }
        Ok(evidence)
    }
}

#[cfg(test)]
mod tests {
    use violeta_types::{Epoch, TimeMs, Vertex, VertexHeader};

    use super::*;
    use crate::fixture;

    fn signed(epoch: &EpochData, header: VertexHeader) -> SignedHeader {
        let bytes = fixture::sign(epoch, header, Default::default());
        Vertex::decode(&bytes).unwrap().signed
    }

    fn pair(epoch: &EpochData, edit: impl Fn(&mut VertexHeader)) -> UncheckedEvidence {
        let first = fixture::header(epoch, 5, 1);
        let mut second = first.clone();
        edit(&mut second);
        UncheckedEvidence {
            first: signed(epoch, first),
            second: signed(epoch, second),
        }
    }

    #[test]
    fn two_headers_of_one_slot_are_proof_in_whatever_order() {
        let epoch = fixture::epoch(4, 4);
        let proof = pair(&epoch, |h| h.timestamp = TimeMs(7));
        let swapped = UncheckedEvidence {
            first: proof.second.clone(),
            second: proof.first.clone(),
        };
        let evidence = proof.check(&epoch).unwrap();
        assert_eq!(swapped.check(&epoch), Ok(evidence.clone()));
        assert_eq!(
            (evidence.author(), evidence.round()),
            (ValidatorIndex(1), Round(5))
        );
        let bytes = violeta_types::encode(&evidence);
        let read: UncheckedEvidence = violeta_types::decode(&bytes).unwrap();
        assert_eq!(read.check(&epoch), Ok(evidence));
    }

    #[test]
    fn one_vertex_twice_or_two_slots_prove_nothing() {
        let epoch = fixture::epoch(4, 4);
        let place = Err(Invalid::Place(ValidatorIndex(1)));
        assert_eq!(pair(&epoch, |_| ()).check(&epoch), place);
        assert_eq!(pair(&epoch, |h| h.round = Round(6)).check(&epoch), place);
        assert_eq!(
            pair(&epoch, |h| h.author = ValidatorIndex(2)).check(&epoch),
            place
        );
        assert_eq!(pair(&epoch, |h| h.epoch = Epoch(3)).check(&epoch), place);
    }

    #[test]
    fn nobody_can_be_framed() {
        let epoch = fixture::epoch(4, 4);
        let mut framed = pair(&epoch, |h| h.timestamp = TimeMs(7));
        framed.second.header.timestamp = TimeMs(8);
        let verdict = framed.check(&epoch);
        assert_eq!(verdict, Err(Invalid::Signature(ValidatorIndex(1))));
    }
}
