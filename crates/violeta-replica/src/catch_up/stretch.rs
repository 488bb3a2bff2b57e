//! The stretch of the log between our end and a certified head, as far as it is here.
//!
//! ```text
//!    our log               records: each names the one before it by digest              certified head
//!   ───▶ end ┊  ?   ?   ?   [k] ◀─ [k+1] ◀─ [k+2] ◀─ … ◀─ [e] ◀──────── commit_digest ──── H
//!            ┊          ▲    records come downwards, until they meet our end
//!            ┊  ●●● ●●○ ○○○ ○    then vertices go upwards: each is one that its record names
//! ```
//!
//! Nothing is held that a quorum hasn't vouched for: a record is taken only if the head, or the record above it, names
//! its digest, and a vertex only if its commit's record names its id. So whoever sends something else spoils nothing
//! that is here, and it doesn't matter who sent what. What is held is the records, within [`STAGED_BYTES_MAX`], and
//! the vertices of one commit: a commit is adopted as soon as it is whole. Should the records of a stretch be more
//! than that, those nearest to our end are kept, and the others are walked again when these are adopted.

use std::collections::VecDeque;

use violeta_consensus::ValidVertex;
use violeta_types::{ChainId, Commit, CommitIndex, Digest, Head, VertexRef};

use crate::limits::STAGED_BYTES_MAX;
use crate::message::Place;

/// A record that isn't the one that the certified head binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("commit {0} isn't the one that the certified head binds")]
pub struct Unbound(pub CommitIndex);

/// What is wanted next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The record of this commit.
    Record(CommitIndex),
    /// Vertices.
    Vertices {
        /// From here on.
        from: Place,
        /// The last commit whose record is here.
        last: CommitIndex,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Stretch {
    chain: ChainId,
    end: CommitIndex,
    end_digest: Digest,
    /// Without gaps; going up.
    records: VecDeque<Commit>,
    bytes: usize,
    bytes_max: usize,
    /// Of the first record, in its order.
    vertices: Vec<ValidVertex>,
}

impl Stretch {
    /// The stretch up to a head, of which nothing is here yet. The caller has checked the head's certificate.
    pub fn new(head: &Head) -> Self {
        Stretch {
            chain: head.chain,
            end: head.commit_index,
            end_digest: head.commit_digest,
            records: VecDeque::new(),
            bytes: 0,
            bytes_max: STAGED_BYTES_MAX,
            vertices: Vec::new(),
        }
    }

    /// The certified commit.
    pub fn end(&self) -> CommitIndex {
        self.end
    }

    /// What is wanted next, if our log ends at `log_end`, which lies below the stretch's end.
    pub fn next(&self, log_end: CommitIndex) -> Next {
        assert!(log_end < self.end, "a stretch that we are past is dropped");
        match (self.records.front(), self.records.back()) {
            (Some(first), Some(last)) if first.index == log_end.next() => Next::Vertices {
                from: self.place(first),
                last: last.index,
            },
            _ => Next::Record(self.awaited().0),
        }
    }

    /// The record that comes next on the way down: its index and digest.
    fn awaited(&self) -> (CommitIndex, Digest) {
        match self.records.front() {
            Some(first) => (CommitIndex(first.index.0.saturating_sub(1)), first.previous),
            None => (self.end, self.end_digest),
        }
    }

    fn place(&self, first: &Commit) -> Place {
        Place {
            commit: first.index,
            vertex: self.vertices.len() as u32,
        }
    }

    /// Takes records from the [next](Next::Record) one downwards, as far as they are wanted.
    ///
    /// # Errors
    /// If one isn't what the one above it names. Those before it have been taken.
    pub fn take_records(
        &mut self,
        records: impl IntoIterator<Item = Commit>,
        log_end: CommitIndex,
    ) -> Result<(), Unbound> {
        for record in records {
            let (index, digest) = self.awaited();
            if index <= log_end {
                break;
            }
            if record.index != index || record.digest(&self.chain) != digest {
                return Err(Unbound(index));
            }
            self.bytes += memory_bytes(&record);
            self.records.push_front(record);
            // What is furthest ahead is needed last.
            while self.bytes > self.bytes_max && self.records.len() > 1 {
                self.bytes -= self.records.pop_back().map_or(0, |r| memory_bytes(&r));
            }
        }
        Ok(())
    }

    /// Our log ends at `log_end`, whoever brought it there: what lies at or below is needed no more.
    pub fn pass(&mut self, log_end: CommitIndex) {
        while (self.records.front()).is_some_and(|first| first.index <= log_end) {
            self.bytes -= self.records.pop_front().map_or(0, |r| memory_bytes(&r));
            self.vertices.clear();
        }
    }

    /// The vertices from `from` up to commit `last`, if `from` is where the next ones are wanted.
    pub fn expected(
        &self,
        from: Place,
        last: CommitIndex,
    ) -> Option<impl Iterator<Item = VertexRef>> {
        let first = self.records.front()?;
        let records = self.records.iter().take_while(move |r| r.index <= last);
        (self.place(first) == from).then(|| {
            let references = records.flat_map(|record| record.vertices.iter());
            references.copied().skip(from.vertex as usize)
        })
    }

    /// Takes vertices that are the [expected](Self::expected) ones from `from` on; gives the commits that are whole
    /// now. If others came first, nothing happens.
    pub fn take_vertices(
        &mut self,
        from: Place,
        vertices: Vec<ValidVertex>,
    ) -> Vec<(Commit, Vec<ValidVertex>)> {
        let mut whole = Vec::new();
        if self.records.front().map(|first| self.place(first)) != Some(from) {
            return whole;
        }
        for vertex in vertices {
            let Some(first) = self.records.front() else {
                break;
            };
            let expected = first.vertices.get(self.vertices.len());
            assert_eq!(Some(vertex.reference()), expected, "the one that is named");
            self.vertices.push(vertex);
            if self.vertices.len() == first.vertices.len()
                && let Some(commit) = self.records.pop_front()
            {
                self.bytes -= memory_bytes(&commit);
                whole.push((commit, std::mem::take(&mut self.vertices)));
            }
        }
        whole
    }
}

fn memory_bytes(commit: &Commit) -> usize {
    size_of::<Commit>() + commit.vertices.len() * size_of::<VertexRef>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, vertex};
    use violeta_types::{Round, TimeMs};

    /// Commits 1 … n in a chain, of two vertices, one, two …, and a head that binds the last.
    fn chain(n: u64) -> (Vec<Commit>, Head) {
        fixture::chain(n, |index| 1 + (index % 2) as u16)
    }

    fn down(commits: &[Commit]) -> impl Iterator<Item = Commit> {
        commits.iter().rev().cloned()
    }

    fn place(commit: u64, vertex: u32) -> Place {
        Place {
            commit: CommitIndex(commit),
            vertex,
        }
    }

    const END: CommitIndex = CommitIndex(0);

    #[test]
    fn records_come_down_then_vertices_go_up_in_whatever_parts() {
        let (commits, head) = chain(5);
        let mut stretch = Stretch::new(&head);
        assert_eq!(stretch.next(END), Next::Record(CommitIndex(5)));
        stretch.take_records(down(&commits[3..]), END).unwrap();
        assert_eq!(stretch.next(END), Next::Record(CommitIndex(3)));
        stretch.take_records(down(&commits[..3]), END).unwrap();
        let mut adopted = Vec::new();
        let mut from = place(1, 0);
        while adopted.len() < 5 {
            let last = CommitIndex(5);
            let log_end = CommitIndex(adopted.len() as u64);
            assert_eq!(stretch.next(log_end), Next::Vertices { from, last });
            // One vertex at a time: commits 1, 3 and 5 have two.
            let expected = stretch.expected(from, last).unwrap().next().unwrap();
            let one = vertex(expected.round.0, expected.author.0);
            adopted.extend(stretch.take_vertices(from, vec![one]));
            stretch.pass(CommitIndex(adopted.len() as u64));
            from = match from {
                Place { commit, vertex: 0 } if commit.0 % 2 == 1 => place(commit.0, 1),
                Place { commit, .. } => place(commit.0 + 1, 0),
            };
        }
        for (commit, (taken, vertices)) in commits.iter().zip(&adopted) {
            assert_eq!(taken, commit);
            let references: Vec<VertexRef> = vertices.iter().map(|v| *v.reference()).collect();
            assert_eq!(references[..], commit.vertices[..]);
        }
        assert_eq!(stretch.bytes, 0);
    }

    #[test]
    fn a_record_changed_anywhere_is_not_taken_and_spoils_nothing() {
        let (commits, head) = chain(3);
        let mut stretch = Stretch::new(&head);
        let changed = |commit: &Commit| Commit {
            time: TimeMs(101),
            ..commit.clone()
        };
        let top = Unbound(CommitIndex(3));
        assert_eq!(stretch.take_records([changed(&commits[2])], END), Err(top));
        assert_eq!(stretch.take_records([commits[1].clone()], END), Err(top));
        stretch.take_records([commits[2].clone()], END).unwrap();
        let again = stretch.take_records([commits[2].clone()], END);
        assert_eq!(again, Err(Unbound(CommitIndex(2))), "a duplicate");
        let mixed = [commits[1].clone(), changed(&commits[0])];
        let below = stretch.take_records(mixed, END);
        assert_eq!(below, Err(Unbound(CommitIndex(1))));
        assert_eq!(
            stretch.next(END),
            Next::Record(CommitIndex(1)),
            "what is good is kept"
        );
    }

    #[test]
    fn no_record_at_or_below_our_end_is_looked_at() {
        let (commits, head) = chain(4);
        let mut stretch = Stretch::new(&head);
        let log_end = CommitIndex(2);
        stretch.take_records(down(&commits), log_end).unwrap();
        assert_eq!(stretch.records.len(), 2);
        let from = place(3, 0);
        let last = CommitIndex(4);
        assert_eq!(stretch.next(log_end), Next::Vertices { from, last });
    }

    #[test]
    fn of_more_records_than_may_be_held_the_lowest_stay_and_the_rest_is_walked_again() {
        let (commits, head) = chain(6);
        let mut stretch = Stretch::new(&head);
        stretch.bytes_max = commits[..3].iter().map(memory_bytes).sum();
        stretch.take_records(down(&commits), END).unwrap();
        let last = CommitIndex(3);
        let from = place(1, 0);
        assert_eq!(stretch.next(END), Next::Vertices { from, last });
        stretch.pass(last);
        assert_eq!(stretch.next(last), Next::Record(CommitIndex(6)));
        stretch.bytes_max = 1;
        stretch.take_records(down(&commits), last).unwrap();
        assert_eq!(stretch.records.len(), 1, "one is always held");
        assert_eq!(stretch.records[0].index, CommitIndex(4));
    }

    #[test]
    fn a_log_that_goes_on_by_itself_takes_the_stretch_along() {
        let (commits, head) = chain(4);
        let mut stretch = Stretch::new(&head);
        stretch.take_records(down(&commits), END).unwrap();
        stretch.take_vertices(place(1, 0), vec![vertex(1, 0)]);
        stretch.pass(CommitIndex(2));
        let (from, last) = (place(3, 0), CommitIndex(4));
        let next = stretch.next(CommitIndex(2));
        assert_eq!(next, Next::Vertices { from, last });
        let late = stretch.take_vertices(place(1, 1), vec![vertex(1, 1)]);
        assert!(late.is_empty(), "others came first");
        assert!(stretch.expected(place(1, 1), last).is_none());
    }

    #[test]
    fn vertices_are_expected_in_the_order_of_the_log_and_no_further_than_asked() {
        let (commits, head) = chain(3);
        let mut stretch = Stretch::new(&head);
        stretch.take_records(down(&commits), END).unwrap();
        let expected = stretch.expected(place(1, 0), CommitIndex(2)).unwrap();
        let slots: Vec<(Round, u16)> = expected.map(|r| (r.round, r.author.0)).collect();
        assert_eq!(slots, [(Round(1), 0), (Round(1), 1), (Round(2), 0)]);
    }
}
