//! A key's history: what was written under it, newest first.

use bytes::Bytes;
use violeta_types::Height;

use crate::error::StoreError;
use crate::limits::{HISTORY_VERSIONS_MAX, PAGE_BYTES, PAGE_ENTRIES_MAX};
use crate::log::{HEADER_BYTES, Header};
use crate::store::{Shared, State, Store};
use crate::tree::Entry;

/// A part of a key's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// At which version the key was given which value (none: deleted, by itself or with its space), newest first.
    pub changes: Vec<(Height, Option<Bytes>)>,
    /// The version from which to ask for what is older; none if that is all.
    pub next: Option<Height>,
}

impl Store {
    /// What was written under a key up to version `from` (none: the newest), newest first: at most `limit` changes, and
    /// as many as looking at [`HISTORY_VERSIONS_MAX`] versions gives. It ends with what the key had at the oldest version
    /// that is kept, whenever that was written.
    ///
    /// A version that gave a key the value that it had is a change like any other.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn history(
        &self,
        space: &[u8],
        key: &[u8],
        from: Option<Height>,
        limit: usize,
    ) -> Result<History, StoreError> {
        let shared = &*self.shared;
        let state = shared.state.load_full();
        let from = from.unwrap_or(state.latest.version);
        let mut walk = Walk {
            shared,
            state: &state,
            space,
            key,
            bytes: 0,
            changes: Vec::new(),
        };
        let start = match state.count() {
            0 => None,
            _ => shared.index_of(&state, from)?,
        };
        let next = walk.run(start, limit.clamp(1, PAGE_ENTRIES_MAX))?;
        let next = next.map(|index| shared.number_at(&state, index));
        Ok(History {
            changes: walk.changes,
            next: next.transpose()?,
        })
    }
}

struct Walk<'a> {
    shared: &'a Shared,
    state: &'a State,
    space: &'a [u8],
    key: &'a [u8],
    bytes: usize,
    changes: Vec<(Height, Option<Bytes>)>,
}

impl Walk<'_> {
    /// Goes down from index `at`; returns where to go on.
    fn run(&mut self, mut at: Option<u64>, limit: usize) -> Result<Option<u64>, StoreError> {
        // The lowest version seen at which the key was absent, with nothing seen below it yet.
        let mut absent: Option<u64> = None;
        for _ in 0..HISTORY_VERSIONS_MAX {
            let Some(index) = at.filter(|index| *index >= self.state.retained.first) else {
                return Ok(None);
            };
            if self.changes.len() >= limit || self.bytes >= PAGE_BYTES {
                return Ok(absent.or(at));
            }
            let version = self.shared.version_at(self.state, index)?;
            let Some((digest, entry)) = version.entry(self.shared, self.space, self.key)? else {
                absent = Some(index);
                at = index.checked_sub(1);
                continue;
            };
            if let Some(gone) = absent.take() {
                self.changes
                    .push((self.shared.number_at(self.state, gone)?, None));
                if self.changes.len() >= limit {
                    return Ok(at);
                }
            }
            let (_, value) = self.shared.key_value(&digest, &entry)?;
            let written = self.written_at(&entry)?;
            self.bytes += value.len();
            self.changes.push((written, Some(value)));
            let index = self.shared.index_of(self.state, written)?;
            at = index.and_then(|index| index.checked_sub(1));
        }
        Ok(absent.or(at))
    }

    /// The version whose record an entry lies in.
    fn written_at(&self, entry: &Entry) -> Result<Height, StoreError> {
        let log = &self.shared.log;
        let operation = log.operation(entry.position, entry.len)?;
        let start = entry.position.checked_sub(u64::from(operation.back));
        let start = start.ok_or_else(|| log.corrupt(entry.position, "it has no record"))?;
        let header = Header::decode(&log.read(start, HEADER_BYTES)?);
        let header = header.filter(|header| header.position == start);
        let header = header.ok_or_else(|| log.corrupt(start, "not a record"))?;
        Ok(header.version)
    }
}
