//! How items get from the tail into the files.
//!
//! ```text
//!  groups of a page in the older generation      records
//!
//!  seq 50 │ 51 │ 53 │ … │ 90                     delta 50…70 │ base 70 │ delta 71…90
//! ```
//!
//! A page is frozen as a whole: all that the older generation has of it. Items become deltas, each of which is as large
//! as it may be; where too much has come together since the last base, there is one more, between two versions. The first
//! record of a page is a base, unless that is too large for a record: then the page begins with deltas. What a single
//! version makes of a page that has more to do than to be is a base too. No history is lost by that: nobody asks for the
//! middle of a version.
//!
//! What a base holds is taken from memory where it is there: of a page to which nothing happened since the older
//! generation. Else it is read, as anybody would.

use super::content::{Content, Listed};
use super::directory::Pages;
use super::item::{Items, put_advance};
use super::record::{Base, Header, Kind, Since};
use super::tail::{Group, TailWriter};
use super::{PageId, Seq};
use crate::error::StoreError;
use crate::limits::{
    CHAIN_ITEMS_MAX, CHAIN_RECORDS_MAX, DELTA_BYTES_MAX, DELTA_ITEMS_MAX, PAGE_ITEMS_MAX,
};
use crate::nodes::Nodes;
use crate::tree::{At, Link, NODE_RECORD_BYTES_MAX, NodeSink};

/// Freezes pages of the older generation until about `bytes` of records have come together. Returns them, and what is
/// to be done once readers find them: [`Frozen::publish`].
///
/// # Errors
/// If records can't be read that others build on. Nothing has changed then.
pub(crate) fn freeze(
    nodes: &Nodes,
    tail: &TailWriter,
    pages: &Pages,
    mut sink: NodeSink,
    bytes: usize,
) -> Result<(Frozen, NodeSink), StoreError> {
    let mut frozen = Frozen(Vec::new());
    let pieces = nodes.tail.pieces();
    for page in pages.old.iter().rev() {
        if sink.len() >= bytes {
            break;
        }
        let head = nodes.directory.head(*page);
        let newest = match head < tail.young() {
            true => pieces.groups(head).next().map(|group| group.seq),
            false => None,
        };
        let groups = pieces.groups_below(head, tail.young());
        // A delete of what isn't there gives a page nothing but a new version.
        let mut groups: Vec<_> = groups.filter(|group| group.count > 0).collect();
        groups.reverse();
        let before = nodes.directory.frozen(*page);
        let since = match (pages.since(*page), before) {
            (Some(since), _) => since,
            (None, Some(at)) => nodes.record(*page, at)?.since(),
            (None, None) => Since::default(),
        };
        let mut page = Page {
            nodes,
            page: *page,
            depth: groups.first().map_or(0, |group| group.depth),
            count: nodes.directory.count(*page),
            newest: newest.unwrap_or_default(),
            prev: before,
            since,
            bases: Vec::new(),
            content: None,
            pending: Pending::default(),
            sink: &mut sink,
        };
        page.freeze(&groups)?;
        frozen.0.push((page.page, page.prev, page.since));
    }
    Ok((frozen, sink))
}

/// Pages whose records are made.
#[derive(Debug)]
pub(crate) struct Frozen(Vec<(PageId, Option<At>, Since)>);

impl Frozen {
    /// Leads readers to the records.
    pub(crate) fn publish(self, nodes: &Nodes, pages: &mut Pages) {
        for (page, at, since) in self.0 {
            if let Some(at) = at {
                nodes.directory.set_frozen(page, at);
            }
            pages.froze(page, since);
            let done = pages.old.pop();
            assert_eq!(done, Some(page), "frozen in this order");
        }
    }
}

/// Items that aren't in a record yet.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    count: u32,
    first: Seq,
    last: Seq,
}

/// A page while it is being frozen.
struct Page<'a> {
    nodes: &'a Nodes,
    page: PageId,
    depth: usize,
    /// How many items the page has now, if that is known.
    count: Option<u32>,
    /// The version of the newest item, if it is in this generation; else none that there is.
    newest: Seq,
    /// The newest record.
    prev: Option<At>,
    since: Since,
    /// Bases that were made just now.
    bases: Vec<(At, Header)>,
    /// What the page holds, once one had to look.
    content: Option<Content>,
    pending: Pending,
    sink: &'a mut NodeSink,
}

impl Page<'_> {
    fn freeze(&mut self, groups: &[Group<'_>]) -> Result<(), StoreError> {
        let versions = groups.chunk_by(|a, b| a.seq == b.seq);
        for version in versions {
            let seq = version[0].seq;
            let items: u32 = version.iter().map(|group| group.count).sum();
            let large = items as usize > PAGE_ITEMS_MAX || self.prev.is_none();
            if large && self.flush() && self.base(seq, version)? {
                continue;
            }
            for group in version {
                self.add(group);
                if let Some(content) = &mut self.content {
                    let applied = content.apply_all(Items::new(group.items, group.seq));
                    self.content = self.content.take().filter(|_| applied.is_some());
                }
            }
            // At the end a base costs less: put up with more before.
            if self.items_over(4) {
                self.flush();
                self.base(seq, &[])?;
            }
        }
        self.flush();
        let long = self.since.records > CHAIN_RECORDS_MAX || self.items_over(1);
        if let (true, Some(last)) = (long, groups.last()) {
            self.base(last.seq, &[])?;
        }
        Ok(())
    }

    /// Whether there are so many times too many items since the last base.
    fn items_over(&self, times: usize) -> bool {
        let count = self.count.unwrap_or(PAGE_ITEMS_MAX as u32) as usize;
        let items = (self.since.items + self.pending.count) as usize;
        items > times * CHAIN_ITEMS_MAX.max(2 * count)
    }

    /// What the page holds at `seq`, if that is what is in memory.
    fn resident(&self, seq: Seq) -> Option<Listed> {
        (seq == self.newest).then_some(())?;
        let seat = self.nodes.directory.seat(self.page);
        let page = Some(self.page);
        // A delete of what isn't there gives a page a new version: then its first node isn't found.
        let listed = Listed::resident(&self.nodes.arena, &Link { seq, seat, page });
        debug_assert!(
            listed
                .as_ref()
                .is_none_or(|listed| self.is_right(listed, seq)),
            "another page's nodes sit where page {} says that its own do",
            self.page.number()
        );
        listed
    }

    /// Whether that is what the page's items make at `seq`, if these can be read.
    fn is_right(&self, listed: &Listed, seq: Seq) -> bool {
        let content = self.nodes.content(self.page, self.depth, seq);
        content.map_or(true, |content| content.list().is_as(listed))
    }

    /// Takes the items of a group.
    fn add(&mut self, group: &Group<'_>) {
        let fits = |count: u32, bytes: usize| {
            (count + group.count) as usize <= DELTA_ITEMS_MAX
                && bytes + group.items.len() <= DELTA_BYTES_MAX
        };
        if fits(0, 0) {
            if !fits(self.pending.count, self.pending.bytes.len()) {
                self.flush();
            }
            self.push(group.seq, group.count, group.items);
            return;
        }
        // One by one, into as many records as it takes.
        let mut rest = group.items;
        let mut items = Items::new(group.items, group.seq);
        while let Some(Some(_)) = items.next() {
            let (item, after) = rest.split_at(rest.len() - items.left());
            rest = after;
            let full = self.pending.count as usize >= DELTA_ITEMS_MAX
                || self.pending.bytes.len() + item.len() > DELTA_BYTES_MAX;
            if full {
                self.flush();
            }
            self.push(group.seq, 1, item);
        }
    }

    fn push(&mut self, seq: Seq, count: u32, items: &[u8]) {
        let pending = &mut self.pending;
        if pending.count == 0 {
            (pending.first, pending.last) = (seq, seq);
        }
        if seq > pending.last {
            put_advance(seq.0 - pending.last.0, &mut pending.bytes);
            pending.last = seq;
        }
        pending.count += count;
        pending.bytes.extend_from_slice(items);
    }

    /// Makes a delta of what there is.
    fn flush(&mut self) -> bool {
        let pending = &self.pending;
        if pending.count > 0 {
            self.since.records += 1;
            self.since.items += pending.count;
            let header = Header {
                page: self.page,
                depth: self.depth,
                first: pending.first,
                last: pending.last,
                prev: self.prev,
                kind: Kind::Delta(self.since),
            };
            let (at, ()) = self.sink.record(|out| {
                header.encode(out);
                out.extend_from_slice(&pending.bytes);
            });
            self.prev = Some(at);
        }
        self.pending.bytes.clear();
        self.pending.count = 0;
        true
    }

    /// Makes a base as of `seq`. What `version` does isn't in a delta. Returns whether there is one: a page that has
    /// too much for a record goes on without.
    fn base(&mut self, seq: Seq, version: &[Group<'_>]) -> Result<bool, StoreError> {
        let mut content = self.content.take();
        for group in version {
            content = content.and_then(|mut content| {
                content.apply_all(Items::new(group.items, group.seq))?;
                Some(content)
            });
        }
        let listed = match self.resident(seq) {
            Some(listed) => listed,
            None => {
                let content = match content {
                    Some(content) => content,
                    None => self.nodes.content(self.page, self.depth, seq)?,
                };
                let listed = content.list();
                // Who makes one base on the way makes another; and then it is at hand.
                self.content = Some(content).filter(|_| version.is_empty());
                listed
            }
        };
        let items: u32 = version.iter().map(|group| group.count).sum();
        let worth = version.is_empty() || self.prev.is_none() || listed.count() < items as usize;
        let mut bytes = Vec::new();
        let first = listed.encode(seq, &mut bytes);
        if !worth || bytes.len() > NODE_RECORD_BYTES_MAX - RECORD_EXTRA_BYTES {
            return Ok(false);
        }
        let header = Header {
            page: self.page,
            depth: self.depth,
            first,
            last: seq,
            prev: self.prev,
            kind: Kind::Base(self.next_base()?),
        };
        let (at, ()) = self.sink.record(|out| {
            header.encode(out);
            out.extend_from_slice(&bytes);
        });
        self.bases.push((at, header));
        self.prev = Some(at);
        self.since = Since {
            base: Some(at),
            ..Since::default()
        };
        Ok(true)
    }

    /// What a base that is made now knows of those before it.
    fn next_base(&self) -> Result<Base, StoreError> {
        let Some(below) = self.since.base else {
            return Ok(Base {
                number: 0,
                below: None,
                skip: None,
            });
        };
        let (mut at, mut last, mut base) = self.base_at(below)?;
        let number = base.number.saturating_add(1);
        while base.number > Base::skip_of(number)
            && let Some((further, seq)) = base.skip
        {
            match self.base_at(further) {
                // Who looks for a version that is kept doesn't go there.
                Err(StoreError::Pruned { .. }) => {
                    (at, last) = (further, seq);
                    break;
                }
                further => (at, last, base) = further?,
            }
        }
        Ok(Base {
            number,
            below: Some(below),
            skip: Some((at, last)),
        })
    }

    fn base_at(&self, at: At) -> Result<(At, Seq, Base), StoreError> {
        let made = self.bases.iter().rev().find(|(made, _)| *made == at);
        let header = match made {
            Some((_, header)) => *header,
            None => self.nodes.record(self.page, at)?.header,
        };
        match header.kind {
            Kind::Base(base) => Ok((at, header.last, base)),
            Kind::Delta(_) => {
                let what = "not a base, where one should be";
                Err(self.nodes.pages.corrupt(at, what))
            }
        }
    }
}

/// Bytes of a record besides its items, at most: header and checksum.
const RECORD_EXTRA_BYTES: usize = 96;

const _: () = assert!(DELTA_BYTES_MAX + RECORD_EXTRA_BYTES + 16 <= NODE_RECORD_BYTES_MAX);
