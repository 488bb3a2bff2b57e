//! The loader: reads ranges of the commit log back from the journal.
//!
//! Whatever the replica had appended when it asked can be found: the request came here through the journal's thread, which
//! synced, and the index's writer, which wrote. What can't be found or read is left out, and said in the log: the replica
//! asks again, or somebody else.

use std::sync::Arc;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use tracing::warn;
use violeta_replica::limits::RANGE_BYTES_MAX;
use violeta_replica::{LoadRequest, Loaded, LoadedCommit, RecordKind};
use violeta_types::codec::decode_prefix;
use violeta_types::limits::{MESSAGE_BYTES_MAX, VERTEX_BYTES_MAX};
use violeta_types::{
    CertifiedHead, ChainId, Commit, CommitIndex, Height, SignedHeader, VertexRef, decode,
};

use super::Answer;
use crate::chain::ChainError;
use crate::index::Index;
use crate::journal::{JournalError, Records};

/// Bytes of commits read for a peer before a certified one is given up on: more doesn't fit a message.
const PEER_BYTES_MAX: usize = MESSAGE_BYTES_MAX - VERTEX_BYTES_MAX;

const _: () = assert!(RANGE_BYTES_MAX <= PEER_BYTES_MAX);

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
            certified: None,
            vertices: Vec::new(),
        };
        let filled = match &loaded.request {
            LoadRequest::ForMachine { after, bytes_max } => self
                .commits(*after, None, *bytes_max)
                .map(|commits| loaded.commits = commits),
            LoadRequest::ForPeer {
                after, bytes_max, ..
            } => self.for_peer(*after, *bytes_max).map(|found| {
                if let Some((commits, certified)) = found {
                    loaded.commits = commits;
                    loaded.certified = Some(certified);
                }
            }),
            LoadRequest::Vertices { references, .. } => self
                .vertices(references)
                .map(|vertices| loaded.vertices = vertices),
        };
        if let Err(error) = filled {
            warn!(%error, request = ?loaded.request, "can't read back what was asked for");
        }
        loaded
    }

    /// Commits after `after`, until `bytes_max` bytes or `last`.
    fn commits(
        &self,
        after: CommitIndex,
        last: Option<CommitIndex>,
        bytes_max: usize,
    ) -> Result<Vec<LoadedCommit>, ChainError> {
        let mut commits = Vec::new();
        let (mut index, mut bytes) = (after.next(), 0);
        while bytes < bytes_max && last.is_none_or(|last| index <= last) {
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
        let Some(position) = self.index.commit(index)? else {
            return Ok(None);
        };
        let record = self.read(position, RecordKind::Commit)?;
        let damaged = |reason: String| JournalError::damaged(position, reason);
        let commit: Commit = decode(&record).map_err(|e| damaged(e.to_string()))?;
        if commit.index != index {
            return Err(damaged(format!("commit {} where {index} should be", commit.index)).into());
        }
        let mut vertices = Vec::with_capacity(commit.vertices.len());
        let mut size = record.len();
        for reference in commit.vertices.iter() {
            let vertex = self.vertex(reference)?.ok_or_else(|| {
                damaged(format!(
                    "commit {index} names a vertex that isn't in the journal"
                ))
            })?;
            size += vertex.len();
            vertices.push(vertex);
        }
        Ok(Some((LoadedCommit { commit, vertices }, size)))
    }

    /// The longest range of about `bytes_max` bytes that ends with a certified block; the shortest there is, if none is
    /// that short, as far as it fits a message.
    fn for_peer(
        &self,
        after: CommitIndex,
        bytes_max: usize,
    ) -> Result<Option<(Vec<LoadedCommit>, CertifiedHead)>, ChainError> {
        let mut commits = Vec::new();
        let (mut at, mut bytes) = (after, 0);
        let mut found: Option<(usize, Height)> = None;
        while bytes < bytes_max {
            let Some((last, height)) = self.index.vouched_from(at.next())? else {
                break;
            };
            let room = PEER_BYTES_MAX.saturating_sub(bytes);
            let more = self.commits(at, Some(last), room)?;
            let reached = more.last().map(|loaded| loaded.commit.index);
            let size: usize = more.iter().map(loaded_bytes).sum();
            let too_long = found.is_some() && bytes + size > bytes_max;
            if reached != Some(last) || too_long || bytes + size > PEER_BYTES_MAX {
                break;
            }
            commits.extend(more);
            bytes += size;
            at = last;
            found = Some((commits.len(), height));
        }
        let Some((count, height)) = found else {
            return Ok(None);
        };
        assert_eq!(count, commits.len(), "nothing after the certified one");
        let Some(position) = self.index.certified(height)? else {
            return Ok(None);
        };
        let record = self.read(position, RecordKind::Certified)?;
        let certified =
            decode(&record).map_err(|e| JournalError::damaged(position, e.to_string()))?;
        Ok(Some((commits, certified)))
    }

    fn vertices(&self, references: &[VertexRef]) -> Result<Vec<Bytes>, ChainError> {
        let mut vertices = Vec::new();
        let mut bytes = 0;
        for reference in references {
            let Some(vertex) = self.vertex(reference)? else {
                continue;
            };
            bytes += vertex.len();
            if bytes > PEER_BYTES_MAX && !vertices.is_empty() {
                break;
            }
            vertices.push(vertex);
        }
        Ok(vertices)
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

    fn read(&self, position: u64, kind: RecordKind) -> Result<Bytes, JournalError> {
        let record = self.records.read(position)?;
        if record.kind != kind {
            let reason = format!("a {:?} where the index says {kind:?}", record.kind);
            return Err(JournalError::damaged(position, reason));
        }
        Ok(record.bytes)
    }
}

fn loaded_bytes(loaded: &LoadedCommit) -> usize {
    let vertices: usize = loaded.vertices.iter().map(Bytes::len).sum();
    // A record's size: about 50 bytes a vertex.
    vertices + 128 + 50 * loaded.commit.vertices.len()
}
