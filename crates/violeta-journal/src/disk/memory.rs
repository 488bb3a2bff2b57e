//! A disk in memory that forgets what wasn't synced: for tests, and for the simulator.
//!
//! ```text
//!   names:  durable ──(changes since sync_dir)──▶ live      files:  durable ──(changes since sync_data)──▶ live
//!                         crash: some of these happened, some didn't, one may be torn
//! ```
//!
//! Deterministic: what a crash loses depends on the operations before it and on the random numbers handed in, on
//! nothing else.

mod content;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{DirLock, Disk, DiskError, DiskFile, OpenMode, check_path, parent};
use content::Content;

/// A disk in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts crashes: a file opened before one is of no use after it.
    generation: AtomicU64,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<String, Entry>,
    durable: BTreeMap<String, Entry>,
    changes: Vec<NameChange>,
    locks: BTreeSet<String>,
    next_number: u64,
}

/// How many bytes of files there are and may be.
#[derive(Debug, Default)]
struct Room {
    used: u64,
    capacity: Option<u64>,
}

#[derive(Clone, Debug)]
enum Entry {
    Dir,
    File(u64, Arc<Mutex<Content>>),
}

impl Entry {
    fn is(&self, other: &Entry) -> bool {
        match (self, other) {
            (Entry::Dir, Entry::Dir) => true,
            (Entry::File(a, _), Entry::File(b, _)) => a == b,
            _ => false,
        }
    }
}

/// One change of names: what goes, what comes.
#[derive(Clone, Debug)]
struct NameChange {
    gone: Option<String>,
    come: Option<String>,
    entry: Entry,
}

impl NameChange {
    fn touches(&self, dir: &str) -> bool {
        let within = |path: &Option<String>| path.as_deref().is_some_and(|p| parent(p) == dir);
        within(&self.gone) || within(&self.come)
    }

    fn apply(&self, names: &mut BTreeMap<String, Entry>) {
        if let Some(gone) = &self.gone
            && names.get(gone).is_some_and(|entry| entry.is(&self.entry))
        {
            names.remove(gone);
        }
        if let Some(come) = &self.come {
            names.insert(come.clone(), self.entry.clone());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets files hold this many bytes in all, from now on; what they hold already stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        lock(&self.shared.room).capacity = bytes;
    }

    /// Bytes that files hold.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.shared.room).used
    }

    /// The power goes. Of what wasn't synced, `random` (any 64-bit numbers) decides what is lost: all, nothing,
    /// everything after some point with a torn write there, or any subset with any of them torn; for names likewise.
    /// Files opened before are of no use after: every operation on them fails. Locks are free.
    pub fn crash(&self, random: &mut dyn FnMut() -> u64) {
        let mut state = lock(&self.shared.state);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        let mut files = BTreeMap::new();
        for entry in state.live.values().chain(state.durable.values()) {
            if let Entry::File(number, content) = entry {
                files.insert(*number, Arc::clone(content));
            }
        }
        for content in files.values() {
            lock(content).crash(random);
        }
        let changes = std::mem::take(&mut state.changes);
        for change in survivors(&changes, random) {
            change.apply(&mut state.durable);
        }
        drop_orphans(&mut state.durable);
        state.live = state.durable.clone();
        state.locks.clear();
        lock(&self.shared.room).used = used(&state.live);
    }

    /// Flips a bit of a file, on the disk and in what is read from it: bit rot.
    ///
    /// # Errors
    /// If there is no such file, or it ends before.
    pub fn flip_bit(&self, path: &str, offset: u64, bit: u8) -> Result<(), DiskError> {
        let state = lock(&self.shared.state);
        let content = file_at(&state.live, "flip a bit of", path)?;
        let flipped = lock(&content).flip_bit(offset, bit);
        if !flipped {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(DiskError::new("flip a bit of", path, kind));
        }
        Ok(())
    }
}

/// Which of these changes reach the disk although nobody synced them.
fn survivors<'a, T>(
    changes: &'a [T],
    random: &mut dyn FnMut() -> u64,
) -> impl Iterator<Item = &'a T> {
    let kept: Vec<bool> = match random() % 4 {
        0 => vec![false; changes.len()],
        1 => vec![true; changes.len()],
        2 => {
            let first_lost = (random() % (changes.len() as u64 + 1)) as usize;
            (0..changes.len()).map(|i| i < first_lost).collect()
        }
        _ => changes.iter().map(|_| random().is_multiple_of(2)).collect(),
    };
    changes.iter().zip(kept).filter(|(_, k)| *k).map(|(c, _)| c)
}

/// Removes what lies in directories whose own name was lost.
fn drop_orphans(names: &mut BTreeMap<String, Entry>) {
    // A directory sorts before what is in it, so one pass sees it first.
    let mut dirs = BTreeSet::from([String::new()]);
    names.retain(|path, entry| {
        let kept = dirs.contains(parent(path));
        if kept && matches!(entry, Entry::Dir) {
            dirs.insert(path.clone());
        }
        kept
    });
}

fn used(names: &BTreeMap<String, Entry>) -> u64 {
    let len = |entry: &Entry| match entry {
        Entry::Dir => 0,
        Entry::File(_, content) => lock(content).len(),
    };
    names.values().map(len).sum()
}

fn file_at(
    names: &BTreeMap<String, Entry>,
    action: &'static str,
    path: &str,
) -> Result<Arc<Mutex<Content>>, DiskError> {
    match names.get(path) {
        Some(Entry::File(_, content)) => Ok(Arc::clone(content)),
        Some(Entry::Dir) => Err(DiskError::new(action, path, io::ErrorKind::IsADirectory)),
        None => Err(DiskError::new(action, path, io::ErrorKind::NotFound)),
    }
}

impl State {
    fn check_dir(&self, action: &'static str, dir: &str) -> Result<(), DiskError> {
        check_path(action, dir)?;
        match self.live.get(dir) {
            Some(Entry::Dir) => Ok(()),
            None if dir.is_empty() => Ok(()),
            Some(_) => Err(DiskError::new(action, dir, io::ErrorKind::NotADirectory)),
            None => Err(DiskError::new(action, dir, io::ErrorKind::NotFound)),
        }
    }

    fn change(&mut self, gone: Option<&str>, come: Option<&str>, entry: Entry) {
        let change = NameChange {
            gone: gone.map(str::to_owned),
            come: come.map(str::to_owned),
            entry,
        };
        change.apply(&mut self.live);
        self.changes.push(change);
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        check_path("open", path)?;
        let mut state = lock(&self.shared.state);
        state.check_dir("open", parent(path))?;
        let content = match file_at(&state.live, "open", path) {
            Ok(_) if mode == OpenMode::New => {
                return Err(DiskError::new("open", path, io::ErrorKind::AlreadyExists));
            }
            Ok(content) => content,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(error) if mode == OpenMode::Existing => return Err(error),
            Err(_) => {
                let content = Arc::new(Mutex::new(Content::default()));
                let entry = Entry::File(state.next_number, Arc::clone(&content));
                state.next_number += 1;
                state.change(None, Some(path), entry);
                content
            }
        };
        Ok(Arc::new(MemoryFile {
            path: path.to_owned(),
            generation: self.shared.generation.load(Ordering::SeqCst),
            shared: Arc::clone(&self.shared),
            content,
        }))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let state = lock(&self.shared.state);
        state.check_dir("list", dir)?;
        let within = state.live.keys().filter(|path| parent(path) == dir);
        let start = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let mut names: Vec<_> = within.map(|path| path[start..].to_owned()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        let action = "create directory";
        check_path(action, dir)?;
        let mut state = lock(&self.shared.state);
        state.check_dir(action, parent(dir))?;
        match state.live.get(dir) {
            Some(Entry::Dir) => Ok(()),
            None if dir.is_empty() => Ok(()),
            Some(_) => Err(DiskError::new(action, dir, io::ErrorKind::AlreadyExists)),
            None => {
                state.change(None, Some(dir), Entry::Dir);
                Ok(())
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        check_path("rename", from)?;
        check_path("rename to", to)?;
        let mut state = lock(&self.shared.state);
        file_at(&state.live, "rename", from)?;
        state.check_dir("rename to", parent(to))?;
        let replaced = match file_at(&state.live, "rename to", to) {
            Ok(content) if from != to => lock(&content).unlink(),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if let Some(entry) = state.live.get(from).cloned() {
            state.change(Some(from), Some(to), entry);
        }
        lock(&self.shared.room).used -= replaced;
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        check_path("remove", path)?;
        let mut state = lock(&self.shared.state);
        let freed = lock(&*file_at(&state.live, "remove", path)?).unlink();
        if let Some(entry) = state.live.get(path).cloned() {
            state.change(Some(path), None, entry);
        }
        lock(&self.shared.room).used -= freed;
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let mut state = lock(&self.shared.state);
        state.check_dir("sync directory", dir)?;
        let changes = std::mem::take(&mut state.changes);
        let (synced, rest): (Vec<_>, Vec<_>) = changes.into_iter().partition(|c| c.touches(dir));
        for change in synced {
            change.apply(&mut state.durable);
        }
        state.changes = rest;
        Ok(())
    }

    fn lock(&self, dir: &str) -> Result<DirLock, DiskError> {
        let mut state = lock(&self.shared.state);
        state.check_dir("lock", dir)?;
        if !state.locks.insert(dir.to_owned()) {
            return Err(DiskError::Locked {
                dir: dir.to_owned(),
                holder: Some(std::process::id()),
            });
        }
        Ok(DirLock::new(MemoryLock {
            dir: dir.to_owned(),
            generation: self.shared.generation.load(Ordering::SeqCst),
            shared: Arc::clone(&self.shared),
        }))
    }
}

#[derive(Debug)]
struct MemoryLock {
    dir: String,
    generation: u64,
    shared: Arc<Shared>,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        // A crash has freed it already, and someone may hold it anew.
        if self.shared.generation.load(Ordering::SeqCst) == self.generation {
            state.locks.remove(&self.dir);
        }
    }
}

#[derive(Debug)]
struct MemoryFile {
    path: String,
    generation: u64,
    shared: Arc<Shared>,
    content: Arc<Mutex<Content>>,
}

impl MemoryFile {
    fn content(&self, action: &'static str) -> Result<MutexGuard<'_, Content>, DiskError> {
        let content = lock(&self.content);
        if self.shared.generation.load(Ordering::SeqCst) == self.generation {
            return Ok(content);
        }
        let source = io::Error::other("opened before the disk crashed");
        Err(DiskError::new(action, &self.path, source))
    }

    /// Finds room for a file that grows to `len`; says how long it can be.
    fn grow(&self, content: &Content, len: u64) -> u64 {
        let growth = len.saturating_sub(content.len());
        if !content.is_linked() {
            return len;
        }
        let mut room = lock(&self.shared.room);
        let free = room
            .capacity
            .map_or(u64::MAX, |c| c.saturating_sub(room.used));
        room.used += growth.min(free);
        len - growth.saturating_sub(free)
    }

    fn full(&self, action: &'static str) -> DiskError {
        DiskError::new(action, &self.path, io::ErrorKind::StorageFull)
    }
}

impl DiskFile for MemoryFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        if self.content("read")?.read(offset, buffer) {
            return Ok(());
        }
        let kind = io::ErrorKind::UnexpectedEof;
        Err(DiskError::new("read", &self.path, kind))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut content = self.content("write")?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.saturating_add(bytes.len() as u64);
        let fits = self.grow(&content, end);
        let written = fits.saturating_sub(offset) as usize;
        if fits < end && written == 0 {
            content.set_len(fits);
            return Err(self.full("write"));
        }
        content.write(offset, &bytes[..written]);
        if fits < end {
            return Err(self.full("write"));
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.content("sync")?.sync();
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let mut content = self.content("allocate")?;
        if len <= content.len() {
            return Ok(());
        }
        let fits = self.grow(&content, len);
        if fits < len {
            // Nothing or all of it: give back what was found.
            lock(&self.shared.room).used -= fits - content.len();
            return Err(self.full("allocate"));
        }
        content.set_len(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        let now = self.content("truncate")?.len();
        if len > now {
            return self.allocate(len);
        }
        let mut content = self.content("truncate")?;
        content.set_len(len);
        if content.is_linked() {
            lock(&self.shared.room).used -= now - len;
        }
        Ok(())
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.content("measure")?.len())
    }
}
