//! Topics: created once, kept with their configuration, partitioned by key, deleted whole.

use std::time::Duration;

use msglog_core::batch::{Compression, CompressionPolicy, TimestampKind};
use msglog_core::log::{ByteRange, Retention, Rule};
use msglog_core::store::Survives;
use msglog_core::{
    AppendOptions, ErrorKind, Log, Message, MsgLog, Msn, Timestamp, TopicConfig, TopicName, log,
};

use super::{TOPIC, append_each, check_messages, message, open, open_with, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-topic":
    topic_is_created_once;
    topic_that_cannot_be_is_refused;
    topics_are_listed_sorted;
    key_chooses_the_partition_as_kafka_does;
    messages_without_key_take_turns;
    deleted_topic_is_gone_and_can_be_created_anew;
    topic_keeps_its_configuration_after_reopen [REOPENS];
    configuration_changes_live_and_stays [REOPENS];
    compression_and_batching_change_live_and_stay [REOPENS];
    compression_that_cannot_be_changes_nothing;
    topic_grows_and_never_shrinks [REOPENS];
    concurrent_configurations_all_count;
    cancelled_configuration_is_whole_or_not_at_all [REOPENS];
    growing_beside_close_is_whole_or_not_at_all [REOPENS];
    close_ends_a_linger_and_loses_nothing [REOPENS];
    configuration_that_cannot_be_changes_nothing;
    many_topics_do_not_mix;
}

/// Creating it again is `AlreadyExists`, and changes nothing.
pub async fn topic_is_created_once(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let name: TopicName = TOPIC.parse()?;
    log.create_topic(&name, TopicConfig::default().with_partitions(2)).await?;
    let again = log.create_topic(&name, TopicConfig::default().with_partitions(5)).await;
    check_refused(again, ErrorKind::AlreadyExists, "create it again")?;
    ensure_eq!(log.topic(TOPIC).await?.partition_count(), 2, "partitions");
    ensure_eq!(log.describe(&name).await?.partitions.len(), 2, "described partitions");
    Ok(())
}

/// Bad names, no or too many partitions, topics that are not: refused, and nothing is created.
pub async fn topic_that_cannot_be_is_refused(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().create_topics(false)).await?;
    for name in ["", ".", "..", "../x", "a/b", "a b", "é"] {
        check_refused(log.topic(name).await, ErrorKind::Invalid, &format!("topic `{name}`"))?;
    }
    check_refused(log.topic(TOPIC).await, ErrorKind::NotFound, "a topic that is not")?;
    for partitions in [0, 10_001, u32::MAX] {
        let config = TopicConfig::default().with_partitions(partitions);
        let created = log.create_topic(&TOPIC.parse()?, config).await;
        check_refused(created, ErrorKind::Invalid, &format!("{partitions} partitions"))?;
    }
    ensure!(log.topics().await?.is_empty(), "something was created");
    ensure!(!log.delete_topic(&TOPIC.parse()?).await?, "something was deleted");
    Ok(())
}

/// All topics are listed, sorted, whether or not anything was appended.
pub async fn topics_are_listed_sorted(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    for name in ["b", "a-0", "a", "c.d_e"] {
        log.topic(name).await?;
    }
    let names: Vec<_> = log.topics().await?.iter().map(ToString::to_string).collect();
    ensure_eq!(names, ["a", "a-0", "b", "c.d_e"], "topics");
    Ok(())
}

/// A key goes to the partition of Kafka's default partitioner, alone and in a batch.
pub async fn key_chooses_the_partition_as_kafka_does(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_partitions(7)).await?;
    let topic = log.topic(TOPIC).await?;
    for number in 0..50 {
        let key = format!("key-{number}");
        let expected = log::partition_of_key(key.as_bytes(), 7);
        let appended = topic.append(Message::new("x").with_key(key.clone())).await?;
        ensure_eq!(appended.partition(), expected, "partition of {key}");
        appended.ack().await?;
        let batch = topic.append_batch([Message::new("x").with_key(key.clone())]).await?;
        ensure_eq!(batch.partition(), expected, "partition of a batch of {key}");
        batch.ack().await?;
    }
    let chosen = AppendOptions::default().with_partition(3);
    ensure_eq!(topic.append_with("x", chosen).await?.partition(), 3, "partition asked for");
    let none = topic.append_with("x", AppendOptions::default().with_partition(7)).await;
    check_refused(none, ErrorKind::Invalid, "partition 7 of 7")
}

/// Without a key every partition gets its share.
pub async fn messages_without_key_take_turns(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_partitions(3)).await?;
    let topic = log.topic(TOPIC).await?;
    for _ in 0..30 {
        topic.append("x").await?.ack().await?;
    }
    for partition in 0..3 {
        let count = read_all(&topic, partition, Msn::ZERO).await?.len();
        ensure_eq!(count, 10, "records of partition {partition}");
    }
    Ok(())
}

/// A deleted topic is not listed, its handles are closed, and a new one starts empty.
pub async fn deleted_topic_is_gone_and_can_be_created_anew(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let name: TopicName = TOPIC.parse()?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..10).await?;
    ensure!(log.delete_topic(&name).await?, "it was there");
    ensure!(!log.delete_topic(&name).await?, "it was deleted twice");
    ensure!(log.topics().await?.is_empty(), "it is still listed");
    check_refused(topic.append("x").await, ErrorKind::Closed, "append to what was deleted")?;
    let topic = log.topic(TOPIC).await?;
    ensure!(read_all(&topic, 0, Msn::ZERO).await?.is_empty(), "old records came back");
    ensure_eq!(topic.append("x").await?.msn(), Msn::ZERO, "first MSN of the new topic");
    Ok(())
}

/// Configuration and partitions are as created after reopening.
pub async fn topic_keeps_its_configuration_after_reopen(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let name: TopicName = TOPIC.parse()?;
    let config = TopicConfig::default().with_partitions(3).with_timestamps(TimestampKind::Append);
    log.create_topic(&name, config.clone()).await?;
    let log = reopen(&cx, log).await?;
    ensure_eq!(log.describe(&name).await?.config, config, "configuration after reopen");
    ensure_eq!(log.topic(TOPIC).await?.partition_count(), 3, "partitions after reopen");
    Ok(())
}

/// A changed configuration holds for the next append, through handles that were there before, and
/// after reopening.
pub async fn configuration_changes_live_and_stays(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let old = Message::new("x").with_timestamp(Timestamp::from_millis(5));
    topic.append(old.clone()).await?.ack().await?;
    let changed = log.configure(TOPIC, |config| config.timestamps = TimestampKind::Append).await?;
    ensure_eq!(topic.config().as_ref(), &changed, "configuration of the handle");
    topic.append(old.clone()).await?.ack().await?;
    topic.append_batch([old]).await?.ack().await?;
    let stamped: Vec<bool> = read_all(&topic, 0, Msn::ZERO)
        .await?
        .iter()
        .map(|record| record.timestamp != Timestamp::from_millis(5))
        .collect();
    ensure_eq!(stamped, [false, true, true], "which records have the time of appending");
    drop(topic);
    let log = reopen(&cx, log).await?;
    ensure_eq!(log.topic(TOPIC).await?.config().as_ref(), &changed, "after reopen");
    Ok(())
}

/// Compression and batching hold for the next append, never change what is read, and are there
/// after reopening.
pub async fn compression_and_batching_change_live_and_stay(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let mut policies: Vec<CompressionPolicy> =
        codecs.into_iter().filter(|codec| codec.is_built_in()).map(Into::into).collect();
    policies.push(CompressionPolicy::from(Compression::None).with_bytes_min(100));
    let mut next = 5;
    for policy in policies {
        log.configure(TOPIC, |config| {
            config.compression = policy;
            config.linger = Some(Duration::from_micros(100));
            config.batch_bytes_max = Some(500);
        })
        .await?;
        let batch: Vec<_> = (next..next + 50).map(message).collect();
        let appended = topic.append_batch(batch).await?.ack().await?;
        ensure_eq!(appended, Msn::new(next), "MSN of a batch with {policy}");
        append_each(&topic, next + 50..next + 60).await?;
        // Also in its own way, whatever the topic's is.
        let own = AppendOptions::default().with_compression(Compression::None);
        topic.append_with(message(next + 60), own).await?.ack().await?;
        next += 61;
    }
    let config = topic.config();
    drop(topic);
    let log = reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    ensure_eq!(topic.config(), config, "configuration after reopen");
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len() as u64, next, "records");
    check_messages(&records, 0, "whatever the compression was")
}

/// A level that the codec lacks, and batching beyond the limits, are refused and change nothing.
pub async fn compression_that_cannot_be_changes_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let wrong = CompressionPolicy::from(Compression::None).with_level(1);
    let configured = log.configure(TOPIC, |config| config.compression = wrong).await;
    check_refused(configured, ErrorKind::Invalid, "a level of no codec")?;
    let long = Duration::from_secs(61);
    let configured = log.configure(TOPIC, |config| config.linger = Some(long)).await;
    check_refused(configured, ErrorKind::Invalid, "a linger of more than a minute")?;
    let configured = log.configure(TOPIC, |config| config.batch_bytes_max = Some(0)).await;
    check_refused(configured, ErrorKind::Invalid, "batches of no bytes")?;
    let own = AppendOptions::default().with_compression(wrong);
    check_refused(topic.append_with("x", own).await, ErrorKind::Invalid, "append so")?;
    ensure_eq!(
        log.describe(&TOPIC.parse()?).await?.config,
        TopicConfig::default(),
        "configuration"
    );
    ensure_eq!(topic.append("x").await?.msn(), Msn::ZERO, "MSN after all that was refused");
    Ok(())
}

/// Partitions are added live, and what is there stays; fewer are refused.
pub async fn topic_grows_and_never_shrinks(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..10).await?;
    log.configure(TOPIC, |config| config.partitions = 4).await?;
    ensure_eq!(topic.partition_count(), 4, "partitions of the handle that was there");
    let last = AppendOptions::default().with_partition(3);
    topic.append_with("last", last).await?.ack().await?;
    ensure_eq!(read_all(&topic, 0, Msn::ZERO).await?.len(), 10, "records that were there");
    let shrunk = log.configure(TOPIC, |config| config.partitions = 3).await;
    check_refused(shrunk, ErrorKind::Invalid, "fewer partitions")?;
    drop(topic);
    let log = reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    ensure_eq!(topic.partition_count(), 4, "partitions after reopen");
    ensure_eq!(read_all(&topic, 0, Msn::ZERO).await?.len(), 10, "records after reopen");
    ensure_eq!(read_all(&topic, 3, Msn::ZERO).await?.len(), 1, "records of the new partition");
    Ok(())
}

/// Sixteen tasks add a partition each, beside appends: none is lost.
pub async fn concurrent_configurations_all_count(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let grow = || async { log.configure(TOPIC, |config| config.partitions += 1).await };
    let grown = futures::future::try_join_all((0..16).map(|_| grow()));
    let (grown, appended) = futures::join!(grown, append_each(&topic, 0..20));
    grown?;
    appended?;
    ensure_eq!(topic.partition_count(), 17, "partitions");
    ensure_eq!(log.describe(&TOPIC.parse()?).await?.config.partitions, 17, "described partitions");
    let mut found = 0;
    for partition in 0..17 {
        found += read_all(&topic, partition, Msn::ZERO).await?.len();
    }
    ensure_eq!(found, 20, "records in all partitions");
    Ok(())
}

/// Dropped at any poll: partitions, retention and rules are all changed or none of them, in force
/// as they are stored, and after reopening.
pub async fn cancelled_configuration_is_whole_or_not_at_all(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    log.topic(TOPIC).await?;
    for (polls, bytes) in (100..120).enumerate() {
        let topic = log.topic(TOPIC).await?;
        let before = topic.config();
        let mut after = before.as_ref().clone();
        after.partitions += 1;
        after.retention = Retention::keep_forever().with_bytes(1 << 30 | bytes);
        let changing = log.configure(TOPIC, |config| {
            config.partitions = after.partitions;
            config.retention = after.retention;
            config.constraints.rules = vec![Rule::PayloadBytes(ByteRange::at_most(bytes))];
        });
        let answer = poll_then_drop(changing, polls).await;
        let done = answer.is_some();
        answer.transpose()?;
        let stored = settled(&log).await?;
        let is_new = stored.partitions == after.partitions;
        ensure!(is_new || !done, "what was answered is not stored");
        ensure_eq!(stored.retention == after.retention, is_new, "retention after {polls} polls");
        let rules = stored.constraints != before.constraints;
        ensure_eq!(rules, is_new, "rules after {polls} polls");
        ensure_eq!(topic.config().as_ref(), &stored, "in force after {polls} polls");
        let last = AppendOptions::default().with_partition(stored.partitions - 1);
        let there = topic.bounds(stored.partitions - 1).await?.next_msn;
        topic.append_with("x", last).await?.ack().await?;
        drop(topic);
        log = reopen(&cx, log).await?;
        let topic = log.topic(TOPIC).await?;
        ensure_eq!(topic.config().as_ref(), &stored, "after reopen, {polls} polls");
        let bounds = topic.bounds(stored.partitions - 1).await?;
        ensure_eq!(bounds.next_msn, there.plus(1), "end of the last partition after reopen");
        if done {
            return Ok(());
        }
    }
    Err(crate::Failure::new("a change of the configuration does not end"))
}

/// The stored configuration once it changes no more: a change that was dropped may go on.
async fn settled(log: &Log) -> CaseResult<TopicConfig> {
    let mut last = None;
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = log.configure(TOPIC, |_| {}).await?;
        if last.as_ref() == Some(&now) {
            return Ok(now);
        }
        last = Some(now);
    }
}

/// While a partition is added the log closes: it was added or not, and every one is whole.
pub async fn growing_beside_close_is_whole_or_not_at_all(cx: Cx) -> CaseResult {
    let mut records = 0;
    for pause in 0..16_usize {
        let log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let before = topic.partition_count();
        let last = AppendOptions::default().with_partition(before - 1);
        topic.append_with("x", last).await?.ack().await?;
        records += 1;
        let growing = log.configure(TOPIC, |config| config.partitions += 1);
        let closing = async {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            log.close().await
        };
        let (grown, closed) = tokio::join!(growing, closing);
        closed?;
        let least = match grown {
            Ok(config) => config.partitions,
            Err(error) if error.kind() == ErrorKind::Closed => before,
            Err(error) => return Err(error.into()),
        };
        drop((topic, log));
        let log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let found = topic.partition_count();
        ensure!((least..=before + 1).contains(&found), "{found} partitions, {before} before");
        let mut there = 0;
        for partition in 0..found {
            there += read_all(&topic, partition, Msn::ZERO).await?.len();
        }
        ensure_eq!(there, records, "records of all partitions");
        log.close().await?;
    }
    Ok(())
}

/// What lingers when the log closes is acked, and there after reopening; a log that is dropped while
/// something lingers lets its place go.
pub async fn close_ends_a_linger_and_loses_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let mut config = TopicConfig::default();
    config.linger = Some(Duration::from_secs(60));
    log.create_topic(&TOPIC.parse()?, config).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = Vec::new();
    for number in 0..10 {
        acks.push(topic.append(message(number)).await?.ack());
    }
    // Who no longer waits for its ack takes nothing back.
    drop(acks.split_off(5));
    let closed = tokio::time::timeout(Duration::from_secs(10), log.close()).await;
    ensure!(closed.is_ok(), "close waits for the end of a linger");
    for ack in acks {
        ack.await?;
    }
    drop((topic, log));
    let log = open(&cx).await?;
    let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 10, "records after reopen");
    check_messages(&records, 0, "what lingered")?;
    let waiting = log.topic(TOPIC).await?.append(message(10)).await?.ack();
    drop(log);
    let log = open(&cx).await?;
    if let Err(error) = waiting.await {
        ensure_eq!(error.kind(), ErrorKind::Closed, "what lingered when the log was dropped");
    }
    log.close().await?;
    Ok(())
}

/// A configuration that cannot be, or of a topic that is not, is refused and changes nothing.
pub async fn configuration_that_cannot_be_changes_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let name: TopicName = TOPIC.parse()?;
    let nowhere = log.configure_topic(&name, TopicConfig::default()).await;
    check_refused(nowhere, ErrorKind::NotFound, "configure a topic that is not")?;
    ensure!(log.topics().await?.is_empty(), "something was created");
    let topic = log.topic(TOPIC).await?;
    for partitions in [0, 10_001, u32::MAX] {
        let config = TopicConfig::default().with_partitions(partitions);
        let configured = log.configure_topic(&name, config).await;
        check_refused(configured, ErrorKind::Invalid, &format!("{partitions} partitions"))?;
    }
    ensure_eq!(topic.config().as_ref(), &TopicConfig::default(), "configuration of the handle");
    let described = log.describe(&name).await?.config;
    ensure_eq!(described, TopicConfig::default(), "described configuration");
    Ok(())
}

/// Records of 50 topics stay apart.
pub async fn many_topics_do_not_mix(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    for round in 0..2 {
        for number in 0..50 {
            let topic = log.topic(format!("topic-{number}")).await?;
            topic.append(format!("{number} {round}")).await?.ack().await?;
        }
    }
    for number in 0..50 {
        let topic = log.topic(format!("topic-{number}")).await?;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        let found: Vec<_> = records.into_iter().filter_map(|record| record.payload).collect();
        let expected = [format!("{number} 0"), format!("{number} 1")];
        ensure_eq!(found, expected, "records of topic {number}");
    }
    Ok(())
}
