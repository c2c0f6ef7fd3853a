//! Finding by time: the first record at or after it, exactly, on every store.

use msglog_core::store::ReadLimit;
use msglog_core::{ErrorKind, Message, MsgLog, Msn, Record, Timestamp, Topic};

use super::{TOPIC, open, open_reader, read_all};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::sample::Dice;
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "log-find":
    find_answers_the_first_record_at_or_after_the_time;
    find_beyond_the_newest_answers_the_end;
    find_never_answers_what_was_trimmed;
    find_answers_a_record_that_is_new_enough_where_times_fall;
    find_beside_the_writer_sees_its_records [Need::SharedReaders];
    find_in_a_partition_that_is_not_is_refused;
}

fn at(number: u64, millis: i64) -> Message {
    super::message(number).with_timestamp(Timestamp::from_millis(millis))
}

/// Appends batches of 1 to 9 records, and single ones, at these times in order.
async fn append_at(cx: &Cx, topic: &Topic, times: &[i64]) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    let mut rest = times;
    let mut number = 0;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(rest.len().min(dice.index(9) + 1));
        let mut messages = Vec::new();
        for millis in batch {
            messages.push(at(number, *millis));
            number += 1;
        }
        topic.append_batch(messages).await?.ack().await?;
        rest = after;
    }
    Ok(())
}

fn first_since(records: &[Record], millis: i64, end: Msn) -> Msn {
    let time = Timestamp::from_millis(millis);
    records.iter().find(|record| record.timestamp >= time).map_or(end, |record| record.msn)
}

/// Whatever the time, also between two records, within a batch, and shared by many records.
pub async fn find_answers_the_first_record_at_or_after_the_time(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let times: Vec<i64> = (0..120).map(|n| n / 3 * 10).collect();
    append_at(&cx, &topic, &times).await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    let name = format!("{TOPIC}-0").parse()?;
    for millis in -7..405 {
        let wanted = first_since(&records, millis, Msn::new(120));
        let time = Timestamp::from_millis(millis);
        ensure_eq!(topic.find(0, time).await?, wanted, "find of {millis} ms");
        if millis % 50 == 0 {
            ensure_eq!(log.find(&name, time).await?, wanted, "find by name of {millis} ms");
        }
    }
    Ok(())
}

/// The end, which is where a record of that time would come; also of an empty partition.
pub async fn find_beyond_the_newest_answers_the_end(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    for end in 0..4 {
        for millis in [1_000_000, i64::MAX] {
            let found = topic.find(0, Timestamp::from_millis(millis)).await?;
            ensure_eq!(found, Msn::new(end), "find beyond the newest");
        }
        topic.append(at(end, 10)).await?.ack().await?;
        ensure_eq!(topic.find(0, Timestamp::from_millis(10)).await?, Msn::ZERO, "the first");
    }
    Ok(())
}

/// The oldest times lead to the first record there is.
pub async fn find_never_answers_what_was_trimmed(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let times: Vec<i64> = (0..60).map(|n| n * 10).collect();
    append_at(&cx, &topic, &times).await?;
    let first = topic.trim(0, Msn::new(30)).await?;
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    for millis in (-10..620).step_by(10) {
        let found = topic.find(0, Timestamp::from_millis(millis)).await?;
        ensure!(found >= first, "find of {millis} ms answers {found}, first is {first}");
        ensure_eq!(found, first_since(&records, millis, Msn::new(60)), "find of {millis} ms");
    }
    Ok(())
}

/// Where times fall, what is found is new enough and the record before it is older.
pub async fn find_answers_a_record_that_is_new_enough_where_times_fall(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let mut dice = Dice::new(!cx.seed());
    let times: Vec<i64> = (0..100).map(|_| i64::try_from(dice.below(200)).unwrap_or(0)).collect();
    append_at(&cx, &topic, &times).await?;
    for millis in 0..=200 {
        let time = Timestamp::from_millis(millis);
        let found = topic.find(0, time).await?;
        let page = topic.read(0, found, ReadLimit::bytes(1)).await?;
        let is = page.records.first().is_none_or(|record| record.timestamp >= time);
        ensure!(is, "find of {millis} ms answers {found}, which is older");
        let Some(before) = found.get().checked_sub(1) else { continue };
        let page = topic.read(0, Msn::new(before), ReadLimit::bytes(1)).await?;
        let older = page.records.first().is_some_and(|record| record.timestamp < time);
        ensure!(older, "find of {millis} ms answers {found} though {before} is new enough");
    }
    Ok(())
}

/// A log opened for reading finds what its writer has written, also since it was opened.
pub async fn find_beside_the_writer_sees_its_records(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_at(&cx, &topic, &[0, 10, 20]).await?;
    let reader = open_reader(&cx).await?;
    let seen = reader.topic(TOPIC).await?;
    ensure_eq!(seen.find(0, Timestamp::from_millis(11)).await?, Msn::new(2), "written before");
    append_at(&cx, &topic, &[30, 40, 50]).await?;
    ensure_eq!(seen.find(0, Timestamp::from_millis(41)).await?, Msn::new(5), "written since");
    ensure_eq!(seen.find(0, Timestamp::from_millis(51)).await?, Msn::new(6), "not written");
    reader.close().await?;
    Ok(())
}

/// A partition beyond the topic's number is an error of the caller's.
pub async fn find_in_a_partition_that_is_not_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let time = Timestamp::from_millis(0);
    check_refused(topic.find(1, time).await, ErrorKind::Invalid, "find in partition 1 of 1")?;
    let found = log.find(&"nothing-0".parse()?, time).await;
    check_refused(found, ErrorKind::NotFound, "find in a topic that is not")
}
