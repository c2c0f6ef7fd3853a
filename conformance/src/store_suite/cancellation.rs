//! Futures that are dropped at each of their await points: unknown outcomes, but never half of one.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::task::ArcWake;
use msglog_core::store::{Expected, OpenOptions, ReadLimit, Survives};
use msglog_core::{ErrorKind, Msn};
use tokio::sync::Notify;

use crate::case::{Need, cases};
use crate::cx::{Opened, PARTITION, existing, key, partition, read_all};
use crate::sample::{check_prefix, check_same};
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);
/// More await points than one call of a store is expected to have.
const POLLS_MAX: usize = 12;

cases! { "cancellation":
    dropped_append_leaves_no_gap;
    dropped_append_leaves_no_gap_after_reopen [REOPENS];
    dropped_sync_leaves_the_partition_usable;
    dropped_read_changes_nothing;
    dropped_trim_drops_no_more_than_asked;
    dropped_save_leaves_the_old_or_the_new_document;
    dropped_open_can_be_opened_again;
    dropped_close_lets_the_place_go [REOPENS];
}

struct Woken(Notify);

impl ArcWake for Woken {
    fn wake_by_ref(woken: &Arc<Self>) {
        woken.0.notify_one();
    }
}

/// Polls a future `polls` times, each time it wakes, and drops it; its answer if it had one by then.
pub(crate) async fn poll_then_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let woken = Arc::new(Woken(Notify::new()));
    let waker: Waker = futures::task::waker(Arc::clone(&woken));
    for _ in 0..polls {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(answer);
        }
        // One that is never woken again would be a hang, which other cases show.
        let _ = tokio::time::timeout(Duration::from_millis(100), woken.0.notified()).await;
    }
    None
}

/// Appends one batch after a dropped append, which may still be on its way.
async fn append_when_settled(cx: &Cx, opened: &Opened) -> CaseResult<Msn> {
    for _ in 0..200 {
        let base = opened.partition.bounds().next_msn;
        let batch = cx.samples().next(base)?;
        let end = batch.next_msn();
        match opened.partition.append(vec![batch]).await {
            Ok(()) => return Ok(end),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(error) => {
                return Err(crate::cx::during("append after a dropped append", error));
            }
        }
    }
    Err(Failure::new("append still conflicts 2 s after another append was dropped"))
}

async fn drop_appends(cx: &Cx, opened: &Opened) -> CaseResult<Msn> {
    let mut acked = Msn::ZERO;
    for polls in 0..POLLS_MAX {
        let base = opened.partition.bounds().next_msn;
        let call = cx.samples().run(base, 3)?;
        let end = call.last().map_or(base, |batch| batch.next_msn());
        if let Some(answer) = poll_then_drop(opened.partition.append(call), polls).await {
            match answer {
                Ok(()) => acked = end,
                // The append that was dropped before this one may have landed in between.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(crate::cx::during("append", error)),
            }
        }
        acked = append_when_settled(cx, opened).await?.max(acked);
    }
    Ok(acked)
}

/// Whatever is there starts the only sequence that was ever sent, and holds all that was acked.
async fn check_sequence(cx: &Cx, opened: &Opened, acked: Msn) -> CaseResult {
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    check_prefix(&found, &cx.samples().run(Msn::ZERO, found.len())?, "after dropped appends")?;
    let end = found.last().map_or(Msn::ZERO, |batch| batch.next_msn());
    ensure!(end >= acked, "acked up to {acked}, but only {end} is there");
    ensure_eq!(opened.partition.bounds().next_msn, end, "next_msn");
    Ok(())
}

/// An append dropped at any await point leaves whole batches without a gap, and appends go on.
pub async fn dropped_append_leaves_no_gap(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let acked = drop_appends(&cx, &opened).await?;
    check_sequence(&cx, &opened, acked).await
}

/// The same after `sync` and reopen.
pub async fn dropped_append_leaves_no_gap_after_reopen(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let acked = drop_appends(&cx, &opened).await?;
    opened.partition.sync().await?;
    let opened = cx.reopen_dropped(opened).await?;
    check_sequence(&cx, &opened, acked).await
}

/// A sync dropped at any await point loses nothing, and the next one covers everything.
pub async fn dropped_sync_leaves_the_partition_usable(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, POLLS_MAX)?;
    for (polls, batch) in batches.iter().enumerate() {
        opened.append_each(std::slice::from_ref(batch)).await?;
        if let Some(answer) = poll_then_drop(opened.partition.sync(), polls).await {
            answer.map_err(|error| crate::cx::during("sync", error))?;
        }
        let durable = opened.partition.sync().await?;
        ensure_eq!(durable, batch.next_msn(), "what the sync after a dropped one answered");
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after dropped syncs")
}

/// A read dropped at any await point disturbs neither later reads nor appends.
pub async fn dropped_read_changes_nothing(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, POLLS_MAX)?;
    for (polls, batch) in batches.iter().enumerate() {
        opened.append_each(std::slice::from_ref(batch)).await?;
        let _ = poll_then_drop(opened.partition.read(Msn::ZERO, ReadLimit::default()), polls).await;
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after dropped reads")
}

/// A trim dropped at any await point never drops a record at or above what was asked.
pub async fn dropped_trim_drops_no_more_than_asked(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 30)?;
    opened.append_each(&batches).await?;
    let end = opened.partition.bounds().next_msn;
    for polls in 0..POLLS_MAX {
        let before = Msn::new(polls as u64 * 2);
        let _ = poll_then_drop(opened.partition.trim(before), polls).await;
        let found = read_all(&opened.partition, before).await?;
        let wanted: Vec<_> =
            batches.iter().filter(|batch| batch.next_msn() > before).cloned().collect();
        check_same(&found, &wanted, &format!("from {before} after a dropped trim"))?;
    }
    opened.append_each(&cx.samples().run(end, 1)?).await
}

/// A save dropped at any await point leaves the document whole: as it was, or as it would be.
pub async fn dropped_save_leaves_the_old_or_the_new_document(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/reader")?;
    store.save(&name, Bytes::from(vec![0; 5_000]), Expected::Any).await?;
    let mut old = 0_u8;
    for new in 1..=u8::try_from(POLLS_MAX).unwrap_or(u8::MAX) {
        let value = Bytes::from(vec![new; 5_000 + usize::from(new)]);
        let polls = usize::from(new) - 1;
        let done = poll_then_drop(store.save(&name, value, Expected::Any), polls).await;
        let found = store.load(&name).await?.map(|document| document.value).unwrap_or_default();
        let held = found.first().copied().unwrap_or(u8::MAX);
        let whole =
            found.len() == 5_000 + usize::from(held) && found.iter().all(|byte| *byte == held);
        ensure!(whole, "the document is torn: {} bytes that start with {held}", found.len());
        // A dropped save may land late, and then shows in a later round.
        ensure!((old..=new).contains(&held), "value {held} after {old} and a dropped {new}");
        let acked = matches!(done, Some(Ok(_)));
        ensure!(!acked || held == new, "value {held} after an acked save of {new}");
        old = held;
    }
    Ok(())
}

/// An open dropped at any await point leaves a partition that can be opened, or none.
pub async fn dropped_open_can_be_opened_again(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let id = partition(PARTITION)?;
    for polls in 0..POLLS_MAX {
        let _ = poll_then_drop(store.open(&id, OpenOptions::or_create()), polls).await;
        let there = store.open(&id, OpenOptions::or_create()).await?;
        let batch = cx.samples().next(there.bounds().next_msn)?;
        there.append(vec![batch]).await?;
    }
    let there = existing(&store, PARTITION).await?;
    let found = read_all(&there, Msn::ZERO).await?;
    check_same(&found, &cx.samples().run(Msn::ZERO, POLLS_MAX)?, "after dropped opens")
}

/// A close dropped at any await point, and then the store, lets the place go with all that is synced.
pub async fn dropped_close_lets_the_place_go(cx: Cx) -> CaseResult {
    let mut opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, POLLS_MAX)?;
    for (polls, batch) in batches.iter().enumerate() {
        opened.append_each(std::slice::from_ref(batch)).await?;
        opened.partition.sync().await?;
        let _ = poll_then_drop(opened.store.close(), polls).await;
        opened = cx.reopen_dropped(opened).await?;
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after dropped closes")
}
