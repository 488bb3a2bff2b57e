//! Overlays: batches that are read while they grow, and taken back in part (vlsm.md §1.6).
//!
//! ```text
//!  Overlay ─ put, delete, create, drop ─▶ changes ┐
//!          ─ get ── changed here? ─ no ───────────┼─▶ base: a snapshot
//!                     ┌────────────────────────────┘
//!  Savepoint, fork ── a copy of the changes, which shares what neither changes afterwards
//! ```

mod path_map;

use std::sync::Arc;

use bytes::Bytes;
use violeta_proof::tree::KeyPath;

use crate::batch::{KeyChange, Presence, SpaceChanges, require_key, require_space, require_value};
use crate::error::StoreError;
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};
use crate::snapshot::Snapshot;
use crate::store::Version;
use path_map::PathMap;

/// A batch laid over a version: what it changes is seen at once, and nowhere else before it is staged and appended.
/// The store doesn't know of it: dropping it, going back in it and forking it cost the store nothing.
///
/// What was done counts as in a [`Batch`](crate::Batch), towards the same limits, unless it was rolled back.
///
/// ```
/// # use std::sync::Arc;
/// # use violeta_journal::MemoryDisk;
/// # use violeta_types::Height;
/// # use violeta_vlsm::{Options, Overlay, Store};
/// let store = Store::open(Arc::new(MemoryDisk::new()), "", Options::default())?;
/// let mut writer = store.writer()?;
///
/// let mut overlay = Overlay::new(store.latest());
/// overlay.create_space(b"accounts")?;
/// overlay.put(b"accounts", b"ada", "100")?;
///
/// let before = overlay.savepoint();
/// overlay.put(b"accounts", b"ada", "0")?;
/// overlay.put(b"accounts", b"bob", "100")?;
/// assert_eq!(overlay.get(b"accounts", b"ada")?.as_deref(), Some(&b"0"[..]));
/// let paid = overlay.fork(); // what if …
///
/// overlay.rollback_to(&before)?; // … and what if not
/// assert_eq!(overlay.get(b"accounts", b"ada")?.as_deref(), Some(&b"100"[..]));
/// assert!(!overlay.contains(b"accounts", b"bob")?);
///
/// // Both have roots; one of them becomes version 1.
/// let (unpaid, paid) = (writer.stage_overlay(&overlay)?, writer.stage_overlay(&paid)?);
/// assert_ne!(unpaid.root(), paid.root());
/// writer.commit(Height(1), paid)?;
/// assert_eq!(store.latest().get(b"accounts", b"bob")?.as_deref(), Some(&b"100"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Overlay {
    base: Snapshot,
    changes: Changes,
}

/// What an overlay was at one time: [`Overlay::rollback_to`] makes it that again. It costs what is changed afterwards, not
/// what was before, and it stays good whatever the overlay goes back to.
#[derive(Clone, Debug)]
pub struct Savepoint {
    base: Arc<Version>,
    changes: Changes,
}

/// What was changed. A copy shares what neither changes afterwards.
#[derive(Clone, Debug, Default)]
struct Changes {
    spaces: PathMap<SpaceOver>,
    /// As a batch counts them: of all that was done.
    bytes: usize,
    operations: usize,
}

/// A space that something was done to.
#[derive(Clone, Debug)]
struct SpaceOver {
    name: Bytes,
    presence: Presence,
    keys: PathMap<KeyOver>,
}

/// A key that was given a value, or lost it.
#[derive(Clone, Debug)]
struct KeyOver {
    key: Bytes,
    value: Option<Bytes>,
}

impl Overlay {
    /// Over a version, with nothing changed.
    pub fn new(base: Snapshot) -> Self {
        Overlay {
            base,
            changes: Changes::default(),
        }
    }

    /// The version that lies below.
    pub fn base(&self) -> &Snapshot {
        &self.base
    }

    /// The value of a key; none if the key, or the space, isn't there.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.changed(space, key) {
            Some(value) => Ok(value.cloned()),
            None => self.base.get(space, key),
        }
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn contains(&self, space: &[u8], key: &[u8]) -> Result<bool, StoreError> {
        match self.changed(space, key) {
            Some(value) => Ok(value.is_some()),
            None => self.base.contains(space, key),
        }
    }

    /// Whether there is such a space.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn has_space(&self, space: &[u8]) -> Result<bool, StoreError> {
        Ok(self.presence(&KeyPath::of(space), space)?.exists())
    }

    /// Makes a (hashed) space.
    ///
    /// # Errors
    /// If there is one of that name, a limit would be passed, or the disk fails. Then nothing has changed.
    pub fn create_space(&mut self, name: &[u8]) -> Result<(), StoreError> {
        self.restart(name, true)
    }

    /// Drops a space with all its keys.
    ///
    /// # Errors
    /// If there is none, a limit would be passed, or the disk fails. Then nothing has changed.
    pub fn drop_space(&mut self, name: &[u8]) -> Result<(), StoreError> {
        self.restart(name, false)
    }

    /// Gives a key a value. Any bytes are a key, none at all too.
    ///
    /// # Errors
    /// If there is no such space, a limit would be passed, or the disk fails. Then nothing has changed.
    pub fn put(
        &mut self,
        space: &[u8],
        key: &[u8],
        value: impl Into<Bytes>,
    ) -> Result<(), StoreError> {
        let value = value.into();
        require_value(&value)?;
        self.change(space, key, Some(value))
    }

    /// Takes a key's value away; does nothing if it has none.
    ///
    /// # Errors
    /// If there is no such space, a limit would be passed, or the disk fails. Then nothing has changed.
    pub fn delete(&mut self, space: &[u8], key: &[u8]) -> Result<(), StoreError> {
        self.change(space, key, None)
    }

    /// What it is now, to come back to.
    #[must_use]
    pub fn savepoint(&self) -> Savepoint {
        Savepoint {
            base: Arc::clone(&self.base.version),
            changes: self.changes.clone(),
        }
    }

    /// Makes it what it was when `savepoint` was made, by it or by another fork.
    ///
    /// # Errors
    /// [`StoreError::OtherBase`] if the savepoint is of an overlay over another version. Then nothing has changed.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<(), StoreError> {
        if !Arc::ptr_eq(&savepoint.base, &self.base.version) {
            return Err(StoreError::OtherBase);
        }
        self.changes = savepoint.changes.clone();
        Ok(())
    }

    /// Another one with the same changes so far; from now on each has its own.
    #[must_use]
    pub fn fork(&self) -> Overlay {
        self.clone()
    }

    /// How many operations led here: those that were rolled back don't count.
    pub fn len(&self) -> usize {
        self.changes.operations
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was done to a key, if something was: its value now.
    fn changed(&self, space: &[u8], key: &[u8]) -> Option<Option<&Bytes>> {
        let over = self.changes.spaces.get(&KeyPath::of(space))?;
        match over.keys.get(&KeyPath::of(key)) {
            Some(key) => Some(key.value.as_ref()),
            // Begun anew, or gone: nothing is left of what lies below.
            None if over.presence.is_reset() => Some(None),
            None => None,
        }
    }

    fn presence(&self, path: &KeyPath, space: &[u8]) -> Result<Presence, StoreError> {
        match self.changes.spaces.get(path) {
            Some(over) => Ok(over.presence),
            None => Ok(Presence::new(self.base.find_space(space)?.is_some())),
        }
    }

    fn restart(&mut self, name: &[u8], create: bool) -> Result<(), StoreError> {
        require_space(name)?;
        let path = KeyPath::of(name);
        let mut presence = self.presence(&path, name)?;
        presence.require_fit(create, name)?;
        self.changes.count(&path, name, 0)?;
        presence.restart();
        let over = SpaceOver {
            name: Bytes::copy_from_slice(name),
            presence,
            keys: PathMap::default(),
        };
        self.changes.spaces.insert(path, over);
        Ok(())
    }

    fn change(&mut self, space: &[u8], key: &[u8], value: Option<Bytes>) -> Result<(), StoreError> {
        require_space(space)?;
        require_key(key)?;
        let path = KeyPath::of(space);
        let presence = self.presence(&path, space)?;
        presence.require_fit(false, space)?;
        let bytes = key.len() + value.as_ref().map_or(0, Bytes::len);
        self.changes.count(&path, space, bytes)?;
        let over = self.changes.spaces.get_or_insert_with(path, || SpaceOver {
            name: Bytes::copy_from_slice(space),
            presence,
            keys: PathMap::default(),
        });
        let key = Bytes::copy_from_slice(key);
        let path = KeyPath::of(&key);
        over.keys.insert(path, KeyOver { key, value });
        Ok(())
    }

    /// The changes in the form that is logged and applied.
    pub(crate) fn normalise(&self) -> Vec<SpaceChanges<'_>> {
        let mut spaces = Vec::new();
        self.changes.spaces.visit(&mut |path, over| {
            let Some(action) = over.presence.action() else {
                return;
            };
            let mut keys = Vec::new();
            over.keys.visit(&mut |path, over| {
                keys.push(KeyChange {
                    path: *path,
                    key: &over.key,
                    value: over.value.as_deref(),
                });
            });
            spaces.push(SpaceChanges {
                name: over.name.clone(),
                path: *path,
                action,
                keys,
            });
        });
        spaces
    }
}

impl Changes {
    /// Counts one more operation on a space, if a batch may have it.
    fn count(&mut self, path: &KeyPath, space: &[u8], bytes: usize) -> Result<(), StoreError> {
        let name = match self.spaces.get(path) {
            Some(_) => 0,
            None => space.len(),
        };
        let bytes = self.bytes.saturating_add(name).saturating_add(bytes);
        if bytes > BATCH_BYTES_MAX || self.operations == BATCH_OPERATIONS_MAX {
            return Err(StoreError::BatchTooLarge);
        }
        self.bytes = bytes;
        self.operations += 1;
        Ok(())
    }
}
