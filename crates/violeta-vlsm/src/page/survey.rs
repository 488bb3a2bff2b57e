//! What a page needs of log and page files, for who takes back the room of what nobody needs.
//!
//! ```text
//!  records of a page   base │ delta │ base │ delta │ delta │ base │ delta
//!                      └─── dead ───┘  ▲                                 the oldest version that is kept is made of
//!                                      └ cut                             this base and what follows
//! ```
//!
//! A newer version never reads a record before the cut: the base that it begins with isn't older. Records are read one
//! after the other, each once, where a reader would leave many out.

use super::image::PageAt;
use super::{PAGE_LEVELS, PageId};
use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::tree::{At, Entry};

/// A page at a version.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) leaves: Vec<Entry>,
    /// The pages below.
    pub(crate) below: Vec<PageAt>,
    /// Its records from the cut on.
    pub(crate) records: Vec<At>,
}

impl Nodes {
    /// What a page held, if it is the page that was named: nothing that follows from another would be right. Nothing of
    /// it may be in memory only.
    pub(crate) fn survey(&self, at: &PageAt) -> Result<Survey, StoreError> {
        let (content, records) = self.content_by_records(at.page, at.depth, at.seq)?;
        if content
            .build()
            .is_none_or(|(digest, _)| digest != at.digest)
        {
            return Err(self.unlike(at.page));
        }
        let below = content.children().map(|(_, child)| PageAt {
            page: child.page,
            seq: child.seq,
            digest: child.digest,
            depth: at.depth + PAGE_LEVELS,
        });
        Ok(Survey {
            leaves: content.leaves().copied().collect(),
            below: below.collect(),
            records,
        })
    }

    /// All records that a page has in the files.
    pub(crate) fn page_records(&self, page: PageId) -> Result<Vec<At>, StoreError> {
        let (mut records, mut next) = (Vec::new(), self.directory.frozen(page));
        while let Some(at) = next {
            records.push(at);
            next = self.record(page, at)?.header.prev;
        }
        Ok(records)
    }
}
