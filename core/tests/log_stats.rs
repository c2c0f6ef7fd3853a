//! What stats, usage, advice, metrics and spans tell of what a log has done.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::ControlledStore;
#[cfg(feature = "lz4")]
use msglog_core::batch::Compression;
use msglog_core::log::Advice;
use msglog_core::store::ReadLimit;
use msglog_core::{AppendOptions, Log, Message, MsgLog, Msn, Topic, TopicConfig};

async fn append(topic: &Topic, count: usize, bytes: usize) {
    for number in 0..count {
        let fill = u8::try_from(number % 251).unwrap();
        topic.append(Message::new(vec![fill; bytes])).await.unwrap().ack().await.unwrap();
    }
}

/// Bytes that no codec makes smaller.
#[cfg(feature = "lz4")]
fn noise(bytes: usize, mut seed: u64) -> Vec<u8> {
    let mut noise = Vec::with_capacity(bytes);
    while noise.len() < bytes {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        noise.extend_from_slice(&seed.to_be_bytes());
    }
    noise
}

fn of(advice: &[Advice], is: impl Fn(&Advice) -> bool) -> Option<String> {
    advice.iter().find(|advice| is(advice)).map(ToString::to_string)
}

#[tokio::test]
async fn stats_count_what_was_done() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let before = log.stats();
    append(&topic, 10, 100).await;
    let messages: Vec<Message> = (0..5).map(|_| Message::new(vec![7; 1_000])).collect();
    let options = AppendOptions::default();
    topic.append_batch_with(&messages, options).await.unwrap().ack().await.unwrap();
    topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    let stats = log.stats();
    let one = &stats.partitions[0];
    assert_eq!((one.appended_records, one.written_records, one.groups), (15, 15, 11));
    assert_eq!((one.batches, one.batch_bytes.count()), (11, 11));
    assert_eq!((one.append_latency.count(), one.sync_latency.count()), (11, 11));
    assert!((6_000 + 11 * 61..7_500).contains(&one.written_bytes), "{}", one.written_bytes);
    assert_eq!((one.read_records, one.read_bytes), (15, one.written_bytes));
    // Ten batches of about 170 bytes, one of about 5,100.
    assert_eq!(one.batch_bytes.quantile(0.5), Some(256));
    assert_eq!(one.batch_bytes.quantile(1.0), Some(8192));
    assert_eq!(stats.total(), one.counts);
    assert_eq!(stats.topics()[&"orders".parse().unwrap()], one.counts);
    let rates = stats.rates_since(&before);
    let seconds = (stats.open_for - before.open_for).as_secs_f64();
    assert!((rates.appended_records * seconds - 15.0).abs() < 1e-6, "{rates:?} in {seconds} s");
}

#[tokio::test]
async fn topics_are_the_sum_of_their_partitions() {
    let (store, control) = ControlledStore::free();
    control.segments.store(3, Ordering::SeqCst);
    let log = Log::builder().open(store).await.unwrap();
    let name = "orders".parse().unwrap();
    log.create_topic(&name, TopicConfig::default().with_partitions(3)).await.unwrap();
    let (orders, other) = (log.topic("orders").await.unwrap(), log.topic("other").await.unwrap());
    append(&orders, 9, 10).await;
    append(&other, 4, 10).await;
    let stats = log.stats();
    assert_eq!(stats.topics()[&name].appended_records, 9);
    assert_eq!(stats.total().appended_records, 13);
    let usage = log.usage().await.unwrap();
    assert_eq!(usage.len(), 4);
    assert!(usage.values().all(|usage| usage.segments == 3 && usage.bytes > 0));
}

#[tokio::test]
async fn linger_is_advised_where_each_sync_covers_one_of_many_records() {
    let (store, control) = ControlledStore::free();
    control.sync_micros.store(200, Ordering::SeqCst);
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let is = |advice: &Advice| matches!(advice, Advice::Linger { .. });
    append(&topic, 100, 100).await;
    assert_eq!(of(&log.advise().await.unwrap(), is), None, "too few to tell");
    append(&topic, 1_000, 100).await;
    let advice = log.advise().await.unwrap();
    let text = of(&advice, is).unwrap();
    assert!(text.contains("covers 1.0 records"), "{text}");
    let lingers = |advice: &Advice| match advice {
        Advice::Linger { linger, .. } => *linger >= Duration::from_micros(200),
        _ => false,
    };
    assert!(advice.iter().any(lingers), "{advice:?}");
}

#[tokio::test]
async fn larger_batches_are_advised_where_headers_are_a_large_part() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let is = |advice: &Advice| matches!(advice, Advice::SmallBatches { .. });
    append(&log.topic("large").await.unwrap(), 1_100, 1_000).await;
    assert_eq!(of(&log.advise().await.unwrap(), is), None);
    append(&log.topic("small").await.unwrap(), 1_100, 20).await;
    let text = of(&log.advise().await.unwrap(), is).unwrap();
    assert!(text.starts_with("small-0: batches have 88 bytes, 69 %"), "{text}");
}

#[tokio::test]
async fn larger_cache_is_advised_where_what_is_read_again_was_evicted() {
    for (bytes, advised) in [(200_000, true), (64 << 20, false)] {
        let (store, _control) = ControlledStore::free();
        let log = Log::builder().cache_bytes(bytes).open(store).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        for _ in 0..100 {
            let batch = (0..10).map(|_| vec![7; 1_000]);
            topic.append_batch(batch).await.unwrap().ack().await.unwrap();
        }
        for round in 0..30 {
            // Twice in a row, so that it is admitted though the cache is full.
            for batch in 0..100 {
                for msn in [batch * 10, batch * 10 + 1 + round % 9] {
                    topic.record(0, Msn::new(msn)).await.unwrap().unwrap();
                }
            }
        }
        let advice = log.advise().await.unwrap();
        let text = of(&advice, |advice| matches!(advice, Advice::CacheBytes { .. }));
        assert_eq!(text.is_some(), advised, "{bytes}: {text:?}, {:?}", log.stats().cache);
    }
}

#[tokio::test]
async fn larger_segments_are_advised_where_there_are_very_many() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    append(&log.topic("orders").await.unwrap(), 10, 1_000).await;
    for (segments, advised) in [(0, false), (999, false), (1_000, true)] {
        control.segments.store(segments, Ordering::SeqCst);
        let advice = log.advise().await.unwrap();
        let text = of(&advice, |advice| matches!(advice, Advice::SegmentBytes { .. }));
        assert_eq!(text.is_some(), advised, "{segments}: {text:?}");
    }
}

#[cfg(feature = "lz4")]
#[tokio::test]
async fn compression_is_advised_where_the_newest_records_shrink() {
    for (compression, shrinks, advised) in [
        (Compression::None, true, true),
        (Compression::None, false, false),
        (Compression::Lz4, true, false),
    ] {
        let (store, _control) = ControlledStore::free();
        let log = Log::builder().open(store).await.unwrap();
        let config = TopicConfig::default().with_compression(compression);
        log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        for number in 1..100 {
            let payload = if shrinks { vec![7; 1_000] } else { noise(1_000, number) };
            topic.append(payload).await.unwrap().ack().await.unwrap();
        }
        let advice = log.advise().await.unwrap();
        let text = of(&advice, |advice| matches!(advice, Advice::Compression { .. }));
        assert_eq!(text.is_some(), advised, "{compression:?} {shrinks}: {text:?}");
    }
}

#[cfg(feature = "metrics")]
#[test]
fn recorder_is_told_what_the_stats_say_with_topic_and_partition() {
    use msglog_core::log::MetricsReporter;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let log = runtime.block_on(async {
        let (store, _control) = ControlledStore::free();
        let log = Log::builder().open(store).await.unwrap();
        append(&log.topic("orders").await.unwrap(), 7, 100).await;
        log
    });
    let heard = common::Heard::default();
    let mut reporter = MetricsReporter::new(log.clone());
    ::metrics::with_local_recorder(&heard, || {
        reporter.report();
        reporter.report();
    });
    assert_eq!(heard.of("msglog_appended_records_total orders 0"), vec![7.0, 7.0]);
    assert_eq!(heard.of("msglog_syncs_total orders 0"), vec![7.0, 7.0]);
    let counts = &log.stats().partitions[0].counts;
    assert_eq!(heard.of("msglog_sync_seconds orders 0").len(), 7, "each sync is told once");
    let total: f64 = heard.of("msglog_batch_bytes orders 0").iter().sum();
    assert!(total >= counts.written_bytes as f64 && total <= 2.0 * counts.written_bytes as f64);
    assert_eq!(heard.of("msglog_cache_bytes"), vec![0.0, 0.0]);
}
