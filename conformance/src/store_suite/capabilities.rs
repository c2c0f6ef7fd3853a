//! What a store claims and what it does not: both are held against it; and what its errors say.

use bytes::Bytes;
use msglog_core::store::{Access, Expected, Survives};
use msglog_core::{Effect, ErrorKind, Msn};

use crate::backend::Fault;
use crate::case::{MULTI, Need, cases};
use crate::cx::{Opened, PARTITION, check_refused, create, existing, key, partition, read_all};
use crate::sample::{check_same, timestamp};
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "capabilities":
    claims_make_sense;
    unclaimed_truncate_is_unsupported_and_changes_nothing [Need::NoTruncate];
    unclaimed_find_is_unsupported [Need::NoFind];
    unclaimed_replace_is_unsupported_and_changes_nothing [Need::NoReplace];
    unclaimed_parts_are_none [Need::NoReadPart];
    unclaimed_survival_is_true [Need::NothingSurvives];
    unclaimed_readers_see_nothing [Need::NoSharedReaders];
    unclaimed_reader_documents_are_refused [Need::NoSharedDocuments];
    claimed_reader_documents_are_saved [Need::SharedDocuments];
    failed_sync_poisons_until_reopen
        [Need::Faults, Need::SyncSurvives(Survives::Process)] { runtimes: MULTI };
    full_storage_is_refused_and_resumes [Need::Faults] { runtimes: MULTI };
}

/// No claim contradicts another, and no limit is zero.
pub async fn claims_make_sense(cx: Cx) -> CaseResult {
    let has = cx.capabilities();
    ensure!(
        has.append_survives <= has.sync_survives,
        "append claims to survive {:?}, more than sync: {:?}",
        has.append_survives,
        has.sync_survives
    );
    ensure!(has.syncs_in_flight_max >= 1, "syncs_in_flight_max is 0");
    ensure!(has.batch_bytes_max >= 4_096, "batch_bytes_max is {}", has.batch_bytes_max);
    ensure!(has.document_bytes_max >= 4_096, "document_bytes_max is {}", has.document_bytes_max);
    ensure!(
        has.shared_readers || !has.shared_documents,
        "readers are claimed to save documents, but not to read beside the writer"
    );
    Ok(())
}

async fn filled(cx: &Cx) -> CaseResult<Opened> {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 10)?).await?;
    Ok(opened)
}

async fn check_unchanged(cx: &Cx, opened: &Opened) -> CaseResult {
    let batches = cx.samples().run(Msn::ZERO, 10)?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after a refused call")?;
    opened.append_each(&cx.samples().run(opened.partition.bounds().next_msn, 1)?).await
}

/// Without the claim, `truncate` answers `Unsupported` and drops nothing.
pub async fn unclaimed_truncate_is_unsupported_and_changes_nothing(cx: Cx) -> CaseResult {
    let opened = filled(&cx).await?;
    let answer = opened.partition.truncate(Msn::new(3)).await;
    check_refused(answer, ErrorKind::Unsupported, "truncate, which is not claimed")?;
    check_unchanged(&cx, &opened).await
}

/// Without the claim, `find` answers `Unsupported`.
pub async fn unclaimed_find_is_unsupported(cx: Cx) -> CaseResult {
    let opened = filled(&cx).await?;
    let answer = opened.partition.find(timestamp(Msn::new(3))).await;
    check_refused(answer, ErrorKind::Unsupported, "find, which is not claimed")?;
    check_unchanged(&cx, &opened).await
}

/// Without the claim, `replace` answers `Unsupported` and replaces nothing.
pub async fn unclaimed_replace_is_unsupported_and_changes_nothing(cx: Cx) -> CaseResult {
    let opened = filled(&cx).await?;
    let first = cx.samples().next(Msn::ZERO)?;
    let answer = opened.partition.replace(Msn::ZERO..first.next_msn(), Vec::new()).await;
    check_refused(answer, ErrorKind::Unsupported, "replace, which is not claimed")?;
    check_unchanged(&cx, &opened).await
}

/// Without the claim, `read_part` answers `None`, as its default does.
pub async fn unclaimed_parts_are_none(cx: Cx) -> CaseResult {
    let opened = filled(&cx).await?;
    let first = cx.samples().next(Msn::ZERO)?;
    let part = opened.partition.read_part(Msn::ZERO..first.next_msn(), 0..10).await?;
    ensure!(part.is_none(), "`read_part` answers a part, and is not claimed");
    check_unchanged(&cx, &opened).await
}

/// A store that claims that nothing survives is empty when its place is opened again.
pub async fn unclaimed_survival_is_true(cx: Cx) -> CaseResult {
    let opened = filled(&cx).await?;
    opened.partition.sync().await?;
    opened.store.close().await?;
    drop(opened);
    let store = cx.open().await?;
    let there = store.partitions().await?.len();
    ensure!(
        there == 0,
        "{there} partitions are there after close and reopen, though nothing is claimed to \
         survive: claim `sync_survives` = `Process` or more"
    );
    Ok(())
}

/// Without `shared_readers`, one who opens beside the writer is refused or sees nothing of it.
pub async fn unclaimed_readers_see_nothing(cx: Cx) -> CaseResult {
    let opened = filled(&cx).await?;
    if let Ok(reader) = cx.place().open(Access::Read).await {
        let seen = reader.partitions().await.unwrap_or_default();
        ensure!(
            seen.is_empty(),
            "{seen:?} are seen by a reader beside the writer: claim `shared_readers`, or refuse \
             `Access::Read` beside a writer with `Locked`"
        );
    }
    check_unchanged(&cx, &opened).await
}

/// Without `shared_documents`, a reader's `save` and `discard` are `ReadOnly` and change nothing.
pub async fn unclaimed_reader_documents_are_refused(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    store.save(&name, "writer".into(), Expected::Absent).await?;
    let reader = cx.open_reader().await?;
    let answer = reader.save(&name, "reader".into(), Expected::Any).await;
    check_refused(answer, ErrorKind::ReadOnly, "save by a reader")?;
    let answer = reader.discard(&name, Expected::Any).await;
    check_refused(answer, ErrorKind::ReadOnly, "discard by a reader")?;
    let found = store.load(&name).await?.map(|document| document.value);
    ensure_eq!(found, Some(Bytes::from("writer")), "value");
    Ok(())
}

/// With `shared_documents`, readers save and discard by compare-and-swap like the writer.
pub async fn claimed_reader_documents_are_saved(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    let first = store.save(&name, "writer".into(), Expected::Absent).await?;
    let reader = cx.open_reader().await?;
    let second = reader.save(&name, "reader".into(), Expected::Version(first)).await?;
    let answer = store.save(&name, "stale".into(), Expected::Version(first)).await;
    check_refused(answer, ErrorKind::Conflict, "save over what a reader saved")?;
    let found = store.load(&name).await?.map(|document| document.value);
    ensure_eq!(found, Some(Bytes::from("reader")), "value seen by the writer");
    ensure!(store.discard(&name, Expected::Version(second)).await?, "it was there");
    ensure_eq!(reader.load(&name).await?, None, "the document seen by the reader");
    Ok(())
}

/// After a failed sync, writes are `Poisoned` and reads go on; reopened, what was synced is there.
pub async fn failed_sync_poisons_until_reopen(cx: Cx) -> CaseResult {
    let Some(faults) = cx.place().faults() else { return Ok(()) };
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 4)?;
    let (safe, unsure) = batches.split_at(2);
    opened.append_each(safe).await?;
    opened.partition.sync().await?;
    opened.append_each(unsure).await?;
    faults.inject(Fault::SyncFails).await;
    let failed = opened.partition.sync().await;
    faults.heal().await;
    ensure!(failed.is_err(), "sync succeeded although the storage below failed");
    let effect = failed.err().map(|error| error.effect());
    ensure_eq!(effect, Some(Effect::Unknown), "effect of a failed sync");
    let batch = cx.samples().next(opened.partition.bounds().next_msn)?;
    let after =
        [opened.partition.append(vec![batch]).await, opened.partition.sync().await.map(drop)];
    for (answer, call) in after.into_iter().zip(["append", "sync"]) {
        let kind = answer.err().map(|error| error.kind());
        ensure_eq!(kind, Some(ErrorKind::Poisoned), "{call} after a failed sync");
    }
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    ensure!(found.len() >= safe.len(), "reads stopped after a failed sync");
    let opened = cx.reopen_dropped(opened).await?;
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    crate::sample::check_prefix(&found, &batches, "after reopen")?;
    ensure!(found.len() >= safe.len(), "{} of 2 synced batches after reopen", found.len());
    opened.append_each(&cx.samples().run(opened.partition.bounds().next_msn, 1)?).await
}

/// Without room an append is `StorageFull` with nothing torn; with room again, appends go on.
pub async fn full_storage_is_refused_and_resumes(cx: Cx) -> CaseResult {
    let Some(faults) = cx.place().faults() else { return Ok(()) };
    let opened = filled(&cx).await?;
    let next = opened.partition.bounds().next_msn;
    faults.inject(Fault::Full).await;
    let answer = opened.partition.append(vec![cx.samples().next(next)?]).await;
    faults.heal().await;
    let Err(error) = answer else {
        ensure!(false, "append succeeded although there was no room");
        return Ok(());
    };
    ensure_eq!(error.kind(), ErrorKind::StorageFull, "kind of an append without room");
    ensure_eq!(error.effect(), Effect::NotApplied, "effect of an append without room");
    ensure!(error.is_transient(), "an append without room says that trying again cannot help");
    ensure_eq!(opened.partition.bounds().next_msn, next, "next_msn");
    check_unchanged(&cx, &opened).await?;
    let there = existing(&opened.store, PARTITION).await?;
    ensure_eq!(there.bounds().next_msn, opened.partition.bounds().next_msn, "next_msn");
    create(&opened.store, "other-0").await?;
    ensure!(opened.store.partitions().await?.contains(&partition(PARTITION)?), "it is gone");
    if cx.capabilities().sync_survives == Survives::None {
        return Ok(());
    }
    let all = read_all(&opened.partition, Msn::ZERO).await?;
    let opened = cx.reopen(opened).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &all, "after reopen")
}
