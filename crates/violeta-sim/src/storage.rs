//! A validator's journal on its simulated disk, and the index over it.
//!
//! ```text
//!   Append ──▶ journal (buffered) ── Sync ──▶ disk          index: where vertices, commits, certified heads
//!      │          ▲ when it ends               │                   and outcomes lie. Never stored: rebuilt at
//!      └─────▶ held, during a sync             │                   each start, as LMDB may be (replica.md §3)
//!   Load ◀── index ── place ── read ◀──────────┘
//! ```
//!
//! A sync takes time, and makes durable what was appended when it began. What is appended meanwhile waits, as it waits
//! for the journal's thread in the node: who takes a sync that began before its append for its own is found out.

use std::collections::BTreeMap;
use std::sync::Arc;

use borsh::BorshDeserialize;
use bytes::Bytes;
use violeta_journal::{Disk, Journal, Options, Position};
use violeta_replica::catch_up::serve::{self, Ledger};
use violeta_replica::{Block, LoadRequest, Loaded, LoadedCommit, Record, RecordKind};
use violeta_types::{
    CertifiedHead, ChainId, Commit, CommitIndex, Height, Outcome, TxId, ValidatorIndex, Vertex,
    VertexRef, decode,
};

/// Bytes of a segment: small, so that journals have several.
const SEGMENT_BYTES: u64 = 128 << 10;
/// Where the journal lies on a validator's disk.
const DIRECTORY: &str = "journal";

/// Why a journal can't be used: for the report.
pub(crate) type StorageError = String;

fn text(error: impl std::fmt::Display) -> StorageError {
    error.to_string()
}

/// A record of this journal: the number of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(usize);

/// Where things lie.
#[derive(Default)]
struct Index {
    vertices: BTreeMap<VertexRef, Place>,
    commits: BTreeMap<CommitIndex, Place>,
    /// Certified heads by the commit that made their block.
    certified: BTreeMap<CommitIndex, Place>,
    certified_height: Height,
    outcomes: BTreeMap<TxId, Outcome>,
}

/// The journal and its index.
pub(crate) struct Storage {
    journal: Journal,
    index: Index,
    /// The positions of the records that the journal has taken, in order.
    positions: Vec<Position>,
    /// What was appended and can't be read from the journal before it is durable.
    unsynced: BTreeMap<Place, Bytes>,
    /// While a sync is under way: what was appended since it began, in order.
    held: Option<Vec<(RecordKind, Bytes)>>,
    chain: ChainId,
}

/// What a journal held when it was opened.
#[derive(Default)]
pub(crate) struct Recovered {
    pub(crate) own: Vec<VertexRef>,
    pub(crate) commits: u64,
    pub(crate) records: u64,
    /// Whether a quorum's word about the life before is among them.
    pub(crate) rejoined: bool,
    /// Where the records end.
    pub(crate) end: Position,
}

impl Storage {
    /// Opens the journal of validator `me`; every record in it goes to `restore`, in order.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        chain: ChainId,
        me: ValidatorIndex,
        restore: &mut dyn FnMut(RecordKind, Bytes) -> Result<(), StorageError>,
    ) -> Result<(Self, Recovered), StorageError> {
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            ..Options::for_directory(chain.0)
        };
        let (journal, replay) = Journal::open(disk, DIRECTORY, options).map_err(text)?;
        let mut storage = Storage {
            journal,
            index: Index::default(),
            positions: Vec::new(),
            unsynced: BTreeMap::new(),
            held: None,
            chain,
        };
        let mut recovered = Recovered::default();
        for record in replay {
            let record = record.map_err(text)?;
            let kind = RecordKind::from_number(record.kind)
                .ok_or_else(|| format!("a record of unknown kind {}", record.kind))?;
            let bytes = Bytes::from(record.bytes);
            let place = storage.next_place();
            storage.positions.push(record.position);
            storage.note(kind, &bytes, place, me, &mut recovered)?;
            restore(kind, bytes)?;
            recovered.records += 1;
        }
        recovered.end = storage.journal.stats().end;
        Ok((storage, recovered))
    }

    fn note(
        &mut self,
        kind: RecordKind,
        bytes: &Bytes,
        place: Place,
        me: ValidatorIndex,
        recovered: &mut Recovered,
    ) -> Result<(), StorageError> {
        match kind {
            RecordKind::Vertex => {
                let vertex = Vertex::decode(bytes).map_err(text)?;
                let reference = vertex.signed.header.vertex_ref(&self.chain);
                if reference.author == me {
                    recovered.own.push(reference);
                }
                self.index.vertices.insert(reference, place);
            }
            RecordKind::Commit => {
                let commit: Commit = decode(bytes).map_err(text)?;
                recovered.commits = commit.index.0;
                self.index.commits.insert(commit.index, place);
            }
            RecordKind::Block => {
                let block: Block = decode(bytes).map_err(text)?;
                self.index.block(&block);
            }
            RecordKind::Certified => {
                let certified: CertifiedHead = decode(bytes).map_err(text)?;
                self.index.certified(&certified, place);
            }
            RecordKind::Rejoin => recovered.rejoined = true,
            RecordKind::Attestation
            | RecordKind::Evidence
            | RecordKind::Seal
            | RecordKind::Provision
            | RecordKind::Amnesia
            | RecordKind::Conflict
            | RecordKind::Divergence => {}
        }
        Ok(())
    }

    /// Appends a record.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), StorageError> {
        let (kind, bytes) = (record.kind(), record.to_bytes());
        let place = self.next_place();
        self.unsynced.insert(place, bytes.clone());
        match &mut self.held {
            Some(held) => held.push((kind, bytes)),
            None => self.write(kind, &bytes)?,
        }
        match record {
            Record::Vertex(vertex) => {
                self.index.vertices.insert(*vertex.reference(), place);
            }
            Record::Commit { commit, .. } => {
                self.index.commits.insert(commit.index, place);
            }
            Record::Block(block) => self.index.block(block),
            Record::Certified(certified) => self.index.certified(certified, place),
            Record::Attestation(_)
            | Record::Evidence(_)
            | Record::Seal(_)
            | Record::Provision(_)
            | Record::Amnesia(_)
            | Record::Rejoin(_)
            | Record::Conflict(_)
            | Record::Divergence(_) => {}
        }
        Ok(())
    }

    /// Where the next record to be appended will lie.
    fn next_place(&self) -> Place {
        Place(self.positions.len() + self.held.as_ref().map_or(0, Vec::len))
    }

    /// Gives a record to the journal.
    fn write(&mut self, kind: RecordKind, bytes: &[u8]) -> Result<(), StorageError> {
        let position = self.journal.append(kind as u8, bytes).map_err(text)?;
        self.positions.push(position);
        Ok(())
    }

    /// Gives to the journal what waited for a sync.
    fn write_held(&mut self) -> Result<(), StorageError> {
        let held = self.held.take().unwrap_or_default();
        (held.into_iter()).try_for_each(|(kind, bytes)| self.write(kind, &bytes))
    }

    /// A sync begins: it will cover what was appended so far.
    pub(crate) fn begin_sync(&mut self) {
        assert!(self.held.is_none(), "one sync at a time");
        self.held = Some(Vec::new());
    }

    /// The sync ends: what was appended when it began is durable, and nothing else.
    pub(crate) fn end_sync(&mut self) -> Result<(), StorageError> {
        assert!(self.held.is_some(), "what ends has begun");
        self.journal.sync().map_err(text)?;
        self.unsynced = self.unsynced.split_off(&Place(self.positions.len()));
        self.write_held()
    }

    /// Makes durable what was appended, in no time.
    pub(crate) fn sync(&mut self) -> Result<(), StorageError> {
        self.begin_sync();
        self.end_sync()
    }

    /// The power goes in the midst of a sync, which the disk is about to fail: what it was to cover has been written, and
    /// may be there in any part; so may what waited, if `held_too`.
    pub(crate) fn tear(&mut self, held_too: bool) -> Result<(), StorageError> {
        if held_too {
            self.write_held()?;
        }
        self.journal.sync().map_err(text)?;
        Ok(())
    }

    /// Where what is durable ends, and where what was appended ends.
    pub(crate) fn ends(&self) -> (Position, Position) {
        let stats = self.journal.stats();
        (stats.synced, stats.end)
    }

    /// What became of a transaction, if a certificate vouches for it.
    pub(crate) fn certified_outcome(&self, id: &TxId) -> Option<&Outcome> {
        let outcome = self.index.outcomes.get(id)?;
        (outcome.height <= self.index.certified_height).then_some(outcome)
    }

    /// The newest height with a certificate in the journal.
    pub(crate) fn certified_height(&self) -> Height {
        self.index.certified_height
    }

    /// Answers a request.
    pub(crate) fn load(&self, request: LoadRequest) -> Result<Loaded, StorageError> {
        let mut loaded = Loaded {
            request: request.clone(),
            commits: Vec::new(),
            answer: None,
            vertices: Vec::new(),
        };
        match request {
            LoadRequest::ForMachine { after, bytes_max } => {
                loaded.commits = self.commits(after, bytes_max)?;
            }
            LoadRequest::ForPeer { question, .. } => {
                loaded.answer = Some(serve::answer(self, question)?);
            }
            LoadRequest::Vertices { references, .. } => {
                for reference in references {
                    if let Some(place) = self.index.vertices.get(&reference) {
                        loaded.vertices.push(self.read(*place)?);
                    }
                }
            }
        }
        Ok(loaded)
    }

    fn read(&self, place: Place) -> Result<Bytes, StorageError> {
        if let Some(bytes) = self.unsynced.get(&place) {
            return Ok(bytes.clone());
        }
        let position = self.positions.get(place.0);
        let position = position.ok_or_else(|| format!("{place:?} isn't in the journal"))?;
        let record = self.journal.read(*position).map_err(text)?;
        Ok(record.bytes.into())
    }

    fn decoded<T: BorshDeserialize>(&self, place: Place) -> Result<T, StorageError> {
        decode(&self.read(place)?).map_err(text)
    }

    fn commits(
        &self,
        after: CommitIndex,
        bytes_max: usize,
    ) -> Result<Vec<LoadedCommit>, StorageError> {
        let mut commits = Vec::new();
        let mut bytes = 0;
        for (index, place) in self.index.commits.range(after.next()..) {
            if !commits.is_empty() && bytes >= bytes_max {
                break;
            }
            let expected = CommitIndex(after.0 + 1 + commits.len() as u64);
            if *index != expected {
                break;
            }
            let commit: Commit = self.decoded(*place)?;
            let mut vertices = Vec::with_capacity(commit.vertices.len());
            for reference in &commit.vertices {
                let place = self.index.vertices.get(reference);
                let place = place
                    .ok_or_else(|| format!("commit {index} holds {reference:?}, not journaled"))?;
                vertices.push(self.read(*place)?);
            }
            bytes += commit.encoded_len() + vertices.iter().map(Bytes::len).sum::<usize>();
            commits.push(LoadedCommit { commit, vertices });
        }
        Ok(commits)
    }
}

impl Ledger for Storage {
    type Error = StorageError;

    fn record(&self, index: CommitIndex) -> Result<Option<Commit>, StorageError> {
        let place = self.index.commits.get(&index);
        place.map(|place| self.decoded(*place)).transpose()
    }

    fn vertex(&self, reference: &VertexRef) -> Result<Option<Bytes>, StorageError> {
        let place = self.index.vertices.get(reference);
        place.map(|place| self.read(*place)).transpose()
    }

    fn certified_upto(&self, index: CommitIndex) -> Result<Option<CommitIndex>, StorageError> {
        let mut below = self.index.certified.range(..=index);
        Ok(below.next_back().map(|(index, _)| *index))
    }

    fn certified_from(&self, index: CommitIndex) -> Result<Option<CommitIndex>, StorageError> {
        let mut above = self.index.certified.range(index..);
        Ok(above.next().map(|(index, _)| *index))
    }

    fn certified_head(&self, index: CommitIndex) -> Result<Option<CertifiedHead>, StorageError> {
        let place = self.index.certified.get(&index);
        place.map(|place| self.decoded(*place)).transpose()
    }
}

impl Index {
    fn block(&mut self, block: &Block) {
        for outcome in &block.outcomes {
            self.outcomes.insert(outcome.transaction, outcome.clone());
        }
    }

    fn certified(&mut self, certified: &CertifiedHead, place: Place) {
        self.certified.insert(certified.head.commit_index, place);
        self.certified_height = self.certified_height.max(certified.head.height);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Cast;
    use crate::dice::Dice;
    use std::sync::Arc;
    use violeta_consensus::{ValidVertex, trust_vertex};
    use violeta_journal::MemoryDisk;
    use violeta_replica::message::{Answer, Question, RecordsPart, RecordsQuestion};
    use violeta_types::{
        Certificate, Digest, Head, HeadId, Parameters, Payload, Round, SignedHeader, TimeMs,
        ValidatorSignature, VertexHeader, encode,
    };

    const ME: ValidatorIndex = ValidatorIndex(0);

    fn cast() -> Cast {
        Cast::new(4, Parameters::for_validators(4), 1, Dice::new(1))
    }

    fn vertex(cast: &Cast, author: u16) -> ValidVertex {
        let author = ValidatorIndex(author);
        let mut parents = cast.epoch.virtual_vertices().to_vec();
        parents.swap(0, author.as_usize());
        let payload = Payload::default();
        let header = VertexHeader {
            epoch: cast.epoch.epoch(),
            round: Round(1),
            author,
            parents: parents.try_into().unwrap(),
            payload: payload.commitment(),
            coin_share: None,
            end_mark: false,
            timestamp: TimeMs(1),
        };
        let signature = ValidatorSignature([0; 64]);
        let signed = SignedHeader { header, signature };
        let bytes = Bytes::from(encode(&violeta_types::Vertex { signed, payload }));
        trust_vertex(&bytes, &cast.epoch).unwrap()
    }

    fn commit(index: u64, vertex: &ValidVertex) -> Record {
        let commit = Commit {
            epoch: vertex.header().epoch,
            index: CommitIndex(index),
            previous: Digest::ZERO,
            leader: *vertex.reference(),
            vertices: vec![*vertex.reference()].try_into().unwrap(),
            time: TimeMs(1),
            coin: None,
        };
        let (commit, digest) = (Arc::new(commit), Digest::ZERO);
        Record::Commit { commit, digest }
    }

    fn certified(cast: &Cast, height: u64, commit: u64) -> Record {
        let head = Head {
            chain: cast.genesis.chain_id(),
            epoch: cast.epoch.epoch(),
            height: Height(height),
            previous: HeadId::default(),
            commit_index: CommitIndex(commit),
            commit_digest: Digest::ZERO,
            time: TimeMs(1),
            transactions_root: Digest::ZERO,
            results_root: Digest::ZERO,
            state_root: Digest::ZERO,
            history_root: Digest::ZERO,
            committee: Digest::ZERO,
            next_committee: Digest::ZERO,
        };
        let certificate = Certificate {
            height: head.height,
            head: head.id(),
            signatures: Default::default(),
        };
        Record::Certified(Arc::new(CertifiedHead { head, certificate }))
    }

    fn open(disk: &MemoryDisk, cast: &Cast) -> (Storage, Recovered) {
        let disk = Arc::new(disk.clone());
        Storage::open(disk, cast.genesis.chain_id(), ME, &mut |_, _| Ok(())).unwrap()
    }

    fn records(storage: &Storage, after: u64) -> RecordsPart {
        let question = RecordsQuestion {
            after: CommitIndex(after),
            upto: None,
            bytes_max: u32::MAX,
        };
        let request = LoadRequest::ForPeer {
            question: Question::Records(question),
            peer: ValidatorIndex(1),
        };
        match storage.load(request).unwrap().answer {
            Some(Answer::Records(part)) => part,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_index_is_rebuilt_from_what_survives() {
        let (cast, disk) = (cast(), MemoryDisk::new());
        let (mut storage, _) = open(&disk, &cast);
        let (own, other) = (vertex(&cast, 0), vertex(&cast, 1));
        for record in [Record::Vertex(own.clone()), commit(1, &own)] {
            storage.append(&record).unwrap();
        }
        storage.sync().unwrap();
        storage.append(&Record::Vertex(other.clone())).unwrap();
        let load = |storage: &Storage, vertex: &ValidVertex| {
            let references = vec![*vertex.reference()];
            let peer = ValidatorIndex(1);
            storage
                .load(LoadRequest::Vertices { references, peer })
                .unwrap()
                .vertices
        };
        assert_eq!(
            load(&storage, &other),
            [other.bytes().clone()],
            "also before a sync"
        );
        drop(storage);
        disk.crash(&mut || 0);
        let (storage, recovered) = open(&disk, &cast);
        assert_eq!((recovered.records, recovered.commits), (2, 1));
        assert_eq!(recovered.own, [*own.reference()]);
        assert_eq!(load(&storage, &own), [own.bytes().clone()]);
        assert!(load(&storage, &other).is_empty(), "it was never durable");
    }

    /// What survives a loss of power of a journal to which one record was appended before a sync, and one while it was
    /// under way; `ends`: whether it also ended.
    fn survivors(ends: bool, tears: Option<bool>, random: u64) -> Vec<VertexRef> {
        let (cast, disk) = (cast(), MemoryDisk::new());
        let faulty = violeta_journal::FaultyDisk::new(Arc::new(disk.clone()));
        let chain = cast.genesis.chain_id();
        let (mut storage, _) =
            Storage::open(Arc::new(faulty.clone()), chain, ME, &mut |_, _| Ok(())).unwrap();
        let (before, during) = (vertex(&cast, 0), vertex(&cast, 1));
        storage.append(&Record::Vertex(before.clone())).unwrap();
        storage.begin_sync();
        storage.append(&Record::Vertex(during.clone())).unwrap();
        let here = |storage: &Storage, vertex: &ValidVertex| {
            let found = storage.vertex(vertex.reference()).unwrap();
            assert!(found.is_none_or(|bytes| bytes == *vertex.bytes()));
        };
        here(&storage, &before);
        here(&storage, &during);
        if ends {
            storage.end_sync().unwrap();
            assert!(storage.vertex(before.reference()).unwrap().is_some());
            assert!(storage.vertex(during.reference()).unwrap().is_some());
        }
        if let Some(held_too) = tears {
            faulty.fail_next(violeta_journal::Operation::Sync, std::io::ErrorKind::Other);
            storage.tear(held_too).unwrap_err();
        }
        drop(storage);
        disk.crash(&mut || random);
        let (storage, _) = open(&disk, &cast);
        storage.index.vertices.into_keys().collect()
    }

    #[test]
    fn a_sync_makes_durable_what_was_appended_when_it_began_and_nothing_else() {
        let cast = cast();
        let before = *vertex(&cast, 0).reference();
        let during = *vertex(&cast, 1).reference();
        // The numbers: of what wasn't synced, a crash keeps nothing (0) or all (1).
        assert_eq!(survivors(false, None, 1), [], "it was never written");
        assert_eq!(survivors(true, None, 0), [before]);
        assert_eq!(
            survivors(true, None, 1),
            [before],
            "the other waits for a sync of its own"
        );
        assert_eq!(survivors(false, Some(false), 0), []);
        assert_eq!(survivors(false, Some(false), 1), [before]);
        assert_eq!(survivors(false, Some(true), 1), [before, during]);
    }

    #[test]
    fn a_peer_is_given_commits_up_to_the_last_certified_head_and_no_further() {
        let (cast, disk) = (cast(), MemoryDisk::new());
        let (mut storage, _) = open(&disk, &cast);
        let vertices: Vec<ValidVertex> = (0..4).map(|i| vertex(&cast, i)).collect();
        for (index, vertex) in (1..).zip(&vertices[..3]) {
            storage.append(&Record::Vertex(vertex.clone())).unwrap();
            storage.append(&commit(index, vertex)).unwrap();
        }
        let nothing = records(&storage, 0);
        assert!(nothing.records.is_empty(), "nothing is certified");
        storage.append(&certified(&cast, 1, 2)).unwrap();
        storage.sync().unwrap();
        let part = records(&storage, 0);
        let indices: Vec<u64> = part.records.iter().map(|commit| commit.index.0).collect();
        assert_eq!(indices, [2, 1], "going down");
        assert_eq!(part.certified.unwrap().head.commit_index, CommitIndex(2));
        assert!(
            records(&storage, 2).certified.is_none(),
            "there is nothing above it"
        );
        let after = CommitIndex(0);
        let bytes_max = 1;
        let one = storage
            .load(LoadRequest::ForMachine { after, bytes_max })
            .unwrap();
        assert_eq!(
            one.commits.len(),
            1,
            "at least one, however small the bound"
        );
    }
}
