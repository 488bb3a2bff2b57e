//! Open files, kept for reading: a bounded number of them, found without waiting.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use violeta_journal::{Disk, DiskError, DiskFile, OpenMode};

use crate::limits::OPEN_FILES_MAX;

/// Files of one kind, told apart by two numbers. The numbers belong to one file for ever: none is made under the name
/// of one that was removed, so what is kept here is never another file than the one asked for.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    slots: Box<[ArcSwapOption<OpenFile>]>,
}

#[derive(Debug)]
struct OpenFile {
    id: (u64, u64),
    file: Arc<dyn DiskFile>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        let slots = (0..OPEN_FILES_MAX).map(|_| ArcSwapOption::empty());
        Files {
            disk,
            slots: slots.collect(),
        }
    }

    /// Fills `buffer` from the file `id`, which lies at `path`.
    pub(crate) fn read_at(
        &self,
        id: (u64, u64),
        path: impl FnOnce() -> String,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), DiskError> {
        let slot = self.slot(id);
        if let Some(open) = &*slot.load()
            && open.id == id
        {
            return open.file.read_at(offset, buffer);
        }
        let file = self.disk.open(&path(), OpenMode::Existing)?;
        let result = file.read_at(offset, buffer);
        slot.store(Some(Arc::new(OpenFile { id, file })));
        result
    }

    /// Closes the file `id`, which is about to be removed: else it would take its room for as long as it is open.
    pub(crate) fn forget(&self, id: (u64, u64)) {
        let slot = self.slot(id);
        if slot.load().as_ref().is_some_and(|open| open.id == id) {
            slot.store(None);
        }
    }

    fn slot(&self, id: (u64, u64)) -> &ArcSwapOption<OpenFile> {
        // Files are numbered by size or by one: both kinds of numbers spread.
        &self.slots[((id.0 ^ id.0 >> 26 ^ id.1) % OPEN_FILES_MAX as u64) as usize]
    }
}

/// A path within the store's directory.
pub(crate) fn in_dir(dir: &str, name: &str) -> String {
    match dir {
        "" => name.to_owned(),
        dir => format!("{dir}/{name}"),
    }
}
