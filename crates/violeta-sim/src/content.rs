//! What of an event goes into the [trace](crate::trace): enough to tell two events of a kind apart.
//!
//! Whatever is long is there by its digest, or by what names it.

use violeta_replica::machine::Event as MachineEvent;
use violeta_replica::{Effect, Job, LoadRequest};

/// Bytes that say what something is, piece by piece.
struct Content(Vec<u8>);

impl Content {
    fn new(kind: &str) -> Self {
        Content(kind.as_bytes().to_vec())
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(blake3::hash(bytes).as_bytes());
        self
    }
}

/// A job, by its kind and what it is about.
pub(crate) fn of_job(job: &Job) -> Vec<u8> {
    let content = match job {
        Job::CheckVertex { from, bytes } => {
            let content = Content::new("vertex").number(from.0.into());
            content.bytes(bytes)
        }
        Job::CheckCommitted {
            from,
            place,
            vertices,
        } => {
            let content = Content::new("committed").number(from.0.into());
            let content = content.number(place.commit.0).number(place.vertex.into());
            (vertices.iter()).fold(content, |content, (_, bytes)| content.bytes(bytes))
        }
        Job::CheckItems { ticket, items } => {
            let content = Content::new("items").number(*ticket);
            items
                .iter()
                .fold(content, |content, item| content.bytes(item))
        }
        Job::CombineCoins(coins) => (coins.iter()).fold(Content::new("coins"), |content, of| {
            (of.shares.iter()).fold(content.number(of.round.0), |content, (author, share)| {
                content.number(author.0.into()).bytes(&share.0)
            })
        }),
        Job::CombineSeal {
            height,
            head,
            shares,
        } => {
            let content = Content::new("seal").number(height.0).bytes(head.as_ref());
            (shares.iter()).fold(content, |content, (validator, share)| {
                content.number(validator.0.into()).bytes(&share.0)
            })
        }
        Job::SignCoin { round } => Content::new("sign").number(round.0),
    };
    content.0
}

/// What is read back from the journal.
pub(crate) fn of_load(request: &LoadRequest) -> Vec<u8> {
    format!("{request:?}").into_bytes()
}

/// What a machine is given, by its kind and what names it.
pub(crate) fn of_machine_event(event: &MachineEvent) -> Vec<u8> {
    let content = match event {
        MachineEvent::Check { ticket, items } => {
            let content = Content::new("check").number(*ticket);
            (items.iter()).fold(content, |content, (item, _)| content.bytes(item))
        }
        MachineEvent::Commit(ordered) => Content::new("commit").bytes(ordered.digest.as_ref()),
        MachineEvent::Certified { height } => Content::new("certified").number(height.0),
        MachineEvent::Flush => Content::new("flush"),
    };
    content.0
}

/// What a machine says, by its kind and what names it.
pub(crate) fn of_effect(effect: &Effect) -> Vec<u8> {
    let content = match effect {
        Effect::Checked { ticket, verdicts } => {
            let content = Content::new("checked").number(*ticket);
            (verdicts.iter()).fold(content, |content, verdict| {
                content.number(verdict.is_ok().into())
            })
        }
        Effect::Block(block) => Content::new("block").bytes(block.head.id().as_ref()),
        Effect::Applied { commit_index } => Content::new("applied").number(commit_index.0),
        Effect::Durable(position) => {
            let content = Content::new("durable").number(position.height.0);
            content.bytes(position.head.as_ref())
        }
        Effect::Order(item) => Content::new("order").bytes(item),
        Effect::Pending(pending) => Content::new("pending").number((*pending).into()),
        Effect::Halt(reason) => Content::new("halt").bytes(reason.as_bytes()),
    };
    content.0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use violeta_consensus::ItemMeta;
    use violeta_types::{CommitIndex, Height, Nonce, Round, TimeMs, TxId, ValidatorIndex};

    use super::*;

    #[test]
    fn two_jobs_of_a_kind_and_two_kinds_are_told_apart() {
        let vertex = |from, bytes: &'static str| {
            of_job(&Job::CheckVertex {
                from: ValidatorIndex(from),
                bytes: Bytes::from(bytes),
            })
        };
        let base = vertex(1, "x");
        assert_eq!(base, vertex(1, "x"));
        assert_ne!(base, vertex(2, "x"));
        assert_ne!(base, vertex(1, "y"));
        assert_ne!(base, of_job(&Job::SignCoin { round: Round(1) }));
    }

    #[test]
    fn two_steps_of_a_machine_are_told_apart() {
        let certified = |height| {
            let height = Height(height);
            of_machine_event(&MachineEvent::Certified { height })
        };
        assert_eq!(certified(1), certified(1));
        assert_ne!(certified(1), certified(2));
        let meta = ItemMeta {
            id: TxId::default(),
            client: None,
            nonce: Nonce(0),
            expires: TimeMs(0),
        };
        let check = |ticket, item: &'static str| {
            let items = vec![(Bytes::from(item), meta)];
            of_machine_event(&MachineEvent::Check { ticket, items })
        };
        assert_ne!(check(1, "x"), check(2, "x"));
        assert_ne!(check(1, "x"), check(1, "y"));
        assert_ne!(certified(1), of_machine_event(&MachineEvent::Flush));
    }

    #[test]
    fn two_effects_of_a_kind_and_two_kinds_are_told_apart() {
        let applied = |index| {
            let commit_index = CommitIndex(index);
            of_effect(&Effect::Applied { commit_index })
        };
        assert_ne!(applied(1), applied(2));
        let pending = |pending| of_effect(&Effect::Pending(pending));
        assert_ne!(pending(true), pending(false));
        assert_ne!(pending(true), applied(1));
    }
}
