//! A page as it was at a version.
//!
//! ```text
//!  wanted: seq 50
//!
//!  base 30 │ 33 │ 38 41 │ base 41 │ 44 47 │ 52 │ base 52 │ 55 ◀─ frozen     60 ◀── 58 ◀─ head
//!                           ▲                    │   │ below                  too new
//!                           └────────────────────┼───┘
//!                              44 47 ◀───────────┘ prev           image: base 41, and on it 44 and 47
//! ```
//!
//! From the newest record one goes to the base that it builds on, and from base to base (skipping many at a time) to the
//! newest that isn't above the version; then back from what is above it, delta by delta. What is in memory comes on top.
//!
//! What a page holds is not trusted: its nodes are made from its items, and it is served only if its first node has the
//! digest that the page above says, and so on up to the root. The checksums of records tell which of them is at fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use violeta_types::Digest;

use super::content::{Content, PageNode};
use super::item::Items;
use super::record::{Header, Kind, Record};
use super::tail::Group;
use super::{PageId, Seq};
use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::tree::{At, Spot};

/// Which page, at which version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageAt {
    pub(crate) page: PageId,
    /// The version of its last change.
    pub(crate) seq: Seq,
    /// The digest of its first node.
    pub(crate) digest: Digest,
    /// The depth of its first node.
    pub(crate) depth: usize,
}

/// A page at a version.
#[derive(Debug)]
pub(crate) struct Image {
    at: PageAt,
    root: PageNode,
}

impl Image {
    /// The node at a spot, if it is on this page.
    pub(crate) fn node(&self, spot: Spot<'_>) -> Option<&PageNode> {
        let mut node = &self.root;
        for depth in self.at.depth..spot.depth {
            node = node.below(spot.path.slot(depth))?;
        }
        (spot.depth >= self.at.depth).then_some(node)
    }

    /// How many items the page has.
    pub(super) fn count(&self) -> usize {
        self.root.count()
    }

    fn bytes(&self) -> usize {
        size_of::<Image>() - size_of::<PageNode>() + self.root.bytes()
    }
}

/// Images, within a budget: large ones, of which there are few and which take long to make, and small ones apart, since
/// these come and go in numbers.
#[derive(Debug)]
pub(crate) struct Images {
    large: Cached,
    small: Cached,
}

/// Bytes of an image from which on it is a large one.
const LARGE_BYTES: usize = 8 << 10;

impl Images {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let small = bytes_max / 4;
        Images {
            large: Cached::new(bytes_max - small, LARGE_BYTES),
            small: Cached::new(small, LARGE_BYTES / 8),
        }
    }

    fn get(&self, at: &PageAt) -> Option<Arc<Image>> {
        self.large.get(at).or_else(|| self.small.get(at))
    }

    fn put(&self, image: &Arc<Image>) {
        match image.bytes() < LARGE_BYTES {
            true => self.small.put(image),
            false => self.large.put(image),
        }
    }
}

/// Images where nobody waits: one place for each page and version, whose image is the last that was put there. Above
/// the budget, places are emptied going round.
#[derive(Debug)]
struct Cached {
    slots: Box<[ArcSwapOption<Image>]>,
    bytes_max: usize,
    bytes: AtomicUsize,
    hand: AtomicUsize,
}

impl Cached {
    /// Of so many bytes, and a place for each of so many of them.
    fn new(bytes_max: usize, place_bytes: usize) -> Self {
        let slots = (bytes_max / place_bytes).max(1);
        Cached {
            slots: (0..slots).map(|_| ArcSwapOption::empty()).collect(),
            bytes_max,
            bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
        }
    }

    fn slot(&self, at: &PageAt) -> &ArcSwapOption<Image> {
        // Fibonacci hashing spreads neighbours.
        let key = u64::from(at.page.number()) << 32 ^ at.seq.0;
        let spread = (key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.slots[spread as usize % self.slots.len()]
    }

    fn get(&self, at: &PageAt) -> Option<Arc<Image>> {
        let image = self.slot(at).load();
        image.as_ref().filter(|image| image.at == *at).cloned()
    }

    fn put(&self, image: &Arc<Image>) {
        let bytes = image.bytes();
        if bytes > self.bytes_max {
            return;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.dropped(self.slot(&image.at).swap(Some(Arc::clone(image))));
        for _ in 0..self.slots.len() {
            if self.bytes.load(Ordering::Relaxed) <= self.bytes_max {
                return;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed) % self.slots.len();
            self.dropped(self.slots[hand].swap(None));
        }
    }

    fn dropped(&self, image: Option<Arc<Image>>) {
        let bytes = image.map_or(0, |image| image.bytes());
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The records that an image is made of.
#[derive(Default)]
struct Chain {
    base: Option<Record>,
    /// Newest first.
    deltas: Vec<Record>,
    /// The version of the newest item in any record.
    last: Option<Seq>,
    /// The version at which the page began, if one got to see that.
    born: Option<Seq>,
}

impl Nodes {
    /// The page `at` the version that it names.
    pub(crate) fn image(&self, at: &PageAt) -> Result<Arc<Image>, StoreError> {
        if let Some(image) = self.images.get(at) {
            return Ok(image);
        }
        let image = self.image_anew(at)?;
        self.images.put(&image);
        Ok(image)
    }

    /// The page from its items, even if it is cached.
    pub(crate) fn image_anew(&self, at: &PageAt) -> Result<Arc<Image>, StoreError> {
        let content = self.content(at.page, at.depth, at.seq)?;
        let root = content.build().filter(|(digest, _)| *digest == at.digest);
        let Some((_, root)) = root else {
            // A page's items of versions that were rolled back don't count any more.
            return Err(match self.void.load().contains(at.seq) {
                true => StoreError::RolledBack,
                false => self.unlike(at.page),
            });
        };
        Ok(Arc::new(Image { at: *at, root }))
    }

    /// What a page held at `wanted`, or when it began if that was later: since a split changes nothing but the page
    /// that nodes are on, links to them stay as they are.
    pub(super) fn content(
        &self,
        page: PageId,
        depth: usize,
        wanted: Seq,
    ) -> Result<Content, StoreError> {
        // In this order: see the tail.
        let head = self.directory.head(page);
        let pieces = self.tail.pieces();
        let frozen = self.directory.frozen(page);
        let mut chain = self.chain(page, frozen, wanted)?;
        let newer = |group: &Group<'_>| chain.last.is_none_or(|last| group.seq > last);
        let mut groups: Vec<_> = pieces.groups(head).take_while(newer).collect();
        groups.reverse();
        let born = match frozen {
            Some(_) => chain.born,
            None => groups.first().map(|group| group.seq),
        };
        let wanted = wanted.max(born.unwrap_or(wanted));
        if frozen.is_some() && born == Some(wanted) {
            chain = self.chain(page, frozen, wanted)?;
        }
        let mut content = self.thaw(&chain, depth, wanted)?;
        // What is in memory is never void: all of it is frozen before a rollback.
        for group in groups.iter().filter(|group| group.seq <= wanted) {
            let applied = content.apply_all(Items::new(group.items, group.seq));
            applied.ok_or_else(|| self.wrong(page, "doesn't fit what happened to it since"))?;
        }
        Ok(content)
    }

    /// What the records of a chain make as of `wanted`.
    fn thaw(&self, chain: &Chain, depth: usize, wanted: Seq) -> Result<Content, StoreError> {
        let mut content = Content::new(depth);
        let unfit = |record: &Record| {
            self.pages
                .corrupt(record.at, "an item doesn't fit the page before it")
        };
        let (mut after, void) = (Seq::default(), self.void.load());
        if let Some(base) = &chain.base {
            let applied = content.apply_all(base.items());
            applied.ok_or_else(|| unfit(base))?;
            after = base.header.last;
        }
        for record in chain.deltas.iter().rev() {
            for item in record.items() {
                let (seq, item) = item.ok_or_else(|| unfit(record))?;
                if seq > after && seq <= wanted && !void.contains(seq) {
                    let applied = content.apply(seq, &item);
                    applied.ok_or_else(|| unfit(record))?;
                }
            }
        }
        Ok(content)
    }

    /// The error of a page that makes another digest than it should.
    pub(super) fn unlike(&self, page: PageId) -> StoreError {
        self.wrong(page, "isn't the one that the page above names")
    }

    /// The error that names a page's newest record.
    fn wrong(&self, page: PageId, what: &str) -> StoreError {
        let what = format!("page {} {what}", page.number());
        match self.directory.frozen(page) {
            Some(record) => self.pages.corrupt(record, what),
            None => StoreError::corrupt("the tree", 0, what),
        }
    }

    /// The records, from the newest at `frozen` on, that a page at `wanted` is made of.
    fn chain(&self, page: PageId, frozen: Option<At>, wanted: Seq) -> Result<Chain, StoreError> {
        let (mut chain, void) = (Chain::default(), self.void.load());
        let Some(head) = frozen else {
            return Ok(chain);
        };
        let newest = self.record(page, head)?;
        chain.last = Some(newest.header.last);
        let mut base = match newest.header.kind {
            Kind::Base(_) => Some(head),
            Kind::Delta(since) => since.base,
        };
        let (mut next, mut newest) = (Some(head), Some(newest));
        let mut read = |at| match newest.take_if(|newest| newest.at == at) {
            Some(newest) => Ok(newest),
            None => self.record(page, at),
        };
        while let Some(at) = base {
            let record = read(at)?;
            let Kind::Base(bases) = record.header.kind else {
                return Err(self.pages.corrupt(at, "not a base, where one should be"));
            };
            let seq = record.header.last;
            if seq <= wanted && !void.contains(seq) {
                chain.base = Some(record);
                break;
            }
            if seq > wanted {
                next = record.header.prev;
                chain.born = next.is_none().then_some(seq);
            }
            base = match bases.skip {
                Some((at, seq)) if seq > wanted => Some(at),
                _ => bases.below,
            };
        }
        let end = chain.base.as_ref().map_or(0, |base| base.at.offset() + 1);
        while let Some(at) = next.filter(|at| at.offset() >= end) {
            let record = read(at)?;
            next = record.header.prev;
            let (first, last) = (record.header.first, record.header.last);
            match record.header.kind {
                Kind::Delta(_) => {
                    chain.born = next.is_none().then_some(first);
                    if first <= wanted {
                        chain.deltas.push(record);
                    }
                }
                Kind::Base(_) => chain.born = next.is_none().then_some(last),
            }
        }
        Ok(chain)
    }

    /// What a page held at `wanted`, as [`Self::content`], from records alone; and all of these from the base on that it
    /// begins with, newest first.
    pub(super) fn content_by_records(
        &self,
        page: PageId,
        depth: usize,
        wanted: Seq,
    ) -> Result<(Content, Vec<At>), StoreError> {
        let (mut chain, mut records, void) = (Chain::default(), Vec::new(), self.void.load());
        let (mut next, mut born) = (self.directory.frozen(page), wanted);
        while let Some(at) = next {
            let record = self.record(page, at)?;
            records.push(at);
            let Header {
                first, last, prev, ..
            } = record.header;
            next = prev;
            let is_base = matches!(record.header.kind, Kind::Base(_));
            if next.is_none() {
                born = if is_base { last } else { first };
            }
            // The first record counts, though the page be younger than it is wanted.
            if is_base && (last <= wanted && !void.contains(last) || next.is_none()) {
                chain.base = Some(record);
                break;
            }
            // All that is newer may be much, and isn't kept in memory.
            if !is_base && first <= wanted {
                chain.deltas.push(record);
            }
        }
        match born > wanted && chain.base.is_none() {
            true => self.content_by_records(page, depth, born),
            false => Ok((self.thaw(&chain, depth, wanted.max(born))?, records)),
        }
    }

    /// A record of a page.
    pub(super) fn record(&self, page: PageId, at: At) -> Result<Record, StoreError> {
        let record = Record::decode(at, self.pages.read(at)?);
        record
            .filter(|record| record.header.page == page)
            .ok_or_else(|| {
                let what = format!("not a record of page {}", page.number());
                self.pages.corrupt(at, what)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::Item;
    use super::*;
    use crate::tree::Entry;
    use violeta_proof::tree::KeyPath;

    /// An image of so many leaves.
    fn image(page: u32, leaves: u8) -> Arc<Image> {
        let mut content = Content::new(0);
        for leaf in 0..leaves {
            let mut path = [0; 32];
            path[0] = leaf;
            let entry = Entry {
                path: KeyPath(path),
                position: 1,
                len: 1,
            };
            content
                .apply(Seq(1), &Item::LeafPut(Digest([leaf; 32]), entry))
                .unwrap();
        }
        let (digest, root) = content.build().unwrap();
        let at = PageAt {
            page: PageId::new(page).unwrap(),
            seq: Seq(1),
            digest,
            depth: 0,
        };
        Arc::new(Image { at, root })
    }

    #[test]
    fn images_stay_within_their_budget() {
        let images = Cached::new(64 << 10, 4 << 10);
        let held = |images: &Cached| {
            let slots = images.slots.iter().map(|slot| slot.load_full());
            slots.flatten().map(|image| image.bytes()).sum::<usize>()
        };
        for page in 1..500 {
            let made = image(page, 2 + (page * 37 % 200) as u8);
            images.put(&made);
            assert!(images.get(&made.at).is_some() || made.bytes() > 32 << 10);
            assert!(held(&images) <= 64 << 10);
            assert_eq!(held(&images), images.bytes.load(Ordering::Relaxed));
        }
        let small = Cached::new(100, 4 << 10);
        small.put(&image(1, 200));
        assert_eq!(held(&small), 0, "larger than all of it");
    }

    #[test]
    fn many_small_images_leave_the_large_ones_alone() {
        let images = Images::new(256 << 10);
        let large = image(1, 200);
        images.put(&large);
        (2..2_000).for_each(|page| images.put(&image(page, 9)));
        assert!(images.get(&large.at).is_some());
    }

    #[test]
    fn an_image_is_that_of_one_version_and_digest() {
        let images = Images::new(64 << 10);
        let made = image(7, 9);
        images.put(&made);
        assert!(images.get(&made.at).is_some());
        let (seq, digest) = (Seq(2), Digest::ZERO);
        assert!(images.get(&PageAt { seq, ..made.at }).is_none());
        assert!(images.get(&PageAt { digest, ..made.at }).is_none());
    }
}
