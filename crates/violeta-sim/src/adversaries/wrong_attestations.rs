//! Wrong attestations: heads that there aren't, one for each who asks; and heartbeats that claim certificates for them.

use violeta_replica::Message;
use violeta_replica::message::Heartbeat;
use violeta_types::{Attestation, Digest, Domain, HeadId, ValidatorIndex};

use super::{Adversary, Means};

pub(super) struct WrongAttestations;

/// A head that there isn't, a different one for each listener.
fn invented(to: ValidatorIndex, height: u64) -> Digest {
    Domain::Head.hash_parts(&[b"invented", &to.0.to_le_bytes(), &height.to_le_bytes()])
}

fn lie(means: &Means<'_>, to: ValidatorIndex, truth: &Attestation) -> Attestation {
    let head = HeadId(invented(to, truth.height.0));
    Attestation {
        head,
        signature: means.key.sign_attestation(&head),
        ..truth.clone()
    }
}

impl Adversary for WrongAttestations {
    fn send(
        &mut self,
        means: &mut Means<'_>,
        to: ValidatorIndex,
        message: Message,
    ) -> Vec<Message> {
        match message {
            Message::Attestation(truth) => {
                let lie = Message::Attestation(lie(means, to, &truth));
                // The truth, a lie, or both: then the listener has proof.
                match means.dice.below(3) {
                    0 => vec![Message::Attestation(truth)],
                    1 => vec![lie],
                    _ => vec![lie, Message::Attestation(truth)],
                }
            }
            Message::Heartbeat(beat) => {
                let attestation = beat.attestation.as_ref().map(|truth| lie(means, to, truth));
                let mut certified = beat.certified.clone();
                if let Some(certified) = certified.as_mut().filter(|_| means.dice.chance(100)) {
                    certified.head.state_root = invented(to, certified.head.height.0);
                    certified.certificate.head = certified.head.id();
                }
                vec![Message::Heartbeat(Heartbeat {
                    attestation,
                    certified,
                    ..beat
                })]
            }
            other => vec![other],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Cast;
    use crate::dice::Dice;
    use violeta_crypto::signing::verify_attestation;
    use violeta_types::{Height, Parameters};

    #[test]
    fn lies_are_signed_and_no_two_listeners_are_told_the_same() {
        let cast = Cast::new(4, Parameters::for_validators(4), 1, Dice::new(1));
        let validator = ValidatorIndex(3);
        let key = cast.validator_key(validator);
        let head = HeadId(Domain::Head.hash(b"truth"));
        let truth = Attestation {
            height: Height(1),
            head,
            validator,
            signature: key.sign_attestation(&head),
            seal_share: None,
        };
        let mut dice = Dice::new(2);
        let mut heads = std::collections::BTreeSet::new();
        for _ in 0..20 {
            for to in [0, 1, 2].map(ValidatorIndex) {
                let mut means = Means {
                    key: &key,
                    now: 0,
                    dice: &mut dice,
                };
                let message = Message::Attestation(truth.clone());
                for sent in WrongAttestations.send(&mut means, to, message) {
                    let Message::Attestation(sent) = sent else {
                        panic!("{sent:?}")
                    };
                    verify_attestation(&key.public_key(), &sent.head, &sent.signature).unwrap();
                    heads.insert(sent.head);
                }
            }
        }
        assert_eq!(heads.len(), 4, "the truth, and a lie for each of three");
    }
}
