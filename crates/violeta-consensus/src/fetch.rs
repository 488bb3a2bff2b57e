//! The synchroniser's memory (consensus.md §8): what is missing, whom it was asked of, and how far peers reach.
//!
//! ```text
//!  named  a parent that isn't here: ask its child's sender; no answer in time: another peer, and so on round
//!  range  a peer reaches further: "what lies above my frontier", lowest round first; as long as the answers bring
//!         something, the next request follows them; no answer in time: its word is forgotten, another peer's turn
//! ```
//!
//! One range is open at a time, so a laggard isn't sent everything n-fold. Named requests are bounded for each peer
//! ([`REQUESTED_PER_PEER_MAX`]) and in all ([`MISSING_MAX`], the lowest rounds first).

use std::collections::BTreeMap;

use violeta_types::{Round, ValidatorIndex, VertexRef};

use crate::limits::{MISSING_MAX, REQUEST_REFS_MAX, REQUESTED_PER_PEER_MAX};

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
        if self.missing.len() > MISSING_MAX
            && let Some((_, highest)) = self.missing.pop_last()
        {
            self.release(&highest);
        }
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
        match self.missing.remove(reference) {
            Some(missing) => {
                self.release(&missing);
                true
            }
            None => false,
        }
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
        let (kept, gone) = std::mem::take(&mut self.missing)
            .into_iter()
            .partition(|(reference, _)| needed(reference));
        self.missing = kept;
        let gone: BTreeMap<VertexRef, Missing> = gone;
        for missing in gone.values() {
            self.release(missing);
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
            missing.attempts = missing.attempts.saturating_add(1);
            missing.due_us = now_us.saturating_add(self.timeout_us);
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
