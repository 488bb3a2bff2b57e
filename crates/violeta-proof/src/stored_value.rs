//! What the store holds under a key of any space of the Database machine (replica.md §1).
//!
//! ```text
//!   written_at: u64 LE ‖ value
//! ```
//!
//! So the height at which a value was written is under the root like the value itself: authenticated, proved, and the
//! same after a snapshot.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use violeta_types::transaction::Value;
use violeta_types::{DecodeError, Height};

/// What the store holds under a key: the height at which it was written, then the value.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredValue {
    /// The block that wrote it; 0 for what genesis wrote.
    pub written_at: Height,
    /// The value.
    pub value: Value,
}

impl StoredValue {
    /// Bytes before the value.
    pub const HEADER_BYTES: usize = 8;

    /// The bytes in the store.
    pub fn to_stored(&self) -> Bytes {
        Self::stored(self.written_at, &self.value)
    }

    /// The bytes in the store of a value written at a height.
    pub fn stored(written_at: Height, value: &[u8]) -> Bytes {
        let mut bytes = Vec::with_capacity(Self::HEADER_BYTES + value.len());
        bytes.extend_from_slice(&written_at.0.to_le_bytes());
        bytes.extend_from_slice(value);
        bytes.into()
    }

    /// The value that these bytes in the store hold; shares them.
    ///
    /// # Errors
    /// If they are too short or too long to have been written by the Database machine.
    pub fn from_stored(bytes: &Bytes) -> Result<Self, DecodeError> {
        let fail = |reason: String| DecodeError::new("stored value", reason);
        let Some((height, _)) = bytes.split_first_chunk::<8>() else {
            return Err(fail(format!("{} bytes, at least 8", bytes.len())));
        };
        Ok(StoredValue {
            written_at: Height(u64::from_le_bytes(*height)),
            value: Value::try_from(bytes.slice(Self::HEADER_BYTES..))
                .map_err(|e| fail(e.to_string()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::limits::VALUE_BYTES_MAX;

    #[test]
    fn the_height_comes_first_little_endian() {
        let stored = StoredValue::stored(Height(0x0102), b"pear");
        assert_eq!(&stored[..], b"\x02\x01\0\0\0\0\0\0pear");
        let value = StoredValue::from_stored(&stored).unwrap();
        assert_eq!(value.written_at, Height(0x0102));
        assert_eq!(&value.value[..], b"pear");
        assert_eq!(value.to_stored(), stored);
    }

    #[test]
    fn bytes_that_are_too_short_or_too_long_are_refused() {
        for len in 0..8 {
            assert!(StoredValue::from_stored(&vec![0; len].into()).is_err());
        }
        assert!(StoredValue::from_stored(&vec![0; 8].into()).is_ok());
        let most = 8 + VALUE_BYTES_MAX;
        assert!(StoredValue::from_stored(&vec![0; most].into()).is_ok());
        assert!(StoredValue::from_stored(&vec![0; most + 1].into()).is_err());
    }
}
