//! Sinks: messages of a stream, in order, acked by a flush, in bounded memory.

use futures::{SinkExt, StreamExt, stream};
use msglog_core::store::Survives;
use msglog_core::{ErrorKind, Log, Message, MsgLog, Msn};

use super::{TOPIC, check_messages, message, open, open_with, read_all};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-sink":
    flush_of_a_sink_acks_everything_in_order;
    sink_waits_while_too_much_is_in_flight;
    sink_that_failed_accepts_nothing_more;
    closed_sink_leaves_the_log_open;
    dropped_sink_loses_nothing_that_was_accepted;
    sink_dropped_in_a_flush_leaves_no_gap [REOPENS];
    close_in_the_middle_of_a_stream_keeps_a_prefix [REOPENS];
}

/// Fed one by one and flushed, or sent as a whole stream.
pub async fn flush_of_a_sink_acks_everything_in_order(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut sink = topic.sink();
    for number in 0..100 {
        sink.feed(message(number)).await?;
    }
    sink.flush().await?;
    ensure_eq!(sink.unacked(), 0, "unacked after a flush");
    // What is acked is read.
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 100, "records after a flush");
    check_messages(&records, 0, "fed")?;
    stream::iter(100..250).map(|number| Ok(message(number))).forward(topic.sink()).await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 250, "records after a stream");
    check_messages(&records, 0, "forwarded")
}

/// A producer that is faster than the store waits, and everything arrives.
pub async fn sink_waits_while_too_much_is_in_flight(cx: Cx) -> CaseResult {
    const LIMIT: usize = 2_000;
    let log = open_with(&cx, Log::builder().in_flight_bytes_max(LIMIT)).await?;
    let topic = log.topic(TOPIC).await?;
    let mut sink = topic.sink();
    for number in 0..500 {
        sink.feed(message(number)).await?;
        let bytes = log.stats().in_flight_bytes;
        ensure!(bytes <= LIMIT, "{bytes} bytes in flight of {LIMIT}");
        ensure!(sink.unacked() <= LIMIT / 10, "{} messages unacked", sink.unacked());
    }
    sink.close().await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 500, "records");
    check_messages(&records, 0, "behind back-pressure")
}

/// The error of one message ends the sink; what came before it is kept.
pub async fn sink_that_failed_accepts_nothing_more(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().message_bytes_max(1_000)).await?;
    let topic = log.topic(TOPIC).await?;
    let mut sink = topic.sink();
    sink.send(message(0)).await?;
    let large = sink.send(Message::new(vec![7; 2_000])).await;
    check_refused(large, ErrorKind::TooLarge, "a message that is too large")?;
    check_refused(sink.send(message(1)).await, ErrorKind::TooLarge, "one after it")?;
    check_refused(sink.flush().await, ErrorKind::TooLarge, "a flush after it")?;
    ensure_eq!(topic.bounds(0).await?.next_msn, Msn::new(1), "the end");
    topic.sink().send(message(1)).await?;
    check_messages(&read_all(&topic, 0, Msn::ZERO).await?, 0, "of a fresh sink")
}

/// Closing flushes; the topic can still be appended to, the sink not.
pub async fn closed_sink_leaves_the_log_open(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut sink = topic.sink();
    sink.feed(message(0)).await?;
    sink.close().await?;
    ensure_eq!(topic.bounds(0).await?.next_msn, Msn::new(1), "the end after a close");
    check_refused(sink.send(message(1)).await, ErrorKind::Closed, "a closed sink")?;
    sink.close().await?;
    topic.append(message(1)).await?.ack().await?;
    log.close().await?;
    check_refused(topic.sink().send(message(2)).await, ErrorKind::Closed, "of a closed log")
}

/// Only the acks are forgotten.
pub async fn dropped_sink_loses_nothing_that_was_accepted(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut sink = topic.sink();
    for number in 0..50 {
        sink.feed(message(number)).await?;
    }
    drop(sink);
    topic.append(message(50)).await?.ack().await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 51, "records");
    check_messages(&records, 0, "of a dropped sink")
}

/// Dropped at any poll of a flush, with appends in flight, and the log after it: what is there has
/// no gap, holds all that a flush has answered, and with `close` all that was accepted.
pub async fn sink_dropped_in_a_flush_leaves_no_gap(cx: Cx) -> CaseResult {
    for polls in 0..12 {
        let log = open_with(&cx, Log::builder().in_flight_bytes_max(500)).await?;
        let topic = log.topic(TOPIC).await?;
        let first = topic.bounds(0).await?.next_msn.get();
        let mut sink = topic.sink();
        for number in first..first + 20 {
            sink.feed(message(number)).await?;
        }
        let answer = poll_then_drop(sink.flush(), polls).await;
        let flushed = answer.is_some();
        answer.transpose()?;
        drop((sink, topic));
        let closed = polls % 2 == 0;
        if closed {
            log.close().await?;
        }
        drop(log);
        let log = open(&cx).await?;
        let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
        check_messages(&records, 0, "of a dropped sink, reopened")?;
        // The last message may still wait for room: it was not accepted by the log yet.
        let accepted = if flushed {
            20
        } else if closed {
            19
        } else {
            0
        };
        let found = records.len() as u64;
        ensure!(found >= first + accepted, "{found} records, {first} before, {polls} polls");
        log.close().await?;
    }
    Ok(())
}

/// The stream ends with `Closed`, or was through; what is there after reopening is a prefix of it.
pub async fn close_in_the_middle_of_a_stream_keeps_a_prefix(cx: Cx) -> CaseResult {
    for pause in 0..12 {
        let log = open_with(&cx, Log::builder().in_flight_bytes_max(500)).await?;
        let topic = log.topic(TOPIC).await?;
        let first = topic.bounds(0).await?.next_msn.get();
        let messages = stream::iter(first..first + 100).map(|number| Ok(message(number)));
        let closing = async {
            for _ in 0..pause {
                tokio::task::yield_now().await;
            }
            log.close().await
        };
        let (sent, closed) = tokio::join!(messages.forward(topic.sink()), closing);
        closed?;
        let least = match sent {
            Ok(()) => first + 100,
            Err(error) if error.kind() == ErrorKind::Closed => first,
            Err(error) => return Err(error.into()),
        };
        drop((topic, log));
        let log = open(&cx).await?;
        let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
        check_messages(&records, 0, "closed in the middle of a stream")?;
        ensure!(records.len() as u64 >= least, "{} records, sent {least}", records.len());
        log.close().await?;
    }
    Ok(())
}
