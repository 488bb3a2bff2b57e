//! What the index's marker says, and how an index that finds itself damaged remembers it.
//!
//! ```text
//!  boot id    it is open, or was when its process ended in this boot of the machine     trusted within that boot
//!  "closed"   it was synced and closed                                                  trusted
//!  "damaged"  a look into it found what can't be there                                  made anew
//! ```
//!
//! What LMDB finds wrong stays wrong, and whoever asks again is told the same: the machine would wait for its next commit for
//! ever. So damage is final. The first that comes upon it marks the index and raises the alarm, which stops the node; the
//! next start makes the index anew from the journal.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use heed::MdbError;
use tracing::warn;

use super::store::IndexError;
use crate::files::{self, FileError};

/// The marker's name in the index's directory.
const MARKER: &str = "boot";
/// What stands in the marker of an index that was closed.
const CLOSED: &str = "closed";
/// What stands in the marker of an index that found itself damaged.
const DAMAGED: &str = "damaged";

/// What is told of damage: that it is there, and what to do.
type Alarm = Box<dyn Fn(&str) + Send + Sync>;

/// See the module.
pub(super) struct Damage {
    index: PathBuf,
    found: AtomicBool,
    alarm: OnceLock<Alarm>,
}

impl Damage {
    /// Nothing was found yet in the index in this directory.
    pub(super) fn none(index: &Path) -> Self {
        Damage {
            index: index.to_owned(),
            found: AtomicBool::new(false),
            alarm: OnceLock::new(),
        }
    }

    /// Who is told. The first who wants to be is; there is one node around an index.
    pub(super) fn on_damage(&self, alarm: Alarm) {
        let set = self.alarm.set(alarm);
        debug_assert!(set.is_ok(), "one alarm for an index");
    }

    /// Takes note of damage; the error says what it is.
    pub(super) fn found(&self, what: &str) -> IndexError {
        let error = IndexError::Damaged {
            path: self.index.clone(),
            what: what.to_owned(),
        };
        if !self.found.swap(true, Ordering::AcqRel) {
            if let Err(error) = mark(&self.index, DAMAGED) {
                // Without a marker it isn't trusted either, and removing it takes no room.
                let removed = std::fs::remove_file(self.index.join(MARKER));
                warn!(%error, ?removed, "a damaged index can't be marked as such");
            }
            if let Some(alarm) = self.alarm.get() {
                alarm(&error.to_string());
            }
        }
        error
    }

    /// The index was synced and closed.
    pub(super) fn closed(&self) -> Result<(), FileError> {
        match self.found.load(Ordering::Acquire) {
            true => Ok(()),
            false => mark(&self.index, CLOSED),
        }
    }
}

/// Whether an error of LMDB's says that pages hold what they can't.
pub(super) fn is_damage(error: &heed::Error) -> bool {
    use MdbError::{Corrupted, CursorFull, PageFull, PageNotFound};
    matches!(
        error,
        // A tree that is deeper than can be, and a page with less room than it says: links and counts that are wrong.
        heed::Error::Mdb(Corrupted | PageNotFound | CursorFull | PageFull)
    )
}

/// Whether an index in this directory may be opened, as far as its marker says.
pub(super) fn trusted(index: &Path, boot: &str) -> Result<(), &'static str> {
    match std::fs::read_to_string(index.join(MARKER)) {
        Ok(text) if text == boot || text == CLOSED => Ok(()),
        Ok(text) if text == DAMAGED => Err("it was found to be damaged"),
        Ok(_) => Err("the machine went down while it was open"),
        Err(_) => Err("its marker can't be read"),
    }
}

/// Writes the marker.
pub(super) fn mark(index: &Path, text: &str) -> Result<(), FileError> {
    files::write_atomic(&index.join(MARKER), text.as_bytes(), files::PUBLIC_MODE)
}

/// Names this boot of the machine; another after each restart of it.
pub(super) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        // Where there is none, no index that wasn't closed is trusted.
        .unwrap_or_else(|_| format!("unknown boot, process {}", std::process::id()))
}
