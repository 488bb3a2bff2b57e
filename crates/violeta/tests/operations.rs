//! What an operator meets: lost journals, full disks, two processes for one validator, strangers at the ports.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Net, load, run, wait_for};

/// What each validator that answers says of itself.
fn statuses(net: &Net) -> Vec<Value> {
    let said = net.run(&["status", "--json"]);
    let status = |object: Value| object["status"].clone();
    (said.objects().into_iter().map(status))
        .filter(|status| !status.is_null())
        .collect()
}

fn log(net: &Net, validator: usize) -> String {
    std::fs::read_to_string(net.path().join(format!("v{validator}/log"))).unwrap()
}

#[test]
fn a_validator_whose_journal_is_deleted_says_so_follows_and_never_signs_twice() {
    let net = Net::up();
    net.run(&["put", "n", "k", "1", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "stop", "2"]).expect(0);
    std::fs::remove_dir_all(net.path().join("v2/data/journal")).unwrap();

    net.run(&["testnet", "start", "2"]).expect(0);
    let height = net.written(&["put", "n", "k", "2"]);
    let (level, _) = net.wait_level();
    assert!(level >= height, "it follows");
    let amnesia: Vec<_> = statuses(&net)
        .iter()
        .map(|s| s["amnesia"] == "lost")
        .collect();
    assert_eq!(amnesia, [false, false, true, false]);
    let shown = net.run(&["status"]).expect(0).out;
    assert!(
        shown.contains("v2 has amnesia: its journal was lost"),
        "{shown}"
    );
    assert!(log(&net, 2).contains("AMNESIA"), "the log says so as well");
    let read = net.run_at(2, &["get", "n", "k"]).expect(0);
    assert_eq!(read.out, "2\n", "it serves, with proofs");

    for i in 3..10 {
        net.run(&["put", "n", "k", &i.to_string()]).expect(0);
    }
    net.wait_level();
    for validator in 0..4 {
        let log = log(&net, validator);
        assert!(!log.contains("made two vertices"), "v{validator}: {log}");
        assert!(!log.contains("attested two heads"), "v{validator}: {log}");
    }

    // Nobody can take it for a new one by mistake.
    net.run(&["testnet", "stop", "2"]).expect(0);
    let config = net.path().join("v2/violeta.toml");
    let said = net.run(&["provision", "--config", config.to_str().unwrap()]);
    assert!(
        said.expect(1)
            .err
            .contains("has a validator's data already")
    );
    net.run(&["testnet", "start", "2"]).expect(0);
    wait_for("it is an amnesiac still", || {
        statuses(&net).iter().any(|s| s["amnesia"] == "lost")
    });
}

#[test]
fn a_validator_whose_journal_is_deleted_votes_again_if_told_to_ask_the_others() {
    let net = Net::up();
    net.run(&["put", "n", "k", "1", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "stop", "2"]).expect(0);
    net.run(&["testnet", "stop", "1"]).expect(0);
    std::fs::remove_dir_all(net.path().join("v2/data/journal")).unwrap();
    let config = net.path().join("v2/violeta.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (off, on) = (
        "rejoin_after_lost_journal = false",
        "rejoin_after_lost_journal = true",
    );
    assert!(text.contains(off), "{text}");
    std::fs::write(&config, text.replace(off, on)).unwrap();

    net.run(&["testnet", "start", "2"]).expect(0);
    wait_for("two of three others have told", || {
        let shown = net.run(&["status"]).out;
        shown.contains("v2 has amnesia") && shown.contains("a stake of 2 of 3 has so far")
    });
    net.run(&["testnet", "start", "1"]).expect(0);
    wait_for("all three have told", || {
        statuses(&net).iter().all(|s| s["amnesia"].is_null())
    });
    // Its vertex is needed again: another is away.
    net.run(&["testnet", "stop", "1"]).expect(0);
    net.run(&["put", "n", "k", "2"]).expect(0);
    net.run(&["testnet", "start", "1"]).expect(0);
    net.wait_level();
    assert!(log(&net, 2).contains("vertices are made again"));
    for validator in 0..4 {
        let log = log(&net, validator);
        assert!(!log.contains("made two vertices"), "v{validator}: {log}");
    }
}

/// Starts a validator by hand, after a command of the shell's has set its limits. What it says goes to `by-hand.log`.
fn start_under(net: &Net, validator: usize, limits: &str) -> Child {
    let log = std::fs::File::create(net.path().join("by-hand.log")).unwrap();
    let start = format!(r#"{limits} && exec "$1" start --config "v{validator}/violeta.toml""#);
    Command::new("sh")
        .args(["-c", &start, "sh", env!("CARGO_BIN_EXE_violeta")])
        .current_dir(net.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn said_by_hand(net: &Net) -> String {
    std::fs::read_to_string(net.path().join("by-hand.log")).unwrap()
}

/// Loads 30 MB in rows.
fn load_much(net: &Net) {
    let value = "v".repeat(30_000);
    let row = |i: usize| format!("k{i:05}\t{value}\n");
    let text: String = std::iter::once("key\tvalue\n".to_owned())
        .chain((0..1_000).map(row))
        .collect();
    let file = net.file("rows.tsv", &text);
    net.run(&load(&file, &[])).expect(0);
}

/// A validator has the first value, and all that [`load_much`] wrote, as proved as anybody's.
#[track_caller]
fn has_all(net: &Net, validator: usize) {
    net.wait_level();
    for (namespace, key) in [("n", "first"), ("rows", "k00000"), ("rows", "k00999")] {
        net.run_at(validator, &["get", namespace, key]).expect(0);
    }
    assert!(statuses(net).iter().all(|s| s["amnesia"].is_null()));
}

#[test]
fn a_validator_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let net = Net::up();
    net.run(&["put", "n", "first", "1", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "stop", "3"]).expect(0);
    // 8 MB in POSIX's blocks of 512 bytes; in one /bin/sh they have 1,024. Its journal needs more, either way.
    let mut limited = start_under(&net, 3, "ulimit -f 16384");
    wait_for("it is back", || net.states().len() == 4);
    load_much(&net);
    wait_for("it stops", || limited.try_wait().unwrap().is_some());
    let code = limited.wait().unwrap().code();
    let said = said_by_hand(&net);
    assert_eq!(code, Some(1), "an error, not a signal: {said}");
    assert!(
        said.contains("File too large") && said.contains("make room"),
        "{said}"
    );

    // Room again: nothing that was there is lost, and what it missed comes.
    net.run(&["testnet", "start", "3"]).expect(0);
    has_all(&net, 3);
}

/// A file system of a few MiB for one validator's data, in a mount namespace of its own, and a shell inside that
/// namespace. All of it goes when the shell does.
struct SmallDisk {
    shell: Child,
    says: BufReader<ChildStdout>,
    validator: usize,
}

impl SmallDisk {
    /// None where the system lets nobody mount: then it says so.
    fn mount(net: &Net, validator: usize, mib: usize) -> Option<SmallDisk> {
        // As root; or in a user namespace, where the system lets anybody have one.
        [&["--mount"][..], &["--mount", "--map-root-user"]]
            .iter()
            .find_map(|namespaces| Self::try_mount(net, validator, mib, namespaces))
    }

    fn try_mount(
        net: &Net,
        validator: usize,
        mib: usize,
        namespaces: &[&str],
    ) -> Option<SmallDisk> {
        let mut shell = Command::new("unshare")
            .args(namespaces)
            .arg("sh")
            .current_dir(net.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let says = BufReader::new(shell.stdout.take().unwrap());
        let mut disk = SmallDisk {
            shell,
            says,
            validator,
        };
        let mounted = disk.run(&format!(
            "mkdir -p small && mount -t tmpfs -o size={mib}m none small \
             && cp -a --sparse=always v{validator}/data small && mount --bind small/data v{validator}/data"
        ));
        (mounted? == 0).then_some(disk)
    }

    /// The exit code of a command of the shell's; none if there is no shell.
    fn run(&mut self, command: &str) -> Option<i32> {
        let stdin = self.shell.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}\necho code: $?").ok()?;
        loop {
            let mut line = String::new();
            if self.says.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(code) = line.strip_prefix("code: ") {
                return code.trim().parse().ok();
            }
        }
    }

    /// Starts the validator on it, in the background.
    fn start(&mut self) {
        let program = env!("CARGO_BIN_EXE_violeta");
        let config = format!("v{}/violeta.toml", self.validator);
        let started = self.run(&format!(
            "'{program}' start --config {config} >/dev/null 2>by-hand.log &"
        ));
        assert_eq!(started, Some(0));
    }

    /// Waits for its end; how it ended.
    fn wait(&mut self) -> Option<i32> {
        self.run("wait $!")
    }

    /// Takes up all the room there is.
    fn fill(&mut self) {
        self.run("cat /dev/zero >small/filler 2>/dev/null");
    }

    /// Takes up all the room there is but for so many KiB.
    fn fill_but(&mut self, kib: usize) {
        let free = "$(($(stat -f -c '%a * %S' small) / 1024";
        let filled = self.run(&format!(
            "head -c {free} - {kib}))K /dev/zero >small/filler"
        ));
        assert_eq!(filled, Some(0));
    }

    /// Makes room again.
    fn clear(&mut self) {
        assert_eq!(self.run("rm small/filler"), Some(0));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.run("kill -9 $! 2>/dev/null; wait");
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

#[test]
fn a_validator_whose_file_system_is_full_stops_with_an_error_and_loses_nothing() {
    let net = Net::up();
    net.run(&["put", "n", "first", "1", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "stop", "3"]).expect(0);
    let Some(mut disk) = SmallDisk::mount(&net, 3, 128) else {
        // Not by a macro, whose output is kept back from whoever runs the tests.
        let said: &[u8] = b"SKIPPED: a full file system isn't tested, since none can be mounted \
            here: run this as root\n";
        std::io::stderr().write_all(said).unwrap();
        return;
    };

    // Room for a part of what comes.
    disk.fill_but(8 << 10);
    disk.start();
    wait_for("it is back", || net.states().len() == 4);
    load_much(&net);
    let expect_full = |code: Option<i32>| {
        let said = said_by_hand(&net);
        assert_eq!(code, Some(1), "an error, not a signal: {said}");
        assert!(
            said.contains("No space left on device") && said.contains("make room"),
            "{said}"
        );
    };
    expect_full(disk.wait());

    // It doesn't start while there is none at all, and that harms nothing.
    disk.fill();
    disk.start();
    expect_full(disk.wait());
    disk.clear();
    disk.start();
    has_all(&net, 3);
}

#[test]
fn a_second_process_and_a_taken_port_are_refused_and_harm_nobody() {
    let net = Net::up();
    net.run(&["put", "n", "k", "1", "--create"]).expect(0);
    let config = |i: usize| net.path().join(format!("v{i}/violeta.toml"));
    let start = |config: &std::path::Path| run(&["start", "--config", config.to_str().unwrap()]);
    let said = start(&config(0)).expect(1);
    assert!(said.err.contains("is in use by process"), "{}", said.err);
    assert!(said.err.contains("stop it first"), "{}", said.err);

    // Another validator's configuration that names the ports of one that runs.
    net.run(&["testnet", "stop", "1"]).expect(0);
    let text = std::fs::read_to_string(config(0)).unwrap();
    let port = text
        .lines()
        .find(|line| line.starts_with("listen"))
        .unwrap();
    let own = std::fs::read_to_string(config(1)).unwrap();
    let own_port = own.lines().find(|line| line.starts_with("listen")).unwrap();
    let taken = net.file("v1/taken.toml", &own.replacen(own_port, port, 1));
    let said = start(&taken).expect(1);
    assert!(said.err.contains("can't listen on"), "{}", said.err);
    assert!(said.err.contains("node.listen"), "{}", said.err);

    net.run(&["testnet", "start", "1"]).expect(0);
    net.run(&["put", "n", "k", "2"]).expect(0);
    net.wait_level();
}

/// Where a validator listens: for others, and for clients.
fn ports_of(net: &Net, validator: usize) -> [String; 2] {
    let config = net.path().join(format!("v{validator}/violeta.toml"));
    let text = std::fs::read_to_string(config).unwrap();
    let mut addresses = text
        .lines()
        .filter_map(|line| line.strip_prefix("listen = "));
    let mut address = || addresses.next().unwrap().trim_matches('"').to_owned();
    [address(), address()]
}

/// Connects, says this, and stays; none if it isn't let in.
fn stranger(address: &str, says: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(address).ok()?;
    let _ = socket.write_all(says);
    Some(socket)
}

/// How many files and sockets a process has open.
fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// One connection to a gateway, kept open.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn connect(address: &str) -> Kept {
        Kept(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    /// The certified height that is told over it.
    fn certified_height(&mut self) -> u64 {
        let request = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n";
        self.0.get_mut().write_all(request).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "it was closed");
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        let status: Value = serde_json::from_slice(&body).unwrap();
        status["certified_height"].as_u64().unwrap()
    }
}

/// Connections that say nothing, so many to each port.
fn flood(ports: &[String], count: usize) -> Vec<TcpStream> {
    let all = ports.iter().flat_map(|port| vec![port; count]);
    all.filter_map(|port| stranger(port, b"")).collect()
}

/// The validator behind this connection certifies what is written at others.
#[track_caller]
fn keeps_up(net: &Net, kept: &mut Kept) {
    let mut written = 0;
    let how = ["--key", "administrator.key", "--json"];
    for i in 0..5 {
        let put = ["put", "n", "k", &i.to_string()];
        let said = net.run_at(1, &[&put[..], &how].concat()).expect(0);
        written = said.objects()[0]["height"].as_u64().unwrap();
    }
    wait_for("it keeps up", || kept.certified_height() >= written);
}

#[test]
fn a_validator_with_the_fewest_descriptors_keeps_some_under_a_flood_and_keeps_up() {
    let net = Net::up();
    net.run(&["put", "n", "k", "0", "--create"]).expect(0);
    net.run(&["testnet", "stop", "0"]).expect(0);
    let mut refused = start_under(&net, 0, "ulimit -n 100");
    assert_eq!(refused.wait().unwrap().code(), Some(1));
    let said = said_by_hand(&net);
    let (_, needed) = said.split_once("LimitNOFILE=").unwrap();
    let needed: usize = needed.split(' ').next().unwrap().parse().unwrap();

    let node = start_under(&net, 0, &format!("ulimit -n {needed}"));
    let mut node = Killed(node);
    wait_for("it is back", || net.states().len() == 4);
    let ports = ports_of(&net, 0);
    let mut kept = Kept::connect(&ports[1]);
    let others = flood(&ports, needed);
    keeps_up(&net, &mut kept);
    let open = open_files(node.0.id());
    assert!(open < needed / 2, "{open} of {needed}");
    assert!(!said_by_hand(&net).contains("can't accept"));
    drop(others);
    assert!(node.0.try_wait().unwrap().is_none(), "it runs still");
}

#[test]
fn a_validator_that_gets_no_more_descriptors_says_so_keeps_up_and_accepts_again() {
    let net = Net::up();
    net.run(&["put", "n", "k", "0", "--create"]).expect(0);
    net.run(&["testnet", "stop", "0"]).expect(0);
    let node = Killed(start_under(&net, 0, "true"));
    wait_for("it is back", || net.states().len() == 4);
    let ports = ports_of(&net, 0);
    let mut kept = Kept::connect(&ports[1]);
    keeps_up(&net, &mut kept);

    // The limit falls while it runs: to what it has open, and a few more. As root somebody could do so.
    let limit = (open_files(node.0.id()) + 10).to_string();
    let pid = node.0.id().to_string();
    let limited = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={limit}:{limit}")])
        .status();
    assert!(limited.unwrap().success(), "prlimit, of util-linux");
    let others = flood(&ports, 40);
    wait_for("it says so", || {
        let said = said_by_hand(&net);
        ["clients", "validators"]
            .iter()
            .all(|whose| said.contains(&format!("can't accept connections of {whose}")))
    });
    let said = said_by_hand(&net);
    assert!(said.contains("Too many open files"), "{said}");
    keeps_up(&net, &mut kept);
    assert_eq!(
        said_by_hand(&net).matches("of clients; they wait").count(),
        1
    );

    drop(others);
    net.run_at(0, &["get", "n", "k"]).expect(0);
    net.run(&["testnet", "kill", "2"]).expect(0);
    net.run(&["testnet", "start", "2"]).expect(0);
    keeps_up(&net, &mut kept);
    wait_for("v0 hears all others", || {
        statuses(&net)[0]["peers"]
            .as_array()
            .is_some_and(|p| p.len() == 3)
    });
}

/// A process that doesn't outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn strangers_who_are_slow_or_send_garbage_hold_up_neither_clients_nor_validators() {
    let net = Net::up();
    net.run(&["put", "n", "k", "0", "--create"]).expect(0);
    let ports = ports_of(&net, 0);
    let says: [&[u8]; 5] = [
        b"",
        b"GET /v1/status HTTP/1.1\r\nx-slow: ",
        b"\x16\x03\x01\x02\x00\x01",
        &[0xff; 4_096],
        b"POST /v1/transactions HTTP/1.1\r\ncontent-length: 9000000\r\n\r\nxx",
    ];
    let mut open: Vec<TcpStream> = Vec::new();
    for port in &ports {
        for _ in 0..40 {
            open.extend(says.iter().filter_map(|says| stranger(port, says)));
        }
    }
    // While they stay, and dribble, everybody else is served, and a validator that restarts gets in.
    for i in 1..=5 {
        for socket in &mut open {
            let _ = socket.write_all(b"x");
        }
        let put = ["put", "n", "k", &i.to_string()];
        let key = ["--key", "administrator.key"];
        net.run_at(0, &[&put[..], &key].concat()).expect(0);
    }
    net.run(&["testnet", "kill", "2"]).expect(0);
    net.run(&["testnet", "start", "2"]).expect(0);
    net.run(&["put", "n", "k", "6"]).expect(0);
    net.wait_level();
    wait_for("v0 hears all others", || {
        statuses(&net)[0]["peers"]
            .as_array()
            .is_some_and(|p| p.len() == 3)
    });

    // The silent on the validators' port are sent away in time.
    let silent = stranger(&ports[0], b"").unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert!(
        matches!((&silent).read(&mut [0; 1]), Ok(0) | Err(_)),
        "dropped"
    );
}
