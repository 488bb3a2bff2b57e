//! A disk that fails when told to, over any other.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirLock, Disk, DiskError, DiskFile, OpenMode};

/// What a disk is asked to do, as far as faults tell operations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Open or create a file.
    Open,
    /// Read from a file, its length, or a directory.
    Read,
    /// Write to a file. A failed one leaves the first half of its bytes written.
    Write,
    /// Set a file's length.
    Resize,
    /// Create a directory, rename or remove.
    Name,
    /// Sync a file or a directory. A failed one syncs nothing.
    Sync,
}

#[derive(Debug, Default)]
struct Plan {
    done: u64,
    at: Option<(u64, io::ErrorKind)>,
    from: Option<(u64, io::ErrorKind)>,
    next: Option<(Operation, io::ErrorKind)>,
}

impl Plan {
    fn fault(&mut self, operation: Operation) -> Option<io::ErrorKind> {
        let number = self.done;
        self.done += 1;
        if let Some((from, kind)) = self.from
            && number >= from
        {
            return Some(kind);
        }
        let once = self.at.take_if(|(at, _)| *at == number);
        let next = self.next.take_if(|(next, _)| *next == operation);
        once.map(|(_, kind)| kind).or(next.map(|(_, kind)| kind))
    }
}

/// Passes every operation on to another disk, but for those that it was told to fail. Locks never fail.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyDisk {
    /// A disk that is as good as `inner` until it is told otherwise.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        FaultyDisk {
            inner,
            plan: Arc::default(),
        }
    }

    /// How many operations there were so far, failed ones included: the number of the next one.
    pub fn operations(&self) -> u64 {
        lock(&self.plan).done
    }

    /// Operation number `number` fails, once.
    pub fn fail_at(&self, number: u64, kind: io::ErrorKind) {
        lock(&self.plan).at = Some((number, kind));
    }

    /// Operation number `number` fails, and all that come after it: as if the power went.
    pub fn fail_from(&self, number: u64, kind: io::ErrorKind) {
        lock(&self.plan).from = Some((number, kind));
    }

    /// The next operation of this sort fails, once.
    pub fn fail_next(&self, operation: Operation, kind: io::ErrorKind) {
        lock(&self.plan).next = Some((operation, kind));
    }

    /// Nothing fails any more.
    pub fn repair(&self) {
        let mut plan = lock(&self.plan);
        (plan.at, plan.from, plan.next) = (None, None, None);
    }

    fn check(
        &self,
        operation: Operation,
        action: &'static str,
        path: &str,
    ) -> Result<(), DiskError> {
        check(&self.plan, operation, action, path)
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(
    plan: &Mutex<Plan>,
    operation: Operation,
    action: &'static str,
    path: &str,
) -> Result<(), DiskError> {
    match lock(plan).fault(operation) {
        Some(kind) => Err(DiskError::new(action, path, kind)),
        None => Ok(()),
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.check(Operation::Open, "open", path)?;
        let inner = self.inner.open(path, mode)?;
        let plan = Arc::clone(&self.plan);
        Ok(Arc::new(FaultyFile { inner, plan }))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        self.check(Operation::Read, "list", dir)?;
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.check(Operation::Name, "create directory", dir)?;
        self.inner.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.check(Operation::Name, "rename", from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.check(Operation::Name, "remove", path)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.check(Operation::Sync, "sync directory", dir)?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, dir: &str) -> Result<DirLock, DiskError> {
        self.inner.lock(dir)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn DiskFile>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyFile {
    fn check(&self, operation: Operation, action: &'static str) -> Result<(), DiskError> {
        check(&self.plan, operation, action, self.inner.path())
    }
}

impl DiskFile for FaultyFile {
    fn path(&self) -> &str {
        self.inner.path()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.check(Operation::Read, "read")?;
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        match self.check(Operation::Write, "write") {
            Ok(()) => self.inner.write_at(offset, bytes),
            Err(error) => {
                self.inner.write_at(offset, &bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.check(Operation::Sync, "sync")?;
        self.inner.sync_data()
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        self.check(Operation::Resize, "allocate")?;
        self.inner.allocate(len)
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.check(Operation::Resize, "truncate")?;
        self.inner.truncate(len)
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.check(Operation::Read, "measure")?;
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    #[test]
    fn the_chosen_operation_fails_and_no_other() {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let file = disk.open("x", OpenMode::Any).unwrap();
        assert_eq!(disk.operations(), 1);
        disk.fail_at(2, io::ErrorKind::StorageFull);
        file.write_at(0, b"ab").unwrap();
        let error = file.write_at(2, b"cdef").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 4, "a failed write is half done");
        disk.fail_next(Operation::Sync, io::ErrorKind::Other);
        file.write_at(2, b"cdef").unwrap();
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
    }

    #[test]
    fn when_the_power_goes_all_that_follows_fails_until_repaired() {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        disk.fail_from(1, io::ErrorKind::Other);
        let file = disk.open("x", OpenMode::Any).unwrap();
        file.write_at(0, b"a").unwrap_err();
        file.sync_data().unwrap_err();
        disk.list("").unwrap_err();
        disk.repair();
        file.write_at(0, b"a").unwrap();
    }
}
