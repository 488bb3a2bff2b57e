//! Withholding: makes vertices and shows each to few, so that the others hear of it only through those who link it.
//! It doesn't answer who asks.

use violeta_consensus::Message as Graph;
use violeta_replica::Message;
use violeta_types::ValidatorIndex;

use super::{Adversary, Means};
use crate::dice::Dice;

pub(super) struct Withholding {
    /// Who is shown vertices.
    shown: Vec<ValidatorIndex>,
}

impl Withholding {
    pub(super) fn draw(dice: &mut Dice, n: usize) -> Self {
        let all: Vec<ValidatorIndex> = (0..n as u16).map(ValidatorIndex).collect();
        let few = dice.within(0..=(n as u64 / 3).max(1)) as usize;
        let shown = dice.sample(&all, few);
        Withholding { shown }
    }
}

impl Adversary for Withholding {
    fn send(
        &mut self,
        _means: &mut Means<'_>,
        to: ValidatorIndex,
        message: Message,
    ) -> Vec<Message> {
        let vertices = matches!(message, Message::Consensus(Graph::Vertices(_)));
        match vertices && !self.shown.contains(&to) {
            true => Vec::new(),
            false => vec![message],
        }
    }
}
