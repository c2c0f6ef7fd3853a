//! What a log has done since it was opened, as plain numbers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::HookStats;
use super::cache::CacheStats;
use crate::TopicPartition;

/// What a log has done since it was opened.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LogStats {
    /// The open partitions, sorted.
    pub partitions: Vec<PartitionStats>,
    /// Bytes accepted and not yet at their level.
    pub in_flight_bytes: usize,
    /// The delete hooks, in the order in which they were registered.
    pub delete_hooks: Vec<HookStats>,
    /// What the batch cache has done.
    pub cache: CacheStats,
}

/// What one partition has done since it was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionStats {
    /// The partition.
    pub partition: TopicPartition,
    /// Records accepted for appending.
    pub appended_records: u64,
    /// Their bytes, with keys, headers and framing, before compression.
    pub appended_bytes: u64,
    /// Times that gathered records were handed to the store.
    pub groups: u64,
    /// Record batches handed to the store.
    pub batches: u64,
    /// Records handed to the store.
    pub written_records: u64,
    /// Syncs of the store.
    pub syncs: u64,
    /// Appends and syncs that failed.
    pub failures: u64,
    /// Records in the batches that were read for readers.
    pub read_records: u64,
    /// Bytes of these batches.
    pub read_bytes: u64,
    /// How long syncs took.
    pub sync_latency: LatencyHistogram,
}

/// How often something took how long, in buckets of powers of two of microseconds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LatencyHistogram {
    counts: [u64; BUCKETS],
}

const BUCKETS: usize = 32;

impl LatencyHistogram {
    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// A duration that the given share of all (0.0 to 1.0) did not exceed; up to twice too high.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let mut seen = 0;
        for (bucket, times) in self.counts.iter().enumerate() {
            seen += times;
            #[expect(clippy::cast_precision_loss, reason = "a share of counts is approximate")]
            if seen as f64 >= share.clamp(0.0, 1.0) * count as f64 && seen > 0 {
                return Some(Duration::from_micros(1 << bucket));
            }
        }
        None
    }
}

/// The counters behind [`PartitionStats`].
#[derive(Debug, Default)]
pub(super) struct PartitionCounters {
    appended_records: AtomicU64,
    appended_bytes: AtomicU64,
    groups: AtomicU64,
    batches: AtomicU64,
    written_records: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    read_records: AtomicU64,
    read_bytes: AtomicU64,
    sync_latency: [AtomicU64; BUCKETS],
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

impl PartitionCounters {
    pub(super) fn accepted(&self, records: u64, bytes: usize) {
        add(&self.appended_records, records);
        add(&self.appended_bytes, bytes as u64);
    }

    pub(super) fn grouped(&self, batches: usize, records: u64) {
        add(&self.groups, 1);
        add(&self.batches, batches as u64);
        add(&self.written_records, records);
    }

    pub(super) fn synced(&self, took: Duration) {
        add(&self.syncs, 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // The bucket whose bound 2^n is the first that is not below.
        let bucket = micros.max(1).next_power_of_two().trailing_zeros() as usize;
        if let Some(counter) = self.sync_latency.get(bucket.min(BUCKETS - 1)) {
            add(counter, 1);
        }
    }

    pub(super) fn failed(&self) {
        add(&self.failures, 1);
    }

    pub(super) fn read(&self, records: u64, bytes: u64) {
        add(&self.read_records, records);
        add(&self.read_bytes, bytes);
    }

    pub(super) fn stats(&self, partition: TopicPartition) -> PartitionStats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PartitionStats {
            partition,
            appended_records: value(&self.appended_records),
            appended_bytes: value(&self.appended_bytes),
            groups: value(&self.groups),
            batches: value(&self.batches),
            written_records: value(&self.written_records),
            syncs: value(&self.syncs),
            failures: value(&self.failures),
            read_records: value(&self.read_records),
            read_bytes: value(&self.read_bytes),
            sync_latency: LatencyHistogram { counts: self.sync_latency.each_ref().map(value) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantile_is_within_twice_the_measured() {
        let counters = PartitionCounters::default();
        for micros in [1, 90, 100, 110, 5_000] {
            counters.synced(Duration::from_micros(micros));
        }
        let name: TopicPartition = "a-0".parse().unwrap();
        let histogram = counters.stats(name).sync_latency;
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(128)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(8192)));
        assert_eq!(LatencyHistogram::default().quantile(0.5), None);
    }
}
