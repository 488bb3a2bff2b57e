//! The loader: reads commits and vertices back from the journal, for the machine and for peers.
//!
//! Whatever the replica had appended when it asked can be found: the request came here through the journal's thread, which
//! synced, and the index's writer, which wrote. What can't be found or read is left out, and said in the log: the replica
//! asks again, or somebody else.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use tracing::warn;
use violeta_replica::catch_up::serve::{self, Ledger};
use violeta_replica::{LoadRequest, Loaded, LoadedCommit, RecordKind};
use violeta_types::codec::decode_prefix;
use violeta_types::limits::{MESSAGE_BYTES_MAX, VERTEX_BYTES_MAX};
use violeta_types::{CertifiedHead, ChainId, Commit, CommitIndex, SignedHeader, VertexRef, decode};

use super::Answer;
use crate::chain::ChainError;
use crate::index::Index;
use crate::journal::{JournalError, Records};

/// Bytes of vertices read for a peer at once: what it misses of them, it asks for again.
const STORED_BYTES_MAX: usize = MESSAGE_BYTES_MAX - VERTEX_BYTES_MAX;

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
        for request in requests {
            let loaded = self.load(request);
            let _ = answers.send(Answer::Loaded(loaded));
        }
    }

    fn load(&self, request: LoadRequest) -> Loaded {
        let mut loaded = Loaded {
            request,
            commits: Vec::new(),
            answer: None,
            vertices: Vec::new(),
        };
        let filled = match &loaded.request {
            LoadRequest::ForMachine { after, bytes_max } => self
                .commits(*after, *bytes_max)
                .map(|commits| loaded.commits = commits),
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
        loaded
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
            let Some((loaded, size)) = self.commit(index)? else {
                break;
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
    use crate::fixture::{MemoryJournal, certified, chain};
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
        _dir: tempfile::TempDir,
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
                _dir: dir,
                journal,
                loader,
            }
        }

        fn answer(&self, question: Question) -> Option<Answer> {
            let peer = ValidatorIndex(1);
            self.loader
                .load(LoadRequest::ForPeer { peer, question })
                .answer
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
        let position = world.journal.push(RecordKind::Commit, b"rubbish".to_vec());
        let entries = [(position, Entry::Commit(CommitIndex(3)))];
        world
            .loader
            .index
            .apply(&entries, &Meta::default())
            .unwrap();
        assert!(world.vertices((3, 0), 3, 1).is_none());
        assert!(world.vertices((2, 0), 2, 1).is_some(), "the rest is fine");
    }

    #[test]
    fn the_machine_gets_whole_commits() {
        let world = World::new();
        let request = LoadRequest::ForMachine {
            after: CommitIndex(3),
            bytes_max: usize::MAX,
        };
        let commits = world.loader.load(request).commits;
        let found: Vec<_> = commits
            .iter()
            .map(|c| (c.commit.index.0, c.vertices.len()))
            .collect();
        assert_eq!(found, [(4, 2), (5, 2)]);
    }
}
