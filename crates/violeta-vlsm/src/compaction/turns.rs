//! Who compacts: one at a time, and nobody begins while the store is being checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What those who compact and those who check share.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    compacting: AtomicBool,
    /// How many check the store.
    checking: AtomicU32,
    /// The number of the last sparse file.
    number: AtomicU64,
    /// Whether a sparse file may be there that nobody knows of: nothing more is made before the next opening finds it.
    lost: AtomicBool,
}

impl Turns {
    /// Of a store whose sparse files have numbers up to this one.
    pub(crate) fn new(number: u64) -> Arc<Self> {
        Arc::new(Turns {
            number: AtomicU64::new(number),
            ..Turns::default()
        })
    }

    /// The turn to compact, if nobody has it.
    pub(super) fn compact(self: &Arc<Self>) -> Option<Turn> {
        let free = !self.compacting.swap(true, Ordering::AcqRel);
        free.then(|| Turn(Arc::clone(self)))
    }

    /// Whether somebody checks the store.
    pub(super) fn is_checked(&self) -> bool {
        self.checking.load(Ordering::Acquire) > 0
    }

    /// While what this returns is there, nobody begins to compact. Who does already takes nothing of what is kept now.
    pub(crate) fn check(self: &Arc<Self>) -> Check {
        self.checking.fetch_add(1, Ordering::AcqRel);
        Check(Arc::clone(self))
    }

    /// A number that no sparse file has or had.
    pub(super) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A sparse file may be there that nobody knows of.
    pub(super) fn lose_file(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(super) fn has_lost_file(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

/// Held by who compacts.
#[derive(Debug)]
pub(super) struct Turn(Arc<Turns>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.compacting.store(false, Ordering::Release);
    }
}

/// Held by who checks the store.
#[derive(Debug)]
pub(crate) struct Check(Arc<Turns>);

impl Drop for Check {
    fn drop(&mut self) {
        self.0.checking.fetch_sub(1, Ordering::AcqRel);
    }
}
