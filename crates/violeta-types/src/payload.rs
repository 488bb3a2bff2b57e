//! What a vertex carries: items, bound by a Merkle root over the digests of their full encodings.
//!
//! ```text
//!  payload  = count: u32 ‖ item …
//!  item     = kind: u8 (0 client, 1 system) ‖ length: u32 ‖ bytes
//! ```
//!
//! (consensus.md §1.) Decoding shares the buffer: no item is copied.

use std::io::Write;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use crate::codec::DecodeError;
use crate::digest::{Digest, Domain};
use crate::limits::{
    CLIENT_ITEM_BYTES_MAX, PAYLOAD_BYTES_MAX, SYSTEM_ITEM_BYTES_MAX, SYSTEM_ITEMS_MAX,
    VERTEX_ITEMS_MAX,
};
use crate::merkle;

/// One thing that is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// From a client: to the Database machine, an encoded transaction.
    Client(Bytes),
    /// From a replica or machine on its own behalf.
    System(Bytes),
}

impl Item {
    /// The content, without kind and length.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Item::Client(bytes) | Item::System(bytes) => bytes,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Item::Client(_) => 0,
            Item::System(_) => 1,
        }
    }

    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        5 + self.bytes().len()
    }

    /// The digest of the full encoding.
    pub fn digest(&self) -> Digest {
        let bytes = self.bytes();
        let mut head = [0; 5];
        head[0] = self.kind();
        head[1..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        Domain::Item.hash_parts(&[&head, bytes])
    }
}

/// What a header says of its payload.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct PayloadCommitment {
    /// Merkle root over the items' digests.
    pub root: Digest,
    /// Number of items.
    pub count: u32,
    /// Bytes of the encoded payload.
    pub bytes: u32,
}

/// The items of a vertex, within the limits of consensus.md V6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    items: Vec<Item>,
}

impl Payload {
    /// A payload of `items`.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn new(items: Vec<Item>) -> Result<Self, DecodeError> {
        let payload = Payload { items };
        payload.check_limits()?;
        Ok(payload)
    }

    /// The items, in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The items, in order.
    pub fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        4 + self.items.iter().map(Item::encoded_len).sum::<usize>()
    }

    /// What a header must say of this payload.
    pub fn commitment(&self) -> PayloadCommitment {
        PayloadCommitment {
            root: merkle::PAYLOAD.root(self.items.iter().map(Item::digest)),
            count: self.items.len() as u32,
            bytes: self.encoded_len() as u32,
        }
    }

    fn check_limits(&self) -> Result<(), DecodeError> {
        let fail = |reason: String| Err(DecodeError::new("payload", reason));
        if self.items.len() > VERTEX_ITEMS_MAX {
            return fail(format!(
                "{} items, at most {VERTEX_ITEMS_MAX}",
                self.items.len()
            ));
        }
        let is_system = |item: &&Item| matches!(item, Item::System(_));
        let systems = self.items.iter().filter(is_system).count();
        if systems > SYSTEM_ITEMS_MAX {
            return fail(format!(
                "{systems} system items, at most {SYSTEM_ITEMS_MAX}"
            ));
        }
        for item in &self.items {
            let max = match item {
                Item::Client(_) => CLIENT_ITEM_BYTES_MAX,
                Item::System(_) => SYSTEM_ITEM_BYTES_MAX,
            };
            if item.bytes().len() > max {
                return fail(format!(
                    "item of {} bytes, at most {max}",
                    item.bytes().len()
                ));
            }
        }
        if self.encoded_len() > PAYLOAD_BYTES_MAX {
            return fail(format!(
                "{} bytes, at most {PAYLOAD_BYTES_MAX}",
                self.encoded_len()
            ));
        }
        Ok(())
    }

    /// Decodes a whole payload, sharing `bytes`.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of a payload within the limits.
    pub fn decode(mut bytes: Bytes) -> Result<Self, DecodeError> {
        let fail = |reason: &str| DecodeError::new("payload", reason);
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(fail("too long"));
        }
        if bytes.len() < 4 {
            return Err(fail("cut short"));
        }
        let count = bytes.get_u32_le() as usize;
        // Each item takes five bytes at least, so a count beyond that is a lie: nothing is allocated for it.
        if count > bytes.len() / 5 || count > VERTEX_ITEMS_MAX {
            return Err(fail("more items than bytes or limits allow"));
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            if bytes.len() < 5 {
                return Err(fail("cut short"));
            }
            let kind = bytes.get_u8();
            let len = bytes.get_u32_le() as usize;
            if len > bytes.len() {
                return Err(fail("item cut short"));
            }
            let content = bytes.split_to(len);
            items.push(match kind {
                0 => Item::Client(content),
                1 => Item::System(content),
                _ => return Err(fail("unknown kind of item")),
            });
        }
        if !bytes.is_empty() {
            return Err(fail("trailing bytes"));
        }
        Payload::new(items)
    }
}

impl BorshSerialize for Payload {
    fn serialize<W: Write>(&self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(&(self.items.len() as u32).to_le_bytes())?;
        for item in &self.items {
            writer.write_all(&[item.kind()])?;
            writer.write_all(&(item.bytes().len() as u32).to_le_bytes())?;
            writer.write_all(item.bytes())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn item() -> impl Strategy<Value = Item> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
        (any::<bool>(), bytes).prop_map(|(client, bytes)| match client {
            true => Item::Client(bytes),
            false => Item::System(bytes),
        })
    }

    proptest! {
        #[test]
        fn round_trip(items in proptest::collection::vec(item(), 0..20)) {
            let payload = Payload::new(items).unwrap();
            let bytes = crate::encode(&payload);
            prop_assert_eq!(bytes.len(), payload.encoded_len());
            prop_assert_eq!(Payload::decode(bytes.into()).unwrap(), payload);
        }

        #[test]
        fn whatever_decodes_is_canonical(bytes in proptest::collection::vec(0u8..4, 0..60)) {
            if let Ok(payload) = Payload::decode(bytes.clone().into()) {
                prop_assert_eq!(crate::encode(&payload), bytes);
            }
        }
    }

    #[test]
    fn limits_hold() {
        let big = Item::Client(vec![0; CLIENT_ITEM_BYTES_MAX + 1].into());
        assert!(Payload::new(vec![big]).is_err());
        let system = Item::System(Bytes::new());
        assert!(Payload::new(vec![system.clone(); SYSTEM_ITEMS_MAX]).is_ok());
        assert!(Payload::new(vec![system; SYSTEM_ITEMS_MAX + 1]).is_err());
        let small = Item::Client(Bytes::new());
        assert!(Payload::new(vec![small; VERTEX_ITEMS_MAX + 1]).is_err());
        assert!(Payload::decode(Bytes::from_static(&[255, 255, 255, 255, 0, 0])).is_err());
    }
}
