//! What `--help` says, whole: a change of the command line is a visible change here.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use expect_test::expect_file;
use support::run;

/// Every command, as it is typed.
const COMMANDS: &[&str] = &[
    "",
    "bench",
    "completions",
    "delete",
    "demo",
    "diff",
    "get",
    "history",
    "key",
    "key new",
    "key show",
    "list",
    "load",
    "outcome",
    "prove",
    "provision",
    "put",
    "sim",
    "start",
    "status",
    "store",
    "store check",
    "store compact",
    "store diff",
    "store dump",
    "store prune",
    "store stats",
    "testnet",
    "testnet down",
    "testnet init",
    "testnet kill",
    "testnet ps",
    "testnet start",
    "testnet stop",
    "testnet up",
    "verify",
];

#[test]
fn every_command_says_what_it_does() {
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let said = run(&args).expect(0);
        for line in said.out.lines() {
            assert!(line.chars().count() <= 100, "{command}: too wide: {line}");
        }
        let name = match command.replace(' ', "-") {
            name if name.is_empty() => "violeta".to_owned(),
            name => name,
        };
        expect_file![format!("help/{name}.txt")].assert_eq(&said.out);
    }
}

#[test]
fn no_command_is_forgotten_here() {
    let all = run(&["--help"]).expect(0).out;
    let commands = all.split("Commands:\n").nth(1).unwrap();
    let listed = commands.lines().take_while(|line| line.starts_with("  "));
    for name in listed.map(|line| line.split_whitespace().next().unwrap()) {
        assert!(
            name == "help" || COMMANDS.contains(&name),
            "{name} isn't in COMMANDS"
        );
    }
}

#[test]
fn what_only_the_demo_may_ask_for_isnt_shown() {
    let said = run(&["start", "--help"]).expect(0);
    assert!(!said.out.contains("adversary") && !said.out.contains("die-with"));
}

#[test]
fn a_shell_gets_completions_for_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).expect(0).out;
        for command in ["testnet", "demo", "verify", "store"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    let said = run(&["completions"]).expect(2);
    assert!(said.err.contains("bash, elvish, fish"), "{}", said.err);
}

#[test]
fn a_key_is_made_shown_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.key");
    let path = path.to_str().unwrap();
    let made = run(&["key", "new", path, "--json"]).expect(0);
    let shown = run(&["key", "show", path, "--json"]).expect(0);
    assert_eq!(made.objects()[0]["client"], shown.objects()[0]["client"]);
    run(&["key", "new", path]).expect(1);
    assert_eq!(
        run(&["key", "show", path, "--json"]).expect(0).out,
        shown.out
    );
    std::fs::write(path, "nonsense").unwrap();
    run(&["key", "show", path]).expect(1);
}

#[test]
fn simulated_worlds_are_run_and_told() {
    let said = run(&["sim", "--seeds", "0..2", "--virtual-seconds", "1", "--json"]);
    assert!(said.code <= 1, "{said:?}");
    for report in said.objects() {
        let (clean, replay) = (report["clean"] == true, report["replay"].as_str());
        assert_eq!(clean, replay.is_none(), "{report}");
    }
    let one = run(&[
        "sim",
        "--seeds",
        "5..=5",
        "--virtual-seconds",
        "1",
        "--json",
    ]);
    let seeds: Vec<_> = (one.objects().iter().filter_map(|o| o["seed"].as_u64())).collect();
    assert_eq!(seeds, [5]);
    let trace = ["sim", "--seed", "5", "--trace", "--virtual-seconds", "1"];
    let told = run(&trace).out;
    let objects = run(&[&trace[..], &["--json"]].concat()).objects();
    let (report, events) = objects.split_last().unwrap();
    assert_eq!(report["seed"], 5);
    assert!(!events.is_empty(), "{told}");
    let events = events.iter().map(|object| object["event"].as_str());
    assert!(events.eq(told.lines().take(objects.len() - 1).map(Some)));
    run(&["sim", "--seeds", "5..5"]).expect(2);
    run(&["sim", "--validators", "1"]).expect(2);
}
