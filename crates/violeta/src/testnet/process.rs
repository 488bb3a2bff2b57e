//! Validators as processes of their own: started, recognised, ended.
//!
//! ```text
//!  start ──▶ own process group (Ctrl-C is the starter's affair), output to a log
//!    ├─ detached    outlives its starter; a pid file says which process it is
//!    └─ kept        dies with its starter, however that ends: Ctrl-C, panic, SIGKILL
//!                   (the child asks the kernel for SIGTERM when its parent dies)
//! ```
//!
//! A pid alone may be another process by now: together with the time that it started at it names one for good.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{CliError, CliResult};

/// How long a validator may take to shut down before it is killed.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// How much of a log is shown when a validator didn't come up.
const LOG_TAIL_BYTES: u64 = 2_000;

/// How a validator is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    config: PathBuf,
    log: PathBuf,
    adversary: Option<String>,
}

impl Launch {
    /// The honest way.
    pub(crate) fn new(config: PathBuf, log: PathBuf) -> Self {
        Launch {
            config,
            log,
            adversary: None,
        }
    }

    /// As an adversary: see `start::Adversary`.
    #[must_use]
    pub(crate) fn lying_by(mut self, adversary: String) -> Self {
        self.adversary = Some(adversary);
        self
    }

    /// Starts a process that outlives this one.
    ///
    /// # Errors
    /// If it can't be started.
    pub(crate) fn detached(&self) -> CliResult<Child> {
        self.spawn(&[])
    }

    /// Starts a process that ends with this one. To be called on a thread that lives as long as the process: the
    /// kernel counts the thread as the parent.
    ///
    /// # Errors
    /// If it can't be started.
    pub(crate) fn kept(&self) -> CliResult<Kept> {
        let parent = std::process::id().to_string();
        let child = self.spawn(&["--die-with".into(), parent])?;
        Ok(Kept {
            child,
            log: self.log.clone(),
        })
    }

    fn spawn(&self, further: &[String]) -> CliResult<Child> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(|e| CliError::failed(format!("can't open {}: {e}", self.log.display())))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--color=never")
            .arg("start")
            .arg("--config")
            .arg(&self.config)
            .args(further);
        if let Some(adversary) = &self.adversary {
            command.arg("--adversary").arg(adversary);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        command
            .spawn()
            .map_err(|e| CliError::failed(format!("can't start a validator: {e}")))
    }
}

/// A process that ends when this is dropped, at the latest.
#[derive(Debug)]
pub(crate) struct Kept {
    child: Child,
    log: PathBuf,
}

impl Kept {
    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it runs still.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what it said.
    pub(crate) fn last_words(&self) -> String {
        tail(&self.log)
    }

    /// SIGKILL: what a power cut is to a process.
    ///
    /// # Errors
    /// If the operating system says no.
    pub(crate) fn kill(mut self) -> CliResult {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM now; `wait` follows.
    pub(crate) fn ask_to_stop(&self) {
        // The only way to fail is that it has ended already.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
    }

    fn wait_or_kill(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.ask_to_stop();
        self.wait_or_kill(STOP_PATIENCE);
    }
}

/// Stops several at once, each cleanly.
pub(crate) fn stop_all(processes: Vec<Kept>) {
    for process in &processes {
        process.ask_to_stop();
    }
    drop(processes);
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_else(|e| format!("({} can't be read: {e})", path.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// Names a process for good: pid, and when it was started, in clock ticks since the machine's boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The pid.
    pub(crate) pid: u32,
    started: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for Identity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, started) = text.trim_end().split_once(' ').ok_or(())?;
        Ok(Identity {
            pid: pid.parse().map_err(|_| ())?,
            started: started.parse().map_err(|_| ())?,
        })
    }
}

impl Identity {
    /// Of a process that runs now.
    pub(crate) fn of(pid: u32) -> Option<Identity> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, and may hold anything; fields are counted after it.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        // Ended, and only waits for its parent to take note.
        if state == "Z" || state == "X" {
            return None;
        }
        // Field 22 of proc(5); "state" is field 3.
        let started = fields.nth(18)?.parse().ok()?;
        Some(Identity { pid, started })
    }

    /// Whether this very process runs.
    pub(crate) fn is_alive(&self) -> bool {
        Identity::of(self.pid) == Some(*self)
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.wait_gone(STOP_PATIENCE);
    }

    /// SIGTERM; SIGKILL if it doesn't help in time. Whether it ended by itself.
    pub(crate) fn stop(&self) -> bool {
        self.signal(Signal::SIGTERM);
        if self.wait_gone(STOP_PATIENCE) {
            return true;
        }
        self.kill();
        false
    }

    fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // The only way to fail is that it has ended meanwhile.
            let _ = kill(Pid::from_raw(self.pid as i32), signal);
        }
    }

    fn wait_gone(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_for_good_by_pid_and_start() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        assert!(identity.is_alive());
        assert_eq!(identity.to_string().parse(), Ok(identity));
        let other = Identity {
            started: identity.started + 1,
            ..identity
        };
        assert!(!other.is_alive(), "another process under the same pid");
        other.kill();
        assert!(identity.is_alive(), "it wasn't touched");
        identity.kill();
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }

    #[test]
    fn a_kept_process_is_gone_when_it_is_dropped() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap();
        drop(Kept {
            child,
            log: PathBuf::new(),
        });
        assert!(!identity.is_alive());
    }

    #[test]
    fn garbage_in_a_pid_file_is_no_process() {
        for text in ["", "1", "a b", "-1 2", "1 2 3"] {
            assert!(text.parse::<Identity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_tail_of_a_log_is_its_last_five_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let lines: Vec<String> = (0..1_000).map(|i| i.to_string()).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(tail(&path), "995\n996\n997\n998\n999");
        assert!(tail(&dir.path().join("none")).contains("can't be read"));
    }
}
