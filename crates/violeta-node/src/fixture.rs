//! Made-up blocks and certificates, for tests.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use bytes::Bytes;
use violeta_replica::{Block, RecordKind};
use violeta_types::{
    Certificate, CertifiedHead, ChainId, CommitIndex, Digest, Epoch, Head, HeadId, Height, Outcome,
    Seal, ThresholdSignature, TimeMs, TxId,
};

use crate::journal::{Appender, JournalError, Records, StoredRecord};
use crate::lock::lock;

pub(crate) fn chain() -> ChainId {
    ChainId(Digest([1; 32]))
}

pub(crate) fn tx(i: u64) -> TxId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&i.to_be_bytes());
    TxId(Digest(bytes))
}

/// The block at `height`, made of commit 2 × `height`, with these transactions.
pub(crate) fn block(height: u64, ids: &[u64]) -> Block {
    let outcomes: Vec<_> = ids
        .iter()
        .zip(0..)
        .map(|(&i, index)| Outcome {
            height: Height(height),
            index,
            transaction: tx(i),
            refused: None,
        })
        .collect();
    let zero = Digest::ZERO;
    Block {
        head: Head {
            chain: chain(),
            epoch: Epoch(0),
            height: Height(height),
            previous: HeadId(zero),
            commit_index: CommitIndex(2 * height),
            commit_digest: zero,
            time: TimeMs(1_000 * height),
            transactions_root: zero,
            results_root: zero,
            state_root: zero,
            history_root: zero,
            committee: zero,
            next_committee: zero,
        },
        outcomes: outcomes.try_into().unwrap(),
    }
}

pub(crate) fn certified(height: u64) -> CertifiedHead {
    let head = block(height, &[]).head;
    let certificate = Certificate {
        height: head.height,
        head: head.id(),
        signatures: Vec::new().try_into().unwrap(),
    };
    CertifiedHead { head, certificate }
}

pub(crate) fn seal(height: u64) -> Seal {
    Seal {
        height: Height(height),
        head: block(height, &[]).head.id(),
        signature: ThresholdSignature([7; 48]),
    }
}

/// Overwrites all leaves of a closed index but those that are needed to open it: the list of its tables, and "meta".
pub(crate) fn spoil_index(index_dir: &Path) {
    const PAGE: usize = 4_096;
    /// Where a page has its flags, and which says that it is a leaf.
    const LEAF: (usize, u8) = (10, 0x02);
    /// Where a page says where its entries begin: what is before them is whatever was there.
    const UPPER: usize = 14;
    let path = index_dir.join("data.mdb");
    let mut bytes = std::fs::read(&path).unwrap();
    // The first two pages are LMDB's own.
    for page in bytes.chunks_mut(PAGE).skip(2) {
        let entries = u16::from_le_bytes([page[UPPER], page[UPPER + 1]]) as usize;
        let entries = page.get(entries..).unwrap_or_default();
        let holds = |text: &[u8]| entries.windows(text.len()).any(|window| window == text);
        let needed = holds(b"vertices") || holds(b"format");
        if page[LEAF.0] & LEAF.1 != 0 && !needed {
            page.fill(0);
        }
    }
    std::fs::write(&path, bytes).unwrap();
}

/// A journal in memory, whose disk can fail.
#[derive(Clone, Default)]
pub(crate) struct MemoryJournal {
    state: Arc<Mutex<MemoryState>>,
}

#[derive(Default)]
struct MemoryState {
    records: Vec<StoredRecord>,
    end: u64,
    synced: u64,
    fails: bool,
    read_on: Vec<ThreadId>,
}

impl MemoryJournal {
    pub(crate) fn fail(&self, fails: bool) {
        lock(&self.state).fails = fails;
    }

    pub(crate) fn synced(&self) -> u64 {
        lock(&self.state).synced
    }

    /// The threads on which single records were read.
    pub(crate) fn read_on(&self) -> Vec<ThreadId> {
        lock(&self.state).read_on.clone()
    }

    pub(crate) fn push(&self, kind: RecordKind, bytes: Vec<u8>) -> u64 {
        let position = self.clone().append(kind as u8, &bytes).unwrap();
        self.clone().sync().unwrap();
        position
    }
}

impl Appender for MemoryJournal {
    fn end(&self) -> u64 {
        lock(&self.state).end
    }

    fn append(&mut self, kind: u8, bytes: &[u8]) -> Result<u64, JournalError> {
        let mut state = lock(&self.state);
        let position = state.end;
        state.end += 9 + bytes.len() as u64;
        let record = StoredRecord {
            position,
            end: state.end,
            kind: RecordKind::from_number(kind).unwrap(),
            bytes: Bytes::copy_from_slice(bytes),
        };
        state.records.push(record);
        Ok(position)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        let mut state = lock(&self.state);
        if state.fails {
            let reason = "no space left on device".into();
            return Err(violeta_journal::JournalError::Failed { reason }.into());
        }
        state.synced = state.end;
        Ok(())
    }
}

impl Records for MemoryJournal {
    fn read(&self, position: u64) -> Result<StoredRecord, JournalError> {
        let mut state = lock(&self.state);
        state.read_on.push(std::thread::current().id());
        let synced = state.synced;
        let found = state.records.iter().find(|r| r.position == position);
        found
            .filter(|record| record.end <= synced)
            .cloned()
            .ok_or_else(|| JournalError::damaged(position, "there is no record"))
    }

    fn range(
        &self,
        from: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        let state = lock(&self.state);
        let mut bytes = 0;
        let records = state.records.iter().filter(|r| r.position >= from);
        let records = records.take_while(|r| r.end <= end.min(state.synced));
        let some = records.take_while(|r| {
            let first = bytes < bytes_max;
            bytes += r.bytes.len();
            first
        });
        Ok(some.cloned().collect())
    }
}
