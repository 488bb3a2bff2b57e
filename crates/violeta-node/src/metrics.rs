//! What an operator can watch: counters and gauges in the form that Prometheus reads.
//!
//! Names begin with `violeta_` and end with their unit. Labels have few values: validators by index, never clients.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use violeta_types::ValidatorIndex;

/// A validator, as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerLabel {
    /// Its index in the committee.
    pub validator: u32,
}

impl From<ValidatorIndex> for PeerLabel {
    fn from(index: ValidatorIndex) -> Self {
        let validator = index.0.into();
        PeerLabel { validator }
    }
}

/// The metrics of one node.
pub struct Metrics {
    registry: Mutex<Registry>,
    peer_bytes_received: Family<PeerLabel, Counter>,
    peer_bytes_sent: Family<PeerLabel, Counter>,
    peer_messages_dropped: Family<PeerLabel, Counter>,
    peer_connected: Family<PeerLabel, Gauge>,
    /// Connections refused in the handshake, or before.
    pub refused_connections: Counter,
    /// Transactions submitted here and taken.
    pub transactions_queued: Counter,
    /// Transactions submitted here and not taken.
    pub transactions_refused: Counter,
    /// Transactions recorded in blocks.
    pub transactions_executed: Counter,
    /// The newest commit.
    pub commit_index: Gauge,
    /// The newest block executed here.
    pub height_executed: Gauge,
    /// The newest block with a certificate.
    pub height_certified: Gauge,
    /// Records appended to the journal.
    pub journal_records: Counter,
    /// Bytes appended to the journal.
    pub journal_bytes: Counter,
    /// How long syncs of the journal took.
    pub journal_sync_seconds: Histogram,
    /// Proofs that a validator lied.
    pub evidence: Counter,
    /// Whether the index can be written.
    pub index_healthy: Gauge,
}

impl Metrics {
    /// Fresh metrics, registered.
    pub fn new() -> Arc<Metrics> {
        let metrics = Metrics {
            registry: Mutex::new(Registry::default()),
            peer_bytes_received: Family::default(),
            peer_bytes_sent: Family::default(),
            peer_messages_dropped: Family::default(),
            peer_connected: Family::default(),
            refused_connections: Counter::default(),
            transactions_queued: Counter::default(),
            transactions_refused: Counter::default(),
            transactions_executed: Counter::default(),
            commit_index: Gauge::default(),
            height_executed: Gauge::default(),
            height_certified: Gauge::default(),
            journal_records: Counter::default(),
            journal_bytes: Counter::default(),
            journal_sync_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            evidence: Counter::default(),
            index_healthy: Gauge::default(),
        };
        metrics.with_registry(|registry| metrics.register(registry));
        Arc::new(metrics)
    }

    fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("violeta");
        macro_rules! register {
            ($($field:ident: $help:literal,)*) => {
                $(registry.register(stringify!($field), $help, self.$field.clone());)*
            };
        }
        register! {
            peer_bytes_received: "Bytes of messages received from a validator",
            peer_bytes_sent: "Bytes of messages sent to a validator",
            peer_messages_dropped: "Messages dropped because a validator's send queue was full",
            peer_connected: "Whether messages can be sent to a validator",
            refused_connections: "Connections to the validators' port that were refused",
            transactions_queued: "Transactions submitted here and taken",
            transactions_refused: "Transactions submitted here and not taken",
            transactions_executed: "Transactions recorded in blocks",
            commit_index: "Index of the newest commit",
            height_executed: "Height of the newest block executed here",
            height_certified: "Height of the newest block with a certificate",
            journal_records: "Records appended to the journal",
            journal_bytes: "Bytes appended to the journal",
            journal_sync_seconds: "How long syncs of the journal took",
            evidence: "Proofs that a validator lied",
            index_healthy: "1 while the index can be written",
        }
    }

    /// Lets a gateway register metrics of its own.
    pub fn with_registry<T>(&self, f: impl FnOnce(&mut Registry) -> T) -> T {
        f(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let written = self.with_registry(|registry| {
            prometheus_client::encoding::text::encode(&mut text, registry)
        });
        assert!(written.is_ok(), "writing into a string can't fail");
        text
    }

    pub(crate) fn received(&self, from: ValidatorIndex, bytes: usize) {
        let counter = self.peer_bytes_received.get_or_create(&from.into());
        counter.inc_by(bytes as u64);
    }

    pub(crate) fn sent(&self, to: ValidatorIndex, bytes: usize) {
        let counter = self.peer_bytes_sent.get_or_create(&to.into());
        counter.inc_by(bytes as u64);
    }

    pub(crate) fn dropped(&self, to: ValidatorIndex) {
        self.peer_messages_dropped.get_or_create(&to.into()).inc();
    }

    pub(crate) fn connected(&self, to: ValidatorIndex, up: bool) {
        self.peer_connected
            .get_or_create(&to.into())
            .set(i64::from(up));
    }

    /// Messages to a validator that were dropped.
    pub fn messages_dropped(&self, to: ValidatorIndex) -> u64 {
        self.peer_messages_dropped.get_or_create(&to.into()).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_metrics_and_validators() {
        let metrics = Metrics::new();
        metrics.received(ValidatorIndex(2), 5);
        metrics.connected(ValidatorIndex(3), true);
        let text = metrics.encode();
        assert!(
            text.contains("violeta_peer_bytes_received_total{validator=\"2\"} 5"),
            "{text}"
        );
        assert!(
            text.contains("violeta_peer_connected{validator=\"3\"} 1"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"));
    }
}
