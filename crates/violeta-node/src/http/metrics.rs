//! What the gateway counts: requests by route and status, and how long they take.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of a request. Routes are those of the table, never what a client wrote: their number is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

/// See the module.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<Request, Counter>::default();
        let seconds = Family::<Route, Histogram>::new_with_constructor(|| {
            // 0.25 ms to 8 s.
            Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
        });
        let mut registry = Registry::with_prefix("violeta_http");
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "request_seconds",
            "From a request's head to its answer's",
            seconds.clone(),
        );
        Metrics {
            registry,
            requests,
            seconds,
        }
    }
}

impl Metrics {
    /// A request was answered.
    pub(crate) fn answered(&self, route: &str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.seconds
            .get_or_create(&Route {
                route: route.clone(),
            })
            .observe(took.as_secs_f64());
        self.requests
            .get_or_create(&Request { route, status })
            .inc();
    }

    /// In the OpenMetrics text format, without the end mark.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        match encode_registry(&mut text, &self.registry) {
            Ok(()) => text,
            Err(error) => format!("# the gateway's metrics can't be written: {error}\n"),
        }
    }
}
