//! Pages: how the trees of spaces are kept, every version of them (vlsm.md §3).
//!
//! ```text
//!   tree of a space             page: what is below a node at an even depth, two levels or all
//!        ┌─●─┐ page 1                items: leaves, and where other pages begin
//!       ●     ●                      (nodes and their digests follow from these, and are kept nowhere)
//!      ┌┴┐   ┌┴┐
//!      ▲ l   l ▲ pages 2, 3     items of a page, oldest first:
//!
//!                                in the files                                  in memory (tail)
//!                                base │ delta │ delta │ … │ base │ delta  ◀─── group ◀── group ◀── group
//!                                                                  ▲                                 ▲
//!                                        directory: page ──────▶ frozen                            head
//! ```
//!
//! | | what it answers |
//! | --- | --- |
//! | [`item`] | what can happen to a page, and its bytes |
//! | [`scribe`] | which items a version adds |
//! | [`tail`] | the items of the newest versions, in memory |
//! | [`freeze`] | how items get from the tail into the files |
//! | [`record`] | bases and deltas, byte by byte |
//! | [`image`] | a page as it was at a version |
//! | [`content`] | the items of an image, and the nodes that follow from them |
//! | [`directory`] | where a page's newest record is, and its newest items |
//! | [`void`] | which versions were rolled back |
//! | [`split`] | what happens when a page gets too large |
//! | [`survey`] | which records a page still needs |
//!
//! A page begins with a node at an even depth. With up to [`PAGE_ITEMS_MAX`] items it holds all that is below, however
//! deep. With more, each node two levels down gets a page of its own: then no more than 256 items are left. Pages are
//! never joined again, but a page whose node goes is gone. Which pages there are depends on the history, and no root
//! does on them.
//!
//! [`PAGE_ITEMS_MAX`]: crate::limits::PAGE_ITEMS_MAX

mod content;
mod directory;
mod freeze;
mod image;
mod item;
mod record;
mod scribe;
mod split;
mod survey;
mod tail;
mod void;

pub(crate) use directory::{Directory, Pages};
pub(crate) use freeze::freeze;
pub(crate) use image::{Image, Images, PageAt};
pub(crate) use scribe::{Noted, Scribe};
pub(crate) use split::split;
pub(crate) use tail::{Tail, TailWriter};
pub(crate) use void::Void;

use std::num::NonZeroU32;

/// The number of a version, in the order in which they were made. Other than heights, no two ever share one, not even
/// when one of them was rolled back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seq(pub(crate) u64);

impl Seq {
    /// The first.
    pub(crate) const FIRST: Seq = Seq(1);

    pub(crate) fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// The number of a page: none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PageId(NonZeroU32);

impl PageId {
    /// None for zero, which no page has.
    pub(crate) fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(PageId)
    }

    pub(crate) fn number(self) -> u32 {
        self.0.get()
    }
}

/// Levels between a page's first node and those of the pages below it.
pub(crate) const PAGE_LEVELS: usize = 2;
