//! What four validators cost when nobody wants anything. Alone in its file: it measures the whole process.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use violeta_node::testnet::{self, Options};
use violeta_node::{Config, Node, Overrides};

/// How long the rest is watched.
const REST: Duration = Duration::from_secs(4);
/// CPU time of one idle validator, as a share of a core. The aim is one hundredth; builds without optimisation take more.
const SHARE_MAX: f64 = 0.03;

#[test]
fn an_idle_cluster_costs_next_to_nothing() {
    let cpu_seconds = || {
        let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
        let of = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
        of(usage.user_time()) + of(usage.system_time())
    };
    let dir = tempfile::tempdir().unwrap();
    let net = testnet::generate(dir.path(), 4, &Options::default()).unwrap();
    let nodes: Vec<_> = net
        .validators
        .iter()
        .map(|validator| {
            let config = Config::load(&validator.config).unwrap();
            Node::start(&config, Overrides::default()).unwrap()
        })
        .collect();
    // Until everybody is connected, and the first rounds are over.
    std::thread::sleep(Duration::from_secs(3));
    let before = cpu_seconds();
    std::thread::sleep(REST);
    let share = (cpu_seconds() - before) / REST.as_secs_f64() / nodes.len() as f64;
    println!("{:.2} % of a core for each validator", 100.0 * share);
    assert!(share < SHARE_MAX, "{:.2} % of a core", 100.0 * share);
}
