//! What a log has done, told to the recorder of the crate `metrics`.

use std::collections::HashMap;
use std::time::Duration;

use super::stats::{Counts, LogStats};
use super::{Log, MsgLog};
use crate::{ErrorKind, TopicPartition};

/// Tells the recorder of the crate `metrics` what a log has done. Costs nothing where records are
/// appended: it looks at the stats when it is asked to.
///
/// Counters and histograms have the labels `topic` and `partition`; gauges of the log have none.
/// Their names are listed in the documentation of observability.
#[derive(Debug)]
pub struct MetricsReporter {
    log: Log,
    /// What was told of histograms, which the recorder only takes number by number.
    told: HashMap<TopicPartition, Counts>,
}

impl MetricsReporter {
    /// A reporter for `log`, which it keeps open.
    pub fn new(log: Log) -> Self {
        Self { log, told: HashMap::new() }
    }

    /// Tells what was done up to now.
    pub fn report(&mut self) {
        let stats = self.log.stats();
        report_log(&stats);
        for one in &stats.partitions {
            let labels = [
                ("topic", one.partition.topic.to_string()),
                ("partition", one.partition.partition.to_string()),
            ];
            let told = self.told.entry(one.partition.clone()).or_default();
            report_counts(&one.counts, told, &labels);
            *told = one.counts.clone();
        }
    }

    /// Reports every `interval` until the log is closed.
    pub async fn run(mut self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            self.report();
            if self.log.topics().await.is_err_and(|error| error.kind() == ErrorKind::Closed) {
                return;
            }
        }
    }
}

fn report_log(stats: &LogStats) {
    metrics::gauge!("msglog_in_flight_bytes").set(float(stats.in_flight_bytes as u64));
    metrics::gauge!("msglog_cache_bytes").set(float(stats.cache.bytes as u64));
    metrics::gauge!("msglog_cache_batches").set(float(stats.cache.batches as u64));
    metrics::gauge!("msglog_cache_outlines").set(float(stats.cache.outlines as u64));
    metrics::counter!("msglog_cache_hits_total").absolute(stats.cache.hits);
    metrics::counter!("msglog_cache_parts_total").absolute(stats.cache.parts);
    metrics::counter!("msglog_cache_misses_total").absolute(stats.cache.misses);
    metrics::counter!("msglog_cache_evicted_total").absolute(stats.cache.evicted);
}

fn report_counts(counts: &Counts, told: &Counts, labels: &[(&'static str, String); 2]) {
    for (name, value) in [
        ("msglog_appended_records_total", counts.appended_records),
        ("msglog_appended_bytes_total", counts.appended_bytes),
        ("msglog_groups_total", counts.groups),
        ("msglog_batches_total", counts.batches),
        ("msglog_written_records_total", counts.written_records),
        ("msglog_written_bytes_total", counts.written_bytes),
        ("msglog_syncs_total", counts.syncs),
        ("msglog_failures_total", counts.failures),
        ("msglog_read_records_total", counts.read_records),
        ("msglog_read_bytes_total", counts.read_bytes),
    ] {
        metrics::counter!(name, labels).absolute(value);
    }
    let news = counts.since(told);
    let append = metrics::histogram!("msglog_append_seconds", labels);
    for (longest, times) in news.append_latency.buckets() {
        append.record_many(longest.as_secs_f64(), usize::try_from(times).unwrap_or(usize::MAX));
    }
    let sync = metrics::histogram!("msglog_sync_seconds", labels);
    for (longest, times) in news.sync_latency.buckets() {
        sync.record_many(longest.as_secs_f64(), usize::try_from(times).unwrap_or(usize::MAX));
    }
    let batch = metrics::histogram!("msglog_batch_bytes", labels);
    for (largest, times) in news.batch_bytes.buckets() {
        batch.record_many(float(largest), usize::try_from(times).unwrap_or(usize::MAX));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is approximate beyond 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}
