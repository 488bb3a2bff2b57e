//! Denying: whoever lost its journal is told that neither of the two has made anything yet (consensus.md §9).

use violeta_consensus::Message as Graph;
use violeta_replica::Message;
use violeta_types::{Round, ValidatorIndex};

use super::{Adversary, Means};

pub(super) struct Denying;

impl Adversary for Denying {
    fn send(&mut self, _: &mut Means<'_>, _: ValidatorIndex, mut message: Message) -> Vec<Message> {
        if let Message::Consensus(Graph::RejoinAnswer(answer)) = &mut message {
            answer.newest.round = Round(0);
            answer.of_asker = None;
        }
        vec![message]
    }
}
