//! Frozen records: deltas and bases of pages, in the page files.
//!
//! ```text
//!  chain of a page    base 0 ◀── delta ◀── delta ◀── base 1 ◀── delta ◀── base 2 ◀── delta   ◀─ directory
//!                        ▲                              │ below    │
//!                        └──────────────────────────────┴──────────┘ skip: of base n to base n − lowbit(n)
//!
//!  delta   3 │ page │ depth u8 │ first │ span │ prev u64 │ base u64 │ records │ items │ item …
//!                                                       the base that it builds on (0: none, only deltas), and how
//!                                                       many records and items there are since, with these
//!  base    4 │ page │ depth u8 │ first │ span │ prev u64 │ number │ below u64 │ skip u64 │ skip seq │ item …
//! ```
//!
//! Numbers without a size are varints. `first` is the version of the first item, `span` how much later the last is. A
//! base's items make all of the page as of its last version; those of a delta what happened since. `prev` is the record
//! before of the same page, `below` the base before, 0 for none. A crc32 follows every record, and is part of its length.

use super::item::Items;
use super::{PageId, Seq};
use crate::tree::{At, take};
use crate::varint::{put_varint, take_varint};

const DELTA: u8 = 3;
const BASE: u8 = 4;

/// What a record says of itself and of others of its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) page: PageId,
    pub(super) depth: usize,
    /// Versions of the first and the last item.
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// The record before.
    pub(super) prev: Option<At>,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Delta(Since),
    Base(Base),
}

/// How far a record is from the base that it builds on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Since {
    /// None: the page begins with a delta.
    pub(super) base: Option<At>,
    /// Records since, and their items.
    pub(super) records: u32,
    pub(super) items: u32,
}

/// What a base knows of bases before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// How many there are before it.
    pub(super) number: u32,
    pub(super) below: Option<At>,
    /// One further down, and its last version.
    pub(super) skip: Option<(At, Seq)>,
}

impl Base {
    /// The number of the base that base `number` skips to.
    pub(super) fn skip_of(number: u32) -> u32 {
        number & number.saturating_sub(1)
    }
}

impl Header {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.first <= self.last, "items come by rising version");
        out.push(match self.kind {
            Kind::Delta(_) => DELTA,
            Kind::Base(_) => BASE,
        });
        put_varint(self.page.number().into(), out);
        out.push(self.depth as u8);
        put_varint(self.first.0, out);
        put_varint(self.last.0 - self.first.0, out);
        put_at(self.prev, out);
        match self.kind {
            Kind::Delta(since) => {
                put_at(since.base, out);
                put_varint(since.records.into(), out);
                put_varint(since.items.into(), out);
            }
            Kind::Base(base) => {
                put_varint(base.number.into(), out);
                put_at(base.below, out);
                put_at(base.skip.map(|(at, _)| at), out);
                put_varint(base.skip.map_or(0, |(_, seq)| seq.0), out);
            }
        }
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let [kind] = take(bytes)?;
        let page = PageId::new(take_u32(bytes)?)?;
        let [depth] = take(bytes)?;
        let first = take_varint(bytes)?;
        let last = first.checked_add(take_varint(bytes)?)?;
        let prev = take_at(bytes)?;
        let kind = match kind {
            DELTA => Kind::Delta(Since {
                base: take_at(bytes)?,
                records: take_u32(bytes)?,
                items: take_u32(bytes)?,
            }),
            BASE => {
                let (number, below) = (take_u32(bytes)?, take_at(bytes)?);
                let (skip, seq) = (take_at(bytes)?, Seq(take_varint(bytes)?));
                Kind::Base(Base {
                    number,
                    below,
                    skip: skip.map(|at| (at, seq)),
                })
            }
            _ => return None,
        };
        (depth < 64 && depth % 2 == 0).then_some(Header {
            page,
            depth: depth.into(),
            first: Seq(first),
            last: Seq(last),
            prev,
            kind,
        })
    }
}

fn put_at(at: Option<At>, out: &mut Vec<u8>) {
    out.extend_from_slice(&at.map_or(0, |at| at.0).to_le_bytes());
}

fn take_at(bytes: &mut &[u8]) -> Option<Option<At>> {
    Some(At::from_word(u64::from_le_bytes(take(bytes)?)))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take_varint(bytes)?).ok()
}

/// A record as it was read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: At,
    pub(super) header: Header,
    bytes: Vec<u8>,
    /// Where the items begin.
    items: usize,
}

impl Record {
    /// The record whose bytes, found at `at`, these are; none if they aren't one.
    pub(super) fn decode(at: At, bytes: Vec<u8>) -> Option<Self> {
        let rest = &mut &bytes[..];
        let header = Header::decode(rest)?;
        let items = bytes.len() - rest.len();
        // The chain leads back in the files: whoever follows it gets to its end.
        let back = |to: Option<At>| to.is_none_or(|to| to.offset() < at.offset());
        let links = match header.kind {
            Kind::Delta(since) => [since.base, None],
            Kind::Base(base) => [base.below, base.skip.map(|(at, _)| at)],
        };
        (back(header.prev) && links.into_iter().all(back)).then_some(Record {
            at,
            header,
            bytes,
            items,
        })
    }

    pub(super) fn items(&self) -> Items<'_> {
        Items::new(&self.bytes[self.items..], self.header.first)
    }

    /// How far the next delta is from its base, before it adds itself.
    pub(super) fn since(&self) -> Since {
        match self.header.kind {
            Kind::Delta(since) => since,
            Kind::Base(_) => Since {
                base: Some(self.at),
                ..Since::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> At {
        At::new(offset, 9)
    }

    fn headers() -> [Header; 3] {
        let header = Header {
            page: PageId::new(700).unwrap(),
            depth: 4,
            first: Seq(1 << 33),
            last: Seq((1 << 33) + 5),
            prev: Some(at(20)),
            kind: Kind::Delta(Since {
                base: Some(at(10)),
                records: 2,
                items: 300,
            }),
        };
        let base = |skip| Base {
            number: 3,
            below: Some(at(10)),
            skip,
        };
        [
            header,
            Header {
                kind: Kind::Base(base(Some((at(5), Seq(7))))),
                ..header
            },
            Header {
                prev: None,
                kind: Kind::Base(base(None)),
                ..header
            },
        ]
    }

    #[test]
    fn headers_read_as_they_were_written_and_no_shorter() {
        for header in headers() {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            let record = Record::decode(at(99), bytes.clone()).unwrap();
            assert_eq!(record.header, header);
            assert_eq!(record.items().count(), 0);
            for len in 0..bytes.len() {
                assert!(Record::decode(at(99), bytes[..len].to_vec()).is_none());
            }
        }
    }

    #[test]
    fn a_chain_that_leads_forward_is_refused() {
        for header in &headers()[..2] {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            assert!(Record::decode(at(20), bytes.clone()).is_none(), "to itself");
            assert!(Record::decode(at(21), bytes).is_some());
        }
    }

    #[test]
    fn bases_skip_to_the_one_without_their_lowest_bit() {
        let to: Vec<_> = (0..10).map(Base::skip_of).collect();
        assert_eq!(to, [0, 0, 0, 2, 0, 4, 4, 6, 0, 8]);
    }
}
