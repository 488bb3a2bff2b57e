//! The synchroniser's memory (consensus.md §8): what is missing, whom it was asked of, and how far peers reach.
//!
//! ```text
//!  named  a parent that isn't here: ask its child's sender; no answer in time: another peer, and so on round
//!  range  a peer reaches further: "what lies above my frontier", lowest round first; as long as the answers bring
//!         something, the next request follows them; no answer in time: its word is forgotten, another peer's turn
//! ```
//!
//! One range is open at a time, so a laggard isn't sent everything n-fold. What one source makes us miss is bounded
//! ([`MISSING_PER_SOURCE_MAX`], the lowest rounds stay), and so is what one peer is asked for
//! ([`REQUESTED_PER_PEER_MAX`]): a flood of made-up parents crowds out nobody else's. Each further attempt waits twice
//! as long as the one before, up to a bound, and a link that comes back makes all due at once.

use std::collections::{BTreeMap, BTreeSet};

use violeta_types::{Round, ValidatorIndex, VertexRef};

use crate::limits::{MISSING_PER_SOURCE_MAX, REQUEST_REFS_MAX, REQUESTED_PER_PEER_MAX};

/// The pause between attempts doubles so many times at most.
const BACKOFF_DOUBLINGS_MAX: u32 = 6;
/// After the last vertex of an answer, how long before the next request of a range follows.
const RANGE_PAUSE_US: u64 = 5_000;

#[derive(Clone, Debug)]
struct Missing {
    source: ValidatorIndex,
    attempts: u32,
    asked: Option<ValidatorIndex>,
    due_us: u64,
}

#[derive(Clone, Debug)]
struct Range {
    peer: ValidatorIndex,
    /// Until when the first vertex must have come.
    answer_us: u64,
    /// When it is another peer's turn, however much still trickles in.
    end_us: u64,
    /// When the last new vertex from the peer came, if one has come.
    progress_us: Option<u64>,
}

#[derive(Clone, Debug)]
struct Peer {
    up: bool,
    /// The highest round of each author that it has shown or said to have.
    reach: Vec<Round>,
    requested: usize,
    /// What is missing because of what it sent.
    caused: BTreeSet<VertexRef>,
}

/// Ask a peer for these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) to: ValidatorIndex,
    pub(crate) wanted: Vec<VertexRef>,
    /// And for what lies above the frontier.
    pub(crate) range: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    me: Option<ValidatorIndex>,
    timeout_us: u64,
    missing: BTreeMap<VertexRef, Missing>,
    next_due_us: u64,
    range: Option<Range>,
    peers: Vec<Peer>,
}

impl Fetch {
    pub(crate) fn new(me: Option<ValidatorIndex>, validators: usize, timeout_us: u64) -> Self {
        let peer = Peer {
            up: true,
            reach: vec![Round(0); validators],
            requested: 0,
            caused: BTreeSet::new(),
        };
        Fetch {
            me,
            timeout_us,
            missing: BTreeMap::new(),
            next_due_us: u64::MAX,
            range: None,
            peers: vec![peer; validators],
        }
    }

    pub(crate) fn set_up(&mut self, peer: ValidatorIndex, up: bool) {
        if let Some(peer) = self.peers.get_mut(peer.as_usize()) {
            peer.up = up;
        }
        if !up {
            self.forget(peer);
            return;
        }
        for missing in self.missing.values_mut() {
            missing.attempts = 0;
            missing.due_us = 0;
            self.next_due_us = 0;
        }
    }

    /// What was asked of a peer is due again, and its word counts no more.
    pub(crate) fn forget(&mut self, peer: ValidatorIndex) {
        for missing in self.missing.values_mut() {
            if missing.asked == Some(peer) {
                missing.asked = None;
                missing.due_us = 0;
                self.next_due_us = 0;
            }
        }
        if let Some(peer) = self.peers.get_mut(peer.as_usize()) {
            peer.reach.fill(Round(0));
            peer.requested = 0;
        }
        if self.range.as_ref().is_some_and(|range| range.peer == peer) {
            self.range = None;
        }
    }

    /// A vertex is missing; `source` sent what needs it.
    pub(crate) fn want(&mut self, reference: VertexRef, source: ValidatorIndex) {
        if self.missing.contains_key(&reference) {
            return;
        }
        let missing = Missing {
            source,
            attempts: 0,
            asked: None,
            due_us: 0,
        };
        self.missing.insert(reference, missing);
        self.next_due_us = 0;
        let caused = &mut self.peers[source.as_usize()].caused;
        caused.insert(reference);
        if caused.len() > MISSING_PER_SOURCE_MAX
            && let Some(highest) = caused.last().copied()
        {
            self.remove(&highest);
        }
    }

    /// Whether a vertex is being asked for.
    pub(crate) fn wants(&self, reference: &VertexRef) -> bool {
        self.missing.contains_key(reference)
    }

    /// Whether any vertex of a round up to this one is being asked for.
    pub(crate) fn wants_upto(&self, round: Round) -> bool {
        let lowest = self.missing.first_key_value();
        lowest.is_some_and(|(reference, _)| reference.round <= round)
    }

    fn remove(&mut self, reference: &VertexRef) -> bool {
        let Some(missing) = self.missing.remove(reference) else {
            return false;
        };
        self.release(&missing);
        self.peers[missing.source.as_usize()]
            .caused
            .remove(reference);
        true
    }

    fn release(&mut self, missing: &Missing) {
        if let Some(peer) = missing.asked {
            let peer = &mut self.peers[peer.as_usize()];
            peer.requested = peer.requested.saturating_sub(1);
        }
    }

    /// A vertex came, from whomever; says whether it was asked for by name.
    pub(crate) fn arrived(&mut self, reference: &VertexRef, from: ValidatorIndex) -> bool {
        self.reaches(from, reference.author, reference.round);
        self.remove(reference)
    }

    /// A peer sent a vertex that is new.
    pub(crate) fn progress(&mut self, from: ValidatorIndex, now_us: u64) {
        if let Some(range) = self.range.as_mut().filter(|range| range.peer == from) {
            range.progress_us = Some(now_us);
        }
    }

    /// A peer has shown a vertex of an author.
    pub(crate) fn reaches(&mut self, peer: ValidatorIndex, author: ValidatorIndex, round: Round) {
        if let Some(peer) = self.peers.get_mut(peer.as_usize())
            && let Some(reach) = peer.reach.get_mut(author.as_usize())
        {
            *reach = (*reach).max(round);
        }
    }

    /// A peer says how far it reaches.
    pub(crate) fn set_reach(&mut self, peer: ValidatorIndex, rounds: &[Round]) {
        if let Some(peer) = self.peers.get_mut(peer.as_usize()) {
            assert_eq!(peer.reach.len(), rounds.len());
            peer.reach.copy_from_slice(rounds);
        }
    }

    /// Drops what isn't needed any more.
    pub(crate) fn retain(&mut self, mut needed: impl FnMut(&VertexRef) -> bool) {
        let gone: Vec<VertexRef> = (self.missing.keys())
            .filter(|reference| !needed(reference))
            .copied()
            .collect();
        for reference in gone {
            self.remove(&reference);
        }
    }

    fn is_ahead(&self, peer: ValidatorIndex, frontier: &[Round]) -> bool {
        let reach = &self.peers[peer.as_usize()].reach;
        reach
            .iter()
            .zip(frontier)
            .any(|(theirs, ours)| theirs > ours)
    }

    /// Whom a range request is open to.
    pub(crate) fn range_peer(&self) -> Option<ValidatorIndex> {
        self.range.as_ref().map(|range| range.peer)
    }

    /// Opens a range to a peer that reaches further, if none is open.
    pub(crate) fn open_range(
        &mut self,
        peer: ValidatorIndex,
        frontier: &[Round],
        now_us: u64,
    ) -> Option<Ask> {
        let usable = Some(peer) != self.me && self.peers.get(peer.as_usize())?.up;
        if self.range.is_some() || !usable || !self.is_ahead(peer, frontier) {
            return None;
        }
        self.range = Some(Range {
            peer,
            answer_us: now_us.saturating_add(self.timeout_us),
            end_us: now_us.saturating_add(2 * self.timeout_us),
            progress_us: None,
        });
        Some(Ask {
            to: peer,
            wanted: Vec::new(),
            range: true,
        })
    }

    /// What to ask now.
    pub(crate) fn poll(&mut self, frontier: &[Round], now_us: u64) -> Vec<Ask> {
        let mut asks = self.poll_named(now_us);
        asks.extend(self.poll_range(frontier, now_us));
        asks
    }

    fn poll_range(&mut self, frontier: &[Round], now_us: u64) -> Option<Ask> {
        let range = self.range.clone()?;
        if now_us < self.range_due_us()? {
            return None;
        }
        self.range = None;
        if range.progress_us.is_none() {
            // It promised more than it gave.
            self.peers[range.peer.as_usize()].reach.fill(Round(0));
        }
        let n = self.peers.len();
        let start = range.peer.as_usize() + usize::from(now_us >= range.end_us);
        (0..n)
            .map(|i| ValidatorIndex(((start + i) % n) as u16))
            .find_map(|peer| self.open_range(peer, frontier, now_us))
    }

    fn range_due_us(&self) -> Option<u64> {
        let range = self.range.as_ref()?;
        Some(match range.progress_us {
            Some(last) => last.saturating_add(RANGE_PAUSE_US).min(range.end_us),
            None => range.answer_us,
        })
    }

    fn poll_named(&mut self, now_us: u64) -> Vec<Ask> {
        if now_us < self.next_due_us {
            return Vec::new();
        }
        let mut asks: BTreeMap<ValidatorIndex, Vec<VertexRef>> = BTreeMap::new();
        let mut next_due_us = u64::MAX;
        let due: Vec<VertexRef> = (self.missing.iter())
            .filter(|(_, missing)| missing.due_us <= now_us)
            .map(|(reference, _)| *reference)
            .collect();
        for reference in due {
            let Some(mut missing) = self.missing.remove(&reference) else {
                continue;
            };
            self.release(&missing);
            missing.asked = self.choose(&reference, &missing);
            let pause = self.timeout_us << missing.attempts.min(BACKOFF_DOUBLINGS_MAX);
            missing.attempts = missing.attempts.saturating_add(1);
            missing.due_us = now_us.saturating_add(pause);
            if let Some(peer) = missing.asked {
                self.peers[peer.as_usize()].requested += 1;
                asks.entry(peer).or_default().push(reference);
            }
            self.missing.insert(reference, missing);
        }
        for missing in self.missing.values() {
            next_due_us = next_due_us.min(missing.due_us);
        }
        self.next_due_us = next_due_us;
        let split = |(to, refs): (ValidatorIndex, Vec<VertexRef>)| {
            refs.chunks(REQUEST_REFS_MAX)
                .map(|wanted| Ask {
                    to,
                    wanted: wanted.to_vec(),
                    range: false,
                })
                .collect::<Vec<_>>()
        };
        asks.into_iter().flat_map(split).collect()
    }

    /// The sender first, the author second, then one peer after another from a place that depends on the vertex.
    fn choose(&self, reference: &VertexRef, missing: &Missing) -> Option<ValidatorIndex> {
        let n = self.peers.len();
        let first = [missing.source, reference.author];
        let start = usize::from(reference.id.0.0[0]) + missing.attempts as usize;
        let others = (0..n).map(|i| ValidatorIndex(((start + i) % n) as u16));
        (first.into_iter().skip(missing.attempts as usize))
            .chain(others)
            .find(|peer| {
                let state = &self.peers[peer.as_usize()];
                Some(*peer) != self.me && state.up && state.requested < REQUESTED_PER_PEER_MAX
            })
    }

    /// When something is due.
    pub(crate) fn next_wakeup(&self) -> Option<u64> {
        let named = Some(self.next_due_us).filter(|&due| due != u64::MAX);
        let range = self.range_due_us();
        named.into_iter().chain(range).min()
    }
}

#[cfg(test)]
mod tests {
    use violeta_types::{Domain, VertexId};

    use super::*;

    const ME: ValidatorIndex = ValidatorIndex(0);
    const TIMEOUT: u64 = 100;

    fn fetch() -> Fetch {
        Fetch::new(Some(ME), 4, TIMEOUT)
    }

    fn vertex(round: u64, author: u16) -> VertexRef {
        VertexRef {
            round: Round(round),
            author: ValidatorIndex(author),
            id: VertexId(Domain::Vertex.hash(&[round as u8, (round >> 8) as u8, author as u8])),
        }
    }

    fn named(fetch: &mut Fetch, now_us: u64) -> Vec<(u16, usize)> {
        let asks = fetch.poll(&[Round(0); 4], now_us);
        asks.iter()
            .map(|ask| (ask.to.0, ask.wanted.len()))
            .collect()
    }

    #[test]
    fn the_sender_is_asked_first_then_the_author_then_the_others_ever_more_patiently() {
        let mut fetch = fetch();
        fetch.want(vertex(5, 2), ValidatorIndex(3));
        assert_eq!(named(&mut fetch, 10), [(3, 1)]);
        assert_eq!(named(&mut fetch, 10 + TIMEOUT - 1), []);
        assert_eq!(named(&mut fetch, 10 + TIMEOUT), [(2, 1)]);
        let third = 10 + 3 * TIMEOUT;
        assert_eq!(named(&mut fetch, third - 1), []);
        assert_eq!(named(&mut fetch, third).len(), 1);
        let mut asked = std::collections::BTreeSet::new();
        for attempt in 1..12 {
            asked.extend(named(&mut fetch, third + attempt * 1_000 * TIMEOUT));
        }
        assert!(asked.contains(&(1, 1)), "everyone has a turn");
        assert!(!asked.contains(&(0, 1)), "but not oneself");
    }

    #[test]
    fn what_came_is_asked_for_no_more() {
        let mut fetch = fetch();
        fetch.want(vertex(5, 2), ValidatorIndex(3));
        assert_eq!(named(&mut fetch, 0), [(3, 1)]);
        assert!(fetch.arrived(&vertex(5, 2), ValidatorIndex(1)));
        assert!(!fetch.arrived(&vertex(5, 2), ValidatorIndex(1)));
        assert_eq!(fetch.peers[3].requested, 0);
        assert!(fetch.peers[3].caused.is_empty());
        assert_eq!(named(&mut fetch, 10 * TIMEOUT), []);
    }

    #[test]
    fn the_synchroniser_does_not_starve_after_a_link_comes_back() {
        let mut fetch = fetch();
        for peer in 1..4 {
            fetch.set_up(ValidatorIndex(peer), false);
        }
        fetch.want(vertex(5, 2), ValidatorIndex(3));
        for now in 0..100 {
            assert_eq!(named(&mut fetch, now * TIMEOUT), []);
        }
        fetch.set_up(ValidatorIndex(1), true);
        assert_eq!(named(&mut fetch, 100 * TIMEOUT + 1), [(1, 1)]);
    }

    #[test]
    fn made_up_parents_of_one_source_crowd_out_nobody_elses() {
        let mut fetch = fetch();
        for round in 1..=2_000 {
            fetch.want(vertex(round, 1), ValidatorIndex(1));
        }
        assert_eq!(fetch.missing.len(), MISSING_PER_SOURCE_MAX);
        assert!(fetch.wants(&vertex(1, 1)), "the lowest rounds stay");
        fetch.want(vertex(9_999, 2), ValidatorIndex(2));
        assert!(fetch.wants(&vertex(9_999, 2)));
    }

    #[test]
    fn one_peer_is_asked_for_so_much_at_a_time() {
        let mut fetch = fetch();
        for peer in 2..4 {
            fetch.set_up(ValidatorIndex(peer), false);
        }
        for source in 1..4 {
            for round in 1..=MISSING_PER_SOURCE_MAX as u64 {
                fetch.want(vertex(round, source), ValidatorIndex(source));
            }
        }
        let asks = fetch.poll(&[Round(0); 4], 0);
        assert!(asks.iter().all(|ask| ask.wanted.len() <= REQUEST_REFS_MAX));
        let asked: usize = asks.iter().map(|ask| ask.wanted.len()).sum();
        assert_eq!(asked, REQUESTED_PER_PEER_MAX);
    }

    #[test]
    fn a_range_goes_on_while_it_brings_something_and_then_goes_to_another() {
        let mut fetch = fetch();
        let ours = [Round(3); 4];
        fetch.set_reach(ValidatorIndex(1), &[Round(9); 4]);
        fetch.set_reach(ValidatorIndex(2), &[Round(9); 4]);
        let ask = fetch.open_range(ValidatorIndex(1), &ours, 0).unwrap();
        assert!(ask.range);
        assert_eq!(
            fetch.open_range(ValidatorIndex(2), &ours, 0),
            None,
            "one at a time"
        );
        // It brings nothing: its word is forgotten, the other's turn.
        let asks = fetch.poll(&ours, TIMEOUT);
        assert_eq!(asks[0].to, ValidatorIndex(2));
        assert_eq!(fetch.open_range(ValidatorIndex(1), &ours, TIMEOUT), None);
        // It brings something: the same again.
        fetch.progress(ValidatorIndex(2), TIMEOUT + 1);
        let next = fetch.next_wakeup().unwrap();
        assert_eq!(fetch.poll(&ours, next)[0].to, ValidatorIndex(2));
        // All is here: no more.
        fetch.progress(ValidatorIndex(2), next);
        assert_eq!(fetch.poll(&[Round(9); 4], next + RANGE_PAUSE_US), []);
        assert_eq!(fetch.range_peer(), None);
    }

    #[test]
    fn a_trickle_does_not_hold_a_range_for_ever() {
        let mut fetch = fetch();
        let ours = [Round(3); 4];
        for peer in [1, 2] {
            fetch.set_reach(ValidatorIndex(peer), &[Round(9); 4]);
        }
        let mut now = 0;
        fetch.open_range(ValidatorIndex(1), &ours, now).unwrap();
        while fetch.range_peer() == Some(ValidatorIndex(1)) {
            now += 1;
            fetch.progress(ValidatorIndex(1), now);
            fetch.poll(&ours, now);
            assert!(now <= 3 * TIMEOUT);
        }
        assert_eq!(fetch.range_peer(), Some(ValidatorIndex(2)));
    }
}
