//! Wrong usage: what is said, in which form, and with which exit code. Nobody is asked, so there is no network.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

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
