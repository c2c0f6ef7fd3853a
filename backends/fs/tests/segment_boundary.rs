//! Refusing at the segment boundary: exact on small segments, under producers, and after reopening.

#![cfg(test)]

use std::sync::Arc;

use msglog_core::store::MessageStore;
use msglog_core::{Durability, ErrorKind, Log, MsgLog, Msn, Topic, TopicConfig};
use msglog_fs::{FsOptions, FsStore};

const SEGMENT_BYTES: u64 = 64 << 10;

async fn open(root: &std::path::Path) -> Log {
    let mut options = FsOptions::default();
    options.segment_bytes = SEGMENT_BYTES;
    let store = FsStore::open(root, options).await.unwrap();
    Log::builder().open(Arc::new(store) as Arc<dyn MessageStore>).await.unwrap()
}

async fn segments(log: &Log, topic: &Topic) -> u64 {
    log.describe(topic.name()).await.unwrap().partitions[0].usage.segments
}

/// Appends until the topic refuses; answers how many bytes of payload got in.
async fn fill(topic: &Topic, producers: u64, payload: usize) -> u64 {
    let producers = (0..producers).map(|_| {
        let topic = topic.clone();
        tokio::spawn(async move {
            let mut bytes = 0;
            loop {
                match topic.append(vec![7; payload]).await {
                    Ok(appended) => drop(appended.ack().await.unwrap()),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
                        return bytes;
                    }
                }
                bytes += payload as u64;
            }
        })
    });
    let mut bytes = 0;
    for producer in producers.collect::<Vec<_>>() {
        bytes += producer.await.unwrap();
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segment_is_filled_and_gets_no_successor() {
    for (producers, payload) in [(1, 1), (1, 20), (1, 500), (8, 500), (4, 5_000), (3, 40_000)] {
        let root = tempfile::tempdir().unwrap();
        let log = open(root.path()).await;
        let config = TopicConfig::default().with_durability(Durability::Os);
        log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        for _ in 0..300 {
            topic.append(vec![1; 400]).await.unwrap().ack().await.unwrap();
        }
        let before = segments(&log, &topic).await;
        assert!(before > 1, "the test needs several segments");
        log.refuse_at_segment_boundary("orders").await.unwrap();
        let filled = fill(&topic, producers, payload).await;
        assert_eq!(segments(&log, &topic).await, before, "{producers} producers of {payload}");
        assert!(filled < SEGMENT_BYTES, "{filled} bytes got in");
        let end = topic.bounds(0).await.unwrap().next_msn;
        assert_eq!(topic.final_msn(0).await.unwrap(), Some(end));
        // It stays full, also for what would fit.
        assert_eq!(topic.append("x").await.unwrap_err().kind(), ErrorKind::Refused);
        drop(topic);
        log.close().await.unwrap();
        drop(log);
        let log = open(root.path()).await;
        let topic = log.topic("orders").await.unwrap();
        fill(&topic, producers, payload).await;
        assert!(segments(&log, &topic).await <= before, "a successor after reopening");
        log.accept("orders").await.unwrap();
        for _ in 0..200 {
            topic.append(vec![1; 400]).await.unwrap().ack().await.unwrap();
        }
        assert!(segments(&log, &topic).await > before, "accepted again it goes on");
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn little_room_is_left_when_it_is_full() {
    let root = tempfile::tempdir().unwrap();
    let log = open(root.path()).await;
    let config = TopicConfig::default().with_durability(Durability::Os);
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    log.refuse_at_segment_boundary("orders").await.unwrap();
    let filled = fill(&topic, 1, 1_000).await;
    assert!(filled > SEGMENT_BYTES * 8 / 10, "only {filled} of {SEGMENT_BYTES} bytes got in");
    assert_eq!(segments(&log, &topic).await, 1);
    assert!(topic.bounds(0).await.unwrap().next_msn > Msn::ZERO);
}
