//! Going through all pages and leaves of the kept versions, a few at a time.

use std::sync::Arc;

use violeta_proof::tree::KeyPath;

use crate::error::StoreError;
use crate::page::PageAt;
use crate::retention::Retained;
use crate::space::Space;
use crate::store::{Shared, Version};
use crate::tree::{At, Child, Entry, Next};

/// Spaces that are looked up at once.
const SPACES: usize = 64;

/// What a walk came by.
pub(super) enum Met<'a> {
    /// A leaf of any of the versions, and whether that is the window's oldest.
    Leaf(&'a Entry, bool),
    /// A page of the oldest version, by its number, and the records of it that are needed.
    Page(u32, &'a [At]),
}

/// A version that a walk is in.
#[derive(Debug)]
struct In {
    version: Arc<Version>,
    /// Whether it is the oldest that is kept.
    is_oldest: bool,
    /// Whether it is the oldest of the window.
    is_window: bool,
}

/// A walk: the oldest version first.
#[derive(Debug)]
pub(super) struct Walk {
    /// Indexes of the versions to come, the next one last.
    versions: Vec<u64>,
    /// The version that one is in.
    version: Option<In>,
    /// The space up to which all were looked up.
    after: Option<KeyPath>,
    /// Pages to come.
    pages: Vec<PageAt>,
}

impl Walk {
    /// Through the oldest version of the window, and those that are pinned: newer ones need nothing older than they are
    /// that these don't.
    pub(super) fn new(retained: &Retained) -> Self {
        let mut versions = vec![retained.first];
        versions.extend(retained.pins.iter().rev());
        Walk {
            versions,
            version: None,
            after: None,
            pages: Vec::new(),
        }
    }

    /// Goes on with so many pages. Returns whether there is more.
    pub(super) fn go(
        &mut self,
        shared: &Shared,
        retained: &Retained,
        pages: usize,
        meet: &mut impl FnMut(Met<'_>),
    ) -> Result<bool, StoreError> {
        for _ in 0..pages {
            if !self.step(shared, retained, meet)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes on with one page, or a few spaces.
    fn step(
        &mut self,
        shared: &Shared,
        retained: &Retained,
        meet: &mut impl FnMut(Met<'_>),
    ) -> Result<bool, StoreError> {
        let Some(within) = &self.version else {
            let state = shared.state.load();
            // A rollback may have taken it: then none of this counts.
            let index = self.versions.last().filter(|index| **index < state.count());
            let Some(index) = index.copied() else {
                return Ok(false);
            };
            self.version = Some(In {
                version: shared.version_at(&state, index)?,
                is_oldest: index == retained.oldest(),
                is_window: index == retained.first,
            });
            self.versions.pop();
            self.after = None;
            return Ok(true);
        };
        if let Some(at) = self.pages.last() {
            let page = shared.nodes.survey(at)?;
            if within.is_oldest {
                meet(Met::Page(at.page.number(), &page.records));
            }
            let leaves = page.leaves.iter();
            leaves.for_each(|entry| meet(Met::Leaf(entry, within.is_window)));
            self.pages.pop();
            self.pages.extend(page.below);
            return Ok(true);
        }
        let (mut spaces, mut last) = (0, None);
        let pages = &mut self.pages;
        let visit = &mut |_: &_, space: &Space| {
            match &space.tree().root {
                Some((_, Child::Leaf(entry))) => meet(Met::Leaf(entry, within.is_window)),
                Some((digest, Child::Node(link))) => pages.extend(link.page.map(|page| PageAt {
                    page,
                    seq: link.seq,
                    digest: *digest,
                    depth: 0,
                })),
                None => {}
            }
            (spaces, last) = (spaces + 1, Some(KeyPath::of(space.name())));
            Ok(match spaces < SPACES {
                true => Next::Leaf,
                false => Next::Stop,
            })
        };
        (within.version.top).visit(self.after.as_ref(), &shared.nodes, visit)?;
        match last {
            Some(last) => self.after = Some(last),
            None => self.version = None,
        }
        Ok(true)
    }
}
