//! The log over the store: many producers that wait for `Sync` acks share the syncs.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use common::{batch_of, open, open_writer, partition, read_all};
use msglog_core::store::{Access, ReadLimit};
use msglog_core::{Durability, Log, MsgLog, Msn};

const PRODUCERS: usize = 64;
const MESSAGES: usize = 20;

async fn open_log(folder: &Path) -> Log {
    let store = open(folder, Access::Write).await.unwrap();
    Log::builder().durability(Durability::Sync).open(store).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_that_wait_for_sync_get_each_message_once_also_after_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_log(folder.path()).await;
    let topic = log.topic("orders").await.unwrap();
    let started = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let topic = topic.clone();
            tokio::spawn(async move {
                for number in 0..MESSAGES {
                    let message = format!("{producer:02}-{number:04}-{:0100}", 0);
                    topic.append(message.into_bytes()).await.unwrap().ack().await.unwrap();
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.unwrap();
    }
    let (count, elapsed) = (PRODUCERS * MESSAGES, started.elapsed());
    println!("log: {count} messages in {elapsed:?}, {} syncs", syncs(&log));
    drop((topic, log));

    let log = open_log(folder.path()).await;
    let topic = log.topic("orders").await.unwrap();
    let (mut seen, mut from) = (BTreeSet::new(), Msn::ZERO);
    loop {
        let page = topic.read(0, from, ReadLimit::default()).await.unwrap();
        if page.records.is_empty() {
            break;
        }
        from = page.next_msn;
        for record in page.records {
            assert!(seen.insert(record.payload.unwrap()), "MSN {} is a repeat", record.msn);
        }
    }
    assert_eq!(seen.len(), count);
    assert_eq!(from, Msn::new(count as u64));
    log.close().await.unwrap();
}

fn syncs(log: &Log) -> u64 {
    log.stats().partitions.iter().map(|partition| partition.syncs).sum()
}

/// What the store does without the log above it, to compare; prints, and checks little.
#[tokio::test(flavor = "multi_thread")]
async fn large_batches_are_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    for (length, count) in [(1 << 16, 128), (1 << 20, 24)] {
        let store = open_writer(folder.path()).await;
        let there = partition(&store, &format!("large{length}-0")).await;
        let started = Instant::now();
        for _ in 0..count {
            let batch = batch_of(there.bounds().next_msn, 1, length);
            there.append(vec![batch]).await.unwrap();
            there.sync().await.unwrap();
        }
        println!("store: {count} batches of {length} bytes in {:?}", started.elapsed());
        assert_eq!(read_all(&there).await.len(), count);
        store.close().await.unwrap();
    }
}
