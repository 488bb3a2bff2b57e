//! Vertices by round, author and variant.
//!
//! ```text
//!  round r+1   [a: X]      [b: X]      [c: ]     [d: X]
//!  round r     [a: X, X′]  [b: X]      [c: X]    [d: ]        a slot holds the variants of (round, author)
//! ```
//!
//! A variant keeps its position within the slot for as long as the round is kept.

use std::collections::BTreeMap;

use violeta_types::{Round, ValidatorIndex, VertexId, VertexRef};

/// Values by [`VertexRef`], in layers.
#[derive(Clone, Debug)]
pub(crate) struct Layers<T> {
    width: usize,
    rounds: BTreeMap<Round, Vec<Vec<(VertexId, T)>>>,
}

impl<T> Layers<T> {
    /// Layers for a committee of `width`.
    pub(crate) fn new(width: usize) -> Self {
        Layers {
            width,
            rounds: BTreeMap::new(),
        }
    }

    /// The variants of a slot, in order of arrival.
    pub(crate) fn variants(&self, round: Round, author: ValidatorIndex) -> &[(VertexId, T)] {
        (self.rounds.get(&round))
            .and_then(|slots| slots.get(author.as_usize()))
            .map_or(&[], |variants| variants)
    }

    /// The position of a vertex within its slot.
    pub(crate) fn position(&self, reference: &VertexRef) -> Option<usize> {
        self.variants(reference.round, reference.author)
            .iter()
            .position(|(id, _)| *id == reference.id)
    }

    pub(crate) fn contains(&self, reference: &VertexRef) -> bool {
        self.position(reference).is_some()
    }

    pub(crate) fn get(&self, reference: &VertexRef) -> Option<&T> {
        self.variants(reference.round, reference.author)
            .iter()
            .find(|(id, _)| *id == reference.id)
            .map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, reference: &VertexRef) -> Option<&mut T> {
        (self.rounds.get_mut(&reference.round))
            .and_then(|slots| slots.get_mut(reference.author.as_usize()))
            .and_then(|variants| variants.iter_mut().find(|(id, _)| *id == reference.id))
            .map(|(_, value)| value)
    }

    /// The value of a variant by its position.
    pub(crate) fn at_mut(
        &mut self,
        round: Round,
        author: ValidatorIndex,
        position: usize,
    ) -> Option<&mut T> {
        (self.rounds.get_mut(&round))
            .and_then(|slots| slots.get_mut(author.as_usize()))
            .and_then(|variants| variants.get_mut(position))
            .map(|(_, value)| value)
    }

    /// Adds a vertex that isn't there yet; its position within the slot.
    pub(crate) fn insert(&mut self, reference: VertexRef, value: T) -> usize {
        assert!(reference.author.as_usize() < self.width);
        assert!(!self.contains(&reference));
        let slots = self
            .rounds
            .entry(reference.round)
            .or_insert_with(|| std::iter::repeat_with(Vec::new).take(self.width).collect());
        let variants = &mut slots[reference.author.as_usize()];
        variants.push((reference.id, value));
        variants.len() - 1
    }

    /// All vertices of rounds in `from..`, by rising round.
    pub(crate) fn since(&self, from: Round) -> impl Iterator<Item = (VertexRef, &T)> {
        self.rounds
            .range(from..)
            .flat_map(|(round, slots)| named(*round, slots))
    }

    /// Takes out every round below `floor`.
    pub(crate) fn drop_below(&mut self, floor: Round) -> BTreeMap<Round, Vec<Vec<(VertexId, T)>>> {
        let kept = self.rounds.split_off(&floor);
        std::mem::replace(&mut self.rounds, kept)
    }
}

fn named<T>(round: Round, slots: &[Vec<(VertexId, T)>]) -> impl Iterator<Item = (VertexRef, &T)> {
    slots
        .iter()
        .enumerate()
        .flat_map(move |(author, variants)| {
            let author = ValidatorIndex(author as u16);
            variants
                .iter()
                .map(move |&(id, ref value)| (VertexRef { round, author, id }, value))
        })
}

#[cfg(test)]
mod tests {
    use violeta_types::Domain;

    use super::*;

    fn at(round: u64, author: u16, variant: u8) -> VertexRef {
        VertexRef {
            round: Round(round),
            author: ValidatorIndex(author),
            id: VertexId(Domain::Vertex.hash(&[round as u8, author as u8, variant])),
        }
    }

    #[test]
    fn variants_keep_their_positions_and_rounds_go_from_below() {
        let mut layers = Layers::new(4);
        assert_eq!(layers.insert(at(1, 2, 0), "X"), 0);
        assert_eq!(layers.insert(at(1, 2, 1), "X'"), 1);
        assert_eq!(layers.insert(at(2, 0, 0), "Y"), 0);
        assert_eq!(layers.get(&at(1, 2, 1)), Some(&"X'"));
        assert_eq!(layers.position(&at(1, 2, 1)), Some(1));
        assert_eq!(layers.get(&at(1, 2, 9)), None);
        let all: Vec<_> = layers.since(Round(0)).map(|(_, value)| *value).collect();
        assert_eq!(all, ["X", "X'", "Y"]);
        assert_eq!(layers.drop_below(Round(2)).len(), 1);
        assert!(!layers.contains(&at(1, 2, 0)));
        assert!(layers.contains(&at(2, 0, 0)));
        assert_eq!(layers.since(Round(0)).count(), 1);
    }

    #[test]
    fn a_stranger_has_no_variants() {
        let layers = Layers::<()>::new(4);
        assert!(layers.variants(Round(1), ValidatorIndex(9)).is_empty());
        assert!(!layers.contains(&at(1, 9, 0)));
    }
}
