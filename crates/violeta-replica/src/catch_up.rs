//! Catching up by commits: whoever is too far behind for the graph takes ranges of the log, each up to a certified
//! head, from one peer after another (replica.md §4b).
//!
//! ```text
//!  behind ──▶ ask a peer ──▶ range verified (chain from our last commit to the certified head) ──▶ adopt ─┐
//!     ▲           │ nothing in time, or a lie: the next peer                                               │
//!     └───────────┴──────────────────────────────────── still behind ◀─────────────────────────────────────┘
//! ```
//!
//! A peer that lies costs one wait or one refused range, nothing else.

use violeta_types::{ChainId, Commit, CommitIndex, ValidatorIndex};

use crate::commit_log::{BrokenChain, CommitLog};
use crate::message::CommitRange;

/// How long a peer has to answer, in µs.
pub const ANSWER_TIMEOUT_US: u64 = 3_000_000;
/// How far behind a certified head one is before commits are asked for rather than vertices.
pub const BEHIND_COMMITS: u64 = 256;

/// Why a range is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRange {
    /// It holds nothing.
    #[error("an empty range")]
    Empty,
    /// Its commits don't follow one another, or ours.
    #[error(transparent)]
    Chain(#[from] BrokenChain),
    /// The certified head doesn't bind its last commit.
    #[error("the certified head is of another commit than the range's last")]
    Head,
    /// A commit's vertices aren't those that it names.
    #[error("commit {0} comes with other vertices than it names")]
    Vertices(CommitIndex),
}

/// Whether `range` continues `log` and is bound by its certified head. The certificate itself, and that each vertex is
/// the one named, the caller checks.
///
/// # Errors
/// Says what is wrong.
pub fn check_range(chain: &ChainId, log: &CommitLog, range: &CommitRange) -> Result<(), BadRange> {
    let mut log = log.clone();
    for entry in &range.commits {
        log.append(&entry.commit)?;
        if entry.vertices.len() != entry.commit.vertices.len() {
            return Err(BadRange::Vertices(entry.commit.index));
        }
    }
    let last: &Commit = match range.commits.last() {
        Some(entry) => &entry.commit,
        None => return Err(BadRange::Empty),
    };
    let head = &range.certified.head;
    let bound = head.chain == *chain
        && head.commit_index == last.index
        && head.commit_digest == log.last_digest();
    if bound { Ok(()) } else { Err(BadRange::Head) }
}

/// Whom to ask, and when. See the module.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// The newest certified commit that each peer has told of.
    peers: Vec<(ValidatorIndex, CommitIndex)>,
    /// Whom we wait for, and until when.
    asked: Option<(ValidatorIndex, u64)>,
    /// Where the next search for a peer begins: peers take turns.
    turn: usize,
    /// The core says that vertices won't do.
    forced: bool,
}

impl CatchUp {
    /// A peer has told that it knows a certified head of this commit.
    pub fn heard(&mut self, peer: ValidatorIndex, certified: CommitIndex) {
        match self.peers.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, index)) => *index = (*index).max(certified),
            None => self.peers.push((peer, certified)),
        }
    }

    /// A peer is gone.
    pub fn gone(&mut self, peer: ValidatorIndex) {
        self.peers.retain(|(known, _)| *known != peer);
        if self.asked.is_some_and(|(asked, _)| asked == peer) {
            self.asked = None;
        }
    }

    /// The graph can't close the gap: ask for commits however few are missing.
    pub fn force(&mut self) {
        self.forced = true;
    }

    /// Whether we wait for this peer's answer.
    pub fn is_waiting_for(&self, peer: ValidatorIndex) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == peer)
    }

    /// A peer has answered, well or not.
    pub fn answered(&mut self, peer: ValidatorIndex, good: bool) {
        if self.is_waiting_for(peer) {
            self.asked = None;
        }
        if good {
            self.forced = false;
        } else {
            // What it claims to have is worth nothing until it says so again.
            self.peers.retain(|(known, _)| *known != peer);
        }
    }

    /// When to look again, if we wait for somebody.
    pub fn deadline_us(&self) -> Option<u64> {
        self.asked.map(|(_, deadline)| deadline)
    }

    /// Whom to ask for commits after `last` now, if anybody.
    pub fn next_request(&mut self, last: CommitIndex, now_us: u64) -> Option<ValidatorIndex> {
        match self.asked {
            Some((_, deadline)) if now_us < deadline => return None,
            Some((silent, _)) => self.answered(silent, false),
            None => {}
        }
        let margin = if self.forced { 0 } else { BEHIND_COMMITS };
        let count = self.peers.len();
        let ahead = |&offset: &usize| {
            let (_, certified) = self.peers[(self.turn + offset) % count];
            certified.0 > last.0 + margin
        };
        let offset = (0..count).find(ahead)?;
        let at = (self.turn + offset) % count;
        self.turn = at + 1;
        let peer = self.peers[at].0;
        self.asked = Some((peer, now_us + ANSWER_TIMEOUT_US));
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{CHAIN, commit, head};
    use crate::message::RangeCommit;
    use violeta_types::{Certificate, CertifiedHead, Digest, Head, TimeMs};

    const A: ValidatorIndex = ValidatorIndex(1);
    const B: ValidatorIndex = ValidatorIndex(2);

    #[test]
    fn asks_only_who_is_far_ahead_unless_the_graph_cannot_help() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(A, CommitIndex(BEHIND_COMMITS));
        assert_eq!(catch_up.next_request(CommitIndex(0), 0), None);
        catch_up.force();
        assert_eq!(catch_up.next_request(CommitIndex(0), 0), Some(A));
        assert_eq!(
            catch_up.next_request(CommitIndex(0), 1),
            None,
            "one at a time"
        );
        catch_up.answered(A, true);
        assert_eq!(
            catch_up.next_request(CommitIndex(9), 2),
            None,
            "near enough"
        );
    }

    #[test]
    fn a_silent_or_lying_peer_is_passed_over() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(A, CommitIndex(9_999));
        catch_up.heard(B, CommitIndex(9_999));
        assert_eq!(catch_up.next_request(CommitIndex(0), 0), Some(A));
        assert_eq!(
            catch_up.next_request(CommitIndex(0), ANSWER_TIMEOUT_US),
            Some(B)
        );
        catch_up.answered(B, false);
        assert_eq!(
            catch_up.next_request(CommitIndex(0), ANSWER_TIMEOUT_US + 1),
            None
        );
        catch_up.heard(A, CommitIndex(9_999));
        assert_eq!(
            catch_up.next_request(CommitIndex(0), ANSWER_TIMEOUT_US + 2),
            Some(A),
            "it may try again"
        );
    }

    #[test]
    fn peers_take_turns() {
        let mut catch_up = CatchUp::default();
        catch_up.heard(A, CommitIndex(9_999));
        catch_up.heard(B, CommitIndex(9_999));
        for peer in [A, B, A, B] {
            assert_eq!(catch_up.next_request(CommitIndex(0), 0), Some(peer));
            catch_up.answered(peer, true);
        }
    }

    /// Commits 1 … n in a chain, and a head that binds the last.
    fn range(n: u64) -> CommitRange {
        let mut previous = Digest::ZERO;
        let mut commits = Vec::new();
        for index in 1..=n {
            let commit = commit(index, previous);
            previous = commit.digest(&CHAIN);
            commits.push(RangeCommit {
                commit,
                vertices: vec![vec![0].try_into().unwrap()].try_into().unwrap(),
            });
        }
        let head = Head {
            commit_index: CommitIndex(n),
            commit_digest: previous,
            ..head(1, 1)
        };
        let certificate = Certificate {
            height: head.height,
            head: head.id(),
            signatures: Vec::new().try_into().unwrap(),
        };
        CommitRange {
            commits: commits.try_into().unwrap(),
            certified: CertifiedHead { head, certificate },
        }
    }

    fn check(range: &CommitRange) -> Result<(), BadRange> {
        check_range(&CHAIN, &CommitLog::new(CHAIN, TimeMs(0)), range)
    }

    #[test]
    fn a_range_that_the_head_binds_is_taken() {
        assert_eq!(check(&range(5)), Ok(()));
    }

    #[test]
    fn a_range_changed_anywhere_is_refused() {
        let with = |change: &dyn Fn(&mut Vec<RangeCommit>, &mut Head)| {
            let mut range = range(5);
            let mut commits = range.commits.into_inner();
            change(&mut commits, &mut range.certified.head);
            check(&CommitRange {
                commits: commits.try_into().unwrap(),
                certified: range.certified,
            })
        };
        assert_eq!(with(&|commits, _| commits.clear()), Err(BadRange::Empty));
        assert_eq!(with(&|commits, _| drop(commits.pop())), Err(BadRange::Head));
        assert!(matches!(
            with(&|commits, _| drop(commits.remove(0))),
            Err(BadRange::Chain(_))
        ));
        assert!(matches!(
            with(&|commits, _| commits[2].commit.time = TimeMs(101)),
            Err(BadRange::Chain(_))
        ));
        assert_eq!(
            with(&|commits, _| commits[4].commit.time = TimeMs(101)),
            Err(BadRange::Head),
            "the last commit is bound by the head alone"
        );
        assert_eq!(
            with(&|commits, _| commits[1].vertices = Vec::new().try_into().unwrap()),
            Err(BadRange::Vertices(CommitIndex(2)))
        );
        assert_eq!(
            with(&|_, head| head.chain = violeta_types::ChainId(Digest::ZERO)),
            Err(BadRange::Head)
        );
    }
}
