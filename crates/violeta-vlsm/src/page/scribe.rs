//! Which items a version adds to which pages: taken down while the version is being staged.
//!
//! ```text
//!  open pages, outermost first      page 1: items … │ page 7: items … │ page 30: items …
//!                                                                        │ is left: becomes a group
//!  piece of the version             group │ group │ …  ◀─────────────────┘ and page 7 gets the item "child changed"
//! ```

use violeta_proof::tree::KeyPath;
use violeta_types::Digest;

use super::directory::Pages;
use super::image::PageAt;
use super::item::{Item, Nibbles};
use super::tail::{Group, TailWriter};
use super::{PAGE_LEVELS, PageId, Seq};
use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::tree::{
    Change, Child, Content, Entry, Hashed, Link, Maker, Place, Resident, SharedNode, Spot, Usher,
};

/// What a version does to pages.
#[derive(Debug)]
pub(crate) struct Noted {
    /// The groups.
    pub(super) bytes: Vec<u8>,
    pub(super) touched: Vec<Touched>,
    /// The number of the next page.
    pub(super) next_page: u32,
}

/// A page to which a version does something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Touched {
    /// With the version that is made, and the digest that it gives the page's first node.
    pub(super) at: PageAt,
    pub(super) link: Link,
    /// Its group in the tail.
    pub(super) head: u64,
    pub(super) count: u32,
}

/// Takes down what a version does to pages, and gives its nodes to the usher.
pub(crate) struct Scribe<'a> {
    nodes: &'a Nodes,
    usher: Usher<'a>,
    seq: Seq,
    /// Where in the tail the version's groups begin.
    start: u64,
    noted: Noted,
    /// Items of the open pages.
    items: Vec<u8>,
    open: Vec<Open>,
}

/// A page in which changes are being made.
#[derive(Debug)]
struct Open {
    page: PageId,
    depth: usize,
    /// Where its items begin.
    start: usize,
    /// How many there are.
    items: u32,
    /// How many items the page has.
    count: u32,
}

impl<'a> Scribe<'a> {
    /// For the version that will be `seq`, with so many changes of keys.
    pub(crate) fn new(
        nodes: &'a Nodes,
        pages: &Pages,
        tail: &TailWriter,
        usher: Usher<'a>,
        (seq, changes): (Seq, usize),
    ) -> Self {
        Scribe {
            nodes,
            usher,
            seq,
            start: tail.end(),
            noted: Noted {
                bytes: tail.buffer(changes),
                touched: pages.spare.take(),
                next_page: pages.next(),
            },
            items: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Takes note of a tree that the version has no more.
    pub(crate) fn dropped(&mut self, root: Link) {
        self.usher.dropped(root);
    }

    /// The nodes, and what to note of pages.
    pub(crate) fn finish(self) -> (crate::tree::Made, Noted) {
        assert!(self.open.is_empty(), "pages that were entered were left");
        (self.usher.finish(), self.noted)
    }

    /// Takes down an item of the innermost page, which has so many items more.
    fn item(&mut self, item: &Item, more: i32) {
        if let Some(open) = self.open.last_mut() {
            item.encode(&mut self.items);
            open.items += 1;
            open.count = open.count.saturating_add_signed(more);
        }
    }

    fn open(&mut self, page: PageId, depth: usize, count: u32) {
        self.open.push(Open {
            page,
            depth,
            start: self.items.len(),
            items: 0,
            count,
        });
    }

    /// Leaves the innermost page, whose first node is `place` now. Its link becomes one of a page's.
    fn close(&mut self, place: &mut Place<Entry>) {
        let Some(open) = self.open.pop() else {
            return;
        };
        if let Some((digest, Child::Node(link))) = place {
            link.page = Some(open.page);
            let head = self.start + self.noted.bytes.len() as u64;
            // The groups of a version are of different pages: none was noted before.
            let prev = self.nodes.directory.head(open.page);
            let items = (open.items, &self.items[open.start..]);
            let group = Group::new((open.page, open.depth), (prev, self.seq), items);
            group.encode(&mut self.noted.bytes);
            self.noted.touched.push(Touched {
                at: PageAt {
                    page: open.page,
                    seq: self.seq,
                    digest: *digest,
                    depth: open.depth,
                },
                link: *link,
                head,
                count: open.count,
            });
        }
        self.items.truncate(open.start);
    }

    fn number(&mut self) -> Result<PageId, StoreError> {
        let page = PageId::new(self.noted.next_page).ok_or(StoreError::NoPageLeft)?;
        self.noted.next_page = self.noted.next_page.wrapping_add(1);
        Ok(page)
    }
}

/// The two nibbles of the way to a page from the one above.
pub(super) fn child_slot(path: &KeyPath, depth: usize) -> u8 {
    assert!(
        depth >= PAGE_LEVELS && depth.is_multiple_of(2),
        "below another page"
    );
    path.0[depth / 2 - 1]
}

impl Maker<Entry, Resident<'_, SharedNode<Entry>>> for Scribe<'_> {
    fn make(
        &mut self,
        content: &Content<'_, Entry, Resident<'_, SharedNode<Entry>>>,
        hashed: &Hashed<'_>,
    ) -> Link {
        Link {
            seq: self.seq,
            seat: self.usher.make(content, hashed),
            page: None,
        }
    }

    fn gone(&mut self, node: &Resident<'_, SharedNode<Entry>>) {
        self.usher.gone(node);
    }

    fn begin(&mut self, root: &Place<Entry>) -> Result<(), StoreError> {
        assert!(self.open.is_empty(), "one tree at a time");
        if let Some((_, Child::Node(_))) = root {
            return Ok(());
        }
        // If there is a node in the end, it begins a page.
        let page = self.number()?;
        self.open(page, 0, 0);
        if let Some((digest, Child::Leaf(entry))) = root {
            self.item(&Item::LeafPut(*digest, *entry), 1);
        }
        Ok(())
    }

    fn finish(&mut self, root: &mut Place<Entry>) {
        let used = matches!(root, Some((_, Child::Node(_))));
        if let (false, Some(new)) = (used, self.open.last()) {
            // It was the last to be given.
            self.noted.next_page = new.page.number();
        }
        self.close(root);
    }

    fn enter(&mut self, link: &Link, digest: &Digest, spot: Spot<'_>) -> Result<(), StoreError> {
        let Some(page) = link.page else {
            return Ok(());
        };
        let count = match self.nodes.directory.count(page) {
            Some(count) => count,
            None => {
                let (seq, digest, depth) = (link.seq, *digest, spot.depth);
                let at = PageAt {
                    page,
                    seq,
                    digest,
                    depth,
                };
                self.nodes.image(&at)?.count() as u32
            }
        };
        self.open(page, spot.depth, count);
        Ok(())
    }

    fn leave(&mut self, link: &Link, spot: Spot<'_>, place: &mut Place<Entry>) {
        if link.page.is_none() {
            return;
        }
        self.close(place);
        if self.open.is_empty() {
            return;
        }
        let slot = child_slot(spot.path, spot.depth);
        match place {
            Some((digest, Child::Node(_))) => self.item(&Item::ChildChanged(slot, *digest), 0),
            Some((digest, Child::Leaf(entry))) => {
                self.item(&Item::ChildRemoved(slot), -1);
                self.item(&Item::LeafPut(*digest, *entry), 1);
            }
            None => self.item(&Item::ChildRemoved(slot), -1),
        }
    }

    fn leaf(&mut self, change: &Change<Entry>, sat: Option<usize>) {
        let Some(open) = self.open.last() else {
            return;
        };
        let until = sat.unwrap_or(64);
        let nibbles = || Nibbles::of(&change.path, open.depth, until);
        let there = change.previous.is_some();
        match (&change.leaf, there) {
            (Some((digest, entry)), true) if sat.is_some() => {
                let item = Item::LeafChanged(nibbles(), *digest, entry.position, entry.len);
                self.item(&item, 0);
            }
            (Some((digest, entry)), there) => {
                self.item(&Item::LeafPut(*digest, *entry), i32::from(!there));
            }
            (None, true) => self.item(&Item::LeafRemoved(nibbles()), -1),
            (None, false) => {}
        }
    }
}
