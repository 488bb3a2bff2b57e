//! File descriptors: how many this process may have, and how many of them clients may take.
//!
//! ```text
//!   limit of the process = files (journal, store, index) + validators' connections + clients' connections
//!                          └──────── reserved ─────────┘   └───── reserved ──────┘   └──── what is left ──┘
//! ```
//!
//! When descriptors run out, the next file of the journal can't be opened, and a journal that fails stops the node. So
//! files and validators have theirs reserved, and clients share what is left: strangers who hold connections open keep
//! out each other, never the journal.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{debug, warn};

use crate::http::limits::{CONNECTIONS_MAX, CONNECTIONS_MIN};
use crate::transport::{HANDSHAKES_MAX, HANDSHAKES_PER_VALIDATOR};

/// Descriptors for files and for the runtime: what journal and store keep open for reading (see the assertion), what
/// they write, the index, files open for a moment on each blocking thread, listeners, wakers, standard streams.
pub const FILES_RESERVED: u64 = 384;
/// Connections with each validator: one for each direction, the one that takes the place of an older one, and handshakes.
const CONNECTIONS_PER_VALIDATOR: u64 = 3 + HANDSHAKES_PER_VALIDATOR as u64;

/// Files that the store keeps open for reading: of nodes, and of values.
const STORE_FILES: usize = 2 * violeta_vlsm::limits::OPEN_FILES_MAX;
const _: () = assert!(
    (violeta_journal::OPEN_SEGMENTS_MAX + STORE_FILES + crate::assembly::BLOCKING_THREADS_MAX)
        as u64
        + 64
        <= FILES_RESERVED
);

/// The process may not open enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this process may open {limit} files and sockets, and this validator needs {needed}: raise the limit (`ulimit -Hn {needed}` \
     as root, or LimitNOFILE={needed} in its service)"
)]
pub struct TooFew {
    /// How many it may open.
    pub limit: u64,
    /// How many it needs at least.
    pub needed: u64,
}

/// Raises the limit of this process as far as it may, and says where it is then.
///
/// # Errors
/// If the system doesn't tell.
pub fn raise() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= hard {
        return Ok(soft);
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => {
            debug!(from = soft, to = hard, "more files and sockets may be open");
            Ok(hard)
        }
        Err(error) => {
            warn!(%error, limit = soft, "can't raise the number of files and sockets that may be open");
            Ok(soft)
        }
    }
}

/// Connections that clients may hold, beside what a validator of this committee needs for itself.
///
/// # Errors
/// If too few would be left for clients, or, without a gateway, for the validator.
pub fn client_connections(limit: u64, committee: usize, gateway: bool) -> Result<usize, TooFew> {
    let validators = committee as u64 * CONNECTIONS_PER_VALIDATOR;
    let reserved = FILES_RESERVED + validators + HANDSHAKES_MAX as u64;
    let needed = reserved + if gateway { CONNECTIONS_MIN as u64 } else { 0 };
    if limit < needed {
        return Err(TooFew { limit, needed });
    }
    let left = usize::try_from(limit - reserved).unwrap_or(usize::MAX);
    Ok(left.min(CONNECTIONS_MAX))
}

/// How long a listener that the system gives no connection waits before it asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How often at most a listener says so.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// A listener's trouble with accepting: connections, or somebody else in this process, have taken all descriptors. Those
/// who want in wait in the kernel meanwhile. It is said when it begins, and now and then while it lasts: a descriptor that
/// comes free for a moment doesn't end it.
pub(crate) struct Trouble {
    whose: &'static str,
    said: Option<Instant>,
}

impl Trouble {
    /// None so far, of a listener for these.
    pub(crate) fn new(whose: &'static str) -> Self {
        Trouble { whose, said: None }
    }

    /// A connection couldn't be accepted: waits until it is worth trying again.
    pub(crate) async fn wait(&mut self, error: &io::Error) {
        // Of a connection that was given up before it was accepted: the next one is another's.
        if error.kind() == ErrorKind::ConnectionAborted {
            return;
        }
        if self.is_to_be_said() {
            self.said = Some(Instant::now());
            let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
            warn!(
                %error,
                limit,
                "can't accept connections of {}; they wait until others end. If it lasts, raise the limit of open files",
                self.whose,
            );
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }

    fn is_to_be_said(&self) -> bool {
        self.said
            .is_none_or(|said| said.elapsed() >= SAID_AGAIN_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_the_usual_limit_of_1024_clients_leave_the_files_theirs() {
        // 384 for files, 5 for each of 4 validators, 64 handshakes of strangers.
        assert_eq!(client_connections(1_024, 4, true), Ok(1_024 - 468));
    }

    #[test]
    fn with_plenty_clients_get_their_own_maximum() {
        for limit in [1 << 20, u64::MAX] {
            assert_eq!(client_connections(limit, 100, true), Ok(CONNECTIONS_MAX));
        }
    }

    #[test]
    fn a_limit_that_is_too_low_is_refused_with_what_is_needed() {
        let needed = 468 + CONNECTIONS_MIN as u64;
        assert_eq!(
            client_connections(needed, 4, true),
            Ok(CONNECTIONS_MIN),
            "the least"
        );
        let limit = needed - 1;
        let error = client_connections(limit, 4, true).unwrap_err();
        assert_eq!(error, TooFew { limit, needed });
        assert!(error.to_string().contains(&format!("LimitNOFILE={needed}")));
        assert_eq!(client_connections(468, 4, false), Ok(0), "no gateway");
        assert!(client_connections(467, 4, false).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_with_accepting_is_said_when_it_begins_and_not_each_time() {
        let mut trouble = Trouble::new("clients");
        trouble.wait(&ErrorKind::ConnectionAborted.into()).await;
        assert!(trouble.is_to_be_said(), "that was the other end's");
        let full = io::Error::from(nix::Error::EMFILE);
        trouble.wait(&full).await;
        let begun = trouble.said;
        trouble.wait(&full).await;
        assert_eq!((trouble.said, trouble.is_to_be_said()), (begun, false));
        trouble.said = Instant::now().checked_sub(SAID_AGAIN_AFTER);
        assert!(trouble.is_to_be_said(), "it lasts");
    }

    #[test]
    fn raising_never_lowers() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let raised = raise().unwrap();
        assert!(raised >= soft && raised <= hard);
        assert_eq!(raise().unwrap(), raised);
    }
}
