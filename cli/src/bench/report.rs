//! What a bench prints: a line a measurement, for programs or for people.

use serde::Serialize;

use super::meter::Outcome;
use super::workloads::Measurement;
use crate::describe::table;

/// One measurement, and what came of it.
#[derive(Serialize)]
pub(super) struct Line {
    #[serde(flatten)]
    of: Of,
    /// The URL scheme of the store.
    store: &'static str,
    #[serde(flatten)]
    figures: Option<Figures>,
    /// Why there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
}

/// A measurement that could be run.
#[derive(Serialize)]
pub(super) struct Listed {
    #[serde(flatten)]
    of: Of,
    what: &'static str,
}

#[derive(Serialize)]
struct Of {
    name: String,
    workload: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<String>,
    payload_bytes: usize,
}

#[derive(Serialize)]
struct Figures {
    operations: u64,
    seconds: f64,
    operations_per_second: f64,
    bytes_per_second: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    cpu_us_per_operation: Option<f64>,
}

impl Of {
    fn new(measurement: &Measurement) -> Self {
        Self {
            name: measurement.name(),
            workload: measurement.workload.name,
            level: measurement.level.map(|level| level.to_string()),
            payload_bytes: measurement.payload_bytes,
        }
    }
}

impl Listed {
    pub(super) fn new(measurement: &Measurement) -> Self {
        Self { of: Of::new(measurement), what: measurement.workload.what }
    }
}

impl Line {
    pub(super) fn measured(
        store: &'static str,
        measurement: &Measurement,
        outcome: &Outcome,
    ) -> Self {
        let figures = Some(Figures::new(outcome));
        Self { of: Of::new(measurement), store, figures, skipped: None }
    }

    pub(super) fn skipped(store: &'static str, measurement: &Measurement, why: &str) -> Self {
        let skipped = Some(why.to_owned());
        Self { of: Of::new(measurement), store, figures: None, skipped }
    }
}

impl Figures {
    fn cells(&self, name: &str) -> Vec<String> {
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let rate = Some(self.bytes_per_second / 1e6).filter(|rate| *rate > 0.0);
        vec![
            name.to_owned(),
            self.operations.to_string(),
            number(self.operations_per_second),
            shown(rate),
            shown(self.p50_us),
            shown(self.p99_us),
            shown(self.cpu_us_per_operation),
        ]
    }

    fn new(outcome: &Outcome) -> Self {
        // Counts far below 2^53.
        let (operations, bytes) = (outcome.operations as f64, outcome.payload_bytes as f64);
        let cpu = outcome.cpu_seconds * 1e6 / operations;
        Self {
            operations: outcome.operations,
            seconds: outcome.seconds,
            operations_per_second: operations / outcome.seconds,
            bytes_per_second: bytes / outcome.seconds,
            p50_us: outcome.p50_us,
            p99_us: outcome.p99_us,
            cpu_us_per_operation: Some(cpu).filter(|cpu| cpu.is_finite()),
        }
    }
}

/// The measurements as columns.
pub(super) fn table_of(lines: &[Line]) -> String {
    let heads = ["MEASUREMENT", "COUNT", "PER SECOND", "MB/S", "P50 US", "P99 US", "CPU US"];
    let row = |line: &Line| Some(line.figures.as_ref()?.cells(&line.of.name));
    let mut text = table(&heads, lines.iter().filter_map(row).collect());
    for line in lines {
        if let Some(why) = &line.skipped {
            text.push_str(&format!("{}: not measured: {why}\n", line.of.name));
        }
    }
    text
}

/// The measurements that could be run, and what they do.
pub(super) fn listing(chosen: &[Measurement]) -> String {
    let row = |one: &Measurement| vec![one.name(), one.workload.what.to_owned()];
    table(&["MEASUREMENT", "WHAT"], chosen.iter().map(row).collect())
}

/// Three digits or more, without more decimals than these take.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
