//! A map by path of which a copy costs nothing: copies share what neither has changed since.
//!
//! ```text
//!  root ─▶ node ─┬─▶ leaf          a change makes the nodes on its way anew where a copy shares them, and changes them
//!     copy ──┘   └─▶ node ─▶ …     in place where none does
//! ```
//!
//! Like the store's own trees it is a 16-way trie in which a subtree of one leaf is that leaf.

use std::sync::Arc;

use violeta_proof::tree::{FANOUT, KeyPath};

#[derive(Debug)]
pub(super) struct PathMap<T>(Slot<T>);

#[derive(Debug)]
enum Slot<T> {
    /// Nothing, or the only leaf below.
    End(Option<Arc<(KeyPath, T)>>),
    Node(Arc<[Slot<T>; FANOUT]>),
}

// Not derived: leaves are shared, not copied.
impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        match self {
            Slot::End(leaf) => Slot::End(leaf.clone()),
            Slot::Node(slots) => Slot::Node(Arc::clone(slots)),
        }
    }
}

impl<T> Clone for PathMap<T> {
    fn clone(&self) -> Self {
        PathMap(self.0.clone())
    }
}

impl<T> Default for PathMap<T> {
    fn default() -> Self {
        PathMap(Slot::End(None))
    }
}

impl<T: Clone> PathMap<T> {
    pub(super) fn get(&self, path: &KeyPath) -> Option<&T> {
        let (mut slot, mut depth) = (&self.0, 0);
        loop {
            match slot {
                Slot::Node(slots) => slot = &slots[path.slot(depth)],
                Slot::End(leaf) => {
                    let leaf = leaf.as_ref().filter(|leaf| leaf.0 == *path);
                    return leaf.map(|leaf| &leaf.1);
                }
            }
            depth += 1;
        }
    }

    /// Puts something at a path, whatever was there.
    pub(super) fn insert(&mut self, path: KeyPath, value: T) {
        *self.place(&path) = Some(Arc::new((path, value)));
    }

    /// What is at a path, to be changed; put there first if nothing is.
    pub(super) fn get_or_insert_with(&mut self, path: KeyPath, make: impl FnOnce() -> T) -> &mut T {
        let leaf = self.place(&path);
        let leaf = leaf.get_or_insert_with(|| Arc::new((path, make())));
        &mut Arc::make_mut(leaf).1
    }

    /// The place of a path's leaf, which nothing else is in.
    fn place(&mut self, path: &KeyPath) -> &mut Option<Arc<(KeyPath, T)>> {
        let (mut slot, mut depth) = (&mut self.0, 0);
        loop {
            if let Slot::End(Some(other)) = slot
                && other.0 != *path
            {
                // Two paths part at some depth.
                let there = other.0.slot(depth);
                let other = std::mem::replace(slot, Slot::End(None));
                let mut slots = std::array::from_fn(|_| Slot::End(None));
                slots[there] = other;
                *slot = Slot::Node(Arc::new(slots));
            }
            match slot {
                Slot::Node(slots) => slot = &mut Arc::make_mut(slots)[path.slot(depth)],
                Slot::End(leaf) => return leaf,
            }
            depth += 1;
        }
    }

    /// Shows `visit` all there is, by rising path.
    pub(super) fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a KeyPath, &'a T)) {
        self.0.visit(visit);
    }
}

impl<T> Slot<T> {
    fn visit<'a>(&'a self, visit: &mut impl FnMut(&'a KeyPath, &'a T)) {
        match self {
            Slot::End(None) => {}
            Slot::End(Some(leaf)) => visit(&leaf.0, &leaf.1),
            Slot::Node(slots) => slots.iter().for_each(|slot| slot.visit(visit)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn all(map: &PathMap<u32>) -> BTreeMap<KeyPath, u32> {
        let (mut all, mut last) = (BTreeMap::new(), None);
        map.visit(&mut |path, value| {
            assert!(last.is_none_or(|last| last < *path), "in order");
            last = Some(*path);
            all.insert(*path, *value);
        });
        all
    }

    proptest! {
        #[test]
        fn a_copy_stays_as_it_was(keys in proptest::collection::vec(0u8..40, 0..60), at in 0usize..60) {
            // Paths that part early, and paths that part late.
            let path = |key: u8| match key {
                0..20 => KeyPath::of(&[key]),
                _ => KeyPath(std::array::from_fn(|byte| if byte == 31 { key } else { 0 })),
            };
            let (mut map, mut model) = (PathMap::default(), BTreeMap::new());
            let (mut copy, mut copied) = (map.clone(), model.clone());
            for (number, key) in keys.iter().enumerate() {
                if number == at {
                    (copy, copied) = (map.clone(), model.clone());
                }
                let path = path(*key);
                match key % 2 {
                    0 => map.insert(path, number as u32),
                    _ => *map.get_or_insert_with(path, || 0) += number as u32,
                }
                let new = number as u32 + if key % 2 == 0 { 0 } else { model.get(&path).copied().unwrap_or(0) };
                model.insert(path, new);
            }
            prop_assert_eq!(all(&map), model.clone());
            prop_assert_eq!(all(&copy), copied);
            for key in 0..40 {
                prop_assert_eq!(map.get(&path(key)), model.get(&path(key)));
            }
        }
    }

    #[test]
    fn what_no_copy_shares_is_changed_in_place() {
        let mut map = PathMap::default();
        for key in 0..200u8 {
            map.insert(KeyPath::of(&[key]), vec![key]);
        }
        let path = KeyPath::of(&[7]);
        let before = map.get_or_insert_with(path, Vec::new).as_ptr();
        map.get_or_insert_with(path, Vec::new)[0] = 1;
        assert_eq!(map.get(&path).map(|value| value.as_ptr()), Some(before));
        let copy = map.clone();
        map.get_or_insert_with(path, Vec::new)[0] = 2;
        assert_eq!(
            (copy.get(&path), map.get(&path)),
            (Some(&vec![1]), Some(&vec![2]))
        );
    }
}
