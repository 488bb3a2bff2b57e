//! What asks a process to end: Ctrl-C, SIGTERM, and a terminal that closes.
//!
//! Whoever has something to clean up listens before it makes that. A terminal that closes doesn't end what was told not
//! to mind (`nohup`): that is inherited as a signal which is ignored, and stays so.

use std::io;

use nix::sys::signal::Signal as Name;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that end a process cleanly.
#[derive(Debug)]
pub(crate) struct Ending {
    interrupt: Signal,
    terminate: Signal,
    /// None if it is ignored.
    hangup: Option<Signal>,
}

impl Ending {
    /// From now on these signals don't end the process by themselves.
    ///
    /// # Errors
    /// If the operating system says no.
    pub(crate) fn listen() -> io::Result<Ending> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hangup = match is_ignored(Name::SIGHUP, &status) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Ending {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for one; its name.
    pub(crate) async fn asked(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Name::SIGINT.as_str(),
            _ = self.terminate.recv() => Name::SIGTERM.as_str(),
            _ = hangup => Name::SIGHUP.as_str(),
        }
    }
}

/// Waits until the process is asked to end. Whoever has a cluster waits for it beside its work, so that the cluster is
/// dropped.
pub(crate) async fn asked_to_end() {
    match Ending::listen() {
        Ok(mut ending) => {
            ending.asked().await;
        }
        // Then a signal ends the process as it always does; validators end with it.
        Err(_) => std::future::pending().await,
    }
}

/// Whether `status`, a process's as proc(5) describes it, says that the signal is ignored.
fn is_ignored(name: Name, status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (name as u32 - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_which_signals_are_ignored() {
        // proc(5): the lowest bit is signal 1, which is SIGHUP.
        let status = "Name:\tvioleta\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(Name::SIGHUP, status));
        assert!(is_ignored(Name::SIGPIPE, status));
        assert!(!is_ignored(Name::SIGTERM, status));
        assert!(!is_ignored(Name::SIGHUP, "SigIgn:\t0000000000001000\n"));
        assert!(!is_ignored(Name::SIGHUP, ""));
    }
}
