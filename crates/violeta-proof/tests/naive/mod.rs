//! The tree's hashes and proofs a second time, from a sorted map, written from the text of vlsm.md §2 alone: no line
//! of it is the library's but the domains' names. Slow and plain on purpose.

#![allow(dead_code, reason = "each test that includes this uses a part of it")]

use std::collections::BTreeMap;

use violeta_types::{Digest, Domain};

/// What a store holds: by space's name, by key, the value.
pub(crate) type State = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A branch, deepest level first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) bitmaps: Vec<u16>,
    pub(crate) siblings: Vec<Digest>,
}

fn hash(domain: Domain, parts: &[&[u8]]) -> Digest {
    let key = blake3::derive_key(domain.context(), b"");
    Digest(*blake3::keyed_hash(&key, &parts.concat()).as_bytes())
}

/// A path as 64 nibbles, each a byte.
pub(crate) fn path(key: &[u8]) -> Vec<u8> {
    let digest = hash(Domain::TreePath, &[key]);
    digest.0.iter().flat_map(|b| [b / 16, b % 16]).collect()
}

pub(crate) fn leaf(key: &[u8], value: &[u8]) -> Digest {
    let value = hash(Domain::TreeValue, &[value]);
    let len = (key.len() as u32).to_le_bytes();
    hash(Domain::TreeLeaf, &[&len, key, &value.0])
}

pub(crate) fn space_leaf(name: &[u8], keys: &BTreeMap<Vec<u8>, Vec<u8>>) -> Digest {
    let len = (name.len() as u32).to_le_bytes();
    let count = (keys.len() as u64).to_le_bytes();
    let root = space_root(keys);
    hash(Domain::TreeSpace, &[&len, name, &[1], &count, &root.0])
}

/// The leaves of a space by path.
pub(crate) fn space_leaves(keys: &BTreeMap<Vec<u8>, Vec<u8>>) -> BTreeMap<Vec<u8>, Digest> {
    keys.iter().map(|(k, v)| (path(k), leaf(k, v))).collect()
}

pub(crate) fn top_leaves(state: &State) -> BTreeMap<Vec<u8>, Digest> {
    let spaces = state.iter();
    spaces.map(|(n, k)| (path(n), space_leaf(n, k))).collect()
}

pub(crate) fn space_root(keys: &BTreeMap<Vec<u8>, Vec<u8>>) -> Digest {
    subtree(&space_leaves(keys), &mut vec![]).unwrap_or_default()
}

pub(crate) fn root(state: &State) -> Digest {
    let top = subtree(&top_leaves(state), &mut vec![]).unwrap_or_default();
    hash(Domain::TreeTop, &[&top.0])
}

/// The digest of the subtree of all leaves whose path begins with `prefix`; none if there are none.
pub(crate) fn subtree(leaves: &BTreeMap<Vec<u8>, Digest>, prefix: &mut Vec<u8>) -> Option<Digest> {
    let below: Vec<_> = leaves
        .iter()
        .filter(|(p, _)| p.starts_with(prefix))
        .collect();
    match below.as_slice() {
        [] => None,
        [(_, leaf)] => Some(**leaf),
        below => {
            let below = below.iter().map(|(p, d)| ((*p).clone(), **d)).collect();
            let slots = slots(&below, prefix);
            let bitmap = bitmap(&slots);
            let root = halves(&slots)?;
            Some(hash(Domain::TreeNode, &[&bitmap.to_le_bytes(), &root.0]))
        }
    }
}

fn slots(leaves: &BTreeMap<Vec<u8>, Digest>, prefix: &mut Vec<u8>) -> Vec<Option<Digest>> {
    let mut slots = vec![];
    for nibble in 0..16 {
        prefix.push(nibble);
        slots.push(subtree(leaves, prefix));
        prefix.pop();
    }
    slots
}

fn bitmap(slots: &[Option<Digest>]) -> u16 {
    let filled = slots.iter().enumerate().filter(|(_, slot)| slot.is_some());
    filled.map(|(i, _)| 1 << i).sum()
}

/// The compressed binary Merkle tree over some slots.
fn halves(slots: &[Option<Digest>]) -> Option<Digest> {
    if let [slot] = slots {
        return *slot;
    }
    let (left, right) = slots.split_at(slots.len() / 2);
    match (halves(left), halves(right)) {
        (Some(l), Some(r)) => Some(hash(Domain::TreeInner, &[&l.0, &r.0])),
        (l, r) => l.or(r),
    }
}

/// The branch of whatever is in the place of `path`.
pub(crate) fn branch(leaves: &BTreeMap<Vec<u8>, Digest>, path: &[u8]) -> Branch {
    let mut branch = Branch::default();
    let mut levels = vec![];
    for depth in 0..path.len() {
        let mut prefix = path[..depth].to_vec();
        if leaves.keys().filter(|p| p.starts_with(&prefix)).count() < 2 {
            break;
        }
        levels.push(slots(leaves, &mut prefix));
    }
    for (depth, slots) in levels.iter().enumerate().rev() {
        branch.bitmaps.push(bitmap(slots));
        let slot = usize::from(path[depth]);
        for width in [1, 2, 4, 8] {
            let beside = (slot / width) ^ 1;
            branch
                .siblings
                .extend(halves(&slots[beside * width..(beside + 1) * width]));
        }
    }
    branch
}

/// The key, if any, whose leaf is alone below some prefix of `path`.
pub(crate) fn alone<'a>(
    keys: impl Iterator<Item = &'a Vec<u8>> + Clone,
    at: &[u8],
) -> Option<&'a Vec<u8>> {
    for depth in 0..=at.len() {
        let mut below = keys
            .clone()
            .filter(|key| path(key).starts_with(&at[..depth]));
        match (below.next(), below.next()) {
            (None, _) => return None,
            (Some(one), None) => return Some(one),
            _ => {}
        }
    }
    None
}

/// A path's range, both ends included.
pub(crate) type Range = (Vec<u8>, Vec<u8>);

/// The part of a tree that shows all that a window holds, as three lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Partial {
    /// Bitmap, and which open slots hold leaves.
    pub(crate) nodes: Vec<(u16, u16)>,
    pub(crate) leaves: Vec<(Vec<u8>, Digest)>,
    pub(crate) digests: Vec<Digest>,
}

/// Whether a path that begins with `prefix` is in the window.
fn meets(window: &[Range], prefix: &[u8]) -> bool {
    let begin = |path: &Vec<u8>| path[..prefix.len()].to_vec();
    let met = |(from, to): &Range| begin(from) <= prefix.to_vec() && prefix.to_vec() <= begin(to);
    window.iter().any(met)
}

pub(crate) fn partial(keys: &BTreeMap<Vec<u8>, Vec<u8>>, window: &[Range]) -> Partial {
    let mut partial = Partial::default();
    if !keys.is_empty() {
        open(keys, &space_leaves(keys), window, &[], &mut partial);
    }
    partial
}

/// Opens what is at `prefix`; says whether it is a leaf.
fn open(
    keys: &BTreeMap<Vec<u8>, Vec<u8>>,
    leaves: &BTreeMap<Vec<u8>, Digest>,
    window: &[Range],
    prefix: &[u8],
    partial: &mut Partial,
) -> bool {
    let below: Vec<_> = leaves.keys().filter(|p| p.starts_with(prefix)).collect();
    if let [one] = below.as_slice() {
        let (key, value) = keys.iter().find(|(key, _)| path(key) == **one).unwrap();
        let value = hash(Domain::TreeValue, &[value]);
        partial.leaves.push((key.clone(), value));
        return true;
    }
    let index = partial.nodes.len();
    let slots = slots(leaves, &mut prefix.to_vec());
    partial.nodes.push((bitmap(&slots), 0));
    let mut group = vec![(0, 16)];
    while let Some((first, width)) = group.pop() {
        let here = || slots[first..first + width].iter().enumerate();
        let place = |i: usize| [prefix, &[(first + i) as u8]].concat();
        if !here().any(|(i, slot)| slot.is_some() && meets(window, &place(i))) {
            partial.digests.extend(halves(&slots[first..first + width]));
        } else if width == 1 {
            if open(keys, leaves, window, &place(0), partial) {
                partial.nodes[index].1 |= 1 << first;
            }
        } else {
            group.push((first + width / 2, width / 2));
            group.push((first, width / 2));
        }
    }
    false
}

/// What differs between two trees within a range, as lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// How many leaves each tree has: none, one, more.
    pub(crate) roots: (usize, usize),
    pub(crate) nodes: Vec<Pair>,
    /// A key, and the digest of its value on each side where its leaf is opened.
    pub(crate) leaves: Vec<(Vec<u8>, Option<Digest>, Option<Digest>)>,
    pub(crate) digests: Vec<Digest>,
}

/// A bitmap and which open slots hold leaves, on the sides that have a node; and which slots are open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) nodes: [Option<(u16, u16)>; 2],
    pub(crate) open: u16,
}

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

struct Differ<'a> {
    keys: [&'a Keys; 2],
    leaves: [BTreeMap<Vec<u8>, Digest>; 2],
    window: Vec<Range>,
    /// By path: the key, and the sides on which its leaf is opened.
    opened: BTreeMap<Vec<u8>, (Vec<u8>, [bool; 2])>,
    nodes: Vec<Pair>,
    digests: Vec<Digest>,
}

pub(crate) fn changed(old: &Keys, new: &Keys, range: &Range) -> Changed {
    let mut differ = Differ {
        keys: [old, new],
        leaves: [space_leaves(old), space_leaves(new)],
        window: vec![range.clone()],
        opened: BTreeMap::new(),
        nodes: vec![],
        digests: vec![],
    };
    if space_root(old) == space_root(new) {
        return Changed::default();
    }
    differ.place(&[], [true, true]);
    let value = |side: usize, key: &Vec<u8>, is_open: bool| {
        let value = || hash(Domain::TreeValue, &[&differ.keys[side][key]]);
        is_open.then(value)
    };
    let told = differ.opened.values();
    Changed {
        roots: (old.len().min(2), new.len().min(2)),
        leaves: told
            .map(|(key, [old, new])| (key.clone(), value(0, key, *old), value(1, key, *new)))
            .collect(),
        nodes: differ.nodes.clone(),
        digests: differ.digests.clone(),
    }
}

impl Differ<'_> {
    /// Opens a place on the sides that matter there; says on which it is a leaf.
    fn place(&mut self, prefix: &[u8], sides: [bool; 2]) -> [bool; 2] {
        let mut is_leaf = [false; 2];
        let mut is_node = [false; 2];
        for side in (0..2).filter(|&side| sides[side]) {
            let below = self.leaves[side].keys();
            let below: Vec<_> = below.filter(|p| p.starts_with(prefix)).cloned().collect();
            is_leaf[side] = below.len() == 1;
            is_node[side] = below.len() > 1;
            if is_leaf[side] {
                let mut keys = self.keys[side].keys();
                let key = keys.find(|key| path(key) == below[0]).unwrap().clone();
                let told = self.opened.entry(below[0].clone());
                told.or_insert((key, [false; 2])).1[side] = true;
            }
        }
        if is_node != [false; 2] {
            self.nodes_at(prefix, is_node);
        }
        is_leaf
    }

    fn nodes_at(&mut self, prefix: &[u8], is_node: [bool; 2]) {
        let slots = [0, 1].map(|side| match is_node[side] {
            true => slots(&self.leaves[side], &mut prefix.to_vec()),
            false => vec![None; 16],
        });
        let inside = |i: usize| meets(&self.window, &[prefix, &[i as u8]].concat());
        let inside: Vec<bool> = (0..16).map(inside).collect();
        let open: Vec<bool> = (0..16)
            .map(|i| inside[i] && slots[0][i] != slots[1][i])
            .collect();
        let filled: Vec<bool> = (0..16)
            .map(|i| slots[0][i].or(slots[1][i]).is_some())
            .collect();
        let index = self.nodes.len();
        self.nodes.push(Pair {
            nodes: [0, 1].map(|side| is_node[side].then(|| (bitmap(&slots[side]), 0))),
            open: (0..16).filter(|&i| open[i]).map(|i| 1 << i).sum(),
        });
        let mut group = vec![(0, 16)];
        while let Some((first, width)) = group.pop() {
            let mut all = first..first + width;
            let is_mixed = all.clone().any(|i| filled[i] && inside[i])
                && all.clone().any(|i| filled[i] && !inside[i]);
            if width == 1 && open[first] {
                let leaves = self.place(&[prefix, &[first as u8]].concat(), is_node);
                let nodes = self.nodes[index].nodes.iter_mut().zip(leaves);
                for (node, is_leaf) in nodes {
                    if let Some((_, leaves)) = node {
                        *leaves |= u16::from(is_leaf) << first;
                    }
                }
            } else if is_mixed || all.clone().any(|i| open[i]) {
                group.push((first + width / 2, width / 2));
                group.push((first, width / 2));
            } else {
                self.digests.extend(halves(&slots[0][all.clone()]));
                if all.any(|i| filled[i] && !inside[i]) {
                    self.digests.extend(halves(&slots[1][first..first + width]));
                }
            }
        }
    }
}
