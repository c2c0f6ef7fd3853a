//! What an append and its ack promise, at every level and after every failure.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::ControlledStore;
use futures::FutureExt;
use futures::future::join_all;
use msglog_core::store::ReadLimit;
use msglog_core::{
    AppendOptions, Durability, Effect, Error, ErrorKind, Log, Message, MsgLog, Msn, TopicConfig,
};

fn at(level: Durability) -> AppendOptions {
    AppendOptions::default().with_durability(level)
}

#[tokio::test]
async fn sync_ack_waits_for_the_sync_that_covers_it() {
    let (store, control) = ControlledStore::held();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let appended = topic.append("one").await.unwrap();
    assert_eq!(appended.msn(), Msn::ZERO);
    let mut ack = appended.ack();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!((&mut ack).now_or_never().is_none(), "acked before the sync");
    control.syncs.add_permits(1);
    assert_eq!(ack.await.unwrap(), Msn::ZERO);
    assert_eq!(control.synced(), 1);
}

#[tokio::test]
async fn weaker_levels_are_acked_without_the_sync_and_memory_at_once() {
    let (store, control) = ControlledStore::held();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let memory = topic.append_with("a", at(Durability::Memory)).await.unwrap().ack();
    assert_eq!(memory.now_or_never().unwrap().unwrap(), Msn::ZERO);
    let os = topic.append_with("b", at(Durability::Os)).await.unwrap().ack();
    assert_eq!(os.await.unwrap(), Msn::new(1));
    assert_eq!(control.synced(), 0);
    control.let_all_syncs_through();
    log.close().await.unwrap();
    assert!(control.synced() > 0, "close makes everything durable");
}

#[tokio::test]
async fn interval_level_syncs_in_time_even_under_steady_load() {
    let (store, control) = ControlledStore::free();
    let level = Durability::Interval(Duration::from_millis(20));
    let log = Log::builder().durability(level).open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_millis(400) {
        topic.append("x").await.unwrap().ack().await.unwrap();
        tokio::task::yield_now().await;
    }
    let syncs = control.synced();
    assert!((3..=25).contains(&syncs), "{syncs} syncs in 400 ms at one every 20 ms");
}

#[tokio::test]
async fn appends_that_gather_behind_a_sync_share_the_next_one() {
    let (store, control) = ControlledStore::held();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let first = topic.append("first").await.unwrap().ack();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut acks = Vec::new();
    for number in 0..1000 {
        acks.push(topic.append(format!("{number}")).await.unwrap().ack());
    }
    control.syncs.add_permits(2);
    first.await.unwrap();
    for outcome in join_all(acks).await {
        outcome.unwrap();
    }
    assert_eq!(control.synced(), 2, "1001 appends, two groups");
    assert_eq!(control.batch_count.load(Ordering::SeqCst), 2, "small appends share a batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_producers_get_distinct_rising_msns_in_append_order() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let producers = (0..16).map(|producer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            let mut last = None;
            for number in 0..200 {
                let appended = topic.append(format!("{producer} {number}")).await.unwrap();
                assert!(last < Some(appended.msn()), "a producer's MSNs rise");
                last = Some(appended.msn());
                appended.ack().await.unwrap();
            }
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.unwrap();
    }
    let mut next_of = [0_u32; 16];
    let mut from = Msn::ZERO;
    loop {
        let page = topic.read(0, from, ReadLimit::bytes(1000)).await.unwrap();
        if page.records.is_empty() {
            break;
        }
        for record in page.records {
            assert_eq!(record.msn, from);
            from = from.plus(1);
            let text = String::from_utf8(record.payload.unwrap().to_vec()).unwrap();
            let (producer, number) = text.split_once(' ').unwrap();
            let producer: usize = producer.parse().unwrap();
            assert_eq!(number.parse::<u32>().unwrap(), next_of[producer]);
            next_of[producer] += 1;
        }
    }
    assert_eq!(from, Msn::new(3200));
}

#[tokio::test]
async fn batch_is_one_range_of_msns_in_one_partition() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let batch = topic.append_batch(["a", "b", "c"]).await.unwrap();
    assert_eq!(batch.msns(), Msn::ZERO..Msn::new(3));
    batch.ack().await.unwrap();
    assert_eq!(control.batch_count.load(Ordering::SeqCst), 1);
    let none = topic.append_batch(Vec::<Message>::new()).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn failed_sync_poisons_appends_while_reads_go_on() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append("kept").await.unwrap().ack().await.unwrap();
    control.fail_next_sync(Error::new(ErrorKind::Unavailable, "device gone"));
    let error = topic.append("lost").await.unwrap().ack().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Poisoned, Effect::Unknown));
    let refused = topic.append("refused").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Poisoned);
    let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    assert_eq!(page.records.len(), 1, "readers see what was acked");
    assert_eq!(control.synced(), 1, "a failed sync is not tried again");
}

#[tokio::test]
async fn sync_that_covers_less_than_was_appended_is_an_error_and_nobody_waits() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append("kept").await.unwrap().ack().await.unwrap();
    control.sync_answers_less_by.store(1, Ordering::SeqCst);
    let ack = topic.append("doubtful").await.unwrap().ack();
    let answer = tokio::time::timeout(Duration::from_secs(5), ack).await.expect("an answer");
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Poisoned);
}

#[tokio::test]
async fn append_that_changed_nothing_fails_its_group_and_the_next_one_succeeds() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append("kept").await.unwrap().ack().await.unwrap();
    control.fail_next_append(Error::new(ErrorKind::StorageFull, "no room"));
    let error = topic.append("lost").await.unwrap().ack().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::StorageFull, Effect::NotApplied));
    let next = topic.append("next").await.unwrap();
    assert_eq!(next.msn(), Msn::new(1), "the MSN of what never was is free");
    next.ack().await.unwrap();
    assert_eq!(log.stats().in_flight_bytes, 0);
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_and_returned() {
    let (store, control) = ControlledStore::held();
    let log = Log::builder().in_flight_bytes_max(10_000).open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let mut acks = Vec::new();
    let waiting = loop {
        let append = topic.append(vec![0; 1000]);
        match tokio::time::timeout(Duration::from_millis(50), append).await {
            Ok(appended) => acks.push(appended.unwrap().ack()),
            Err(_) => break topic.append(vec![0; 1000]),
        }
        assert!(acks.len() < 11, "more than 10,000 bytes in flight");
    };
    assert!(acks.len() >= 8, "{} appends", acks.len());
    assert!(log.stats().in_flight_bytes <= 10_000);
    control.let_all_syncs_through();
    waiting.await.unwrap().ack().await.unwrap();
    join_all(acks).await;
    assert_eq!(log.stats().in_flight_bytes, 0);
}

#[tokio::test]
async fn message_at_the_limit_is_taken_and_one_byte_more_is_too_large() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().message_bytes_max(1000).open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let fits = (0..=1000)
        .rev()
        .find(|bytes| msglog_core::batch::BatchBuilder::record_bytes_bound(vec![0; *bytes]) <= 1000)
        .unwrap();
    topic.append(vec![0; fits]).await.unwrap().ack().await.unwrap();
    let error = topic.append(vec![0; fits + 1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.to_string().contains("message_bytes_max"), "{error}");
}

#[tokio::test]
async fn close_finishes_what_was_accepted_and_is_a_no_op_the_second_time() {
    let (store, control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let acks: Vec<_> =
        join_all((0..100).map(|_| topic.append_with("x", at(Durability::Memory)))).await;
    log.close().await.unwrap();
    log.close().await.unwrap();
    assert!(control.append_count.load(Ordering::SeqCst) > 0);
    for appended in acks {
        appended.unwrap().ack().await.unwrap();
    }
    assert_eq!(topic.append("late").await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(log.topic("other").await.unwrap_err().kind(), ErrorKind::Closed);
    let read = topic.read(0, Msn::ZERO, ReadLimit::default()).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn dropped_log_answers_whoever_waits() {
    let (store, _control) = ControlledStore::held();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let first = topic.append("in the sync").await.unwrap().ack();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = topic.append("behind it").await.unwrap().ack();
    drop((log, topic));
    // The first one is with the store and its outcome unknown; the second was never written.
    _control.let_all_syncs_through();
    let outcome =
        tokio::time::timeout(Duration::from_secs(5), async { (first.await, second.await) });
    let (_, second) = outcome.await.expect("nobody waits for ever");
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn level_that_the_store_cannot_keep_is_refused_at_open() {
    let store = std::sync::Arc::new(msglog_memory::MemoryStore::new());
    let error = Log::builder().durability(Durability::Os).open(store.clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let log = Log::builder().open(store).await.unwrap();
    let config = TopicConfig::default().with_durability(Durability::Os);
    let error = log.create_topic(&"a".parse().unwrap(), config).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(log.topics().await.unwrap().is_empty(), "nothing was created");
}
