//! The demo, whole.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use support::{is_alive, run, signal, violeta, wait_for};

/// Two demos at once take twice as long, and each has its patience.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Its seven steps, as soon as it has told them.
#[track_caller]
fn steps(demo: &mut Child) -> Vec<Value> {
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let steps: Vec<Value> = lines
        .take(7)
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(steps.len(), 7, "its errors are above: {steps:?}");
    steps
}

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let mut demo = violeta()
        .args(["demo", "--once", "--json", "--dir"])
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let steps = steps(&mut demo);
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
    // The last step says that they are stopped.
    for validator in facts(1)["validators"].as_array().unwrap() {
        assert!(!is_alive(validator["pid"].as_u64().unwrap()));
    }
    assert_eq!(demo.wait().unwrap().code(), Some(0));
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
fn what_the_demo_says_to_try_works_and_validators_end_with_it_however_it_ends() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = tempfile::tempdir().unwrap();
    let mut demo = violeta()
        .args(["demo", "--json", "--dir", dir.path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let steps = steps(&mut demo);
    for command in steps[6]["facts"]["try"].as_array().unwrap() {
        let command = command.as_str().unwrap().replace('\'', "");
        // Watching never ends by itself.
        let words = command.split(' ').skip(1).filter(|word| *word != "--watch");
        run(&words.collect::<Vec<_>>()).expect(0);
    }
    let validators = steps[0]["facts"]["validators"].as_array().unwrap();
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

/// A demo whose terminal is about to close, once it has told its first step: with the pids of its validators.
fn hung_up(
    program: &mut Command,
    temporary: &Path,
) -> (Child, Lines<BufReader<ChildStdout>>, Vec<u64>) {
    let mut demo = program
        .env("TMPDIR", temporary)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let validators = first["facts"]["validators"].as_array().unwrap();
    let pids = validators.iter().map(|v| v["pid"].as_u64().unwrap());
    signal(&demo, "-HUP");
    (demo, lines, pids.collect())
}

#[test]
fn a_terminal_that_closes_ends_the_demo_cleanly_unless_it_was_told_not_to_mind() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let temporary = tempfile::tempdir().unwrap();
    let gone = |pids: &[u64]| {
        assert!(pids.iter().all(|&pid| !is_alive(pid)));
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    };
    let program = violeta().get_program().to_owned();
    // Whoever runs the tests may have been told not to mind.
    let mut minding = Command::new("env");
    minding
        .arg("--default-signal=HUP")
        .arg(&program)
        .args(["demo", "--json"]);
    let (mut demo, _, pids) = hung_up(&mut minding, temporary.path());
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    gone(&pids);

    // As nohup does it.
    let mut deaf = Command::new("sh");
    deaf.args(["-c", "trap '' HUP; exec \"$0\" demo --json"])
        .arg(program);
    let (mut demo, mut lines, pids) = hung_up(&mut deaf, temporary.path());
    assert!(lines.next().unwrap().is_ok(), "it goes on");
    signal(&demo, "-TERM");
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    gone(&pids);
}
