//! The log without async code answers what the async one does.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

use std::sync::Arc;

use msglog_core::log::{Filter, Missing, SubscribeOptions};
use msglog_core::store::ReadLimit;
use msglog_core::{AppendOptions, ErrorKind, Log, Message, Msn, Timestamp, TopicConfig, blocking};
use msglog_memory::MemoryStore;

/// A topic of two partitions; record `n` of partition 0 has time `n` and key `n % 3`.
fn filled() -> (blocking::Log, blocking::Topic) {
    let log = blocking::Log::start(Log::builder().open(Arc::new(MemoryStore::new()))).unwrap();
    log.create_topic(&"orders".parse().unwrap(), TopicConfig::default().with_partitions(2))
        .unwrap();
    let topic = log.topic("orders").unwrap();
    for number in 0..30 {
        let message = Message::new(format!("{number}"))
            .with_key(format!("{}", number % 3))
            .with_timestamp(Timestamp::from_millis(number));
        topic.append_and_wait(message, AppendOptions::default().with_partition(0)).unwrap();
    }
    topic.append_and_wait("other", AppendOptions::default().with_partition(1)).unwrap();
    (log, topic)
}

#[test]
fn blocking_reads_answer_what_was_appended() {
    let (_log, topic) = filled();
    let limit = ReadLimit::default();
    let all = topic.read(0, Msn::ZERO, limit).unwrap().records;
    assert_eq!(all.len(), 30);
    assert_eq!(topic.find(0, Timestamp::from_millis(12)).unwrap(), Msn::new(12));
    assert_eq!(topic.record(0, Msn::new(7)).unwrap().as_ref(), Some(&all[7]));
    let many = topic.read_many(0, &[Msn::new(3), Msn::new(30)]).unwrap();
    assert_eq!(many, [Ok(all[3].clone()), Err(Missing::NotYet)]);
    assert_eq!(topic.read_before(0, Msn::MAX, 4, limit).unwrap(), all[26..]);
    let filter = Filter::key("1");
    let page = topic.read_filtered(0, Msn::ZERO, limit, &filter).unwrap();
    assert_eq!((page.records.len(), page.next_msn), (10, Msn::new(30)));
    let batches = topic.read_batches(0, Msn::ZERO, limit).unwrap().batches;
    assert_eq!(batches.iter().map(|batch| batch.record_count()).sum::<u32>(), 30);
}

#[test]
fn blocking_subscriptions_are_iterators_that_tell_where_they_are() {
    let (_log, topic) = filled();
    let options = SubscribeOptions::default().with_filter(Filter::key("2"));
    let mut some = topic.subscribe_with(0, Msn::new(3), options).unwrap();
    assert_eq!(some.next().unwrap().unwrap().msn, Msn::new(5));
    assert_eq!(some.next_msn(), Msn::new(6));
    let mut batches = topic.subscribe_batches(0, Msn::new(4)).unwrap();
    assert_eq!(batches.next().unwrap().unwrap().base_msn(), Msn::new(4));
    assert_eq!(batches.next_msn(), Msn::new(5));
    let mut merged = topic.subscribe_all().unwrap();
    let found: Vec<_> = merged.by_ref().take(31).map(|found| found.unwrap().partition).collect();
    assert_eq!(found.iter().filter(|partition| **partition == 1).count(), 1);
    assert_eq!(merged.positions(), [(0, Msn::new(30)), (1, Msn::new(1))].into());
}

#[test]
fn blocking_consumer_goes_on_behind_its_commit() {
    let (log, topic) = filled();
    let consumer = topic.consumer("cashier").unwrap();
    assert_eq!(consumer.committed(0).unwrap(), None);
    consumer.commit(0, Msn::new(11)).unwrap();
    assert_eq!(consumer.committed(0).unwrap(), Some(Msn::new(11)));
    assert_eq!(consumer.subscribe(0).unwrap().next().unwrap().unwrap().msn, Msn::new(11));
    assert_eq!(log.stats().total().written_records, 31);
    assert_eq!(log.usage().unwrap().len(), 2);
    assert_eq!(log.describe(topic.name()).unwrap().partitions.len(), 2);
    assert_eq!(log.advise().unwrap(), []);
    log.close().unwrap();
}

#[test]
fn blocking_batches_are_acked_with_their_first_msn() {
    let (log, topic) = filled();
    let here = AppendOptions::default().with_partition(0);
    let batch = [Message::new("a"), Message::new("b")];
    assert_eq!(topic.append_batch_and_wait(&batch, here).unwrap(), Msn::new(30));
    assert_eq!(topic.append_batch(&batch, here).unwrap().wait().unwrap(), Msn::new(32));
    let nothing = topic.append_batch_and_wait(&[""; 0], here).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::Invalid);
    log.close().unwrap();
    let closed = topic.append_batch_and_wait(&batch, here).unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}
