//! Items: what happens to a page.
//!
//! ```text
//!  item   head u8 │ …                        head: kind in the low 3 bits, a number in the others; 31: it follows, varint
//!
//!  0 leaf put        path 32 │ digest 32 │ position │ length
//!  1 leaf changed    nibbles: how many │ digest 32 │ position │ length
//!  2 leaf removed    nibbles: how many
//!  3 child put       slot u8 │ digest 32 │ page         whatever was below that slot is gone
//!  4 child changed   slot u8 │ digest 32
//!  5 child removed   slot u8
//!  6 advance         the versions of what follows are so much higher
//! ```
//!
//! Numbers without a size are varints (seven bits a byte, the lowest first). Nibbles are those of a path from the page's
//! depth on, so many as tell the leaf from all others that were there before this version, and are packed two to a
//! byte. A child's slot is the two nibbles of the way to it.

use violeta_proof::tree::KeyPath;
use violeta_types::Digest;

use super::{PageId, Seq};
use crate::tree::{Entry, take};
use crate::varint::{put_varint, take_varint};

/// The beginning of a path, from a page's depth on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Nibbles {
    /// Zeros after the nibbles.
    pub(super) bytes: [u8; 32],
    pub(super) count: usize,
}

impl Nibbles {
    /// Of `path`, what lies between two depths, the first of which is even.
    pub(super) fn of(path: &KeyPath, from: usize, to: usize) -> Self {
        assert!(
            from.is_multiple_of(2) && from <= to,
            "pages have even depths"
        );
        Nibbles::new(relative(path, from), to - from)
    }

    fn new(mut bytes: [u8; 32], count: usize) -> Self {
        let whole = count / 2;
        if !count.is_multiple_of(2) {
            bytes[whole] &= 0xf0;
        }
        bytes[count.div_ceil(2)..].fill(0);
        Nibbles { bytes, count }
    }

    /// Whether a relative path begins with these.
    pub(super) fn begin(&self, path: &[u8; 32]) -> bool {
        Nibbles::new(*path, self.count).bytes == self.bytes
    }
}

/// A path without its first nibbles, of which there is an even number; zeros follow.
pub(super) fn relative(path: &KeyPath, depth: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    let rest = &path.0[(depth / 2).min(32)..];
    bytes[..rest.len()].copy_from_slice(rest);
    bytes
}

/// Something that happens to a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    LeafPut(Digest, Entry),
    LeafChanged(Nibbles, Digest, u64, u32),
    LeafRemoved(Nibbles),
    ChildPut(u8, Digest, PageId),
    ChildChanged(u8, Digest),
    ChildRemoved(u8),
}

const LEAF_PUT: u8 = 0;
const LEAF_CHANGED: u8 = 1;
const LEAF_REMOVED: u8 = 2;
const CHILD_PUT: u8 = 3;
const CHILD_CHANGED: u8 = 4;
const CHILD_REMOVED: u8 = 5;
const ADVANCE: u8 = 6;

/// A number in the head that says that the number follows.
const FOLLOWS: u64 = 31;

impl Item {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Item::LeafPut(digest, entry) => {
                out.push(LEAF_PUT);
                out.extend_from_slice(&entry.path.0);
                put_place(digest, entry.position, entry.len, out);
            }
            Item::LeafChanged(nibbles, digest, position, len) => {
                put_nibbles(LEAF_CHANGED, nibbles, out);
                put_place(digest, *position, *len, out);
            }
            Item::LeafRemoved(nibbles) => put_nibbles(LEAF_REMOVED, nibbles, out),
            Item::ChildPut(slot, digest, page) => {
                out.extend_from_slice(&[CHILD_PUT, *slot]);
                out.extend_from_slice(&digest.0);
                put_varint(page.number().into(), out);
            }
            Item::ChildChanged(slot, digest) => {
                out.extend_from_slice(&[CHILD_CHANGED, *slot]);
                out.extend_from_slice(&digest.0);
            }
            Item::ChildRemoved(slot) => out.extend_from_slice(&[CHILD_REMOVED, *slot]),
        }
    }
}

fn put_place(digest: &Digest, position: u64, len: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&digest.0);
    put_varint(position, out);
    put_varint(len.into(), out);
}

fn put_nibbles(kind: u8, nibbles: &Nibbles, out: &mut Vec<u8>) {
    put_head(kind, nibbles.count as u64, out);
    out.extend_from_slice(&nibbles.bytes[..nibbles.count.div_ceil(2)]);
}

fn put_head(kind: u8, number: u64, out: &mut Vec<u8>) {
    out.push(kind | (number.min(FOLLOWS) as u8) << 3);
    if number >= FOLLOWS {
        put_varint(number, out);
    }
}

/// Says that what follows happened so many versions later.
pub(super) fn put_advance(versions: u64, out: &mut Vec<u8>) {
    put_head(ADVANCE, versions, out);
}

/// Reads items one after the other, each with its version.
#[derive(Clone, Debug)]
pub(super) struct Items<'a> {
    bytes: &'a [u8],
    seq: Seq,
}

impl<'a> Items<'a> {
    /// Of `bytes`, the first of which happened at `first`.
    pub(super) fn new(bytes: &'a [u8], first: Seq) -> Self {
        Items { bytes, seq: first }
    }

    /// Bytes of the items that weren't read yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self) -> Option<(Seq, Item)> {
        let bytes = &mut self.bytes;
        loop {
            let [head] = take(bytes)?;
            let number = match u64::from(head >> 3) {
                FOLLOWS => take_varint(bytes)?,
                number => number,
            };
            let item = match head & 7 {
                LEAF_PUT => {
                    let path = KeyPath(take(bytes)?);
                    let (digest, position, len) = take_place(bytes)?;
                    let entry = Entry {
                        path,
                        position,
                        len,
                    };
                    Item::LeafPut(digest, entry)
                }
                LEAF_CHANGED => {
                    let nibbles = take_nibbles(number, bytes)?;
                    let (digest, position, len) = take_place(bytes)?;
                    Item::LeafChanged(nibbles, digest, position, len)
                }
                LEAF_REMOVED => Item::LeafRemoved(take_nibbles(number, bytes)?),
                CHILD_PUT => {
                    let ([slot], digest) = (take(bytes)?, Digest(take(bytes)?));
                    let page = u32::try_from(take_varint(bytes)?).ok()?;
                    Item::ChildPut(slot, digest, PageId::new(page)?)
                }
                CHILD_CHANGED => Item::ChildChanged(take::<1>(bytes)?[0], Digest(take(bytes)?)),
                CHILD_REMOVED => Item::ChildRemoved(take::<1>(bytes)?[0]),
                ADVANCE => {
                    self.seq = Seq(self.seq.0.checked_add(number)?);
                    continue;
                }
                _ => return None,
            };
            return Some((self.seq, item));
        }
    }
}

/// An item, or none where the bytes aren't one: what follows is lost then.
impl Iterator for Items<'_> {
    type Item = Option<(Seq, Item)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let item = self.take();
        if item.is_none() {
            self.bytes = &[];
        }
        Some(item)
    }
}

fn take_place(bytes: &mut &[u8]) -> Option<(Digest, u64, u32)> {
    let digest = Digest(take(bytes)?);
    let position = take_varint(bytes)?;
    let len = u32::try_from(take_varint(bytes)?).ok()?;
    Some((digest, position, len))
}

fn take_nibbles(count: u64, bytes: &mut &[u8]) -> Option<Nibbles> {
    let count = usize::try_from(count).ok().filter(|count| *count <= 64)?;
    let (given, rest) = bytes.split_at_checked(count.div_ceil(2))?;
    *bytes = rest;
    let mut all = [0; 32];
    all[..given.len()].copy_from_slice(given);
    let nibbles = Nibbles::new(all, count);
    (nibbles.bytes == all).then_some(nibbles)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest)
    }

    fn entry() -> impl Strategy<Value = Entry> {
        (any::<[u8; 32]>(), any::<u64>(), any::<u32>()).prop_map(|(path, position, len)| Entry {
            path: KeyPath(path),
            position,
            len,
        })
    }

    fn nibbles() -> impl Strategy<Value = Nibbles> {
        (any::<[u8; 32]>(), 0usize..=64).prop_map(|(bytes, count)| Nibbles::new(bytes, count))
    }

    pub(in super::super) fn item() -> impl Strategy<Value = Item> {
        let page = (1..u32::MAX).prop_map(|n| PageId::new(n).unwrap());
        prop_oneof![
            (digest(), entry()).prop_map(|(d, e)| Item::LeafPut(d, e)),
            (nibbles(), digest(), any::<u64>(), any::<u32>())
                .prop_map(|(n, d, p, l)| Item::LeafChanged(n, d, p, l)),
            nibbles().prop_map(Item::LeafRemoved),
            (any::<u8>(), digest(), page).prop_map(|(s, d, p)| Item::ChildPut(s, d, p)),
            (any::<u8>(), digest()).prop_map(|(s, d)| Item::ChildChanged(s, d)),
            any::<u8>().prop_map(Item::ChildRemoved),
        ]
    }

    proptest! {
        #[test]
        fn items_read_as_they_were_written(
            items in proptest::collection::vec((0u64..1_000, item()), 0..20), first in 0u64..1 << 40,
        ) {
            let (mut bytes, mut seq, mut expected) = (Vec::new(), first, Vec::new());
            for (advance, item) in items {
                if advance > 0 {
                    put_advance(advance, &mut bytes);
                    seq += advance;
                }
                item.encode(&mut bytes);
                expected.push((Seq(seq), item));
            }
            let read: Option<Vec<_>> = Items::new(&bytes, Seq(first)).collect();
            prop_assert_eq!(read, Some(expected));
        }

        #[test]
        fn bytes_of_any_kind_are_read_or_refused(bytes: Vec<u8>) {
            // As many items as bytes at most: it ends.
            prop_assert!(Items::new(&bytes, Seq(u64::MAX - 9)).count() <= bytes.len());
        }
    }

    #[test]
    fn an_update_of_a_leaf_takes_a_few_bytes_more_than_its_digest() {
        let nibbles = Nibbles::of(&KeyPath([0xab; 32]), 4, 5);
        assert_eq!((nibbles.bytes[0], nibbles.count), (0xa0, 1));
        let mut bytes = Vec::new();
        Item::LeafChanged(nibbles, Digest([1; 32]), 1 << 30, 150).encode(&mut bytes);
        assert_eq!(bytes.len(), 1 + 1 + 32 + 5 + 2);
    }

    #[test]
    fn nibbles_tell_paths_apart() {
        let nibbles = Nibbles::of(&KeyPath([0xab; 32]), 2, 5);
        let path = |first: u8, second: u8| {
            let mut path = [7; 32];
            path[..2].copy_from_slice(&[first, second]);
            path
        };
        assert!(nibbles.begin(&path(0xab, 0xac)));
        assert!(!nibbles.begin(&path(0xab, 0xbc)));
        assert!(!nibbles.begin(&path(0xaa, 0xac)));
    }
}
