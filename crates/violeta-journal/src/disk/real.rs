//! The operating system's files below a root directory.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::{DirLock, Disk, DiskError, DiskFile, LOCK_FILE, OpenMode, check_path, join};

/// Files below a directory of this machine.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The files below `root`, which is created by the first [`Disk::create_dir`] if it doesn't exist.
    pub fn new(root: PathBuf) -> Self {
        RealDisk { root }
    }

    fn full(&self, action: &'static str, path: &str) -> Result<PathBuf, DiskError> {
        check_path(action, path)?;
        if path.is_empty() {
            return Ok(self.root.clone());
        }
        Ok(self.root.join(path))
    }

    /// The path as people see it.
    fn shown(&self, path: &str) -> String {
        self.root.join(path).display().to_string()
    }

    fn error(&self, action: &'static str, path: &str) -> impl FnOnce(io::Error) -> DiskError {
        let path = self.shown(path);
        move |source| DiskError::Io {
            action,
            path,
            source,
        }
    }

    /// Makes the root with all above it, each durable in its parent.
    fn create_root(&self) -> io::Result<()> {
        let missing: Vec<_> = self
            .root
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        for path in missing.into_iter().rev() {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
            let above = path.parent().filter(|p| !p.as_os_str().is_empty());
            File::open(above.unwrap_or(".".as_ref()))?.sync_all()?;
        }
        Ok(())
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let full = self.full("open", path)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match mode {
            OpenMode::Existing => {}
            OpenMode::New => _ = options.create_new(true),
            OpenMode::Any => _ = options.create(true).truncate(false),
        }
        let file = options.open(full).map_err(self.error("open", path))?;
        Ok(Arc::new(RealFile {
            path: self.shown(path),
            file,
            length_changed: AtomicBool::new(false),
        }))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.full("list", dir)?).map_err(self.error("list", dir))? {
            let name = entry.map_err(self.error("list", dir))?.file_name();
            // A name that isn't UTF-8 is none of ours: no path here could name it.
            names.extend(name.into_string().ok().filter(|name| name != LOCK_FILE));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        let full = self.full("create directory", dir)?;
        let made = if dir.is_empty() {
            self.create_root()
        } else {
            fs::create_dir(&full)
        };
        match made {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && full.is_dir() => Ok(()),
            other => other.map_err(self.error("create directory", dir)),
        }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        let (source, target) = (self.full("rename", from)?, self.full("rename to", to)?);
        fs::rename(source, target).map_err(self.error("rename", from))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        fs::remove_file(self.full("remove", path)?).map_err(self.error("remove", path))
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        File::open(self.full("sync directory", dir)?)
            .and_then(|dir| dir.sync_all())
            .map_err(self.error("sync directory", dir))
    }

    /// The kernel holds the lock for the process and lets go of it when the process ends, however it ends. The file
    /// stays, with the last holder's process id in it, for the message that a second holder gets.
    fn lock(&self, dir: &str) -> Result<DirLock, DiskError> {
        let path = join(dir, LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.full("lock", &path)?)
            .map_err(self.error("lock", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DiskError::Locked {
                    dir: self.shown(dir).trim_end_matches('/').to_owned(),
                    holder: read_holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(self.error("lock", &path)(source)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(self.error("lock", &path))?;
        Ok(DirLock::new(file))
    }
}

fn read_holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[derive(Debug)]
struct RealFile {
    path: String,
    file: File,
    /// A length that was set needs a full sync: a data sync need not bring a shorter one to the disk.
    length_changed: AtomicBool,
}

impl RealFile {
    fn error(&self, action: &'static str) -> impl FnOnce(io::Error) -> DiskError {
        let path = self.path.clone();
        move |source| DiskError::Io {
            action,
            path,
            source,
        }
    }
}

impl DiskFile for RealFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(self.error("read"))
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(self.error("write"))
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        let synced = if self.length_changed.swap(false, Ordering::Relaxed) {
            self.file.sync_all()
        } else {
            self.file.sync_data()
        };
        synced.map_err(self.error("sync"))
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let error = |source| self.error("allocate")(source);
        let now = self.file.metadata().map_err(error)?.len();
        if len <= now {
            return Ok(());
        }
        self.length_changed.store(true, Ordering::Relaxed);
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), now, len - now) {
            Ok(()) => Ok(()),
            // A file system that can't reserve still can extend; the room is then found, or not, at the write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.file.set_len(len).map_err(error),
            Err(errno) => Err(error(errno.into())),
        }
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.length_changed.store(true, Ordering::Relaxed);
        self.file.set_len(len).map_err(self.error("truncate"))
    }

    fn len(&self) -> Result<u64, DiskError> {
        let metadata = self.file.metadata().map_err(self.error("measure"))?;
        Ok(metadata.len())
    }
}
