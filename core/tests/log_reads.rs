//! What readers, subscriptions, consumers and topics promise.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::ControlledStore;
use futures::{FutureExt, StreamExt};
use msglog_core::log::SubscribeOptions;
use msglog_core::store::{Access, ReadLimit};
use msglog_core::{
    AppendOptions, Durability, ErrorKind, Log, ManualClock, Message, MsgLog, Msn, Timestamp,
    TopicConfig, TopicName,
};
use msglog_memory::MemoryPlace;

async fn payloads(topic: &msglog_core::Topic, from: u64) -> (Vec<String>, Msn) {
    let page = topic.read(0, Msn::new(from), ReadLimit::default()).await.unwrap();
    let text =
        |payload: Option<bytes::Bytes>| String::from_utf8(payload.unwrap().to_vec()).unwrap();
    (page.records.into_iter().map(|record| text(record.payload)).collect(), page.next_msn)
}

#[tokio::test]
async fn read_starts_at_the_msn_or_the_next_available_one() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    assert_eq!(payloads(&topic, 0).await, (vec![], Msn::ZERO));
    for text in ["a", "b", "c", "d"] {
        topic.append(text).await.unwrap().ack().await.unwrap();
    }
    assert_eq!(payloads(&topic, 2).await, (vec!["c".into(), "d".into()], Msn::new(4)));
    assert_eq!(payloads(&topic, 4).await, (vec![], Msn::new(4)));
    assert_eq!(payloads(&topic, 99).await, (vec![], Msn::new(4)), "beyond the end");
    assert_eq!(topic.trim(0, Msn::new(3)).await.unwrap(), Msn::new(3));
    assert_eq!(payloads(&topic, 0).await, (vec!["d".into()], Msn::new(4)), "trimmed");
    assert_eq!(topic.bounds(0).await.unwrap().first_msn, Msn::new(3));
}

#[tokio::test]
async fn readers_do_not_see_what_is_not_acked_unless_they_ask() {
    for read_unacked in [false, true] {
        let (store, control) = ControlledStore::held();
        let log = Log::builder().read_unacked(read_unacked).open(store).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        let ack = topic.append("a").await.unwrap().ack();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let seen = topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap().records.len();
        assert_eq!(seen, usize::from(read_unacked));
        control.let_all_syncs_through();
        ack.await.unwrap();
        let seen = topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap().records.len();
        assert_eq!(seen, 1);
    }
}

#[tokio::test]
async fn subscription_goes_from_history_to_live_without_gap_or_repeat() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    for number in 0..500 {
        topic.append(format!("{number}")).await.unwrap().ack().await.unwrap();
    }
    let mut records = topic.subscribe(0, Msn::new(10)).unwrap();
    let producer = tokio::spawn({
        let topic = topic.clone();
        async move {
            for number in 500..1000 {
                topic.append(format!("{number}")).await.unwrap().ack().await.unwrap();
            }
        }
    });
    for number in 10..1000 {
        let record = records.next().await.unwrap().unwrap();
        assert_eq!(record.msn, Msn::new(number));
        assert_eq!(record.payload.unwrap(), format!("{number}"));
    }
    producer.await.unwrap();
    assert!(records.next().now_or_never().is_none(), "waits at the end");
    log.close().await.unwrap();
    assert!(records.next().await.is_none(), "ends when the log is closed");
}

#[tokio::test]
async fn reader_beside_the_writer_follows_it() {
    let place = MemoryPlace::new();
    let writer = std::sync::Arc::new(place.open(Access::Write).unwrap());
    let reader = std::sync::Arc::new(place.open(Access::Read).unwrap());
    let log = Log::builder().open(writer).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append("a").await.unwrap().ack().await.unwrap();
    let following = Log::builder().access(Access::Read).open(reader).await.unwrap();
    let followed = following.topic("orders").await.unwrap();
    let mut records = followed.subscribe(0, Msn::ZERO).unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().msn, Msn::ZERO);
    topic.append("b").await.unwrap().ack().await.unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().msn, Msn::new(1));
    assert_eq!(followed.append("c").await.unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(following.topic("none").await.unwrap_err().kind(), ErrorKind::NotFound);
    following.close().await.unwrap();
    assert!(records.next().await.is_none(), "ends when its log is closed");
}

#[tokio::test]
async fn commits_survive_never_move_back_and_never_pass_the_end() {
    let place = MemoryPlace::new();
    {
        let store = std::sync::Arc::new(place.open(Access::Write).unwrap());
        let log = Log::builder().open(store).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        topic.append_batch(["a", "b", "c"]).await.unwrap().ack().await.unwrap();
        let billing = topic.consumer("billing").unwrap();
        assert_eq!(billing.committed(0).await.unwrap(), None);
        billing.commit(0, Msn::new(2)).await.unwrap();
        billing.commit(0, Msn::new(1)).await.unwrap();
        let beyond = billing.commit(0, Msn::new(4)).await.unwrap_err();
        assert_eq!(beyond.kind(), ErrorKind::Invalid);
        assert_eq!(topic.consumer("../x").unwrap_err().kind(), ErrorKind::Invalid);
        log.close().await.unwrap();
    }
    let store = std::sync::Arc::new(place.open(Access::Write).unwrap());
    let log = Log::builder().open(store).await.unwrap();
    let billing = log.topic("orders").await.unwrap().consumer("billing").unwrap();
    assert_eq!(billing.committed(0).await.unwrap(), Some(Msn::new(2)));
    let mut records = billing.subscribe(0).await.unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().msn, Msn::new(2));
}

#[tokio::test]
async fn keys_choose_the_partition_and_others_take_turns() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let name: TopicName = "orders".parse().unwrap();
    log.create_topic(&name, TopicConfig::default().with_partitions(3)).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let keyed = |key: &'static str| Message::new("x").with_key(key);
    let first = topic.append(keyed("a")).await.unwrap().partition();
    for _ in 0..5 {
        assert_eq!(topic.append(keyed("a")).await.unwrap().partition(), first);
    }
    let mut turns = Vec::new();
    for _ in 0..3 {
        let appended = topic.append("x").await.unwrap();
        turns.push(appended.partition());
        appended.ack().await.unwrap();
    }
    turns.sort_unstable();
    assert_eq!(turns, [0, 1, 2]);
    let mixed: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(keyed).into();
    assert_eq!(topic.append_batch(mixed).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(topic.subscribe(3, Msn::ZERO).unwrap_err().kind(), ErrorKind::Invalid);
    log.close().await.unwrap();
}

#[tokio::test]
async fn messages_without_key_stay_with_a_partition_while_a_batch_gathers_there() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let name: TopicName = "orders".parse().unwrap();
    log.create_topic(&name, TopicConfig::default().with_partitions(3)).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    // The appender has no chance to run in between: this runtime has one thread.
    let mut partitions = Vec::new();
    for bytes in [10, 10, 10, 30_000, 30_000, 30_000, 10] {
        partitions.push(topic.append(vec![b'x'; bytes]).await.unwrap().partition());
    }
    let last = topic.append("x").await.unwrap();
    assert_eq!(partitions, [0, 0, 0, 0, 0, 0, 1], "a full batch is left for the next");
    assert_eq!(last.partition(), 1);
    last.ack().await.unwrap();
    assert_eq!(topic.append("x").await.unwrap().partition(), 2, "a batch that is written is left");
    log.close().await.unwrap();
}

#[tokio::test]
async fn topic_is_created_once_kept_with_its_configuration_and_deleted_whole() {
    let place = MemoryPlace::new();
    let name: TopicName = "orders".parse().unwrap();
    let config = TopicConfig::default().with_partitions(2);
    {
        let store = std::sync::Arc::new(place.open(Access::Write).unwrap());
        let log = Log::builder().open(store).await.unwrap();
        log.create_topic(&name, config.clone()).await.unwrap();
        let again = log.create_topic(&name, config.clone()).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let none: TopicName = "none".parse().unwrap();
        let none = log.create_topic(&none, config.clone().with_partitions(0)).await;
        assert_eq!(none.unwrap_err().kind(), ErrorKind::Invalid);
        log.close().await.unwrap();
    }
    let store = std::sync::Arc::new(place.open(Access::Write).unwrap());
    let log = Log::builder().create_topics(false).open(store).await.unwrap();
    assert_eq!(log.topics().await.unwrap(), std::slice::from_ref(&name));
    assert_eq!(log.describe(&name).await.unwrap().config, config);
    let topic = log.topic("orders").await.unwrap();
    topic.append("x").await.unwrap().ack().await.unwrap();
    assert_eq!(log.topic("other").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(log.delete_topic(&name).await.unwrap());
    assert!(!log.delete_topic(&name).await.unwrap());
    assert!(log.topics().await.unwrap().is_empty());
    assert_eq!(topic.append("x").await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn clock_gives_the_time_that_a_message_lacks() {
    let (store, _control) = ControlledStore::free();
    let clock = ManualClock::at(Timestamp::from_millis(42));
    let log = Log::builder().clock(clock).open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    let own = Message::new("b").with_timestamp(Timestamp::from_millis(7));
    topic.append("a").await.unwrap().ack().await.unwrap();
    topic.append(own).await.unwrap().ack().await.unwrap();
    let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    let times: Vec<_> = page.records.iter().map(|record| record.timestamp.as_millis()).collect();
    assert_eq!(times, [42, 7]);
}

#[test]
fn blocking_log_keeps_the_same_promises_without_async_code() {
    let store = std::sync::Arc::new(msglog_memory::MemoryStore::new());
    let log = msglog_core::blocking::Log::start(Log::builder().open(store)).unwrap();
    let topic = log.topic("orders").unwrap();
    assert_eq!(topic.append("a").unwrap().wait().unwrap(), Msn::ZERO);
    let here = AppendOptions::default().with_durability(Durability::Os);
    assert_eq!(topic.append_and_wait("b", here).unwrap(), Msn::new(1));
    let mut records = topic.subscribe(0, Msn::ZERO).unwrap();
    assert_eq!(records.next().unwrap().unwrap().payload.unwrap(), "a");
    topic.commit("billing", 0, Msn::new(1)).unwrap();
    assert_eq!(topic.committed("billing", 0).unwrap(), Some(Msn::new(1)));
    assert_eq!(records.next().unwrap().unwrap().payload.unwrap(), "b");
    log.close().unwrap();
    assert!(records.next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producer_reads_what_it_was_acked_for() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    for _ in 0..2000 {
        let msn = topic.append("x").await.unwrap().ack().await.unwrap();
        let page = topic.read(0, msn, ReadLimit::default()).await.unwrap();
        assert_eq!(page.records.len(), 1, "acked at {msn} and not visible");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_beside_a_writer_pass_over_nothing() {
    const RECORDS: u64 = 20_000;
    let place = MemoryPlace::new();
    let store = std::sync::Arc::new(place.open(Access::Write).unwrap());
    let writer = Log::builder().open(store).await.unwrap();
    let topic = writer.topic("orders").await.unwrap();
    let store = std::sync::Arc::new(place.open(Access::Read).unwrap());
    let reader = Log::builder().access(Access::Read).open(store).await.unwrap();
    let seen = reader.topic("orders").await.unwrap();
    let writing = tokio::spawn(async move {
        for _ in 0..RECORDS {
            topic.append("a").await.unwrap().ack().await.unwrap();
        }
    });
    let mut next = Msn::ZERO;
    while next < Msn::new(RECORDS) {
        let page = seen.read(0, next, ReadLimit::default()).await.unwrap();
        for record in &page.records {
            assert_eq!(record.msn, next);
            next = next.plus(1);
        }
        assert_eq!(page.next_msn, next, "an empty page moves nowhere here");
    }
    writing.await.unwrap();
}

#[tokio::test]
async fn batches_come_whole_and_in_order_from_the_one_that_holds_the_msn() {
    let (store, _control) = ControlledStore::free();
    let log = Log::builder().open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    for batch in [vec!["a", "b", "c"], vec!["d"], vec!["e", "f"]] {
        topic.append_batch(batch).await.unwrap().ack().await.unwrap();
    }
    let page = topic.read_batches(0, Msn::new(1), ReadLimit::default()).await.unwrap();
    let bases: Vec<_> = page.batches.iter().map(|batch| batch.base_msn().get()).collect();
    assert_eq!((bases, page.next_msn), (vec![0, 3, 4], Msn::new(6)));

    let mut batches = topic.subscribe_batches(0, Msn::new(3)).unwrap();
    assert_eq!(batches.next().await.unwrap().unwrap().base_msn(), Msn::new(3));
    assert_eq!(batches.next().await.unwrap().unwrap().record_count(), 2);
    assert_eq!(batches.next_msn(), Msn::new(6));
    log.close().await.unwrap();
    assert!(batches.next().await.is_none());
}

#[tokio::test]
async fn subscription_reads_as_many_pages_ahead_as_asked_and_no_more() {
    for pages_ahead in [0, 1, 4] {
        let (store, control) = ControlledStore::free();
        let log = Log::builder().open(store).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        for number in 0..30 {
            topic.append_batch([format!("{number}")]).await.unwrap().ack().await.unwrap();
        }
        control.reads_wait.store(true, Ordering::SeqCst);
        let options = SubscribeOptions::default().with_page_bytes(1).with_pages_ahead(pages_ahead);
        let mut records = topic.subscribe_with(0, Msn::ZERO, options).unwrap();
        let mut ahead_max = 0;
        for consumed in 1..=30 {
            records.next().await.unwrap().unwrap();
            // Whoever reads ahead has the time to go on.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let ahead = control.read_count.load(Ordering::SeqCst) - consumed;
            assert!(ahead <= pages_ahead as u64, "{ahead} pages ahead, {pages_ahead} asked");
            ahead_max = ahead_max.max(ahead);
        }
        // Not always all of them: those that are on their way are not taken up one by one.
        assert!(ahead_max >= (pages_ahead as u64 * 3).div_ceil(4), "{ahead_max} of {pages_ahead}");
    }
}

#[tokio::test]
async fn subscription_that_spins_lets_others_run_and_sleeps_when_its_time_is_over() {
    for spin in [Duration::from_secs(1), Duration::from_micros(1)] {
        let (store, _control) = ControlledStore::free();
        let log = Log::builder().open(store).await.unwrap();
        let topic = log.topic("orders").await.unwrap();
        let options = SubscribeOptions::default().with_spin(spin);
        let mut records = topic.subscribe_with(0, Msn::ZERO, options).unwrap();
        let began = std::time::Instant::now();
        // On one thread: the append runs only if who waits for it lets it.
        let append = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            topic.append("late").await.unwrap().ack().await.unwrap();
        };
        let (record, ()) = tokio::join!(records.next(), append);
        assert_eq!(record.unwrap().unwrap().payload.as_deref(), Some(b"late".as_slice()));
        assert!(began.elapsed() < Duration::from_secs(1), "it spun to the end");
        let next = tokio::spawn(async move { records.next().await.is_none() });
        log.close().await.unwrap();
        assert!(next.await.unwrap(), "a subscription that spins hears of the end");
    }
}
