//! What an operator meets: lost journals, full disks, two processes for one validator, strangers at the ports.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Net, Said, run, violeta, wait_for};

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
    let written = net.run(&["put", "n", "k", "2", "--json"]).expect(0);
    let height = written.objects()[0]["height"].as_u64().unwrap();
    let (level, _) = net.wait_level();
    assert!(level >= height, "it follows");
    let amnesia: Vec<_> = statuses(&net)
        .iter()
        .map(|s| s["amnesia"] == true)
        .collect();
    assert_eq!(amnesia, [false, false, true, false]);
    let shown = net.run(&["status"]).expect(0).out;
    assert!(
        shown.contains("v2 has amnesia: its journal was lost"),
        "{shown}"
    );
    assert!(log(&net, 2).contains("AMNESIA"), "the log says so as well");
    let endpoint = endpoint_of(&net, 2);
    let read = [
        "get",
        "n",
        "k",
        "--endpoint",
        &endpoint,
        "--trust",
        "trust.json",
    ];
    assert_eq!(
        net.run(&read).expect(0).out,
        "2\n",
        "it serves, with proofs"
    );

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
        statuses(&net).iter().any(|s| s["amnesia"] == true)
    });
}

/// Where a validator listens for clients.
fn endpoint_of(net: &Net, validator: usize) -> String {
    let rows = net.run(&["status", "--json"]).expect(0).objects();
    rows[validator]["endpoint"].as_str().unwrap().to_owned()
}

/// Starts validator 3 by hand, none of whose files may grow beyond so many bytes.
fn start_limited(net: &Net, file_bytes_max: u64) -> Child {
    let log = std::fs::File::create(net.path().join("limited.log")).unwrap();
    // POSIX counts in 512 bytes, and so does every /bin/sh but one, which counts in 1,024.
    let blocks = (file_bytes_max / 512).to_string();
    Command::new("sh")
        .args([
            "-c",
            r#"ulimit -f "$1" && exec "$2" start --config v3/violeta.toml"#,
        ])
        .args(["sh", &blocks, env!("CARGO_BIN_EXE_violeta")])
        .current_dir(net.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

#[test]
fn a_validator_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() {
    let net = Net::up();
    net.run(&["put", "n", "first", "1", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "stop", "3"]).expect(0);
    let mut limited = start_limited(&net, 8 << 20);
    wait_for("it is back", || net.states().len() == 4);

    // 30 MB in rows: more than its journal may hold, by either way to count.
    let value = "v".repeat(30_000);
    let row = |i: usize| format!("k{i:05}\t{value}\n");
    let text: String = std::iter::once("key\tvalue\n".to_owned())
        .chain((0..1_000).map(row))
        .collect();
    let file = net.file("rows.tsv", &text);
    let file = file.to_str().unwrap();
    net.run(&["load", file, "-n", "rows", "-k", "key", "--create"])
        .expect(0);
    wait_for("it stops", || limited.try_wait().unwrap().is_some());
    let code = limited.wait().unwrap().code();
    let said = std::fs::read_to_string(net.path().join("limited.log")).unwrap();
    assert_eq!(code, Some(1), "an error, not a signal: {said}");
    assert!(
        said.contains("File too large") && said.contains("make room"),
        "{said}"
    );

    // Room again: nothing that was there is lost, and what it missed comes.
    net.run(&["testnet", "start", "3"]).expect(0);
    net.wait_level();
    let endpoint = endpoint_of(&net, 3);
    for (namespace, key) in [("n", "first"), ("rows", "k00000"), ("rows", "k00999")] {
        let read = [
            "get",
            namespace,
            key,
            "--endpoint",
            &endpoint,
            "--trust",
            "trust.json",
        ];
        net.run(&read).expect(0);
    }
    assert!(statuses(&net).iter().all(|s| s["amnesia"] == false));
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

/// Connects, says this, and stays; none if it isn't let in.
fn stranger(address: &str, says: &[u8]) -> Option<TcpStream> {
    let mut socket = TcpStream::connect(address).ok()?;
    let _ = socket.write_all(says);
    Some(socket)
}

#[test]
fn strangers_who_are_slow_or_send_garbage_hold_up_neither_clients_nor_validators() {
    let net = Net::up();
    net.run(&["put", "n", "k", "0", "--create"]).expect(0);
    let text = std::fs::read_to_string(net.path().join("v0/violeta.toml")).unwrap();
    let mut addresses = text
        .lines()
        .filter_map(|line| line.strip_prefix("listen = "));
    let mut address = || addresses.next().unwrap().trim_matches('"').to_owned();
    let ports = [address(), address()];
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
    let endpoint = endpoint_of(&net, 0);
    for i in 1..=5 {
        for socket in &mut open {
            let _ = socket.write_all(b"x");
        }
        let put = [
            "put",
            "n",
            "k",
            &i.to_string(),
            "--endpoint",
            &endpoint,
            "--trust",
            "trust.json",
        ];
        let said: Said = violeta()
            .current_dir(net.path())
            .args(put)
            .args(["--key", "administrator.key"])
            .output()
            .unwrap()
            .into();
        said.expect(0);
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
