//! Subscriptions: from history to live without a gap or a repeat, beside any writer.

use std::time::Duration;

use futures::StreamExt;
use msglog_core::{MsgLog, Msn, Subscription, Topic};

use super::{TOPIC, append_each, check_messages, message, open, open_reader};
use crate::case::{Need, cases};
use crate::{CaseResult, Cx, Failure, ensure};

/// How long a record that is there may take to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);
/// How long is waited for a record that must not come.
const SILENCE: Duration = Duration::from_millis(50);

cases! { "log-tail":
    subscription_goes_from_history_to_live;
    many_subscriptions_see_the_same;
    subscription_beyond_the_end_waits_for_its_msn;
    subscription_passes_over_what_is_trimmed;
    dropped_subscription_disturbs_nobody;
    subscription_ends_when_the_log_closes;
    reader_beside_the_writer_follows [Need::SharedReaders];
}

/// The next `count` records, each within its time.
async fn next(records: &mut Subscription, count: u64) -> CaseResult<Vec<msglog_core::Record>> {
    let mut found = Vec::new();
    for _ in 0..count {
        match tokio::time::timeout(ARRIVAL_MAX, records.next()).await {
            Ok(Some(record)) => found.push(record?),
            Ok(None) => return Err(Failure::new("the subscription ended early")),
            Err(_) => {
                let place = records.next_msn();
                return Err(Failure::new(format!("the record at MSN {place} never arrived")));
            }
        }
    }
    Ok(found)
}

async fn check_silent(records: &mut Subscription) -> CaseResult {
    let early = tokio::time::timeout(SILENCE, records.next()).await;
    ensure!(early.is_err(), "the subscription answered {early:?} where nothing is");
    Ok(())
}

fn produce(topic: &Topic, numbers: std::ops::Range<u64>) -> tokio::task::JoinHandle<CaseResult> {
    let topic = topic.clone();
    tokio::spawn(async move { append_each(&topic, numbers).await })
}

async fn finish(producer: tokio::task::JoinHandle<CaseResult>) -> CaseResult {
    producer.await.map_err(|cause| Failure::new(format!("the producer: {cause}")))?
}

/// Records appended before and while it reads arrive once each, in order.
pub async fn subscription_goes_from_history_to_live(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..50).await?;
    let mut records = topic.subscribe(0, Msn::new(10))?;
    let producer = produce(&topic, 50..150);
    check_messages(&next(&mut records, 140).await?, 10, "history to live")?;
    finish(producer).await?;
    check_silent(&mut records).await
}

/// Subscriptions that start at different places and times see the same records.
pub async fn many_subscriptions_see_the_same(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = produce(&topic, 0..100);
    let mut readers = Vec::new();
    for from in [0, 0, 7, 50, 99] {
        let mut records = topic.subscribe(0, Msn::new(from))?;
        readers.push(tokio::spawn(async move {
            check_messages(&next(&mut records, 100 - from).await?, from, "one of many")
        }));
        tokio::task::yield_now().await;
    }
    for reader in readers {
        finish(reader).await?;
    }
    finish(producer).await
}

/// A subscription to an MSN that is not written yet answers nothing before it.
pub async fn subscription_beyond_the_end_waits_for_its_msn(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..1).await?;
    let mut records = topic.subscribe(0, Msn::new(5))?;
    append_each(&topic, 1..5).await?;
    check_silent(&mut records).await?;
    append_each(&topic, 5..7).await?;
    check_messages(&next(&mut records, 2).await?, 5, "from beyond the end")
}

/// A trim ahead of it makes a subscription go on at the next available record.
pub async fn subscription_passes_over_what_is_trimmed(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..20).await?;
    let first = topic.trim(0, Msn::new(10)).await?;
    let mut records = topic.subscribe(0, Msn::ZERO)?;
    let found = next(&mut records, 20 - first.get()).await?;
    check_messages(&found, first.get(), "after a trim")
}

/// Dropping a subscription, also in the middle of waiting, changes nothing for others.
pub async fn dropped_subscription_disturbs_nobody(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut kept = topic.subscribe(0, Msn::ZERO)?;
    for number in 0..20 {
        let mut dropped = topic.subscribe(0, Msn::ZERO)?;
        let waited = tokio::time::timeout(Duration::from_millis(1), dropped.next()).await;
        drop((waited, dropped));
        topic.append(message(number)).await?.ack().await?;
    }
    check_messages(&next(&mut kept, 20).await?, 0, "beside dropped ones")
}

/// After `close` a subscription gives what it has and ends.
pub async fn subscription_ends_when_the_log_closes(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..3).await?;
    let mut records = topic.subscribe(0, Msn::ZERO)?;
    check_messages(&next(&mut records, 3).await?, 0, "before the close")?;
    log.close().await?;
    let end = tokio::time::timeout(ARRIVAL_MAX, records.next()).await;
    ensure!(matches!(end, Ok(None)), "after the close the subscription answers {end:?}");
    Ok(())
}

/// A log opened for reading beside the writer follows it without a gap or a repeat.
pub async fn reader_beside_the_writer_follows(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..20).await?;
    let reader = open_reader(&cx).await?;
    let mut records = reader.topic(TOPIC).await?.subscribe(0, Msn::new(5))?;
    let producer = produce(&topic, 20..120);
    check_messages(&next(&mut records, 115).await?, 5, "beside the writer")?;
    finish(producer).await?;
    check_silent(&mut records).await?;
    reader.close().await?;
    append_each(&topic, 120..121).await
}
