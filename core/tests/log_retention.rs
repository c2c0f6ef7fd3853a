//! Retention where the store searches by time wrongly, or not at all, and where times fall.

#![cfg(test)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Control, ControlledStore};
use msglog_core::log::{HeldBy, Retention};
use msglog_core::{
    AppendOptions, Durability, Log, ManualClock, Message, MsgLog, Msn, Timestamp, Topic,
    TopicConfig,
};

/// A record for each time, in seconds, a batch of its own each; now is second 100, kept are 10.
async fn at_times(times: &[i64]) -> (Log, Topic, Arc<Control>) {
    let (store, control) = ControlledStore::free();
    let clock = ManualClock::at(Timestamp::from_millis(100_000));
    let log = Log::builder().clock(clock).open(store).await.unwrap();
    let retention = Retention::keep_forever().with_age(Duration::from_secs(10));
    let config = TopicConfig::default().with_retention(retention);
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    for time in times {
        let message = Message::new("x").with_timestamp(Timestamp::from_millis(time * 1_000));
        topic.append(message).await.unwrap().ack().await.unwrap();
    }
    (log, topic, control)
}

async fn first_after_clean(log: &Log, topic: &Topic) -> u64 {
    log.clean().await.unwrap();
    topic.bounds(0).await.unwrap().first_msn.get()
}

#[tokio::test]
async fn store_without_a_search_by_time_keeps_to_the_age_exactly() {
    for (times, first) in [
        ([10, 20, 89, 90, 91], 3),
        ([90, 10, 10, 10, 10], 0),
        ([10, 91, 10, 10, 10], 1),
        ([10, 20, 30, 40, 50], 5),
    ] {
        let (log, topic, _control) = at_times(&times).await;
        assert_eq!(first_after_clean(&log, &topic).await, first, "{times:?}");
    }
}

#[tokio::test]
async fn search_that_leads_too_far_takes_nothing_young() {
    let (log, topic, control) = at_times(&[10, 20, 95, 30, 99]).await;
    *control.find_answers.lock().unwrap() = Some(Msn::new(5));
    assert_eq!(first_after_clean(&log, &topic).await, 2);
}

#[tokio::test]
async fn search_that_leads_not_far_enough_only_keeps_more() {
    let (log, topic, control) = at_times(&[10, 20, 30, 40, 99]).await;
    *control.find_answers.lock().unwrap() = Some(Msn::new(1));
    assert_eq!(first_after_clean(&log, &topic).await, 1);
    *control.find_answers.lock().unwrap() = Some(Msn::new(4));
    assert_eq!(first_after_clean(&log, &topic).await, 4);
}

#[tokio::test]
async fn failing_sync_keeps_what_is_not_durable() {
    let (log, topic, control) = at_times(&[10, 20]).await;
    let os = AppendOptions::default().with_durability(Durability::Os);
    log.configure("orders", |config| config.durability = Some(Durability::Os)).await.unwrap();
    let old = Message::new("x").with_timestamp(Timestamp::from_millis(0));
    topic.append_with(old, os).await.unwrap().ack().await.unwrap();
    let error = msglog_core::Error::new(msglog_core::ErrorKind::Unavailable, "no answer");
    control.fail_next_sync(error);
    let report = log.clean().await.unwrap();
    assert!(report.trimmed.is_empty(), "{report:?}");
    assert_eq!(report.failures.len(), 1);
    assert_eq!(topic.bounds(0).await.unwrap().first_msn, Msn::ZERO);
}

#[tokio::test]
async fn topics_without_a_rule_cost_the_cleaner_nothing() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    for number in 0..20 {
        log.topic(format!("topic-{number}")).await.unwrap();
    }
    log.clean().await.unwrap();
    let loads = || control.load_count.load(std::sync::atomic::Ordering::SeqCst);
    let before = loads();
    log.clean().await.unwrap();
    assert_eq!(loads(), before, "documents that a second run loads");
}

#[tokio::test]
async fn what_holds_back_is_told_with_its_msns() {
    let (log, topic, _control) = at_times(&[10, 20, 30, 40, 99]).await;
    log.configure("orders", |config| config.retention.committed = true).await.unwrap();
    topic.consumer("billing").unwrap().commit(0, Msn::new(1)).await.unwrap();
    let report = log.clean().await.unwrap();
    let [held] = report.held_back.as_slice() else { panic!("{report:?}") };
    assert_eq!(held.msns, Msn::new(1)..Msn::new(4));
    assert!(matches!(&held.by, HeldBy::Consumer(name) if name.as_str() == "billing"));
    assert_eq!(log.last_clean().unwrap().held_back.len(), 1);
}
