//! What a topic's compression policy and batching promise, seen in the batches that are stored.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::ControlledStore;
use msglog_core::batch::{Compression, CompressionPolicy};
use msglog_core::store::ReadLimit;
use msglog_core::{
    AppendOptions, ErrorKind, Log, Message, MsgLog, Msn, RecordBatch, Topic, TopicConfig,
};
use msglog_memory::MemoryStore;

async fn topic_with(config: TopicConfig) -> (Log, Topic) {
    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    (log, topic)
}

async fn batches(topic: &Topic) -> Vec<RecordBatch> {
    topic.read_batches(0, Msn::ZERO, ReadLimit::default()).await.unwrap().batches
}

async fn codecs(topic: &Topic) -> Vec<Compression> {
    batches(topic).await.iter().map(|batch| batch.header().compression().unwrap()).collect()
}

/// Text that every codec makes smaller, and the better the harder it tries.
fn text(bytes: usize) -> Message {
    let mut state = 7_u64;
    let words = std::iter::from_fn(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some(format!("order-{} ", (state >> 33) % 997))
    });
    let mut text: String = words.take(bytes / 4).collect();
    text.truncate(bytes);
    Message::new(text)
}

/// Bytes that no codec makes smaller.
fn noise(bytes: usize) -> Message {
    let mut state = 9_u64;
    let noise = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some(state.to_le_bytes()[3])
    });
    Message::new(noise.take(bytes).collect::<Vec<u8>>())
}

async fn append(topic: &Topic, message: Message, options: AppendOptions) {
    topic.append_with(message, options).await.unwrap().ack().await.unwrap();
}

#[cfg(feature = "lz4")]
#[tokio::test]
async fn batches_below_the_minimum_stay_as_they_are() {
    let policy = CompressionPolicy::from(Compression::Lz4).with_bytes_min(1000);
    let (log, topic) = topic_with(TopicConfig::default().with_compression(policy)).await;
    let plain = AppendOptions::default();
    // The record's own bytes count too: nine of them beside this payload.
    for bytes in [10, 990, 991, 5_000, 50_000] {
        append(&topic, text(bytes), plain).await;
    }
    topic.append_batch([text(500), text(501)]).await.unwrap().ack().await.unwrap();
    let (none, lz4) = (Compression::None, Compression::Lz4);
    assert_eq!(codecs(&topic).await, [none, none, lz4, lz4, lz4, lz4]);
    log.configure("orders", |config| config.compression.bytes_min = 0).await.unwrap();
    append(&topic, text(900), plain).await;
    assert_eq!(codecs(&topic).await.last(), Some(&lz4));
}

#[tokio::test]
async fn batch_that_would_not_become_smaller_is_kept_as_it_is() {
    let all = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for codec in all.into_iter().filter(|codec| codec.is_built_in()) {
        let (_log, topic) = topic_with(TopicConfig::default().with_compression(codec)).await;
        for message in [Message::new("a"), noise(5_000), noise(100_000), text(5_000)] {
            append(&topic, message, AppendOptions::default()).await;
        }
        let none = Compression::None;
        assert_eq!(codecs(&topic).await, [none, none, none, codec], "{codec:?}");
        let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
        let read: Vec<_> = page.records.into_iter().map(|record| record.payload).collect();
        let written = [Message::new("a"), noise(5_000), noise(100_000), text(5_000)];
        assert_eq!(read, written.map(|message| message.payload), "{codec:?}");
    }
}

#[cfg(all(feature = "gzip", feature = "zstd"))]
#[tokio::test]
async fn higher_level_makes_smaller_batches() {
    for (codec, low, high) in [(Compression::Zstd, -7, 19), (Compression::Gzip, 1, 9)] {
        let policy = |level| CompressionPolicy::from(codec).with_level(level);
        let (log, topic) = topic_with(TopicConfig::default().with_compression(policy(low))).await;
        append(&topic, text(60_000), AppendOptions::default()).await;
        log.configure("orders", |config| config.compression = policy(high)).await.unwrap();
        append(&topic, text(60_000), AppendOptions::default()).await;
        let sizes: Vec<_> = batches(&topic).await.iter().map(RecordBatch::encoded_len).collect();
        assert!(sizes[1] * 10 < sizes[0] * 9, "{codec:?}: {sizes:?}");
    }
}

#[cfg(feature = "zstd")]
#[tokio::test]
async fn append_may_be_compressed_in_another_way_than_its_topic() {
    let (_log, topic) = topic_with(TopicConfig::default()).await;
    let zstd = CompressionPolicy::from(Compression::Zstd).with_level(5);
    let options = AppendOptions::default().with_compression(zstd);
    append(&topic, text(900), AppendOptions::default()).await;
    append(&topic, text(900), options).await;
    let both = [text(900), text(900)];
    topic.append_batch_with(&both, options).await.unwrap().ack().await.unwrap();
    append(&topic, text(900), AppendOptions::default()).await;
    let (none, zstd) = (Compression::None, Compression::Zstd);
    assert_eq!(codecs(&topic).await, [none, zstd, zstd, none]);
    let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    assert_eq!(page.records.len(), 5);
    assert!(page.records.iter().all(|record| record.payload == text(900).payload));
}

#[tokio::test]
async fn level_that_the_codec_lacks_is_invalid_wherever_it_is_asked_for() {
    let wrong = CompressionPolicy::from(Compression::None).with_level(1);
    let (log, topic) = topic_with(TopicConfig::default()).await;
    let config = TopicConfig::default().with_compression(wrong);
    let created = log.create_topic(&"other".parse().unwrap(), config).await;
    let configured = log.configure("orders", |config| config.compression = wrong).await;
    let options = AppendOptions::default().with_compression(wrong);
    let appended = topic.append_with("x", options).await;
    let batch = topic.append_batch_with(&[Message::new("x")], options).await;
    let errors = [created.err(), configured.err(), appended.err(), batch.err()];
    for error in errors {
        assert_eq!(error.unwrap().kind(), ErrorKind::Invalid);
    }
    assert_eq!(topic.config().compression, CompressionPolicy::default());
    assert_eq!(topic.bounds(0).await.unwrap().next_msn, Msn::ZERO);
}

#[test]
fn stored_configurations_of_before_load_and_stay_as_they_are() {
    let old = r#"{"partitions":2,"compression":"none","timestamps":"create"}"#;
    let config: TopicConfig = serde_json::from_str(old).unwrap();
    assert_eq!(config, TopicConfig::default().with_partitions(2));
    assert_eq!(serde_json::to_string(&config).unwrap(), old);
    let policy = CompressionPolicy::from(Compression::Zstd).with_level(3).with_bytes_min(9);
    let config = config
        .with_compression(policy)
        .with_linger(Duration::from_micros(1_500))
        .with_batch_bytes_max(4096);
    let json = serde_json::to_string(&config).unwrap();
    assert!(json.contains(r#""linger_us":1500"#), "{json}");
    assert_eq!(serde_json::from_str::<TopicConfig>(&json).unwrap(), config);
}

#[tokio::test]
async fn batching_that_cannot_be_is_invalid() {
    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    let rows = [
        TopicConfig::default().with_linger(Duration::from_millis(60_001)),
        TopicConfig::default().with_batch_bytes_max(0),
        TopicConfig::default().with_batch_bytes_max((1 << 30) + 1),
    ];
    for config in rows {
        let error = log.create_topic(&"orders".parse().unwrap(), config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

/// Appends ten messages without waiting for one, then waits for all.
async fn ten(topic: &Topic) {
    let mut acks = Vec::new();
    for _ in 0..10 {
        acks.push(topic.append(vec![7; 100]).await.unwrap().ack());
    }
    futures::future::try_join_all(acks).await.unwrap();
}

#[tokio::test]
async fn linger_and_batch_size_are_those_of_the_topic() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().linger(Duration::from_secs(3600)).open(store).await.unwrap();
    let config = TopicConfig::default().with_linger(Duration::ZERO);
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let counts = || {
        let appends = control.append_count.swap(0, Ordering::SeqCst);
        (appends, control.batch_count.swap(0, Ordering::SeqCst))
    };
    for _ in 0..10 {
        // With the log's linger this would take an hour.
        append(&topic, Message::new("x"), AppendOptions::default()).await;
    }
    assert_eq!(counts(), (10, 10), "without linger");
    log.configure("orders", |config| config.linger = Some(Duration::from_millis(500)))
        .await
        .unwrap();
    ten(&topic).await;
    assert_eq!(counts(), (1, 1), "with a linger");
    log.configure("orders", |config| config.batch_bytes_max = Some(400)).await.unwrap();
    ten(&topic).await;
    // With header and margin two messages of 100 bytes are within 400, three are not.
    assert_eq!(counts(), (1, 5), "with small batches");
}
