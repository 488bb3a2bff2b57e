//! Which versions are kept.
//!
//! ```text
//!  index of versions   0 │ 1 │ 2 │ 3 │ 4 │ 5 │ 6 │ 7 │ 8        first 5, pinned 2:
//!                              ▲           └───────────┘        2 and 5 to 8 can be read
//! ```
//!
//! What isn't kept is refused from then on, and its room is taken back later ([`crate::compaction`]): when both
//! superblocks say so, so that no recovery goes back before it.

use std::sync::Arc;

use violeta_types::Height;

/// Which versions a store keeps ([`Writer::prune`](crate::Writer::prune)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The window: all from this one on, and what the store was at this one. A window never goes back: where this is a
    /// pinned version before it, that stays pinned, and the window is as it was.
    pub oldest: Height,
    /// Versions below it that are kept besides. What isn't said here goes, though it was kept before.
    pub pinned: Vec<Height>,
}

impl Retention {
    /// All versions from `oldest` on, and no others.
    pub fn from(oldest: Height) -> Self {
        Retention {
            oldest,
            pinned: Vec::new(),
        }
    }
}

/// Which versions are kept, by their places in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The first of the window.
    pub(crate) first: u64,
    /// Those before it, by rising place.
    pub(crate) pins: Vec<u64>,
}

impl Retained {
    /// Whether version `index` is kept.
    pub(crate) fn keeps(&self, index: u64) -> bool {
        index >= self.first || self.pins.binary_search(&index).is_ok()
    }

    /// The oldest that is kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.pins.first().copied().unwrap_or(self.first)
    }
}

/// What room may be taken back of: all that no version needs which is kept.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) retained: Arc<Retained>,
    /// Before it in the page files lies no part of the page directory that a superblock leads to.
    pub(crate) pages: u64,
    /// The number that the next page had then, 0 if there are no more: records before that place are of pages below.
    pub(crate) next_page: u32,
}
