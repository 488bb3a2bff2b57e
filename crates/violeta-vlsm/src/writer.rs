//! The writer: the one holder of the version cursor (vlsm.md §4, §7).
//!
//! ```text
//!  stage(batch) ──▶ Staged (root known) ──▶ append(version) ──▶ … more versions … ──▶ sync: all of them are durable
//!   in memory                               readable
//! ```

use std::sync::Arc;

use violeta_types::Height;

use crate::batch::Batch;
use crate::cursor::{Cursor, Staged};
use crate::error::StoreError;
use crate::limits::PINNED_VERSIONS_MAX;
use crate::overlay::Overlay;
use crate::retention::{Retained, Retention};
use crate::store::{Shared, State};

/// Makes versions. There is one at a time; dropping it lets another be made.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// Always there until the writer is dropped.
    cursor: Option<Cursor>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        *self.shared.cursor() = self.cursor.take();
    }
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, cursor: Cursor) -> Self {
        Writer {
            shared,
            cursor: Some(cursor),
        }
    }

    fn cursor(&mut self) -> Result<(&Shared, &mut Cursor), StoreError> {
        match &mut self.cursor {
            Some(cursor) => Ok((&self.shared, cursor)),
            None => Err(StoreError::WriterTaken),
        }
    }

    /// Applies a batch to the newest version, in memory only; any number may be staged on the same version, and one of
    /// them appended.
    ///
    /// # Errors
    /// If the batch passes a limit or doesn't fit the spaces that there are, or the disk fails.
    pub fn stage(&self, batch: &Batch) -> Result<Staged, StoreError> {
        let cursor = self.cursor.as_ref().ok_or(StoreError::WriterTaken)?;
        cursor.check()?;
        let latest = Arc::clone(&self.shared.state.load().latest);
        let exists = |name: &[u8]| Ok(latest.find_space(&self.shared, name)?.is_some());
        let changes = batch.normalise(exists)?;
        cursor.stage(&self.shared, &changes)
    }

    /// [`Self::stage`], of what an overlay over the newest version changes.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if the overlay isn't over the newest version: what it read there may be otherwise now. Or if
    /// the disk fails.
    pub fn stage_overlay(&self, overlay: &Overlay) -> Result<Staged, StoreError> {
        let cursor = self.cursor.as_ref().ok_or(StoreError::WriterTaken)?;
        cursor.check()?;
        let latest = Arc::clone(&self.shared.state.load().latest);
        if !Arc::ptr_eq(&latest, &overlay.base().version) {
            return Err(StoreError::Stale);
        }
        cursor.stage(&self.shared, &overlay.normalise())
    }

    /// Makes what was staged the newest version: written to the log and readable, not durable before [`Self::sync`].
    /// Versions rise; they needn't be adjacent. The first may be any, 0 too.
    ///
    /// # Errors
    /// If the version isn't above the newest, the batch wasn't staged on the newest version, or the disk fails. The
    /// store is then as before; if the disk was full, it goes on once there is room.
    pub fn append(&mut self, version: Height, staged: Staged) -> Result<(), StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.append(shared, version, staged)
    }

    /// [`Self::commit`] of a part of a version that is made of several: each comes in the place of the one before.
    pub(crate) fn commit_part(
        &mut self,
        version: Height,
        staged: Staged,
    ) -> Result<(), StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.append_part(shared, version, staged)?;
        self.sync()?;
        Ok(())
    }

    /// Makes the version that all parts are of the only one, durably.
    pub(crate) fn join_parts(&mut self) -> Result<(), StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.check()?;
        cursor.checkpoint(shared)?;
        cursor.join_parts(shared)
    }

    /// Makes all versions appended so far durable, with one sync of the log. Returns the newest.
    ///
    /// # Errors
    /// If the sync fails: nobody knows then what is durable, and the writer does nothing more (vlsm.md §5).
    pub fn sync(&mut self) -> Result<Height, StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.sync(shared)
    }

    /// [`Self::append`] and [`Self::sync`].
    ///
    /// # Errors
    /// As those.
    pub fn commit(&mut self, version: Height, staged: Staged) -> Result<(), StoreError> {
        self.append(version, staged)?;
        self.sync()?;
        Ok(())
    }

    /// Returns to `version`, exactly and durably; what came after is gone. Version 0, unless there is one, is the empty
    /// store. After a crash on the way the store is either as before or at `version`. Snapshots of what came after give
    /// errors from then on: [`StoreError::RolledBack`], or that what they want isn't where it was.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`] if there is none of this number. If the disk fails on the way, the writer does
    /// nothing more.
    pub fn rollback(&mut self, version: Height) -> Result<(), StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.check()?;
        // All of it is in the files then, and nothing is under way.
        cursor.checkpoint(shared)?;
        let state: Arc<State> = shared.state.load_full();
        let index = shared.versions.find(state.indexed, version)?;
        let entry = index.map(|index| shared.versions.get(index)).transpose()?;
        let first = state.retained.first;
        match index.zip(entry) {
            Some((index, entry)) if entry.version == version && index >= first => {
                cursor.rollback(shared, Some((index, entry)))
            }
            _ if version == Height(0) && first == 0 => cursor.rollback(shared, None),
            _ => Err(shared.no_such_version(&state, version)?),
        }
    }

    /// Keeps the versions that `retention` says, and no others: these can't be read from now on, though who opens the store
    /// again may find them until the next checkpoint ([`Self::checkpoint`], or when it is due). After that
    /// [`Store::compaction`](crate::Store::compaction) takes back what room they took. No root changes.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`] if one of the versions isn't there, [`StoreError::TooManyPins`] if they are too many.
    pub fn prune(&mut self, retention: &Retention) -> Result<(), StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.check()?;
        let state: Arc<State> = shared.state.load_full();
        let find = |version: Height| {
            let index = match version <= state.latest.version {
                true => shared.index_of(&state, version)?,
                false => None,
            };
            let index = index.filter(|index| state.retained.keeps(*index));
            match index {
                Some(index) => Ok(index),
                None => Err(shared.no_such_version(&state, version)?),
            }
        };
        // What went before doesn't come back.
        let pins = retention.pinned.iter().chain([&retention.oldest]);
        let mut pins: Vec<u64> = pins
            .map(|version| find(*version))
            .collect::<Result<_, _>>()?;
        let oldest = pins.last().copied().unwrap_or_default();
        let first = oldest.max(state.retained.first);
        pins.retain(|pin| *pin < first);
        pins.sort_unstable();
        pins.dedup();
        if pins.len() > PINNED_VERSIONS_MAX {
            return Err(StoreError::TooManyPins(pins.len()));
        }
        cursor.retain(shared, Retained { first, pins });
        Ok(())
    }

    /// Does a part of the work that is kept off the commit path, if there is any: call it when there is time. What is
    /// never done here is done by [`Self::append`] when it can't be put off any longer. Returns whether it did
    /// something.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn maintain(&mut self) -> Result<bool, StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.check()?;
        if cursor.checkpoint_step(shared)? {
            return Ok(true);
        }
        if cursor.is_full() {
            cursor.write_nodes(shared)?;
            return Ok(true);
        }
        Ok(cursor.sync_some_nodes()? || cursor.release_nodes(shared))
    }

    /// Makes the next start quick: nothing is left to replay. Part of an orderly end, never needed for safety.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let (shared, cursor) = self.cursor()?;
        cursor.check()?;
        cursor.checkpoint(shared)
    }
}
