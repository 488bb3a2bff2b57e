//! What was measured, as a table, a row of Markdown, or JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::meters::percentile;
use super::workload::Workload;
use crate::error::CliResult;
use crate::terminal::{Terminal, Tone, table, thousands};

/// Three percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Percentiles {
    /// Half are below.
    pub(crate) p50_ms: f64,
    /// Nine of ten are below.
    pub(crate) p90_ms: f64,
    /// 99 of 100 are below.
    pub(crate) p99_ms: f64,
    /// How many there were.
    pub(crate) samples: usize,
}

impl Percentiles {
    /// Of sorted times in microseconds; none of none.
    pub(crate) fn of(sorted_us: &[u64]) -> Option<Percentiles> {
        let at = |part| percentile(sorted_us, part).map(|us| us as f64 / 1_000.0);
        Some(Percentiles {
            p50_ms: at(0.5)?,
            p90_ms: at(0.9)?,
            p99_ms: at(0.99)?,
            samples: sorted_us.len(),
        })
    }
}

/// What could be seen only because the validators run on this machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Costs {
    /// Processor time of all validators, for each committed transaction.
    pub(crate) validators_cpu_us: f64,
    /// Processor time of each validator while nothing was sent, in percent of a core.
    pub(crate) idle_cpu_percent: f64,
    /// Bytes that a validator's files grew by, for each committed transaction.
    pub(crate) disk_bytes: f64,
    /// Bytes that the device under all of them wrote, for each committed transaction: the file system's own included,
    /// and whatever else writes there.
    pub(crate) device_bytes: Option<f64>,
    /// The most memory that a validator held, in MiB.
    pub(crate) rss_mib_max: f64,
    /// fdatasync of 4 KiB on the same file system meanwhile.
    pub(crate) fdatasync: Option<Percentiles>,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// What was sent.
    pub(crate) workload: Workload,
    /// How many validators.
    pub(crate) validators: usize,
    /// How many clients signed.
    pub(crate) clients: usize,
    /// How long it was measured.
    pub(crate) seconds: f64,
    /// Transactions committed in that time.
    pub(crate) committed: u64,
    /// Of them, for each second.
    pub(crate) committed_per_second: f64,
    /// Puts for each second.
    pub(crate) puts_per_second: f64,
    /// Committed transactions that did nothing.
    pub(crate) refused_at_execution: u64,
    /// Transactions that weren't taken for good, by reason.
    pub(crate) refused_at_submission: BTreeMap<String, u64>,
    /// How often a validator said that it was full.
    pub(crate) overloaded: u64,
    /// Rounds for each second.
    pub(crate) rounds_per_second: f64,
    /// From submission to execution.
    pub(crate) commit: Option<Percentiles>,
    /// From submission to certificate.
    pub(crate) certificate: Option<Percentiles>,
    /// Probes without an answer.
    pub(crate) probe_failures: u64,
    /// Processor time of this process, for each committed transaction: not a cost of the database.
    pub(crate) generator_cpu_us: f64,
    /// Bytes between validators, sent by all of them, for each committed transaction.
    pub(crate) wire_bytes: f64,
    /// The longest time without a commit after a validator was killed.
    pub(crate) longest_gap_ms: Option<f64>,
    /// What the validators' processes cost.
    pub(crate) costs: Option<Costs>,
    /// Whether the prepared transactions ran out: then the rate is that of the generator.
    pub(crate) exhausted: bool,
}

/// The header of [`Report::markdown`]'s rows.
pub(crate) const MARKDOWN_HEADER: &str = "\
| workload | validators | clients | tx/s | puts/s | commit p50 / p90 / p99 ms | certificate p50 / p90 / p99 ms \
| CPU µs/tx, all | generator µs/tx | disk B/tx | wire B/tx | RSS MiB | idle CPU % | fdatasync p50 / p99 ms | rounds/s \
| longest gap ms |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

impl Report {
    /// A row of Markdown.
    pub(crate) fn markdown(&self) -> String {
        let costs = |f: &dyn Fn(&Costs) -> String| self.costs.as_ref().map_or("–".into(), f);
        let cells = [
            self.workload.name().into(),
            self.validators.to_string(),
            self.clients.to_string(),
            thousands(self.committed_per_second as u64),
            thousands(self.puts_per_second as u64),
            three(self.commit),
            three(self.certificate),
            costs(&|c| format!("{:.1}", c.validators_cpu_us)),
            format!("{:.1}", self.generator_cpu_us),
            costs(&|c| format!("{:.0}", c.disk_bytes)),
            format!("{:.0}", self.wire_bytes),
            costs(&|c| format!("{:.0}", c.rss_mib_max)),
            costs(&|c| format!("{:.2}", c.idle_cpu_percent)),
            costs(&|c| match c.fdatasync {
                Some(p) => format!("{:.2} / {:.2}", p.p50_ms, p.p99_ms),
                None => "–".into(),
            }),
            format!("{:.0}", self.rounds_per_second),
            self.longest_gap_ms
                .map_or("–".into(), |ms| format!("{ms:.0}")),
        ];
        format!("| {} |", cells.join(" | "))
    }

    /// Shows it.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn show(&self, terminal: &Terminal) -> CliResult {
        terminal.object(&self.json()?)?;
        let mut shown = table(&["measure", "value", "unit"], &[1]);
        for (measure, value, unit) in self.rows() {
            shown.add_row([measure.to_owned(), value, unit.to_owned()]);
        }
        terminal.table(&shown)?;
        for warning in self.warnings() {
            terminal.line(terminal.paint(Tone::Warn, warning))?;
        }
        Ok(())
    }

    fn json(&self) -> CliResult<serde_json::Value> {
        let mut json = serde_json::to_value(self)?;
        json["warnings"] = self.warnings().into();
        Ok(json)
    }

    fn rows(&self) -> Vec<(&'static str, String, &'static str)> {
        let number = |n: f64| match n {
            n if n >= 1_000.0 => thousands(n as u64),
            n if n >= 100.0 => format!("{n:.0}"),
            n => format!("{n:.2}"),
        };
        let mut rows = vec![
            (
                "committed",
                number(self.committed_per_second),
                "transactions/s",
            ),
            ("puts", number(self.puts_per_second), "puts/s"),
            ("measured for", format!("{:.1}", self.seconds), "s"),
            ("rounds", number(self.rounds_per_second), "rounds/s"),
            ("submit to commit", three(self.commit), "ms p50 / p90 / p99"),
            (
                "submit to certificate",
                three(self.certificate),
                "ms p50 / p90 / p99",
            ),
            ("wire, all validators", number(self.wire_bytes), "bytes/tx"),
            (
                "load generator CPU",
                number(self.generator_cpu_us),
                "µs/tx, apart",
            ),
        ];
        if let Some(gap) = self.longest_gap_ms {
            rows.push(("longest gap after the kill", number(gap), "ms"));
        }
        if let Some(costs) = &self.costs {
            rows.push((
                "CPU, all validators",
                number(costs.validators_cpu_us),
                "µs/tx",
            ));
            rows.push(("disk, each validator", number(costs.disk_bytes), "bytes/tx"));
            if let Some(bytes) = costs.device_bytes {
                rows.push(("written by the device", number(bytes), "bytes/tx, for all"));
            }
            rows.push((
                "memory, largest validator",
                number(costs.rss_mib_max),
                "MiB at most",
            ));
            rows.push((
                "CPU of an idle validator",
                number(costs.idle_cpu_percent),
                "% of a core",
            ));
            if let Some(sync) = costs.fdatasync {
                let value = format!("{:.2} / {:.2}", sync.p50_ms, sync.p99_ms);
                rows.push(("fdatasync of this disk", value, "ms p50 / p99"));
            }
        }
        rows
    }

    /// What makes its numbers doubtful.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.exhausted {
            warnings.push("the prepared transactions ran out: the rate is the generator's, not the cluster's; \
                           raise --prepare".into());
        }
        if self.refused_at_execution > 0 {
            let count = thousands(self.refused_at_execution);
            warnings.push(format!(
                "{count} committed transactions were refused at execution"
            ));
        }
        for (reason, count) in &self.refused_at_submission {
            warnings.push(format!("{} not taken: {reason}", thousands(*count)));
        }
        if self.probe_failures > 0 {
            warnings.push(format!("{} probes got no answer", self.probe_failures));
        }
        warnings
    }
}

fn three(percentiles: Option<Percentiles>) -> String {
    match percentiles {
        Some(p) => format!("{:.1} / {:.1} / {:.1}", p.p50_ms, p.p90_ms, p.p99_ms),
        None => "–".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            workload: Workload::Puts,
            validators: 4,
            clients: 64,
            seconds: 10.0,
            committed: 80_000,
            committed_per_second: 8_000.0,
            puts_per_second: 8_000.0,
            refused_at_execution: 0,
            refused_at_submission: BTreeMap::new(),
            overloaded: 0,
            rounds_per_second: 50.0,
            commit: Percentiles::of(&[1_000, 2_000, 3_000]),
            certificate: None,
            probe_failures: 0,
            generator_cpu_us: 12.5,
            wire_bytes: 900.0,
            longest_gap_ms: None,
            costs: None,
            exhausted: false,
        }
    }

    #[test]
    fn a_row_of_markdown_has_as_many_cells_as_the_header() {
        let cells = |line: &str| line.matches('|').count();
        let header = MARKDOWN_HEADER.lines().next().unwrap();
        let row = report().markdown();
        assert_eq!(cells(&row), cells(header), "{row}");
        assert!(
            row.starts_with("| puts | 4 | 64 | 8,000 | 8,000 | 2.0 / 3.0 / 3.0 | – |"),
            "{row}"
        );
    }

    #[test]
    fn whatever_makes_a_number_doubtful_is_said() {
        assert!(report().warnings().is_empty());
        let doubtful = Report {
            exhausted: true,
            refused_at_execution: 3,
            refused_at_submission: [("full".to_owned(), 2)].into(),
            probe_failures: 1,
            ..report()
        };
        assert_eq!(doubtful.warnings().len(), 4);
        let json = doubtful.json().unwrap();
        assert_eq!(json["warnings"].as_array().unwrap().len(), 4);
        assert_eq!(json["exhausted"], true);
    }
}
