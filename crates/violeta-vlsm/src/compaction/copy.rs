//! Copying what is needed of some files into one.

use std::sync::Arc;

use bytes::Bytes;

use super::plan::{Area, Group};
use crate::error::StoreError;
use crate::log::{HEADER_BYTES, Operation, SPARSE_KIND};
use crate::records::RecordFiles;
use crate::sparse::{Extent, SparseId, SparseWriter};
use crate::store::Shared;
use crate::tree::At;

/// Bytes that one step copies, or a little more.
const STEP_BYTES: u64 = 1 << 20;

/// A file that is being made.
#[derive(Debug)]
pub(super) struct Copying {
    group: Group,
    /// What is still to be copied.
    extents: std::vec::IntoIter<Extent>,
    writer: SparseWriter,
    ahead: Ahead,
    /// Where the last record's header that was copied is.
    header: Option<u64>,
    /// Bytes of what is needed.
    useful: u64,
}

/// What was copied.
#[derive(Debug)]
pub(super) enum Copied {
    Some,
    /// A whole file, and so many bytes are free since.
    File(u64),
    /// There is nothing left.
    All,
}

/// Copies a part of what is needed: of `copying`, or of the last of `groups`. If that fails, there is nothing left of it,
/// and the next is that of another group.
pub(super) fn copy_some(
    shared: &Shared,
    copying: &mut Option<Copying>,
    groups: &mut Vec<Group>,
) -> Result<Copied, StoreError> {
    let mut now = match copying.take() {
        Some(now) => now,
        None => match groups.pop() {
            Some(group) => Copying::begin(shared, group)?,
            None => return Ok(Copied::All),
        },
    };
    if now.go_on(shared)? {
        *copying = Some(now);
        return Ok(Copied::Some);
    }
    Ok(Copied::File(now.finish(shared)?))
}

/// Bytes that are read ahead of a file in which there is everything.
const AHEAD_BYTES: u64 = 256 << 10;

/// What was read ahead.
#[derive(Debug, Default)]
struct Ahead {
    from: u64,
    bytes: Bytes,
}

impl Ahead {
    /// The bytes of an extent of one of the group's files, which `read` reads.
    fn get(
        &mut self,
        group: &Group,
        extent: Extent,
        read: impl FnOnce(u64, usize) -> Result<Bytes, StoreError>,
    ) -> Result<Bytes, StoreError> {
        let (from, len) = (extent.from, extent.len as usize);
        let inside = |ahead: &Ahead| {
            let at = usize::try_from(from.checked_sub(ahead.from)?).ok()?;
            let end = at.checked_add(len)?;
            (end <= ahead.bytes.len()).then(|| ahead.bytes.slice(at..end))
        };
        if let Some(bytes) = inside(self) {
            return Ok(bytes);
        }
        // Of a sparse file there is nothing between what was kept.
        let file = group.file_of(from).filter(|file| file.useful.is_none());
        let room = file.map_or(0, |file| file.to.saturating_sub(from).min(AHEAD_BYTES));
        if room as usize <= len {
            return read(from, len);
        }
        let bytes = read(from, room as usize)?;
        *self = Ahead { from, bytes };
        Ok(self.bytes.slice(..len))
    }
}

impl Copying {
    fn begin(shared: &Shared, mut group: Group) -> Result<Self, StoreError> {
        let number = shared.turns.next_number();
        let (from, to) = (group.from(), group.to());
        let kind = match group.area {
            Area::Log => SPARSE_KIND,
            Area::Pages => shared.nodes.pages.stream.kind(),
            Area::Nodes => shared.nodes.tops.stream.kind(),
        };
        let disk = Arc::clone(&shared.disk);
        let writer = SparseWriter::new(disk, &shared.dir, kind, SparseId { number, from, to })?;
        let extents: Vec<_> = group.extents().collect();
        Ok(Copying {
            group,
            extents: extents.into_iter(),
            writer,
            ahead: Ahead::default(),
            header: None,
            useful: 0,
        })
    }

    /// Copies the next few parts. Returns whether there are more.
    fn go_on(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        let end = self.useful + STEP_BYTES;
        while self.useful < end {
            let Some(extent) = self.extents.next() else {
                return Ok(false);
            };
            match self.group.area {
                Area::Log => self.operation(shared, extent)?,
                Area::Pages => self.record(&shared.nodes.pages, extent)?,
                Area::Nodes => self.record(&shared.nodes.tops, extent)?,
            }
            self.useful += extent.len;
        }
        Ok(true)
    }

    /// Copies an operation, and before the first of a record the record's header: who reads the operation asks for the
    /// version there.
    fn operation(&mut self, shared: &Shared, extent: Extent) -> Result<(), StoreError> {
        let log = &shared.log;
        let bytes = (self.ahead).get(&self.group, extent, |from, len| log.read(from, len))?;
        let operation = Operation::decode_at(extent.from, bytes.clone());
        let operation = operation
            .ok_or_else(|| log.corrupt(extent.from, "not the operation that was written there"))?;
        let header = extent.from.checked_sub(operation.back.into());
        let header = header.filter(|header| *header >= self.group.from());
        let header =
            header.ok_or_else(|| log.corrupt(extent.from, "its record begins in another file"))?;
        if self.header != Some(header) {
            self.writer.push(header, &log.read(header, HEADER_BYTES)?)?;
            self.header = Some(header);
        }
        self.writer.push(extent.from, &bytes)
    }

    fn record(&mut self, files: &RecordFiles, extent: Extent) -> Result<(), StoreError> {
        let read = |from, len| files.bytes(from, len);
        let record = self.ahead.get(&self.group, extent, read)?;
        files.check(At::new(extent.from, extent.len as usize), &record)?;
        self.writer.push(extent.from, &record)
    }

    /// Puts the file in the place of those that it was made of. Returns how many bytes are free since.
    fn finish(mut self, shared: &Shared) -> Result<u64, StoreError> {
        self.writer.complete(self.useful)?;
        let sparse = self.writer.publish();
        let sparse = Arc::new(sparse.inspect_err(|_| shared.turns.lose_file())?);
        let before: u64 = self.group.files.iter().map(|file| file.file_bytes).sum();
        let freed = before.saturating_sub(sparse.file_bytes);
        match self.group.area {
            Area::Log => shared.log.make_sparse(sparse)?,
            Area::Pages => shared.nodes.pages.make_sparse(sparse)?,
            Area::Nodes => shared.nodes.tops.make_sparse(sparse)?,
        }
        Ok(freed)
    }
}
