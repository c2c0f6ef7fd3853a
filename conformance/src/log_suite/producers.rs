//! Idempotent producers: what is sent again is stored once, also across reopening and `kill -9`.

use std::time::Duration;

use msglog_core::store::Survives;
use msglog_core::{
    Compaction, Durability, ErrorKind, Log, LogBuilder, Message, MsgLog, Msn, Producer, Record,
    Topic, TopicConfig,
};

use super::{TOPIC, check_messages, message, open, open_with, read_all, reopen};
use crate::case::{MULTI, Need, cases};
use crate::cx::{check_refused, during, key};
use crate::process::{Child, Job, said};
use crate::sample::Dice;
use crate::wrap::{Call, FaultPlan, Mishap, Rule};
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);
const SYNCED: Need = Need::SyncSurvives(Survives::Os);

cases! { "log-producer":
    repeated_append_is_stored_once_and_answers_its_msn;
    repeated_append_after_reopen_is_stored_once [REOPENS];
    sequence_that_does_not_follow_is_refused;
    older_producer_of_the_same_name_is_fenced;
    producer_goes_on_where_its_messages_end [REOPENS];
    producers_do_not_mix_with_each_other_or_with_other_appends;
    cancelled_append_can_be_repeated;
    trimmed_messages_are_not_stored_again [REOPENS];
    compacted_messages_are_not_stored_again [REOPENS, Need::Replace];
    unused_producers_make_room_and_used_ones_stay;
    deleted_topic_forgets_its_producers;
    append_that_waits_is_fenced_when_the_producer_is_opened_again;
    refused_append_of_a_producer_can_be_repeated;
    crash_in_the_middle_of_a_trim_forgets_no_producer [REOPENS];
    nothing_is_remembered_that_is_not_durable [REOPENS, Need::AppendSurvives(Survives::Os)];
    expired_producers_take_no_room [REOPENS];
    killed_producer_stores_each_message_once
        [SYNCED, Need::Address] { runtimes: MULTI, seconds_max: 60 };
}

/// The name of the producer in most cases.
const NAME: &str = "importer";

/// Sends the messages `numbers`, each under its number as sequence, and answers their first MSN.
async fn send(producer: &Producer, numbers: std::ops::Range<u64>) -> CaseResult<Msn> {
    let messages: Vec<_> = numbers.clone().map(message).collect();
    Ok(producer.append_at(0, numbers.start, &messages).await?.ack().await?)
}

async fn records(topic: &Topic) -> CaseResult<Vec<Record>> {
    read_all(topic, 0, Msn::ZERO).await
}

/// Stored already, however it is cut this time: the answer is the MSN of the first time.
pub async fn repeated_append_is_stored_once_and_answers_its_msn(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    for numbers in [0..1, 1..4, 0..1, 1..4, 2..3, 4..5, 0..5, 4..5] {
        let (start, end) = (numbers.start, numbers.end);
        let msn = send(&producer, numbers).await?;
        ensure_eq!(msn, Msn::new(start), "MSN of {start}..{end}");
    }
    // Not acked yet when it is sent again.
    let first = producer.append(message(5)).await?;
    let again = producer.append_at(0, 5, &[message(5)]).await?;
    ensure_eq!(again.msn(), first.msn(), "MSN of what is in flight");
    again.ack().await?;
    first.ack().await?;
    let records = records(&topic).await?;
    ensure_eq!(records.len(), 6, "records");
    check_messages(&records, 0, "sent several times")?;
    ensure_eq!(producer.next_sequence(0)?, 6, "next_sequence");
    Ok(())
}

/// The same after close, and after drop.
pub async fn repeated_append_after_reopen_is_stored_once(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    for round in 0..6 {
        let topic = log.topic(TOPIC).await?;
        let producer = topic.producer(NAME).await?;
        ensure_eq!(producer.next_sequence(0)?, round * 10, "next_sequence in round {round}");
        for number in (round * 10).saturating_sub(5)..round * 10 + 10 {
            let msn = send(&producer, number..number + 1).await?;
            ensure_eq!(msn, Msn::new(number), "MSN in round {round}");
        }
        drop((topic, producer));
        log = if round % 2 == 0 {
            reopen(&cx, log).await?
        } else {
            drop(log);
            open(&cx).await?
        };
    }
    let records = records(&log.topic(TOPIC).await?).await?;
    ensure_eq!(records.len(), 60, "records");
    check_messages(&records, 0, "after reopens")
}

/// Left out, partly stored, or nothing at all: refused, and nothing is stored.
pub async fn sequence_that_does_not_follow_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    send(&producer, 0..3).await?;
    for (sequence, count) in [(4, 1), (2, 2), (0, 4), (1_000_000, 1)] {
        let messages = vec![message(9); count];
        let sent = producer.append_at(0, sequence, &messages).await;
        check_refused(sent, ErrorKind::Conflict, &format!("{count} from {sequence}"))?;
    }
    check_refused(producer.append_at(0, 3, &[""; 0]).await, ErrorKind::Invalid, "no message")?;
    check_refused(producer.append_at(1, 0, &[message(0)]).await, ErrorKind::Invalid, "partition")?;
    check_refused(topic.producer("a/b").await, ErrorKind::Invalid, "a bad name")?;
    ensure_eq!(records(&topic).await?.len(), 3, "records");
    send(&producer, 3..4).await.map(drop)
}

/// Opening it again takes over: the older one is `Fenced`, and can store nothing any more.
pub async fn older_producer_of_the_same_name_is_fenced(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let older = topic.producer(NAME).await?;
    send(&older, 0..2).await?;
    let newer = topic.producer(NAME).await?;
    ensure!(newer.epoch() > older.epoch(), "epochs {} and {}", older.epoch(), newer.epoch());
    ensure_eq!(newer.id(), older.id(), "id");
    check_refused(older.append(message(2)).await, ErrorKind::Fenced, "append of the older one")?;
    let repeated = older.append_at(0, 1, &[message(1)]).await;
    check_refused(repeated, ErrorKind::Fenced, "repeated append of the older one")?;
    ensure_eq!(send(&newer, 1..2).await?, Msn::new(1), "MSN of what the older one stored");
    send(&newer, 2..3).await?;
    ensure_eq!(records(&topic).await?.len(), 3, "records");
    Ok(())
}

/// Whatever was acked is counted, in every partition, after close and after drop.
pub async fn producer_goes_on_where_its_messages_end(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_partitions(3)).await?;
    for round in 0..4_u64 {
        let topic = log.topic(TOPIC).await?;
        let producer = topic.producer(NAME).await?;
        for partition in 0..3_u32 {
            let next = producer.next_sequence(partition)?;
            ensure_eq!(next, round * (u64::from(partition) + 1), "partition {partition}");
            for _ in 0..=partition {
                let next = producer.next_sequence(partition)?;
                producer.append_at(partition, next, &[message(next)]).await?.ack().await?;
            }
        }
        drop((topic, producer));
        log = if round % 2 == 0 {
            drop(log);
            open(&cx).await?
        } else {
            reopen(&cx, log).await?
        };
    }
    Ok(())
}

/// Side by side, in one partition: each has its own count, and nobody's order is changed.
pub async fn producers_do_not_mix_with_each_other_or_with_other_appends(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let producers =
        futures::future::try_join_all(["a", "b", "c"].map(|name| topic.producer(name))).await?;
    let sending = producers.iter().map(|producer| async move {
        for number in 0..40 {
            let text = format!("{} {number}", producer.name());
            drop(producer.append(text.clone()).await?);
            producer.append_at(0, number, &[Message::new(text)]).await?.ack().await?;
        }
        Ok::<_, msglog_core::Error>(())
    });
    let others = async {
        for _ in 0..40 {
            topic.append("other").await?.ack().await?;
        }
        Ok::<_, msglog_core::Error>(())
    };
    futures::future::try_join(futures::future::try_join_all(sending), others).await?;
    let records = records(&topic).await?;
    ensure_eq!(records.len(), 160, "records");
    for name in ["a", "b", "c"] {
        let prefix = format!("{name} ");
        let own = records.iter().filter_map(|record| record.payload.clone());
        let own: Vec<_> = own.filter(|payload| payload.starts_with(prefix.as_bytes())).collect();
        let wanted: Vec<_> = (0..40).map(|number| format!("{name} {number}")).collect();
        ensure!(own == wanted, "messages of {name}: {own:?}");
    }
    Ok(())
}

/// Dropped while it waits, or its ack: sent again, it is stored once.
pub async fn cancelled_append_can_be_repeated(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().in_flight_bytes_max(300)).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    let mut dice = Dice::new(cx.seed());
    for number in 0..60 {
        for _ in 0..dice.below(4) {
            let patience = Duration::from_micros(dice.below(300));
            let sending =
                async { producer.append_at(0, number, &[message(number)]).await?.ack().await };
            let _ = tokio::time::timeout(patience, sending).await;
        }
        ensure_eq!(send(&producer, number..number + 1).await?, Msn::new(number), "MSN");
    }
    let records = records(&topic).await?;
    ensure_eq!(records.len(), 60, "records");
    check_messages(&records, 0, "cancelled and repeated")
}

/// What a producer has stored is remembered when its records are gone.
pub async fn trimmed_messages_are_not_stored_again(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    send(&topic.producer(NAME).await?, 0..20).await?;
    topic.trim(0, Msn::new(20)).await?;
    drop((log, topic));
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    topic.trim(0, Msn::new(20)).await?;
    let producer = topic.producer(NAME).await?;
    ensure_eq!(producer.next_sequence(0)?, 20, "next_sequence after all was trimmed");
    ensure_eq!(send(&producer, 10..20).await?, Msn::new(10), "MSN of what was trimmed");
    ensure_eq!(send(&producer, 20..21).await?, Msn::new(20), "MSN of the next one");
    Ok(())
}

/// The same when they are compacted away.
pub async fn compacted_messages_are_not_stored_again(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().compaction_interval(Duration::ZERO)).await?;
    let config = TopicConfig::default().with_compaction(Compaction::default());
    log.create_topic(&TOPIC.parse()?, config).await?;
    let topic = log.topic(TOPIC).await?;
    let keyed: Vec<_> = (0..20).map(|number| message(number).with_key("one")).collect();
    topic.producer(NAME).await?.append_batch(&keyed).await?.ack().await?;
    topic.compact().await?;
    drop((log, topic));
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    ensure_eq!(producer.next_sequence(0)?, 20, "next_sequence after compaction");
    let again = producer.append_at(0, 0, &keyed).await?.ack().await?;
    ensure_eq!(again, Msn::ZERO, "MSN of what was compacted");
    ensure_eq!(records(&topic).await?.len(), 1, "records");
    Ok(())
}

/// 1,000 at a time; those that are not used expire, those that are do not.
pub async fn unused_producers_make_room_and_used_ones_stay(cx: Cx) -> CaseResult {
    let builder = Log::builder().producer_expiry(Duration::from_secs(3600));
    let log = open_with(&cx, builder).await?;
    let topic = log.topic(TOPIC).await?;
    let used = topic.producer("used").await?;
    send(&used, 0..3).await?;
    for number in 1..1000 {
        topic.producer(format!("other-{number}")).await?;
    }
    check_refused(topic.producer("one-more").await, ErrorKind::TooLarge, "one more")?;
    drop((log, topic, used));
    // Nothing survives some stores; there the place is empty, and the rest holds too.
    let log = open_with(&cx, Log::builder().producer_expiry(Duration::ZERO)).await?;
    let topic = log.topic(TOPIC).await?;
    let used = topic.producer("used").await?;
    let stored = used.next_sequence(0)?;
    for number in 0..3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        topic.producer(format!("new-{number}")).await?;
    }
    send(&used, stored..stored + 1).await?;
    let again = topic.producer("new-0").await?;
    ensure_eq!(again.epoch(), 0, "epoch of one that had expired");
    Ok(())
}

/// A topic of the same name that is created later starts from nothing.
pub async fn deleted_topic_forgets_its_producers(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    send(&topic.producer(NAME).await?, 0..5).await?;
    log.delete_topic(&TOPIC.parse()?).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    ensure_eq!(producer.next_sequence(0)?, 0, "next_sequence in the new topic");
    send(&producer, 0..1).await.map(drop)
}

async fn open_failing(cx: &Cx, plan: &FaultPlan, builder: LogBuilder) -> CaseResult<Log> {
    let store = plan.wrap(cx.open_once_free().await?);
    builder.open(store).await.map_err(|error| during("open a log", error))
}

/// Also one that was under way when the other one was opened.
pub async fn append_that_waits_is_fenced_when_the_producer_is_opened_again(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan, Log::builder().in_flight_bytes_max(300)).await?;
    let topic = log.topic(TOPIC).await?;
    let older = topic.producer(NAME).await?;
    send(&older, 0..1).await?;
    plan.add(Rule::next(Call::Append, Mishap::Delay(Duration::from_millis(200))));
    let before = topic.append(vec![b'x'; 200]).await?;
    let next = [message(1).with_header("padding", vec![b'x'; 150])];
    let mut waiting = Box::pin(older.append_at(0, 1, &next));
    ensure!(futures::poll!(&mut waiting).is_pending(), "the append does not wait");
    let newer = topic.producer(NAME).await?;
    check_refused(waiting.await, ErrorKind::Fenced, "an append that has waited")?;
    before.ack().await?;
    ensure_eq!(newer.next_sequence(0)?, 1, "next_sequence");
    ensure_eq!(send(&newer, 1..2).await?, Msn::new(2), "MSN of the newer one");
    Ok(())
}

/// What the store has refused is not counted: the same sequence is stored when it comes again.
pub async fn refused_append_of_a_producer_can_be_repeated(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan, Log::builder()).await?;
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    plan.add(Rule::next(Call::Append, Mishap::full()));
    ensure!(send(&producer, 0..2).await.is_err(), "the first append was not refused");
    ensure_eq!(producer.next_sequence(0)?, 0, "next_sequence of a producer without messages");
    send(&producer, 0..3).await?;
    for round in 0..4 {
        plan.add(Rule::next(Call::Append, Mishap::full()));
        let refused = send(&producer, 3 + round..5 + round).await;
        ensure!(refused.is_err(), "an append that the store refused was acked");
        ensure_eq!(producer.next_sequence(0)?, 3 + round, "next_sequence in round {round}");
        let again = send(&producer, 3 + round..4 + round).await?;
        ensure_eq!(again, Msn::new(3 + round), "MSN in round {round}");
    }
    let records = records(&topic).await?;
    ensure_eq!(records.len(), 7, "records");
    check_messages(&records, 0, "refused and repeated")
}

/// However far the trim has come, what went is not stored again.
pub async fn crash_in_the_middle_of_a_trim_forgets_no_producer(cx: Cx) -> CaseResult {
    for (call, mishap) in [
        (Call::Save, Mishap::CrashBefore),
        (Call::Save, Mishap::CrashAfter),
        (Call::Trim, Mishap::CrashBefore),
        (Call::Trim, Mishap::CrashAfter),
    ] {
        let plan = FaultPlan::new();
        let log = open_failing(&cx, &plan, Log::builder()).await?;
        let topic = log.topic(TOPIC).await?;
        let producer = topic.producer(NAME).await?;
        let next = producer.next_sequence(0)?;
        let end = send(&producer, next..next + 10).await?.plus(10);
        plan.add(Rule::next(call, mishap));
        ensure!(topic.trim(0, end).await.is_err(), "the store has not crashed at {call}");
        drop((log, topic, producer));
        let log = open(&cx).await?;
        let producer = log.topic(TOPIC).await?.producer(NAME).await?;
        ensure_eq!(producer.next_sequence(0)?, next + 10, "next_sequence, crashed at {call}");
        log.close().await?;
    }
    Ok(())
}

/// Who is said to have stored something has it on the device: without the sync nothing is saved.
pub async fn nothing_is_remembered_that_is_not_durable(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan, Log::builder()).await?;
    let config = TopicConfig::default().with_durability(Durability::Os);
    log.create_topic(&TOPIC.parse()?, config).await?;
    let topic = log.topic(TOPIC).await?;
    send(&topic.producer(NAME).await?, 0..10).await?;
    plan.add(Rule::every(Call::Sync, Mishap::unavailable()));
    ensure!(topic.trim(0, Msn::new(10)).await.is_err(), "a trim without the sync has succeeded");
    drop((log, topic));
    let store = cx.open_once_free().await?;
    let saved = store.load(&key("producers/orders/0")?).await?;
    ensure!(saved.is_none(), "producers are saved though their messages are not synced");
    Ok(())
}

/// Partitions forget them too: what is stored of producers does not grow with those that were.
pub async fn expired_producers_take_no_room(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().producer_expiry(Duration::ZERO)).await?;
    let topic = log.topic(TOPIC).await?;
    for round in 0..100 {
        let producer = topic.producer(format!("one-of-many-{round}")).await?;
        send(&producer, 0..1).await?;
        drop(producer);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(topic);
    log.close().await?;
    drop(log);
    let store = cx.open_once_free().await?;
    for name in ["producers/orders", "producers/orders/0"] {
        let bytes = store.load(&key(name)?).await?.map_or(0, |document| document.value.len());
        ensure!((1..1_000).contains(&bytes), "`{name}` has {bytes} bytes");
    }
    Ok(())
}

/// What the child process does: sends messages from its next sequence on, some of them again,
/// saying `A <sequence>` for each ack.
pub(crate) async fn produce_for_ever(
    log: Log,
    mut say: impl FnMut(&str) -> CaseResult,
) -> CaseResult {
    let topic = log.topic(TOPIC).await?;
    let producer = topic.producer(NAME).await?;
    let mut next = producer.next_sequence(0)?;
    let mut dice = Dice::new(next);
    loop {
        let start = next.saturating_sub(dice.below(8));
        let mut acks = Vec::new();
        for number in start..next + 8 {
            acks.push(producer.append_at(0, number, &[message(number)]).await?.ack());
        }
        next += 8;
        for ack in acks {
            say(&format!("A {}", ack.await?))?;
        }
    }
}

/// Ten times killed: every message is there once, in order, and every acked one is.
pub async fn killed_producer_stores_each_message_once(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..10 {
        let mut child = Child::start(&cx, Job::ProduceToLog)?;
        let mut lines = vec![child.line().await?];
        tokio::time::sleep(Duration::from_micros(dice.below(40_000))).await;
        lines.extend(child.kill().await?);
        let acked = lines.iter().filter_map(|line| said(line, "A")).max();
        let log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let records = records(&topic).await?;
        check_messages(&records, 0, "recovered after kill -9")?;
        let found = records.len() as u64;
        ensure!(acked.is_none_or(|acked| found > acked), "acked {acked:?}, recovered {found}");
        let next = topic.producer(NAME).await?.next_sequence(0)?;
        ensure_eq!(next, found, "next_sequence and what is stored");
        if dice.below(2) == 0 {
            log.close().await?;
        }
    }
    Ok(())
}
