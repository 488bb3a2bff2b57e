//! The command line against real validators: what a user does, and what goes wrong.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::time::Duration;

use serde_json::Value;
use support::{
    Net, catches, host_of, interrupt, is_alive, json, load, rows, run, signal, wait_for,
};

/// A key's history, newest first.
fn versions(net: &Net, namespace: &str, key: &str) -> Vec<Value> {
    let read = ["history", namespace, key, "--json"];
    net.run(&read).expect(0).objects()
}

#[test]
fn what_is_written_is_read_proved_and_verified_offline_and_a_changed_proof_is_refused() {
    let net = Net::up();
    let written = net
        .run(&["put", "greetings", "hello", "world", "--create", "--json"])
        .expect(0);
    let height = written.objects()[0]["height"].as_u64().unwrap();

    assert_eq!(
        net.run(&["get", "greetings", "hello"]).expect(0).out,
        "world\n"
    );
    let shown = net
        .run(&["get", "greetings", "hello", "--proof"])
        .expect(0)
        .out;
    assert!(shown.contains("3 is a quorum"), "{shown}");
    // A namespace that is there is as good as one that is made.
    let again = ["put", "greetings", "hello", "again", "--create"];
    net.run(&[&again[..], &["--if-value", "no"]].concat())
        .expect(1);
    net.run(&[&again[..], &["--if-value", "world"]].concat())
        .expect(0);
    let refused = net
        .run(&["put", "greetings", "hello", "lost", "--if-value", "world"])
        .expect(1);
    assert!(
        refused.err.contains("the condition doesn't hold"),
        "{}",
        refused.err
    );
    assert_eq!(
        net.run(&["get", "greetings", "hello", "--linearizable"])
            .expect(0)
            .out,
        "again\n"
    );
    let bytes = [0, 255, b'\n', 7];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, bytes).unwrap();
    let path = file.path().to_str().unwrap();
    net.run(&["put", "greetings", "bytes", "--file", path])
        .expect(0);
    let mut raw = net.command(&["get", "greetings", "bytes", "--raw"]);
    let raw = raw.output().unwrap();
    assert_eq!(raw.stdout, bytes);
    net.run(&["get", "greetings", "nothing", "--raw"]).expect(1);
    let at = height.to_string();
    assert_eq!(
        net.run(&["get", "greetings", "hello", "--at", &at])
            .expect(0)
            .out,
        "world\n"
    );
    let absent = net.run(&["get", "greetings", "nobody"]).expect(1);
    assert!(absent.err.contains("that is proved"), "{}", absent.err);
    for command in ["get", "history"] {
        let said = net.run(&[command, "nowhere", "hello"]).expect(1);
        let missing = "there is no namespace nowhere";
        assert!(said.err.contains(missing), "{}", said.err);
        assert!(said.err.contains("--create"), "{}", said.err);
    }
    let said = net
        .run(&["prove", "nowhere", "hello", "-o", "nowhere.proof"])
        .expect(0);
    assert!(said.err.contains("no namespace nowhere"), "{}", said.err);
    // A namespace without keys is there all the same.
    net.run(&["put", "empty", "k", "v", "--create"]).expect(0);
    net.run(&["delete", "empty", "k"]).expect(0);
    let said = net.run(&["get", "empty", "k"]).expect(1);
    assert!(said.err.contains("empty / k has no value"), "{}", said.err);
    let proved = net
        .run(&["get", "greetings", "hello", "--proof", "--json"])
        .expect(0);
    let proved = &proved.objects()[0];
    net.file("from-get.proof", &proved["proof"].to_string());
    net.run(&["verify", "from-get.proof", "--value", "again"])
        .expect(0);

    let versions = versions(&net, "greetings", "hello");
    let values: Vec<_> = versions
        .iter()
        .map(|v| v["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, ["again", "world"]);
    assert!(versions.iter().all(|v| v["proved"] == true), "{versions:?}");

    for form in [&[][..], &["--binary"]] {
        let mut args = vec!["prove", "greetings", "hello", "-o", "hello.proof"];
        args.extend(form);
        net.run(&args).expect(0);
        // Nobody is asked: the network could as well be down.
        let verified = net
            .run(&["verify", "hello.proof", "--trust", "trust.json"])
            .expect(0);
        assert!(
            verified.out.contains("greetings / hello = again"),
            "{}",
            verified.out
        );
        net.run(&["verify", "hello.proof", "--key", "other"])
            .expect(4);
        net.run(&["verify", "hello.proof", "--value", "again"])
            .expect(0);

        let path = net.path().join("hello.proof");
        let proof = std::fs::read(&path).unwrap();
        for place in (0..proof.len()).step_by(proof.len() / 40 + 1) {
            let mut changed = proof.clone();
            changed[place] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            let said = net.run(&["verify", "hello.proof"]);
            assert_eq!(said.code, 4, "byte {place} changed: {said:?}");
        }
    }

    net.run(&["prove", "greetings", "nobody", "-o", "nobody.proof"])
        .expect(0);
    assert!(
        net.run(&["verify", "nobody.proof"])
            .expect(0)
            .out
            .contains("has no value")
    );

    // What became of a transaction says nothing of a key, whatever the transaction wrote.
    let transaction = written.objects()[0]["transaction"]
        .as_str()
        .unwrap()
        .to_owned();
    let asked = ["outcome", &transaction, "-o", "outcome.proof", "--proof"];
    let said = net.run(&asked).expect(0);
    let executed = format!("executed at height {height}");
    assert!(said.out.contains(&executed), "{}", said.out);
    assert!(said.out.contains("3 is a quorum"), "{}", said.out);
    let said = net.run(&["verify", "outcome.proof"]).expect(0);
    assert!(said.out.contains(&executed), "{}", said.out);
    let said = net.run(&["outcome", &transaction, "--json"]).expect(0);
    assert_eq!(said.objects()[0]["outcome"]["height"], height);
    let said = net.run(&["outcome", &"00".repeat(32)]).expect(1);
    assert!(
        said.err.contains("there is no proof of what became of"),
        "{}",
        said.err
    );
    net.run(&["outcome", "00"]).expect(2);
    for claim in [
        ["--key", "hello"],
        ["--value", "world"],
        ["--namespace", "greetings"],
    ] {
        let said = net
            .run(&["verify", "outcome.proof", claim[0], claim[1]])
            .expect(4);
        assert!(said.err.contains("nothing of a key"), "{}", said.err);
    }
    net.run(&["delete", "greetings", "hello"]).expect(0);
    net.run(&["get", "greetings", "hello"]).expect(1);
}

#[test]
fn a_namespace_is_listed_whole_and_what_changed_between_two_heights_is_shown() {
    let net = Net::up();
    let first = net.written(&["put", "n", "a", "1", "--create"]);
    net.run(&["put", "n", "b", "2"]).expect(0);
    net.run(&["put", "n", "c", "3"]).expect(0);
    let last = net.written(&["put", "n", "a", "4"]);
    let value_of = |entry: &Value, key: &str| entry[key]["value"].as_str().map(str::to_owned);
    let list = |args: &[&str]| {
        let listed = net
            .run(&[&["list", "n", "--json"], args].concat())
            .expect(0);
        let entries = listed.objects();
        assert!(entries.iter().all(|entry| entry["proved"] == true));
        let pair = |entry: &Value| {
            let text = |field: &str| entry[field].as_str().unwrap().to_owned();
            (text("key"), text("value"))
        };
        let mut pairs: Vec<_> = entries.iter().map(pair).collect();
        pairs.sort();
        pairs
    };
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    assert_eq!(list(&[]), pairs(&[("a", "4"), ("b", "2"), ("c", "3")]));
    let first = first.to_string();
    assert_eq!(list(&["--at", &first]), pairs(&[("a", "1")]));
    assert_eq!(list(&["--limit", "2"]).len(), 2);
    let said = net.run(&["list", "n"]).expect(0);
    assert!(said.err.contains("all 3 keys"), "{}", said.err);
    let none = net.run(&["list", "nowhere"]).expect(1);
    assert!(none.err.contains("there is no namespace"), "{}", none.err);

    let last = last.to_string();
    let diff = net.run(&["diff", "n", &first, &last, "--json"]).expect(0);
    let mut changes: Vec<_> = (diff.objects().iter())
        .map(|change| {
            let key = change["key"].as_str().unwrap().to_owned();
            (key, value_of(change, "old"), value_of(change, "new"))
        })
        .collect();
    changes.sort();
    let text = |text: &str| Some(text.to_owned());
    let expected = [
        ("a".to_owned(), text("1"), text("4")),
        ("b".to_owned(), None, text("2")),
        ("c".to_owned(), None, text("3")),
    ];
    assert_eq!(changes, expected);
    let said = net.run(&["diff", "n", &first]).expect(0);
    assert!(said.err.contains("3 changes"), "{}", said.err);
    net.run(&["diff", "n", &last, &first]).expect(2);
    let none = net.run(&["diff", "nn", &first]).expect(1);
    assert!(none.err.contains("there is no namespace"), "{}", none.err);
    // The same value again.
    let again = net.written(&["put", "n", "b", "2"]).to_string();
    let said = net.run(&["diff", "n", &last, &again]).expect(0);
    let told = format!("written at {again}");
    assert!(said.out.contains(&told), "{}", said.out);
}

#[test]
fn heights_that_a_validator_caught_up_with_are_proved_by_the_history_of_newer_ones() {
    let net = Net::up();
    net.run(&["put", "n", "k", "0", "--create"]).expect(0);
    net.run(&["testnet", "stop", "3"]).expect(0);
    let put = |i: u64| net.written(&["put", "n", "k", &i.to_string()]);
    let heights: Vec<u64> = (1..10).map(put).collect();
    net.run(&["testnet", "start", "3"]).expect(0);
    net.wait_level();

    let mut by_history = 0;
    for (value, height) in (1..).zip(&heights) {
        let at = height.to_string();
        let prove = ["prove", "n", "k", "--at", &at, "-o", "k.proof"];
        net.run_at(3, &prove).expect(0);
        let said = net
            .run(&["verify", "k.proof", "--trust", "trust.json"])
            .expect(0);
        assert!(
            said.out.contains(&format!("n / k = {value}")),
            "{}",
            said.out
        );
        by_history += usize::from(
            said.out
                .contains("lies in the history of the one at height"),
        );
    }
    assert!(by_history > 0, "of {heights:?} all have certificates at v3");
    let read = ["history", "n", "k", "--json"];
    let versions = net.run_at(3, &read).expect(0).objects();
    assert_eq!(versions.len(), 10);
    assert!(versions.iter().all(|v| v["proved"] == true), "{versions:?}");
}

#[test]
fn the_trust_of_another_network_verifies_nothing() {
    let (net, other) = (Net::up(), Net::init());
    net.run(&["put", "n", "k", "v", "--create"]).expect(0);
    net.run(&["prove", "n", "k", "-o", "k.proof"]).expect(0);
    let trust = other.path().join("trust.json");
    let trust = trust.to_str().unwrap();
    let said = net.run(&["verify", "k.proof", "--trust", trust]).expect(4);
    assert!(
        said.err.contains("not of the trusted chain"),
        "{}",
        said.err
    );
    let said = net.run(&["get", "n", "k", "--trust", trust]).expect(4);
    assert!(
        said.err.contains("not of the trusted chain"),
        "{}",
        said.err
    );
}

#[test]
fn without_validators_the_exit_code_is_3_and_wrong_usage_is_2() {
    let net = Net::init();
    for args in [
        &["get", "n", "k"][..],
        &["put", "n", "k", "v"],
        &["history", "n", "k"],
        &["status"],
    ] {
        let said = net.run(args).expect(3);
        assert!(said.err.contains("help:"), "{}", said.err);
    }
    net.run(&["get", "n"]).expect(2);
    net.run(&["nonsense"]).expect(2);
    net.run(&["testnet", "start", "9"]).expect(2);
    net.run(&["get", "n", "k", "--endpoint", "nowhere"])
        .expect(2);
    // Nowhere in particular: nothing says whom to ask.
    let dir = tempfile::tempdir().unwrap();
    let said: support::Said = support::violeta()
        .current_dir(&dir)
        .args(["get", "n", "k"])
        .output()
        .unwrap()
        .into();
    let said = said.expect(2);
    assert!(said.err.contains("violeta testnet init"), "{}", said.err);
    let json = run(&["testnet", "ps", "/nonexistent", "--json"]).expect(1);
    let error: serde_json::Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!(error["error"]["cause"], "failed");
}

#[test]
fn a_validator_killed_in_mid_load_comes_back_level() {
    let net = Net::up();
    let file = net.file("rows.tsv", &rows(3_000));
    let mut load = net.spawn(&load(&file, &["--operations", "20"]));
    wait_for("the load begins", || {
        net.path().join("rows.tsv.progress").exists()
    });
    net.run(&["testnet", "kill", "3"]).expect(0);
    assert!(
        load.wait().unwrap().success(),
        "the other three are a quorum"
    );
    assert_eq!(
        net.run(&["get", "rows", "k02999", "--json"])
            .expect(0)
            .objects()[0]["value"],
        r#"{"value":"v2999"}"#
    );
    assert_eq!(net.states().len(), 3);
    net.run(&["testnet", "start", "3"]).expect(0);
    net.wait_level();
}

#[test]
fn of_rows_with_one_key_the_last_in_the_file_wins() {
    let net = Net::up();
    let text: String = (0..40).map(|i| format!("key{}\tv{i}\n", i % 2)).collect();
    let file = net.file("rows.tsv", &format!("key\tvalue\n{text}"));
    let pace = ["--operations", "1", "--window", "32"];
    net.run(&load(&file, &pace)).expect(0);
    for (key, odd) in [("key0", 0), ("key1", 1)] {
        let versions = versions(&net, "rows", key);
        let values: Vec<_> = versions.iter().map(|v| v["value"].to_string()).collect();
        let of_row = |i: usize| format!("{:?}", format!("{{\"value\":\"v{}\"}}", 2 * i + odd));
        let expected: Vec<_> = (0..20).rev().map(of_row).collect();
        assert_eq!(values, expected, "{key}: newest first");
    }
}

/// How many rows are committed, as a load says that was interrupted.
#[track_caller]
fn committed_rows(said: &str, of: &str) -> u64 {
    let rest = format!(" of {of} rows committed");
    let before = said.split(&rest).next().unwrap();
    assert_ne!(before, said, "it doesn't say so");
    let number = before.rsplit(' ').next().unwrap();
    number.replace(',', "").parse().unwrap()
}

#[test]
fn a_load_that_was_killed_goes_on_and_writes_no_row_twice() {
    let net = Net::up();
    let mut text = rows(2_000);
    text.push_str("\tno key\n");
    let file = net.file("rows.tsv", &text);
    let args = load(&file, &["--operations", "10", "--json"]);
    let mut first = net.spawn(&args);
    let progress = net.path().join("rows.tsv.progress");
    wait_for("some rows are loaded", || {
        progress.exists()
            && json(&progress)["done"]
                .as_array()
                .is_some_and(|d| !d.is_empty())
    });
    first.kill().unwrap();
    first.wait().unwrap();
    let done = json(&progress)["done"][0][1].as_u64().unwrap();
    assert!(done < 2_000, "it was killed in the middle: {done}");

    // Ctrl-C, once it has said that it goes on. What was under way may not have left: then that is known late.
    let mut second = net.spawn_heard(&args[..args.len() - 1]);
    let mut said = BufReader::new(second.stderr.take().unwrap());
    let mut text = String::new();
    said.read_line(&mut text).unwrap();
    interrupt(&second);
    said.read_to_string(&mut text).unwrap();
    assert_eq!(second.wait().unwrap().code(), Some(1), "{text}");
    let committed = committed_rows(&text, "2,000");
    assert!(text.contains("run the same command again"), "{text}");

    // One row has no key: it is counted, and the exit code says so.
    let third = net.run(&args).expect(1);
    let summary = &third.objects()[0];
    assert_eq!(summary["refused"], 1);
    let loaded = summary["loaded"].as_u64().unwrap();
    let before = summary["rows_loaded_before"].as_u64().unwrap();
    // Those that were under way then may have been executed since.
    assert!(
        done <= committed && committed <= before && loaded <= 2_000 - committed,
        "what was loaded isn't again: {done}, {committed}, {summary}"
    );
    assert!(loaded > 0, "the second one was interrupted: {summary}");
    assert_eq!(json(&progress)["finished"], true);
    let idle = net.run(&args).expect(1);
    let summary = &idle.objects()[0];
    assert_eq!(
        (&summary["loaded"], &summary["loaded_before"]),
        (&0.into(), &true.into())
    );
    for i in [
        0,
        done - 1,
        done,
        done + 50,
        committed - 1,
        committed,
        1_999,
    ] {
        let key = format!("k{:05}", i.min(1_999));
        let versions = versions(&net, "rows", &key);
        assert_eq!(versions.len(), 1, "{key} was written once: {versions:?}");
    }
}

#[test]
fn a_finished_load_is_done_again_only_if_that_is_asked_for_and_a_refused_one_leaves_nothing() {
    let net = Net::up();
    let file = net.file("rows.tsv", &rows(500));
    let load = ["load", file.to_str().unwrap(), "-n", "rows", "-k", "key"];
    let with = |further: &[&str]| net.run(&[&load[..], further].concat());
    let progress = net.path().join("rows.tsv.progress");
    let refused = with(&["--operations", "50"]).expect(1);
    assert!(
        refused.err.contains("there is no namespace rows"),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("--create"), "{}", refused.err);
    assert!(!progress.exists(), "nothing was loaded");

    with(&["--create"]).expect(0);
    let idle = with(&[]).expect(0);
    assert!(idle.out.contains("nothing to do"), "{}", idle.out);
    let again = with(&["--again"]).expect(0);
    assert!(again.out.contains("500 rows loaded"), "{}", again.out);
    let versions = net.run(&["history", "rows", "k00007", "--json"]).expect(0);
    assert_eq!(versions.objects().len(), 2);
    // A file that has changed is another load.
    net.file("rows.tsv", &rows(501));
    assert!(with(&[]).expect(0).out.contains("501 rows loaded"));
}

#[test]
fn without_a_quorum_whoever_waits_is_told_who_is_missing_and_goes_on_when_they_are_back() {
    let net = Net::up();
    net.run(&["put", "n", "k", "1", "--create"]).expect(0);
    net.wait_level();
    let said = net.run(&["testnet", "stop", "2", "3"]).expect(0);
    assert_eq!(said.out.matches("stopped").count(), 2, "{}", said.out);
    let shown = net.run(&["status"]).expect(0).out;
    assert!(
        shown.contains("only 2 of 4 answer: nothing can be committed until 3 do"),
        "{shown}"
    );
    let quorum = net.run(&["status", "--json"]).objects()[0]["quorum"].clone();
    assert_eq!(
        (&quorum["reached"], &quorum["agreeing"]),
        (&false.into(), &2.into())
    );
    // What is certified is read all the same.
    assert_eq!(net.run(&["get", "n", "k"]).expect(0).out, "1\n");

    let mut put = net.spawn_heard(&["put", "n", "k", "2"]);
    let mut note = String::new();
    BufReader::new(put.stderr.as_mut().unwrap())
        .read_line(&mut note)
        .unwrap();
    let expected = "Waiting: 2 of 4 validators don't answer (v2, v3); 3 are needed to commit.\n";
    assert_eq!(note, expected);
    net.run(&["testnet", "start", "2", "3"]).expect(0);
    assert!(put.wait().unwrap().success());
    assert_eq!(net.run(&["get", "n", "k", "--linearizable"]).out, "2\n");
}

/// How a command ends that is sent a signal, and what it says of that.
#[track_caller]
fn ended(mut process: Child, signal_name: &str) -> (Option<i32>, String) {
    signal(&process, signal_name);
    let mut text = String::new();
    let mut said = process.stderr.take().unwrap();
    said.read_to_string(&mut text).unwrap();
    (process.wait().unwrap().code(), text)
}

/// Starts a command, and gives it back once it says that it waits.
#[track_caller]
fn waiting(net: &Net, args: &[&str]) -> Child {
    let mut process = net.spawn_heard(args);
    let said = process.stderr.as_mut().unwrap();
    let mut byte = [0];
    let mut line = Vec::new();
    while byte != *b"\n" {
        said.read_exact(&mut byte).unwrap();
        line.extend(byte);
    }
    let line = String::from_utf8(line).unwrap();
    assert!(line.starts_with("Waiting: "), "{line}");
    process
}

#[test]
fn who_is_interrupted_while_a_write_is_under_way_is_told_its_id_and_that_it_may_be_executed() {
    let net = Net::up();
    net.run(&["put", "n", "k", "1", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "stop", "2", "3"]).expect(0);
    let writes = [
        (&["put", "n", "k", "2"][..], "-INT"),
        (&["delete", "n", "k"], "-TERM"),
    ];
    for (args, signal_name) in writes {
        let (code, said) = ended(waiting(&net, args), signal_name);
        assert_eq!(code, Some(1), "as a load that is interrupted: {said}");
        assert!(said.contains("interrupted: it isn't known"), "{said}");
        assert!(said.contains("it may still be executed"), "{said}");
        let id = said.split("violeta outcome ").nth(1).unwrap().trim();
        assert_eq!(id.len(), 64, "{said}");
    }

    // For programs too; nothing tells them that they wait, so it may not have left yet.
    let process = net.spawn_heard(&["put", "n", "k", "3", "--json"]);
    wait_for("it listens", || catches(&process, 15));
    let (code, said) = ended(process, "-TERM");
    assert_eq!(code, Some(1), "{said}");
    let said: Value = serde_json::from_str(&said).unwrap();
    let message = said["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("interrupted: "), "{message}");
}

#[test]
fn a_testnet_is_started_broken_and_stopped() {
    let net = Net::up();
    let pids: Vec<u64> = net
        .run(&["testnet", "ps", "--json"])
        .expect(0)
        .objects()
        .iter()
        .map(|row| row["pid"].as_u64().unwrap())
        .collect();
    assert_eq!(pids.len(), 4);
    net.run(&["testnet", "stop", "1"]).expect(0);
    assert!(!is_alive(pids[1]));
    net.run(&["testnet", "stop", "1"]).expect(1);
    net.run(&["testnet", "kill", "2"]).expect(0);
    assert!(!is_alive(pids[2]));
    let shown = net.run(&["testnet", "ps"]).expect(0).out;
    assert_eq!(shown.matches("down").count(), 2, "{shown}");
    net.run(&["testnet", "up"]).expect(0);
    net.run(&["put", "n", "k", "v", "--create"]).expect(0);
    net.wait_level();
    net.run(&["testnet", "down"]).expect(0);
    assert!(pids.iter().all(|&pid| !is_alive(pid)));
    // Nothing is lost by stopping.
    net.run(&["testnet", "up"]).expect(0);
    assert_eq!(net.run(&["get", "n", "k"]).expect(0).out, "v\n");
    run(&["testnet", "init", net.path().to_str().unwrap()]).expect(1);
}

#[test]
fn one_validators_unreadable_configuration_stands_in_nobodys_way() {
    let net = Net::up();
    net.written(&["put", "n", "k", "v", "--create"]);
    let pids: Vec<u64> = (net.run(&["testnet", "ps", "--json"]).expect(0).objects())
        .iter()
        .map(|row| row["pid"].as_u64().unwrap())
        .collect();
    let config = net.path().join("v0/violeta.toml");
    let intact = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("x=1\n{intact}")).unwrap();

    let rows = net.run(&["testnet", "ps", "--json"]).expect(0).objects();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["pid"].as_u64(), Some(pids[0]), "{rows:#?}");
    let problem = rows[0]["problem"].as_str().unwrap();
    assert!(problem.contains("v0/violeta.toml"), "{problem}");
    assert!(rows[1]["status"].is_object(), "{rows:#?}");
    let shown = net.run(&["testnet", "ps"]).expect(0);
    assert!(shown.out.contains("unreadable"), "{shown:#?}");
    assert!(shown.err.contains("warning: v0: "), "{shown:#?}");
    assert_eq!(net.run(&["get", "n", "k"]).expect(0).out, "v\n");
    let put = net.run(&["put", "n", "k2", "v"]).expect(0);
    assert!(put.err.contains("warning: v0 isn't asked: "), "{put:#?}");
    let shown = net.run(&["status"]).expect(0);
    assert!(shown.out.contains("3 agree"), "{shown:#?}");
    assert!(shown.err.contains("v0/violeta.toml"), "{shown:#?}");

    // Another answers where v3 is asked: it isn't taken for itself, nor does it move those between.
    let host = |row: &Value| host_of(row["endpoint"].as_str().unwrap()).to_owned();
    let v3 = net.path().join("v3/violeta.toml");
    let own = std::fs::read_to_string(&v3).unwrap();
    std::fs::write(&v3, own.replace(&host(&rows[3]), &host(&rows[1]))).unwrap();
    let posed = net.run(&["testnet", "ps", "--json"]).expect(0).objects();
    for (i, row) in posed.iter().enumerate() {
        assert_eq!(row["validator"], i, "{row:#?}");
        assert_eq!(row["pid"], pids[i], "{row:#?}");
    }
    assert_eq!(posed[2]["endpoint"], rows[2]["endpoint"]);
    assert_eq!(posed[3]["endpoint"], rows[1]["endpoint"]);
    let shown = net.run(&["testnet", "ps"]).expect(0);
    assert!(shown.err.contains("v3 answers as v1"), "{shown:#?}");
    let shown = net.run(&["status"]).expect(0);
    assert!(shown.out.contains("v3 answers as v1"), "{shown:#?}");
    std::fs::write(&v3, own).unwrap();

    net.run(&["testnet", "kill", "1"]).expect(0);
    let said = net.run(&["testnet", "up"]).expect(1);
    assert!(said.err.contains("v0/violeta.toml"), "{}", said.err);
    net.run(&["testnet", "start", "1"]).expect(0);
    net.run(&["testnet", "stop", "0"]).expect(0);
    assert!(!is_alive(pids[0]) && !is_alive(pids[1]));
    net.run(&["testnet", "start", "0"]).expect(1);
    net.run(&["testnet", "down"]).expect(0);
    assert!(!is_alive(pids[2]) && !is_alive(pids[3]));
}

#[test]
fn a_validator_that_cant_start_says_why() {
    let net = Net::up();
    let config = net.path().join("v0/violeta.toml");
    let said = run(&["start", "--config", config.to_str().unwrap()]).expect(1);
    assert!(said.err.contains("can't start"), "{}", said.err);
    let said = run(&["start", "--config", "/nonexistent/violeta.toml"]).expect(1);
    assert!(said.err.contains("is missing"), "{}", said.err);
    std::thread::sleep(Duration::from_millis(50));
    net.run(&["get", "n", "k"]);
    assert_eq!(net.states().len(), 4, "the one that runs isn't disturbed");
}

/// A number of ports that nobody has, beginning at one: validators listen on them and on those a hundred further on.
fn free_ports() -> String {
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut bases = (21_000 + (std::process::id() % 30) as u16 * 200..31_000).step_by(200);
    let base = bases.find(|base| (0..4).all(|i| is_free(base + i) && is_free(base + 100 + i)));
    base.unwrap().to_string()
}

#[test]
fn another_networks_validators_on_the_same_ports_arent_taken_for_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let base = free_ports();
    let place = |name| dir.path().join(name).to_str().unwrap().to_owned();
    let (first, second) = (place("first"), place("second"));
    for dir in [&first, &second] {
        run(&["testnet", "init", dir, "--base-port", &base]).expect(0);
    }
    run(&["testnet", "up", &first]).expect(0);
    let port = base.parse::<u16>().unwrap() + 100;
    let served = format!("port {port} is served by another chain");
    let checked = std::panic::catch_unwind(|| {
        let said = run(&["testnet", "up", &second]).expect(1);
        assert!(said.err.contains(&served), "{}", said.err);
        let said = run(&["testnet", "start", "0", &second]).expect(1);
        assert!(said.err.contains(&served), "{}", said.err);
        let said = run(&["testnet", "ps", &second]).expect(0);
        assert!(said.err.contains(&served), "{}", said.err);
        assert!(!said.out.contains("up"), "{}", said.out);
        let said = run(&["status", "--testnet", &second]).expect(3);
        assert!(said.out.contains(&served), "{}", said.out);
        let said = run(&["testnet", "ps", &first]).expect(0);
        assert_eq!(said.out.matches(" up").count(), 4, "{}", said.out);
    });
    for dir in [&second, &first] {
        run(&["testnet", "down", dir]).expect(0);
    }
    checked.unwrap();
}

#[test]
fn a_network_comes_up_with_one_that_lost_its_journal_and_says_that_it_only_follows() {
    let net = Net::up();
    net.run(&["put", "n", "k", "v", "--create"]).expect(0);
    net.run(&["testnet", "down"]).expect(0);
    std::fs::remove_dir_all(net.path().join("v3/data")).unwrap();
    let said = net.run(&["testnet", "up"]).expect(0);
    assert!(said.out.contains("up, follows only (amnesia)"), "{said:?}");
    assert!(said.err.contains("v3 has amnesia"), "{}", said.err);
    let said = net.run(&["testnet", "ps"]).expect(0);
    assert_eq!(said.out.matches("follows only").count(), 1, "{}", said.out);
}
