//! The one encoding: borsh, bounded and strict.

use std::fmt;
use std::io::{Read, Write};
use std::ops::Deref;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Bytes that are not the canonical encoding of what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {reason}")]
pub struct DecodeError {
    /// What the bytes should have been.
    pub what: &'static str,
    /// Why they are not.
    pub reason: String,
}

impl DecodeError {
    /// An error about `what`.
    pub fn new(what: &'static str, reason: impl Into<String>) -> Self {
        DecodeError {
            what,
            reason: reason.into(),
        }
    }
}

/// Decodes a whole value; trailing bytes are an error.
pub fn decode<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut rest = bytes;
    let value = decode_prefix(&mut rest)?;
    if !rest.is_empty() {
        let reason = format!("{} bytes too many", rest.len());
        return Err(DecodeError::new(short_name::<T>(), reason));
    }
    Ok(value)
}

/// Decodes a value at the front of `bytes` and moves past it.
pub fn decode_prefix<T: BorshDeserialize>(bytes: &mut &[u8]) -> Result<T, DecodeError> {
    T::deserialize(bytes).map_err(|e| DecodeError::new(short_name::<T>(), e.to_string()))
}

/// The canonical encoding of `value`.
pub fn encode<T: BorshSerialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    encode_into(value, &mut out);
    out
}

/// Writes the canonical encoding of `value` to a sink that can't fail (a vector, a hasher).
///
/// # Panics
/// If the sink fails, or a sequence is longer than 2³² − 1: neither can happen for the sinks and types of this crate.
pub fn encode_into<T: BorshSerialize + ?Sized>(value: &T, sink: &mut impl Write) {
    #[expect(
        clippy::expect_used,
        reason = "the sinks are infallible, the lengths bounded"
    )]
    value
        .serialize(sink)
        .expect("encoding into memory can't fail");
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let end = name.find('<').unwrap_or(name.len());
    let start = name[..end].rfind("::").map_or(0, |i| i + 2);
    &name[start..end]
}

fn invalid(reason: String) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, reason)
}

/// A vector of at most `MAX` elements. The bound is checked before anything is allocated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<T>", bound(deserialize = "T: Deserialize<'de>"))]
pub struct Bounded<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Bounded(Vec::new())
    }
}

impl<T, const MAX: usize> Bounded<T, MAX> {
    /// The vector.
    pub fn into_inner(self) -> Vec<T> {
        self.0
    }
}

/// A sequence over its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} elements where at most {max} may be")]
pub struct TooLong {
    /// How many there were.
    pub len: usize,
    /// How many there may be.
    pub max: usize,
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for Bounded<T, MAX> {
    type Error = TooLong;

    fn try_from(items: Vec<T>) -> Result<Self, TooLong> {
        if items.len() > MAX {
            return Err(TooLong {
                len: items.len(),
                max: MAX,
            });
        }
        Ok(Bounded(items))
    }
}

impl<T, const MAX: usize> Deref for Bounded<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a Bounded<T, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T, const MAX: usize> IntoIterator for Bounded<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: BorshSerialize, const MAX: usize> BorshSerialize for Bounded<T, MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        self.0.serialize(writer)
    }
}

impl<T: BorshDeserialize, const MAX: usize> BorshDeserialize for Bounded<T, MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let len = u32::deserialize_reader(reader)? as usize;
        if len > MAX {
            return Err(invalid(format!(
                "{len} elements where at most {MAX} may be"
            )));
        }
        // A length is only a claim until its elements have come: grow with them.
        let mut items = Vec::with_capacity(len.min(4096 / size_of::<T>().max(1)));
        for _ in 0..len {
            items.push(T::deserialize_reader(reader)?);
        }
        Ok(Bounded(items))
    }
}

/// Up to this length a [`Blob`] is allocated before its bytes have come, and exactly: nearly all keys and values are that
/// short, and decoding them is most of what reading a transaction costs.
const BLOB_BYTES_AT_ONCE: usize = 4096;

/// At most `MAX` bytes, cheap to clone. The bound is checked before anything is allocated.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob<const MAX: usize>(Bytes);

impl<const MAX: usize> Blob<MAX> {
    /// The bytes.
    pub fn into_inner(self) -> Bytes {
        self.0
    }

    /// The bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<Bytes> for Blob<MAX> {
    type Error = TooLong;

    fn try_from(bytes: Bytes) -> Result<Self, TooLong> {
        if bytes.len() > MAX {
            return Err(TooLong {
                len: bytes.len(),
                max: MAX,
            });
        }
        Ok(Blob(bytes))
    }
}

impl<const MAX: usize> TryFrom<Vec<u8>> for Blob<MAX> {
    type Error = TooLong;

    fn try_from(bytes: Vec<u8>) -> Result<Self, TooLong> {
        Bytes::from(bytes).try_into()
    }
}

impl<const MAX: usize> TryFrom<&[u8]> for Blob<MAX> {
    type Error = TooLong;

    fn try_from(bytes: &[u8]) -> Result<Self, TooLong> {
        Bytes::copy_from_slice(bytes).try_into()
    }
}

impl<const MAX: usize> Deref for Blob<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Blob<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> BorshSerialize for Blob<MAX> {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        BorshSerialize::serialize(&self.0[..], writer)
    }
}

impl<const MAX: usize> BorshDeserialize for Blob<MAX> {
    fn deserialize_reader<R: Read>(reader: &mut R) -> std::io::Result<Self> {
        let len = u32::deserialize_reader(reader)? as usize;
        if len > MAX {
            return Err(invalid(format!("{len} bytes where at most {MAX} may be")));
        }
        if len <= BLOB_BYTES_AT_ONCE {
            let mut bytes = vec![0; len];
            reader.read_exact(&mut bytes)?;
            return Ok(Blob(bytes.into()));
        }
        // A length is only a claim until the bytes have come: grow with them.
        let mut bytes = Vec::new();
        let read = Read::take(&mut *reader, len as u64).read_to_end(&mut bytes)?;
        if read != len {
            return Err(invalid(format!("{read} of {len} bytes")));
        }
        Ok(Blob(bytes.into()))
    }
}

/// For people: hexadecimal.
impl<const MAX: usize> Serialize for Blob<MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Blob<MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = <std::borrow::Cow<'de, str> as Deserialize>::deserialize(deserializer)?;
        if text.len() / 2 > MAX {
            let (len, max) = (text.len() / 2, MAX);
            return Err(D::Error::custom(TooLong { len, max }));
        }
        let bytes = hex::decode(&*text).map_err(D::Error::custom)?;
        Blob::try_from(bytes).map_err(D::Error::custom)
    }
}

/// Hexadecimal `Display`, `Debug`, `FromStr` and serde for a newtype over `[u8; N]`.
macro_rules! hex_format {
    ($type:ident, $len:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({}…)", stringify!($type), hex::encode(&self.0[..4]))
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::codec::DecodeError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|e| {
                    $crate::codec::DecodeError::new(
                        stringify!($type),
                        format!("{e} (expected {} hexadecimal digits)", 2 * $len),
                    )
                })?;
                Ok($type(bytes))
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(<D::Error as serde::de::Error>::custom)
            }
        }
    };
}
pub(crate) use hex_format;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_are_refused() {
        let error = decode::<u32>(&[1, 0, 0, 0, 9]).unwrap_err();
        assert_eq!(error.to_string(), "not a valid u32: 1 bytes too many");
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_its_elements_are_read() {
        assert!(decode::<Bounded<u64, 3>>(&encode(&vec![1u64, 2, 3])).is_ok());
        let error = decode::<Bounded<u64, 3>>(&u32::MAX.to_le_bytes()).unwrap_err();
        assert!(error.reason.contains("at most 3"), "{error}");
        let error = decode::<Blob<3>>(&u32::MAX.to_le_bytes()).unwrap_err();
        assert!(error.reason.contains("at most 3"), "{error}");
    }

    #[test]
    fn a_claimed_length_without_its_bytes_is_refused() {
        assert!(decode::<Blob<1_000_000_000>>(&999_999_999u32.to_le_bytes()).is_err());
        assert!(decode::<Bounded<u64, 1_000_000_000>>(&999_999_999u32.to_le_bytes()).is_err());
    }

    #[test]
    fn a_blob_of_any_length_is_read_whole_or_refused() {
        for len in [0, 1, BLOB_BYTES_AT_ONCE, BLOB_BYTES_AT_ONCE + 1] {
            let blob = Blob::<10_000>::try_from(vec![7; len]).unwrap();
            let bytes = encode(&blob);
            assert_eq!(decode::<Blob<10_000>>(&bytes).unwrap(), blob);
            assert!(len == 0 || decode::<Blob<10_000>>(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_blob_is_hexadecimal_to_people_and_bounded_there_too() {
        let blob = Blob::<3>::try_from(&[1u8, 0xab, 0][..]).unwrap();
        let json = serde_json::to_string(&blob).unwrap();
        assert_eq!(json, "\"01ab00\"");
        assert_eq!(serde_json::from_str::<Blob<3>>(&json).unwrap(), blob);
        for bad in ["\"01ab0000\"", "\"0\"", "\"zz\"", "[1]"] {
            assert!(serde_json::from_str::<Blob<3>>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn non_canonical_bools_and_options_are_refused() {
        assert!(decode::<bool>(&[2]).is_err());
        assert!(decode::<Option<u8>>(&[2, 0]).is_err());
    }
}
