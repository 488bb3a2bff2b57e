//! The program as a user runs it: real processes, real files, real sockets.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program.
pub fn violeta() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_violeta"));
    command.env("NO_COLOR", "1").env("COLUMNS", "100");
    for name in [
        "VIOLETA_TESTNET",
        "VIOLETA_ENDPOINTS",
        "VIOLETA_TRUST",
        "VIOLETA_KEY",
        "VIOLETA_LOG",
    ] {
        command.env_remove(name);
    }
    command
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// The JSON objects, one a line.
    pub fn objects(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Said {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// Runs it to its end.
pub fn run(args: &[&str]) -> Said {
    violeta().args(args).output().unwrap().into()
}

/// A network in a directory of its own, stopped when dropped.
pub struct Net {
    dir: tempfile::TempDir,
}

impl Net {
    /// Four validators, running.
    pub fn up() -> Net {
        let net = Net::init();
        net.run(&["testnet", "up"]).expect(0);
        net
    }

    /// Four validators that have never run.
    pub fn init() -> Net {
        let dir = tempfile::tempdir().unwrap();
        let net = Net { dir };
        run(&["testnet", "init", net.path().to_str().unwrap()]).expect(0);
        net
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("net")
    }

    /// The program, run inside the network's directory.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = violeta();
        command.current_dir(self.path()).args(args);
        command
    }

    /// Runs it inside the network's directory.
    pub fn run(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    /// Starts it inside the network's directory.
    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Where a validator answers clients.
    pub fn endpoint(&self, validator: usize) -> String {
        let rows = self.run(&["testnet", "ps", "--json"]).expect(0).objects();
        rows[validator]["endpoint"].as_str().unwrap().to_owned()
    }

    /// Runs it inside the network's directory, asking one validator alone.
    pub fn run_at(&self, validator: usize, args: &[&str]) -> Said {
        let endpoint = self.endpoint(validator);
        let at = ["--endpoint", &endpoint, "--trust", "trust.json"];
        self.run(&[args, &at].concat())
    }

    /// Runs a command that writes; at which height that was executed.
    #[track_caller]
    pub fn written(&self, args: &[&str]) -> u64 {
        let said = self.run(&[args, &["--json"]].concat()).expect(0);
        said.objects()[0]["height"].as_u64().unwrap()
    }

    /// Starts it inside the network's directory, for whoever reads what it says on standard error.
    pub fn spawn_heard(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Certified height and state root of each validator that answers.
    pub fn states(&self) -> Vec<(u64, Option<String>)> {
        let said = self.run(&["status", "--json"]);
        let state = |status: Value| {
            let height = status["status"]["certified_height"].as_u64()?;
            Some((height, status["state_root"].as_str().map(ToOwned::to_owned)))
        };
        said.objects().into_iter().filter_map(state).collect()
    }

    /// Waits until all four have one certified height and one state.
    #[track_caller]
    pub fn wait_level(&self) -> (u64, String) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let states = self.states();
            if let [first, rest @ ..] = &states[..]
                && let (height, Some(root)) = first
                && rest.len() == 3
                && rest.iter().all(|state| state == first)
            {
                return (*height, root.clone());
            }
            assert!(Instant::now() < deadline, "not level: {states:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Writes a file beside the network.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if self.path().exists() {
            self.run(&["testnet", "down"]);
        }
    }
}

/// Host and port of an endpoint.
pub fn host_of(endpoint: &str) -> &str {
    let address = endpoint.trim_start_matches("http://");
    address.trim_end_matches('/')
}

/// Ctrl-C.
pub fn interrupt(process: &Child) {
    signal(process, "-INT");
}

/// Sends a signal, as kill(1) names it.
pub fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let sent = Command::new("kill").args([name, &pid]).status().unwrap();
    assert!(sent.success());
}

/// Whether a process has a handler for a signal: then that doesn't end it by itself.
pub fn catches(process: &Child, signal: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    mask >> (signal - 1) & 1 == 1
}

/// Whether a process runs.
pub fn is_alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

/// Waits until a condition holds.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Rows of a tab-separated file: `k0000 v0000` and so on.
pub fn rows(count: usize) -> String {
    let row = |i| format!("k{i:05}\tv{i}\n");
    let mut text = String::from("key\tvalue\n");
    text.extend((0..count).map(row));
    text
}

/// The arguments that load a file of [`rows`] into the namespace `rows`, and more of them.
pub fn load<'a>(file: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let file = file.to_str().unwrap();
    let load = ["load", file, "-n", "rows", "-k", "key", "--create"];
    [&load[..], more].concat()
}

/// Reads a file's JSON.
pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
