//! Closing, dropping and reopening: nothing that was acked is lost, nothing is acked that is.

use msglog_core::store::{ReadLimit, Survives};
use msglog_core::{AppendOptions, Durability, ErrorKind, MsgLog, Msn};

use super::{TOPIC, append_each, check_messages, message, open, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-close":
    close_finishes_what_was_accepted [REOPENS];
    second_close_is_a_no_op;
    calls_after_close_are_closed;
    dropped_log_keeps_what_was_acked [REOPENS];
    dropped_log_answers_who_waits;
    appends_go_on_after_reopen [REOPENS];
}

/// Everything accepted before `close`, at whatever level, is there after reopening.
pub async fn close_finishes_what_was_accepted(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let memory = AppendOptions::default().with_durability(Durability::Memory);
    for number in 0..500 {
        topic.append_with(message(number), memory).await?.ack().await?;
    }
    drop(topic);
    let log = reopen(&cx, log).await?;
    let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 500, "records after close and reopen");
    check_messages(&records, 0, "after close and reopen")
}

/// Closing again, also at the same time, changes nothing.
pub async fn second_close_is_a_no_op(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    append_each(&log.topic(TOPIC).await?, 0..3).await?;
    let (one, other) = tokio::join!(log.close(), log.close());
    one?;
    other?;
    log.close().await?;
    Ok(())
}

/// Every call on a closed log answers `Closed`.
pub async fn calls_after_close_are_closed(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..1).await?;
    log.close().await?;
    check_refused(topic.append("x").await, ErrorKind::Closed, "append")?;
    check_refused(topic.append_batch(["x"]).await, ErrorKind::Closed, "append_batch")?;
    let read = topic.read(0, Msn::ZERO, ReadLimit::default()).await;
    check_refused(read, ErrorKind::Closed, "read")?;
    check_refused(topic.trim(0, Msn::new(1)).await, ErrorKind::Closed, "trim")?;
    check_refused(log.topic(TOPIC).await, ErrorKind::Closed, "topic")?;
    check_refused(log.topics().await, ErrorKind::Closed, "topics")?;
    let consumer = topic.consumer("billing")?;
    check_refused(consumer.commit(0, Msn::ZERO).await, ErrorKind::Closed, "commit")
}

/// Without `close`, what was acked at `Sync` is there after reopening, and a prefix of the rest.
pub async fn dropped_log_keeps_what_was_acked(cx: Cx) -> CaseResult {
    for round in 0..5 {
        let log = open(&cx).await?;
        let topic = log.topic(TOPIC).await?;
        let first = topic.bounds(0).await?.next_msn.get();
        append_each(&topic, first..first + 20).await?;
        for number in first + 20..first + 40 {
            drop(topic.append(message(number)).await?);
        }
        drop((log, topic));
        let log = open(&cx).await?;
        let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
        let (found, acked) = (records.len() as u64, first + 20);
        ensure!(found >= acked, "round {round}: {acked} were acked, {found} are there");
        check_messages(&records, 0, "after drop and reopen")?;
    }
    Ok(())
}

/// Whoever waits for an ack when the log is dropped is answered.
pub async fn dropped_log_answers_who_waits(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = Vec::new();
    for number in 0..200 {
        acks.push(topic.append(message(number)).await?.ack());
    }
    drop((log, topic));
    let answers = futures::future::join_all(acks);
    let answers = tokio::time::timeout(std::time::Duration::from_secs(10), answers).await;
    ensure!(answers.is_ok(), "somebody waits for ever");
    let kinds = answers.into_iter().flatten().filter_map(Result::err).map(|error| error.kind());
    let other: Vec<_> = kinds.filter(|kind| *kind != ErrorKind::Closed).collect();
    ensure!(other.is_empty(), "other answers than Closed: {other:?}");
    Ok(())
}

/// After reopening, the next MSN is the one after the last record.
pub async fn appends_go_on_after_reopen(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    for round in 0..4 {
        let topic = log.topic(TOPIC).await?;
        append_each(&topic, round * 10..round * 10 + 10).await?;
        let records = read_all(&topic, 0, Msn::ZERO).await?;
        ensure_eq!(records.len() as u64, round * 10 + 10, "records in round {round}");
        check_messages(&records, 0, "over reopens")?;
        drop(topic);
        log = reopen(&cx, log).await?;
    }
    Ok(())
}
