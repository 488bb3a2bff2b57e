//! The demo, whole.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use std::process::Stdio;

use support::{is_alive, run, violeta, wait_for};

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let said = run(&[
        "demo",
        "--once",
        "--json",
        "--dir",
        dir.path().to_str().unwrap(),
    ])
    .expect(0);
    let steps = said.objects();
    let numbers: Vec<_> = steps.iter().map(|s| s["step"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    assert!(steps.iter().all(|s| s["ok"] == true));
    let facts = |step: usize| &steps[step - 1]["facts"];
    assert_eq!(facts(2)["rows"], 2_831);
    assert_eq!(facts(4)["versions"], 2);
    assert!(
        facts(3)["tampered_refused_because"]
            .as_str()
            .unwrap()
            .contains("path")
    );
    assert_eq!(facts(5)["state_root"].as_str().unwrap().len(), 64);
    let evidence = facts(6)["evidence"].as_array().unwrap();
    let witnesses: Vec<_> = evidence.iter().map(|e| e[0].as_u64().unwrap()).collect();
    assert_eq!(witnesses, [0, 1, 3]);
    assert_eq!(facts(6)["value"], "100");
    for validator in facts(1)["validators"].as_array().unwrap() {
        assert!(!is_alive(validator["pid"].as_u64().unwrap()));
    }
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn a_network_that_is_there_is_neither_used_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("net/administrator.key");
    std::fs::create_dir(dir.path().join("net")).unwrap();
    std::fs::write(&kept, "precious").unwrap();
    let said = run(&["demo", "--once", "--dir", dir.path().to_str().unwrap()]).expect(2);
    assert!(said.err.contains("is there already"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "precious");
}

#[test]
fn validators_end_with_the_demo_however_it_ends() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let mut demo = violeta()
        .args(["demo", "--json", "--dir", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(demo.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let step: serde_json::Value = serde_json::from_str(&line).unwrap();
    let validators = step["facts"]["validators"].as_array().unwrap();
    let pids: Vec<u64> = validators
        .iter()
        .map(|v| v["pid"].as_u64().unwrap())
        .collect();
    // No destructor runs after SIGKILL: the kernel tells the children.
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_for("the validators end", || {
        pids.iter().all(|&pid| !is_alive(pid))
    });
}
