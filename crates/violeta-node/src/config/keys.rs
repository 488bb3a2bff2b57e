//! Every key of `violeta.toml`: what it means, and what it may be.

use std::fmt;

/// The section whose keys are validators' names.
pub const PEERS: &str = "peers";

/// What a key's value may be.
#[derive(Clone, Debug)]
pub enum Allowed {
    /// A number between two, both included.
    Range(u64, u64),
    /// As the text says.
    Text(&'static str),
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Range(min, max) => write!(f, "a number from {min} to {max}"),
            Allowed::Text(text) => f.write_str(text),
        }
    }
}

/// One key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The section it stands in.
    pub section: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What it may be.
    pub allowed: Allowed,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.section, self.name)
    }
}

/// The key of this name in this section.
pub fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

/// The sections that there are.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections.push(PEERS);
    sections
}

const PATH: Allowed = Allowed::Text("a path");
const ADDRESS: Allowed = Allowed::Text("an address and port, such as \"127.0.0.1:26600\"");
const SWITCH: Allowed = Allowed::Text("true or false");

/// Every key but the validators' names in `[peers]`, section by section.
pub const KEYS: &[Key] = &[
    Key {
        section: "node",
        name: "data_dir",
        help: "Journal, store and index. One process at a time.",
        allowed: PATH,
    },
    Key {
        section: "node",
        name: "keys_dir",
        help: "This validator's secret keys: files of mode 0600.",
        allowed: PATH,
    },
    Key {
        section: "node",
        name: "genesis",
        help: "The genesis file, the same for all validators of a chain.",
        allowed: PATH,
    },
    Key {
        section: "node",
        name: "listen",
        help: "Where other validators connect. 0.0.0.0 listens on every interface.",
        allowed: ADDRESS,
    },
    Key {
        section: "node",
        name: "machine",
        help: "What executes the log; all validators of a chain must say the same.",
        allowed: Allowed::Text("\"database\", or \"null\" to measure ordering alone"),
    },
    Key {
        section: "http",
        name: "enabled",
        help: "Whether clients are served over HTTP.",
        allowed: SWITCH,
    },
    Key {
        section: "http",
        name: "listen",
        help: "Where clients connect. It has no TLS of its own: put a proxy before it to serve a network.",
        allowed: ADDRESS,
    },
    Key {
        section: "http",
        name: "body_mib_max",
        help: "MiB of a request's body.",
        allowed: Allowed::Range(2, 8),
    },
    Key {
        section: "http",
        name: "requests_max",
        help: "Requests served at once; further ones are told to come back.",
        allowed: Allowed::Range(1, 65_536),
    },
    Key {
        section: "http",
        name: "barrier_key",
        help: "Key file of a registered client of this gateway's own, with which it orders the barrier of a linearizable \
               read. Without one, clients order their own.",
        allowed: Allowed::Text("a path, or \"\" for none"),
    },
    Key {
        section: "recovery",
        name: "rejoin_after_lost_journal",
        help: "What this validator does if its journal is lost. false: it follows to the end of the epoch. true: it asks \
               the others how far it had got, and makes vertices again, above that, once more than two thirds of the \
               whole stake, its own not counted, have answered (with four validators: all three others). Only for keys \
               that run nowhere else: not beside a spare machine that may wake up.",
        allowed: SWITCH,
    },
    Key {
        section: "limits",
        name: "send_queue_mib",
        help: "MiB that wait to be sent to one validator. More is dropped, and repaired later.",
        allowed: Allowed::Range(16, 4_096),
    },
    Key {
        section: "limits",
        name: "receive_queue_mib",
        help: "MiB received from one validator and not handled yet. Beyond that its connection waits.",
        allowed: Allowed::Range(16, 4_096),
    },
    Key {
        section: "limits",
        name: "submissions_mib",
        help: "MiB of submissions that wait for the replica's verdict. Further ones are told to come back.",
        allowed: Allowed::Range(16, 4_095),
    },
    Key {
        section: "limits",
        name: "tracked_transactions_max",
        help: "Transactions whose way is followed in memory; older ones are looked up in the index.",
        allowed: Allowed::Range(1_024, 16_777_216),
    },
    Key {
        section: "limits",
        name: "recent_blocks_mib",
        help: "MiB of the newest blocks kept in memory; older ones are read from the journal.",
        allowed: Allowed::Range(1, 4_096),
    },
    Key {
        section: "limits",
        name: "subscribers_max",
        help: "Event streams open at once.",
        allowed: Allowed::Range(1, 65_536),
    },
    Key {
        section: "tuning",
        name: "runtime_threads",
        help: "Threads for sockets and HTTP.",
        allowed: Allowed::Range(1, 64),
    },
    Key {
        section: "tuning",
        name: "worker_threads",
        help: "Threads that check signatures. 0: as many as there are cores.",
        allowed: Allowed::Range(0, 64),
    },
    Key {
        section: "tuning",
        name: "index_interval_ms",
        help: "How long news may wait before they are written to the index, in one transaction.",
        allowed: Allowed::Range(10, 10_000),
    },
    Key {
        section: "tuning",
        name: "index_transactions",
        help: "Whether the index can find a transaction by its id after it has left the memory. Without, this node \
               can't prove what became of it, nor tell whether one that it doesn't admit was executed before: clients \
               are told not_indexed and ask another validator.",
        allowed: SWITCH,
    },
];
