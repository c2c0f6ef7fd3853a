//! Commits of consumers: few writes, and nothing lost when one is cancelled or fails.

#![cfg(test)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Control, ControlledStore};
use futures::FutureExt;
use futures::future::join_all;
use msglog_core::{Consumer, Error, ErrorKind, Log, MsgLog, Msn, Topic};

async fn hundred_records() -> (Log, Topic, Arc<Control>) {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let appended = topic.append_batch((0..100).map(|n| n.to_string())).await.unwrap();
    appended.ack().await.unwrap();
    control.save_count.store(0, Ordering::SeqCst);
    (log, topic, control)
}

async fn committed(consumer: &Consumer) -> Option<u64> {
    consumer.committed(0).await.unwrap().map(Msn::get)
}

#[tokio::test]
async fn burst_of_commits_is_few_document_writes() {
    let (_log, topic, control) = hundred_records().await;
    let commits = (1..=100).map(|msn| {
        let topic = topic.clone();
        async move { topic.consumer("billing").unwrap().commit(0, Msn::new(msn)).await }
    });
    control.hold_saves();
    control.load_count.store(0, Ordering::SeqCst);
    let mut commits = Box::pin(join_all(commits));
    assert!(commits.as_mut().now_or_never().is_none(), "the first save is held");
    control.saves.add_permits(1_000);
    for committed in commits.await {
        committed.unwrap();
    }
    let writes = control.save_count.load(Ordering::SeqCst);
    assert!(writes <= 2, "100 commits at the same time cost {writes} writes");
    let loads = control.load_count.load(Ordering::SeqCst);
    assert!(loads <= 2, "100 commits at the same time cost {loads} loads");
    assert_eq!(committed(&topic.consumer("billing").unwrap()).await, Some(100));
}

#[tokio::test]
async fn cancelled_commit_does_not_take_others_with_it() {
    let (_log, topic, control) = hundred_records().await;
    control.hold_saves();
    let billing = topic.consumer("billing").unwrap();
    let mut first = Box::pin(billing.commit(0, Msn::new(10)));
    assert!(first.as_mut().now_or_never().is_none(), "the save is held");
    let other = topic.consumer("billing").unwrap();
    let second = tokio::spawn(async move { other.commit(0, Msn::new(20)).await });
    tokio::task::yield_now().await;
    drop(first);
    control.saves.add_permits(1_000);
    second.await.unwrap().unwrap();
    assert_eq!(committed(&billing).await, Some(20));
}

#[tokio::test]
async fn failed_commit_is_an_error_and_the_next_one_succeeds() {
    let (_log, topic, control) = hundred_records().await;
    let billing = topic.consumer("billing").unwrap();
    control.fail_next_save(Error::new(ErrorKind::Unavailable, "no answer"));
    let failed = billing.commit(0, Msn::new(10)).await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Unavailable);
    assert_eq!(committed(&billing).await, None);
    billing.commit(0, Msn::new(5)).await.unwrap();
    // What was stated is true, and so it is kept.
    assert_eq!(committed(&billing).await, Some(10));
}

#[tokio::test]
async fn commits_for_later_are_one_write_soon_after() {
    let (_log, topic, control) = hundred_records().await;
    let billing = topic.consumer("billing").unwrap();
    for msn in 1..=50 {
        billing.commit_later(0, Msn::new(msn)).await.unwrap();
    }
    while committed(&billing).await != Some(50) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let writes = control.save_count.load(Ordering::SeqCst);
    assert!(writes <= 2, "50 commits for later cost {writes} writes");
    assert_eq!(committed(&billing).await, Some(50));
}

#[tokio::test]
async fn failed_commit_for_later_is_told_by_flush_and_tried_again() {
    let (_log, topic, control) = hundred_records().await;
    let billing = topic.consumer("billing").unwrap();
    billing.commit_later(0, Msn::new(7)).await.unwrap();
    control.fail_next_save(Error::new(ErrorKind::Unavailable, "no answer"));
    assert_eq!(billing.flush().await.unwrap_err().kind(), ErrorKind::Unavailable);
    billing.flush().await.unwrap();
    assert_eq!(committed(&billing).await, Some(7));
}

#[tokio::test]
async fn dropped_handle_and_close_leave_no_commit_behind() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store.clone()).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append_batch(["a", "b", "c"]).await.unwrap().ack().await.unwrap();
    let billing = topic.consumer("billing").unwrap();
    billing.commit_later(0, Msn::new(3)).await.unwrap();
    drop(billing);
    topic.consumer("billing").unwrap().flush().await.unwrap();
    assert_eq!(committed(&topic.consumer("billing").unwrap()).await, Some(3));
    let reset = topic.consumer("audit").unwrap();
    reset.commit_later(0, Msn::new(2)).await.unwrap();
    log.close().await.unwrap();
    let closed = reset.commit(0, Msn::new(3)).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn reset_wins_over_commits_that_were_stated_before() {
    let (_log, topic, _control) = hundred_records().await;
    let billing = topic.consumer("billing").unwrap();
    billing.commit_later(0, Msn::new(80)).await.unwrap();
    billing.reset(0, msglog_core::log::ResetTo::Msn(Msn::new(20))).await.unwrap();
    billing.flush().await.unwrap();
    assert_eq!(committed(&billing).await, Some(20));
}

#[tokio::test]
async fn handle_of_a_deleted_topic_commits_nothing_into_the_new_one() {
    let (log, topic, _control) = hundred_records().await;
    let before = topic.consumer("billing").unwrap();
    before.commit(0, Msn::new(50)).await.unwrap();
    before.commit_later(0, Msn::new(60)).await.unwrap();
    assert!(log.delete_topic(topic.name()).await.unwrap());
    let anew = log.topic("orders").await.unwrap();
    let after = anew.consumer("billing").unwrap();
    assert_eq!(committed(&after).await, None);
    for error in [
        before.flush().await.unwrap_err(),
        before.commit(0, Msn::new(70)).await.unwrap_err(),
        topic.consumer("late").unwrap().touch().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Closed);
    }
    assert_eq!(committed(&after).await, None);
    assert!(anew.consumers().await.unwrap().is_empty());
}

#[test]
fn blocking_log_commits_resets_refuses_and_cleans_as_the_other_does() {
    let store = Arc::new(msglog_memory::MemoryStore::new());
    let log = msglog_core::blocking::Log::start(Log::builder().open(store)).unwrap();
    let topic = log.topic("orders").unwrap();
    for _ in 0..10 {
        topic.append("x").unwrap().wait().unwrap();
    }
    let billing = topic.consumer("billing").unwrap();
    billing.commit(0, Msn::new(4)).unwrap();
    billing.commit_later(0, Msn::new(6)).unwrap();
    billing.flush().unwrap();
    assert_eq!(billing.status().unwrap().lag(), 4);
    assert_eq!(topic.consumers().unwrap().len(), 1);
    log.configure("orders", |config| config.retention.committed = true).unwrap();
    log.clean().unwrap();
    assert_eq!(topic.bounds(0).unwrap().first_msn, Msn::new(6));
    assert_eq!(billing.reset(0, msglog_core::log::ResetTo::End).unwrap(), Msn::new(10));
    log.refuse_at("orders", 0, Msn::new(10)).unwrap();
    let refused = topic.append("x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    assert_eq!(topic.final_msn(0).unwrap(), Some(Msn::new(10)));
    log.accept("orders").unwrap();
    assert!(billing.delete().unwrap());
    assert!(log.consumers().unwrap().is_empty());
    log.close().unwrap();
}
