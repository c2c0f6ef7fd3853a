//! Admission: refused clearly and exactly, whole batches only, also after reopening.

use std::error::Error as _;

use msglog_core::log::Refusal;
use msglog_core::store::Survives;
use msglog_core::{ErrorKind, Log, MsgLog, Msn, Result, Topic, TopicConfig, TopicName};

use super::{TOPIC, append_each, check_messages, message, open, open_with, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-admission":
    refused_topic_takes_nothing_until_it_accepts;
    refusal_survives_reopen [REOPENS];
    limit_is_exact_under_concurrent_producers;
    limit_is_exact_while_appends_are_cancelled [REOPENS];
    batch_that_would_cross_the_limit_is_refused_whole;
    limit_survives_reopen_and_moves [REOPENS];
    limit_below_the_end_refuses_at_once;
    what_was_accepted_before_is_acked;
    final_msn_is_told_once_nothing_more_comes;
    cancelled_refusal_is_whole_or_not_at_all [REOPENS];
    admission_that_cannot_be_changes_nothing;
    segment_boundary_ends_the_segment_or_is_unsupported [REOPENS];
}

fn check_why<T: std::fmt::Debug>(result: Result<T>, why: Refusal, what: &str) -> CaseResult {
    let source = result.as_ref().err().and_then(|error| error.source());
    let said = source.and_then(|source| source.downcast_ref::<Refusal>()).copied();
    ensure_eq!(said, Some(why), "{what}: why");
    check_refused(result, ErrorKind::Refused, what)
}

async fn check_holds(topic: &Topic, count: u64, what: &str) -> CaseResult {
    let records = read_all(topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len() as u64, count, "{what}: number of records");
    check_messages(&records, 0, what)
}

/// Appends and batches are `Refused` through every handle, reads go on, and `accept` takes it back.
pub async fn refused_topic_takes_nothing_until_it_accepts(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..3).await?;
    log.refuse(TOPIC).await?;
    check_why(topic.append("x").await, Refusal::Topic, "append")?;
    check_why(topic.append_batch(["x"]).await, Refusal::Topic, "append a batch")?;
    let large = vec![b'x'; 100_000];
    check_why(topic.append(large).await, Refusal::Topic, "append a large message")?;
    check_holds(&topic, 3, "while refused").await?;
    append_each(&log.topic("other").await?, 0..2).await?;
    log.accept(TOPIC).await?;
    append_each(&topic, 3..6).await?;
    check_holds(&topic, 6, "when accepted again").await
}

/// What was refused is refused after reopening, until it is accepted.
pub async fn refusal_survives_reopen(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    append_each(&log.topic(TOPIC).await?, 0..3).await?;
    log.refuse(TOPIC).await?;
    let log = reopen(&cx, log).await?;
    let refused = log.topic(TOPIC).await?.append("x").await;
    check_why(refused, Refusal::Topic, "append after reopen")?;
    log.accept(TOPIC).await?;
    let log = reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 3..4).await?;
    check_holds(&topic, 4, "accepted and reopened").await
}

/// Of many producers exactly as many appends get in as there are MSNs, without a gap.
pub async fn limit_is_exact_under_concurrent_producers(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    log.refuse_at(TOPIC, 0, Msn::new(100)).await?;
    let producers = (0..8).map(|producer| {
        let topic = topic.clone();
        tokio::spawn(async move {
            let mut accepted = 0_u64;
            for number in 0..20_u64 {
                // Now and then a batch of three, which gets in as a whole or not at all.
                let appended = if (number + producer) % 4 == 0 {
                    topic.append_batch(["a", "b", "c"]).await
                } else {
                    topic.append("single").await
                };
                match appended {
                    Err(error) if error.kind() == ErrorKind::Refused => {}
                    appended => {
                        let appended = appended?;
                        accepted += appended.msns().end.distance_from(appended.msns().start);
                        appended.ack().await?;
                    }
                }
            }
            Ok::<_, crate::Failure>(accepted)
        })
    });
    let mut accepted = 0;
    for producer in producers.collect::<Vec<_>>() {
        let outcome = producer.await;
        accepted +=
            outcome.map_err(|cause| crate::Failure::new(format!("a producer: {cause}")))??;
    }
    // Single ones fill what a batch left.
    while topic.append("last").await.is_ok() {
        accepted += 1;
        ensure!(accepted <= 100, "more than 100 were accepted");
    }
    ensure_eq!(accepted, 100, "accepted records");
    let records = loop {
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        if records.len() >= 100 {
            break records;
        }
        tokio::task::yield_now().await;
    };
    ensure!(records.iter().map(|record| record.msn.get()).eq(0..100), "MSNs of what is there");
    Ok(())
}

/// Appends that are dropped at any poll use an MSN or none: the rest fits exactly, also after
/// reopening.
pub async fn limit_is_exact_while_appends_are_cancelled(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().in_flight_bytes_max(200)).await?;
    let topic = log.topic(TOPIC).await?;
    log.refuse_at(TOPIC, 0, Msn::new(100)).await?;
    let producers = (0..8).map(|_| async {
        for polls in (0..6).cycle().take(40) {
            match poll_then_drop(topic.append("cancelled"), polls).await {
                Some(Err(error)) if error.kind() != ErrorKind::Refused => return Err(error),
                _ => {}
            }
        }
        Ok(())
    });
    futures::future::try_join_all(producers).await?;
    let mut last = None;
    loop {
        match topic.append("last").await {
            Ok(appended) => last = Some(appended.ack().await?),
            Err(error) if error.kind() == ErrorKind::Refused => break,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(last.is_none_or(|last| last == Msn::new(99)), "the last MSN is {last:?}");
    drop(topic);
    let log = reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    check_why(topic.append("x").await, Refusal::Limit(Msn::new(100)), "after reopen")?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure!(records.iter().map(|record| record.msn.get()).eq(0..100), "MSNs of what is there");
    Ok(())
}

/// A batch that does not fit below is refused as a whole, and a smaller one is taken.
pub async fn batch_that_would_cross_the_limit_is_refused_whole(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..4).await?;
    log.refuse_at(TOPIC, 0, Msn::new(7)).await?;
    let why = Refusal::Limit(Msn::new(7));
    check_why(topic.append_batch((4..8).map(message)).await, why, "a batch of four")?;
    check_holds(&topic, 4, "after a refused batch").await?;
    topic.append_batch((4..7).map(message)).await?.ack().await?;
    check_why(topic.append(message(7)).await, why, "one more")?;
    check_holds(&topic, 7, "up to the limit").await
}

/// A limit holds after reopening; another one takes its place; each partition has its own.
pub async fn limit_survives_reopen_and_moves(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    append_each(&log.topic(TOPIC).await?, 0..2).await?;
    log.refuse_at(TOPIC, 0, Msn::new(3)).await?;
    let log = reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 2..3).await?;
    check_why(topic.append("x").await, Refusal::Limit(Msn::new(3)), "after reopen")?;
    log.refuse_at(TOPIC, 0, Msn::new(5)).await?;
    append_each(&topic, 3..5).await?;
    check_why(topic.append("x").await, Refusal::Limit(Msn::new(5)), "at another limit")?;
    log.configure(TOPIC, |config| config.partitions = 2).await?;
    let one = msglog_core::AppendOptions::default().with_partition(1);
    topic.append_with("x", one).await?.ack().await?;
    check_holds(&topic, 5, "in the end").await
}

/// Where the end is beyond the limit, it stays where it is.
pub async fn limit_below_the_end_refuses_at_once(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..6).await?;
    log.refuse_at(TOPIC, 0, Msn::new(2)).await?;
    check_why(topic.append("x").await, Refusal::Limit(Msn::new(2)), "append")?;
    check_holds(&topic, 6, "after a limit below the end").await?;
    ensure_eq!(topic.final_msn(0).await?, Some(Msn::new(6)), "the final MSN");
    Ok(())
}

/// What was accepted before is written and acked, however soon it was refused.
pub async fn what_was_accepted_before_is_acked(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = Vec::new();
    for number in 0..200 {
        acks.push(topic.append(message(number)).await?.ack());
    }
    log.refuse(TOPIC).await?;
    for ack in acks {
        ack.await?;
    }
    check_holds(&topic, 200, "after the acks").await
}

/// A consumer drains to the end and is told that it is final; before it is not.
pub async fn final_msn_is_told_once_nothing_more_comes(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    ensure_eq!(topic.final_msn(0).await?, None, "while it accepts");
    log.refuse_at(TOPIC, 0, Msn::new(8)).await?;
    ensure_eq!(topic.final_msn(0).await?, None, "below the limit");
    let mut acks = Vec::new();
    for number in 5..8 {
        acks.push(topic.append(message(number)).await?.ack());
    }
    for ack in acks {
        ack.await?;
    }
    ensure_eq!(topic.final_msn(0).await?, Some(Msn::new(8)), "at the limit");
    log.accept(TOPIC).await?;
    ensure_eq!(topic.final_msn(0).await?, None, "when it accepts again");
    log.refuse(TOPIC).await?;
    ensure_eq!(topic.final_msn(0).await?, Some(Msn::new(8)), "when all is refused");
    Ok(())
}

/// A refusal that is cancelled anywhere is in force and stored, or neither.
pub async fn cancelled_refusal_is_whole_or_not_at_all(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    for polls in 0..6 {
        log.topic(TOPIC).await?;
        let mut refusing = Box::pin(log.refuse(TOPIC));
        for _ in 0..polls {
            if futures::poll!(&mut refusing).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(refusing);
        // A change of the same topic waits for the one that is under way.
        let admission = settled(&log).await?;
        let topic = log.topic(TOPIC).await?;
        let refused = topic.append("x").await.is_err_and(|e| e.kind() == ErrorKind::Refused);
        ensure_eq!(refused, admission, "in force after {polls} polls; stored is {admission}");
        drop(topic);
        log = reopen(&cx, log).await?;
        let topic = log.topic(TOPIC).await?;
        let after = topic.append("x").await.is_err_and(|e| e.kind() == ErrorKind::Refused);
        ensure_eq!(after, refused, "after reopen, cancelled after {polls} polls");
        drop(topic);
        log.accept(TOPIC).await?;
    }
    Ok(())
}

/// Whether the stored configuration refuses, once it changes no more.
async fn settled(log: &Log) -> CaseResult<bool> {
    let mut last = None;
    loop {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let now = log.configure(TOPIC, |_| {}).await?.admission.refuse;
        if last == Some(now) {
            return Ok(now);
        }
        last = Some(now);
    }
}

/// A limit for a partition or topic that is not is refused, and nothing else changes.
pub async fn admission_that_cannot_be_changes_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    check_refused(
        log.refuse_at(TOPIC, 1, Msn::ZERO).await,
        ErrorKind::Invalid,
        "partition 1 of 1",
    )?;
    check_refused(log.refuse("nowhere").await, ErrorKind::NotFound, "a topic that is not")?;
    check_refused(log.accept("../x").await, ErrorKind::Invalid, "a topic named ../x")?;
    append_each(&topic, 0..2).await?;
    check_holds(&topic, 2, "after refused calls").await
}

/// Where the store tells its segments, the present one gets no successor; elsewhere it is
/// `Unsupported`, and the topic accepts as before.
pub async fn segment_boundary_ends_the_segment_or_is_unsupported(cx: Cx) -> CaseResult {
    let store = cx.open_once_free().await?;
    let log = Log::builder().open(store.clone()).await?;
    let name: TopicName = TOPIC.parse()?;
    log.create_topic(&name, TopicConfig::default()).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..3).await?;
    let options = msglog_core::store::OpenOptions::existing();
    let partition = store.open(&"orders-0".parse()?, options).await?;
    let Some(segment) = partition.segment() else {
        let refused = log.refuse_at_segment_boundary(TOPIC).await;
        check_refused(refused, ErrorKind::Unsupported, "refuse at the segment boundary")?;
        append_each(&topic, 3..5).await?;
        ensure!(topic.config().admission.is_open(), "something was stored");
        return check_holds(&topic, 5, "where there are no segments").await;
    };
    log.refuse_at_segment_boundary(TOPIC).await?;
    append_each(&topic, 3..5).await?;
    ensure_eq!(topic.final_msn(0).await?, None, "while there is room");
    ensure_eq!(partition.segment().map(|now| now.base_msn), Some(segment.base_msn), "segment");
    drop((topic, partition, store));
    let log = reopen(&cx, log).await?;
    let topic = log.topic(TOPIC).await?;
    let stored = topic.config().admission.refuse_after_segment.get(&0).copied();
    ensure_eq!(stored, Some(segment.base_msn), "stored segment after reopen");
    log.accept(TOPIC).await?;
    append_each(&topic, 5..7).await?;
    check_holds(&topic, 7, "when accepted again").await
}
