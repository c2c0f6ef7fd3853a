//! Compaction of keyed topics over the memory store: what is kept, in how much memory, how fast.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use msglog_core::store::ReadLimit;
use msglog_core::{
    Compaction, ErrorKind, Log, LogBuilder, ManualClock, Message, MsgLog, Msn, Record, Timestamp,
    Topic, TopicConfig, TopicName,
};
use msglog_memory::MemoryStore;

fn keyed() -> TopicConfig {
    let compaction = Compaction::default().with_tombstone_grace(Duration::from_secs(60));
    TopicConfig::default().with_compaction(compaction)
}

async fn opened(builder: LogBuilder) -> (Log, Topic) {
    let builder = builder.compaction_interval(Duration::ZERO);
    let log = builder.open(Arc::new(MemoryStore::new())).await.unwrap();
    log.create_topic(&"prices".parse::<TopicName>().unwrap(), keyed()).await.unwrap();
    let topic = log.topic("prices").await.unwrap();
    (log, topic)
}

async fn put(topic: &Topic, key: &str, payload: &str) {
    let message = Message::new(payload.to_owned()).with_key(key.to_owned());
    topic.append(message).await.unwrap().ack().await.unwrap();
}

async fn all(topic: &Topic) -> Vec<Record> {
    let (mut records, mut from) = (Vec::new(), Msn::ZERO);
    loop {
        let page = topic.read(0, from, ReadLimit::bytes(4000)).await.unwrap();
        if page.next_msn <= from {
            return records;
        }
        from = page.next_msn;
        records.extend(page.records);
    }
}

/// What a compacted log holds: the newest record of each key, by MSN.
fn newest(records: &[Record]) -> BTreeMap<Msn, Record> {
    let by_key: BTreeMap<_, _> =
        records.iter().map(|record| (record.key.clone(), record.clone())).collect();
    by_key.into_values().map(|record| (record.msn, record)).collect()
}

#[tokio::test]
async fn keys_that_do_not_fit_into_the_memory_take_more_passes_to_the_same_end() {
    let (_log, topic) = opened(Log::builder().compaction_memory_bytes(1 << 20)).await;
    for round in 0..3 {
        for part in 0..100 {
            let messages = (0..400).map(|number| {
                let key = format!("key-{}", part * 400 + number);
                Message::new(format!("value {round}")).with_key(key)
            });
            topic.append_batch(messages).await.unwrap().ack().await.unwrap();
        }
    }
    let expected = newest(&all(&topic).await);
    let done = topic.compact().await.unwrap().remove(0);
    // 1 MiB names 16,384 keys at a time, of which there are 40,000.
    assert!(done.passes > 5, "{done:?}");
    let records = all(&topic).await;
    assert_eq!(records, expected.into_values().collect::<Vec<_>>());
    assert_eq!(done.records_after, 40_000, "{done:?}");
    assert_eq!(done.records_before, 120_000, "{done:?}");
    assert!(topic.compact().await.unwrap().remove(0).passes == 0, "there is nothing to do");
}

#[tokio::test]
async fn tombstone_stays_for_its_grace_and_then_goes() {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let (_log, topic) = opened(Log::builder().clock(Shared(clock.clone()))).await;
    put(&topic, "a", "1").await;
    put(&topic, "b", "1").await;
    topic.append(Message::tombstone("a")).await.unwrap().ack().await.unwrap();
    topic.compact().await.unwrap();
    let keys = |records: &[Record]| {
        records
            .iter()
            .map(|record| (record.msn.get(), record.payload.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&all(&topic).await), [(1, true), (2, false)]);
    clock.set(Timestamp::from_millis(1_000_000 + 59_000));
    put(&topic, "c", "1").await;
    topic.compact().await.unwrap();
    assert_eq!(keys(&all(&topic).await), [(1, true), (2, false), (3, true)]);
    clock.set(Timestamp::from_millis(1_000_000 + 60_000));
    topic.compact().await.unwrap();
    assert_eq!(keys(&all(&topic).await), [(1, true), (3, true)]);
    let times: Vec<_> =
        all(&topic).await.iter().map(|record| record.timestamp.as_millis()).collect();
    assert_eq!(times, [1_000_000, 1_059_000], "timestamps of what was rewritten");
}

#[derive(Debug)]
struct Shared(Arc<ManualClock>);

impl msglog_core::Clock for Shared {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

#[tokio::test]
async fn compaction_runs_by_itself_once_enough_is_new() {
    let builder = Log::builder().compaction_interval(Duration::from_millis(5));
    let log = builder.open(Arc::new(MemoryStore::new())).await.unwrap();
    log.create_topic(&"prices".parse().unwrap(), keyed()).await.unwrap();
    let topic = log.topic("prices").await.unwrap();
    for number in 0..200 {
        put(&topic, "a", &number.to_string()).await;
    }
    let began = Instant::now();
    while all(&topic).await.len() > 50 {
        assert!(began.elapsed() < Duration::from_secs(20), "never compacted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(topic.latest("a").await.unwrap().unwrap().payload.unwrap(), "199");
    log.close().await.unwrap();
}

#[tokio::test]
async fn what_is_appended_while_a_compaction_runs_counts_as_new() {
    let builder = Log::builder().compaction_interval(Duration::from_millis(5));
    // Slower than the appends, so that many come while it runs.
    let builder = builder.compaction_bytes_per_second(Some(50_000));
    let log = builder.open(Arc::new(MemoryStore::new())).await.unwrap();
    log.create_topic(&"prices".parse().unwrap(), keyed()).await.unwrap();
    let topic = log.topic("prices").await.unwrap();
    for number in 0..300 {
        put(&topic, "a", &number.to_string()).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = Instant::now();
    while all(&topic).await.len() > 20 {
        assert!(began.elapsed() < Duration::from_secs(20), "what came last is never compacted");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn compaction_is_no_faster_than_it_may_be_and_close_ends_it() {
    let (log, topic) = opened(Log::builder().compaction_bytes_per_second(Some(20_000))).await;
    for number in 0..400 {
        put(&topic, &format!("key {}", number % 7), &"x".repeat(1000)).await;
    }
    let running = tokio::spawn({
        let topic = topic.clone();
        async move { topic.compact().await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!running.is_finished(), "400 kB at 20 kB a second");
    let began = Instant::now();
    log.close().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "close waited for it");
    assert_eq!(running.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn view_of_newest_records_answers_the_same_within_and_beyond_its_budget() {
    for budget in [64 << 20, 3_000] {
        let (_log, topic) = opened(Log::builder().latest_bytes_max(budget)).await;
        for number in 0..300 {
            put(&topic, &format!("key {}", number % 50), &number.to_string()).await;
        }
        topic.append(Message::tombstone("key 7")).await.unwrap().ack().await.unwrap();
        for number in 0..50 {
            let found = topic.latest(format!("key {number}")).await.unwrap();
            let payload = found.map(|record| record.payload.unwrap());
            let expected = (number != 7).then(|| (250 + number).to_string());
            assert_eq!(payload.as_deref(), expected.as_deref().map(str::as_bytes), "{budget}");
        }
        put(&topic, "key 7", "back").await;
        assert_eq!(topic.latest("key 7").await.unwrap().unwrap().payload.unwrap(), "back");
        assert_eq!(topic.latest("never").await.unwrap(), None);
        topic.trim(0, Msn::new(302)).await.unwrap();
        assert_eq!(topic.latest("never").await.unwrap(), None);
    }
}
