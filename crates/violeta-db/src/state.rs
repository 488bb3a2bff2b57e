//! What execution reads from and writes to, without knowing the store.

use bytes::Bytes;

use crate::error::DbError;

/// The state before a block.
pub trait State {
    /// What a space holds under a key: *(height written ‖ value)*. None if there is no such key or space.
    ///
    /// # Errors
    /// If the store can't say.
    fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, DbError>;
}

/// Takes a block's changes, in the order in which they are to be applied.
pub trait ChangeSink {
    /// Makes a space.
    fn create_space(&mut self, space: &[u8]);
    /// Drops a space with all it holds.
    fn drop_space(&mut self, space: &[u8]);
    /// Sets a key.
    fn put(&mut self, space: &[u8], key: &[u8], value: Bytes);
    /// Takes a key away; without effect if there is none.
    fn delete(&mut self, space: &[u8], key: &[u8]);
}

#[cfg(test)]
pub(crate) mod map {
    //! The state as a plain map: what tests compare with.

    use std::collections::BTreeMap;

    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub(crate) struct MapState(pub(crate) BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Bytes>>);

    impl State for MapState {
        fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, DbError> {
            Ok(self.0.get(space).and_then(|s| s.get(key)).cloned())
        }
    }

    impl ChangeSink for MapState {
        fn create_space(&mut self, space: &[u8]) {
            let before = self.0.insert(space.to_vec(), BTreeMap::new());
            assert!(before.is_none(), "the space exists");
        }

        fn drop_space(&mut self, space: &[u8]) {
            assert!(self.0.remove(space).is_some(), "no such space");
        }

        fn put(&mut self, space: &[u8], key: &[u8], value: Bytes) {
            let space = self.0.get_mut(space).expect("no such space");
            space.insert(key.to_vec(), value);
        }

        fn delete(&mut self, space: &[u8], key: &[u8]) {
            self.0.get_mut(space).expect("no such space").remove(key);
        }
    }
}
