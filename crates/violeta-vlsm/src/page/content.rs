//! The items of a page at one version, and the nodes that follow from them.

use std::collections::BTreeMap;

use violeta_proof::tree::FANOUT;
use violeta_types::Digest;

use super::item::{Item, Items, Nibbles, put_advance, relative};
use super::{PAGE_LEVELS, PageId, Seq};
use crate::tree::{self, Arena, Child, Entry, Link, Place, Seat, SharedNode, View};

/// Where another page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChildPage {
    pub(super) digest: Digest,
    /// The version of its last change.
    pub(super) seq: Seq,
    pub(super) page: PageId,
}

/// What a page holds: leaves by what their paths have below it, and pages by the two nibbles of the way to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    depth: usize,
    leaves: BTreeMap<[u8; 32], (Digest, Entry)>,
    children: BTreeMap<u8, ChildPage>,
}

impl Content {
    /// Nothing, in a page at `depth`.
    pub(super) fn new(depth: usize) -> Self {
        Content {
            depth,
            leaves: BTreeMap::new(),
            children: BTreeMap::new(),
        }
    }

    /// Applies an item; none if it doesn't fit what is there.
    pub(super) fn apply(&mut self, seq: Seq, item: &Item) -> Option<()> {
        match item {
            Item::LeafPut(digest, entry) => {
                let path = relative(&entry.path, self.depth);
                (!self.children.contains_key(&path[0])).then_some(())?;
                self.leaves.insert(path, (*digest, *entry));
            }
            Item::LeafChanged(nibbles, digest, position, len) => {
                let path = self.only(nibbles)?;
                let leaf = self.leaves.get_mut(&path)?;
                leaf.0 = *digest;
                (leaf.1.position, leaf.1.len) = (*position, *len);
            }
            Item::LeafRemoved(nibbles) => {
                let path = self.only(nibbles)?;
                self.leaves.remove(&path)?;
            }
            Item::ChildPut(slot, digest, page) => {
                let below: Vec<_> = self.below(*slot).map(|(path, _)| *path).collect();
                below.iter().for_each(|path| {
                    self.leaves.remove(path);
                });
                let (digest, page) = (*digest, *page);
                self.children.insert(*slot, ChildPage { digest, seq, page });
            }
            Item::ChildChanged(slot, digest) => {
                let child = self.children.get_mut(slot)?;
                (child.digest, child.seq) = (*digest, seq);
            }
            Item::ChildRemoved(slot) => {
                self.children.remove(slot)?;
            }
        }
        Some(())
    }

    /// Applies items; none if one isn't whole or doesn't fit.
    pub(super) fn apply_all(&mut self, items: Items<'_>) -> Option<()> {
        for item in items {
            let (seq, item) = item?;
            self.apply(seq, &item)?;
        }
        Some(())
    }

    /// The path of the only leaf whose path begins so.
    fn only(&self, nibbles: &Nibbles) -> Option<[u8; 32]> {
        let mut from = self.leaves.range(nibbles.bytes..);
        let (path, _) = from.next().filter(|(path, _)| nibbles.begin(path))?;
        let more = from.next().is_some_and(|(path, _)| nibbles.begin(path));
        (!more).then_some(*path)
    }

    /// The leaves below two nibbles.
    fn below(&self, slot: u8) -> impl Iterator<Item = (&[u8; 32], &(Digest, Entry))> {
        let (mut first, mut last) = ([0; 32], [0xff; 32]);
        (first[0], last[0]) = (slot, slot);
        self.leaves.range(first..=last)
    }

    /// All there is, by path.
    pub(super) fn list(&self) -> Listed {
        let children = self.children.iter().map(|(slot, child)| (*slot, *child));
        Listed {
            leaves: self.leaves.values().copied().collect(),
            children: children.collect(),
        }
    }

    /// The leaves.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &Entry> {
        self.leaves.values().map(|(_, entry)| entry)
    }

    /// The pages below, with the slots of the ways to them.
    pub(super) fn children(&self) -> impl Iterator<Item = (u8, &ChildPage)> {
        self.children.iter().map(|(slot, child)| (*slot, child))
    }

    /// The nodes; none if what is there doesn't make one.
    pub(super) fn build(&self) -> Option<(Digest, PageNode)> {
        let child = |(slot, child): (&u8, &ChildPage)| {
            let link = Link {
                seq: child.seq,
                seat: Seat::NONE,
                page: Some(child.page),
            };
            let mut path = [0; 32];
            path[0] = *slot;
            (path, (child.digest, Child::Node(link)))
        };
        let leaf = |(path, (digest, entry)): (&[u8; 32], &(Digest, Entry))| {
            (*path, (*digest, Child::Leaf(*entry)))
        };
        let mut all: Vec<_> = self.leaves.iter().map(leaf).collect();
        all.extend(self.children.iter().map(child));
        if !self.children.is_empty() {
            all.sort_unstable_by_key(|placed| placed.0);
        }
        match build(&all, 0) {
            (Some((digest, _)), Some(node)) => Some((digest, node)),
            _ => None,
        }
    }
}

/// What a page holds, as a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    leaves: Vec<(Digest, Entry)>,
    children: Vec<(u8, ChildPage)>,
}

impl Listed {
    /// What the page that begins with the node at `link`, at an even depth, holds at the newest version; none if not all
    /// of it is in memory.
    pub(super) fn resident(arena: &Arena, link: &Link) -> Option<Self> {
        let mut listed = Listed::default();
        listed.add(arena, link, 0, 0)?;
        Some(listed)
    }

    fn add(&mut self, arena: &Arena, link: &Link, depth: usize, slot: u8) -> Option<()> {
        let node = arena.get(link)?;
        for nibble in 0..FANOUT {
            let slot = match depth < PAGE_LEVELS {
                true => slot << 4 | nibble as u8,
                false => slot,
            };
            match node.slot(nibble) {
                None => {}
                Some((digest, Child::Leaf(entry))) => self.leaves.push((digest, entry)),
                Some((digest, Child::Node(link))) => match link.page {
                    None => self.add(arena, &link, depth + 1, slot)?,
                    Some(page) => {
                        let seq = link.seq;
                        self.children.push((slot, ChildPage { digest, seq, page }));
                    }
                },
            }
        }
        Some(())
    }

    /// Whether both make the same nodes. A page that a split made is known by the version of the split to some, and by
    /// that of its first node's last change to others: both find it.
    pub(super) fn is_as(&self, other: &Listed) -> bool {
        let children = |listed: &Listed| -> Vec<_> {
            let children = listed.children.iter();
            children
                .map(|(slot, c)| (*slot, c.digest, c.page))
                .collect()
        };
        self.leaves == other.leaves && children(self) == children(other)
    }

    /// How many items there are.
    pub(super) fn count(&self) -> usize {
        self.leaves.len() + self.children.len()
    }

    /// Appends all there is as items, by rising version, of which that of the leaves counts as `last`. Returns the
    /// lowest.
    pub(super) fn encode(mut self, last: Seq, out: &mut Vec<u8>) -> Seq {
        self.children.sort_by_key(|(_, child)| child.seq);
        let first = self.children.first().map_or(last, |(_, child)| child.seq);
        let mut seq = first;
        for (slot, child) in self.children {
            if child.seq > seq {
                put_advance(child.seq.0 - seq.0, out);
                seq = child.seq;
            }
            Item::ChildPut(slot, child.digest, child.page).encode(out);
        }
        for (digest, entry) in self.leaves {
            Item::LeafPut(digest, entry).encode(out);
        }
        first
    }
}

type Placed = ([u8; 32], (Digest, Child<Entry>));

/// What is below `depth` on a page, sorted by path.
fn build(all: &[Placed], depth: usize) -> (Place<Entry>, Option<PageNode>) {
    match all {
        [] => return (None, None),
        [(_, (digest, child @ Child::Leaf(_)))] => return (Some((*digest, child.clone())), None),
        [(_, (digest, child))] if depth == PAGE_LEVELS => {
            return (Some((*digest, child.clone())), None);
        }
        _ if depth >= 64 => return (None, None),
        _ => {}
    }
    let nibble = |placed: &Placed| {
        let byte = placed.0[depth / 2];
        usize::from(byte >> (4 * (1 - depth % 2)) & 15)
    };
    let mut slots = [const { None }; FANOUT];
    let (mut mask, mut below) = (0, Vec::new());
    for group in all.chunk_by(|a, b| nibble(a) == nibble(b)) {
        let slot = nibble(&group[0]);
        let (place, node) = build(group, depth + 1);
        slots[slot] = place;
        if let Some(node) = node {
            mask |= 1 << slot;
            below.push(node);
        }
    }
    let content = tree::Content::<Entry, SharedNode<Entry>>::new(&slots, None);
    if content.bitmap() == 0 {
        return (None, None);
    }
    let (node, digest) = content.make(());
    let link = Link {
        seq: Seq(0),
        seat: Seat::NONE,
        page: None,
    };
    let node = PageNode { node, mask, below };
    (Some((digest, Child::Node(link))), Some(node))
}

/// A node of a page, with those below it that are on the page too.
#[derive(Debug)]
pub(crate) struct PageNode {
    pub(crate) node: SharedNode<Entry>,
    /// In which slots they are.
    mask: u16,
    below: Vec<PageNode>,
}

impl PageNode {
    /// The slots below which there are nodes of the page.
    pub(super) fn nodes(&self) -> u16 {
        self.mask
    }

    /// The node below a slot, if it is on the page.
    pub(crate) fn below(&self, slot: usize) -> Option<&PageNode> {
        (self.mask >> slot & 1 == 1).then_some(())?;
        let before = self.mask & ((1 << slot) - 1);
        self.below.get(before.count_ones() as usize)
    }

    /// How many leaves and pages there are below.
    pub(super) fn count(&self) -> usize {
        let here = self.node.bitmap().count_ones() as usize - self.below.len();
        here + self.below.iter().map(PageNode::count).sum::<usize>()
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let slots = self.node.slice.len();
        let own = size_of::<PageNode>() + slots * size_of_val(&self.node.slice[0]) + 48;
        own + self.below.iter().map(PageNode::bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_proof::tree::KeyPath;

    fn entry(first: u8, second: u8) -> Entry {
        let mut path = [0x11; 32];
        // Pages here are at depth 2: the first byte is the way to them.
        path[1..3].copy_from_slice(&[first, second]);
        Entry {
            path: KeyPath(path),
            position: u64::from(second),
            len: 9,
        }
    }

    fn put(first: u8, second: u8) -> Item {
        Item::LeafPut(Digest([second; 32]), entry(first, second))
    }

    fn nibbles(entry: &Entry, count: usize) -> Nibbles {
        Nibbles::of(&entry.path, 2, 2 + count)
    }

    fn page(number: u32) -> PageId {
        PageId::new(number).unwrap()
    }

    fn content(items: &[Item]) -> Content {
        let mut content = Content::new(2);
        for (seq, item) in (1..).zip(items) {
            content.apply(Seq(seq), item).unwrap();
        }
        content
    }

    #[test]
    fn items_that_dont_fit_what_is_there_are_refused() {
        let mut there = content(&[
            put(0xa1, 1),
            put(0xa2, 2),
            Item::ChildPut(0xb0, Digest([7; 32]), page(7)),
        ]);
        let before = there.clone();
        let one = entry(0xa1, 1);
        let changed = |nibbles| Item::LeafChanged(nibbles, Digest([8; 32]), 8, 8);
        for item in [
            changed(nibbles(&one, 1)),
            changed(nibbles(&entry(0xc0, 1), 2)),
            Item::LeafRemoved(nibbles(&one, 1)),
            Item::LeafRemoved(nibbles(&entry(0xa1, 2), 4)),
            put(0xb0, 3),
            Item::ChildChanged(0xa1, Digest([8; 32])),
            Item::ChildRemoved(0xb1),
        ] {
            assert_eq!(there.apply(Seq(9), &item), None, "{item:?}");
            assert_eq!(there, before);
        }
        assert!(there.apply(Seq(9), &changed(nibbles(&one, 2))).is_some());
        assert_ne!(there, before);
    }

    #[test]
    fn a_page_that_is_put_covers_what_was_below_its_place() {
        let mut there = content(&[put(0xa1, 1), put(0xa1, 2), put(0xa2, 3)]);
        let child = Item::ChildPut(0xa1, Digest([7; 32]), page(7));
        there.apply(Seq(9), &child).unwrap();
        let left = content(&[put(0xa2, 3)]);
        assert_eq!(there.leaves, left.leaves);
        assert_eq!(there.children.len(), 1);
        assert_eq!(there.children[&0xa1].seq, Seq(9));
    }

    #[test]
    fn what_is_listed_makes_the_same_page_again() {
        let there = content(&[
            put(0xa1, 1),
            Item::ChildPut(0xb1, Digest([7; 32]), page(7)),
            put(0xa2, 2),
            Item::ChildPut(0xb0, Digest([8; 32]), page(8)),
            put(0xb2, 3),
            Item::ChildChanged(0xb1, Digest([9; 32])),
        ]);
        let mut bytes = Vec::new();
        let first = there.list().encode(Seq(50), &mut bytes);
        assert_eq!(first, Seq(4), "the child that changed least recently");
        let mut again = Content::new(2);
        again.apply_all(Items::new(&bytes, first)).unwrap();
        assert_eq!(again, there);
        assert_eq!(again.children[&0xb1].seq, Seq(6));
    }

    #[test]
    fn nodes_are_found_by_their_slots() {
        let items = [
            put(0xa1, 1),
            put(0xa1, 2),
            put(0xb0, 3),
            Item::ChildPut(0xb1, Digest([7; 32]), page(7)),
        ];
        let (_, root) = content(&items).build().unwrap();
        assert_eq!(root.count(), 4);
        assert_eq!(root.node.bitmap(), 1 << 0xa | 1 << 0xb);
        let deep = root.below(0xa).and_then(|node| node.below(1)).unwrap();
        // The third nibble of both leaves is 0.
        assert_eq!(deep.node.bitmap(), 1);
        assert_eq!(deep.below(0).unwrap().node.bitmap(), 1 << 1 | 1 << 2);
        let other = root.below(0xb).unwrap();
        assert_eq!(other.node.bitmap(), 1 << 0 | 1 << 1);
        assert!(other.below(1).is_none(), "on a page of its own");
        assert!(
            matches!(other.node.slot(1), Some((_, Child::Node(link))) if link.page == Some(page(7)))
        );
    }

    #[test]
    fn a_page_of_a_single_leaf_or_of_nothing_isnt_one() {
        assert!(content(&[]).build().is_none());
        assert!(content(&[put(1, 1)]).build().is_none());
        // A single page below makes nodes on the way to it.
        let lone = content(&[Item::ChildPut(0xb1, Digest([7; 32]), page(7))]);
        let (_, root) = lone.build().unwrap();
        assert_eq!(root.node.bitmap(), 1 << 0xb);
    }
}
