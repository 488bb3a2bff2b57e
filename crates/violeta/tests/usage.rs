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
