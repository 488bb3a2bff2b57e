//! The loader: reads commits and vertices back from the journal, for the machine and for peers.
//!
//! Whatever the replica had appended when it asked can be found: the request came here through the journal's thread, which
//! synced, and the index's writer, which wrote.
//!
//! - upon a journal or an index that is damaged where the *machine* goes on: the node stops, and says where the damage is.
//!   Without that commit it would never execute anything again.
//! - upon an index that is behind (it can't be written for now): the machine's question is kept, and tried again after
//!   [`RETRY_MIN`], then twice that, up to [`RETRY_MAX`]. There is one such question at a time.
//! - upon a question of the machine's while peers' wait: it comes first. Execution doesn't wait until all are served.
//! - upon anything that can't be read for a *peer*: it is left out, and said in the log. The peer asks somebody else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::warn;
use violeta_replica::catch_up::serve::{self, Ledger};
use violeta_replica::{LoadRequest, Loaded, LoadedCommit, RecordKind};
use violeta_types::codec::decode_prefix;
use violeta_types::limits::{MESSAGE_BYTES_MAX, VERTEX_BYTES_MAX};
use violeta_types::{CertifiedHead, ChainId, Commit, CommitIndex, SignedHeader, VertexRef, decode};

use super::Answer;
use crate::chain::ChainError;
use crate::index::{Index, IndexError};
use crate::journal::{JournalError, Records};

/// Bytes of vertices read for a peer at once: what it misses of them, it asks for again.
const STORED_BYTES_MAX: usize = MESSAGE_BYTES_MAX - VERTEX_BYTES_MAX;

/// How long the machine's question is kept before it is tried again.
const RETRY_MIN: Duration = Duration::from_millis(50);
/// How long at most, after trying in vain many times.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a request leads to.
#[derive(Debug)]
enum Outcome {
    /// The replica is told.
    Answer(Answer),
    /// The index doesn't have it yet: to be tried again.
    Behind(LoadRequest),
}

/// The machine's question, to be tried again.
struct Postponed {
    request: LoadRequest,
    due: Instant,
    /// How long it waited for this try.
    wait: Duration,
}

pub(super) struct Loader {
    index: Arc<Index>,
    records: Arc<dyn Records>,
    chain: ChainId,
}

impl Loader {
    pub(super) fn new(index: Arc<Index>, records: Arc<dyn Records>, chain: ChainId) -> Self {
        Loader {
            index,
            records,
            chain,
        }
    }

    /// Works until the channel is closed.
    pub(super) fn run(&self, requests: &Receiver<LoadRequest>, answers: &Sender<Answer>) {
        let mut waiting = VecDeque::new();
        let mut postponed: Option<Postponed> = None;
        loop {
            let due = postponed.as_ref().map(|postponed| postponed.due);
            let (request, wait) = match (next(requests, &mut waiting, due), postponed.take()) {
                (Ok(request), kept) => {
                    postponed = kept;
                    (request, RETRY_MIN)
                }
                (Err(RecvTimeoutError::Timeout), Some(again)) => {
                    (again.request, (2 * again.wait).min(RETRY_MAX))
                }
                (Err(_), _) => return,
            };
            match self.load(request) {
                Outcome::Answer(answer) => {
                    // The replica's thread has gone only when the node stops.
                    let _ = answers.send(answer);
                }
                Outcome::Behind(request) => {
                    assert!(postponed.is_none(), "the machine asks one thing at a time");
                    let due = Instant::now() + wait;
                    postponed = Some(Postponed { request, due, wait });
                }
            }
        }
    }

    fn load(&self, request: LoadRequest) -> Outcome {
        let mut loaded = Loaded {
            request,
            commits: Vec::new(),
            answer: None,
            vertices: Vec::new(),
        };
        let filled = match &loaded.request {
            LoadRequest::ForMachine { after, bytes_max } => {
                return self.for_machine(*after, *bytes_max, loaded);
            }
            LoadRequest::ForPeer { question, .. } => {
                serve::answer(self, *question).map(|answer| loaded.answer = Some(answer))
            }
            LoadRequest::Vertices { references, .. } => self
                .vertices(references)
                .map(|vertices| loaded.vertices = vertices),
        };
        if let Err(error) = filled {
            warn!(%error, request = ?loaded.request, "can't read back what was asked for");
        }
        Outcome::Answer(Answer::Loaded(loaded))
    }

    fn for_machine(&self, after: CommitIndex, bytes_max: usize, mut loaded: Loaded) -> Outcome {
        match self.commits(after, bytes_max) {
            Ok(commits) if !commits.is_empty() => {
                loaded.commits = commits;
                Outcome::Answer(Answer::Loaded(loaded))
            }
            Ok(_) => {
                warn!(commit = %after.next(), "the index doesn't have the machine's next commit yet; trying again");
                Outcome::Behind(loaded.request)
            }
            Err(ChainError::Index(error @ IndexError::Damaged { .. })) => {
                cannot_go_on(after, &error)
            }
            Err(ChainError::Index(error)) => {
                warn!(%error, commit = %after.next(), "can't look up the machine's next commit; trying again");
                Outcome::Behind(loaded.request)
            }
            Err(ChainError::Journal(error)) => cannot_go_on(after, &error),
        }
    }

    /// Commits after `after`, until `bytes_max` bytes.
    fn commits(
        &self,
        after: CommitIndex,
        bytes_max: usize,
    ) -> Result<Vec<LoadedCommit>, ChainError> {
        let mut commits = Vec::new();
        let (mut index, mut bytes) = (after.next(), 0);
        while bytes < bytes_max {
            let (loaded, size) = match self.commit(index) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                // What comes before it can still be executed; then this one is asked for first.
                Err(error) if commits.is_empty() => return Err(error),
                Err(_) => break,
            };
            commits.push(loaded);
            bytes += size;
            index = index.next();
        }
        Ok(commits)
    }

    fn commit(&self, index: CommitIndex) -> Result<Option<(LoadedCommit, usize)>, ChainError> {
        let Some(commit) = self.record(index)? else {
            return Ok(None);
        };
        let mut vertices = Vec::with_capacity(commit.vertices.len());
        let mut size = commit.encoded_len();
        for reference in commit.vertices.iter() {
            let Some(vertex) = self.vertex(reference)? else {
                let position = self.index.commit(index)?.unwrap_or_default();
                let reason = format!("commit {index} names a vertex that isn't in the journal");
                return Err(JournalError::damaged(position, reason).into());
            };
            size += vertex.len();
            vertices.push(vertex);
        }
        Ok(Some((LoadedCommit { commit, vertices }, size)))
    }

    fn vertices(&self, references: &[VertexRef]) -> Result<Vec<Bytes>, ChainError> {
        let mut vertices = Vec::new();
        let mut bytes = 0;
        for reference in references {
            let Some(vertex) = self.vertex(reference)? else {
                continue;
            };
            bytes += vertex.len();
            if bytes > STORED_BYTES_MAX && !vertices.is_empty() {
                break;
            }
            vertices.push(vertex);
        }
        Ok(vertices)
    }

    fn read(&self, position: u64, kind: RecordKind) -> Result<Bytes, JournalError> {
        let record = self.records.read(position)?;
        if record.kind != kind {
            let reason = format!("a {:?} where the index says {kind:?}", record.kind);
            return Err(JournalError::damaged(position, reason));
        }
        Ok(record.bytes)
    }
}

/// What is to be done next: the machine's question, then (as a timeout) the one that was postponed and is due, then
/// peers', as they came. `waiting` takes those that can't have their turn yet: one for each peer and kind.
fn next(
    requests: &Receiver<LoadRequest>,
    waiting: &mut VecDeque<LoadRequest>,
    due: Option<Instant>,
) -> Result<LoadRequest, RecvTimeoutError> {
    waiting.extend(requests.try_iter());
    let is_machine = |request: &LoadRequest| matches!(request, LoadRequest::ForMachine { .. });
    if let Some(request) = (waiting.iter().position(is_machine)).and_then(|at| waiting.remove(at)) {
        return Ok(request);
    }
    if due.is_some_and(|due| due <= Instant::now()) {
        return Err(RecvTimeoutError::Timeout);
    }
    match (waiting.pop_front(), due) {
        (Some(request), _) => Ok(request),
        (None, Some(due)) => requests.recv_deadline(due),
        (None, None) => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

fn cannot_go_on(after: CommitIndex, error: &dyn std::error::Error) -> Outcome {
    let reason = format!("the machine can't go on after commit {after}: {error}");
    Outcome::Answer(Answer::Failed(reason))
}

impl Ledger for Loader {
    type Error = ChainError;

    fn record(&self, index: CommitIndex) -> Result<Option<Commit>, ChainError> {
        let Some(position) = self.index.commit(index)? else {
            return Ok(None);
        };
        let record = self.read(position, RecordKind::Commit)?;
        let damaged = |reason: String| JournalError::damaged(position, reason);
        let commit: Commit = decode(&record).map_err(|e| damaged(e.to_string()))?;
        if commit.index != index {
            return Err(damaged(format!("commit {} where {index} should be", commit.index)).into());
        }
        Ok(Some(commit))
    }

    fn vertex(&self, reference: &VertexRef) -> Result<Option<Bytes>, ChainError> {
        let Some(position) = self.index.vertex(&reference.id)? else {
            return Ok(None);
        };
        let bytes = self.read(position, RecordKind::Vertex)?;
        let signed: SignedHeader = decode_prefix(&mut &bytes[..])
            .map_err(|e| JournalError::damaged(position, e.to_string()))?;
        // The index knows half of the id only.
        let same = signed.header.id(&self.chain) == reference.id;
        Ok(same.then_some(bytes))
    }

    fn certified_upto(&self, index: CommitIndex) -> Result<Option<CommitIndex>, ChainError> {
        Ok(self.index.vouched_upto(index)?.map(|(index, _)| index))
    }

    fn certified_from(&self, index: CommitIndex) -> Result<Option<CommitIndex>, ChainError> {
        Ok(self.index.vouched_from(index)?.map(|(index, _)| index))
    }

    fn certified_head(&self, index: CommitIndex) -> Result<Option<CertifiedHead>, ChainError> {
        let Some((_, height)) = self
            .index
            .vouched_from(index)?
            .filter(|(at, _)| *at == index)
        else {
            return Ok(None);
        };
        let Some(position) = self.index.certified(height)? else {
            return Ok(None);
        };
        let record = self.read(position, RecordKind::Certified)?;
        let certified =
            decode(&record).map_err(|e| JournalError::damaged(position, e.to_string()))?;
        Ok(Some(certified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MemoryJournal, certified, chain, spoil_index};
    use crate::index::Meta;
    use crate::index::entry::Entry;
    use violeta_replica::message::{
        Answer, Place, Question, RecordsPart, RecordsQuestion, VerticesPart, VerticesQuestion,
    };
    use violeta_types::{
        Digest, Epoch, Payload, Round, TimeMs, ValidatorIndex, ValidatorSignature, Vertex,
        VertexHeader, encode,
    };

    /// Commits 1 to 5 of two vertices each; the blocks of commits 2 and 4 are certified.
    struct World {
        dir: tempfile::TempDir,
        journal: MemoryJournal,
        loader: Loader,
    }

    fn vertex(round: u64, author: u16) -> (VertexRef, Bytes) {
        let payload = Payload::default();
        let header = VertexHeader {
            epoch: Epoch(0),
            round: Round(round),
            author: ValidatorIndex(author),
            parents: Vec::new().try_into().unwrap(),
            payload: payload.commitment(),
            coin_share: None,
            end_mark: false,
            timestamp: TimeMs(1),
        };
        let reference = VertexRef {
            round: header.round,
            author: header.author,
            id: header.id(&chain()),
        };
        let signature = ValidatorSignature([0; 64]);
        let signed = SignedHeader { header, signature };
        (reference, encode(&Vertex { signed, payload }).into())
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let journal = MemoryJournal::default();
            let mut entries = Vec::new();
            for index in 1..=5 {
                let pair = [vertex(index, 0), vertex(index, 1)];
                for (reference, bytes) in &pair {
                    let position = journal.push(RecordKind::Vertex, bytes.to_vec());
                    entries.push((position, Entry::Vertex(reference.id)));
                }
                let references = pair.map(|(reference, _)| reference);
                let commit = Commit {
                    epoch: Epoch(0),
                    index: CommitIndex(index),
                    previous: Digest::ZERO,
                    leader: references[0],
                    vertices: references.to_vec().try_into().unwrap(),
                    time: TimeMs(1),
                    coin: None,
                };
                let position = journal.push(RecordKind::Commit, encode(&commit));
                entries.push((position, Entry::Commit(commit.index)));
            }
            for height in [1, 2] {
                let head = Arc::new(certified(height));
                let position = journal.push(RecordKind::Certified, encode(&*head));
                entries.push((position, Entry::Certified(head)));
            }
            let path = dir.path().join("index");
            let index = Index::open(&path, &chain(), 0, true).unwrap().index;
            index.apply(&entries, &Meta::default()).unwrap();
            let loader = Loader::new(Arc::new(index), Arc::new(journal.clone()), chain());
            World {
                dir,
                journal,
                loader,
            }
        }

        fn answer(&self, question: Question) -> Option<Answer> {
            let peer = ValidatorIndex(1);
            self.load(LoadRequest::ForPeer { peer, question }).answer
        }

        fn load(&self, request: LoadRequest) -> Loaded {
            match self.loader.load(request) {
                Outcome::Answer(super::Answer::Loaded(loaded)) => loaded,
                other => panic!("{other:?}"),
            }
        }

        /// Gives a commit another record.
        fn replace(&self, index: u64, bytes: &[u8]) -> u64 {
            let position = self.journal.push(RecordKind::Commit, bytes.to_vec());
            self.apply(position, index);
            position
        }

        fn apply(&self, position: u64, index: u64) {
            let entries = [(position, Entry::Commit(CommitIndex(index)))];
            let index = &self.loader.index;
            index.apply(&entries, &Meta::default()).unwrap();
        }

        fn records(&self, after: u64, upto: Option<u64>) -> RecordsPart {
            let question = RecordsQuestion {
                after: CommitIndex(after),
                upto: upto.map(CommitIndex),
                bytes_max: u32::MAX,
            };
            match self.answer(Question::Records(question)) {
                Some(Answer::Records(part)) => part,
                other => panic!("{other:?}"),
            }
        }

        fn vertices(&self, from: (u64, u32), last: u64, bytes_max: u32) -> Option<VerticesPart> {
            let question = VerticesQuestion {
                from: Place {
                    commit: CommitIndex(from.0),
                    vertex: from.1,
                },
                last: CommitIndex(last),
                bytes_max,
            };
            match self.answer(Question::Vertices(question))? {
                Answer::Vertices(part) => Some(part),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_peer_gets_records_down_from_a_certified_head_and_their_vertices_upwards() {
        let world = World::new();
        let part = world.records(1, None);
        assert_eq!(part.certified, Some(certified(2)));
        let indices: Vec<u64> = part.records.iter().map(|record| record.index.0).collect();
        assert_eq!(indices, [4, 3, 2], "the fifth isn't certified");
        assert_eq!(world.records(0, Some(1)).records.len(), 1);
        assert!(world.records(4, None).records.is_empty());
        let size = vertex(2, 1).1.len() as u32;
        let part = world.vertices((2, 1), 4, size + 1).unwrap();
        let bytes: Vec<Bytes> = part.vertices.iter().map(|v| v.bytes().clone()).collect();
        assert_eq!(bytes, [vertex(2, 1).1, vertex(3, 0).1]);
    }

    #[test]
    fn a_journal_that_cannot_be_read_gives_no_answer() {
        let world = World::new();
        world.replace(3, b"rubbish");
        assert!(world.vertices((3, 0), 3, 1).is_none());
        assert!(world.vertices((2, 0), 2, 1).is_some(), "the rest is fine");
    }

    fn for_machine(after: u64) -> LoadRequest {
        LoadRequest::ForMachine {
            after: CommitIndex(after),
            bytes_max: usize::MAX,
        }
    }

    #[test]
    fn a_damaged_commit_stops_the_node_once_the_machine_needs_it_and_says_where() {
        let world = World::new();
        let position = world.replace(4, b"rubbish");
        let before: Vec<u64> = (world.load(for_machine(1)).commits.iter())
            .map(|loaded| loaded.commit.index.0)
            .collect();
        assert_eq!(before, [2, 3], "what comes before is executed");
        let outcome = world.loader.load(for_machine(3));
        let Outcome::Answer(super::Answer::Failed(reason)) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            reason.contains("after commit 3") && reason.contains(&format!("record at {position}")),
            "{reason}"
        );
    }

    #[test]
    fn a_damaged_index_stops_the_node_once_the_machine_needs_it() {
        let mut world = World::new();
        world.loader.index.close().unwrap();
        let path = world.dir.path().join("index");
        spoil_index(&path);
        let opened = Index::open(&path, &chain(), u64::MAX, true).unwrap();
        assert_eq!(opened.made_anew, None);
        world.loader.index = Arc::new(opened.index);
        let outcome = world.loader.load(for_machine(1));
        let Outcome::Answer(super::Answer::Failed(reason)) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            reason.contains("after commit 1") && reason.contains("is damaged"),
            "{reason}"
        );
    }

    #[test]
    fn a_commit_that_the_index_lacks_is_waited_for_and_peers_are_served_meanwhile() {
        let world = World::new();
        let commit: Commit = {
            let fifth = world.loader.record(CommitIndex(5)).unwrap().unwrap();
            let index = CommitIndex(6);
            Commit { index, ..fifth }
        };
        let (ask, requests) = crossbeam_channel::unbounded();
        let (back, answers) = crossbeam_channel::unbounded();
        let limit = Duration::from_secs(20);
        std::thread::scope(|scope| {
            let loader = &world.loader;
            scope.spawn(move || loader.run(&requests, &back));
            ask.send(for_machine(5)).unwrap();
            let references = vec![commit.leader];
            let peer = ValidatorIndex(1);
            ask.send(LoadRequest::Vertices { peer, references })
                .unwrap();
            let super::Answer::Loaded(first) = answers.recv_timeout(limit).unwrap() else {
                panic!("not loaded");
            };
            assert_eq!(first.vertices.len(), 1, "the peer's");
            assert!(answers.recv_timeout(3 * RETRY_MIN).is_err(), "nothing else");
            world.replace(6, &encode(&commit));
            let super::Answer::Loaded(second) = answers.recv_timeout(limit).unwrap() else {
                panic!("not loaded");
            };
            assert_eq!(second.commits[0].commit.index, CommitIndex(6));
            drop(ask);
        });
    }

    #[test]
    fn the_machine_comes_before_peers_that_asked_earlier() {
        let world = World::new();
        let (ask, requests) = crossbeam_channel::unbounded();
        let (back, answers) = crossbeam_channel::unbounded();
        for peer in [3, 1, 2] {
            let (peer, references) = (ValidatorIndex(peer), Vec::new());
            ask.send(LoadRequest::Vertices { references, peer })
                .unwrap();
        }
        ask.send(for_machine(3)).unwrap();
        drop(ask);
        world.loader.run(&requests, &back);
        let served: Vec<_> = (answers.try_iter())
            .map(|answer| match answer {
                super::Answer::Loaded(loaded) => loaded.request,
                other => panic!("{other:?}"),
            })
            .collect();
        let peer_of = |request: &LoadRequest| match request {
            LoadRequest::Vertices { peer, .. } => Some(peer.0),
            _ => None,
        };
        assert_eq!(served[0], for_machine(3));
        let peers: Vec<_> = served[1..].iter().filter_map(peer_of).collect();
        assert_eq!(peers, [3, 1, 2], "these in the order in which they came");
    }

    #[test]
    fn the_machine_gets_whole_commits() {
        let world = World::new();
        let commits = world.load(for_machine(3)).commits;
        let found: Vec<_> = commits
            .iter()
            .map(|c| (c.commit.index.0, c.vertices.len()))
            .collect();
        assert_eq!(found, [(4, 2), (5, 2)]);
    }
}
