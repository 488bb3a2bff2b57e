//! The file that says that a directory holds no store yet, and how far its import is.
//!
//! ```text
//!  file "import"   magic 8 │ version u64 │ root 32 │ progress (borsh) │ checksum 32
//! ```
//!
//! It is there from before the store's first file is made until the store is whole, and says no more than is durable in
//! the store: it is written after the store was synced, beside the old one, and takes its place when it is durable. If
//! the power goes in between, a few chunks are fetched again, and change nothing.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_journal::{Disk, OpenMode};
use violeta_proof::tree::{PROOF_LEAVES_MAX, PathRange, SpaceRecord};
use violeta_types::{Digest, Domain, Height};

use super::progress::Progress;
use crate::error::StoreError;
use crate::files::in_dir;
use crate::limits::{IMPORT_OPEN_SPACES_MAX, IMPORT_RANGES_MAX, STORE_SPACE_BYTES_MAX};

/// The marker's name.
pub(crate) const MARKER: &str = "import";
/// What the next one is written as.
const NEXT: &str = "import.new";
const MAGIC: [u8; 8] = *b"vlsmimp1";
/// Bytes of a marker. What it may say of spaces and ranges is bounded, and fits.
const MARKER_BYTES_MAX: u64 = 64 << 20;

// Spaces: those that are open, and those of one more part of the list.
const _: () = {
    let spaces = IMPORT_OPEN_SPACES_MAX + PROOF_LEAVES_MAX;
    let ranges = 2 * (IMPORT_RANGES_MAX + spaces) * size_of::<PathRange>();
    let names = spaces * (4 + STORE_SPACE_BYTES_MAX + size_of::<SpaceRecord>() + 4);
    assert!((ranges + names + 1_024) as u64 <= MARKER_BYTES_MAX);
};

/// What the marker says.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct State {
    pub(super) version: Height,
    pub(super) root: Digest,
    pub(super) progress: Progress,
}

/// The marker of a directory.
#[derive(Debug)]
pub(super) struct Marker {
    disk: Arc<dyn Disk>,
    dir: String,
}

impl Marker {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &str) -> Self {
        let dir = dir.to_owned();
        Marker { disk, dir }
    }

    /// What it says; none if there is no marker among the directory's names.
    pub(super) fn read(&self, names: &[String]) -> Result<Option<State>, StoreError> {
        if !names.iter().any(|name| name == MARKER) {
            return Ok(None);
        }
        let path = in_dir(&self.dir, MARKER);
        let corrupt = |what: &str| StoreError::corrupt(&path[..], 0, what);
        let file = self.disk.open(&path, OpenMode::Existing)?;
        let len = file.len()?;
        if len > MARKER_BYTES_MAX {
            return Err(corrupt("longer than any marker of an import"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_at(0, &mut bytes)?;
        let (checked, checksum) = bytes.split_last_chunk::<32>().unwrap_or((&[], &[0; 32]));
        if Domain::File.hash(checked).0 != *checksum {
            return Err(corrupt(
                "not the marker of an import: its checksum is wrong",
            ));
        }
        let Some(body) = checked.strip_prefix(&MAGIC) else {
            let what = "the marker of an import by another version of this software".to_owned();
            return Err(StoreError::Format { file: path, what });
        };
        let state = violeta_types::decode(body);
        Ok(Some(state.map_err(|error| corrupt(&error.to_string()))?))
    }

    /// Puts this in its place, durably.
    pub(super) fn write(&self, state: &State) -> Result<(), StoreError> {
        let mut bytes = MAGIC.to_vec();
        violeta_types::codec::encode_into(state, &mut bytes);
        let checksum = Domain::File.hash(&bytes);
        bytes.extend_from_slice(&checksum.0);
        let next = in_dir(&self.dir, NEXT);
        let file = self.disk.open(&next, OpenMode::Any)?;
        file.truncate(0)?;
        file.write_at(0, &bytes)?;
        file.sync_data()?;
        self.disk.rename(&next, &in_dir(&self.dir, MARKER))?;
        Ok(self.disk.sync_dir(&self.dir)?)
    }

    /// Takes it away, durably: from here on the directory holds a store.
    pub(super) fn remove(&self) -> Result<(), StoreError> {
        if self.disk.list(&self.dir)?.iter().any(|name| name == NEXT) {
            self.disk.remove(&in_dir(&self.dir, NEXT))?;
        }
        self.disk.remove(&in_dir(&self.dir, MARKER))?;
        Ok(self.disk.sync_dir(&self.dir)?)
    }
}
