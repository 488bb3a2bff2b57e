//! Which nonces may be signed: never one twice, whatever crashes (replica.md §1, §8).
//!
//! ```text
//!   reserve ─▶ next += n ─▶ written and synced ─▶ only now a signature may leave
//!
//!   file:  slot 0 (8192) │ slot 1 (8192)        written in turn; the valid one with the greater sequence counts:
//!                                               a torn write leaves the other
//!   slot:  magic (8) ‖ sequence: u64 ‖ chain (32) ‖ client key (32) ‖ next: u64 ‖ lowest: u64 ‖
//!          floor: u64 ‖ barrier: u64 ‖ barrier_expires: u64 ‖ expires: 512 × u64 ‖ digest (32)
//! ```
//!
//! Every nonce below `next` may have been signed; none from `next` on has. `lowest` is the lowest whose fate isn't known:
//! no nonce [`CLIENT_NONCE_SPREAD`] or more above it is signed. `expires` says of each from `lowest` on until when it may
//! be executed, 0 if its fate is known. `floor` is the highest known to be spent: none more than [`REACH`] above it is
//! signed. What is only learnt (a nonce was resolved) is written with the next reservation: forgetting it is safe.
//!
//! The file is locked while it is open: two processes with one file can't both sign. A key used with two files, or on
//! two machines, is beyond what a file can guard.
//!
//! **A client always gets on.** A transaction that reached nobody is resolved once certified time has passed its expiry.
//! Certified time is the chain's, which stands still while nothing is committed, and the client who could make it go on,
//! by a barrier, needs a nonce for that:
//!
//! ```text
//!   lowest                              lowest + UNDER_WAY_MAX      lowest + CLIENT_NONCE_SPREAD
//!   ├────────────────────────────────────────┤├─────────────────────────┤
//!      transactions, and barriers                barriers alone
//! ```
//!
//! - Its *own* expiry frees a nonce, after any number of openings: what is reserved later doesn't put that off.
//! - The last [`BARRIER_NONCES`] of the spread are left to barriers, so a client whose part for transactions is full can
//!   still make time go on, and when the lowest has expired one block is enough.
//! - One barrier is under way at a time: until it is spent or has expired, it is that one that is sent again, as the same
//!   bytes (`barrier`, `barrier_expires`). An outage uses one in [`BARRIER_EXPIRY_MS`] then, however often a client
//!   tries.
//! - A barrier that was lost on its way is the lowest itself sooner or later, long before it expires: it is sent again
//!   then, and needs no nonce for that.
//! - Where barriers are executed and the lowest still hasn't expired, since this machine's clock is ahead of the chain's,
//!   those left to barriers are signed [`BARRIER_PAUSE_MS`] apart: they last longer than any transaction that a
//!   validator admits.
//!
//! **A file that is lost.** With H, the highest nonce that the chain has seen, the window of what can be executed is
//! divided between the file that was lost and its successor, whatever became of what the lost one signed:
//!
//! ```text
//!   H          H + 512                 H + REACH            H + NONCE_WINDOW
//!   ├─────────────┼────────────────────────┤├─────────────────────┤
//!     under way     as much again, should    successor, until one
//!                   all of that expire       of its own is spent
//! ```
//!
//! So a new file gives no nonce before it is known where it begins ([`Nonces::begin_above`], the only way to a
//! [`Begun`]). How far the chain has seen isn't left to one validator, who may lag or serve an old state, but asked of a
//! quorum. Where the chain has seen nothing of the key the file begins at 1, as the first one does: a file that is lost
//! before anything of it was executed, or a successor that is lost before anything of its own was, is beyond this.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::ops::{Deref, Range};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use borsh::{BorshDeserialize, BorshSerialize};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use violeta_types::limits::{CLIENT_NONCE_SPREAD, EXPIRY_AHEAD_MS_MAX, NONCE_WINDOW};
use violeta_types::{ChainId, ClientPublicKey, Digest, Domain, Nonce, TimeMs};

use crate::keys::{SECRET_MODE, sync_parent};

/// Bytes from one slot to the next: whole pages, so that no write touches both.
const SLOT_BYTES: usize = 8_192;
const MAGIC: [u8; 8] = *b"vlnonce2";
/// The form before this one, and where its two slots began.
const FORMER_MAGIC: [u8; 8] = *b"vlnonce1";
const FORMER_SLOTS: [u64; 2] = [0, 4_096];

/// Nonces of the spread that are left to barriers.
pub const BARRIER_NONCES: u64 = 32;
/// How many nonces above the lowest unresolved one transactions may take.
pub const UNDER_WAY_MAX: u64 = CLIENT_NONCE_SPREAD - BARRIER_NONCES;
/// How long a barrier that makes time go on stays valid: nearly as long as a validator admits, by a clock that may be
/// ahead of the validator's.
pub const BARRIER_EXPIRY_MS: u64 = EXPIRY_AHEAD_MS_MAX - 60_000;
/// How long after one barrier the next may take a nonce of those left to barriers.
pub const BARRIER_PAUSE_MS: u64 = 20_000;

// However far ahead the clock is by which an admitted transaction expires, time passes it before the barriers are gone.
const _: () = assert!(BARRIER_NONCES * BARRIER_PAUSE_MS > EXPIRY_AHEAD_MS_MAX);

/// Nonces of the chain's window that are left to the file that takes a lost one's place.
pub const SUCCESSOR_NONCES: u64 = 256;
/// How far above the highest nonce known to be spent a file signs.
pub const REACH: u64 = NONCE_WINDOW - SUCCESSOR_NONCES;

// When all that may be under way at once has expired, some are left to go on with.
const _: () = assert!(REACH > CLIENT_NONCE_SPREAD);

/// Why no nonce can be had.
#[derive(Debug, thiserror::Error)]
pub enum NonceError {
    /// Another process has the file.
    #[error(
        "{} is in use by another process: two that sign with one key could sign one nonce twice; wait for it, or use \
         another key",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another chain or key.
    #[error("{} is of another {what}: every chain and key needs a file of its own", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The file is damaged.
    #[error(
        "{} holds no valid record: it is damaged, or isn't a nonce file; move it away to begin anew above all nonces \
         that the chain has seen from this key",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// An earlier version of this program wrote the file.
    #[error(
        "{} was written by an earlier version, whose files this one doesn't read: go on with that version; or, once the \
         network has committed anything {} minutes after its last use, when nothing that it signed is pending, move the \
         file away to begin a new one",
        path.display(), EXPIRY_AHEAD_MS_MAX / 60_000
    )]
    Former {
        /// The file.
        path: PathBuf,
    },
    /// Too many transactions are unresolved.
    #[error(
        "the nonces from {lowest} on aren't resolved, and {UNDER_WAY_MAX} at most may be under way: wait for their \
         outcomes; what has none is resolved once the network commits after its expiry"
    )]
    TooManyUnresolved {
        /// The lowest of them.
        lowest: Nonce,
        /// When it can't be executed any more.
        expires: TimeMs,
        /// It was signed before the file was opened: nobody here waits for its outcome.
        inherited: bool,
        /// It is the barrier's that is under way: sent again, it frees all that it blocks.
        barrier: bool,
    },
    /// So many expired without any having been executed that the next ones would leave this file's part of the chain's
    /// window.
    #[error(
        "no nonce above {last} is signed before a higher one is executed than any so far: wait for those under way; if \
         they have all expired, register another key for this client"
    )]
    OutOfWindow {
        /// The last one that may be signed.
        last: Nonce,
    },
    /// The operating system said no. What is in the file isn't known: nothing is signed any more.
    #[error("can't {action} {}: {source}; nothing is signed until the file can be written again", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A write failed before.
    #[error("writing {} failed before; open it again", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Record {
    magic: [u8; 8],
    sequence: u64,
    chain: ChainId,
    key: ClientPublicKey,
    next: Nonce,
    lowest: Nonce,
    /// The highest known to be spent; in a successor, before one of its own is, as much above that as lets it sign to
    /// the end of the chain's window.
    floor: Nonce,
    /// The last barrier that was signed to make time go on.
    barrier: Nonce,
    barrier_expires: TimeMs,
    /// Of `lowest` and those above it.
    expires: [TimeMs; CLIENT_NONCE_SPREAD as usize],
}

/// The expiry of a nonce whose fate is known.
const RESOLVED: TimeMs = TimeMs(0);

const RECORD_BYTES: usize = 8 + 8 + 32 + 32 + 5 * 8 + 8 * CLIENT_NONCE_SPREAD as usize;

struct Inner {
    file: Flock<File>,
    record: Record,
    /// Signed, or maybe signed, and not resolved; with its expiry.
    unresolved: BTreeMap<Nonce, TimeMs>,
    /// Nonces below were signed before the file was opened.
    inherited_below: Nonce,
    fresh: bool,
    broken: bool,
}

/// The nonces of one client key on one chain.
pub struct Nonces {
    path: PathBuf,
    inner: Mutex<Inner>,
}

/// Nonces of which it is known where they begin: only these can be reserved.
#[derive(Clone)]
pub struct Begun(Arc<Nonces>);

impl Nonces {
    /// Opens the file, or makes it, and locks it.
    ///
    /// # Errors
    /// If it is in use, damaged, of another chain or key, or can't be read or written.
    pub fn open(path: &Path, chain: ChainId, key: ClientPublicKey) -> Result<Self, NonceError> {
        let io = |action, source| NonceError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(SECRET_MODE)
            .open(path)
            .map_err(|e| io("open", e))?;
        let file =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    Errno::EWOULDBLOCK => NonceError::InUse {
                        path: path.to_owned(),
                    },
                    errno => io("lock", errno.into()),
                },
            )?;
        let len = file.metadata().map_err(|e| io("read", e))?.len();
        let found = read(&file).map_err(|e| io("read", e))?;
        let fresh = len == 0;
        let record = match found {
            Some(record) => checked(record, path, chain, key)?,
            None if fresh => first(chain, key),
            None => {
                let path = path.to_owned();
                let former = is_former(&file).map_err(|e| io("read", e))?;
                return Err(match former {
                    true => NonceError::Former { path },
                    false => NonceError::Damaged { path },
                });
            }
        };
        let unresolved = (record.lowest.0..record.next.0)
            .zip(record.expires)
            .filter(|(_, expires)| *expires != RESOLVED)
            .map(|(n, expires)| (Nonce(n), expires))
            .collect();
        Ok(Nonces {
            path: path.to_owned(),
            inner: Mutex::new(Inner {
                file,
                inherited_below: record.next,
                record,
                unresolved,
                fresh,
                broken: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To sign with; none if the file is new: what the chain has seen of the key isn't known yet. It stays new, over any
    /// number of openings, until [`begin_above`](Self::begin_above) has written to it.
    pub fn begun(self: &Arc<Self>) -> Option<Begun> {
        let fresh = self.lock().fresh;
        (!fresh).then(|| Begun(self.clone()))
    }

    /// For a file that was just made: begins above whatever a lost file may have signed, where `highest` is the highest
    /// nonce that the chain has seen of the key. One that was begun before goes on where it was.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn begin_above(self: &Arc<Self>, highest: Nonce) -> Result<Begun, NonceError> {
        let mut inner = self.lock();
        if inner.fresh {
            let mut record = inner.record;
            if highest > Nonce(0) {
                let above = |count| Nonce(highest.0.saturating_add(count));
                record.next = above(REACH + 1);
                record.lowest = record.next;
                record.floor = above(SUCCESSOR_NONCES);
            }
            self.write(&mut inner, record)?;
            inner.fresh = false;
        }
        drop(inner);
        Ok(Begun(self.clone()))
    }

    /// The fate of a nonce is known: it was spent.
    pub fn spent(&self, nonce: Nonce) {
        let mut inner = self.lock();
        inner.unresolved.remove(&nonce);
        inner.record.floor = inner.record.floor.max(nonce);
    }

    /// A certified state tells which nonces are spent. Those that aren't, and whose transactions had expired by the
    /// state's time, can't be executed any more.
    pub fn learn(&self, highest: Nonce, is_spent: impl Fn(Nonce) -> bool, time: TimeMs) {
        let mut inner = self.lock();
        inner
            .unresolved
            .retain(|nonce, expires| !is_spent(*nonce) && *expires >= time);
        let next = inner.record.next;
        // Nonces from `next` on aren't this file's: somebody else signs with the key.
        let ours = highest.min(Nonce(next.0 - 1));
        inner.record.floor = inner.record.floor.max(ours);
    }

    /// How many transactions are under way, as far as is known.
    pub fn unresolved(&self) -> usize {
        self.lock().unresolved.len()
    }

    fn write(&self, inner: &mut Inner, record: Record) -> Result<(), NonceError> {
        if inner.broken {
            return Err(NonceError::Broken {
                path: self.path.clone(),
            });
        }
        let record = Record {
            sequence: inner.record.sequence + 1,
            ..record
        };
        assert!(record.next >= inner.record.next, "nonces never go back");
        let mut slot = violeta_types::encode(&record);
        assert_eq!(slot.len(), RECORD_BYTES);
        let digest = Domain::File.hash(&slot);
        slot.extend(digest.as_bytes());
        let at = (record.sequence % 2) * SLOT_BYTES as u64;
        let written = inner
            .file
            .write_all_at(&slot, at)
            .and_then(|()| inner.file.sync_data())
            .and_then(|()| match record.sequence {
                1 => sync_parent(&self.path),
                _ => Ok(()),
            });
        match written {
            Ok(()) => {
                inner.record = record;
                Ok(())
            }
            // Whether the write reached the disk isn't known, and after a failed sync never will be.
            Err(source) => {
                inner.broken = true;
                Err(NonceError::Io {
                    action: "write",
                    path: self.path.clone(),
                    source,
                })
            }
        }
    }
}

impl Begun {
    /// Takes `count` nonces for transactions that expire at `expires`. Durable when this returns: sign then.
    ///
    /// # Errors
    /// If too many are unresolved, or the file can't be written.
    pub fn reserve(&self, count: u64, expires: TimeMs) -> Result<Range<u64>, NonceError> {
        let mut inner = self.0.lock();
        inner.room(count, UNDER_WAY_MAX)?;
        self.take(&mut inner, count, expires, |record| record)
    }

    /// The nonce and the expiry of the barrier that is to make time go on: an earlier one's as long as that may still be
    /// executed, since it is the same transaction then, or else a new one's. Durable when this returns. Nothing but a
    /// transaction without operations, with just this expiry, may be signed under it.
    ///
    /// # Errors
    /// If none is left for now, or the file can't be written.
    pub fn barrier(&self, now: TimeMs) -> Result<(Nonce, TimeMs), NonceError> {
        let mut inner = self.0.lock();
        let last = (inner.record.barrier, inner.record.barrier_expires);
        let under_way = inner.unresolved.contains_key(&last.0);
        // A clock that was far ahead and was put back: no validator would take that one.
        let admitted = last.1.0.saturating_sub(now.0) <= EXPIRY_AHEAD_MS_MAX;
        if under_way && now <= last.1 && admitted {
            return Ok(last);
        }
        let signed_at = last.1.0.saturating_sub(BARRIER_EXPIRY_MS);
        // A clock that was put back counts as a pause that is over.
        let paused = now.0.abs_diff(signed_at) >= BARRIER_PAUSE_MS;
        let at_most = match paused {
            true => CLIENT_NONCE_SPREAD,
            false => UNDER_WAY_MAX,
        };
        match inner.room(1, at_most) {
            // It has expired by this machine's clock, and not by the chain's: a validator may still take it.
            Err(_) if under_way => return Ok(last),
            room => room?,
        }
        let expires = TimeMs(now.0.saturating_add(BARRIER_EXPIRY_MS));
        let taken = self.take(&mut inner, 1, expires, |record| Record {
            barrier: record.next,
            barrier_expires: expires,
            ..record
        })?;
        Ok((Nonce(taken.start), expires))
    }

    /// Takes the next nonces; `with` changes what is written beside them.
    fn take(
        &self,
        inner: &mut Inner,
        count: u64,
        expires: TimeMs,
        with: impl FnOnce(Record) -> Record,
    ) -> Result<Range<u64>, NonceError> {
        assert!(!inner.fresh, "where to begin is known");
        // What expires at 0 is told from what is resolved.
        let expires = expires.max(TimeMs(1));
        let record = with(inner.record);
        let reserved = record.next.0..record.next.0.saturating_add(count);
        let lowest = inner.lowest();
        let mut all = [RESOLVED; CLIENT_NONCE_SPREAD as usize];
        let new = reserved.clone().map(|n| (Nonce(n), expires));
        let known = inner.unresolved.iter().map(|(n, expires)| (*n, *expires));
        for (nonce, expires) in known.chain(new.clone()) {
            all[(nonce.0 - lowest.0) as usize] = expires;
        }
        let record = Record {
            next: Nonce(reserved.end),
            lowest,
            expires: all,
            ..record
        };
        self.0.write(inner, record)?;
        inner.unresolved.extend(new);
        assert!(inner.unresolved.len() as u64 <= CLIENT_NONCE_SPREAD);
        Ok(reserved)
    }
}

impl Deref for Begun {
    type Target = Nonces;

    fn deref(&self) -> &Nonces {
        &self.0
    }
}

impl Inner {
    fn lowest(&self) -> Nonce {
        let first = self.unresolved.keys().next();
        first.copied().unwrap_or(self.record.next)
    }

    /// Whether so many more may be signed, with `spread` at most from the lowest unresolved one on.
    fn room(&self, count: u64, spread: u64) -> Result<(), NonceError> {
        let lowest = self.lowest();
        let next = self.record.next.0.saturating_add(count);
        // The last one signed is next − 1.
        if next > lowest.0.saturating_add(spread) {
            return Err(NonceError::TooManyUnresolved {
                lowest,
                expires: self.unresolved.get(&lowest).copied().unwrap_or(RESOLVED),
                inherited: lowest < self.inherited_below,
                barrier: lowest == self.record.barrier,
            });
        }
        let last = Nonce(self.record.floor.0.saturating_add(REACH));
        match next - 1 > last.0 {
            true => Err(NonceError::OutOfWindow { last }),
            false => Ok(()),
        }
    }
}

fn first(chain: ChainId, key: ClientPublicKey) -> Record {
    Record {
        magic: MAGIC,
        sequence: 0,
        chain,
        key,
        next: Nonce(1),
        lowest: Nonce(1),
        floor: Nonce(0),
        barrier: Nonce(0),
        barrier_expires: TimeMs(0),
        expires: [RESOLVED; CLIENT_NONCE_SPREAD as usize],
    }
}

fn checked(
    record: Record,
    path: &Path,
    chain: ChainId,
    key: ClientPublicKey,
) -> Result<Record, NonceError> {
    let what = match () {
        () if record.chain != chain => "chain",
        () if record.key != key => "key",
        () => return Ok(record),
    };
    Err(NonceError::Other {
        path: path.to_owned(),
        what,
    })
}

/// The newest valid record.
fn read(file: &File) -> std::io::Result<Option<Record>> {
    let mut newest: Option<Record> = None;
    for slot in 0..2 {
        let at = slot * SLOT_BYTES as u64;
        let Some(bytes) = read_at::<{ RECORD_BYTES + 32 }>(file, at)? else {
            continue;
        };
        let (record, digest) = bytes.split_at(RECORD_BYTES);
        let whole = Domain::File.hash(record).as_bytes() == digest;
        match violeta_types::decode::<Record>(record) {
            Ok(record) if whole && plausible(&record) => {
                newest = newest
                    .filter(|n| n.sequence > record.sequence)
                    .or(Some(record));
            }
            _ => {}
        }
    }
    Ok(newest)
}

/// Whether a file without a valid record has one of the form before this one, of which the second slot is written first.
fn is_former(file: &File) -> std::io::Result<bool> {
    for at in FORMER_SLOTS {
        if read_at(file, at)? == Some(FORMER_MAGIC) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// So many bytes; none if the file ends before.
fn read_at<const N: usize>(file: &File, at: u64) -> std::io::Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

fn plausible(record: &Record) -> bool {
    record.magic == MAGIC
        && record.next >= Nonce(1)
        && record.lowest <= record.next
        && record.next.0 - record.lowest.0 <= CLIENT_NONCE_SPREAD
}

const _: () = assert!(size_of::<Digest>() == 32);
const _: () = assert!(RECORD_BYTES + 32 <= SLOT_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const LATER: TimeMs = TimeMs(1_000_000);

    fn chain(i: u8) -> ChainId {
        ChainId(Digest([i; 32]))
    }

    fn key(i: u8) -> ClientPublicKey {
        ClientPublicKey([i; 32])
    }

    struct Fixture {
        _dir: tempfile::TempDir,
        path: PathBuf,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            Fixture {
                path: dir.path().join("nonces"),
                _dir: dir,
            }
        }

        fn open(&self) -> Arc<Nonces> {
            Arc::new(Nonces::open(&self.path, chain(1), key(1)).unwrap())
        }

        /// Nonces of a key that the chain has seen nothing of; or those that were begun here before.
        fn begun(&self) -> Begun {
            self.open().begin_above(Nonce(0)).unwrap()
        }
    }

    #[test]
    fn nonces_count_from_one_and_go_on_after_a_restart() {
        let f = Fixture::new();
        let nonces = f.begun();
        assert_eq!(nonces.reserve(1, LATER).unwrap(), 1..2);
        assert_eq!(nonces.reserve(3, LATER).unwrap(), 2..5);
        drop(nonces);
        let nonces = f.open().begun().unwrap();
        assert_eq!(
            nonces.unresolved(),
            4,
            "whether they were signed isn't known"
        );
        assert_eq!(nonces.reserve(1, LATER).unwrap(), 5..6);
    }

    #[test]
    fn a_new_file_stays_new_until_it_is_known_where_to_begin() {
        let f = Fixture::new();
        drop(f.open());
        let nonces = f.open();
        let begun = nonces.begun();
        assert!(begun.is_none(), "whoever opened it before learnt nothing");
        nonces.begin_above(Nonce(40)).unwrap();
        drop(nonces);
        let nonces = f.open().begun().unwrap();
        // 40 and the 768 above it may be the lost file's.
        assert_eq!(nonces.reserve(1, LATER).unwrap(), 809..810);
    }

    #[test]
    fn a_second_process_with_the_same_file_is_refused() {
        let f = Fixture::new();
        let first = f.open();
        let second = Nonces::open(&f.path, chain(1), key(1));
        assert!(matches!(second, Err(NonceError::InUse { .. })));
        drop(first);
        f.open();
    }

    #[test]
    fn a_file_of_another_chain_or_key_is_refused() {
        let f = Fixture::new();
        f.open().begin_above(Nonce(0)).unwrap();
        let other = |c, k| match Nonces::open(&f.path, chain(c), key(k)) {
            Err(NonceError::Other { what, .. }) => what,
            _ => "none",
        };
        assert_eq!(other(2, 1), "chain");
        assert_eq!(other(1, 2), "key");
    }

    #[test]
    fn crash_in_a_write_at_any_byte_loses_no_reservation_that_was_returned() {
        let f = Fixture::new();
        let nonces = f.begun();
        nonces.reserve(5, LATER).unwrap();
        let before = std::fs::read(&f.path).unwrap();
        nonces.reserve(5, LATER).unwrap();
        drop(nonces);
        let after = std::fs::read(&f.path).unwrap();
        // The write in progress has reached the disk up to a byte, in either of the slots' places.
        let changed: Vec<usize> = (0..after.len())
            .filter(|&i| before.get(i) != after.get(i))
            .collect();
        assert!(changed.len() > 32);
        for cut in 0..=changed.len() {
            let mut torn = before.clone();
            torn.resize(after.len().max(before.len()), 0);
            for &i in &changed[..cut] {
                torn[i] = after[i];
            }
            std::fs::write(&f.path, &torn).unwrap();
            let next = f.begun().reserve(1, LATER).unwrap().start;
            let whole = cut == changed.len();
            assert_eq!(next, if whole { 11 } else { 6 }, "cut at {cut}");
        }
    }

    #[test]
    fn a_file_without_a_valid_record_is_never_begun_anew_silently() {
        let f = Fixture::new();
        let nonces = f.begun();
        nonces.reserve(5, LATER).unwrap();
        drop(nonces);
        std::fs::write(&f.path, vec![7; 2 * SLOT_BYTES]).unwrap();
        let error = Nonces::open(&f.path, chain(1), key(1)).err().unwrap();
        assert!(matches!(error, NonceError::Damaged { .. }), "{error}");
    }

    #[test]
    fn a_file_of_the_former_form_is_told_from_a_damaged_one() {
        let f = Fixture::new();
        // As the former version wrote it: once, into its second slot; and then into the first.
        let mut bytes = vec![0; 4_096];
        bytes.extend(b"vlnonce1");
        bytes.resize(4_096 + 250, 7);
        for slot in [4_096, 0] {
            bytes[slot..slot + 8].copy_from_slice(b"vlnonce1");
            std::fs::write(&f.path, &bytes).unwrap();
            let error = Nonces::open(&f.path, chain(1), key(1)).err().unwrap();
            assert!(matches!(error, NonceError::Former { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("earlier version") && text.contains("10 minutes"));
            assert!(!text.contains("damaged"), "{text}");
            assert_eq!(std::fs::read(&f.path).unwrap(), bytes, "it is left alone");
        }
    }

    #[test]
    fn no_more_than_the_spread_is_under_way() {
        let f = Fixture::new();
        let nonces = f.begun();
        assert_eq!(nonces.reserve(480, LATER).unwrap(), 1..481);
        let full = nonces.reserve(1, LATER);
        assert!(matches!(
            full,
            Err(NonceError::TooManyUnresolved {
                lowest: Nonce(1),
                expires: LATER,
                inherited: false,
                barrier: false,
            })
        ));
        nonces.spent(Nonce(2));
        assert!(nonces.reserve(1, LATER).is_err(), "nonce 1 is still open");
        nonces.spent(Nonce(1));
        assert_eq!(nonces.reserve(2, LATER).unwrap(), 481..483);
        assert!(nonces.reserve(1, LATER).is_err());
    }

    #[test]
    fn its_own_expiry_frees_a_nonce_after_a_restart_however_late_others_expire() {
        let f = Fixture::new();
        let nonces = f.begun();
        nonces.reserve(2, TimeMs(100)).unwrap();
        nonces.spent(Nonce(1));
        nonces.reserve(479, TimeMs(900)).unwrap();
        drop(nonces);
        let nonces = f.begun();
        let full = nonces.reserve(1, TimeMs(1_000)).unwrap_err();
        let inherited = matches!(
            full,
            NonceError::TooManyUnresolved {
                lowest: Nonce(2),
                expires: TimeMs(100),
                inherited: true,
                barrier: false,
            }
        );
        assert!(inherited, "{full:?}");
        // 3 to 300 are spent; 2 has expired; 301 on, who knows.
        nonces.learn(
            Nonce(300),
            |n| (3..=300).contains(&n.0) || n == Nonce(1),
            TimeMs(101),
        );
        assert_eq!(nonces.unresolved(), 181);
        assert_eq!(nonces.reserve(1, TimeMs(1_000)).unwrap(), 482..483);
        drop(nonces);
        assert_eq!(f.begun().unresolved(), 182);
    }

    #[test]
    fn a_full_spread_leaves_a_barrier_that_is_the_same_until_it_is_resolved() {
        let f = Fixture::new();
        let nonces = f.begun();
        nonces.reserve(480, TimeMs(100)).unwrap();
        let now = 1_000_000;
        let first = nonces.barrier(TimeMs(now)).unwrap();
        assert_eq!(first, (Nonce(481), TimeMs(now + 540_000)));
        drop(nonces);
        // Tried over and over in an outage, by one process after another.
        for i in 0..100 {
            assert_eq!(f.begun().barrier(TimeMs(now + i)).unwrap(), first);
        }
        let nonces = f.begun();
        nonces.spent(Nonce(481));
        let soon = nonces.barrier(TimeMs(now + 19_999));
        assert!(soon.is_err(), "the rest must last: {soon:?}");
        let second = nonces.barrier(TimeMs(now + 20_000)).unwrap();
        assert_eq!(second.0, Nonce(482));
        // It expired, and no certified time says so: another one.
        let third = nonces.barrier(TimeMs(second.1.0 + 1)).unwrap();
        assert_eq!(third.0, Nonce(483));
        assert!(nonces.reserve(1, LATER).is_err(), "barriers alone");
    }

    #[test]
    fn a_barrier_that_nobody_executed_says_that_it_is_what_blocks_the_rest() {
        let f = Fixture::new();
        let nonces = f.begun();
        let now = TimeMs(1_000_000);
        let barrier = nonces.barrier(now).unwrap();
        nonces.reserve(479, TimeMs(2_000_000)).unwrap();
        (2..=480).for_each(|n| nonces.spent(Nonce(n)));
        let full = nonces.reserve(1, LATER).unwrap_err();
        let it_is = matches!(
            full,
            NonceError::TooManyUnresolved {
                lowest: Nonce(1),
                barrier: true,
                ..
            }
        );
        assert!(it_is, "{full:?}");
        assert_eq!(nonces.barrier(TimeMs(now.0 + 1)).unwrap(), barrier);
        nonces.spent(Nonce(1));
        nonces.reserve(480, LATER).unwrap();
    }

    #[test]
    fn when_no_nonce_is_left_the_last_barrier_is_given_again() {
        let f = Fixture::new();
        let nonces = f.begun();
        nonces.reserve(480, TimeMs(100)).unwrap();
        let mut now = TimeMs(1_000_000);
        for nonce in 481..=512 {
            let (taken, expires) = nonces.barrier(now).unwrap();
            assert_eq!(taken, Nonce(nonce));
            now = TimeMs(expires.0 + 1);
        }
        let (taken, expires) = nonces.barrier(now).unwrap();
        assert_eq!((taken, expires.0), (Nonce(512), now.0 - 1));
    }

    #[test]
    fn what_a_certified_state_shows_is_resolved_and_the_rest_is_not() {
        let f = Fixture::new();
        let nonces = f.begun();
        nonces.reserve(2, TimeMs(100)).unwrap();
        nonces.reserve(2, TimeMs(200)).unwrap();
        // At time 150 nonce 3 is spent; 1 and 2 have expired unspent; 4 may still come.
        nonces.learn(Nonce(3), |n| n == Nonce(3), TimeMs(150));
        assert_eq!(nonces.unresolved(), 1);
        nonces.learn(Nonce(3), |n| n == Nonce(3), TimeMs(200));
        assert_eq!(
            nonces.unresolved(),
            1,
            "at its expiry itself it may be executed"
        );
        nonces.learn(Nonce(3), |n| n == Nonce(3), TimeMs(201));
        assert_eq!(nonces.unresolved(), 0);
    }

    #[test]
    fn nonces_that_die_unspent_don_t_run_out_of_the_chains_window_unnoticed() {
        let f = Fixture::new();
        let nonces = f.begun();
        for (round, count) in [(1, 480), (2, 288)] {
            nonces.reserve(count, TimeMs(round)).unwrap();
            nonces.learn(Nonce(0), |_| false, TimeMs(round + 1));
        }
        let error = nonces.reserve(1, LATER).unwrap_err();
        let out = matches!(error, NonceError::OutOfWindow { last: Nonce(768) });
        assert!(out, "{error}");
        nonces.spent(Nonce(700));
        assert_eq!(nonces.reserve(1, LATER).unwrap(), 769..770);
    }

    /// All that it signs, one after the other, while what it has signed expires and nothing is executed.
    fn sign_all(nonces: &Begun, highest: Nonce) -> BTreeSet<u64> {
        let mut signed = BTreeSet::new();
        for now in 1.. {
            match nonces.reserve(1, TimeMs(now)) {
                Ok(nonces) => assert!(nonces.into_iter().all(|n| signed.insert(n))),
                Err(NonceError::TooManyUnresolved { .. }) => {
                    nonces.learn(highest, |n| n <= highest, TimeMs(now + 1));
                }
                Err(error) => {
                    assert!(matches!(error, NonceError::OutOfWindow { .. }), "{error}");
                    break;
                }
            }
        }
        signed
    }

    #[test]
    fn a_lost_file_is_made_anew_above_all_that_the_old_one_can_have_signed() {
        let (lost, new) = (Fixture::new(), Fixture::new());
        let old = lost.begun();
        // The first hundred are executed; then all that it can sign expires, time and again.
        let executed: BTreeSet<u64> = old.reserve(100, LATER).unwrap().collect();
        (1..=100).for_each(|n| old.spent(Nonce(n)));
        let signed_by_old = sign_all(&old, Nonce(100));
        assert_eq!(signed_by_old, (101..=868).collect(), "100 + 768 at most");

        let successor = new.open().begin_above(Nonce(100)).unwrap();
        let signed_by_new = sign_all(&successor, Nonce(100));
        assert_eq!(
            signed_by_new,
            (869..=1_124).collect(),
            "to the end of the ledger's window, 100 + 1,024"
        );
        assert!(signed_by_new.is_disjoint(&signed_by_old));
        assert!(signed_by_new.is_disjoint(&executed));
    }

    #[test]
    fn a_successor_of_which_one_was_executed_is_like_any_other_file_and_can_be_lost_too() {
        let (first, second) = (Fixture::new(), Fixture::new());
        let lost = first.open().begin_above(Nonce(100)).unwrap();
        assert_eq!(lost.reserve(2, LATER).unwrap(), 869..871);
        lost.spent(Nonce(870));
        let signed = sign_all(&lost, Nonce(870));
        assert_eq!(signed, (871..=1_638).collect(), "870 + 768 at most");
        let successor = second.open().begin_above(Nonce(870)).unwrap();
        assert!(sign_all(&successor, Nonce(870)).is_disjoint(&signed));
    }

    #[test]
    fn where_to_begin_is_found_out_only_once() {
        let f = Fixture::new();
        let nonces = f.open();
        let begun = nonces.begin_above(Nonce(100)).unwrap();
        assert_eq!(begun.reserve(1, LATER).unwrap(), 869..870);
        let begun = nonces.begin_above(Nonce(9_999)).unwrap();
        assert_eq!(begun.reserve(1, LATER).unwrap(), 870..871);
    }

    #[test]
    fn threads_that_share_it_never_get_the_same_nonce() {
        let f = Fixture::new();
        let nonces = f.begun();
        let taken = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        for n in nonces.reserve(3, LATER).unwrap() {
                            assert!(taken.lock().unwrap().insert(n));
                        }
                    }
                });
            }
        });
        assert_eq!(taken.lock().unwrap().len(), 120);
    }
}
