//! Many callers at once: readers beside the appender, partitions beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::try_join_all;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore, Survives};
use msglog_core::{ErrorKind, Msn};

use crate::case::{MULTI, Need, cases};
use crate::cx::{PARTITION, append_each, check_refused, create, existing, partition, read_all};
use crate::process::waiting::{Waiting, check_no_wait};
use crate::sample::{check_prefix, check_same};
use crate::store_suite::lifecycle::check_no_file_open;
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const POWER: Need = Need::SyncSurvives(Survives::Power);

cases! { "concurrency":
    readers_beside_appends_see_whole_prefixes;
    readers_beside_trims_see_no_gap;
    partitions_are_written_side_by_side;
    sync_beside_append_covers_what_came_before;
    syncs_in_flight_all_hold;
    tasks_opening_one_partition_get_one_sequence;
    reads_do_not_wait_for_each_other;
    open_beside_close_leaves_nothing_half { seconds_max: 60 };
    bounds_do_not_wait_for_the_device
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 120 };
    calls_do_not_block_their_thread
        [POWER, Need::Folder, Need::Address] { runtimes: MULTI, seconds_max: 120 };
}

/// Runs a task of the case, and hands on its failure.
async fn joined(task: tokio::task::JoinHandle<CaseResult>) -> CaseResult {
    task.await.map_err(|cause| Failure::new(format!("a task of the case ended: {cause}")))?
}

/// Readers at work while batches are appended see a growing prefix of whole batches.
pub async fn readers_beside_appends_see_whole_prefixes(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 200)?;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..8 {
        let (there, batches) = (Arc::clone(&opened.partition), batches.clone());
        let done = Arc::clone(&done);
        readers.push(tokio::spawn(async move {
            let mut seen = 0;
            loop {
                let last = done.load(Ordering::Acquire);
                let next = there.bounds().next_msn;
                let found = read_all(&there, Msn::ZERO).await?;
                check_prefix(&found, &batches, "read beside appends")?;
                ensure!(found.len() >= seen, "{} batches after {seen} were seen", found.len());
                let end = found.last().map_or(Msn::ZERO, |batch| batch.next_msn());
                ensure!(end >= next, "bounds said {next}, a later read ended at {end}");
                seen = found.len();
                if last {
                    ensure_eq!(seen, batches.len(), "batches seen at the end");
                    return Ok(());
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    for batch in &batches {
        append_each(&opened.partition, std::slice::from_ref(batch)).await?;
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Release);
    try_join_all(readers.into_iter().map(joined)).await.map(drop)
}

/// A read beside a trim starts at any batch, but misses none after it.
pub async fn readers_beside_trims_see_no_gap(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 120)?;
    opened.append_each(&batches).await?;
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (there, batches) = (Arc::clone(&opened.partition), batches.clone());
        readers.push(tokio::spawn(async move {
            for _ in 0..30 {
                let found = read_all(&there, Msn::ZERO).await?;
                let Some(first) = found.first().map(|batch| batch.base_msn()) else {
                    return Err(Failure::new("read beside trims answered nothing"));
                };
                let mut wanted = batches.clone();
                wanted.retain(|batch| batch.base_msn() >= first);
                check_same(&found, &wanted, "read beside trims")?;
                tokio::task::yield_now().await;
            }
            Ok(())
        }));
    }
    for batch in batches.iter().take(100) {
        opened.partition.trim(batch.base_msn()).await?;
        tokio::task::yield_now().await;
    }
    try_join_all(readers.into_iter().map(joined)).await.map(drop)
}

/// Each partition keeps its own order while all are appended to at once.
pub async fn partitions_are_written_side_by_side(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let mut writers = Vec::new();
    for number in 0..8 {
        let (store, cx) = (Arc::clone(&store), cx.clone());
        writers.push(tokio::spawn(async move {
            let there = create(&store, &format!("side-{number}")).await?;
            let batches = crate::sample::Samples::new(cx.seed() ^ number).run(Msn::ZERO, 40)?;
            for chunk in batches.chunks(10) {
                append_each(&there, chunk).await?;
                there.sync().await?;
            }
            check_same(&read_all(&there, Msn::ZERO).await?, &batches, "each partition")
        }));
    }
    try_join_all(writers.into_iter().map(joined)).await?;
    ensure_eq!(store.partitions().await?.len(), 8, "number of partitions");
    Ok(())
}

/// An append may run beside a sync; the sync covers what was there when it was called.
pub async fn sync_beside_append_covers_what_came_before(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 60)?;
    for pair in batches.chunks(2) {
        let [early, late] = pair else { break };
        append_each(&opened.partition, std::slice::from_ref(early)).await?;
        let sync = opened.partition.sync();
        let append = opened.partition.append(vec![late.clone()]);
        let (durable, appended) = futures::join!(sync, append);
        appended.map_err(|error| crate::cx::during("append beside sync", error))?;
        let (durable, least) = (durable?, early.next_msn());
        ensure!(durable >= least, "sync answered {durable}, called when {least} was next");
        let next = opened.partition.bounds().next_msn;
        ensure!(durable <= next, "sync answered {durable}, beyond the end {next}");
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "read back")
}

/// As many syncs as `syncs_in_flight_max` names run at once, and each covers what came before it.
pub async fn syncs_in_flight_all_hold(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let count = cx.capabilities().syncs_in_flight_max.clamp(1, 64);
    for batch in cx.samples().run(Msn::ZERO, 10)? {
        append_each(&opened.partition, std::slice::from_ref(&batch)).await?;
        for durable in try_join_all((0..count).map(|_| opened.partition.sync())).await? {
            ensure_eq!(durable, batch.next_msn(), "what one of {count} syncs answered");
        }
    }
    Ok(())
}

/// Tasks that create the same partition at the same time all get the same sequence.
pub async fn tasks_opening_one_partition_get_one_sequence(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let id = partition(PARTITION)?;
    let opening = (0..16).map(|_| store.open(&id, OpenOptions::or_create()));
    let handles: Vec<Arc<dyn PartitionStore>> = try_join_all(opening).await?;
    let batches = cx.samples().run(Msn::ZERO, handles.len())?;
    for (there, batch) in handles.iter().zip(&batches) {
        append_each(there, std::slice::from_ref(batch)).await?;
    }
    for there in &handles {
        check_same(&read_all(there, Msn::ZERO).await?, &batches, "each handle")?;
    }
    ensure_eq!(store.partitions().await?.len(), 1, "number of partitions");
    Ok(())
}

/// A read that was begun and is not polled keeps neither other reads nor appends waiting.
pub async fn reads_do_not_wait_for_each_other(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 4)?;
    opened.append_each(batches.get(..2).unwrap_or_default()).await?;
    let mut begun = opened.partition.read(Msn::ZERO, msglog_core::store::ReadLimit::default());
    let early = futures::poll!(&mut begun);
    let rest = async {
        append_each(&opened.partition, batches.get(2..).unwrap_or_default()).await?;
        read_all(&opened.partition, Msn::ZERO).await
    };
    let found = tokio::time::timeout(Duration::from_secs(5), rest).await;
    let Ok(found) = found else {
        return Err(Failure::new("a read that is not polled keeps other calls waiting"));
    };
    check_same(&found?, &batches, "beside a read that is not polled")?;
    if early.is_pending() {
        begun.await?;
    }
    Ok(())
}

/// How many partitions are opened beside one close.
const OPENED_BESIDE: usize = 6;

/// Beside `close`, an open answers a partition or `Closed`; neither keeps a file open or leaves
/// half a partition.
pub async fn open_beside_close_leaves_nothing_half(cx: Cx) -> CaseResult {
    for round in 0..12 {
        let store = cx.open().await?;
        create(&store, &format!("before-{round}")).await?;
        let opened = open_beside_close(&store, round).await?;
        for there in &opened {
            let batch = cx.samples().next(there.bounds().next_msn)?;
            let answer = there.append(vec![batch]).await;
            check_refused(answer, ErrorKind::Closed, "append to what was opened beside close")?;
        }
        // Handles of a closed store live on, and hold nothing.
        check_no_file_open(&cx).await?;
        drop((opened, store));
        if cx.capabilities().sync_survives >= Survives::Process {
            check_all_are_whole(&cx).await.map_err(|failure| failure.during("after reopen"))?;
        }
    }
    Ok(())
}

/// Closes the store while tasks create partitions on it; answers what they got.
async fn open_beside_close(
    store: &Arc<dyn MessageStore>,
    round: usize,
) -> CaseResult<Vec<Arc<dyn PartitionStore>>> {
    let mut opening = Vec::new();
    for number in 0..OPENED_BESIDE {
        let (store, id) = (Arc::clone(store), partition(&format!("beside-{round}-{number}"))?);
        opening.push(tokio::spawn(async move { store.open(&id, OpenOptions::or_create()).await }));
    }
    for _ in 0..round % 4 {
        tokio::task::yield_now().await;
    }
    store.close().await.map_err(|error| crate::cx::during("close beside opens", error))?;
    let mut opened = Vec::new();
    for task in opening {
        let answer = task.await;
        match answer.map_err(|cause| Failure::new(format!("an open ended: {cause}")))? {
            Ok(there) => opened.push(there),
            Err(error) if error.kind() == ErrorKind::Closed => {}
            Err(error) => return Err(crate::cx::during("open beside close", error)),
        }
    }
    Ok(opened)
}

/// Every partition there is can be opened, is empty, and takes a batch.
async fn check_all_are_whole(cx: &Cx) -> CaseResult {
    let store = cx.open().await?;
    for id in store.partitions().await? {
        let there = existing(&store, &id.to_string()).await?;
        ensure_eq!(there.bounds().next_msn, Msn::ZERO, "next_msn of {id}");
        let batches = cx.samples().run(Msn::ZERO, 1)?;
        append_each(&there, &batches).await?;
        check_same(&read_all(&there, Msn::ZERO).await?, &batches, "a batch of each")?;
        store.remove(&id).await?;
    }
    store.close().await?;
    Ok(())
}

/// On a slow device `bounds` answers at once, while a write or a sync is under way.
pub async fn bounds_do_not_wait_for_the_device(cx: Cx) -> CaseResult {
    check_no_wait(&cx, Waiting::Bounds).await
}

/// On a slow device `append` and `sync` leave the thread that polls them to other tasks.
pub async fn calls_do_not_block_their_thread(cx: Cx) -> CaseResult {
    check_no_wait(&cx, Waiting::Task).await
}
