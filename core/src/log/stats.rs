//! What a log has done since it was opened, as plain numbers.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::HookStats;
use super::cache::CacheStats;
use crate::{RecordBatch, TopicName, TopicPartition};

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
    /// How long the log has been open.
    pub open_for: Duration,
}

/// What one partition has done since it was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionStats {
    /// The partition.
    pub partition: TopicPartition,
    /// What it has done.
    pub counts: Counts,
}

impl Deref for PartitionStats {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}

/// What was done, in one partition or in several together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Counts {
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
    /// Bytes of the batches, compressed and with their headers.
    pub written_bytes: u64,
    /// Syncs of the store.
    pub syncs: u64,
    /// Appends and syncs that failed.
    pub failures: u64,
    /// Records in the batches that were read for readers.
    pub read_records: u64,
    /// Bytes of these batches.
    pub read_bytes: u64,
    /// How many bytes the batches had.
    pub batch_bytes: SizeHistogram,
    /// How long the first append of each group took, from its entry until the group was written,
    /// and synced where it had to be.
    pub append_latency: LatencyHistogram,
    /// How long syncs took.
    pub sync_latency: LatencyHistogram,
}

impl Counts {
    /// Adds what another partition has done.
    pub fn add(&mut self, other: &Self) {
        self.each(other, |own, other| *own = own.saturating_add(other));
    }

    /// What was done since `earlier`, which was taken before from the same partitions.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.each(earlier, |own, earlier| *own = own.saturating_sub(earlier));
        since
    }

    fn each(&mut self, other: &Self, change: impl Fn(&mut u64, u64)) {
        let numbers = [
            (&mut self.appended_records, other.appended_records),
            (&mut self.appended_bytes, other.appended_bytes),
            (&mut self.groups, other.groups),
            (&mut self.batches, other.batches),
            (&mut self.written_records, other.written_records),
            (&mut self.written_bytes, other.written_bytes),
            (&mut self.syncs, other.syncs),
            (&mut self.failures, other.failures),
            (&mut self.read_records, other.read_records),
            (&mut self.read_bytes, other.read_bytes),
        ];
        for (own, other) in numbers {
            change(own, other);
        }
        let histograms = [
            (&mut self.batch_bytes.0, &other.batch_bytes.0),
            (&mut self.append_latency.0, &other.append_latency.0),
            (&mut self.sync_latency.0, &other.sync_latency.0),
        ];
        for (own, other) in histograms {
            own.counts.iter_mut().zip(other.counts).for_each(|(own, other)| change(own, other));
        }
    }

    /// How much a second, when this was done within `time`.
    pub fn rates(&self, time: Duration) -> Rates {
        let seconds = time.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate is approximate")]
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Rates {
            appended_records: rate(self.appended_records),
            appended_bytes: rate(self.appended_bytes),
            syncs: rate(self.syncs),
            read_records: rate(self.read_records),
            read_bytes: rate(self.read_bytes),
        }
    }
}

/// How much was done a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Records accepted for appending.
    pub appended_records: f64,
    /// Their bytes.
    pub appended_bytes: f64,
    /// Syncs of the store.
    pub syncs: f64,
    /// Records in the batches that were read for readers.
    pub read_records: f64,
    /// Bytes of these batches.
    pub read_bytes: f64,
}

impl LogStats {
    /// What each topic has done: its partitions together.
    pub fn topics(&self) -> BTreeMap<TopicName, Counts> {
        let mut topics: BTreeMap<TopicName, Counts> = BTreeMap::new();
        for stats in &self.partitions {
            topics.entry(stats.partition.topic.clone()).or_default().add(&stats.counts);
        }
        topics
    }

    /// What all topics have done together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.partitions.iter().for_each(|stats| total.add(&stats.counts));
        total
    }

    /// How much a second was done between `earlier` and now, over all topics.
    pub fn rates_since(&self, earlier: &Self) -> Rates {
        let time = self.open_for.saturating_sub(earlier.open_for);
        self.total().since(&earlier.total()).rates(time)
    }
}

const BUCKETS: usize = 32;

/// Counts of numbers by powers of two.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Buckets {
    counts: [u64; BUCKETS],
}

impl Buckets {
    fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let mut seen = 0;
        for (bucket, times) in self.counts.iter().enumerate() {
            seen += times;
            #[expect(clippy::cast_precision_loss, reason = "a share of counts is approximate")]
            if seen as f64 >= share.clamp(0.0, 1.0) * count as f64 && seen > 0 {
                return Some(1 << bucket);
            }
        }
        None
    }

    /// Each bound that not fewer than one number had, and how many.
    fn bounds(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().enumerate().map(|(bucket, times)| (1 << bucket, *times));
        counts.filter(|(_, times)| *times > 0)
    }
}

/// How often something took how long, in buckets of powers of two of microseconds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LatencyHistogram(Buckets);

impl LatencyHistogram {
    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// A duration that the given share of all (0.0 to 1.0) did not exceed; up to twice too high.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        self.0.quantile(share).map(Duration::from_micros)
    }

    /// The buckets that are not empty: the longest duration in each, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.0.bounds().map(|(micros, times)| (Duration::from_micros(micros), times))
    }
}

/// How often something had how many bytes, in buckets of powers of two.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SizeHistogram(Buckets);

impl SizeHistogram {
    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// A size that the given share of all (0.0 to 1.0) did not exceed; up to twice too high.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        self.0.quantile(share)
    }

    /// The buckets that are not empty: the largest size in each, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.bounds()
    }
}

/// A histogram that is counted in.
#[derive(Debug, Default)]
struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    fn add(&self, number: u64) {
        // The bucket whose bound 2^n is the first that is not below.
        let bucket = number.clamp(1, 1 << 31).next_power_of_two().trailing_zeros() as usize;
        if let Some(counter) = self.0.get(bucket.min(BUCKETS - 1)) {
            add(counter, 1);
        }
    }

    fn buckets(&self) -> Buckets {
        Buckets { counts: self.0.each_ref().map(value) }
    }
}

/// What was accepted for appending; the queue counts it, under the lock that each append takes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct AcceptedCounts {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// The counters behind the rest of [`Counts`].
#[derive(Debug, Default)]
pub(super) struct PartitionCounters {
    groups: AtomicU64,
    batches: AtomicU64,
    written_records: AtomicU64,
    written_bytes: AtomicU64,
    syncs: AtomicU64,
    failures: AtomicU64,
    read_records: AtomicU64,
    read_bytes: AtomicU64,
    batch_bytes: Histogram,
    append_latency: Histogram,
    sync_latency: Histogram,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn value(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl PartitionCounters {
    pub(super) fn grouped(&self, batches: &[RecordBatch], records: u64) {
        let mut bytes = 0;
        for batch in batches {
            bytes += batch.encoded_len() as u64;
            self.batch_bytes.add(batch.encoded_len() as u64);
        }
        add(&self.groups, 1);
        add(&self.batches, batches.len() as u64);
        add(&self.written_records, records);
        add(&self.written_bytes, bytes);
    }

    /// A group whose first append entered at this time is at its level.
    pub(super) fn finished(&self, since: Option<Instant>) {
        if let Some(since) = since {
            self.append_latency.add(micros(since.elapsed()));
        }
    }

    pub(super) fn synced(&self, took: Duration) {
        add(&self.syncs, 1);
        self.sync_latency.add(micros(took));
    }

    pub(super) fn failed(&self) {
        add(&self.failures, 1);
    }

    pub(super) fn read(&self, records: u64, bytes: u64) {
        add(&self.read_records, records);
        add(&self.read_bytes, bytes);
    }

    pub(super) fn stats(
        &self,
        partition: TopicPartition,
        accepted: AcceptedCounts,
    ) -> PartitionStats {
        let counts = Counts {
            appended_records: accepted.records,
            appended_bytes: accepted.bytes,
            groups: value(&self.groups),
            batches: value(&self.batches),
            written_records: value(&self.written_records),
            written_bytes: value(&self.written_bytes),
            syncs: value(&self.syncs),
            failures: value(&self.failures),
            read_records: value(&self.read_records),
            read_bytes: value(&self.read_bytes),
            batch_bytes: SizeHistogram(self.batch_bytes.buckets()),
            append_latency: LatencyHistogram(self.append_latency.buckets()),
            sync_latency: LatencyHistogram(self.sync_latency.buckets()),
        };
        PartitionStats { partition, counts }
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
        let histogram = counters.stats(name, AcceptedCounts::default()).counts.sync_latency;
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.quantile(0.5), Some(Duration::from_micros(128)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(8192)));
        assert_eq!(LatencyHistogram::default().quantile(0.5), None);
    }
}
