//! What a file in memory holds, now and after a crash.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const PAGE_BYTES: usize = 4_096;
/// Bytes that a disk writes as a whole: a torn write keeps some of these, and at most one in part.
const SECTOR_BYTES: usize = 512;

/// A file: what is on the disk for certain, what was done since, and what a reader sees.
#[derive(Debug)]
pub(super) struct Content {
    live: Sparse,
    durable: Sparse,
    changes: Vec<Change>,
    linked: bool,
}

impl Default for Content {
    fn default() -> Self {
        Content {
            live: Sparse::default(),
            durable: Sparse::default(),
            changes: Vec::new(),
            linked: true,
        }
    }
}

#[derive(Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.live.len
    }

    /// Whether the file still has a name.
    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// The file loses its name; says how many bytes that frees.
    pub(super) fn unlink(&mut self) -> u64 {
        self.linked = false;
        self.live.len
    }

    /// Fills the buffer; false if the file ends before.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.live.read(offset, buffer)
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.change(Change::Write { offset, bytes });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.change(Change::SetLen(len));
    }

    pub(super) fn flip_bit(&mut self, offset: u64, bit: u8) -> bool {
        let mut byte = [0];
        if !self.live.read(offset, &mut byte) {
            return false;
        }
        byte[0] ^= 1 << (bit % 8);
        self.live.write(offset, &byte);
        if offset < self.durable.len {
            self.durable.write(offset, &byte);
        }
        true
    }

    pub(super) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
        debug_assert_eq!(self.durable.len, self.live.len);
    }

    /// Keeps what was synced, and of the rest what `random` decides.
    pub(super) fn crash(&mut self, random: &mut dyn FnMut() -> u64) {
        let changes = std::mem::take(&mut self.changes);
        let count = changes.len() as u64;
        match random() % 4 {
            _ if count == 0 => {}
            0 => {}
            1 => changes.iter().for_each(|c| c.apply(&mut self.durable)),
            2 => {
                let torn = (random() % count) as usize;
                for change in &changes[..torn] {
                    change.apply(&mut self.durable);
                }
                changes[torn].apply_torn(&mut self.durable, random);
            }
            _ => {
                for change in &changes {
                    match random() % 3 {
                        0 => {}
                        1 => change.apply(&mut self.durable),
                        _ => change.apply_torn(&mut self.durable, random),
                    }
                }
            }
        }
        self.live = self.durable.clone();
        self.linked = true;
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.changes.push(change);
    }
}

impl Change {
    fn apply(&self, content: &mut Sparse) {
        match self {
            Change::Write { offset, bytes } => content.write(*offset, bytes),
            Change::SetLen(len) => content.set_len(*len),
        }
    }

    /// Applies a part: of a write, a prefix that may end anywhere, or any of its sectors.
    fn apply_torn(&self, content: &mut Sparse, random: &mut dyn FnMut() -> u64) {
        let Change::Write { offset, bytes } = self else {
            return;
        };
        if random().is_multiple_of(2) {
            let kept = (random() % (bytes.len() as u64 + 1)) as usize;
            content.write(*offset, &bytes[..kept]);
            return;
        }
        for part in sectors(*offset, bytes.len()) {
            if random().is_multiple_of(2) {
                content.write(*offset + part.start as u64, &bytes[part]);
            }
        }
    }
}

/// The parts of a write of `len` bytes at `offset` that lie in different sectors.
fn sectors(offset: u64, len: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let in_sector = ((offset + start as u64) % SECTOR_BYTES as u64) as usize;
        let end = len.min(start + SECTOR_BYTES - in_sector);
        let part = start..end;
        start = end;
        (!part.is_empty()).then_some(part)
    })
}

/// Bytes in pages; a page that isn't there is zeros. Clones share pages.
#[derive(Clone, Debug, Default)]
struct Sparse {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE_BYTES]>>,
}

impl Sparse {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return false;
        }
        for (page, within, part) in pages(offset, buffer.len()) {
            let target = &mut buffer[part];
            match self.pages.get(&page) {
                Some(bytes) => target.copy_from_slice(&bytes[within]),
                None => target.fill(0),
            }
        }
        true
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for (page, within, part) in pages(offset, bytes.len()) {
            let target = self.pages.entry(page).or_insert(Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(target)[within].copy_from_slice(&bytes[part]);
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            let last = len / PAGE_BYTES as u64;
            self.pages.retain(|page, _| *page <= last);
            if let Some(page) = self.pages.get_mut(&last) {
                Arc::make_mut(page)[(len % PAGE_BYTES as u64) as usize..].fill(0);
            }
        }
        self.len = len;
    }
}

/// For each page that `len` bytes at `offset` touch: its number, where in it, and which of the bytes.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let at = offset + start as u64;
        let first = (at % PAGE_BYTES as u64) as usize;
        let size = (PAGE_BYTES - first).min(len - start);
        let part = start..start + size;
        start += size;
        (size > 0).then_some((at / PAGE_BYTES as u64, first..first + size, part))
    })
}
