//! Nodes, from wherever they are: seats, images of pages, records.
//!
//! ```text
//!  space's tree   link ─▶ seat? ─▶ node of the newest version
//!                   └─ no: page (of this link, or of one above) ─▶ image, cached ─▶ node on the way
//!  top tree       link ─▶ record, cached ─▶ node
//! ```

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use violeta_proof::tree::FANOUT;
use violeta_types::Digest;

use crate::error::StoreError;
use crate::limits::Options;
use crate::page::{Directory, Image, Images, PageAt, Tail, Void};
use crate::records::RecordFiles;
use crate::space::Space;
use crate::tree::{
    Arena, At, CHAIN_MAX, Child, Entry, Leaf, Link, Load, Record, Recorded, Resident, SharedNode,
    Spot, Tree, View, decode_tree,
};

/// The nodes as readers see them.
#[derive(Debug)]
pub(crate) struct Nodes {
    /// Records of the top tree's nodes.
    pub(crate) tops: RecordFiles,
    /// Records of pages.
    pub(crate) pages: RecordFiles,
    /// What pages' newest versions changed.
    pub(crate) tail: Tail,
    /// Where pages are.
    pub(crate) directory: Directory,
    /// Versions that were rolled back.
    pub(crate) void: ArcSwap<Void>,
    /// Nodes of the newest version.
    pub(crate) arena: Arena,
    /// Pages at older versions.
    pub(crate) images: Images,
    /// Nodes of the top tree.
    spaces: Cache<Space>,
}

/// Bytes of a node of the top tree in mind when they are cached.
const SPACE_NODE_BYTES: usize = 2 << 10;

impl Nodes {
    pub(crate) fn new(tops: RecordFiles, pages: RecordFiles, options: &Options) -> Self {
        // An eighth of the cache for the top tree.
        let spaces = options.cache_bytes / 8;
        Nodes {
            tops,
            pages,
            tail: Tail::default(),
            directory: Directory::new(),
            void: ArcSwap::default(),
            arena: Arena::new(options.resident_bytes),
            images: Images::new(options.cache_bytes - spaces),
            spaces: Cache::new(spaces / SPACE_NODE_BYTES),
        }
    }

    /// Puts a node of the top tree where it is found without being read.
    pub(crate) fn keep_space_node(&self, digest: &Digest, node: &SharedNode<Space>) {
        self.spaces.put(node.header.header.note.at, digest, node);
    }

    /// The top tree whose root record lies at `at`.
    pub(crate) fn top_tree(&self, at: At) -> Result<Tree<Space>, StoreError> {
        let bytes = self.tops.read(at)?;
        let rest = &mut &bytes[..];
        decode_tree(rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| self.tops.corrupt(at, "not the root of a version"))
    }

    /// Reads a node of the top tree: the newest record and all that it builds on.
    fn top_node<L: Leaf<Link = At, Note = Recorded>>(
        &self,
        at: At,
    ) -> Result<(SharedNode<L>, Digest), StoreError> {
        let mut newer: Vec<Record<L>> = Vec::new();
        let mut next = at;
        let mut record = loop {
            let record = Record::<L>::decode(&self.tops.read(next)?);
            let record = record.ok_or_else(|| self.tops.corrupt(next, "not a node"))?;
            match record.base() {
                None => break record,
                Some(_) if newer.len() >= usize::from(CHAIN_MAX) => {
                    return Err(self.tops.corrupt(at, "the chain of deltas doesn't end"));
                }
                Some(base) => next = base,
            }
            newer.push(record);
        };
        while let Some(over) = newer.pop() {
            let merged = record.lay_over(over);
            record = merged.ok_or_else(|| self.tops.corrupt(at, "a delta doesn't fit its base"))?;
        }
        Ok(record.into_node(at))
    }

    /// The records of the top tree whose root record is at `root`.
    pub(crate) fn top_records(&self, root: At) -> Result<Vec<At>, StoreError> {
        let (mut records, mut nodes) = (vec![root], Vec::new());
        let tree: Tree<Space> = self.top_tree(root)?;
        if let Some((digest, Child::Node(at))) = tree.root {
            nodes.push((at, digest));
        }
        while let Some((at, digest)) = nodes.pop() {
            let node = self.space_node(at, &digest)?;
            for slot in 0..FANOUT {
                if let Some((digest, Child::Node(at))) = node.slot(slot) {
                    nodes.push((at, digest));
                }
            }
            let mut next = Some(at);
            while let Some(at) = next {
                records.push(at);
                let record = Record::<Space>::decode(&self.tops.read(at)?);
                let record = record.ok_or_else(|| self.tops.corrupt(at, "not a node"))?;
                next = record.base();
            }
        }
        Ok(records)
    }

    /// A node of the top tree from its records, if it is the one that its parent names.
    fn space_node(&self, at: At, expected: &Digest) -> Result<SharedNode<Space>, StoreError> {
        let (node, digest) = self.top_node(at)?;
        if digest != *expected {
            let what = "the node isn't the one that its parent names";
            return Err(self.tops.corrupt(at, what));
        }
        Ok(node)
    }

    /// The node of a space's tree that `link` leads to, from its page.
    fn on_page(
        &self,
        way: &mut Way,
        expected: &Digest,
        spot: Spot<'_>,
    ) -> Result<SharedNode<Entry>, StoreError> {
        let Some(at) = way.at else {
            let what = "a tree that doesn't begin with a page";
            return Err(StoreError::corrupt("the tree", 0, what));
        };
        let image = match &way.image {
            Some(image) => image,
            None => way.image.insert(self.image(&at)?),
        };
        // The page's first node is the one that is expected, so all below are.
        let node = image.node(spot).map(|node| node.node.clone());
        node.ok_or_else(|| {
            let (page, depth) = (at.page.number(), spot.depth);
            let what = format!("page {page} has no node at depth {depth} for {expected}");
            StoreError::corrupt("the tree", 0, what)
        })
    }
}

/// On which page a walk is, and what of it was needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    at: Option<PageAt>,
    image: Option<Arc<Image>>,
}

impl Way {
    /// Goes to the node that `link` leads to. Returns where it sits, if it does.
    fn step(&mut self, nodes: &Nodes, link: &Link, digest: &Digest, depth: usize) -> Link {
        let Some(page) = link.page else {
            return *link;
        };
        self.at = Some(PageAt {
            page,
            seq: link.seq,
            digest: *digest,
            depth,
        });
        self.image = None;
        match link.seat {
            seat if seat == crate::tree::Seat::NONE => Link {
                seat: nodes.directory.seat(page),
                ..*link
            },
            _ => *link,
        }
    }
}

impl Load<Entry> for Nodes {
    type Node<'a> = Resident<'a, SharedNode<Entry>>;
    type Way = Way;

    fn load(
        &self,
        way: &mut Way,
        link: &Link,
        expected: &Digest,
        spot: Spot<'_>,
    ) -> Result<Self::Node<'_>, StoreError> {
        let link = way.step(self, link, expected, spot.depth);
        if let Some(node) = self.arena.get(&link) {
            return Ok(Resident::Seated(link, node));
        }
        Ok(Resident::Held(self.on_page(way, expected, spot)?))
    }

    fn touch(&self, link: &Link, slots: u16) {
        self.arena.touch(link.seat, slots);
        link.page
            .iter()
            .for_each(|page| self.directory.touch(*page));
    }

    fn look<R>(
        &self,
        way: &mut Way,
        link: &Link,
        expected: &Digest,
        spot: Spot<'_>,
        look: impl Fn(&dyn View<Entry>) -> R,
    ) -> Result<R, StoreError> {
        let link = way.step(self, link, expected, spot.depth);
        if let Some(node) = self.arena.get(&link) {
            let seen = look(&node);
            if node.is_still(link.seq) {
                return Ok(seen);
            }
        }
        Ok(look(&self.on_page(way, expected, spot)?))
    }
}

impl Load<Space> for Nodes {
    type Node<'a> = SharedNode<Space>;
    type Way = ();

    fn load(
        &self,
        (): &mut (),
        link: &At,
        expected: &Digest,
        _: Spot<'_>,
    ) -> Result<Self::Node<'_>, StoreError> {
        if let Some(node) = self.spaces.get(*link, expected) {
            return Ok(node);
        }
        let node = self.space_node(*link, expected)?;
        self.spaces.put(*link, expected, &node);
        Ok(node)
    }

    fn look<R>(
        &self,
        way: &mut (),
        link: &At,
        expected: &Digest,
        spot: Spot<'_>,
        look: impl Fn(&dyn View<Space>) -> R,
    ) -> Result<R, StoreError> {
        Ok(look(&Load::<Space>::load(self, way, link, expected, spot)?))
    }
}

/// The nodes from their records and pages, whatever of them is in memory or cached: for who checks what was written.
#[derive(Debug)]
pub(crate) struct Anew<'a>(pub(crate) &'a Nodes);

impl Load<Entry> for Anew<'_> {
    type Node<'a>
        = SharedNode<Entry>
    where
        Self: 'a;
    type Way = Way;

    fn load(
        &self,
        way: &mut Way,
        link: &Link,
        expected: &Digest,
        spot: Spot<'_>,
    ) -> Result<Self::Node<'_>, StoreError> {
        way.step(self.0, link, expected, spot.depth);
        if let (Some(_), Some(at)) = (link.page, way.at) {
            way.image = Some(self.0.image_anew(&at)?);
        }
        self.0.on_page(way, expected, spot)
    }

    fn look<R>(
        &self,
        way: &mut Way,
        link: &Link,
        expected: &Digest,
        spot: Spot<'_>,
        look: impl Fn(&dyn View<Entry>) -> R,
    ) -> Result<R, StoreError> {
        let node = Load::<Entry>::load(self, way, link, expected, spot)?;
        Ok(look(&node))
    }
}

impl Load<Space> for Anew<'_> {
    type Node<'a>
        = SharedNode<Space>
    where
        Self: 'a;
    type Way = ();

    fn load(
        &self,
        (): &mut (),
        link: &At,
        expected: &Digest,
        _: Spot<'_>,
    ) -> Result<Self::Node<'_>, StoreError> {
        self.0.space_node(*link, expected)
    }

    fn look<R>(
        &self,
        way: &mut (),
        link: &At,
        expected: &Digest,
        spot: Spot<'_>,
        look: impl Fn(&dyn View<Space>) -> R,
    ) -> Result<R, StoreError> {
        Ok(look(&Load::<Space>::load(self, way, link, expected, spot)?))
    }
}

/// A cache with one place for each address: bounded, and nobody waits.
#[derive(Debug)]
struct Cache<L: Leaf> {
    slots: Box<[ArcSwapOption<Cached<L>>]>,
}

#[derive(Debug)]
struct Cached<L: Leaf> {
    at: At,
    digest: Digest,
    node: SharedNode<L>,
}

impl<L: Leaf> Cache<L> {
    fn new(slots: usize) -> Self {
        Cache {
            slots: (0..slots.max(1)).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    fn slot(&self, at: At) -> &ArcSwapOption<Cached<L>> {
        // Fibonacci hashing spreads neighbours.
        let spread = at.offset().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.slots[spread as usize % self.slots.len()]
    }

    fn get(&self, at: At, digest: &Digest) -> Option<SharedNode<L>> {
        let cached = self.slot(at).load();
        let cached = cached.as_ref()?;
        (cached.at == at && cached.digest == *digest).then(|| cached.node.clone())
    }

    fn put(&self, at: At, digest: &Digest, node: &SharedNode<L>) {
        self.slot(at).store(Some(Arc::new(Cached {
            at,
            digest: *digest,
            node: node.clone(),
        })));
    }
}
