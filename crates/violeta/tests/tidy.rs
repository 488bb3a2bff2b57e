//! What no compiler checks: which crate may know which, and what every file must keep to.

#![expect(clippy::unwrap_used, reason = "a test that can't read the tree fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The arrows of ARCHITECTURE.md: each crate and those of ours that it may know.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("violeta-types", &[]),
    ("violeta-crypto", &["types"]),
    ("violeta-proof", &["types", "crypto"]),
    ("violeta-journal", &["types"]),
    ("violeta-vlsm", &["types", "proof", "journal"]),
    ("violeta-consensus", &["types", "crypto"]),
    (
        "violeta-replica",
        &["types", "crypto", "proof", "consensus"],
    ),
    (
        "violeta-db",
        &[
            "types",
            "crypto",
            "proof",
            "journal",
            "vlsm",
            "consensus",
            "replica",
        ],
    ),
    (
        "violeta-node",
        &[
            "types",
            "crypto",
            "proof",
            "journal",
            "vlsm",
            "consensus",
            "replica",
            "db",
        ],
    ),
    ("violeta-client", &["types", "crypto", "proof"]),
    (
        "violeta-sim",
        &[
            "types",
            "crypto",
            "proof",
            "journal",
            "vlsm",
            "consensus",
            "replica",
            "db",
        ],
    ),
    (
        "violeta",
        &[
            "types",
            "crypto",
            "proof",
            "journal",
            "vlsm",
            "consensus",
            "replica",
            "db",
            "node",
            "client",
            "sim",
        ],
    ),
];

/// Crates that may name sockets, threads, clocks or an async runtime.
const SHELL: &[&str] = &["violeta-node", "violeta-client", "violeta"];
const SHELL_ONLY: &[&str] = &[
    "tokio",
    "rustls",
    "tokio-rustls",
    "axum",
    "reqwest",
    "heed",
    "getrandom",
    "tracing",
    "nix",
    "crossbeam-channel",
];

/// The `[dependencies]` of a crate, from its manifest.
fn dependencies(crate_name: &str) -> BTreeSet<String> {
    let path = root().join("crates").join(crate_name).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest["dependencies"]
        .as_table()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

#[test]
fn every_crate_knows_only_whom_it_may() {
    let rules: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    let mut crates: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    crates.sort();
    for name in crates {
        let allowed = rules.get(name.as_str()).unwrap_or_else(|| {
            panic!("{name} isn't in MAY_KNOW: add it there and to ARCHITECTURE.md")
        });
        for dependency in dependencies(&name) {
            if let Some(ours) = dependency.strip_prefix("violeta-") {
                assert!(allowed.contains(&ours), "{name} may not know {dependency}");
            }
        }
    }
}

#[test]
fn protocol_crates_know_no_sockets_threads_or_clocks() {
    for (name, _) in MAY_KNOW.iter().filter(|(name, _)| !SHELL.contains(name)) {
        for dependency in dependencies(name) {
            assert!(
                !SHELL_ONLY.contains(&dependency.as_str()),
                "{name} is sans I/O and may not know {dependency}"
            );
        }
    }
}

fn files(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

#[test]
fn files_keep_to_the_form() {
    let mut sources = Vec::new();
    files(&root(), "rs", &mut sources);
    files(&root(), "md", &mut sources);
    assert!(sources.len() > 50, "the walk found the tree");
    // Written so that this file doesn't find itself.
    let unfinished = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
    ];
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display();
        assert!(
            !text.contains('\t') || path.extension().unwrap() == "md",
            "{name}: a tab"
        );
        assert!(text.ends_with('\n'), "{name}: no newline at the end");
        for word in unfinished {
            assert!(!text.contains(word), "{name}: {word} is unfinished work");
        }
        let longest = text
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap_or(0);
        let is_code = path.extension().unwrap() == "rs";
        assert!(
            !is_code || longest <= 200,
            "{name}: a line of {longest} characters"
        );
    }
}

#[test]
fn every_module_says_what_it_is() {
    let mut sources = Vec::new();
    files(&root().join("crates"), "rs", &mut sources);
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("//!"),
            "{}: begin with a //! doc",
            path.display()
        );
    }
}
