//! Batches: what the next version changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use violeta_proof::tree::KeyPath;

use crate::error::StoreError;
use crate::limits::{
    BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, STORE_KEY_BYTES_MAX, STORE_SPACE_BYTES_MAX,
    STORE_VALUE_BYTES_MAX,
};

/// Operations in the order in which they shall happen. Of several on one key the last counts. Nothing is checked
/// before [`Writer::stage`](crate::Writer::stage).
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Names of spaces in order of first use, and each name's index.
    names: Vec<Bytes>,
    indices: BTreeMap<Bytes, u32>,
    operations: Vec<(u32, Operation)>,
    /// The keys of all operations, one after the other.
    keys: Vec<u8>,
    bytes: usize,
}

/// An operation; of its key, if it has one, where it ends among the keys: it begins where the one before ended.
#[derive(Clone, Debug)]
enum Operation {
    Create,
    Drop,
    Put(usize, Bytes),
    Delete(usize),
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a (hashed) space. Staging fails if there is one of that name.
    pub fn create_space(&mut self, name: &[u8]) {
        self.push(name, Operation::Create, 0);
    }

    /// Drops a space with all its keys. Staging fails if there is none.
    pub fn drop_space(&mut self, name: &[u8]) {
        self.push(name, Operation::Drop, 0);
    }

    /// Gives a key a value. Any bytes are a key, none at all too. Staging fails if there is no such space.
    pub fn put(&mut self, space: &[u8], key: &[u8], value: impl Into<Bytes>) {
        let value = value.into();
        let bytes = key.len() + value.len();
        self.keys.extend_from_slice(key);
        self.push(space, Operation::Put(self.keys.len(), value), bytes);
    }

    /// Takes a key's value away; does nothing if it has none. Staging fails if there is no such space.
    pub fn delete(&mut self, space: &[u8], key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.push(space, Operation::Delete(self.keys.len()), key.len());
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is no operation.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    fn push(&mut self, space: &[u8], operation: Operation, bytes: usize) {
        let index = self.index_of(space);
        self.bytes = self.bytes.saturating_add(bytes);
        self.operations.push((index, operation));
    }

    fn index_of(&mut self, space: &[u8]) -> u32 {
        if let Some((last, _)) = self.operations.last()
            && self.names[*last as usize] == space
        {
            return *last;
        }
        if let Some(index) = self.indices.get(space) {
            return *index;
        }
        // As many names as operations at most, which staging bounds.
        let index = self.names.len() as u32;
        let name = Bytes::copy_from_slice(space);
        self.bytes = self.bytes.saturating_add(name.len());
        self.names.push(name.clone());
        self.indices.insert(name, index);
        index
    }

    /// Brings the batch into the form that is logged and applied. `exists` says which spaces there are.
    ///
    /// # Errors
    /// If a limit is passed, or an operation doesn't fit the spaces that there are.
    pub(crate) fn normalise(
        &self,
        mut exists: impl FnMut(&[u8]) -> Result<bool, StoreError>,
    ) -> Result<Vec<SpaceChanges<'_>>, StoreError> {
        if self.bytes > BATCH_BYTES_MAX || self.operations.len() > BATCH_OPERATIONS_MAX {
            return Err(StoreError::BatchTooLarge);
        }
        let mut drafts = Vec::with_capacity(self.names.len());
        for name in &self.names {
            require_space(name)?;
            drafts.push(Draft::new(name.clone(), exists(name)?));
        }
        let mut start = 0;
        for (index, operation) in &self.operations {
            let draft = &mut drafts[*index as usize];
            draft.require_fit(operation)?;
            match operation {
                Operation::Create | Operation::Drop => draft.restart(),
                Operation::Put(end, value) => draft.change(&self.keys[start..*end], Some(value))?,
                Operation::Delete(end) => draft.change(&self.keys[start..*end], None)?,
            }
            if let Operation::Put(end, _) | Operation::Delete(end) = operation {
                start = *end;
            }
        }
        let mut changes: Vec<_> = drafts.into_iter().filter_map(Draft::finish).collect();
        changes.sort_by_key(|changes| changes.path);
        Ok(changes)
    }
}

/// What happens to a space, before its keys change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Action {
    /// It is there, and stays.
    Keep = 0,
    /// It begins empty, whether or not it was there.
    Reset = 1,
    /// It goes, and no key of it changes.
    Drop = 2,
}

/// All changes to one space, as they are logged: sorted by path, each once.
#[derive(Clone, Debug)]
pub(crate) struct SpaceChanges<'a> {
    pub(crate) name: Bytes,
    pub(crate) path: KeyPath,
    pub(crate) action: Action,
    pub(crate) keys: Vec<KeyChange<'a>>,
}

/// A key's new value, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyChange<'a> {
    pub(crate) path: KeyPath,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// Whether a space is there, while operations are gone through.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence {
    existed: bool,
    exists: bool,
    reset: bool,
}

impl Presence {
    /// Of a space before the first operation.
    pub(crate) fn new(exists: bool) -> Self {
        Presence {
            existed: exists,
            exists,
            reset: false,
        }
    }

    pub(crate) fn exists(self) -> bool {
        self.exists
    }

    /// Whether nothing is left of what it held before.
    pub(crate) fn is_reset(self) -> bool {
        self.reset
    }

    /// Spaces that are made mustn't be there, all others must.
    pub(crate) fn require_fit(self, create: bool, name: &[u8]) -> Result<(), StoreError> {
        let name = || Bytes::copy_from_slice(name);
        match (self.exists, create) {
            (true, true) => Err(StoreError::SpaceExists(name())),
            (false, false) => Err(StoreError::NoSuchSpace(name())),
            (true, false) | (false, true) => Ok(()),
        }
    }

    /// It is made, or goes.
    pub(crate) fn restart(&mut self) {
        self.exists = !self.exists;
        self.reset = true;
    }

    /// What happens to it in all; none if it came and went.
    pub(crate) fn action(self) -> Option<Action> {
        match (self.reset, self.exists) {
            (false, _) => Some(Action::Keep),
            (true, true) => Some(Action::Reset),
            (true, false) => self.existed.then_some(Action::Drop),
        }
    }
}

pub(crate) fn require_space(name: &[u8]) -> Result<(), StoreError> {
    match name.len() > STORE_SPACE_BYTES_MAX {
        true => Err(StoreError::SpaceNameTooLong(name.len())),
        false => Ok(()),
    }
}

pub(crate) fn require_key(key: &[u8]) -> Result<(), StoreError> {
    match key.len() > STORE_KEY_BYTES_MAX {
        true => Err(StoreError::KeyTooLong(key.len())),
        false => Ok(()),
    }
}

pub(crate) fn require_value(value: &[u8]) -> Result<(), StoreError> {
    match value.len() > STORE_VALUE_BYTES_MAX {
        true => Err(StoreError::ValueTooLong(value.len())),
        false => Ok(()),
    }
}

/// A space while the operations are gone through.
struct Draft<'a> {
    name: Bytes,
    presence: Presence,
    keys: Vec<KeyChange<'a>>,
}

impl<'a> Draft<'a> {
    fn new(name: Bytes, exists: bool) -> Self {
        Draft {
            name,
            presence: Presence::new(exists),
            keys: Vec::new(),
        }
    }

    fn require_fit(&self, operation: &Operation) -> Result<(), StoreError> {
        let create = matches!(operation, Operation::Create);
        self.presence.require_fit(create, &self.name)
    }

    /// It is made, or goes.
    fn restart(&mut self) {
        self.presence.restart();
        self.keys.clear();
    }

    fn change(&mut self, key: &'a [u8], value: Option<&'a Bytes>) -> Result<(), StoreError> {
        require_key(key)?;
        value.map_or(Ok(()), |value| require_value(value))?;
        self.keys.push(KeyChange {
            path: KeyPath::of(key),
            key,
            value: value.map(|value| &value[..]),
        });
        Ok(())
    }

    /// None if nothing is left to do.
    fn finish(mut self) -> Option<SpaceChanges<'a>> {
        let action = self.presence.action()?;
        // Sorting is stable and later changes win: reversed, the last of each path is kept.
        self.keys.reverse();
        self.keys.sort_by_key(|change| change.path);
        self.keys.dedup_by_key(|change| change.path);
        Some(SpaceChanges {
            path: KeyPath::of(&self.name),
            name: self.name,
            action,
            keys: self.keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalise(batch: &Batch) -> Result<Vec<SpaceChanges<'_>>, StoreError> {
        batch.normalise(|name| Ok(name == b"there"))
    }

    #[test]
    fn of_several_operations_on_a_key_the_last_counts() {
        let mut batch = Batch::new();
        batch.put(b"there", b"k", "1");
        batch.delete(b"there", b"k");
        batch.put(b"there", b"k", "2");
        let changes = normalise(&batch).unwrap();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].action, Action::Keep);
        let values: Vec<_> = changes[0].keys.iter().map(|k| k.value).collect();
        assert_eq!(values, [Some(&b"2"[..])]);
    }

    #[test]
    fn spaces_are_created_and_dropped_in_order() {
        let mut batch = Batch::new();
        batch.put(b"there", b"gone", "1");
        batch.drop_space(b"there");
        batch.create_space(b"there");
        batch.put(b"there", b"kept", "1");
        batch.create_space(b"passing");
        batch.drop_space(b"passing");
        let changes = normalise(&batch).unwrap();
        assert_eq!(changes.len(), 1, "what comes and goes leaves no trace");
        assert_eq!(changes[0].action, Action::Reset);
        assert_eq!(changes[0].keys.len(), 1);
        assert_eq!(changes[0].keys[0].key, b"kept");
    }

    #[test]
    fn operations_that_dont_fit_the_spaces_are_refused() {
        let mut batch = Batch::new();
        batch.put(b"not there", b"k", "v");
        assert!(matches!(normalise(&batch), Err(StoreError::NoSuchSpace(s)) if s == "not there"));
        let mut batch = Batch::new();
        batch.create_space(b"there");
        assert!(matches!(normalise(&batch), Err(StoreError::SpaceExists(s)) if s == "there"));
        let mut batch = Batch::new();
        batch.drop_space(b"there");
        batch.delete(b"there", b"k");
        assert!(matches!(normalise(&batch), Err(StoreError::NoSuchSpace(_))));
    }

    #[test]
    fn limits_are_kept_and_named() {
        let with = |key: usize, value: usize| {
            let mut batch = Batch::new();
            batch.put(b"there", &vec![0; key], vec![0; value]);
            normalise(&batch).map(|_| ()).map_err(|e| e.to_string())
        };
        assert_eq!(with(STORE_KEY_BYTES_MAX, STORE_VALUE_BYTES_MAX), Ok(()));
        assert_eq!(with(0, 0), Ok(()));
        let error = with(STORE_KEY_BYTES_MAX + 1, 0).unwrap_err();
        assert_eq!(error, "a key has at most 4096 bytes, this one has 4097");
        let error = with(1, STORE_VALUE_BYTES_MAX + 1).unwrap_err();
        assert!(error.contains("at most 16777216 bytes"), "{error}");
        let mut batch = Batch::new();
        batch.create_space(&[b'x'; STORE_SPACE_BYTES_MAX + 1]);
        assert!(matches!(
            normalise(&batch),
            Err(StoreError::SpaceNameTooLong(256))
        ));
        // Sixty-five values of 16 MiB that share their bytes.
        let mut batch = Batch::new();
        let value = Bytes::from(vec![0; STORE_VALUE_BYTES_MAX]);
        for i in 0..65u8 {
            batch.put(b"there", &[i], value.clone());
        }
        assert!(matches!(normalise(&batch), Err(StoreError::BatchTooLarge)));
    }
}
