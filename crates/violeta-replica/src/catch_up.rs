//! Catching up by commits: whoever is too far behind for the graph goes from one certified head to the next, and asks
//! one peer after another for parts of what lies between (replica.md §4b).
//!
//! ```text
//!  behind ──▶ ask for records ──▶ they chain down from a certified head to our end ──▶ ask for vertices ──▶ adopt ─┐
//!     ▲            ▲    │ nothing in time, too little, a lie: the next peer             ▲      │   commit by commit │
//!     │            └────┘                                                               └──────┘                    │
//!     └──────────────────────────────────────────── still behind ◀──────────────────────────────────────────────────┘
//! ```
//!
//! A part is bounded in bytes, a range isn't: it takes as many parts as it takes. Each record and each vertex is
//! verified when it comes, against what a quorum has vouched for ([`stretch`]); so a peer that lies costs one wait, or
//! one refused part, and nothing else: what others gave stays. A peer that doesn't answer, or with less than it was
//! asked for, is asked after those that did better. A certified head that lies far ahead costs a long way down before
//! anything can be adopted: whoever is asked on that way may name a nearer one.

pub mod serve;
pub mod stretch;

use std::collections::BTreeMap;

use bytes::Bytes;
use violeta_consensus::ValidVertex;
use violeta_types::{Commit, CommitIndex, ValidatorIndex, VertexRef};

use crate::limits::PART_BYTES_MIN;
use crate::message::{
    Place, Question, RecordsPart, RecordsQuestion, VerticesPart, VerticesQuestion,
};
use stretch::{Next, Stretch, Unbound};

/// How long a peer has to answer, in µs. A later answer is taken too, if it is still of use.
pub const ANSWER_TIMEOUT_US: u64 = 3_000_000;
/// How far behind a certified head one is before commits are asked for rather than vertices.
pub const BEHIND_COMMITS: u64 = 256;

/// Why a part is refused: no honest peer sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPart {
    /// A record isn't bound by the certified head.
    #[error(transparent)]
    Record(#[from] Unbound),
    /// It has more vertices than were asked for.
    #[error("more vertices than were asked for")]
    Surplus,
}

/// What is known of a peer.
#[derive(Debug, Default)]
struct Peer {
    /// The newest certified commit that it has told of; 0: what it told is worth nothing until it says so again.
    certified: CommitIndex,
    /// The end of its log, certified or not. Of a head whose certificate only a liar shows, others have the commits.
    log_end: CommitIndex,
    /// How often it answered too late, too little, or wrongly.
    demerits: u32,
    /// What it was asked and has yet to answer.
    owes: Option<Question>,
}

/// What a peer must have told of to be asked.
#[derive(Clone, Copy, Debug)]
enum Needs {
    /// A certified head of this commit, or a later one.
    Certified(CommitIndex),
    /// This commit.
    Commit(CommitIndex),
}

/// Whom to ask, for what, and when. See the module.
#[derive(Debug)]
pub struct CatchUp {
    peers: BTreeMap<ValidatorIndex, Peer>,
    /// Whom we wait for, and until when.
    asked: Option<(ValidatorIndex, u64)>,
    /// Who was asked last: peers take turns.
    turn: ValidatorIndex,
    /// The core says that vertices won't do.
    forced: bool,
    /// What lies between our end and the certified head that we go for.
    stretch: Option<Stretch>,
    /// Vertices from here on are being checked.
    checking: Option<Place>,
    /// Bytes to ask for: fewer while answers come too late.
    bytes: u32,
    bytes_max: u32,
}

/// Vertices to be checked: each against the reference that its commit's record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// Where they begin.
    pub place: Place,
    /// What each must be, and its bytes.
    pub vertices: Vec<(VertexRef, Bytes)>,
}

impl CatchUp {
    /// Asks for about `bytes_max` bytes at once.
    pub fn new(bytes_max: u32) -> Self {
        CatchUp {
            peers: BTreeMap::new(),
            asked: None,
            turn: ValidatorIndex(0),
            forced: false,
            stretch: None,
            checking: None,
            bytes: bytes_max,
            bytes_max,
        }
    }

    /// A peer has told where its log ends, and that it knows a certified head of commit `certified`.
    pub fn heard(&mut self, peer: ValidatorIndex, certified: CommitIndex, log_end: CommitIndex) {
        let known = self.peer(peer);
        known.certified = known.certified.max(certified);
        known.log_end = known.log_end.max(log_end);
    }

    fn peer(&mut self, peer: ValidatorIndex) -> &mut Peer {
        self.peers.entry(peer).or_default()
    }

    /// A peer is gone. How it did is remembered.
    pub fn gone(&mut self, peer: ValidatorIndex) {
        if let Some(known) = self.peers.get_mut(&peer) {
            *known = Peer {
                demerits: known.demerits,
                ..Peer::default()
            };
        }
        self.stop_waiting(peer);
    }

    fn stop_waiting(&mut self, peer: ValidatorIndex) {
        if self.asked.is_some_and(|(asked, _)| asked == peer) {
            self.asked = None;
        }
    }

    /// The graph can't close the gap: ask for commits however few are missing, until a certified head is reached.
    pub fn force(&mut self) {
        self.forced = true;
    }

    /// Whether there is a certified head that we are on the way to, or look for.
    pub fn is_active(&self) -> bool {
        self.asked.is_some() || self.stretch.is_some()
    }

    /// When to look again, if we wait for somebody.
    pub fn deadline_us(&self) -> Option<u64> {
        self.asked.map(|(_, deadline)| deadline)
    }

    /// It didn't do what an honest peer with a good connection does: others are asked first from now on.
    fn demerit(&mut self, peer: ValidatorIndex) {
        let known = self.peer(peer);
        known.demerits = known.demerits.saturating_add(1);
    }

    /// What it claims to have is worth nothing until it says so again.
    pub fn failed(&mut self, peer: ValidatorIndex) {
        self.demerit(peer);
        let known = self.peer(peer);
        (known.certified, known.log_end) = (CommitIndex(0), CommitIndex(0));
    }

    /// Whom to ask for what now, if anybody and anything. Our log ends at `log_end`.
    pub fn next_question(
        &mut self,
        log_end: CommitIndex,
        now_us: u64,
    ) -> Option<(ValidatorIndex, Question)> {
        match self.asked {
            Some((_, deadline)) if now_us < deadline => return None,
            Some((silent, _)) => {
                self.asked = None;
                self.failed(silent);
                let least = self.bytes_max.min(PART_BYTES_MIN as u32);
                self.bytes = (self.bytes / 2).max(least);
            }
            None => {}
        }
        self.pass(log_end);
        if self.checking.is_some() {
            return None;
        }
        let (question, needs) = self.question(log_end);
        let peer = self.pick(needs)?;
        let question = self.cut(question, peer);
        self.turn = peer;
        self.peer(peer).owes = Some(question);
        self.asked = Some((peer, now_us + ANSWER_TIMEOUT_US));
        Some((peer, question))
    }

    /// Our log has got on, by whatever way.
    fn pass(&mut self, log_end: CommitIndex) {
        if let Some(stretch) = &mut self.stretch {
            stretch.pass(log_end);
            if stretch.end() <= log_end {
                self.stretch = None;
                self.forced = false;
            }
        }
    }

    /// The next question, and what a peer must have to answer it.
    fn question(&self, log_end: CommitIndex) -> (Question, Needs) {
        let bytes_max = self.bytes;
        let records = |upto| {
            let after = log_end;
            Question::Records(RecordsQuestion {
                after,
                upto,
                bytes_max,
            })
        };
        match self.stretch.as_ref().map(|stretch| stretch.next(log_end)) {
            None => {
                let margin = if self.forced { 0 } else { BEHIND_COMMITS };
                (
                    records(None),
                    Needs::Certified(CommitIndex(log_end.0 + margin + 1)),
                )
            }
            Some(Next::Record(index)) => (records(Some(index)), Needs::Commit(index)),
            Some(Next::Vertices { from, last }) => {
                let question = VerticesQuestion {
                    from,
                    last,
                    bytes_max,
                };
                (Question::Vertices(question), Needs::Commit(from.commit))
            }
        }
    }

    /// Of the peers that have what it needs, one of those that did best; they take turns.
    fn pick(&self, needs: Needs) -> Option<ValidatorIndex> {
        let able = |(_, peer): &(&ValidatorIndex, &Peer)| match needs {
            Needs::Certified(index) => peer.certified >= index,
            Needs::Commit(index) => peer.certified.max(peer.log_end) >= index,
        };
        let rank = |(index, peer): &(&ValidatorIndex, &Peer)| {
            (peer.demerits, **index <= self.turn, **index)
        };
        let best = self.peers.iter().filter(able).min_by_key(rank);
        best.map(|(index, _)| *index)
    }

    /// No peer is asked for what it hasn't told that it has.
    fn cut(&self, question: Question, peer: ValidatorIndex) -> Question {
        match question {
            Question::Vertices(question) => {
                let told = self.peers.get(&peer);
                let has = told.map(|peer| peer.certified.max(peer.log_end));
                let last = question.last.min(has.unwrap_or(question.last));
                Question::Vertices(VerticesQuestion { last, ..question })
            }
            records => records,
        }
    }

    /// A peer has answered. Says whether it was asked just that: then its answer is to be taken.
    pub fn answered(&mut self, peer: ValidatorIndex, question: Question) -> bool {
        let known = self.peer(peer);
        if known.owes != Some(question) {
            return false;
        }
        known.owes = None;
        self.stop_waiting(peer);
        true
    }

    /// Whether more was to be expected of an answer of `bytes` bytes.
    fn weigh(&mut self, peer: ValidatorIndex, bytes: usize, wanted: u32, ended: bool) {
        if bytes >= wanted as usize || ended {
            self.bytes = self.bytes.saturating_mul(2).min(self.bytes_max);
        } else {
            self.demerit(peer);
        }
    }

    /// Takes records, to an answer that was [asked for](Self::answered); a certified head's certificate has been
    /// checked. What is of no use any more is passed over.
    ///
    /// # Errors
    /// If no honest peer sends that.
    pub fn take_records(
        &mut self,
        peer: ValidatorIndex,
        part: RecordsPart,
        log_end: CommitIndex,
    ) -> Result<(), BadPart> {
        let RecordsQuestion {
            after,
            upto,
            bytes_max,
        } = part.question;
        if part.records.is_empty() {
            self.failed(peer);
            return Ok(());
        }
        let bytes = part.records.iter().map(Commit::encoded_len).sum();
        let lowest = part.records.last().map(|record| record.index);
        let ended = lowest.is_some_and(|lowest| lowest <= after.next());
        self.weigh(peer, bytes, bytes_max, ended);
        self.pass(log_end);
        let next = self.stretch.as_ref().map(|stretch| stretch.next(log_end));
        match (part.certified, &mut self.stretch) {
            (Some(certified), _) => {
                let mut nearer = Stretch::new(&certified.head);
                if nearer.end() <= log_end {
                    return Ok(());
                }
                nearer.take_records(part.records, log_end)?;
                let is_nearer = match next {
                    None => true,
                    Some(Next::Record(wanted)) => nearer.end() < wanted,
                    Some(Next::Vertices { .. }) => false,
                };
                if is_nearer {
                    self.stretch = Some(nearer);
                }
            }
            (None, Some(stretch)) if next.is_some() && next == upto.map(Next::Record) => {
                stretch.take_records(part.records, log_end)?;
            }
            // Others came first; or it was to choose a head, and named none.
            (None, _) if upto.is_some() => {}
            (None, _) => self.failed(peer),
        }
        Ok(())
    }

    /// Takes vertices, to an answer that was [asked for](Self::answered); gives what is to be checked. None: it is of
    /// no use any more.
    ///
    /// # Errors
    /// If no honest peer sends that.
    pub fn take_vertices(
        &mut self,
        peer: ValidatorIndex,
        part: VerticesPart,
        log_end: CommitIndex,
    ) -> Result<Option<Unchecked>, BadPart> {
        if part.vertices.is_empty() {
            self.failed(peer);
            return Ok(None);
        }
        self.pass(log_end);
        let VerticesQuestion {
            from,
            last,
            bytes_max,
        } = part.question;
        let stretch = self.stretch.as_ref().filter(|_| self.checking.is_none());
        let Some(mut expected) = stretch.and_then(|stretch| stretch.expected(from, last)) else {
            return Ok(None);
        };
        let blobs = part.vertices.iter().map(|blob| blob.bytes().clone());
        // In this order: the end of the blobs takes nothing from what is expected.
        let vertices: Vec<(VertexRef, Bytes)> = blobs
            .zip(expected.by_ref())
            .map(|(bytes, reference)| (reference, bytes))
            .collect();
        if vertices.len() < part.vertices.len() {
            return Err(BadPart::Surplus);
        }
        let ended = expected.next().is_none();
        drop(expected);
        let bytes = vertices.iter().map(|(_, bytes)| bytes.len()).sum();
        self.weigh(peer, bytes, bytes_max, ended);
        self.checking = Some(from);
        let place = from;
        Ok(Some(Unchecked { place, vertices }))
    }

    /// Takes what was good of the vertices that were to be checked; gives the commits that are whole now.
    pub fn checked(
        &mut self,
        from: Place,
        vertices: Vec<ValidVertex>,
        log_end: CommitIndex,
    ) -> Vec<(Commit, Vec<ValidVertex>)> {
        assert_eq!(self.checking.take(), Some(from), "one part at a time");
        self.pass(log_end);
        let stretch = self.stretch.as_mut();
        stretch.map_or_else(Vec::new, |stretch| stretch.take_vertices(from, vertices))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{chain, vertex};
    use crate::limits::PART_BYTES_MAX;
    use violeta_types::{Blob, Certificate, CertifiedHead};

    const A: ValidatorIndex = ValidatorIndex(1);
    const B: ValidatorIndex = ValidatorIndex(2);
    const START: CommitIndex = CommitIndex(0);
    const FAR: CommitIndex = CommitIndex(9_999);

    fn catch_up() -> CatchUp {
        CatchUp::new(PART_BYTES_MAX as u32)
    }

    fn heard(catch_up: &mut CatchUp, peer: ValidatorIndex, certified: CommitIndex) {
        catch_up.heard(peer, certified, START);
    }

    /// Whom it asks now, and that it asks for records from a head of the other's choice.
    fn asks(catch_up: &mut CatchUp, log_end: CommitIndex, now_us: u64) -> Option<ValidatorIndex> {
        let (peer, question) = catch_up.next_question(log_end, now_us)?;
        assert!(matches!(question, Question::Records(q) if q.upto.is_none() && q.after == log_end));
        Some(peer)
    }

    fn nothing(question: Question) -> RecordsPart {
        match question {
            Question::Records(question) => RecordsPart {
                question,
                certified: None,
                records: Vec::new().try_into().unwrap(),
            },
            Question::Vertices(_) => panic!("asks for vertices"),
        }
    }

    /// Commits 1 … n of one vertex each, and the certified head of the last.
    fn log(n: u64) -> (Vec<Commit>, CertifiedHead) {
        let (commits, head) = chain(n, |_| 1);
        let certificate = Certificate {
            height: head.height,
            head: head.id(),
            signatures: Vec::new().try_into().unwrap(),
        };
        (commits, CertifiedHead { head, certificate })
    }

    /// The answer to `question` with these commits, going down.
    fn records(
        question: Question,
        certified: Option<&CertifiedHead>,
        commits: &[Commit],
    ) -> RecordsPart {
        let records: Vec<Commit> = commits.iter().rev().cloned().collect();
        RecordsPart {
            certified: certified.cloned(),
            records: records.try_into().unwrap(),
            ..nothing(question)
        }
    }

    #[test]
    fn asks_only_who_is_far_ahead_unless_the_graph_cannot_help() {
        let mut catch_up = catch_up();
        heard(&mut catch_up, A, CommitIndex(BEHIND_COMMITS));
        assert_eq!(asks(&mut catch_up, START, 0), None);
        catch_up.force();
        assert_eq!(asks(&mut catch_up, START, 0), Some(A));
        assert_eq!(asks(&mut catch_up, START, 1), None, "one at a time");
        assert_eq!(catch_up.deadline_us(), Some(ANSWER_TIMEOUT_US));
    }

    #[test]
    fn peers_take_turns() {
        let mut catch_up = catch_up();
        for peer in [A, B, ValidatorIndex(0)] {
            heard(&mut catch_up, peer, FAR);
        }
        for expected in [1, 2, 0, 1, 2] {
            let (peer, question) = catch_up.next_question(START, 0).unwrap();
            assert_eq!(peer, ValidatorIndex(expected));
            assert!(catch_up.answered(peer, question));
        }
    }

    #[test]
    fn a_silent_or_empty_handed_peer_is_asked_after_those_that_did_better() {
        let mut catch_up = catch_up();
        heard(&mut catch_up, A, FAR);
        heard(&mut catch_up, B, FAR);
        assert_eq!(asks(&mut catch_up, START, 0), Some(A));
        let (peer, question) = catch_up.next_question(START, ANSWER_TIMEOUT_US).unwrap();
        assert_eq!(peer, B, "A was silent");
        assert!(catch_up.answered(B, question));
        catch_up.take_records(B, nothing(question), START).unwrap();
        assert_eq!(
            asks(&mut catch_up, START, ANSWER_TIMEOUT_US),
            None,
            "what they claim is worth nothing until they say it again"
        );
        for peer in [A, B, ValidatorIndex(3)] {
            heard(&mut catch_up, peer, FAR);
        }
        for _ in 0..3 {
            let (peer, question) = catch_up.next_question(START, ANSWER_TIMEOUT_US).unwrap();
            assert_eq!(peer, ValidatorIndex(3), "who never failed");
            catch_up.answered(peer, question);
        }
        catch_up.gone(ValidatorIndex(3));
        let asked = asks(&mut catch_up, START, ANSWER_TIMEOUT_US);
        assert!(asked.is_some(), "but better than nobody");
    }

    #[test]
    fn fewer_bytes_are_asked_for_while_answers_come_too_late() {
        let mut catch_up = catch_up();
        let mut now_us = 0;
        let mut bytes = Vec::new();
        for _ in 0..8 {
            heard(&mut catch_up, A, FAR);
            match catch_up.next_question(START, now_us).unwrap().1 {
                Question::Records(question) => bytes.push(question.bytes_max as usize),
                Question::Vertices(_) => panic!("asks for vertices"),
            }
            now_us += ANSWER_TIMEOUT_US;
            assert_eq!(catch_up.next_question(START, now_us), None, "silent");
        }
        assert_eq!(bytes[..3], [2 << 20, 1 << 20, 512 << 10]);
        assert_eq!(bytes[5..], [PART_BYTES_MIN; 3]);
    }

    #[test]
    fn a_late_answer_is_taken_and_an_unasked_one_isnt() {
        let mut catch_up = catch_up();
        heard(&mut catch_up, A, FAR);
        heard(&mut catch_up, B, FAR);
        let (_, question) = catch_up.next_question(START, 0).unwrap();
        assert!(!catch_up.answered(B, question), "B wasn't asked");
        catch_up.next_question(START, ANSWER_TIMEOUT_US).unwrap();
        assert!(catch_up.answered(A, question), "late, but asked for");
        assert!(!catch_up.answered(A, question), "once");
    }

    #[test]
    fn what_one_peer_gave_stays_whatever_the_next_one_sends() {
        let (commits, certified) = log(4);
        let mut catch_up = catch_up();
        catch_up.force();
        heard(&mut catch_up, A, CommitIndex(4));
        heard(&mut catch_up, B, CommitIndex(4));
        let (peer, question) = catch_up.next_question(START, 0).unwrap();
        catch_up.answered(peer, question);
        let part = records(question, Some(&certified), &commits[2..]);
        catch_up.take_records(peer, part, START).unwrap();
        let (liar, question) = catch_up.next_question(START, 0).unwrap();
        assert_ne!(liar, peer);
        catch_up.answered(liar, question);
        let part = records(question, None, &commits[..1]);
        let bad = catch_up.take_records(liar, part, START).unwrap_err();
        assert_eq!(bad, BadPart::Record(Unbound(CommitIndex(2))));
        catch_up.failed(liar);
        match catch_up.next_question(START, 0).unwrap() {
            (honest, Question::Records(question)) => {
                assert_eq!(honest, peer);
                assert_eq!(question.upto, Some(CommitIndex(2)), "goes on from there");
            }
            other => panic!("{other:?}"),
        }
        assert!(catch_up.forced, "junk isn't what was needed");
    }

    #[test]
    fn the_way_to_a_head_that_only_a_liar_shows_is_asked_of_whoever_has_the_commits() {
        let (commits, certified) = log(4);
        let mut catch_up = catch_up();
        catch_up.force();
        let liar = A;
        catch_up.heard(liar, CommitIndex(4), CommitIndex(4));
        let (_, question) = catch_up.next_question(START, 0).unwrap();
        catch_up.answered(liar, question);
        let part = records(question, Some(&certified), &commits[3..]);
        catch_up.take_records(liar, part, START).unwrap();
        catch_up.gone(liar);
        catch_up.heard(B, CommitIndex(1), CommitIndex(2));
        assert_eq!(catch_up.next_question(START, 0), None, "B has no commit 3");
        catch_up.heard(B, CommitIndex(1), CommitIndex(4));
        assert_eq!(catch_up.next_question(START, 0).unwrap().0, B);
    }

    #[test]
    fn a_far_head_is_given_up_for_a_nearer_one() {
        let (near, near_head) = log(3);
        let (far, far_head) = log(6);
        assert_eq!(near[..], far[..3]);
        let mut catch_up = catch_up();
        catch_up.force();
        heard(&mut catch_up, A, CommitIndex(6));
        heard(&mut catch_up, B, CommitIndex(6));
        let (peer, question) = catch_up.next_question(START, 0).unwrap();
        catch_up.answered(peer, question);
        let part = records(question, Some(&far_head), &far[5..]);
        catch_up.take_records(peer, part, START).unwrap();
        let (peer, question) = catch_up.next_question(START, 0).unwrap();
        catch_up.answered(peer, question);
        let part = records(question, Some(&near_head), &near);
        catch_up.take_records(peer, part, START).unwrap();
        match catch_up.next_question(START, 0).unwrap() {
            (_, Question::Vertices(question)) => assert_eq!(question.last, CommitIndex(3)),
            other => panic!("{other:?}"),
        }
        // The log gets to the near head by itself: it was what was needed.
        catch_up.pass(CommitIndex(3));
        assert!(!catch_up.forced && catch_up.stretch.is_none());
    }

    #[test]
    fn vertices_are_checked_one_part_at_a_time_and_none_more_than_asked_for() {
        let (commits, certified) = log(2);
        let mut catch_up = catch_up();
        catch_up.force();
        heard(&mut catch_up, A, CommitIndex(2));
        let (peer, question) = catch_up.next_question(START, 0).unwrap();
        catch_up.answered(peer, question);
        let part = records(question, Some(&certified), &commits);
        catch_up.take_records(peer, part, START).unwrap();
        let Some((_, Question::Vertices(question))) = catch_up.next_question(START, 0) else {
            panic!("asks for vertices")
        };
        catch_up.answered(A, Question::Vertices(question));
        let blob = |round| Blob::try_from(vertex(round, 0).bytes().clone()).unwrap();
        let part = |rounds: &[u64]| VerticesPart {
            question,
            vertices: rounds
                .iter()
                .map(|round| blob(*round))
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
        };
        let surplus = catch_up.take_vertices(A, part(&[1, 2, 2]), START);
        assert_eq!(surplus, Err(BadPart::Surplus));
        let unchecked = catch_up
            .take_vertices(A, part(&[1]), START)
            .unwrap()
            .unwrap();
        let named = (*vertex(1, 0).reference(), vertex(1, 0).bytes().clone());
        assert_eq!(unchecked.vertices, [named]);
        assert_eq!(
            catch_up.next_question(START, 0),
            None,
            "a check is under way"
        );
        let again = catch_up.take_vertices(A, part(&[1]), START);
        assert_eq!(again, Ok(None));
        let whole = catch_up.checked(unchecked.place, vec![vertex(1, 0)], START);
        assert_eq!(whole.len(), 1);
        let least = catch_up.peer(A).demerits;
        assert_eq!(least, 1, "it had more, and was asked for more");
    }
}
