//! Reading by MSN: the next available one, pages that cover all once, nothing that is not acked.

use msglog_core::store::ReadLimit;
use msglog_core::{ErrorKind, MsgLog, Msn};

use super::{TOPIC, append_each, check_messages, message, open, read_all, read_pages};
use crate::case::cases;
use crate::cx::check_refused;
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "log-read":
    read_starts_at_the_msn_asked_for;
    read_of_what_is_trimmed_starts_at_the_next_available;
    read_beyond_the_end_is_empty_and_names_the_end;
    pages_of_any_size_cover_everything_once;
    read_sees_nothing_that_is_not_acked;
    partition_that_is_not_is_refused;
}

/// A read from any MSN answers the record at it first, also from the middle of a batch.
pub async fn read_starts_at_the_msn_asked_for(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    topic.append_batch((5..20).map(message)).await?.ack().await?;
    for from in 0..20 {
        let records = read_all(&topic, 0, Msn::new(from)).await?;
        ensure_eq!(records.len() as u64, 20 - from, "records from {from}");
        check_messages(&records, from, "read from the middle")?;
    }
    Ok(())
}

/// What was trimmed is passed over: the first record is that of the new first MSN.
pub async fn read_of_what_is_trimmed_starts_at_the_next_available(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..30).await?;
    let first = topic.trim(0, Msn::new(20)).await?;
    ensure!(first <= Msn::new(20), "a trim before 20 dropped up to {first}");
    ensure_eq!(topic.bounds(0).await?.first_msn, first, "first MSN");
    for from in [0, 1, first.get()] {
        let start = from.max(first.get());
        let records = read_all(&topic, 0, Msn::new(from)).await?;
        ensure_eq!(records.len() as u64, 30 - start, "records from {from}");
        check_messages(&records, start, "after a trim")?;
    }
    let all = topic.trim(0, Msn::new(1_000)).await?;
    let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await?;
    ensure_eq!(page.records.len() as u64, 30 - all.get(), "records after a trim of all");
    append_each(&topic, 30..31).await?;
    let last = read_all(&topic, 0, Msn::new(30)).await?;
    check_messages(&last, 30, "appended after a trim of all")
}

/// At and beyond the end a page is empty and names the MSN that comes next.
pub async fn read_beyond_the_end_is_empty_and_names_the_end(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    for end in [0, 1, 2] {
        for from in [end, end + 1, end + 1_000_000] {
            let page = topic.read(0, Msn::new(from), ReadLimit::default()).await?;
            ensure!(page.records.is_empty(), "records from {from} with the end at {end}");
            ensure_eq!(page.next_msn, Msn::new(end), "next MSN from {from}");
        }
        append_each(&topic, end..end + 1).await?;
    }
    Ok(())
}

/// However small the pages, they hold every record once, in order.
pub async fn pages_of_any_size_cover_everything_once(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..10).await?;
    topic.append_batch((10..200).map(message)).await?.ack().await?;
    append_each(&topic, 200..210).await?;
    for bytes in [0, 1, 100, 10_000, usize::MAX] {
        let records = read_pages(&topic, 0, Msn::ZERO, ReadLimit::bytes(bytes)).await?;
        ensure_eq!(records.len(), 210, "records in pages of {bytes} bytes");
        check_messages(&records, 0, "pages")?;
    }
    Ok(())
}

/// Whatever a reader sees while producers append is durable then, and acked without anything more
/// being done.
pub async fn read_sees_nothing_that_is_not_acked(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut acks = std::collections::VecDeque::new();
    let mut acked = 0;
    for number in 0..200 {
        acks.push_back(topic.append(message(number)).await?.ack());
        let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await?;
        let seen = page.records.len() as u64;
        let durable = topic.bounds(0).await?.durable_msn;
        ensure!(
            durable >= Msn::new(seen),
            "{seen} records are read, durable is what lies below {durable}"
        );
        // What is visible is acked a moment later.
        while acked < seen {
            let Some(ack) = acks.pop_front() else { break };
            ensure_eq!(ack.await?, Msn::new(acked), "MSN of an ack");
            acked += 1;
        }
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}

/// A partition beyond the topic's number is an error of the caller's.
pub async fn partition_that_is_not_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let read = topic.read(1, Msn::ZERO, ReadLimit::default()).await;
    check_refused(read, ErrorKind::Invalid, "read partition 1 of 1")?;
    check_refused(topic.subscribe(1, Msn::ZERO), ErrorKind::Invalid, "subscribe to it")?;
    check_refused(topic.trim(1, Msn::ZERO).await, ErrorKind::Invalid, "trim it")?;
    let read = log.read(&"nothing-0".parse()?, Msn::ZERO, ReadLimit::default()).await;
    check_refused(read, ErrorKind::NotFound, "read a topic that is not")
}
