//! What a validator that catches up is given, read from wherever the log is kept.
//!
//! ```text
//!   records:   after ┊ … ◀── [u-1] ◀── [u] ◀ head       from a certified commit, or from where the other is, down
//!   vertices:  [k]: … ● ● ●  [k+1]: ● ● …               from where the other is, up
//! ```
//!
//! A part ends with the record or vertex with which it reaches the bytes that were asked for, or the bound on any
//! part: so it holds at least one, however large, and always fits a message. The peer's wish costs no more than that:
//! reading one part, and a few look-ups.

use bytes::Bytes;
use violeta_types::{CertifiedHead, Commit, CommitIndex, VertexRef};

use crate::limits::{HOP_COMMITS, PART_BYTES_MAX, PART_RECORDS_MAX, PART_VERTICES_MAX};
use crate::message::{
    Answer, Question, RecordsPart, RecordsQuestion, VerticesPart, VerticesQuestion,
};

/// The log as the shell keeps it.
pub trait Ledger {
    /// Why something can't be read.
    type Error;

    /// The record of a commit.
    ///
    /// # Errors
    /// If it is there and can't be read.
    fn record(&self, index: CommitIndex) -> Result<Option<Commit>, Self::Error>;

    /// An accepted vertex, encoded.
    ///
    /// # Errors
    /// If it is there and can't be read.
    fn vertex(&self, reference: &VertexRef) -> Result<Option<Bytes>, Self::Error>;

    /// The highest commit at or below `index` whose block's certificate is here.
    ///
    /// # Errors
    /// If that can't be found out.
    fn certified_upto(&self, index: CommitIndex) -> Result<Option<CommitIndex>, Self::Error>;

    /// The lowest commit at or above `index` whose block's certificate is here.
    ///
    /// # Errors
    /// If that can't be found out.
    fn certified_from(&self, index: CommitIndex) -> Result<Option<CommitIndex>, Self::Error>;

    /// The certified head of a commit that one of the two above has named.
    ///
    /// # Errors
    /// If it is there and can't be read.
    fn certified_head(&self, index: CommitIndex) -> Result<Option<CertifiedHead>, Self::Error>;
}

/// Answers a question.
///
/// # Errors
/// If what was asked for is there and can't be read.
pub fn answer<L: Ledger>(ledger: &L, question: Question) -> Result<Answer, L::Error> {
    Ok(match question {
        Question::Records(question) => Answer::Records(records(ledger, question)?),
        Question::Vertices(question) => Answer::Vertices(vertices(ledger, question)?),
    })
}

fn bytes_max(asked: u32) -> usize {
    (asked as usize).clamp(1, PART_BYTES_MAX)
}

fn records<L: Ledger>(ledger: &L, question: RecordsQuestion) -> Result<RecordsPart, L::Error> {
    let mut records = Vec::new();
    let (first, certified) = begin(ledger, question)?;
    let (mut next, mut bytes) = (first, 0);
    while let Some(index) = next
        && bytes < bytes_max(question.bytes_max)
        && records.len() < PART_RECORDS_MAX
        && let Some(record) = ledger.record(index)?
    {
        bytes += record.encoded_len();
        records.push(record);
        let below = CommitIndex(index.0.saturating_sub(1));
        next = (below > question.after).then_some(below);
    }
    #[expect(clippy::expect_used, reason = "the loop ends there")]
    let records = records.try_into().expect("records within their bound");
    Ok(RecordsPart {
        question,
        certified,
        records,
    })
}

/// Where records begin: at a certified head of our choice, if that is wanted or a shorter way, or where the other is.
fn begin<L: Ledger>(
    ledger: &L,
    question: RecordsQuestion,
) -> Result<(Option<CommitIndex>, Option<CertifiedHead>), L::Error> {
    let RecordsQuestion { after, upto, .. } = question;
    let upto = upto.filter(|upto| *upto > after);
    let near = CommitIndex(after.0.saturating_add(HOP_COMMITS));
    if upto.is_some_and(|upto| upto <= near) {
        return Ok((upto, None));
    }
    let within = ledger.certified_upto(near)?.filter(|index| *index > after);
    let chosen = match within {
        Some(index) => Some(index),
        None => ledger.certified_from(near)?,
    };
    match chosen.filter(|index| upto.is_none_or(|upto| *index < upto)) {
        Some(index) => {
            let certified = ledger.certified_head(index)?;
            Ok((certified.is_some().then_some(index), certified))
        }
        None => Ok((upto, None)),
    }
}

fn vertices<L: Ledger>(ledger: &L, question: VerticesQuestion) -> Result<VerticesPart, L::Error> {
    let VerticesQuestion { from, last, .. } = question;
    let mut found = Vec::new();
    let mut bytes = 0;
    let (mut index, mut skipped) = (from.commit, from.vertex as usize);
    'part: while index <= last
        && let Some(record) = ledger.record(index)?
    {
        for reference in record.vertices.iter().skip(skipped) {
            if bytes >= bytes_max(question.bytes_max) || found.len() >= PART_VERTICES_MAX {
                break 'part;
            }
            let Some(vertex) = ledger.vertex(reference)? else {
                break 'part;
            };
            bytes += vertex.len();
            let Ok(blob) = vertex.try_into() else {
                break 'part;
            };
            found.push(blob);
        }
        (index, skipped) = (index.next(), 0);
        if bytes >= bytes_max(question.bytes_max) {
            break;
        }
    }
    #[expect(clippy::expect_used, reason = "the loop ends there")]
    let vertices = found.try_into().expect("vertices within their bound");
    Ok(VerticesPart { question, vertices })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{commit, head, vertex};
    use crate::message::Place;
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use violeta_types::{Certificate, Digest, Epoch, Head, TimeMs};

    /// A log of commits with two vertices each, some of them certified.
    struct Log {
        commits: BTreeMap<CommitIndex, Commit>,
        vertices: BTreeMap<VertexRef, Bytes>,
        certified: Vec<u64>,
    }

    impl Log {
        fn new(n: u64, certified: &[u64]) -> Self {
            let mut log = Log {
                commits: BTreeMap::new(),
                vertices: BTreeMap::new(),
                certified: certified.to_vec(),
            };
            for index in 1..=n {
                let pair = [vertex(index, 0), vertex(index, 1)];
                let references = pair.each_ref().map(|vertex| *vertex.reference());
                log.vertices
                    .extend(pair.map(|v| (*v.reference(), v.bytes().clone())));
                let commit = Commit {
                    epoch: Epoch(0),
                    leader: references[0],
                    vertices: references.to_vec().try_into().unwrap(),
                    time: TimeMs(1),
                    ..commit(index, Digest::ZERO)
                };
                log.commits.insert(CommitIndex(index), commit);
            }
            log
        }

        fn records(
            &self,
            after: u64,
            upto: Option<u64>,
            bytes_max: usize,
        ) -> (Option<u64>, Vec<u64>) {
            let question = RecordsQuestion {
                after: CommitIndex(after),
                upto: upto.map(CommitIndex),
                bytes_max: bytes_max as u32,
            };
            let Ok(Answer::Records(part)) = answer(self, Question::Records(question)) else {
                panic!("records")
            };
            let certified = part
                .certified
                .map(|certified| certified.head.commit_index.0);
            (
                certified,
                part.records.iter().map(|record| record.index.0).collect(),
            )
        }

        /// Rounds and authors: a commit's index is its vertices' round.
        fn vertices(&self, from: (u64, u32), last: u64, bytes_max: usize) -> Vec<(u64, u16)> {
            let question = VerticesQuestion {
                from: Place {
                    commit: CommitIndex(from.0),
                    vertex: from.1,
                },
                last: CommitIndex(last),
                bytes_max: bytes_max as u32,
            };
            let Ok(Answer::Vertices(part)) = answer(self, Question::Vertices(question)) else {
                panic!("vertices")
            };
            let slot = |bytes: &Bytes| {
                let found = self.vertices.iter().find(|(_, vertex)| *vertex == bytes);
                found.map(|(v, _)| (v.round.0, v.author.0)).unwrap()
            };
            part.vertices
                .iter()
                .map(|blob| slot(blob.bytes()))
                .collect()
        }
    }

    impl Ledger for Log {
        type Error = Infallible;

        fn record(&self, index: CommitIndex) -> Result<Option<Commit>, Infallible> {
            Ok(self.commits.get(&index).cloned())
        }

        fn vertex(&self, reference: &VertexRef) -> Result<Option<Bytes>, Infallible> {
            Ok(self.vertices.get(reference).cloned())
        }

        fn certified_upto(&self, index: CommitIndex) -> Result<Option<CommitIndex>, Infallible> {
            let below = self.certified.iter().copied().filter(|at| *at <= index.0);
            Ok(below.max().map(CommitIndex))
        }

        fn certified_from(&self, index: CommitIndex) -> Result<Option<CommitIndex>, Infallible> {
            let above = self.certified.iter().copied().filter(|at| *at >= index.0);
            Ok(above.min().map(CommitIndex))
        }

        fn certified_head(&self, index: CommitIndex) -> Result<Option<CertifiedHead>, Infallible> {
            let head = Head {
                commit_index: index,
                ..head(1, 1)
            };
            let certificate = Certificate {
                height: head.height,
                head: head.id(),
                signatures: Vec::new().try_into().unwrap(),
            };
            Ok(Some(CertifiedHead { head, certificate }))
        }
    }

    const MANY: usize = u32::MAX as usize;

    #[test]
    fn records_go_down_from_the_furthest_certified_head_within_a_hop() {
        let log = Log::new(9, &[2, 5, 7]);
        assert_eq!(
            log.records(0, None, MANY),
            (Some(7), vec![7, 6, 5, 4, 3, 2, 1])
        );
        assert_eq!(log.records(5, None, MANY), (Some(7), vec![7, 6]));
        assert_eq!(
            log.records(7, None, MANY),
            (None, vec![]),
            "nothing above is certified"
        );
        assert_eq!(
            log.records(2, Some(4), MANY),
            (None, vec![4, 3]),
            "where the other is"
        );
        assert_eq!(
            log.records(4, Some(4), MANY),
            (Some(7), vec![7, 6, 5]),
            "no way there"
        );
        assert_eq!(log.records(u64::MAX, Some(u64::MAX), MANY), (None, vec![]));
    }

    #[test]
    fn where_none_is_near_the_nearest_head_is_chosen_and_a_farther_way_is_cut_short() {
        let far = HOP_COMMITS + 3;
        let log = Log::new(far + 2, &[far, far + 2]);
        let (certified, records) = log.records(0, None, 1);
        assert_eq!((certified, records), (Some(far), vec![far]));
        let (certified, records) = log.records(0, Some(far + 1), 1);
        assert_eq!((certified, records), (Some(far), vec![far]), "nearer");
        let (certified, records) = log.records(0, Some(far - 1), 1);
        assert_eq!((certified, records), (None, vec![far - 1]), "on the way");
    }

    #[test]
    fn a_part_ends_with_what_reaches_the_bytes_that_were_asked_for() {
        let log = Log::new(6, &[6]);
        let record = log.commits[&CommitIndex(1)].encoded_len();
        assert_eq!(log.records(0, None, 2 * record), (Some(6), vec![6, 5]));
        assert_eq!(
            log.records(0, None, 2 * record + 1),
            (Some(6), vec![6, 5, 4])
        );
        assert_eq!(log.records(0, None, 0).1, [6], "one at the least");
        let one = vertex(1, 0).bytes().len();
        assert_eq!(log.vertices((1, 1), 6, one + 1), [(1, 1), (2, 0)]);
        assert_eq!(log.vertices((1, 1), 6, one), [(1, 1)]);
        assert_eq!(
            log.vertices((5, 0), 5, MANY),
            [(5, 0), (5, 1)],
            "no further than asked"
        );
        assert_eq!(log.vertices((6, 1), u64::MAX, MANY), [(6, 1)]);
        assert_eq!(log.vertices((7, 0), u64::MAX, MANY), []);
        assert_eq!(log.vertices((0, 0), 1, MANY), []);
    }

    #[test]
    fn what_is_missing_ends_a_part() {
        let mut log = Log::new(3, &[3]);
        log.vertices.remove(vertex(2, 1).reference());
        assert_eq!(log.vertices((1, 0), 3, MANY), [(1, 0), (1, 1), (2, 0)]);
        log.commits.remove(&CommitIndex(2));
        assert_eq!(log.records(0, None, MANY), (Some(3), vec![3]));
        assert_eq!(log.vertices((1, 0), 3, MANY), [(1, 0), (1, 1)]);
    }
}
