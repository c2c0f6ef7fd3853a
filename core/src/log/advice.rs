//! Advice: what the figures of a running log suggest to change.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Topic;
use super::config::LogBuilder;
use super::stats::LogStats;
use crate::batch::{BatchBuilder, BatchOptions, Compression, HEADER_BYTES};
use crate::store::{ReadLimit, Usage};
use crate::{Msn, Result, TopicName, TopicPartition};

/// Fewer events than these say nothing.
const EVENTS_MIN: u64 = 1_000;
/// Groups of fewer records than these are small ones.
const GROUP_RECORDS_SMALL: f64 = 2.0;
/// A header of more than this share of its batch is worth a word.
const HEADER_SHARE_LARGE: f64 = 0.2;
/// Above this hit rate the cache is large enough.
const HIT_RATE_GOOD: f64 = 0.5;
/// More segments of a partition than these are many.
const SEGMENTS_MANY: u64 = 1_000;
/// How many segments a partition of its size should have about.
const SEGMENTS_GOOD: u64 = 100;
/// How much of a topic is compressed to see what that brings.
const SAMPLE_BYTES: usize = 256 << 10;
/// Fewer bytes say nothing about compression.
const SAMPLE_BYTES_MIN: usize = 16 << 10;
/// Compressing to more than this share is not worth its CPU time.
const COMPRESSED_SHARE_GOOD: f64 = 0.7;

/// Something to change, with the figures that it rests on.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Advice {
    /// Most syncs are for a single record though more come within the time of a sync: with a linger
    /// of about that time they would share one.
    Linger {
        /// The partition.
        partition: TopicPartition,
        /// Records that a sync covers now, on average.
        records_per_sync: f64,
        /// Records appended a second, on average since the log was opened.
        records_per_second: f64,
        /// How long the median sync takes: the linger to try.
        linger: Duration,
    },
    /// Batches are so small that their headers of 61 bytes are a large part: append in batches.
    SmallBatches {
        /// The partition.
        partition: TopicPartition,
        /// Bytes of a batch, on average.
        batch_bytes: u64,
        /// The share of these that is the header.
        header_share: f64,
    },
    /// Batches leave the cache before they are read again: a larger one would answer more.
    CacheBytes {
        /// The share of reads that it answered.
        hit_rate: f64,
        /// Batches that had to go for others.
        evicted: u64,
        /// The budget now.
        bytes: usize,
        /// The budget to try.
        suggested: usize,
    },
    /// A partition has very many segments: larger ones open faster and need fewer open files.
    SegmentBytes {
        /// The partition.
        partition: TopicPartition,
        /// How many segments it has.
        segments: u64,
        /// Their bytes, on average.
        segment_bytes: u64,
        /// The size to try.
        suggested: u64,
    },
    /// The records of a topic would take much less room compressed.
    Compression {
        /// The topic.
        topic: TopicName,
        /// Bytes of the newest records that were tried.
        sample_bytes: usize,
        /// What they came to.
        compressed_bytes: usize,
        /// With which codec.
        codec: Compression,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linger { partition, records_per_sync, records_per_second, linger } => write!(
                f,
                "{partition}: a sync covers {records_per_sync:.1} records at \
                 {records_per_second:.0} records a second; try a linger of {linger:?}"
            ),
            Self::SmallBatches { partition, batch_bytes, header_share } => write!(
                f,
                "{partition}: batches have {batch_bytes} bytes, {:.0} % of them header; append \
                 more messages at a time",
                header_share * 100.0
            ),
            Self::CacheBytes { hit_rate, evicted, bytes, suggested } => write!(
                f,
                "the batch cache of {bytes} bytes answers {:.0} % and has evicted {evicted} \
                 batches; try {suggested} bytes",
                hit_rate * 100.0
            ),
            Self::SegmentBytes { partition, segments, segment_bytes, suggested } => write!(
                f,
                "{partition}: {segments} segments of {segment_bytes} bytes; try segments of \
                 {suggested} bytes"
            ),
            Self::Compression { topic, sample_bytes, compressed_bytes, codec } => write!(
                f,
                "{topic}: {sample_bytes} bytes of records come to {compressed_bytes} with {codec:?}"
            ),
        }
    }
}

/// What the counters suggest.
pub(super) fn of_stats(stats: &LogStats, options: &LogBuilder) -> Vec<Advice> {
    let mut advice = Vec::new();
    for one in &stats.partitions {
        let rate = one.rates(stats.open_for).appended_records;
        if let (Some(records_per_sync), Some(linger)) =
            (mean(one.written_records, one.syncs), one.sync_latency.quantile(0.5))
        {
            let comes_meanwhile = rate * linger.as_secs_f64();
            if one.syncs >= EVENTS_MIN
                && options.linger.is_zero()
                && records_per_sync < GROUP_RECORDS_SMALL
                && comes_meanwhile >= GROUP_RECORDS_SMALL / 4.0
            {
                let partition = one.partition.clone();
                let records_per_second = rate;
                advice.push(Advice::Linger {
                    partition,
                    records_per_sync,
                    records_per_second,
                    linger,
                });
            }
        }
        if let Some(bytes) = mean(one.written_bytes, one.batches) {
            #[expect(clippy::cast_precision_loss, reason = "61 bytes")]
            let header_share = HEADER_BYTES as f64 / bytes.max(1.0);
            if one.batches >= EVENTS_MIN && header_share > HEADER_SHARE_LARGE {
                let batch_bytes = one.written_bytes / one.batches.max(1);
                let partition = one.partition.clone();
                advice.push(Advice::SmallBatches { partition, batch_bytes, header_share });
            }
        }
    }
    let cache = stats.cache;
    if let Some(hit_rate) = cache.hit_rate()
        && cache.misses >= EVENTS_MIN
        && hit_rate < HIT_RATE_GOOD
        && cache.evicted > 0
    {
        let (evicted, bytes) = (cache.evicted, cache.bytes_max);
        let suggested = bytes.saturating_mul(2);
        advice.push(Advice::CacheBytes { hit_rate, evicted, bytes, suggested });
    }
    advice
}

/// What the store's figures suggest.
pub(super) fn of_usage(usage: &BTreeMap<TopicPartition, Usage>) -> Vec<Advice> {
    let many = usage.iter().filter(|(_, usage)| usage.segments >= SEGMENTS_MANY);
    let advice = many.map(|(partition, usage)| Advice::SegmentBytes {
        partition: partition.clone(),
        segments: usage.segments,
        segment_bytes: usage.bytes / usage.segments.max(1),
        suggested: (usage.bytes / SEGMENTS_GOOD).next_power_of_two().max(1 << 20),
    });
    advice.collect()
}

/// What the newest records of a topic suggest.
pub(super) async fn of_contents(topic: &Topic) -> Result<Option<Advice>> {
    if topic.config().compression != Compression::None.into() {
        return Ok(None);
    }
    let limit = ReadLimit::bytes(SAMPLE_BYTES);
    let newest = topic.read_before(0, Msn::MAX, usize::MAX, limit).await?;
    let mut best: Option<(Compression, usize)> = None;
    let mut sample_bytes = 0;
    for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new(BatchOptions::default().with_compression(codec));
        for record in &newest {
            builder.push(record, record.timestamp)?;
        }
        sample_bytes = builder.encoded_len();
        if builder.record_count() == 0 || sample_bytes < SAMPLE_BYTES_MIN {
            return Ok(None);
        }
        // A codec that this build lacks is none to advise.
        let Ok(batch) = crate::store::blocking(move || builder.build()).await else { continue };
        if best.is_none_or(|(_, bytes)| batch.encoded_len() < bytes) {
            best = Some((codec, batch.encoded_len()));
        }
    }
    let Some((codec, compressed_bytes)) = best else { return Ok(None) };
    #[expect(clippy::cast_precision_loss, reason = "a share of bytes is approximate")]
    let share = compressed_bytes as f64 / sample_bytes as f64;
    let topic = topic.name().clone();
    let advice = Advice::Compression { topic, sample_bytes, compressed_bytes, codec };
    Ok((share <= COMPRESSED_SHARE_GOOD).then_some(advice))
}

fn mean(sum: u64, count: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a mean is approximate")]
    (count > 0).then(|| sum as f64 / count as f64)
}
