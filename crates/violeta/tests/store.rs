//! `violeta store` on real directories: a validator's, and that of whoever uses the store as a library.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "shared by several test programs"
)]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use serde_json::json;
use support::{Net, run, violeta};
use violeta_journal::RealDisk;
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Store};

/// Every file below a directory, with what it holds.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            // The lock's file says who held it last.
            false if path.ends_with("LOCK") => {}
            false => _ = found.insert(path.clone(), std::fs::read(&path).unwrap()),
        }
    }
    found
}

/// A store with three versions: 1 and 2 behind a checkpoint, 4 in the log alone.
fn library_store(dir: &Path) {
    let disk = Arc::new(RealDisk::new(dir.to_owned()));
    let store = Store::open(disk, "", Options::default()).unwrap();
    let mut writer = store.writer().unwrap();
    let mut batch = Batch::new();
    batch.create_space(b"fruit");
    batch.create_space(b"passing");
    batch.put(b"fruit", b"apple", "red");
    batch.put(b"fruit", b"\0\xff", "a key that isn't text");
    batch.put(b"passing", b"x", "1");
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(1), staged).unwrap();
    let mut batch = Batch::new();
    batch.create_space(b"many");
    for key in 0..30_000 {
        batch.put(b"many", format!("key {key}").as_bytes(), vec![b'v'; 100]);
    }
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(2), staged).unwrap();
    writer.checkpoint().unwrap();
    let mut batch = Batch::new();
    batch.put(b"fruit", b"apple", "green");
    batch.put(b"fruit", b"pear", "yellow");
    batch.delete(b"fruit", b"\0\xff");
    batch.drop_space(b"passing");
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(4), staged).unwrap();
}

#[test]
fn a_library_users_store_is_looked_into_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    library_store(dir.path());
    let before = files(dir.path());
    let dir_name = dir.path().to_str().unwrap();
    let store = |args: &[&str]| run(&[&["store"], args, &["--json"]].concat());

    let checked = store(&["check", dir_name]).expect(0).objects().remove(0);
    assert_eq!(checked["sound"], true);
    assert_eq!(
        (&checked["versions"], &checked["newest"], &checked["keys"]),
        (&json!(3), &json!(4), &json!(30_002))
    );

    let stats = store(&["stats", dir_name]).expect(0).objects();
    assert_eq!(stats[0]["oldest"], 1);
    assert_eq!(
        (&stats[0]["newest"], &stats[0]["durable"]),
        (&json!(4), &json!(4))
    );
    let of_disk: u64 = before.values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(stats[0]["bytes"], of_disk);
    let log = &stats[0]["files"][0];
    assert_eq!(
        (&log["kind"], &log["written"]),
        (&json!("log"), &checked["log_bytes"])
    );
    assert!(stats[0]["bytes_per_key"].as_f64().unwrap() > 100.0);
    let mut spaces: Vec<_> = (stats[1..].iter())
        .map(|space| {
            (
                space["space"].as_str().unwrap(),
                space["keys"].as_u64().unwrap(),
            )
        })
        .collect();
    spaces.sort_unstable();
    assert_eq!(spaces, [("fruit", 2), ("many", 30_000)]);
    let table = run(&["store", "stats", dir_name]).expect(0).out;
    assert!(table.contains("3, from 1 to 4, all durable"), "{table}");

    let mut dumped = store(&["dump", dir_name, "--space", "fruit", "--at", "3"])
        .expect(0)
        .objects();
    dumped.sort_by_key(|entry| entry["key"].to_string());
    assert_eq!(
        dumped,
        [
            json!({"key": "apple", "value": "red"}),
            json!({"key": "hex:00ff", "value": "a key that isn't text"}),
        ]
    );
    let said = store(&["dump", dir_name, "--space", "fruits"]).expect(1);
    assert!(
        said.err.contains("no space fruits at version 4"),
        "{}",
        said.err
    );
    let said = store(&["dump", dir_name, "--at", "5"]).expect(1);
    assert!(
        said.err.contains("no version 5: the store has 1 to 4"),
        "{}",
        said.err
    );

    let differ = run(&["store", "diff", dir_name, "2", "4"]).expect(0).out;
    let mut lines: Vec<_> = differ.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "+ pear\tyellow",
            "- hex:00ff\ta key that isn't text",
            "- x\t1",
            "fruit: 2 keys",
            "passing: gone, had 1 key",
            "~ apple\tred → green",
        ]
    );
    let only = store(&["diff", dir_name, "4", "2", "--space", "passing"])
        .expect(0)
        .objects();
    assert_eq!(
        (&only[0]["old"], &only[0]["new"]["keys"]),
        (&json!(null), &json!(1))
    );
    let came = json!({"space": "passing", "key": "x", "old": null, "new": {"value": "1"}});
    assert_eq!(only[1..], [came]);
    let same = run(&["store", "diff", dir_name, "2", "3"]).expect(0);
    assert_eq!(same.out, "nothing differs\n");

    assert!(files(dir.path()) == before, "nothing was written");
}

#[test]
fn whoever_reads_a_dump_may_stop_reading() {
    let dir = tempfile::tempdir().unwrap();
    library_store(dir.path());
    let mut dumping = violeta()
        .args([
            "store",
            "dump",
            dir.path().to_str().unwrap(),
            "--space",
            "many",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut out = BufReader::new(dumping.stdout.take().unwrap());
    out.read_line(&mut first).unwrap();
    assert!(
        first.starts_with("key ") && first.contains("\tvvv"),
        "{first}"
    );
    drop(out);
    let ended = dumping.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert!(ended.status.success());
}

#[test]
fn damage_is_named_by_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    library_store(dir.path());
    let name = dir.path().to_str().unwrap();
    let log = dir.path().join("log-00000000-0000000000000000");
    let mut bytes = std::fs::read(&log).unwrap();
    let found = bytes.windows(4).position(|bytes| bytes == b"vvvv").unwrap();
    bytes[found] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let said = run(&["store", "check", name]).expect(4);
    assert!(
        said.err
            .contains("log-00000000-0000000000000000 is corrupt at byte "),
        "{}",
        said.err
    );
    assert!(
        said.err.contains(name) && said.err.contains("check the disk"),
        "{}",
        said.err
    );
    let said = run(&["store", "check", name, "--json"]).expect(4);
    let error: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(error["error"]["cause"], "unverified");
}

#[test]
fn a_typo_makes_no_store() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, none) = (dir.path().join("empty"), dir.path().join("none"));
    std::fs::create_dir(&empty).unwrap();
    for command in ["check", "stats", "dump"] {
        for path in [&empty, &none] {
            let said = run(&["store", command, path.to_str().unwrap()]).expect(1);
            assert!(said.err.contains("there is no "), "{}", said.err);
        }
    }
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0);
    assert!(!none.exists());
}

#[test]
fn a_validators_store_is_looked_into_once_it_is_stopped() {
    let net = Net::up();
    let first = net.written(&["put", "greetings", "hello", "world", "--create"]);
    let second = net.written(&["put", "greetings", "hello", "there"]);
    net.wait_level();
    let said = net.run(&["store", "check", "v0"]).expect(1);
    assert!(
        said.err.contains("v0/data/store is in use by process "),
        "{}",
        said.err
    );
    assert!(said.err.contains("stop that one first"), "{}", said.err);
    net.run(&["testnet", "down"]).expect(0);

    let said = net.run(&["store", "check", "."]).expect(2);
    assert!(
        said.err.contains("./v0/data/store, ./v1/data/store"),
        "{}",
        said.err
    );
    for place in ["v0", "v0/data", "v0/data/store"] {
        let out = net.run(&["store", "check", place]).expect(0).out;
        assert!(out.contains("v0/data/store is sound"), "{out}");
    }
    let [first, second] = [first, second].map(|height| height.to_string());
    let dump = ["store", "dump", "v0", "--space", "greetings", "--at"];
    let dumped = net.run(&[&dump[..], &[&first]].concat()).expect(0);
    assert_eq!(dumped.out, "hello\tworld\n");
    let dumped = net
        .run(&[&dump[..], &[&second, "--json"]].concat())
        .expect(0)
        .objects();
    let height: u64 = second.parse().unwrap();
    assert_eq!(
        dumped,
        [json!({"key": "hello", "value": "there", "written_at": height})]
    );
    let raw = net.run(&[&dump[..], &[&first, "--raw"]].concat()).expect(0);
    assert!(
        raw.out.starts_with("hello\thex:") && raw.out.ends_with("776f726c64\n"),
        "{}",
        raw.out
    );

    let differ = [
        "store",
        "diff",
        "v0",
        &first,
        &second,
        "--space",
        "greetings",
    ];
    let differ = net.run(&differ).expect(0).out;
    assert_eq!(differ, "greetings: 1 key\n~ hello\tworld → there\n");
    let peers = ["store", "diff", "v0", &second, &second, "--with", "v1"];
    assert_eq!(net.run(&peers).expect(0).out, "nothing differs\n");
    // And it runs on from there.
    net.run(&["testnet", "up"]).expect(0);
    assert_eq!(
        net.run(&["get", "greetings", "hello"]).expect(0).out,
        "there\n"
    );
}

#[test]
fn old_versions_are_let_go_and_what_stays_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    library_store(dir.path());
    let dir_name = dir.path().to_str().unwrap();
    let store = |args: &[&str]| run(&[&["store"], args, &["--json"]].concat());
    let dump = |at: &str| store(&["dump", dir_name, "--space", "fruit", "--at", at]);
    let before = dump("4").expect(0).out;

    // Versions 1, 2 and 4: of the numbers 3 and 4, version 2 is what the store was at 3.
    let pruned = store(&["prune", dir_name, "--keep", "2", "--pin", "1"]);
    let pruned = pruned.expect(0).objects().remove(0);
    assert_eq!(
        (
            &pruned["oldest"],
            &pruned["newest"],
            &pruned["pinned"],
            &pruned["versions_gone"]
        ),
        (&json!(2), &json!(4), &json!([1]), &json!(0))
    );
    let pruned = store(&["prune", dir_name, "--oldest", "4"]);
    let pruned = pruned.expect(0).objects().remove(0);
    assert_eq!(
        (
            &pruned["oldest"],
            &pruned["pinned"],
            &pruned["versions_gone"]
        ),
        (&json!(4), &json!([1]), &json!(1))
    );
    let gone = dump("2").expect(1);
    assert!(gone.err.contains("there is no version 2"), "{}", gone.err);
    dump("1").expect(0);
    let pruned = store(&["prune", dir_name, "--keep", "1", "--unpin"]);
    assert_eq!(pruned.expect(0).objects()[0]["versions_gone"], 1);
    dump("1").expect(1);
    assert_eq!(dump("4").expect(0).out, before);
    store(&["check", dir_name]).expect(0);
    let compacted = run(&["store", "compact", dir_name]).expect(0).out;
    assert!(compacted.contains("0 versions gone"), "{compacted}");

    for (arguments, said) in [
        (&["--keep", "0"][..], "0 is not in 1.."),
        (&["--keep", "1", "--oldest", "4"], "cannot be used with"),
        (&[], "required"),
    ] {
        let refused = run(&[&["store", "prune", dir_name], arguments].concat()).expect(2);
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    let refused = run(&["store", "prune", dir_name, "--oldest", "9"]).expect(1);
    assert!(
        refused.err.contains("there is no version 9"),
        "{}",
        refused.err
    );
}

#[test]
fn a_diff_shows_what_differs_where_values_look_alike_and_knows_its_space_and_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new(dir.path().to_owned()));
    let store = Store::open(disk, "", Options::default()).unwrap();
    let mut writer = store.writer().unwrap();
    for (version, end) in [(1, "a"), (2, "b")] {
        let mut batch = Batch::new();
        if version == 1 {
            batch.create_space(b"s");
            batch.create_space(b"still");
        }
        batch.put(b"s", b"k", format!("{}{end}", "x".repeat(100)));
        let staged = writer.stage(&batch).unwrap();
        writer.commit(Height(version), staged).unwrap();
    }
    drop((writer, store));
    let name = dir.path().to_str().unwrap();
    let diff = |more: &[&str]| run(&[&["store", "diff", name, "1", "2"], more].concat());

    let shown = diff(&[]).expect(0).out;
    let line = shown.lines().find(|line| line.starts_with('~')).unwrap();
    let (old, new) = line.split_once('\t').unwrap().1.split_once(" → ").unwrap();
    assert_ne!(old, new);
    assert!(old.contains("(101 bytes, digest "), "{old}");

    assert!(
        diff(&["--space", "still"])
            .expect(0)
            .out
            .contains("nothing differs")
    );
    assert!(diff(&["--space", "s"]).expect(0).out.contains("s: 1 key"));
    let said = diff(&["--space", "typo"]).expect(1).err;
    assert!(
        said.contains("no space typo at version 1, nor at 2"),
        "{said}"
    );

    let again = format!("{name}/.");
    assert_eq!(
        diff(&["--with", &again]).expect(0).out,
        shown,
        "one store, spelled twice"
    );
}

#[test]
fn rot_in_both_superblocks_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    library_store(dir.path());
    for file in ["super-a", "super-b"] {
        let path = dir.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }
    let said = run(&["store", "check", dir.path().to_str().unwrap()]).expect(4);
    assert!(
        said.err.contains("neither superblock is whole"),
        "{}",
        said.err
    );
}
