//! Several partitions: as one stream, and chosen by a partitioner of one's own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use msglog_core::log::{
    Filter, MergedSubscription, PartitionRecord, Partitioner, SubscribeOptions,
};
use msglog_core::store::Survives;
use msglog_core::{
    AppendOptions, ErrorKind, Log, Message, MessageRef, MsgLog, Msn, Topic, TopicConfig,
};

use super::{TOPIC, message, open, open_with, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-partitions":
    merged_stream_gives_every_record_once_and_keeps_each_order;
    merged_stream_goes_on_where_another_one_stood;
    merged_stream_goes_on_after_reopen [REOPENS];
    busy_partition_does_not_starve_the_others;
    set_of_partitions_gives_only_theirs;
    merged_stream_ends_when_the_log_closes;
    partitioner_of_ones_own_chooses_the_partition;
    partition_in_the_options_wins_over_the_partitioner;
    partitioner_that_answers_no_partition_is_refused;
}

const PARTITIONS: u32 = 3;
/// How long what is there may take to arrive.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);

async fn topic(log: &Log) -> CaseResult<Topic> {
    let config = TopicConfig::default().with_partitions(PARTITIONS);
    log.create_topic(&TOPIC.parse()?, config).await?;
    Ok(log.topic(TOPIC).await?)
}

/// Appends the messages `numbers` to a partition in batches of up to ten.
async fn fill(topic: &Topic, partition: u32, numbers: std::ops::Range<u64>) -> CaseResult {
    let options = AppendOptions::default().with_partition(partition);
    let messages: Vec<Message> = numbers.map(message).collect();
    for chunk in messages.chunks(10) {
        topic.append_batch_with(chunk, options).await?.ack().await?;
    }
    Ok(())
}

async fn next(merged: &mut MergedSubscription) -> CaseResult<PartitionRecord> {
    match tokio::time::timeout(ARRIVAL_MAX, merged.next()).await {
        Ok(Some(found)) => Ok(found?),
        Ok(None) => Err(Failure::new("the merged stream ended early")),
        Err(_) => Err(Failure::new(format!("nothing comes at {:?}", merged.positions()))),
    }
}

/// Checks that a record is the next one of its partition, and counts it.
fn check(found: &PartitionRecord, seen: &mut BTreeMap<u32, u64>) -> CaseResult {
    let number = seen.entry(found.partition).or_default();
    ensure_eq!(found.record.msn, Msn::new(*number), "MSN in partition {}", found.partition);
    ensure_eq!(found.record.payload, message(*number).payload, "payload at {number}");
    *number += 1;
    Ok(())
}

/// From history to live, whatever the partitions hold.
pub async fn merged_stream_gives_every_record_once_and_keeps_each_order(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = topic(&log).await?;
    fill(&topic, 0, 0..40).await?;
    fill(&topic, 2, 0..15).await?;
    let (mut merged, mut seen) = (topic.subscribe_all()?, BTreeMap::new());
    for _ in 0..55 {
        check(&next(&mut merged).await?, &mut seen)?;
    }
    ensure_eq!(seen, BTreeMap::from([(0, 40), (2, 15)]), "records of history");
    fill(&topic, 1, 0..20).await?;
    fill(&topic, 0, 40..45).await?;
    for _ in 0..25 {
        check(&next(&mut merged).await?, &mut seen)?;
    }
    ensure_eq!(seen, BTreeMap::from([(0, 45), (1, 20), (2, 15)]), "records in all");
    let more = tokio::time::timeout(Duration::from_millis(50), merged.next()).await;
    ensure!(more.is_err(), "beyond the end comes {more:?}");
    Ok(())
}

/// Two streams, one made of the positions of the other, give every record once.
pub async fn merged_stream_goes_on_where_another_one_stood(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = topic(&log).await?;
    for partition in 0..PARTITIONS {
        fill(&topic, partition, 0..30).await?;
    }
    for taken in [0, 1, 2, 17, 89] {
        let (mut merged, mut seen) = (topic.subscribe_all()?, BTreeMap::new());
        for _ in 0..taken {
            check(&next(&mut merged).await?, &mut seen)?;
        }
        let positions = merged.positions();
        drop(merged);
        let mut rest = topic.subscribe_partitions(positions, &SubscribeOptions::default())?;
        for _ in taken..90 {
            check(&next(&mut rest).await?, &mut seen)?;
        }
        ensure_eq!(seen, (0..PARTITIONS).map(|p| (p, 30)).collect(), "{taken} taken first");
    }
    Ok(())
}

/// Dropped in the middle of waiting, the log closed or dropped: a stream that is made of the
/// positions gives the rest, every record once.
pub async fn merged_stream_goes_on_after_reopen(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    let all = topic(&log).await?;
    for partition in 0..PARTITIONS {
        fill(&all, partition, 0..30).await?;
    }
    drop(all);
    let mut positions: BTreeMap<_, _> = (0..PARTITIONS).map(|p| (p, Msn::ZERO)).collect();
    let mut seen = BTreeMap::new();
    for round in 0..6 {
        let topic = log.topic(TOPIC).await?;
        let mut merged = topic.subscribe_partitions(positions, &SubscribeOptions::default())?;
        for _ in 0..15 {
            check(&next(&mut merged).await?, &mut seen)?;
        }
        if let Some(found) = poll_then_drop(merged.next(), round).await.flatten() {
            check(&found?, &mut seen)?;
        }
        positions = merged.positions();
        drop((merged, topic));
        log = if round % 2 == 0 {
            reopen(&cx, log).await?
        } else {
            drop(log);
            open(&cx).await?
        };
        let stood: BTreeMap<_, _> = positions.iter().map(|(p, msn)| (*p, msn.get())).collect();
        for partition in 0..PARTITIONS {
            let (stood, seen) = (stood.get(&partition), seen.get(&partition));
            ensure_eq!(stood.copied().unwrap_or(0), seen.copied().unwrap_or(0), "position");
        }
        if seen.values().sum::<u64>() > 75 {
            break;
        }
    }
    let topic = log.topic(TOPIC).await?;
    let left = 90 - seen.values().sum::<u64>();
    let mut rest = topic.subscribe_partitions(positions, &SubscribeOptions::default())?;
    for _ in 0..left {
        check(&next(&mut rest).await?, &mut seen)?;
    }
    ensure_eq!(seen, (0..PARTITIONS).map(|p| (p, 30)).collect(), "records in all");
    Ok(())
}

/// The few records of the others come long before the busy one has given all of its.
pub async fn busy_partition_does_not_starve_the_others(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = topic(&log).await?;
    fill(&topic, 1, 0..2_000).await?;
    fill(&topic, 0, 0..10).await?;
    fill(&topic, 2, 0..10).await?;
    let (mut merged, mut seen) = (topic.subscribe_all()?, BTreeMap::new());
    for number in 0..1_000 {
        check(&next(&mut merged).await?, &mut seen)?;
        if number % 20 == 0 {
            // Their pages have the time to come.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    ensure_eq!(seen.get(&0), Some(&10), "records of partition 0");
    ensure_eq!(seen.get(&2), Some(&10), "records of partition 2");
    Ok(())
}

/// Also with a filter, and each from its own MSN.
pub async fn set_of_partitions_gives_only_theirs(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = topic(&log).await?;
    for partition in 0..PARTITIONS {
        fill(&topic, partition, 0..20).await?;
    }
    let options = SubscribeOptions::default();
    let from = [(2, Msn::new(18)), (0, Msn::new(19))];
    let mut merged = topic.subscribe_partitions(from, &options)?;
    let mut found = Vec::new();
    for _ in 0..3 {
        let PartitionRecord { partition, record } = next(&mut merged).await?;
        found.push((partition, record.msn.get()));
    }
    found.sort_unstable();
    ensure_eq!(found, [(0, 19), (2, 18), (2, 19)], "records of a set");
    let filtered = options.clone().with_filter(Filter::key("none"));
    let mut nothing = topic.subscribe_partitions(from, &filtered)?;
    let early = tokio::time::timeout(Duration::from_millis(50), nothing.next()).await;
    ensure!(early.is_err(), "a filter that matches nothing gave {early:?}");
    ensure_eq!(
        nothing.positions(),
        BTreeMap::from([(0, Msn::new(20)), (2, Msn::new(20))]),
        "positions behind what the filter passed"
    );
    for bad in [[(0, Msn::ZERO), (0, Msn::ZERO)], [(0, Msn::ZERO), (PARTITIONS, Msn::ZERO)]] {
        let refused = topic.subscribe_partitions(bad, &options);
        check_refused(refused, ErrorKind::Invalid, &format!("{bad:?}"))?;
    }
    Ok(())
}

/// After `close` it gives what it has and ends; where it stood is still known.
pub async fn merged_stream_ends_when_the_log_closes(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = topic(&log).await?;
    fill(&topic, 1, 0..3).await?;
    let mut merged = topic.subscribe_all()?;
    for _ in 0..3 {
        next(&mut merged).await?;
    }
    log.close().await?;
    let end = tokio::time::timeout(ARRIVAL_MAX, merged.next()).await;
    ensure!(matches!(end, Ok(None)), "after the close it answers {end:?}");
    let wanted = BTreeMap::from([(0, Msn::ZERO), (1, Msn::new(3)), (2, Msn::ZERO)]);
    ensure_eq!(merged.positions(), wanted, "positions after the end");
    Ok(())
}

/// The partition that the payload names; others take turns.
#[derive(Debug)]
struct ByPayload;

impl Partitioner for ByPayload {
    fn partition(&self, message: MessageRef<'_>, _: u32) -> Option<u32> {
        let payload = message.payload.and_then(|text| std::str::from_utf8(text).ok())?;
        payload.split(' ').next_back()?.parse().ok()
    }
}

/// Set for the log or for a handle; by single appends and in batches; keys no longer count.
pub async fn partitioner_of_ones_own_chooses_the_partition(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().partitioner(ByPayload)).await?;
    let topic = topic(&log).await?;
    let keyed = |text: &str| Message::new(text.to_owned()).with_key("the same");
    for partition in 0..PARTITIONS {
        let appended = topic.append(keyed(&format!("to {partition}"))).await?;
        ensure_eq!(appended.partition(), partition, "partition of a message");
        appended.ack().await?;
        let batch = [keyed("anywhere"), keyed(&format!("to {partition}"))];
        let appended = topic.append_batch(batch).await?;
        ensure_eq!(appended.partition(), partition, "partition of a batch");
        appended.ack().await?;
        ensure_eq!(read_all(&topic, partition, Msn::ZERO).await?.len(), 3, "records there");
    }
    let mixed = topic.append_batch([keyed("to 0"), keyed("to 1")]).await;
    check_refused(mixed, ErrorKind::Invalid, "a batch to two partitions")?;
    let mut turns = BTreeMap::new();
    for _ in 0..PARTITIONS {
        let appended = topic.append(keyed("anywhere")).await?;
        *turns.entry(appended.partition()).or_insert(0) += 1;
        appended.ack().await?;
    }
    ensure_eq!(turns, (0..PARTITIONS).map(|p| (p, 1)).collect(), "those that ask for none");
    Ok(())
}

/// Of a single append and of a batch.
pub async fn partition_in_the_options_wins_over_the_partitioner(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let plain = topic(&log).await?;
    let chosen = plain.with_partitioner(ByPayload);
    let options = AppendOptions::default().with_partition(2);
    ensure_eq!(chosen.append("to 1").await?.partition(), 1, "without options");
    ensure_eq!(chosen.append_with("to 1", options).await?.partition(), 2, "with options");
    let batch = [Message::new("to 0"), Message::new("to 1")];
    ensure_eq!(chosen.append_batch_with(&batch, options).await?.partition(), 2, "a batch");
    let key = Message::new("to 1").with_key("k");
    let wanted = msglog_core::log::partition_of_key(b"k", PARTITIONS);
    ensure_eq!(plain.append(key).await?.partition(), wanted, "the handle without it");
    Ok(())
}

/// A partition that is not: the append fails and changes nothing.
pub async fn partitioner_that_answers_no_partition_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = topic(&log).await?.with_partitioner(ByPayload);
    let refused = topic.append(format!("to {PARTITIONS}")).await;
    check_refused(refused, ErrorKind::Invalid, "a partition that is not")?;
    let refused = topic.append_batch([format!("to {}", u32::MAX)]).await;
    check_refused(refused, ErrorKind::Invalid, "a batch to a partition that is not")?;
    for partition in 0..PARTITIONS {
        ensure_eq!(topic.bounds(partition).await?.next_msn, Msn::ZERO, "records there");
    }
    Ok(())
}
