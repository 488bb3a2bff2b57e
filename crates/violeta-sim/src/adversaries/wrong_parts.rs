//! Wrong parts: whoever catches up by commits is given other records or vertices than it asked for, too few, too many,
//! twice, upside down, or nothing at all.

use violeta_replica::Message;
use violeta_replica::message::{Answer, RecordsPart, VerticesPart};
use violeta_types::{Bounded, ValidatorIndex};

use super::{Adversary, Means};
use crate::dice::Dice;

pub(super) struct WrongParts;

/// What becomes of a list.
fn disarrange<T: Clone>(dice: &mut Dice, mut list: Vec<T>) -> Vec<T> {
    match dice.below(6) {
        0 => list.truncate(1),
        1 => list.clear(),
        2 => list.reverse(),
        3 => list.extend(list.clone()),
        4 => drop(list.pop()),
        _ => {
            let places = 1.min(list.len());
            list.rotate_left(places);
        }
    }
    list
}

/// Disarranged, or, one in two, with one of them changed.
fn lie<T: Clone, const MAX: usize>(
    dice: &mut Dice,
    truth: Bounded<T, MAX>,
    change: impl FnOnce(&mut Dice, &mut T),
) -> Bounded<T, MAX> {
    let mut list = truth.into_inner();
    if dice.coin() && !list.is_empty() {
        let place = dice.below(list.len() as u64) as usize;
        change(dice, &mut list[place]);
    } else {
        list = disarrange(dice, list);
    }
    list.try_into().unwrap_or_default()
}

fn lying_answer(dice: &mut Dice, truth: Answer) -> Answer {
    match truth {
        Answer::Records(part) => Answer::Records(RecordsPart {
            certified: part.certified.filter(|_| !dice.chance(100)),
            records: lie(dice, part.records, |dice, record| {
                match dice.coin() {
                    true => record.time.0 += 1,
                    false => record.index = record.index.next(),
                };
            }),
            question: part.question,
        }),
        Answer::Vertices(part) => Answer::Vertices(VerticesPart {
            vertices: lie(dice, part.vertices, |dice, vertex| {
                let mut bytes = vertex.to_vec();
                let place = dice.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1;
                }
                *vertex = bytes.try_into().unwrap_or_else(|_| vertex.clone());
            }),
            question: part.question,
        }),
    }
}

impl Adversary for WrongParts {
    fn send(
        &mut self,
        means: &mut Means<'_>,
        _to: ValidatorIndex,
        message: Message,
    ) -> Vec<Message> {
        match message {
            // The truth, silence, a lie, or both in one breath.
            Message::Answer(truth) => match means.dice.below(8) {
                0 => vec![Message::Answer(truth)],
                1 => Vec::new(),
                2 => {
                    let lie = lying_answer(means.dice, truth.clone());
                    vec![Message::Answer(truth), Message::Answer(lie)]
                }
                _ => vec![Message::Answer(lying_answer(means.dice, truth))],
            },
            other => vec![other],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Cast;
    use violeta_replica::message::{Place, VerticesQuestion};
    use violeta_types::{Blob, CommitIndex, Parameters};

    #[test]
    fn truth_silence_and_lies_of_every_length_are_told() {
        let cast = Cast::new(4, Parameters::for_validators(4), 1, Dice::new(1));
        let key = cast.validator_key(ValidatorIndex(3));
        let blob = |byte: u8| Blob::try_from(vec![byte]).unwrap();
        let truth = VerticesPart {
            question: VerticesQuestion {
                from: Place {
                    commit: CommitIndex(1),
                    vertex: 0,
                },
                last: CommitIndex(9),
                bytes_max: 100,
            },
            vertices: vec![blob(10), blob(20), blob(30)].try_into().unwrap(),
        };
        let mut dice = Dice::new(2);
        let mut told = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let mut means = Means {
                key: &key,
                now: 0,
                dice: &mut dice,
            };
            let message = Message::Answer(Answer::Vertices(truth.clone()));
            let sent = WrongParts.send(&mut means, ValidatorIndex(0), message);
            for message in &sent {
                let Message::Answer(Answer::Vertices(part)) = message else {
                    panic!("{message:?}")
                };
                assert_eq!(part.question, truth.question);
                let bytes: Vec<u8> = part.vertices.iter().map(|vertex| vertex[0]).collect();
                told.insert((sent.len(), bytes));
            }
            told.extend(sent.is_empty().then_some((0, Vec::new())));
        }
        let one = |bytes: &[u8]| told.contains(&(1, bytes.to_vec()));
        assert!(one(&[10, 20, 30]) && one(&[]) && one(&[10]) && one(&[10, 20]));
        assert!(one(&[30, 20, 10]) && one(&[20, 30, 10]) && one(&[10, 21, 30]));
        assert!(one(&[10, 20, 30, 10, 20, 30]));
        assert!(told.contains(&(0, Vec::new())) && told.contains(&(2, vec![10, 20, 30])));
    }
}
