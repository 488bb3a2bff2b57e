//! What differs between two versions, space by space and key by key: in time proportional to what differs, since
//! wherever both have the same digest they have the same below it.

use bytes::Bytes;
use violeta_proof::tree::{Sides, SpaceRecord};

use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::snapshot::{Page, PageCursor, Paging, Snapshot};
use crate::space::Space;
use crate::tree::{Entry, Sighting, Tree, differ};

/// A key that has another value in one version than in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The value that it had; none if it wasn't there.
    pub old: Option<Bytes>,
    /// The value that it has; none if it isn't there.
    pub new: Option<Bytes>,
}

/// A space that isn't the same in one version as in another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceChange {
    /// Its name.
    pub name: Bytes,
    /// What it was; none if it wasn't there.
    pub old: Option<SpaceRecord>,
    /// What it is; none if it isn't there.
    pub new: Option<SpaceRecord>,
}

impl Snapshot {
    /// The keys of a space that have other values here than in `older`, which may be of any version, and of another
    /// store too: at most `limit` of them, and of [`PAGE_ENTRIES_MAX`](crate::limits::PAGE_ENTRIES_MAX), about
    /// [`PAGE_BYTES`](crate::limits::PAGE_BYTES) bytes at most, from `after` on. A space that isn't there has no keys.
    ///
    /// Whoever trusts neither store nor answer wants the proof: [`Self::prove_changes`].
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn changes(
        &self,
        older: &Snapshot,
        space: &[u8],
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Page<Change>, StoreError> {
        let tree = |space: Option<Space>| space.map_or_else(Tree::default, |s| s.tree().clone());
        let trees = Sides {
            old: &tree(older.find_space(space)?),
            new: &tree(self.find_space(space)?),
        };
        let mut page = Paging::new(limit);
        let after = after.as_ref().map(PageCursor::path);
        differ(trees, nodes(older, self), after, |path, leaves| {
            let bytes = |leaf: Sighting<'_, Entry>| leaf.map_or(0, |(_, leaf)| leaf.len as usize);
            page.take(*path, bytes(leaves.old) + bytes(leaves.new), || {
                let old = older.sighted(leaves.old)?;
                let new = self.sighted(leaves.new)?;
                let key = old.as_ref().or(new.as_ref()).map(|(key, _)| key.clone());
                Ok(Change {
                    key: key.unwrap_or_default(),
                    old: old.map(|(_, value)| value),
                    new: new.map(|(_, value)| value),
                })
            })
        })?;
        Ok(page.finish())
    }

    /// The spaces that aren't the same here as in `older`, as [`Self::changes`] has keys.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn changed_spaces(
        &self,
        older: &Snapshot,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Page<SpaceChange>, StoreError> {
        let trees = Sides {
            old: &older.version.top,
            new: &self.version.top,
        };
        let mut page = Paging::new(limit);
        let after = after.as_ref().map(PageCursor::path);
        differ(trees, nodes(older, self), after, |path, leaves| {
            let [old, new] = [leaves.old, leaves.new].map(|leaf| leaf.map(|(_, space)| space));
            let name = old.or(new).map(|space: &Space| space.name().clone());
            let name = name.unwrap_or_default();
            page.take(*path, name.len(), || {
                Ok(SpaceChange {
                    name,
                    old: old.map(Space::record),
                    new: new.map(Space::record),
                })
            })
        })?;
        Ok(page.finish())
    }

    fn sighted(&self, leaf: Sighting<'_, Entry>) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        leaf.map(|(digest, entry)| self.shared.key_value(digest, entry))
            .transpose()
    }
}

fn nodes<'a>(older: &'a Snapshot, newer: &'a Snapshot) -> Sides<&'a Nodes> {
    Sides {
        old: &older.shared.nodes,
        new: &newer.shared.nodes,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use violeta_journal::MemoryDisk;
    use violeta_types::{Digest, Height};

    use super::*;
    use crate::batch::Batch;
    use crate::limits::Options;
    use crate::store::Store;
    use crate::tree::{Link, Load, Next, Spot, View};

    const KEYS: u16 = 5_000;

    /// The nodes, counting how many are looked at.
    struct Counted<'a>(&'a Nodes, Cell<u32>);

    impl Load<Entry> for Counted<'_> {
        type Node<'a>
            = <Nodes as Load<Entry>>::Node<'a>
        where
            Self: 'a;
        type Way = <Nodes as Load<Entry>>::Way;

        fn load(
            &self,
            way: &mut Self::Way,
            link: &Link,
            expected: &Digest,
            spot: Spot<'_>,
        ) -> Result<Self::Node<'_>, StoreError> {
            Load::<Entry>::load(self.0, way, link, expected, spot)
        }

        fn look<R>(
            &self,
            way: &mut Self::Way,
            link: &Link,
            expected: &Digest,
            spot: Spot<'_>,
            look: impl Fn(&dyn View<Entry>) -> R,
        ) -> Result<R, StoreError> {
            self.1.set(self.1.get() + 1);
            self.0.look(way, link, expected, spot, look)
        }
    }

    /// A store with many keys at version 1, in batches of so many keys.
    fn filled(batch_keys: u16) -> Store {
        let store = Store::open(Arc::new(MemoryDisk::new()), "", Options::default()).unwrap();
        let mut writer = store.writer().unwrap();
        let keys: Vec<u16> = (0..KEYS).collect();
        for (version, keys) in (1..).zip(keys.chunks(batch_keys.into())) {
            let mut batch = Batch::new();
            if version == 1 {
                batch.create_space(b"s");
            }
            (keys.iter()).for_each(|key| batch.put(b"s", &key.to_le_bytes(), vec![7; 9]));
            let staged = writer.stage(&batch).unwrap();
            writer.append(Height(version), staged).unwrap();
        }
        drop(writer);
        store
    }

    fn change(store: &Store, batch: &Batch) -> [Snapshot; 2] {
        let (mut writer, old) = (store.writer().unwrap(), store.latest());
        let staged = writer.stage(batch).unwrap();
        writer.append(old.version().next(), staged).unwrap();
        [old, store.latest()]
    }

    #[test]
    fn what_is_read_is_what_lies_above_what_differs() {
        let mut batch = Batch::new();
        batch.put(b"s", &17u16.to_le_bytes(), "other");
        batch.put(b"s", b"new", "one");
        batch.delete(b"s", &4_711u16.to_le_bytes());
        let store = filled(KEYS);
        let [old, new] = change(&store, &batch);
        let tree = |snapshot: &Snapshot| snapshot.find_space(b"s").unwrap().unwrap().tree().clone();
        let nodes = Counted(&store.shared.nodes, Cell::new(0));
        let (trees, loads) = (
            [tree(&old), tree(&new)],
            Sides {
                old: &nodes,
                new: &nodes,
            },
        );
        let trees = Sides {
            old: &trees[0],
            new: &trees[1],
        };
        let mut seen = 0;
        differ(trees, loads, None, |_, _| {
            seen += 1;
            Ok(Next::Leaf)
        })
        .unwrap();
        assert_eq!(seen, 3);
        // 5,000 leaves are below some 1,500 nodes; a way down passes four of them, or five, in each tree.
        let looks = nodes.1.get();
        assert!((8..=3 * 2 * 6).contains(&looks), "{looks} nodes");
    }

    #[test]
    fn stores_of_other_histories_differ_where_their_contents_do() {
        let (one, other) = (filled(KEYS), filled(700));
        let [same, _] = change(&one, &Batch::new());
        let compare = |snapshot: &Snapshot| {
            let spaces = snapshot.changed_spaces(&same, None, 9).unwrap().items;
            let keys = snapshot.changes(&same, b"s", None, 9).unwrap().items;
            (spaces.len(), keys)
        };
        assert_eq!(compare(&other.latest()), (0, vec![]));
        let mut batch = Batch::new();
        batch.put(b"s", b"stray", "1");
        let [_, diverged] = change(&other, &batch);
        let stray = Change {
            key: "stray".into(),
            old: None,
            new: Some("1".into()),
        };
        assert_eq!(compare(&diverged), (1, vec![stray]));
    }
}
