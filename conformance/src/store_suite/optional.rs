//! The calls that a store may leave out: truncate, find, replace and read_part, where claimed.

use std::ops::Range;

use msglog_core::store::{ReadLimit, Survives};
use msglog_core::{ErrorKind, Message, Msn, RecordBatch, Timestamp};

use crate::case::{Need, cases};
use crate::cx::{Opened, check_refused, read_all};
use crate::sample::{Samples, batch_of, check_same, timestamp};
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "optional":
    truncate_drops_the_batch_that_holds_it_and_all_after [Need::Truncate];
    truncate_at_or_beyond_the_end_changes_nothing [Need::Truncate];
    truncated_msns_are_appended_again [Need::Truncate];
    truncate_survives_reopen [Need::Truncate, REOPENS];
    find_answers_the_first_batch_that_is_new_enough [Need::Find];
    find_passes_over_what_was_trimmed [Need::Find];
    replaced_batches_are_read_instead [Need::Replace];
    replace_may_leave_a_range_empty [Need::Replace];
    replace_outside_its_range_is_refused [Need::Replace];
    replace_survives_reopen [Need::Replace, REOPENS];
    parts_are_the_bytes_of_their_batch [Need::ReadPart];
    parts_of_what_is_not_there_do_no_harm [Need::ReadPart];
    parts_of_what_was_replaced_are_the_new_ones [Need::ReadPart, Need::Replace];
}

async fn filled(cx: &Cx) -> CaseResult<(Opened, Vec<RecordBatch>)> {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    opened.append_each(&batches).await?;
    opened.partition.sync().await?;
    Ok((opened, batches))
}

fn below(batches: &[RecordBatch], from: Msn) -> Vec<RecordBatch> {
    batches.iter().filter(|batch| batch.next_msn() <= from).cloned().collect()
}

/// `truncate` drops the batch that holds the MSN and all after it, and answers the new end.
pub async fn truncate_drops_the_batch_that_holds_it_and_all_after(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let end = opened.partition.bounds().next_msn.get();
    for from in (0..end).rev() {
        let left = below(&batches, Msn::new(from));
        let wanted = left.last().map_or(Msn::ZERO, RecordBatch::next_msn);
        let next = opened.partition.truncate(Msn::new(from)).await?;
        ensure_eq!(next, wanted, "what truncate from {from} answered");
        ensure_eq!(opened.partition.bounds().next_msn, wanted, "next_msn");
        let found = read_all(&opened.partition, Msn::ZERO).await?;
        check_same(&found, &left, &format!("after truncate from {from}"))?;
        let bounds = opened.partition.bounds();
        ensure_eq!(bounds.durable_msn.min(next), bounds.durable_msn, "durable_msn beyond the end");
    }
    Ok(())
}

/// `truncate` at the end or beyond it drops nothing.
pub async fn truncate_at_or_beyond_the_end_changes_nothing(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let end = opened.partition.bounds().next_msn;
    for from in [end, end.plus(1), Msn::MAX] {
        ensure_eq!(opened.partition.truncate(from).await?, end, "truncate from {from}");
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after truncates")
}

/// What was cut can be appended anew, with other contents.
pub async fn truncated_msns_are_appended_again(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let next = opened.partition.truncate(Msn::new(20)).await?;
    let fresh = Samples::new(!cx.seed()).run(next, 5)?;
    opened.append_each(&fresh).await?;
    let wanted = [below(&batches, next), fresh].concat();
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &wanted, "after a new end")
}

/// What was cut does not come back, though nothing was synced or closed after.
pub async fn truncate_survives_reopen(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let next = opened.partition.truncate(Msn::new(20)).await?;
    opened.partition.sync().await?;
    let opened = cx.reopen_dropped(opened).await?;
    ensure_eq!(opened.partition.bounds().next_msn, next, "next_msn after reopen");
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    check_same(&found, &below(&batches, next), "after truncate and reopen")
}

/// `find` answers the first batch whose newest record is at or after the time, or the end.
pub async fn find_answers_the_first_batch_that_is_new_enough(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let end = opened.partition.bounds().next_msn;
    for millis in (-5..=end.get().cast_signed() * 10 + 5).step_by(5) {
        let time = Timestamp::from_millis(millis);
        let holder = batches.iter().find(|batch| batch.max_timestamp() >= time);
        let wanted = holder.map_or(end, RecordBatch::base_msn);
        ensure_eq!(opened.partition.find(time).await?, wanted, "find {millis} ms");
    }
    Ok(())
}

/// `find` answers nothing that was trimmed.
pub async fn find_passes_over_what_was_trimmed(cx: Cx) -> CaseResult {
    let (opened, _) = filled(&cx).await?;
    let first = opened.partition.trim(Msn::new(30)).await?;
    let found = opened.partition.find(timestamp(Msn::ZERO)).await?;
    ensure_eq!(found, first, "find of the beginning of time after trim");
    Ok(())
}

/// Some batches in the middle, the range that they cover, and one batch with their last record.
fn middle(cx: &Cx, batches: &[RecordBatch]) -> CaseResult<(Range<Msn>, RecordBatch)> {
    let inner = batches.get(5..9).unwrap_or_default();
    let start = inner.first().map_or(Msn::ZERO, RecordBatch::base_msn);
    let end = inner.last().map_or(Msn::ZERO, RecordBatch::next_msn);
    let last = Msn::new(end.get().saturating_sub(1));
    Ok((start..end, Samples::new(!cx.seed()).batch(last, 1)?))
}

fn outside(batches: &[RecordBatch], range: &Range<Msn>) -> Vec<RecordBatch> {
    batches.iter().filter(|batch| !range.contains(&batch.base_msn())).cloned().collect()
}

/// After `replace`, the range holds the new batches and the rest what it held.
pub async fn replaced_batches_are_read_instead(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let (range, fresh) = middle(&cx, &batches)?;
    let before = opened.partition.bounds();
    opened.partition.replace(range.clone(), vec![fresh.clone()]).await?;
    let mut wanted = outside(&batches, &range);
    wanted.push(fresh);
    wanted.sort_by_key(RecordBatch::base_msn);
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &wanted, "after replace")?;
    ensure_eq!(opened.partition.bounds().next_msn, before.next_msn, "next_msn after replace");
    ensure_eq!(opened.partition.bounds().first_msn, before.first_msn, "first_msn after replace");
    opened.append_each(&cx.samples().run(before.next_msn, 1)?).await
}

/// A range replaced by nothing is passed over by reads.
pub async fn replace_may_leave_a_range_empty(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let (range, _) = middle(&cx, &batches)?;
    opened.partition.replace(range.clone(), Vec::new()).await?;
    let wanted = outside(&batches, &range);
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &wanted, "after replace")?;
    let late: Vec<_> = wanted.into_iter().filter(|batch| batch.base_msn() >= range.end).collect();
    let found = read_all(&opened.partition, range.start).await?;
    check_same(&found, &late, "read from inside the empty range")
}

/// A range that cuts a batch, or batches outside the range, are `Invalid` and change nothing.
pub async fn replace_outside_its_range_is_refused(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let (range, fresh) = middle(&cx, &batches)?;
    let beyond = vec![Samples::new(!cx.seed()).batch(range.end, 1)?];
    let end = opened.partition.bounds().next_msn;
    let calls = [
        (range.clone(), beyond),
        (range.clone(), vec![fresh.clone(), fresh]),
        (end..end.plus(5), Vec::new()),
    ];
    for (range, call) in calls {
        let what = format!("replace {}..{} by {} batches", range.start, range.end, call.len());
        check_refused(opened.partition.replace(range, call).await, ErrorKind::Invalid, &what)?;
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after refused calls")
}

/// What was replaced stays replaced after reopen.
pub async fn replace_survives_reopen(cx: Cx) -> CaseResult {
    let (opened, batches) = filled(&cx).await?;
    let (range, fresh) = middle(&cx, &batches)?;
    opened.partition.replace(range.clone(), vec![fresh.clone()]).await?;
    opened.partition.sync().await?;
    let opened = cx.reopen_dropped(opened).await?;
    let mut wanted = outside(&batches, &range);
    wanted.push(fresh);
    wanted.sort_by_key(RecordBatch::base_msn);
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &wanted, "after reopen")
}

/// Batches from one record to far larger than any page, one after the other in any order of sizes.
fn of_all_sizes(cx: &Cx) -> CaseResult<Vec<RecordBatch>> {
    let (mut batches, mut next) = (cx.samples().run(Msn::ZERO, 20)?, Msn::ZERO);
    if let Some(last) = batches.last() {
        next = last.next_msn();
    }
    for count in [1_u64, 40, 1, 1, 300, 3, 100, 100, 1, 20] {
        let records: Vec<_> = (0..count)
            .map(|n| Message::new(vec![u8::try_from(n % 251).unwrap_or(0); 700]))
            .collect();
        let batch = batch_of(next, &records)?;
        next = batch.next_msn();
        batches.push(batch);
    }
    Ok(batches)
}

/// Some ranges of a batch of so many bytes: all of it, its ends, and parts in the middle.
fn ranges(len: usize) -> Vec<Range<usize>> {
    let middle = len / 2;
    let page = middle..len.min(middle + 4_096);
    vec![0..len, 0..1, len - 1..len, 61..len, middle..middle, page, len / 3..middle]
}

/// Every part of every one of these batches as the store has it.
async fn check_parts(opened: &Opened, batches: &[RecordBatch]) -> CaseResult {
    for batch in batches {
        let msns = batch.base_msn()..batch.next_msn();
        // As it is stored: with the leader epoch that the store has given it.
        let stored = opened.partition.read(msns.start, ReadLimit::bytes(0)).await?;
        let bytes = stored.first().map(RecordBatch::to_bytes).unwrap_or_default();
        check_same(stored.get(..1).unwrap_or_default(), std::slice::from_ref(batch), "read")?;
        for range in ranges(bytes.len()) {
            let what = format!("bytes {range:?} of the batch {}..{}", msns.start, msns.end);
            let part = opened.partition.read_part(msns.clone(), range.clone()).await?;
            ensure!(part.is_some(), "no {what}, though `read_part` is claimed");
            let wanted = bytes.get(range).unwrap_or_default();
            ensure!(part.as_deref() == Some(wanted), "other {what} than `read` answers");
        }
    }
    Ok(())
}

/// `read_part` answers the bytes that the batch has in the store, wherever it lies in it.
pub async fn parts_are_the_bytes_of_their_batch(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = of_all_sizes(&cx)?;
    opened.append_each(&batches).await?;
    check_parts(&opened, &batches).await?;
    opened.partition.sync().await?;
    check_parts(&opened, &batches).await
}

/// What is no batch, or more than it, or gone: `None` or some other bytes, and no failure.
pub async fn parts_of_what_is_not_there_do_no_harm(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = of_all_sizes(&cx)?;
    opened.append_each(&batches).await?;
    let end = opened.partition.bounds().next_msn;
    let large = batches.iter().max_by_key(|batch| batch.encoded_len());
    let Some(large) = large else { return Ok(()) };
    let (first, next, len) = (large.base_msn(), large.next_msn(), large.encoded_len());
    let asked = [
        (first..next, 0..len + 1),
        (first..next, len..len + 10),
        (first..next, 0..usize::MAX >> 1),
        (first..next, usize::MAX - 1..usize::MAX),
        (first.plus(1)..next, 0..10),
        (first..next.plus(1), 0..10),
        (first..first.plus(1), 0..10),
        (next..first, 0..10),
        (end..end.plus(1), 0..10),
        (Msn::MAX..Msn::MAX, 0..10),
    ];
    for trimmed in [false, true] {
        for (msns, bytes) in asked.clone() {
            let part = opened.partition.read_part(msns.clone(), bytes.clone()).await?;
            let answered = part.map_or(0, |part| part.len());
            ensure!(answered <= bytes.len(), "{answered} bytes for {bytes:?} of {msns:?}");
        }
        if !trimmed {
            check_parts(&opened, &batches).await?;
            opened.partition.trim(end).await?;
        }
    }
    Ok(())
}

/// After `replace` a part is one of what is there now.
pub async fn parts_of_what_was_replaced_are_the_new_ones(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = of_all_sizes(&cx)?;
    opened.append_each(&batches).await?;
    let large = batches.iter().max_by_key(|batch| batch.encoded_len());
    let Some(large) = large else { return Ok(()) };
    let range = large.base_msn()..large.next_msn();
    let covers = usize::try_from(large.header().msn_count()).unwrap_or(0);
    let fresh = batch_of(range.start, &vec![Message::new(vec![255; 650]); covers])?;
    opened.partition.replace(range.clone(), vec![fresh.clone()]).await?;
    let mut wanted = outside(&batches, &range);
    wanted.push(fresh);
    wanted.sort_by_key(RecordBatch::base_msn);
    check_parts(&opened, &wanted).await
}
