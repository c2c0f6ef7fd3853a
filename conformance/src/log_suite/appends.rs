//! Appending: MSNs at once, acks in order and never early, whole messages, honest refusals.

use bytes::Bytes;
use futures::future::join_all;
use msglog_core::store::Survives;
use msglog_core::{
    AppendOptions, Durability, ErrorKind, Header, Log, Message, MsgLog, Msn, Timestamp, TopicConfig,
};

use super::{TOPIC, append_each, check_messages, message, open, open_with, read_all};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "log-append":
    msns_rise_by_one_from_zero;
    acked_message_is_read_back_whole;
    acks_resolve_in_order;
    acked_records_are_durable_in_the_store;
    concurrent_producers_leave_no_gap;
    batch_has_one_range_of_msns;
    batch_of_nothing_is_refused;
    weaker_levels_are_acked [Need::AppendSurvives(Survives::Os)];
    level_that_append_cannot_keep_is_refused [Need::AppendWeakerThanOs];
    message_over_the_limit_is_refused_alone;
    large_messages_are_read_back_whole;
}

/// Each append answers the MSN after the last one, before it is acked.
pub async fn msns_rise_by_one_from_zero(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = Vec::new();
    for number in 0..100 {
        let appended = topic.append(message(number)).await?;
        ensure_eq!(appended.msn(), Msn::new(number), "MSN of append {number}");
        acks.push(appended.ack());
    }
    for (number, ack) in (0..).zip(acks) {
        ensure_eq!(ack.await?, Msn::new(number), "MSN that ack {number} resolves to");
    }
    check_messages(&read_all(&topic, 0, Msn::ZERO).await?, 0, "after the acks")
}

/// Key, payload, headers and time come back as they went in; null is not empty.
pub async fn acked_message_is_read_back_whole(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let at = |millis| Timestamp::from_millis(millis);
    let empty =
        Message { headers: vec![Header { name: "none".into(), value: None }], ..Message::new("") };
    let messages = [
        Message::new("plain").with_timestamp(at(1)),
        Message::new(vec![0, 255, 10, 13]).with_key("key").with_timestamp(at(-5)),
        Message::tombstone("gone").with_timestamp(at(0)),
        empty.with_key("").with_timestamp(at(i64::MAX)),
        Message::default().with_timestamp(at(7)),
        message(0)
            .with_header("twice", "a")
            .with_header("twice", Bytes::new())
            .with_timestamp(at(9)),
    ];
    for message in &messages {
        topic.append(message.clone()).await?.ack().await?;
    }
    let found = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(found.len(), messages.len(), "number of records");
    for (record, message) in found.into_iter().zip(messages) {
        ensure_eq!(Message::from(record), message, "a message read back");
    }
    Ok(())
}

/// When an ack resolves, every earlier append is acked too.
pub async fn acks_resolve_in_order(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = Vec::new();
    for number in 0..300 {
        acks.push(topic.append(message(number)).await?.ack());
        if number % 37 == 0 {
            tokio::task::yield_now().await;
        }
    }
    while let Some(last) = acks.pop() {
        last.await?;
        let early = acks.iter().position(|ack| !ack.is_acked());
        ensure!(early.is_none(), "append {early:?} is not acked, a later one is");
    }
    Ok(())
}

/// When an ack at `Sync` resolves, the store says that the record is durable.
pub async fn acked_records_are_durable_in_the_store(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    for number in 0..50 {
        let msn = topic.append(message(number)).await?.ack().await?;
        let bounds = topic.bounds(0).await?;
        let (durable, next) = (bounds.durable_msn, bounds.next_msn);
        ensure!(durable > msn, "MSN {msn} is acked, durable is all below {durable}");
        ensure!(next > msn, "MSN {msn} is acked, readers see all below {next}");
    }
    Ok(())
}

/// Records of many producers have MSNs without gap or repeat, each producer's in its order.
pub async fn concurrent_producers_leave_no_gap(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let producers = (0..16_u64).map(|producer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            for number in 0..25_u64 {
                let text = format!("{producer}:{number}");
                topic.append(Message::new(text)).await?.ack().await?;
            }
            CaseResult::Ok(())
        })
    });
    for producer in producers.collect::<Vec<_>>() {
        producer.await.map_err(|cause| crate::Failure::new(format!("a producer: {cause}")))??;
    }
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 16 * 25, "number of records");
    let mut last_of: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for (place, record) in (0..).zip(&records) {
        ensure_eq!(record.msn, Msn::new(place), "MSN");
        let text =
            String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).into_owned();
        let (producer, number) = text.split_once(':').unwrap_or_default();
        let number: u64 = number.parse().unwrap_or(u64::MAX);
        let expected = last_of.get(producer).map_or(0, |last| last + 1);
        ensure_eq!(number, expected, "next number of producer {producer}");
        last_of.insert(producer.to_owned(), number);
    }
    Ok(())
}

/// A batch gets one range of MSNs and is there as a whole.
pub async fn batch_has_one_range_of_msns(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..3).await?;
    let appended = topic.append_batch((3..50).map(message)).await?;
    ensure_eq!(appended.msns(), Msn::new(3)..Msn::new(50), "MSNs of the batch");
    appended.ack().await?;
    append_each(&topic, 50..52).await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 52, "number of records");
    check_messages(&records, 0, "around a batch")
}

/// A batch without messages is `Invalid` and changes nothing.
pub async fn batch_of_nothing_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let nothing = topic.append_batch(Vec::<Message>::new()).await;
    check_refused(nothing, ErrorKind::Invalid, "append a batch of nothing")?;
    ensure_eq!(topic.append("next").await?.msn(), Msn::ZERO, "MSN of the next append");
    Ok(())
}

/// Appends at weaker levels are acked and read back, mixed with those at `Sync`.
pub async fn weaker_levels_are_acked(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let every = std::time::Duration::from_millis(5);
    let levels =
        [Durability::Memory, Durability::Os, Durability::Interval(every), Durability::Sync];
    for (number, level) in (0..40).zip(levels.into_iter().cycle()) {
        let options = AppendOptions::default().with_durability(level);
        let acked = topic.append_with(message(number), options).await?.ack().await?;
        ensure_eq!(acked, Msn::new(number), "MSN acked at {level}");
    }
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 40, "number of records after a last one at sync");
    check_messages(&records, 0, "mixed levels")
}

/// A topic whose level needs more than the store's `append` keeps is not created.
pub async fn level_that_append_cannot_keep_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let name = TOPIC.parse()?;
    let config = TopicConfig::default().with_durability(Durability::Os);
    let created = log.create_topic(&name, config).await;
    check_refused(created, ErrorKind::Unsupported, "create a topic at os")?;
    ensure!(log.topics().await?.is_empty(), "a refused topic was created");
    Ok(())
}

/// A message beyond the limit is `TooLarge`; its neighbours are appended without a gap.
pub async fn message_over_the_limit_is_refused_alone(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().message_bytes_max(10_000)).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..1).await?;
    let large = topic.append(vec![b'x'; 10_001]).await;
    check_refused(large, ErrorKind::TooLarge, "append a message over the limit")?;
    let batch = topic.append_batch([message(1), Message::new(vec![b'x'; 10_001])]).await;
    check_refused(batch, ErrorKind::TooLarge, "append a batch with one over the limit")?;
    append_each(&topic, 1..2).await?;
    check_messages(&read_all(&topic, 0, Msn::ZERO).await?, 0, "around a refusal")
}

/// Messages from 1 byte to 2 MiB keep their bytes, appended at the same time.
pub async fn large_messages_are_read_back_whole(cx: Cx) -> CaseResult {
    let limit = cx.capabilities().batch_bytes_max;
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let sizes = [1, 1_000, 32_767, 32_768, 100_000, 1 << 20, 2 << 20];
    let sizes: Vec<usize> = sizes.into_iter().filter(|size| size + 1_000 < limit).collect();
    let payload = |size: usize| -> Vec<u8> { (0..=250).cycle().take(size).collect() };
    let mut acks = Vec::new();
    for size in &sizes {
        acks.push(topic.append(payload(*size)).await?.ack());
    }
    for acked in join_all(acks).await {
        acked?;
    }
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), sizes.len(), "number of records");
    for (record, size) in records.into_iter().zip(sizes) {
        let whole = record.payload.is_some_and(|found| found == payload(size));
        ensure!(whole, "a message of {size} bytes came back changed");
    }
    Ok(())
}
