//! The batch cache: what is read again is the same, and never what is gone.

use msglog_core::log::{Compaction, Missing};
use msglog_core::store::ReadLimit;
use msglog_core::{ErrorKind, Log, Message, MsgLog, Msn, Record, Topic, TopicConfig, TopicName};

use super::{TOPIC, open, open_with};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "log-cache":
    records_read_again_are_the_same;
    trimmed_records_are_not_served_from_memory;
    deleted_topic_is_not_served_from_memory;
    compacted_records_are_not_served_from_memory [Need::Replace];
    many_subscriptions_at_the_end_see_every_record_once;
}

/// How many records the topic of these cases has.
const RECORDS: u64 = 200;

/// A record large enough that the batches are worth keeping.
fn message(text: &str, number: u64) -> Message {
    Message::new(format!("{text} {number} {}", "x".repeat(1_000))).with_key(format!("{number}"))
}

/// Appends records in batches of 1 to 40.
async fn fill(topic: &Topic, text: &str) -> CaseResult {
    let (mut number, mut size) = (0, 1);
    while number < RECORDS {
        let end = RECORDS.min(number + size);
        topic.append_batch((number..end).map(|n| message(text, n))).await?.ack().await?;
        (number, size) = (end, size * 3 % 41);
    }
    Ok(())
}

fn check(record: Option<&Record>, text: &str, msn: u64) -> CaseResult {
    let Some(record) = record else {
        ensure!(false, "no record at MSN {msn}");
        return Ok(());
    };
    ensure_eq!(record.msn, Msn::new(msn), "MSN");
    ensure_eq!(Message::from(record.clone()).payload, message(text, msn).payload, "at {msn}");
    ensure_eq!(record.key, message(text, msn).key, "key at {msn}");
    Ok(())
}

/// Reads every record by itself, in three ways, several times.
async fn read_each(topic: &Topic, text: &str, from: u64) -> CaseResult {
    for _ in 0..3 {
        for msn in from..RECORDS {
            check(topic.record(0, Msn::new(msn)).await?.as_ref(), text, msn)?;
            let page = topic.read(0, Msn::new(msn), ReadLimit::bytes(1)).await?;
            check(page.records.first(), text, msn)?;
        }
        let msns: Vec<Msn> = (from..RECORDS).map(Msn::new).collect();
        for (msn, found) in (from..).zip(topic.read_many(0, &msns).await?) {
            check(found.ok().as_ref(), text, msn)?;
        }
    }
    Ok(())
}

/// Whatever the budget, also one that holds a single batch or none.
pub async fn records_read_again_are_the_same(cx: Cx) -> CaseResult {
    for bytes in [0, 1, 50_000, 64 << 20] {
        let log = open_with(&cx, Log::builder().cache_bytes(bytes)).await?;
        let topic = log.topic(TOPIC).await?;
        if topic.bounds(0).await?.next_msn == Msn::ZERO {
            fill(&topic, "record").await?;
        }
        read_each(&topic, "record", 0).await?;
        let used = log.stats().cache;
        ensure!(used.bytes <= bytes, "{} bytes of {bytes} are used", used.bytes);
        log.close().await?;
    }
    Ok(())
}

/// What was trimmed is gone for readers although it was read a moment ago.
pub async fn trimmed_records_are_not_served_from_memory(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    fill(&topic, "record").await?;
    read_each(&topic, "record", 0).await?;
    let first = topic.trim(0, Msn::new(100)).await?;
    for msn in 0..first.get() {
        let found = topic.record(0, Msn::new(msn)).await?;
        ensure!(found.is_none(), "MSN {msn} is served after a trim up to {first}");
        let page = topic.read(0, Msn::new(msn), ReadLimit::bytes(1)).await?;
        check(page.records.first(), "record", first.get())?;
    }
    read_each(&topic, "record", first.get()).await
}

/// A topic of the same name has its own records; a handle of the deleted one answers none.
pub async fn deleted_topic_is_not_served_from_memory(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let old = log.topic(TOPIC).await?;
    fill(&old, "old").await?;
    read_each(&old, "old", 0).await?;
    log.delete_topic(&TopicName::parse(TOPIC)?).await?;
    let gone = old.record(0, Msn::new(7)).await;
    check_refused(gone, ErrorKind::Closed, "a record of a deleted topic")?;
    let new = log.topic(TOPIC).await?;
    ensure!(new.record(0, Msn::new(7)).await?.is_none(), "a fresh topic has a record");
    fill(&new, "new").await?;
    read_each(&new, "new", 0).await
}

/// Tailers that share what one of them read miss nothing.
pub async fn many_subscriptions_at_the_end_see_every_record_once(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut tails = Vec::new();
    for _ in 0..4 {
        tails.push(topic.subscribe(0, Msn::ZERO)?);
    }
    for number in 0..RECORDS {
        topic.append(message("tail", number)).await?.ack().await?;
        for tail in &mut tails {
            let next = futures::StreamExt::next(tail).await;
            check(next.transpose()?.as_ref(), "tail", number)?;
        }
    }
    Ok(())
}

/// What compaction has removed is gone for readers although it was read a moment ago.
pub async fn compacted_records_are_not_served_from_memory(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let config = TopicConfig::default().with_compaction(Compaction::default());
    log.create_topic(&TopicName::parse(TOPIC)?, config).await?;
    let topic = log.topic(TOPIC).await?;
    for round in 0..10 {
        let batch = (0..20).map(|n| message("keyed", n % 7).with_header("round", vec![round]));
        topic.append_batch(batch).await?.ack().await?;
    }
    let msns: Vec<Msn> = (0..200).map(Msn::new).collect();
    for _ in 0..3 {
        let found = topic.read_many(0, &msns).await?;
        ensure!(found.iter().all(Result::is_ok), "a record is missing before the compaction");
    }
    let done = topic.compact().await?;
    let Some(done) = done.first() else { return Ok(()) };
    ensure!(done.records_after < done.records_before, "nothing was compacted: {done:?}");
    let removed = done.records_before - done.records_after;
    for _ in 0..3 {
        let found = topic.read_many(0, &msns).await?;
        let gone = found.iter().filter(|found| **found == Err(Missing::Removed)).count();
        ensure_eq!(gone as u64, removed, "records that are gone");
        for (msn, found) in msns.iter().zip(found) {
            let alone = topic.record(0, *msn).await?;
            ensure_eq!(alone, found.ok(), "alone, MSN {msn}");
            let page = topic.read(0, *msn, ReadLimit::bytes(1)).await?;
            let first = page.records.first().map(|record| record.msn);
            ensure!(
                alone.is_none() || first == Some(*msn),
                "a page from {msn} begins at {first:?}"
            );
            ensure!(alone.is_some() || first != Some(*msn), "a page has the removed MSN {msn}");
        }
    }
    Ok(())
}
