//! A validator that lies: for the demonstration, and for tests of what lies come to. Nothing else starts one: it ends
//! with the process that started it, and doesn't start without one (`start --die-with`).
//!
//! ```text
//!   honest replica ──▶ Equivocator ──▶ network
//!                      each own vertex: as it is to the lower half of the others,
//!                      a twin (same round, other timestamp, signed as well) to the upper half
//!   reads ──▶ ForgedValue ──▶ client        another value of one key, beside a proof that was made for the true one
//! ```
//!
//! It has its own keys and nobody else's, so this is all that it can do: say different things to different people,
//! and say false things. (consensus.md §7; the simulator has many more kinds of liars.)

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::EpochData;
use violeta_crypto::signing::ValidatorSecretKey;
use violeta_node::driver::ReplicaLike;
use violeta_node::http::forge::ForgedValue;
use violeta_node::node::{Honest, Overrides};
use violeta_replica::{Input, Message, Now, Output, Replica, Status};
use violeta_types::{SignedHeader, TimeMs, ValidatorIndex, Vertex, VertexId};

/// Twins that are remembered: a round's vertex is sent to all within a moment.
const TWINS_MAX: usize = 64;

/// How a validator lies: `equivocate`, `forge=NAMESPACE/KEY=VALUE`, or both with a comma between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adversary {
    /// Whether it makes two vertices a round.
    pub(crate) equivocate: bool,
    /// Which value it says that a key has.
    pub(crate) forge: Option<(String, String, String)>,
}

impl FromStr for Adversary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut adversary = Adversary::default();
        for part in text.split(',') {
            match part.split_once('=') {
                None if part == "equivocate" => adversary.equivocate = true,
                Some(("forge", what)) => {
                    let parts = what.split_once('/').and_then(|(namespace, rest)| {
                        let (key, value) = rest.split_once('=')?;
                        Some((namespace.to_owned(), key.to_owned(), value.to_owned()))
                    });
                    adversary.forge = Some(parts.ok_or("forge=NAMESPACE/KEY=VALUE")?);
                }
                _ => return Err(format!("{part:?} is no way to lie")),
            }
        }
        Ok(adversary)
    }
}

impl std::fmt::Display for Adversary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if self.equivocate {
            parts.push("equivocate".to_owned());
        }
        if let Some((namespace, key, value)) = &self.forge {
            parts.push(format!("forge={namespace}/{key}={value}"));
        }
        f.write_str(&parts.join(","))
    }
}

impl Adversary {
    /// What makes a node do this.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::default();
        if self.equivocate {
            overrides.corrupt = Some(Box::new(|honest| Box::new(Equivocator::new(honest))));
        }
        if let Some((namespace, key, value)) = &self.forge {
            overrides.forge = Some(Arc::new(ForgedValue {
                namespace: namespace.clone().into_bytes(),
                key: key.clone().into_bytes(),
                value: Bytes::from(value.clone()),
            }));
        }
        overrides
    }
}

/// Shows the lower half of the others one vertex a round, and the upper half another.
struct Equivocator {
    inner: Replica,
    forger: Forger,
}

impl Equivocator {
    fn new(honest: Honest) -> Equivocator {
        let forger = Forger {
            me: honest.me,
            key: honest.key,
            epoch: honest.epoch,
            twins: BTreeMap::new(),
        };
        Equivocator {
            inner: honest.replica,
            forger,
        }
    }
}

impl ReplicaLike for Equivocator {
    fn handle(&mut self, now: Now, input: Input) {
        self.inner.handle(now, input);
    }

    fn poll(&mut self) -> Option<Output> {
        match self.inner.poll()? {
            Output::Send { to, bytes } => {
                let bytes = self.forger.told_to(to, bytes);
                Some(Output::Send { to, bytes })
            }
            output => Some(output),
        }
    }

    fn next_wakeup(&self) -> Option<u64> {
        self.inner.next_wakeup()
    }

    fn status(&self) -> Status {
        self.inner.status()
    }
}

/// Makes twins of own vertices.
struct Forger {
    me: ValidatorIndex,
    key: ValidatorSecretKey,
    epoch: Arc<EpochData>,
    twins: BTreeMap<VertexId, Bytes>,
}

impl Forger {
    /// What is said to a validator instead of what an honest one would say to all.
    fn told_to(&mut self, to: ValidatorIndex, bytes: Bytes) -> Bytes {
        if to.as_usize() < self.epoch.committee().len() / 2 {
            return bytes;
        }
        match Message::decode(&bytes) {
            Ok(Message::Consensus(violeta_consensus::Message::Vertices(vertices))) => {
                let twins = vertices
                    .into_iter()
                    .map(|vertex| self.twin(vertex))
                    .collect();
                Message::Consensus(violeta_consensus::Message::Vertices(twins)).to_bytes()
            }
            _ => bytes,
        }
    }

    /// The twin of an own vertex; any other as it is.
    fn twin(&mut self, bytes: Bytes) -> Bytes {
        let Ok(vertex) = Vertex::decode(&bytes) else {
            return bytes;
        };
        if vertex.signed.header.author != self.me {
            return bytes;
        }
        let chain = *self.epoch.chain();
        let id = vertex.signed.header.id(&chain);
        if let Some(twin) = self.twins.get(&id) {
            return twin.clone();
        }
        let mut header = vertex.signed.header;
        header.timestamp = TimeMs(header.timestamp.0 + 1);
        let signature = self.key.sign_vertex(&header.id(&chain));
        let twin = Vertex {
            signed: SignedHeader { header, signature },
            payload: vertex.payload,
        };
        let twin = Bytes::from(violeta_types::encode(&twin));
        if self.twins.len() >= TWINS_MAX {
            self.twins.clear();
        }
        self.twins.insert(id, twin.clone());
        twin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_does_is_written_in_a_word_and_read_back() {
        for text in [
            "equivocate",
            "forge=bank/alice=9999",
            "equivocate,forge=a/b=c=d",
        ] {
            assert_eq!(text.parse::<Adversary>().unwrap().to_string(), text);
        }
        for bad in ["", "lie", "forge=a", "forge=a/b", "equivocate,"] {
            assert!(bad.parse::<Adversary>().is_err(), "{bad:?}");
        }
    }
}
