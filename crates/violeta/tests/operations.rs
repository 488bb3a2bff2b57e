//! What an operator meets: lost journals, full disks, two processes for one validator, strangers at the ports.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use serde_json::Value;
use support::{Net, wait_for};

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
