//! A store that opens with more than is durable: each level keeps its promise to readers.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Control, ControlledStore};
use msglog_core::store::ReadLimit;
use msglog_core::{Durability, ErrorKind, Log, MsgLog, Msn, Topic};

/// A store with three records that nothing has synced, and in which no sync gets through.
async fn unsynced() -> (Arc<ControlledStore>, Arc<Control>) {
    let (store, control) = ControlledStore::held();
    let log = Log::builder().durability(Durability::Os).open(store.clone()).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    for text in ["a", "b", "c"] {
        topic.append(text).await.unwrap().ack().await.unwrap();
    }
    drop((log, topic));
    control.opens_unsynced.store(true, Ordering::SeqCst);
    (store, control)
}

async fn open(store: &Arc<ControlledStore>, level: Durability) -> (Log, Topic) {
    let log = Log::builder().durability(level).open(store.clone()).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    (log, topic)
}

async fn seen(topic: &Topic) -> usize {
    topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap().records.len()
}

async fn until_durable(topic: &Topic) {
    while topic.bounds(0).await.unwrap().durable_msn < Msn::new(3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn at_sync_what_is_found_is_synced_before_readers_see_it() {
    let (store, control) = unsynced().await;
    let opening = tokio::spawn(async move { open(&store, Durability::Sync).await });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!opening.is_finished(), "it waits for the sync");
    control.let_all_syncs_through();
    let (_log, topic) = opening.await.unwrap();
    assert_eq!(topic.bounds(0).await.unwrap().durable_msn, Msn::new(3));
    assert_eq!((seen(&topic).await, control.synced()), (3, 1));
}

#[tokio::test]
async fn at_sync_what_cannot_be_synced_is_not_opened() {
    let (store, control) = unsynced().await;
    control.let_all_syncs_through();
    let error = msglog_core::Error::new(ErrorKind::Unavailable, "the sync failed");
    control.fail_next_sync(error.with_unknown_effect());
    let log = Log::builder().open(store).await.unwrap();
    let error = log.topic("orders").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn at_os_what_is_found_is_seen_at_once_and_synced_when_somebody_asks() {
    let (store, control) = unsynced().await;
    let (log, topic) = open(&store, Durability::Os).await;
    assert_eq!((seen(&topic).await, control.synced()), (3, 0));
    assert_eq!(topic.bounds(0).await.unwrap().durable_msn, Msn::ZERO);
    control.let_all_syncs_through();
    topic.consumer("reader").unwrap().commit(0, Msn::new(2)).await.unwrap();
    assert_eq!(control.synced(), 1, "a commit is of durable records");
    drop((log, topic));
    let (log, _topic) = open(&store, Durability::Os).await;
    log.close().await.unwrap();
    assert_eq!(control.synced(), 2, "closing syncs what was found");
}

#[tokio::test]
async fn interval_holds_for_what_is_found_too() {
    let (store, control) = unsynced().await;
    let level = Durability::Interval(Duration::from_millis(30));
    let (_log, topic) = open(&store, level).await;
    assert_eq!((seen(&topic).await, control.synced()), (3, 0));
    control.let_all_syncs_through();
    tokio::time::timeout(Duration::from_secs(20), until_durable(&topic)).await.unwrap();
    assert_eq!(control.synced(), 1);
}

#[tokio::test]
async fn level_that_rises_covers_what_is_stored_already() {
    let (store, control) = unsynced().await;
    let (log, topic) = open(&store, Durability::Os).await;
    control.let_all_syncs_through();
    log.configure("orders", |config| config.durability = Some(Durability::Sync)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), until_durable(&topic)).await.unwrap();
    assert_eq!(control.synced(), 1);
}
