//! A store that fails below the log: nobody is told more than is true, and reopening recovers.
//!
//! The store of the case is wrapped in a [`FaultStore`](crate::wrap::FaultStore).

use std::time::Duration;

use msglog_core::store::Survives;
use msglog_core::{Effect, ErrorKind, Log, MsgLog, Msn, Topic};

use super::{TOPIC, append_each, check_messages, message, open, read_all};
use crate::case::{Need, cases};
use crate::cx::during;
use crate::wrap::{Call, FaultPlan, Mishap, Rule};
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const KEPT: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-failures":
    refused_append_leaves_no_gap;
    lost_answer_of_an_append_poisons_and_reads_go_on;
    lost_append_is_there_once_or_not_at_all [KEPT];
    failed_sync_acks_nobody;
    failed_sync_is_never_tried_again;
    slow_store_keeps_the_order;
    failed_save_of_a_commit_is_told_and_can_be_repeated;
    crash_at_any_call_keeps_what_was_acked [KEPT] { seconds_max: 60 };
}

/// A log over the case's place whose store fails by the plan.
async fn open_failing(cx: &Cx, plan: &FaultPlan) -> CaseResult<Log> {
    let store = plan.wrap(cx.open_once_free().await?);
    Log::builder().open(store).await.map_err(|error| during("open a log", error))
}

/// Checks that acked are exactly the messages below `end`, and that readers see them.
async fn check_readable(topic: &Topic, end: u64) -> CaseResult {
    let found = read_all(topic, 0, Msn::ZERO).await?;
    check_messages(&found, 0, "read beside a failure")?;
    ensure_eq!(found.len() as u64, end, "number of records");
    Ok(())
}

/// Checks that further appends are refused as poisoned, at once or by their ack.
async fn check_poisoned(topic: &Topic) -> CaseResult {
    let refused = match topic.append(message(1_000)).await {
        Err(error) => error,
        Ok(appended) => match appended.ack().await {
            Err(error) => error,
            Ok(msn) => return Err(Failure::new(format!("MSN {msn} was acked after a failure"))),
        },
    };
    ensure_eq!(refused.kind(), ErrorKind::Poisoned, "an append after a failure: {refused}");
    Ok(())
}

/// What a store refuses without doing it takes no MSN; the next append is taken in its place.
pub async fn refused_append_leaves_no_gap(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    for mishap in [Mishap::throttled(), Mishap::unavailable(), Mishap::full()] {
        plan.add(Rule::next(Call::Append, mishap));
        let error = match topic.append(message(1_000)).await?.ack().await {
            Err(error) => error,
            Ok(msn) => return Err(Failure::new(format!("MSN {msn} was acked, but refused"))),
        };
        ensure_eq!(error.effect(), Effect::NotApplied, "the effect of {error}");
        check_readable(&topic, topic.bounds(0).await?.next_msn.get()).await?;
        let next = topic.bounds(0).await?.next_msn.get();
        append_each(&topic, next..next + 5).await?;
    }
    ensure_eq!(plan.hits(), 3, "refused appends");
    check_readable(&topic, 20).await
}

/// An append whose answer is lost is in doubt; no later one is taken, what was acked is readable.
pub async fn lost_answer_of_an_append_poisons_and_reads_go_on(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    plan.add(Rule::next(Call::Append, Mishap::lost_answer()));
    match topic.append(message(5)).await?.ack().await {
        Err(error) => ensure_eq!(error.effect(), Effect::Unknown, "the effect of {error}"),
        Ok(msn) => return Err(Failure::new(format!("MSN {msn} was acked without an answer"))),
    }
    check_poisoned(&topic).await?;
    ensure_eq!(plan.hits(), 1, "lost answers");
    check_readable(&topic, 5).await
}

/// Reopening after a lost answer finds the append once or not at all, and goes on from there.
pub async fn lost_append_is_there_once_or_not_at_all(cx: Cx) -> CaseResult {
    let mut acked = 0;
    for lost in 1..=3 {
        let plan = FaultPlan::new();
        let log = open_failing(&cx, &plan).await?;
        let topic = log.topic(TOPIC).await?;
        let found = read_all(&topic, 0, Msn::ZERO).await?;
        check_messages(&found, 0, "reopened after a lost answer")?;
        let next = found.len() as u64;
        ensure!(next >= acked, "{acked} were acked, {next} are there");
        ensure_eq!(topic.bounds(0).await?.next_msn, Msn::new(next), "next MSN");
        plan.add(Rule::nth(Call::Append, lost, Mishap::lost_answer()));
        for number in next.. {
            if topic.append(message(number)).await?.ack().await.is_err() {
                break;
            }
            acked = number + 1;
        }
        ensure_eq!(acked, next + lost - 1, "acked before append {lost} of this opening");
    }
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let found = read_all(&topic, 0, Msn::ZERO).await?;
    check_messages(&found, 0, "reopened at last")?;
    let next = found.len() as u64;
    ensure!(next == acked || next == acked + 1, "{acked} were acked, {next} are there");
    append_each(&topic, next..next + 3).await
}

/// Of all who wait for a sync that fails, nobody is acked; what was acked before stays readable.
pub async fn failed_sync_acks_nobody(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..1).await?;
    plan.add(Rule::next(Call::Sync, Mishap::unavailable()));
    let mut acks = Vec::new();
    for number in 1..30 {
        match topic.append(message(number)).await {
            Ok(appended) => acks.push(appended.ack()),
            // The sync has failed by now.
            Err(_) => break,
        }
    }
    for (number, ack) in (1_u64..).zip(acks) {
        ensure!(ack.await.is_err(), "append {number} was acked by a sync that failed");
    }
    check_poisoned(&topic).await?;
    check_readable(&topic, 1).await
}

/// After a sync has failed the store is not asked to sync again, not even to close.
pub async fn failed_sync_is_never_tried_again(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let counters = crate::wrap::Counters::new();
    let store = counters.wrap(plan.wrap(cx.open_once_free().await?));
    let log = Log::builder().open(store).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..1).await?;
    plan.add(Rule::next(Call::Sync, Mishap::unavailable()));
    ensure!(topic.append(message(1)).await?.ack().await.is_err(), "acked by a failed sync");
    let before = counters.of(Call::Sync);
    check_poisoned(&topic).await?;
    // Whether closing says so is the log's; it must not sync what is in doubt.
    let _ = log.close().await;
    let after = counters.of(Call::Sync);
    ensure_eq!(after.calls, before.calls, "syncs after one that failed");
    ensure_eq!(after.failures, 1, "failed syncs");
    Ok(())
}

/// However slowly the store answers, acks come in order and records are read in order.
pub async fn slow_store_keeps_the_order(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    plan.add(Rule::every(Call::Append, Mishap::Delay(Duration::from_millis(3))));
    plan.add(Rule::nth(Call::Sync, 2, Mishap::Delay(Duration::from_millis(50))));
    plan.add(Rule::every(Call::Sync, Mishap::Delay(Duration::from_millis(5))));
    let log = open_failing(&cx, &plan).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = Vec::new();
    for number in 0..200 {
        acks.push(topic.append(message(number)).await?.ack());
        if number % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    }
    while let Some(last) = acks.pop() {
        last.await?;
        let early = acks.iter().position(|ack| !ack.is_acked());
        ensure!(early.is_none(), "append {early:?} is not acked, a later one is");
    }
    ensure!(plan.hits() >= 4, "only {} calls were slow", plan.hits());
    check_readable(&topic, 200).await
}

/// A commit whose save is refused answers an error, and the same commit succeeds later.
pub async fn failed_save_of_a_commit_is_told_and_can_be_repeated(cx: Cx) -> CaseResult {
    let plan = FaultPlan::new();
    let log = open_failing(&cx, &plan).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let consumer = topic.consumer("billing")?;
    consumer.commit(0, Msn::new(2)).await?;
    plan.add(Rule::next(Call::Save, Mishap::unavailable()));
    let told = consumer.commit(0, Msn::new(4)).await;
    ensure_eq!(plan.hits(), 1, "refused saves");
    ensure!(told.is_err(), "a commit that was not saved was answered");
    consumer.commit(0, Msn::new(4)).await?;
    ensure_eq!(consumer.committed(0).await?, Some(Msn::new(4)), "committed");
    Ok(())
}

/// Crashes before and after each append and sync: all that was acked is there, and all is a prefix.
pub async fn crash_at_any_call_keeps_what_was_acked(cx: Cx) -> CaseResult {
    let mut acked = 0;
    for call in [Call::Append, Call::Sync] {
        for mishap in [Mishap::CrashBefore, Mishap::CrashAfter] {
            for nth in 1..=4 {
                let plan = FaultPlan::new();
                plan.add(Rule::nth(call, nth, mishap.clone()));
                let log = open_failing(&cx, &plan).await?;
                let topic = match log.topic(TOPIC).await {
                    // At `Sync` opening syncs what the crash before has left.
                    Err(_) if plan.has_crashed() => continue,
                    opened => opened?,
                };
                let next = check_recovered(&topic, acked).await?;
                acked = append_until_crash(&topic, next).await?.max(acked);
                ensure!(plan.has_crashed(), "the store has not crashed at {call} {nth}");
            }
        }
    }
    let log = open(&cx).await?;
    check_recovered(&log.topic(TOPIC).await?, acked).await?;
    Ok(())
}

/// Checks that what is there is a prefix with all that was acked; answers its end.
async fn check_recovered(topic: &Topic, acked: u64) -> CaseResult<u64> {
    let found = read_all(topic, 0, Msn::ZERO).await?;
    check_messages(&found, 0, "recovered after a crash")?;
    let next = found.len() as u64;
    ensure!(next >= acked, "{acked} were acked, {next} are there");
    Ok(next)
}

/// Appends with eight in flight until one fails; answers the end of what was acked.
async fn append_until_crash(topic: &Topic, next: u64) -> CaseResult<u64> {
    let mut acked = 0;
    for first in (next..next + 400).step_by(8) {
        let mut acks = Vec::new();
        for number in first..first + 8 {
            match topic.append(message(number)).await {
                Ok(appended) => acks.push(appended.ack()),
                Err(_) => break,
            }
        }
        for ack in acks {
            match ack.await {
                Ok(msn) => acked = msn.get() + 1,
                Err(_) => return Ok(acked),
            }
        }
    }
    Ok(acked)
}
