//! Keyed topics: the newest record of each key is kept, under its MSN, whatever happens meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use msglog_core::store::Survives;
use msglog_core::{
    Compaction, Error, ErrorKind, Log, Message, MsgLog, Msn, Record, Topic, TopicConfig, TopicName,
};

use super::{TOPIC, open, open_with, read_all};
use crate::case::{MULTI, Need, cases};
use crate::cx::{check_refused, during};
use crate::process::{Child, Job, said};
use crate::sample::Dice;
use crate::wrap::{Call, FaultPlan, Mishap, Rule};
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);
const SYNCED: Need = Need::SyncSurvives(Survives::Os);

cases! { "log-compaction":
    compaction_keeps_the_newest_record_of_each_key [Need::Replace];
    compaction_again_of_what_is_compacted_keeps_it [Need::Replace];
    compaction_survives_reopen [Need::Replace, REOPENS];
    appends_and_reads_go_on_during_compaction [Need::Replace] { runtimes: MULTI };
    subscription_across_compactions_sees_each_kept_record_once [Need::Replace];
    tombstone_deletes_its_key_and_goes_after_its_grace [Need::Replace, REOPENS];
    message_without_key_is_refused_in_a_keyed_topic [Need::Replace];
    tombstone_stays_where_older_records_could_not_be_rewritten [Need::Replace];
    cancelled_compaction_loses_nothing [Need::Replace];
    close_during_compaction_loses_nothing [Need::Replace, REOPENS];
    trim_during_compaction_brings_nothing_back [Need::Replace];
    latest_answers_the_newest_record_of_a_key [Need::Replace, REOPENS];
    keyed_topic_needs_a_store_that_replaces [Need::NoReplace];
    killed_compaction_loses_nothing
        [Need::Replace, SYNCED, Need::Address] { runtimes: MULTI, seconds_max: 60 };
}

/// How many keys there are.
const KEYS: u64 = 17;

fn key_of(number: u64) -> String {
    format!("key {}", number % KEYS)
}

/// The message of this number, which in every case is its MSN too.
fn keyed(number: u64) -> Message {
    Message::new(format!("message {number}")).with_key(key_of(number))
}

async fn keyed_topic(log: &Log, grace: Duration) -> CaseResult<Topic> {
    let compaction = Compaction::default().with_min_dirty_percent(0).with_tombstone_grace(grace);
    let name: TopicName = TOPIC.parse()?;
    match log.create_topic(&name, TopicConfig::default().with_compaction(compaction)).await {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        created => created?,
    }
    Ok(log.topic(TOPIC).await?)
}

async fn append(topic: &Topic, numbers: std::ops::Range<u64>) -> CaseResult {
    let mut acks = Vec::new();
    for number in numbers {
        acks.push(topic.append(keyed(number)).await?.ack());
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}

async fn filled(cx: &Cx, count: u64) -> CaseResult<(Log, Topic)> {
    let log = open_with(cx, Log::builder().compaction_interval(Duration::ZERO)).await?;
    let topic = keyed_topic(&log, Duration::from_secs(3600)).await?;
    append(&topic, 0..count).await?;
    Ok((log, topic))
}

/// Checks that the records are messages under their own MSNs, in order, and that each key has the
/// newest of those below `end`.
fn check_kept(records: &[Record], end: u64, what: &str) -> CaseResult {
    let mut newest = BTreeMap::new();
    let mut next = Msn::ZERO;
    for record in records {
        ensure!(record.msn >= next, "{what}: MSN {} comes again or late", record.msn);
        next = record.msn.plus(1);
        let wanted = keyed(record.msn.get());
        ensure_eq!(record.payload, wanted.payload, "{what}: payload at {}", record.msn);
        ensure_eq!(record.key, wanted.key, "{what}: key at {}", record.msn);
        newest.insert(record.msn.get() % KEYS, record.msn.get());
    }
    for number in end.saturating_sub(KEYS)..end {
        let found = newest.get(&(number % KEYS)).copied();
        ensure!(found >= Some(number), "{what}: `{}` has {found:?}, not {number}", key_of(number));
    }
    Ok(())
}

/// Only the newest records are left, under the MSNs that they had.
pub async fn compaction_keeps_the_newest_record_of_each_key(cx: Cx) -> CaseResult {
    let (_log, topic) = filled(&cx, 200).await?;
    let before = topic.bounds(0).await?;
    let done = topic.compact().await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    check_kept(&records, 200, "after compaction")?;
    ensure_eq!(records.len() as u64, KEYS, "records of {KEYS} keys");
    ensure_eq!(topic.bounds(0).await?.next_msn, before.next_msn, "next_msn");
    let told: Vec<_> = done.iter().map(|done| (done.records_before, done.records_after)).collect();
    ensure_eq!(told, [(200, KEYS)], "what it said");
    for from in [0, 100, 190] {
        let found = read_all(&topic, 0, Msn::new(from)).await?;
        let wanted: Vec<_> =
            records.iter().filter(|record| record.msn.get() >= from).cloned().collect();
        ensure!(found == wanted, "a read from {from} answers {} records", found.len());
    }
    Ok(())
}

/// What was compacted is compacted with what has come since, and not otherwise.
pub async fn compaction_again_of_what_is_compacted_keeps_it(cx: Cx) -> CaseResult {
    let (_log, topic) = filled(&cx, 0).await?;
    for round in 0..6 {
        append(&topic, round * 40..round * 40 + 40).await?;
        topic.compact().await?;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        check_kept(&records, round * 40 + 40, &format!("compaction {round}"))?;
        ensure_eq!(records.len() as u64, KEYS, "records in round {round}");
        let again = topic.compact().await?;
        ensure!(again.iter().all(|done| done.passes == 0), "nothing was new: {again:?}");
    }
    Ok(())
}

/// What was compacted stays so after close and after drop, and appends go on.
pub async fn compaction_survives_reopen(cx: Cx) -> CaseResult {
    let (mut log, topic) = filled(&cx, 150).await?;
    topic.compact().await?;
    drop(topic);
    for round in 0..2_u64 {
        if round == 0 {
            log.close().await.map_err(|error| during("close the log", error))?;
        }
        drop(log);
        log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        check_kept(&records, 150 + round, "after reopen")?;
        ensure!(records.len() as u64 <= KEYS + round, "{} records came back", records.len());
        append(&topic, 150 + round..151 + round).await?;
    }
    Ok(())
}

/// Neither waits for the end of a compaction, and each sees what it would see without.
pub async fn appends_and_reads_go_on_during_compaction(cx: Cx) -> CaseResult {
    let builder = Log::builder()
        .compaction_interval(Duration::ZERO)
        .compaction_bytes_per_second(Some(10_000));
    let log = open_with(&cx, builder).await?;
    let topic = keyed_topic(&log, Duration::from_secs(3600)).await?;
    append(&topic, 0..400).await?;
    let compacting = tokio::spawn({
        let topic = topic.clone();
        async move { topic.compact().await }
    });
    let mut meanwhile = 0;
    for number in 400..500 {
        append(&topic, number..number + 1).await?;
        if number % 10 == 0 {
            let records = read_all(&topic, 0, Msn::ZERO).await?;
            check_kept(&records, number + 1, "during compaction")?;
        }
        meanwhile += u32::from(!compacting.is_finished());
    }
    // All of them on an idle machine; on a busy one the compaction may end before.
    ensure!(meanwhile >= 20, "{meanwhile} appends during a compaction of two seconds");
    let done = compacting.await.map_err(|cause| crate::Failure::new(cause.to_string()))?;
    done.map_err(|error| during("compact", error))?;
    topic.compact().await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    check_kept(&records, 500, "afterwards")?;
    ensure_eq!(records.len() as u64, KEYS, "records afterwards");
    Ok(())
}

/// Reading on while what lies ahead and behind is compacted: in order, none twice, no kept one left
/// out.
pub async fn subscription_across_compactions_sees_each_kept_record_once(cx: Cx) -> CaseResult {
    let (_log, topic) = filled(&cx, 100).await?;
    let mut seen: Vec<Record> = Vec::new();
    let mut subscription = topic.subscribe(0, Msn::ZERO)?;
    for round in 1..=5_u64 {
        while seen.last().is_none_or(|last| last.msn.get() < round * 100 - 30) {
            match subscription.next().await {
                Some(record) => seen.push(record?),
                None => return Err(crate::Failure::new("the subscription has ended")),
            }
        }
        topic.compact().await?;
        append(&topic, round * 100..round * 100 + 100).await?;
    }
    while seen.last().is_none_or(|last| last.msn.get() < 599) {
        match subscription.next().await {
            Some(record) => seen.push(record?),
            None => return Err(crate::Failure::new("the subscription has ended")),
        }
    }
    check_kept(&seen, 600, "seen by the subscription")?;
    let kept = read_all(&topic, 0, Msn::ZERO).await?;
    for record in &kept {
        ensure!(seen.contains(record), "MSN {} is kept, and was not seen", record.msn);
    }
    Ok(())
}

/// A tombstone hides its key at once, stays for its grace, and then goes with the next compaction.
pub async fn tombstone_deletes_its_key_and_goes_after_its_grace(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().compaction_interval(Duration::ZERO)).await?;
    let topic = keyed_topic(&log, Duration::from_millis(1)).await?;
    for key in ["a", "b", "c"] {
        topic.append(Message::new("1").with_key(key)).await?.ack().await?;
    }
    topic.append(Message::tombstone("b")).await?.ack().await?;
    let msns = |records: &[Record]| -> Vec<u64> {
        records.iter().map(|record| record.msn.get()).collect()
    };
    topic.compact().await?;
    ensure_eq!(msns(&read_all(&topic, 0, Msn::ZERO).await?), [0, 2, 3], "with the tombstone");
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.close().await?;
    drop((log, topic));
    let log = open_with(&cx, Log::builder().compaction_interval(Duration::ZERO)).await?;
    let topic = log.topic(TOPIC).await?;
    topic.compact().await?;
    ensure_eq!(msns(&read_all(&topic, 0, Msn::ZERO).await?), [0, 2], "without the tombstone");
    let next = topic.append(Message::new("2").with_key("b")).await?;
    ensure_eq!(next.msn(), Msn::new(4), "the MSN behind the tombstone");
    Ok(())
}

/// It is `Invalid` from the change of the configuration on; what is stored without key stays.
pub async fn message_without_key_is_refused_in_a_keyed_topic(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().compaction_interval(Duration::ZERO)).await?;
    let topic = log.topic(TOPIC).await?;
    topic.append("without key").await?.ack().await?;
    let keyed = |config: &mut TopicConfig| config.compaction = Some(Compaction::default());
    log.configure(TOPIC, keyed).await?;
    check_refused(topic.append("x").await, ErrorKind::Invalid, "append without key")?;
    let batch = [Message::new("x").with_key("k"), Message::new("y")];
    check_refused(topic.append_batch(batch).await, ErrorKind::Invalid, "batch with one without")?;
    for payload in ["1", "2"] {
        topic.append(Message::new(payload).with_key("k")).await?.ack().await?;
    }
    topic.compact().await?;
    let left = read_all(&topic, 0, Msn::ZERO).await?;
    let msns: Vec<_> = left.iter().map(|record| record.msn.get()).collect();
    ensure_eq!(msns, [0, 2], "what is left");
    log.configure(TOPIC, |config| config.compaction = None).await?;
    topic.append("y").await?.ack().await?;
    check_refused(topic.compact().await, ErrorKind::Invalid, "compact a topic without keys")
}

/// A damaged range is left as it is, and so are tombstones of keys that it may hold, however old.
pub async fn tombstone_stays_where_older_records_could_not_be_rewritten(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let builder =
        Log::builder().compaction_interval(Duration::ZERO).compaction_memory_bytes(1 << 20);
    let store = plan.wrap(cx.open_once_free().await?);
    let log = builder.open(store).await.map_err(|error| during("open a log", error))?;
    let topic = keyed_topic(&log, Duration::from_millis(1)).await?;
    let put = async |key: &str, bytes: usize| {
        topic.append(Message::new(vec![b'x'; bytes]).with_key(key.to_owned())).await?.ack().await
    };
    put("gone", 10).await?;
    // More than a run holds in memory: what follows is replaced by a call of its own.
    for part in ["one", "two", "three"] {
        put(part, 300_000).await?;
    }
    topic.append(Message::tombstone("gone")).await?.ack().await?;
    put("last", 10).await?;
    for round in 0..3 {
        if round < 2 {
            let damaged = Error::new(ErrorKind::Corrupt, "the segment is damaged");
            plan.add(Rule::next(Call::Replace, Mishap::Refuse(damaged)));
        }
        topic.compact().await?;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        let of_key = |record: &&Record| record.key.as_deref() == Some(b"gone".as_slice());
        let newest = records.iter().rfind(of_key);
        ensure!(newest.is_none_or(|record| record.payload.is_none()), "the deleted key is back");
        tokio::time::sleep(Duration::from_millis(10)).await;
        put("last", 10).await?;
    }
    Ok(())
}

/// Dropped at any moment, it leaves the newest records, and can be done again.
pub async fn cancelled_compaction_loses_nothing(cx: Cx) -> CaseResult {
    let (_log, topic) = filled(&cx, 0).await?;
    let mut dice = Dice::new(cx.seed());
    for round in 0..12 {
        append(&topic, round * 50..round * 50 + 50).await?;
        let patience = Duration::from_micros(dice.below(3_000));
        let _ = tokio::time::timeout(patience, topic.compact()).await;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        check_kept(&records, round * 50 + 50, "after a cancelled compaction")?;
    }
    topic.compact().await?;
    ensure_eq!(read_all(&topic, 0, Msn::ZERO).await?.len() as u64, KEYS, "records at last");
    Ok(())
}

/// Closing does not wait for the end of a compaction, and loses nothing.
pub async fn close_during_compaction_loses_nothing(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for round in 0..6 {
        // Now and then it would take minutes.
        let rate = if round % 2 == 0 { 10 } else { 1 + dice.below(1_000_000) };
        let builder = Log::builder()
            .compaction_interval(Duration::ZERO)
            .compaction_bytes_per_second(Some(rate));
        let log = open_with(&cx, builder).await?;
        let topic = keyed_topic(&log, Duration::from_secs(3600)).await?;
        append(&topic, round * 50..round * 50 + 50).await?;
        let compacting = tokio::spawn({
            let topic = topic.clone();
            async move { topic.compact().await.map(drop) }
        });
        tokio::time::sleep(Duration::from_micros(dice.below(3_000))).await;
        let closed = tokio::time::timeout(Duration::from_secs(10), log.close()).await;
        ensure!(closed.is_ok(), "close waits for a slow compaction");
        drop((log, topic));
        match compacting.await.map_err(|cause| crate::Failure::new(cause.to_string()))? {
            Err(error) if error.kind() != ErrorKind::Closed => return Err(error.into()),
            _ => {}
        }
        let log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        check_kept(&records, round * 50 + 50, "after close in the middle")?;
        log.close().await?;
    }
    Ok(())
}

/// What is trimmed while it is compacted stays trimmed.
pub async fn trim_during_compaction_brings_nothing_back(cx: Cx) -> CaseResult {
    // So slow that a trim comes between reading and writing.
    let builder = Log::builder()
        .compaction_interval(Duration::ZERO)
        .compaction_bytes_per_second(Some(50_000));
    let log = open_with(&cx, builder).await?;
    let topic = keyed_topic(&log, Duration::from_secs(3600)).await?;
    let mut dice = Dice::new(cx.seed());
    for round in 1..=8_u64 {
        append(&topic, round * 50 - 50..round * 50).await?;
        let before = Msn::new(round * 50 - 25);
        let pause = Duration::from_micros(dice.below(60_000));
        let (compacted, first) = tokio::join!(topic.compact(), async {
            tokio::time::sleep(pause).await;
            topic.trim(0, before).await
        });
        compacted.map_err(|error| during("compact beside a trim", error))?;
        let (first, bounds) = (first?, topic.bounds(0).await?);
        ensure!(bounds.first_msn >= first, "trimmed to {first}, and {} is back", bounds.first_msn);
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        let oldest = records.first().map(|record| record.msn);
        ensure!(oldest >= Some(first), "trimmed to {first}, and {oldest:?} is back");
        check_kept(&records, round * 50, "beside a trim").or_else(|failure| {
            // Keys whose newest record was trimmed are gone.
            if round * 50 - KEYS < before.get() { Ok(()) } else { Err(failure) }
        })?;
    }
    Ok(())
}

/// The view follows appends, deletions and trims, and is there again after reopening.
pub async fn latest_answers_the_newest_record_of_a_key(cx: Cx) -> CaseResult {
    let (log, topic) = filled(&cx, 60).await?;
    let payload = |found: Option<Record>| found.and_then(|record| record.payload);
    for number in 60..70 {
        let found = topic.latest(key_of(number)).await?;
        ensure_eq!(payload(found), keyed(number - KEYS).payload, "latest of {number} before");
        append(&topic, number..number + 1).await?;
        let found = topic.latest(key_of(number)).await?;
        ensure_eq!(payload(found), keyed(number).payload, "latest of {number}");
    }
    topic.compact().await?;
    ensure_eq!(payload(topic.latest(key_of(69)).await?), keyed(69).payload, "after compaction");
    ensure_eq!(payload(topic.latest("never").await?), None, "a key that never was");
    topic.append(Message::tombstone(key_of(69))).await?.ack().await?;
    ensure_eq!(payload(topic.latest(key_of(69)).await?), None, "a deleted key");
    drop(topic);
    let log = super::reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    ensure_eq!(payload(topic.latest(key_of(69)).await?), None, "a deleted key after reopen");
    ensure_eq!(payload(topic.latest(key_of(68)).await?), keyed(68).payload, "after reopen");
    let first = topic.trim(0, Msn::new(71)).await?;
    if first == Msn::new(71) {
        ensure_eq!(payload(topic.latest(key_of(68)).await?), None, "a key that was trimmed");
    }
    Ok(())
}

/// It is `Unsupported` when the topic is created or configured, not when it is too late.
pub async fn keyed_topic_needs_a_store_that_replaces(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let config = TopicConfig::default().with_compaction(Compaction::default());
    let created = log.create_topic(&TOPIC.parse()?, config).await;
    check_refused(created, ErrorKind::Unsupported, "create a keyed topic")?;
    let topic = log.topic(TOPIC).await?;
    let keyed = |config: &mut TopicConfig| config.compaction = Some(Compaction::default());
    check_refused(log.configure(TOPIC, keyed).await, ErrorKind::Unsupported, "make it keyed")?;
    topic.append("without key").await?.ack().await?;
    Ok(())
}

/// What the child process does: appends keyed messages, saying `A <MSN>` for each ack, and compacts
/// all the time.
pub(crate) async fn compact_for_ever(
    log: Log,
    mut say: impl FnMut(&str) -> CaseResult,
) -> CaseResult {
    let topic = keyed_topic(&log, Duration::from_secs(3600)).await?;
    let compacting = topic.clone();
    let compactions = async {
        loop {
            compacting.compact().await?;
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    };
    let appends = async {
        let mut number = topic.bounds(0).await?.next_msn.get();
        loop {
            let acks: Vec<_> = futures::future::try_join_all(
                (number..number + 8).map(|number| topic.append(keyed(number))),
            )
            .await?;
            number += 8;
            for appended in acks {
                say(&format!("A {}", appended.ack().await?))?;
            }
        }
    };
    futures::future::try_join(compactions, appends).await.map(|((), ())| ())
}

/// Ten times killed: each key has its newest acked record or a newer one, nothing is altered.
pub async fn killed_compaction_loses_nothing(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..10 {
        let mut child = Child::start(&cx, Job::CompactLog)?;
        let mut lines = vec![child.line().await?];
        tokio::time::sleep(Duration::from_micros(dice.below(60_000))).await;
        lines.extend(child.kill().await?);
        let acked = lines.iter().filter_map(|line| said(line, "A")).next_back();
        let log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let end = topic.bounds(0).await?.next_msn.get();
        ensure!(acked.is_none_or(|acked| acked < end), "acked {acked:?}, recovered up to {end}");
        check_kept(&read_all(&topic, 0, Msn::ZERO).await?, end, "recovered after kill -9")?;
        log.close().await?;
    }
    Ok(())
}
