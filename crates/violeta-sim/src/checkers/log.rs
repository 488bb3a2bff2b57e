//! Agreement and order: one log, the same everywhere, whole.

use std::collections::{BTreeMap, BTreeSet};

use violeta_types::{Commit, Digest, Round, TimeMs, ValidatorIndex, VertexRef};

use super::{Property, Violation, ensure};

/// The one log, as the first to get that far had it.
#[derive(Default)]
pub(crate) struct Log {
    digests: Vec<Digest>,
    leaders: Vec<VertexRef>,
    time: TimeMs,
    /// Slots whose vertex was committed, by round and author.
    slots: BTreeSet<(Round, ValidatorIndex)>,
    /// How long each validator's own log is, in its present life.
    lengths: BTreeMap<ValidatorIndex, u64>,
}

impl Log {
    /// The number of commits.
    pub(crate) fn len(&self) -> u64 {
        self.digests.len() as u64
    }

    /// A validator starts with this many commits in its journal.
    pub(crate) fn restarted(&mut self, who: ValidatorIndex, commits: u64) {
        self.lengths.insert(who, commits);
    }

    /// How long a validator's log is.
    pub(crate) fn length(&self, who: ValidatorIndex) -> u64 {
        self.lengths.get(&who).copied().unwrap_or(0)
    }

    /// A validator's log has grown. Says whether nobody had got that far before.
    pub(crate) fn committed(
        &mut self,
        who: ValidatorIndex,
        commit: &Commit,
        digest: Digest,
    ) -> Result<bool, Violation> {
        let index = commit.index.0;
        let length = self.lengths.entry(who).or_default();
        ensure!(
            index == *length + 1,
            Property::Agreement,
            "validator {who} went from commit {length} to commit {index}"
        );
        *length = index;
        let position = (index - 1) as usize;
        if let Some(canonical) = self.digests.get(position) {
            ensure!(
                *canonical == digest,
                Property::Agreement,
                "at index {index} validator {who} has commit {digest} (leader {:?}), others {canonical} (leader {:?})",
                commit.leader,
                self.leaders[position]
            );
            return Ok(false);
        }
        self.extend(who, commit, digest)?;
        Ok(true)
    }

    fn extend(
        &mut self,
        who: ValidatorIndex,
        commit: &Commit,
        digest: Digest,
    ) -> Result<(), Violation> {
        let index = commit.index;
        let previous = self.digests.last().copied().unwrap_or(Digest::ZERO);
        ensure!(
            commit.previous == previous,
            Property::Agreement,
            "commit {index} of validator {who} names {} as the one before, which is {previous}",
            commit.previous
        );
        ensure!(
            commit.time >= self.time,
            Property::Agreement,
            "time goes back from {} to {} at commit {index}",
            self.time,
            commit.time
        );
        ensure!(
            commit.vertices.contains(&commit.leader),
            Property::CommittedOnce,
            "the leader of commit {index} isn't among its vertices"
        );
        ensure!(
            commit.vertices.windows(2).all(|pair| pair[0] < pair[1]),
            Property::CommittedOnce,
            "the vertices of commit {index} aren't in order"
        );
        for vertex in &commit.vertices {
            ensure!(
                self.slots.insert((vertex.round, vertex.author)),
                Property::CommittedOnce,
                "commit {index} holds {vertex:?}, but a vertex of this author and round was committed before"
            );
        }
        self.time = commit.time;
        self.digests.push(digest);
        self.leaders.push(commit.leader);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use violeta_types::{CommitIndex, Domain, Epoch, VertexId};

    pub(crate) fn vertex(round: u64, author: u16, name: &str) -> VertexRef {
        VertexRef {
            round: Round(round),
            author: ValidatorIndex(author),
            id: VertexId(Domain::Vertex.hash(format!("{round} {author} {name}").as_bytes())),
        }
    }

    pub(crate) fn commit(index: u64, previous: Digest, vertices: &[VertexRef]) -> Commit {
        Commit {
            epoch: Epoch(0),
            index: CommitIndex(index),
            previous,
            leader: *vertices.last().unwrap(),
            vertices: vertices.to_vec().try_into().unwrap(),
            time: TimeMs(index),
            coin: None,
        }
    }

    pub(crate) fn digest(of: &Commit) -> Digest {
        Domain::Commit.hash_encoded(of)
    }

    const A: ValidatorIndex = ValidatorIndex(0);
    const B: ValidatorIndex = ValidatorIndex(1);

    fn broken(verdict: Result<bool, Violation>) -> Property {
        verdict.unwrap_err().property
    }

    #[test]
    fn one_log_at_two_paces_is_one_log() {
        let first = commit(1, Digest::ZERO, &[vertex(1, 0, ""), vertex(1, 1, "")]);
        let second = commit(2, digest(&first), &[vertex(2, 0, "")]);
        let mut log = Log::default();
        assert!(log.committed(A, &first, digest(&first)).unwrap());
        assert!(log.committed(A, &second, digest(&second)).unwrap());
        assert!(!log.committed(B, &first, digest(&first)).unwrap());
        log.restarted(A, 1);
        assert!(!log.committed(A, &second, digest(&second)).unwrap());
        assert_eq!((log.len(), log.length(A), log.length(B)), (2, 2, 1));
    }

    #[test]
    fn a_fork_is_seen() {
        let mut log = Log::default();
        let one = commit(1, Digest::ZERO, &[vertex(1, 0, "")]);
        let other = commit(1, Digest::ZERO, &[vertex(1, 0, "twin")]);
        log.committed(A, &one, digest(&one)).unwrap();
        let verdict = log.committed(B, &other, digest(&other));
        assert_eq!(broken(verdict), Property::Agreement);
    }

    #[test]
    fn a_gap_a_wrong_predecessor_and_time_that_goes_back_are_seen() {
        let first = commit(1, Digest::ZERO, &[vertex(1, 0, "")]);
        let mut log = Log::default();
        let gap = commit(2, Digest::ZERO, &[vertex(1, 0, "")]);
        assert_eq!(
            broken(log.committed(A, &gap, digest(&gap))),
            Property::Agreement
        );
        let mut log = Log::default();
        log.committed(A, &first, digest(&first)).unwrap();
        let loose = commit(2, Digest::ZERO, &[vertex(2, 0, "")]);
        assert_eq!(
            broken(log.committed(A, &loose, digest(&loose))),
            Property::Agreement
        );
        let mut log = Log::default();
        log.committed(A, &first, digest(&first)).unwrap();
        let mut early = commit(2, digest(&first), &[vertex(2, 0, "")]);
        early.time = TimeMs(0);
        assert_eq!(
            broken(log.committed(A, &early, digest(&early))),
            Property::Agreement
        );
    }

    #[test]
    fn a_vertex_or_its_twin_committed_again_is_seen() {
        for name in ["", "twin"] {
            let first = commit(1, Digest::ZERO, &[vertex(1, 0, "")]);
            let second = commit(2, digest(&first), &[vertex(1, 0, name), vertex(2, 0, "")]);
            let mut log = Log::default();
            log.committed(A, &first, digest(&first)).unwrap();
            let verdict = log.committed(A, &second, digest(&second));
            assert_eq!(broken(verdict), Property::CommittedOnce);
        }
    }

    #[test]
    fn a_commit_without_its_leader_or_out_of_order_is_seen() {
        let mut missing = commit(1, Digest::ZERO, &[vertex(1, 0, "")]);
        missing.leader = vertex(1, 1, "");
        let verdict = Log::default().committed(A, &missing, digest(&missing));
        assert_eq!(broken(verdict), Property::CommittedOnce);
        let unsorted = commit(1, Digest::ZERO, &[vertex(2, 0, ""), vertex(1, 0, "")]);
        let verdict = Log::default().committed(A, &unsorted, digest(&unsorted));
        assert_eq!(broken(verdict), Property::CommittedOnce);
    }
}
