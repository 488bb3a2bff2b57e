//! What happens when a page gets too large.
//!
//! ```text
//!  before    page 1: ● a b c d e f g h …          after    page 1: ● child 5 │ child 6 │ h
//!                                                          page 5: a b c     page 6: d e f g
//! ```
//!
//! Each node two levels below the page's first gets a page of its own, and so on below it. The nodes stay what they are,
//! and where: the new pages get all their leaves as items of this version, and the page gets items that cover them.

use violeta_proof::tree::FANOUT;
use violeta_types::Digest;

use super::content::PageNode;
use super::directory::Pages;
use super::item::Item;
use super::scribe::{Noted, Touched};
use super::tail::{Group, TailWriter};
use super::{PAGE_LEVELS, PageId, Seq};
use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::tree::{Arena, Child, Entry, Link, Place, Seat, Seated, View, bits};

impl Pages {
    /// Takes what a version does to pages, so that readers find it. Returns the pages.
    pub(crate) fn publish(
        &mut self,
        nodes: &Nodes,
        tail: &mut TailWriter,
        noted: Noted,
    ) -> Vec<Touched> {
        tail.append(&nodes.tail, noted.bytes);
        self.set_next(noted.next_page);
        for touched in &noted.touched {
            self.enter(nodes, tail, touched.at.page, touched.head);
            nodes.directory.set_seat(touched.at.page, touched.link.seat);
            nodes.directory.set_count(touched.at.page, touched.count);
        }
        noted.touched
    }

    /// A page has a group at `head`.
    fn enter(&mut self, nodes: &Nodes, tail: &TailWriter, page: PageId, head: u64) {
        if nodes.directory.head(page) < tail.young() {
            self.young.push(page);
        }
        nodes.directory.set_head(page, head);
    }

    /// Begins a generation of what is in memory. The one before the last was frozen and dropped.
    pub(crate) fn turn(&mut self, tail: &mut TailWriter) {
        std::mem::swap(&mut self.old, &mut self.young);
        tail.turn();
    }
}

/// Splits those of the pages that a version changed that have more than `items_max` items now. The version's nodes have
/// sat down.
pub(crate) fn split(
    nodes: &Nodes,
    tail: &mut TailWriter,
    pages: &mut Pages,
    changed: &[Touched],
    items_max: usize,
) {
    let mut large = (changed.iter())
        .filter(|touched| touched.count as usize > items_max)
        .peekable();
    let Some(first) = large.peek() else {
        return;
    };
    let mut split = Split {
        pages,
        items_max,
        seq: first.at.seq,
        start: tail.end(),
        bytes: Vec::new(),
        made: Vec::new(),
        items: Vec::new(),
        leaves: Vec::new(),
    };
    let mut done = Vec::new();
    for touched in large {
        let before = split.mark();
        match split.page_of(nodes, touched) {
            Ok(children) => done.push((touched.link, children)),
            // One whose items can't be read now is split another time; who asks for it is told why.
            Err(_) => split.return_to(before),
        }
    }
    let Split { bytes, made, .. } = split;
    tail.append(&nodes.tail, bytes);
    for (page, head, count) in made {
        pages.enter(nodes, tail, page, head);
        nodes.directory.set_count(page, count as u32);
    }
    for (link, children) in done {
        sit(nodes, &link, &children);
    }
}

/// A node of the page: in memory, or made from the page's items.
enum Node<'a> {
    Seated(&'a Arena, Seated<'a>),
    Made(&'a PageNode),
}

/// Why a page isn't split, or not this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    NotInMemory,
    NoPageLeft,
}

impl Node<'_> {
    fn slot(&self, slot: usize) -> Place<Entry> {
        match self {
            Node::Seated(_, node) => node.slot(slot),
            Node::Made(node) => node.node.slot(slot),
        }
    }

    /// The slots below which there are nodes, on the page or not.
    fn nodes(&self) -> impl Iterator<Item = usize> {
        let nodes = match self {
            Node::Seated(_, node) => node.nodes(),
            Node::Made(node) => node.nodes(),
        };
        bits(nodes)
    }

    /// The node below a slot, if it is on the page.
    fn below(&self, slot: usize) -> Result<Option<Node<'_>>, Stopped> {
        match self {
            Node::Made(node) => Ok(node.below(slot).map(Node::Made)),
            Node::Seated(arena, node) => match node.slot(slot) {
                Some((_, Child::Node(link))) if link.page.is_none() => {
                    let node = arena.get(&link).ok_or(Stopped::NotInMemory)?;
                    Ok(Some(Node::Seated(arena, node)))
                }
                _ => Ok(None),
            },
        }
    }

    /// Appends the leaves below.
    fn leaves(&self, leaves: &mut Vec<(Digest, Entry)>) -> Result<(), Stopped> {
        for slot in 0..FANOUT {
            if let Some((digest, Child::Leaf(entry))) = self.slot(slot) {
                leaves.push((digest, entry));
            } else if let Some(node) = self.below(slot)? {
                node.leaves(leaves)?;
            }
        }
        Ok(())
    }
}

/// A page that was made, and those below it.
struct NewPage {
    page: PageId,
    /// The way to it from the page above.
    slot: u8,
    digest: Digest,
    /// How many leaves are below.
    leaves: usize,
    below: Vec<NewPage>,
}

impl NewPage {
    fn put(&self) -> Item {
        Item::ChildPut(self.slot, self.digest, self.page)
    }
}

struct Split<'a> {
    pages: &'a mut Pages,
    items_max: usize,
    seq: Seq,
    /// Where in the tail the groups begin.
    start: u64,
    bytes: Vec<u8>,
    /// Pages with their groups and how many items they have.
    made: Vec<(PageId, u64, usize)>,
    /// Buffers: for the items of a page, and for the leaves below a node.
    items: Vec<u8>,
    leaves: Vec<(Digest, Entry)>,
}

impl Split<'_> {
    /// How much there is.
    fn mark(&self) -> (usize, usize) {
        (self.bytes.len(), self.made.len())
    }

    /// Forgets what came after a mark.
    fn return_to(&mut self, (bytes, made): (usize, usize)) {
        self.bytes.truncate(bytes);
        self.made.truncate(made);
    }

    /// Splits a page that a version made too large.
    fn page_of(&mut self, nodes: &Nodes, touched: &Touched) -> Result<Vec<NewPage>, StoreError> {
        let (at, before) = (touched.at, self.mark());
        let seated = nodes.arena.get(&touched.link);
        let seated = seated.map(|node| Node::Seated(&nodes.arena, node));
        let children = match seated.map(|root| self.children(&root, at.depth)) {
            Some(Ok(children)) => children,
            Some(Err(Stopped::NotInMemory)) | None => {
                let content = nodes.content(at.page, at.depth, at.seq)?;
                let built = content.build().filter(|(digest, _)| *digest == at.digest);
                let (_, root) = built.ok_or_else(|| nodes.unlike(at.page))?;
                self.return_to(before);
                let children = self.children(&Node::Made(&root), at.depth);
                children.map_err(|_| StoreError::NoPageLeft)?
            }
            Some(Err(Stopped::NoPageLeft)) => return Err(StoreError::NoPageLeft),
        };
        if !children.is_empty() {
            let covered: usize = children.iter().map(|child| child.leaves).sum();
            let count = (touched.count as usize + children.len()).saturating_sub(covered);
            let (head, _) = self.group((at.page, at.depth), touched.head, |items| {
                children.iter().for_each(|child| child.put().encode(items));
                children.len() as u32
            });
            self.made.push((at.page, head, count));
        }
        Ok(children)
    }

    /// Gives each node two levels below `root`, which is at `depth`, a page.
    fn children(&mut self, root: &Node<'_>, depth: usize) -> Result<Vec<NewPage>, Stopped> {
        let mut children = Vec::new();
        for high in root.nodes() {
            let Some(above) = root.below(high)? else {
                continue;
            };
            for low in above.nodes() {
                if let (Some((digest, _)), Some(node)) = (above.slot(low), above.below(low)?) {
                    let slot = (high * FANOUT + low) as u8;
                    children.push(self.page(&node, depth + PAGE_LEVELS, slot, digest)?);
                }
            }
        }
        Ok(children)
    }

    /// Makes a page of a node, which has leaves below it and no pages.
    fn page(
        &mut self,
        node: &Node<'_>,
        depth: usize,
        slot: u8,
        digest: Digest,
    ) -> Result<NewPage, Stopped> {
        let page = self.pages.allocate().ok_or(Stopped::NoPageLeft)?;
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.clear();
        node.leaves(&mut leaves)?;
        let below = match leaves.len() > self.items_max {
            true => self.children(node, depth)?,
            false => Vec::new(),
        };
        let covered = |entry: &Entry| {
            let slot = entry.path.0[depth / 2];
            below.iter().any(|child| child.slot == slot)
        };
        let (head, count) = self.group((page, depth), 0, |items| {
            below.iter().for_each(|child| child.put().encode(items));
            let mut count = below.len() as u32;
            for (digest, entry) in leaves.iter().filter(|(_, entry)| !covered(entry)) {
                Item::LeafPut(*digest, *entry).encode(items);
                count += 1;
            }
            count
        });
        self.made.push((page, head, count as usize));
        let count = leaves.len();
        self.leaves = leaves;
        Ok(NewPage {
            page,
            slot,
            digest,
            leaves: count,
            below,
        })
    }

    /// Makes a group of what `items` appends and counts; returns where it will be.
    fn group(
        &mut self,
        page: (PageId, usize),
        prev: u64,
        items: impl FnOnce(&mut Vec<u8>) -> u32,
    ) -> (u64, u32) {
        let head = self.start + self.bytes.len() as u64;
        let mut encoded = std::mem::take(&mut self.items);
        encoded.clear();
        let count = items(&mut encoded);
        Group::new(page, (prev, self.seq), (count, &encoded)).encode(&mut self.bytes);
        self.items = encoded;
        (head, count)
    }
}

/// Tells the nodes in memory which pages begin below them, and the pages where their first nodes sit.
fn sit(nodes: &Nodes, root: &Link, children: &[NewPage]) {
    let Some(root) = nodes.arena.get(root) else {
        return;
    };
    for child in children {
        let (high, low) = (usize::from(child.slot >> 4), usize::from(child.slot & 15));
        let Some((_, Child::Node(above))) = root.slot(high) else {
            continue;
        };
        let Some(above) = nodes.arena.get(&above) else {
            continue;
        };
        if let Some((_, Child::Node(first))) = above.slot(low) {
            above.set_page(low, child.page);
            // If its row was cleared, others may sit there now, of this very version too: and by its version alone a
            // reader of the page would know them.
            let sits = nodes.arena.get(&first).is_some();
            let seat = if sits { first.seat } else { Seat::NONE };
            nodes.directory.set_seat(child.page, seat);
            sit(nodes, &first, &child.below);
        }
    }
}
