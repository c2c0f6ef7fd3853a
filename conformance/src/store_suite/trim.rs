//! Dropping the oldest batches: never too much, for good, and without touching what comes after.

use msglog_core::store::{ReadLimit, Survives};
use msglog_core::{Msn, RecordBatch};

use crate::case::{Need, cases};
use crate::cx::{append_each, create, read_all};
use crate::sample::check_same;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "trim":
    trim_drops_nothing_at_or_above;
    trim_answers_the_first_msn_that_is_left;
    exact_trim_keeps_only_the_batch_that_holds_it [Need::ExactTrim];
    trim_beyond_the_end_drops_all_there_is;
    trim_back_changes_nothing;
    trim_of_an_empty_partition_changes_nothing;
    read_below_what_was_trimmed_answers_the_next_there_is;
    appends_continue_after_all_was_trimmed;
    trim_survives_drop_and_reopen [REOPENS];
    msns_are_not_reused_after_trim_and_reopen [REOPENS];
    trim_frees_what_it_dropped [Need::ExactTrim];
    trim_touches_no_other_partition;
}

fn from(batches: &[RecordBatch], first: Msn) -> Vec<RecordBatch> {
    batches.iter().filter(|batch| batch.next_msn() > first).cloned().collect()
}

/// Whatever MSN a trim names, every batch that holds or follows it stays.
pub async fn trim_drops_nothing_at_or_above(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 40)?;
    opened.append_each(&batches).await?;
    for before in 0..opened.partition.bounds().next_msn.get() {
        let before = Msn::new(before);
        opened.partition.trim(before).await?;
        let found = read_all(&opened.partition, before).await?;
        check_same(&found, &from(&batches, before), &format!("after trim before {before}"))?;
    }
    Ok(())
}

/// `trim` answers the new first MSN, which is that of the bounds and of the first batch read.
pub async fn trim_answers_the_first_msn_that_is_left(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 40)?;
    opened.append_each(&batches).await?;
    let mut last = Msn::ZERO;
    for before in [3, 10, 11, 30, 50] {
        let first = opened.partition.trim(Msn::new(before)).await?;
        ensure!(first <= Msn::new(before), "trim before {before} answered {first}");
        ensure!(first >= last, "first MSN went back from {last} to {first}");
        ensure_eq!(opened.partition.bounds().first_msn, first, "first_msn of the bounds");
        let found = opened.partition.read(Msn::ZERO, ReadLimit::bytes(1)).await?;
        let read = found.first().map(RecordBatch::base_msn);
        ensure_eq!(read, Some(first), "MSN of the first batch read after trim before {before}");
        last = first;
    }
    Ok(())
}

/// With `exact_trim`, only the batch that holds the MSN stays of what lies below it.
pub async fn exact_trim_keeps_only_the_batch_that_holds_it(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 40)?;
    opened.append_each(&batches).await?;
    for before in [1, 2, 9, 17, 18, 33] {
        let before = Msn::new(before);
        opened.partition.trim(before).await?;
        let found = read_all(&opened.partition, Msn::ZERO).await?;
        check_same(&found, &from(&batches, before), &format!("exact trim before {before}"))?;
    }
    Ok(())
}

/// A trim at or beyond the end leaves an empty partition that ends where it ended.
pub async fn trim_beyond_the_end_drops_all_there_is(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    for (number, beyond) in [0, 1, 1_000_000].into_iter().enumerate() {
        let there = create(&store, &format!("all-{number}")).await?;
        append_each(&there, &cx.samples().run(Msn::ZERO, 10)?).await?;
        let next = there.bounds().next_msn;
        let first = there.trim(next.plus(beyond)).await?;
        ensure_eq!(first, next, "first MSN after trim {beyond} beyond the end");
        ensure_eq!(there.bounds().next_msn, next, "next_msn after trim {beyond} beyond the end");
        ensure!(read_all(&there, Msn::ZERO).await?.is_empty(), "something is left");
    }
    Ok(())
}

/// A trim below the first MSN changes nothing and answers the first MSN.
pub async fn trim_back_changes_nothing(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 20)?).await?;
    let first = opened.partition.trim(Msn::new(20)).await?;
    let before = read_all(&opened.partition, Msn::ZERO).await?;
    for back in [Msn::ZERO, Msn::new(1), first] {
        ensure_eq!(opened.partition.trim(back).await?, first, "first MSN after trim to {back}");
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &before, "after trims back")
}

/// An empty partition stays where it is.
pub async fn trim_of_an_empty_partition_changes_nothing(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    for before in [0, 1, 100] {
        let first = opened.partition.trim(Msn::new(before)).await?;
        ensure_eq!(first, Msn::ZERO, "first MSN after trim before {before}");
    }
    ensure_eq!(opened.partition.bounds().next_msn, Msn::ZERO, "next_msn");
    opened.append_each(&cx.samples().run(Msn::ZERO, 1)?).await
}

/// A read of something trimmed answers from the first batch that is left.
pub async fn read_below_what_was_trimmed_answers_the_next_there_is(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 30)?;
    opened.append_each(&batches).await?;
    let first = opened.partition.trim(Msn::new(40)).await?;
    for below in 0..=first.get() {
        let found = read_all(&opened.partition, Msn::new(below)).await?;
        check_same(&found, &from(&batches, first), &format!("read from {below}"))?;
    }
    Ok(())
}

/// After everything was trimmed, the next record gets the MSN it would have got anyway.
pub async fn appends_continue_after_all_was_trimmed(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    let (early, late) = batches.split_at(10);
    opened.append_each(early).await?;
    opened.partition.trim(opened.partition.bounds().next_msn).await?;
    opened.append_each(late).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, late, "after trim of all")
}

/// What was trimmed does not come back, though nothing was synced or closed after.
pub async fn trim_survives_drop_and_reopen(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 30)?;
    opened.append_each(&batches).await?;
    opened.partition.sync().await?;
    let first = opened.partition.trim(Msn::new(50)).await?;
    let opened = cx.reopen_dropped(opened).await?;
    ensure_eq!(opened.partition.bounds().first_msn, first, "first_msn after reopen");
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    check_same(&found, &from(&batches, first), "after reopen")
}

/// A partition that was trimmed empty goes on at the same MSN after reopen.
pub async fn msns_are_not_reused_after_trim_and_reopen(cx: Cx) -> CaseResult {
    let mut opened = cx.open_partition().await?;
    for close in [true, false] {
        let start = opened.partition.bounds().next_msn;
        opened.append_each(&cx.samples().run(start, 10)?).await?;
        opened.partition.sync().await?;
        let end = opened.partition.bounds().next_msn;
        opened.partition.trim(end).await?;
        opened = if close { cx.reopen(opened).await? } else { cx.reopen_dropped(opened).await? };
        ensure_eq!(opened.partition.bounds().next_msn, end, "next_msn after trim and reopen");
    }
    Ok(())
}

/// With `exact_trim`, `usage` falls by what was dropped.
pub async fn trim_frees_what_it_dropped(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 100)?).await?;
    let full = opened.partition.usage().await?.bytes;
    opened.partition.trim(opened.partition.bounds().next_msn).await?;
    let left = opened.partition.usage().await?.bytes;
    ensure!(left < full, "usage stayed at {left} bytes of {full}");
    Ok(())
}

/// A trim drops nothing of another partition.
pub async fn trim_touches_no_other_partition(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let batches = cx.samples().run(Msn::ZERO, 10)?;
    let mut open = Vec::new();
    for name in ["a-0", "a-1", "a-00-0"] {
        let there = create(&store, name).await?;
        append_each(&there, &batches).await?;
        open.push(there);
    }
    if let Some(first) = open.first() {
        first.trim(Msn::MAX).await?;
    }
    for there in open.iter().skip(1) {
        check_same(&read_all(there, Msn::ZERO).await?, &batches, "a neighbour")?;
    }
    Ok(())
}
