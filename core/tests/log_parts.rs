//! Single records out of large batches: what is read of the store, and that nothing is trusted.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::{Control, ControlledStore, Harm};
use msglog_core::{Error, ErrorKind, Log, Message, Msn, Record, Topic};

/// Records of the one batch of the topic, of 1,000 bytes each.
const RECORDS: u64 = 1_000;

fn message(number: u64) -> Message {
    let fill = u8::try_from(number % 251).unwrap();
    Message::new(vec![fill; 1_000]).with_key(number.to_string())
}

/// A log over a store that answers parts, with a topic of one large batch.
async fn filled(cache_bytes: usize) -> (Log, Topic, Arc<Control>) {
    let (store, control) = ControlledStore::free();
    control.parts.store(true, Ordering::SeqCst);
    let log = Log::builder().cache_bytes(cache_bytes).open(store).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    topic.append_batch((0..RECORDS).map(message)).await.unwrap().ack().await.unwrap();
    (log, topic, control)
}

fn check(record: Option<Record>, number: u64) {
    let record = record.unwrap();
    assert_eq!(record.msn, Msn::new(number));
    assert_eq!(Message::from(record.clone()).payload, message(number).payload, "{number}");
    assert_eq!(record.key, message(number).key);
}

async fn read(topic: &Topic, number: u64) {
    check(topic.record(0, Msn::new(number)).await.unwrap(), number);
}

/// Reads of whole batches, and of parts.
fn reads(control: &Control) -> (u64, u64) {
    (control.read_count.load(Ordering::SeqCst), control.part_count.load(Ordering::SeqCst))
}

#[tokio::test]
async fn record_costs_the_reading_of_its_part_once_its_batch_was_read() {
    let (log, topic, control) = filled(8 << 20).await;
    read(&topic, 500).await;
    assert_eq!(reads(&control), (1, 0));
    for number in 0..100 {
        read(&topic, number * 7_919 % RECORDS).await;
    }
    assert_eq!(reads(&control), (1, 100));
    let bytes = control.part_bytes.load(Ordering::SeqCst);
    assert!(bytes < 100 * 6_000, "{bytes} bytes of 100 parts");
    let cache = log.stats().cache;
    assert_eq!((cache.outlines, cache.batches), (1, 0), "{cache:?}");
    assert_eq!((cache.parts, cache.misses, cache.hits), (100, 1, 0), "{cache:?}");
    assert!(cache.bytes < 8_000, "an outline of a batch of 1 MB takes {} bytes", cache.bytes);
    let read_bytes: u64 = log.stats().partitions.iter().map(|one| one.read_bytes).sum();
    assert!(read_bytes < bytes + 1_100_000, "{read_bytes} bytes were read");
}

#[tokio::test]
async fn batch_whose_parts_are_read_often_is_held_whole() {
    let (log, topic, control) = filled(8 << 20).await;
    for number in 0..2_000 {
        read(&topic, number * 7_919 % RECORDS).await;
    }
    let (wholes, parts) = reads(&control);
    assert_eq!(wholes, 2, "one for the outline, one to hold it");
    assert!((200..300).contains(&parts), "{parts} parts of a batch of 1 MB");
    assert_eq!(log.stats().cache.batches, 1);
}

#[tokio::test]
async fn part_that_is_not_what_was_checked_is_never_served() {
    let harms: [Harm; 5] = [
        |part| {
            let mut part = part.to_vec();
            part[100] ^= 1;
            Ok(Some(part.into()))
        },
        |part| {
            let last = part.len() - 1;
            let mut part = part.to_vec();
            part[last] ^= 0x80;
            Ok(Some(part.into()))
        },
        |part| Ok(Some(part.slice(1..))),
        |_| Ok(Some(Bytes::new())),
        |_| Ok(None),
    ];
    for harm in harms {
        let (log, topic, control) = filled(1_200_000).await;
        read(&topic, 500).await;
        *control.part_harm.lock().unwrap() = harm;
        // The second whole read of a batch also holds it, so each is looked at once.
        read(&topic, 17).await;
        assert_eq!(reads(&control), (2, 1), "the whole batch decides");
        assert_eq!(log.stats().cache.parts, 0, "none was an answer");
        let many = topic.read_many(0, &[Msn::new(3), Msn::new(999)]).await.unwrap();
        for (answer, number) in many.into_iter().zip([3, 999]) {
            check(answer.ok(), number);
        }
    }
}

#[tokio::test]
async fn failure_of_the_storage_while_a_part_is_read_is_answered() {
    let (_log, topic, control) = filled(8 << 20).await;
    read(&topic, 500).await;
    *control.part_harm.lock().unwrap() =
        |_| Err(Error::new(ErrorKind::Unavailable, "no answer").with_transient(true));
    let error = topic.record(0, Msn::new(501)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    *control.part_harm.lock().unwrap() = |part| Ok(Some(part));
    read(&topic, 501).await;
}

#[tokio::test]
async fn few_records_of_a_batch_are_read_by_parts_and_many_at_once() {
    let (_log, topic, control) = filled(8 << 20).await;
    read(&topic, 500).await;
    for (msns, wanted) in [
        (vec![7, 8, 999, 7, 500], (1, 3)),
        // Those of one part are answered by one read of it.
        (vec![0, 1, 2, 3], (1, 4)),
        ((0..RECORDS).collect::<Vec<_>>(), (2, 4)),
    ] {
        let asked: Vec<_> = msns.iter().copied().map(Msn::new).collect();
        for (answer, number) in topic.read_many(0, &asked).await.unwrap().into_iter().zip(&msns) {
            check(answer.ok(), *number);
        }
        assert_eq!(reads(&control), wanted, "{} records", msns.len());
    }
}

#[tokio::test]
async fn trimmed_records_are_not_looked_for_in_parts() {
    let (log, topic, control) = filled(8 << 20).await;
    topic.append_batch((RECORDS..2 * RECORDS).map(message)).await.unwrap().ack().await.unwrap();
    for number in [500, RECORDS + 500] {
        read(&topic, number).await;
    }
    assert_eq!(log.stats().cache.outlines, 2);
    assert_eq!(topic.trim(0, Msn::new(RECORDS)).await.unwrap(), Msn::new(RECORDS));
    assert_eq!(log.stats().cache.outlines, 1);
    assert_eq!(topic.record(0, Msn::new(500)).await.unwrap(), None);
    assert_eq!(reads(&control), (2, 0));
    read(&topic, RECORDS + 1).await;
    assert_eq!(reads(&control), (2, 1));
}

#[tokio::test]
async fn without_a_cache_or_parts_whole_batches_are_read() {
    let (log, topic, control) = filled(0).await;
    for number in 0..10 {
        read(&topic, number * 97).await;
    }
    assert_eq!(reads(&control), (10, 0));
    assert_eq!(log.stats().cache.outlines, 0);
}

#[cfg(feature = "lz4")]
#[tokio::test]
async fn compressed_batches_are_read_whole() {
    use msglog_core::batch::Compression;
    use msglog_core::{MsgLog, TopicConfig};

    let (store, control) = ControlledStore::free();
    control.parts.store(true, Ordering::SeqCst);
    let log = Log::builder().open(store).await.unwrap();
    let config = TopicConfig::default().with_compression(Compression::Lz4);
    log.create_topic(&"orders".parse().unwrap(), config).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    // What does not shrink, so that the batch is large.
    let mut noise = 1_u64;
    let mut byte = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        noise.to_be_bytes()[0]
    };
    let payloads: Vec<Vec<u8>> =
        (0..100).map(|_| [vec![7; 100], (0..900).map(|_| byte()).collect()].concat()).collect();
    topic.append_batch(payloads.clone()).await.unwrap().ack().await.unwrap();
    for (number, payload) in (0..).zip(payloads) {
        let record = topic.record(0, Msn::new(number)).await.unwrap().unwrap();
        assert_eq!(record.payload.unwrap(), payload);
    }
    assert_eq!(control.part_count.load(Ordering::SeqCst), 0);
    assert_eq!(log.stats().cache.outlines, 0);
}
