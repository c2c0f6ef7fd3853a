//! A log over files: what holds on whichever thread the writing and the reading happens.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests end a test by panicking"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use msglog_core::blocking;
use msglog_core::{AppendOptions, Durability, Log, MsgLog, Msn, Result};
use msglog_fs::{FsOptions, FsStore};

const PRODUCERS: u64 = 8;
const APPENDS: u64 = 200;

async fn open(path: &Path, level: Durability) -> Result<Log> {
    let store = FsStore::open(path, FsOptions::default()).await?;
    Log::builder().durability(level).open(Arc::new(store)).await
}

fn payload(producer: u64, number: u64) -> String {
    format!("{producer}:{number}")
}

/// Every record of a log of `PRODUCERS * APPENDS`, checked to keep the order of each producer.
async fn assert_complete(path: &Path) {
    let log = open(path, Durability::Sync).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let mut records = topic.subscribe(0, Msn::ZERO).unwrap();
    let mut next = vec![0; usize::try_from(PRODUCERS).unwrap()];
    for msn in 0..PRODUCERS * APPENDS {
        let record = records.next().await.unwrap().unwrap();
        assert_eq!(record.msn, Msn::new(msn));
        let text = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
        let (producer, number) = text.split_once(':').unwrap();
        let expected = &mut next[producer.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<u64>().unwrap(), *expected, "out of order at MSN {msn}");
        *expected += 1;
    }
    log.close().await.unwrap();
}

#[test]
fn producers_that_write_themselves_and_others_share_one_order() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    let log = blocking::Log::start(async move { open(&path, Durability::Sync).await }).unwrap();
    let topic = log.topic("orders").unwrap();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let topic = &topic;
            scope.spawn(move || {
                for number in 0..APPENDS {
                    let text = payload(producer, number);
                    if producer % 2 == 0 {
                        topic.append_and_wait(text, AppendOptions::default()).unwrap();
                    } else {
                        topic.append(text).unwrap().wait().unwrap();
                    }
                }
            });
        }
    });
    // Dropped without close: everything was acked at `Sync`.
    drop((topic, log));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(assert_complete(root.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_await_each_ack_lose_and_repeat_nothing() {
    let root = tempfile::tempdir().unwrap();
    let log = open(root.path(), Durability::Sync).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let tasks = (0..PRODUCERS).map(|producer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            for number in 0..APPENDS {
                topic.append(payload(producer, number)).await.unwrap().ack().await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    log.close().await.unwrap();
    assert_complete(root.path()).await;
}

#[test]
fn record_at_interval_that_its_producer_wrote_itself_is_synced_in_time() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    let level = Durability::Interval(Duration::from_millis(5));
    let log = blocking::Log::start(async move { open(&path, level).await }).unwrap();
    let topic = log.topic("orders").unwrap();
    topic.append_and_wait("one", AppendOptions::default()).unwrap();
    let started = Instant::now();
    while topic.bounds(0).unwrap().durable_msn < Msn::new(1) {
        assert!(started.elapsed() < Duration::from_secs(20), "never synced");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn dropped_log_lets_the_place_go_though_it_was_just_written() {
    let root = tempfile::tempdir().unwrap();
    let log = open(root.path(), Durability::Sync).await.unwrap();
    log.topic("orders").await.unwrap().append("one").await.unwrap().ack().await.unwrap();
    drop(log);
    let started = Instant::now();
    while open(root.path(), Durability::Sync).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "still locked");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_reads_ahead_over_many_pages_and_goes_live() {
    let root = tempfile::tempdir().unwrap();
    let log = open(root.path(), Durability::Os).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let body = vec![7_u8; 100_000];
    for _ in 0..64 {
        topic.append(body.clone()).await.unwrap().ack().await.unwrap();
    }
    let mut records = topic.subscribe(0, Msn::new(3)).unwrap();
    for msn in 3..64 {
        assert_eq!(records.next().await.unwrap().unwrap().msn, Msn::new(msn));
    }
    topic.append("live").await.unwrap().ack().await.unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().payload.unwrap(), "live");
    log.close().await.unwrap();
    assert!(records.next().await.is_none());
}

#[test]
fn partitions_share_the_threads_of_the_runtime_however_few() {
    let root = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let log = open(root.path(), Durability::Os).await.unwrap();
        let busy = log.topic("busy").await.unwrap();
        let other = log.topic("other").await.unwrap();
        let producer = tokio::spawn(async move {
            loop {
                if busy.append("x").await.is_err() {
                    return;
                }
            }
        });
        for _ in 0..5 {
            let appended = other.append("y").await.unwrap().ack();
            tokio::time::timeout(Duration::from_secs(20), appended).await.unwrap().unwrap();
        }
        producer.abort();
        log.close().await.unwrap();
    });
}
