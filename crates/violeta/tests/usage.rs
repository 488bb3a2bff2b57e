//! Wrong usage: what is said, in which form, and with which exit code. Nobody is asked, so there is no network.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use serde_json::Value;
use support::run;

#[test]
fn a_value_as_it_is_and_as_an_object_exclude_one_another_wherever_json_stands() {
    for args in [
        ["--json", "get", "n", "k", "--raw"],
        ["get", "--json", "n", "k", "--raw"],
        ["get", "n", "k", "--raw", "--json"],
    ] {
        let said = run(&args).expect(2);
        assert!(said.err.contains("--raw and --json"), "{}", said.err);
    }
}

#[test]
fn a_program_reads_what_is_wrong_with_its_arguments_as_json() {
    for (args, message) in [
        (&["--json", "get", "n"][..], "not provided: <KEY>"),
        (&["get", "n", "--json"], "not provided: <KEY>"),
        (&["get", "n", "k", "--bogus", "--json"], "'--bogus'"),
        (
            &["get", "n", "k", "--at", "x", "--json"],
            "invalid value 'x' for '--at",
        ),
        (&["--json", "gte"], "unrecognized subcommand 'gte'"),
        (&["--json"], "requires a subcommand"),
        (&["testnet", "--json"], "requires a subcommand"),
        (&["--json", "testnet"], "a subcommand is missing"),
        // One that isn't clap's has the same form.
        (&["--json", "put", "n", "k"], "the value is missing"),
    ] {
        let said = run(args).expect(2);
        assert_eq!(said.out, "", "{args:?}");
        let object: Value = serde_json::from_str(&said.err).expect(&said.err);
        let error = &object["error"];
        assert_eq!(error["cause"], "usage", "{object}");
        let found = error["message"].as_str().unwrap();
        assert!(found.contains(message), "{object}");
        assert!(
            !found.contains('\n') && !found.contains("error:"),
            "{object}"
        );
        assert!(!error["help"].as_str().unwrap().is_empty(), "{object}");
    }
    // People get lines, and help is for people.
    let said = run(&["get", "n", "--", "--json", "more"]).expect(2);
    assert!(said.err.starts_with("error: "), "{}", said.err);
    for args in [["--json", "--help"], ["--json", "--version"]] {
        let said = run(&args).expect(0);
        assert!(said.out.starts_with("violeta") || said.out.contains("Usage:"));
    }
}

#[test]
fn a_name_that_no_namespace_can_have_is_refused_before_anybody_is_asked() {
    let file = tempfile::Builder::new().suffix(".tsv").tempfile().unwrap();
    std::fs::write(&file, "k\tv\na\t1\n").unwrap();
    let file = file.path().to_str().unwrap();
    for name in ["Greetings", "_history", "", "a b"] {
        for args in [
            &["put", name, "k", "v", "--create"][..],
            &["delete", name, "k"],
            &["load", file, "-n", name, "-k", "k", "--create"],
        ] {
            let said = run(args).expect(2);
            assert!(said.err.contains("1 to 64 of a-z 0-9"), "{}", said.err);
            assert!(said.err.contains(&format!("{name:?}")), "{}", said.err);
        }
    }
}

#[test]
fn a_proof_that_has_no_place_to_go_isnt_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let nowhere = format!("{dir}/nowhere");
    let file = format!("{nowhere}/x.proof");
    let transaction = "00".repeat(32);
    for asked in [&["prove", "n", "k"][..], &["outcome", &transaction]] {
        let to = |place| run(&[asked, &["-o", place]].concat()).expect(1).err;
        let said = to(&file);
        let missing = format!("there is no directory {nowhere}\n");
        assert!(said.contains(&missing), "{said}");
        let said = to(dir);
        assert!(said.contains("is a directory"), "{said}");
    }
}

#[test]
fn a_load_of_which_no_row_has_the_key_says_so_and_nothing_else() {
    let file = tempfile::Builder::new()
        .suffix(".jsonl")
        .tempfile()
        .unwrap();
    std::fs::write(&file, "{\"k\":1}\n{\"k\":2}\n").unwrap();
    let file = file.path().to_str().unwrap();
    let said = run(&["load", file, "-n", "n", "-k", "key"]).expect(1);
    assert_eq!(said.out, "");
    assert!(
        said.err.contains("the first of 2: no field \"key\""),
        "{}",
        said.err
    );
}
