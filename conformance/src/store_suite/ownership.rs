//! Who may write, and who reads beside the writer, in this process and in another.

use std::sync::Arc;
use std::time::Duration;

use msglog_core::store::{
    Access, Expected, MessageStore, OpenOptions, Ownership, PartitionStore, Survives,
};
use msglog_core::{ErrorKind, Msn};

use crate::case::{MULTI, Need, cases};
use crate::cx::{
    PARTITION, append_each, check_refused, create, during, existing, key, partition, read_all,
};
use crate::process::{Child, Job};
use crate::sample::{check_prefix, check_same};
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const EXCLUSIVE: Need = Need::Owned(Ownership::Exclusive);
const TAKEOVER: Need = Need::Owned(Ownership::Takeover);
const ELSEWHERE: Need = Need::SyncSurvives(Survives::Os);

cases! { "ownership":
    second_writer_is_locked_out [EXCLUSIVE];
    place_is_free_after_close [EXCLUSIVE];
    place_is_free_after_drop [EXCLUSIVE];
    writer_in_another_process_is_locked_out
        [EXCLUSIVE, ELSEWHERE, Need::Address] { runtimes: MULTI };
    stale_writer_is_fenced [TAKEOVER];
    takeover_sees_what_was_synced [TAKEOVER];
    private_places_do_not_mix [Need::Owned(Ownership::Private)];
    reader_follows_the_writer [Need::SharedReaders];
    reader_sees_trims_and_new_partitions [Need::SharedReaders];
    reader_sees_documents [Need::SharedReaders];
    reader_changes_nothing [Need::SharedReaders];
    readers_keep_no_writer_out [Need::SharedReaders];
    reader_outlives_its_writer [Need::SharedReaders, Need::SyncSurvives(Survives::Process)];
    reader_in_another_process_follows
        [Need::SharedReaders, ELSEWHERE, Need::Address] { runtimes: MULTI };
    reader_of_nothing_makes_nothing [Need::Folder];
}

/// A second writer is `Locked` out, and the first one goes on undisturbed.
pub async fn second_writer_is_locked_out(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 4)?;
    for batch in &batches {
        check_refused(cx.place().open(Access::Write).await, ErrorKind::Locked, "a second writer")?;
        append_each(&opened.partition, std::slice::from_ref(batch)).await?;
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "the first writer's")
}

/// `close` lets the place go, although values of the closed store still live.
pub async fn place_is_free_after_close(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.store.close().await?;
    cx.open().await?;
    drop(opened);
    Ok(())
}

/// Dropping a store and its partitions lets the place go.
pub async fn place_is_free_after_drop(cx: Cx) -> CaseResult {
    for _ in 0..5 {
        drop(cx.open_once_free().await?);
    }
    Ok(())
}

/// The lock holds between processes too.
pub async fn writer_in_another_process_is_locked_out(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let mut child = Child::start(&cx, Job::OpenForWriting)?;
    ensure_eq!(child.line().await?, "locked", "what a writer in another process was told");
    opened.store.close().await?;
    drop(opened);
    let mut child = Child::start(&cx, Job::OpenForWriting)?;
    ensure_eq!(child.line().await?, "opened", "what it was told after close");
    Ok(())
}

/// After a takeover the old writer's next append is `Fenced`, and nothing of it is there.
pub async fn stale_writer_is_fenced(cx: Cx) -> CaseResult {
    let old = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 6)?;
    let (early, late) = batches.split_at(3);
    old.append_each(early).await?;
    old.partition.sync().await?;
    let new = cx.open_partition().await?;
    let stale = crate::sample::Samples::new(!cx.seed()).next(new.partition.bounds().next_msn)?;
    let answer = old.partition.append(vec![stale]).await;
    let answer = match answer {
        Ok(()) => old.partition.sync().await.map(drop),
        refused => refused,
    };
    let kind = answer.err().map(|error| error.kind());
    ensure_eq!(kind, Some(ErrorKind::Fenced), "what the old writer was told");
    new.append_each(late).await?;
    check_same(&read_all(&new.partition, Msn::ZERO).await?, &batches, "the new writer's")
}

/// Whoever takes over sees all that the old writer had synced.
pub async fn takeover_sees_what_was_synced(cx: Cx) -> CaseResult {
    let batches = cx.samples().run(Msn::ZERO, 12)?;
    let mut writers = Vec::new();
    for chunk in batches.chunks(3) {
        let writer = cx.open_partition().await?;
        writer.append_each(chunk).await?;
        writer.partition.sync().await?;
        writers.push(writer);
    }
    let last = cx.open_partition().await?;
    check_same(&read_all(&last.partition, Msn::ZERO).await?, &batches, "after three takeovers")
}

/// Where places are private, a second store has nothing of the first.
pub async fn private_places_do_not_mix(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 3)?).await?;
    let other = match cx.place().open(Access::Write).await {
        Err(error) if error.kind() == ErrorKind::Locked => {
            let what = "a second store on one place is locked out: claim `ownership` = `Exclusive`";
            return Err(Failure::new(what));
        }
        other => other.map_err(|error| during("open a second store on one place", error))?,
    };
    let seen = other.partitions().await?;
    ensure!(
        seen.is_empty(),
        "a second store on one place sees {seen:?} of the first: claim `ownership` = `Exclusive` \
         and answer `Locked`, or claim `Takeover`"
    );
    Ok(())
}

/// Refreshes until the reader has seen `end`, which a poll or two must show.
async fn follow(there: &Arc<dyn PartitionStore>, end: Msn) -> CaseResult {
    for _ in 0..200 {
        let next = there.refresh().await?.next_msn;
        ensure_eq!(there.bounds().next_msn, next, "bounds after refresh");
        if next >= end {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let next = there.bounds().next_msn;
    Err(Failure::new(format!("a reader still ends at {next}, the writer at {end}")))
}

/// A reader sees each of the writer's batches, whole and in order, as it refreshes.
pub async fn reader_follows_the_writer(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let reader = cx.open_reader().await?;
    let there = existing(&reader, PARTITION).await?;
    let batches = cx.samples().run(Msn::ZERO, 30)?;
    for (index, batch) in batches.iter().enumerate() {
        append_each(&opened.partition, std::slice::from_ref(batch)).await?;
        follow(&there, batch.next_msn()).await?;
        let found = read_all(&there, Msn::ZERO).await?;
        check_same(&found, batches.get(..=index).unwrap_or_default(), "what the reader sees")?;
    }
    let durable = there.bounds().durable_msn;
    ensure!(durable <= there.bounds().next_msn, "durable_msn {durable} is beyond the end");
    Ok(())
}

/// A reader sees what the writer trims, and partitions that the writer creates.
pub async fn reader_sees_trims_and_new_partitions(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    opened.append_each(&batches).await?;
    let reader = cx.open_reader().await?;
    let there = existing(&reader, PARTITION).await?;
    follow(&there, opened.partition.bounds().next_msn).await?;
    let first = opened.partition.trim(opened.partition.bounds().next_msn).await?;
    for _ in 0..200 {
        if there.refresh().await?.first_msn == first {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ensure_eq!(there.bounds().first_msn, first, "the reader's first_msn after the writer's trim");
    ensure!(read_all(&there, Msn::ZERO).await?.is_empty(), "the reader reads what was trimmed");
    let new = create(&opened.store, "new-0").await?;
    append_each(&new, &batches).await?;
    ensure!(reader.partitions().await?.contains(&partition("new-0")?), "new-0 is not listed");
    let there = existing(&reader, "new-0").await?;
    follow(&there, new.bounds().next_msn).await?;
    check_same(&read_all(&there, Msn::ZERO).await?, &batches, "the reader's new partition")
}

/// A reader's `load` sees every completed `save` and `discard` of the writer.
pub async fn reader_sees_documents(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("topics/orders")?;
    store.save(&name, "first".into(), Expected::Absent).await?;
    let reader = cx.open_reader().await?;
    for text in ["second", "third"] {
        let version = store.save(&name, text.into(), Expected::Any).await?;
        let found = reader.load(&name).await?;
        ensure_eq!(found.as_ref().map(|d| d.version), Some(version), "version seen by the reader");
        ensure_eq!(found.map(|d| d.value), Some(text.into()), "value seen by the reader");
    }
    ensure_eq!(reader.documents("").await?, vec![name.clone()], "documents seen by the reader");
    store.discard(&name, Expected::Any).await?;
    ensure_eq!(reader.load(&name).await?, None, "the document after discard");
    Ok(())
}

/// Every call of a reader that would change something is `ReadOnly`.
pub async fn reader_changes_nothing(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 5)?;
    opened.append_each(&batches).await?;
    let reader = cx.open_reader().await?;
    let there = existing(&reader, PARTITION).await?;
    let refused = ErrorKind::ReadOnly;
    let batch = cx.samples().next(opened.partition.bounds().next_msn)?;
    check_refused(there.append(vec![batch]).await, refused, "append by a reader")?;
    check_refused(there.trim(Msn::new(3)).await, refused, "trim by a reader")?;
    let id = partition(PARTITION)?;
    check_refused(reader.remove(&id).await, refused, "remove by a reader")?;
    let answer = reader.open(&partition("new-0")?, OpenOptions::or_create()).await;
    check_refused(answer.map(drop), refused, "creation by a reader")?;
    if cx.capabilities().truncate {
        check_refused(there.truncate(Msn::new(3)).await, refused, "truncate by a reader")?;
    }
    reader.close().await?;
    ensure_eq!(opened.store.partitions().await?, vec![id], "partitions");
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "the writer's batches")
}

/// Readers, open, closed or dropped, keep neither the writer nor the next one out.
pub async fn readers_keep_no_writer_out(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 2)?).await?;
    let stays = cx.open_reader().await?;
    let there = existing(&stays, PARTITION).await?;
    read_all(&there, Msn::ZERO).await?;
    cx.open_reader().await?.close().await?;
    drop(cx.open_reader().await?);
    opened.append_each(&cx.samples().run(opened.partition.bounds().next_msn, 1)?).await?;
    opened.store.close().await?;
    drop(opened);
    let again = cx.open_once_free().await?;
    create(&again, PARTITION).await?;
    Ok(())
}

/// A reader goes on when its writer closes, and follows the next one.
pub async fn reader_outlives_its_writer(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 8)?;
    let (early, late) = batches.split_at(4);
    opened.append_each(early).await?;
    let reader = cx.open_reader().await?;
    let there = existing(&reader, PARTITION).await?;
    let opened = cx.reopen(opened).await?;
    check_same(&read_all(&there, Msn::ZERO).await?, early, "between two writers")?;
    opened.append_each(late).await?;
    follow(&there, opened.partition.bounds().next_msn).await?;
    check_same(&read_all(&there, Msn::ZERO).await?, &batches, "under the second writer")
}

/// A reader follows a writer of another process: prefixes that grow, whole batches.
pub async fn reader_in_another_process_follows(cx: Cx) -> CaseResult {
    let mut child = Child::start(&cx, Job::Append { sync_every: 3, pause_micros: 1_000 })?;
    let acked = child.acked_msn().await?;
    let reader = cx.open_reader().await?;
    let there = existing(&reader, PARTITION).await?;
    follow(&there, acked).await?;
    let mut seen = 0;
    for _ in 0..20 {
        let acked = child.acked_msn().await?;
        follow(&there, acked).await?;
        let found = read_all(&there, Msn::ZERO).await?;
        check_prefix(&found, &cx.samples().run(Msn::ZERO, found.len())?, "beside another process")?;
        ensure!(found.len() >= seen, "{} batches after {seen} were seen", found.len());
        seen = found.len();
    }
    ensure!(seen >= 20, "only {seen} batches were seen");
    Ok(())
}

/// A reader of a place that nobody has written to is refused or sees nothing, and makes nothing.
pub async fn reader_of_nothing_makes_nothing(cx: Cx) -> CaseResult {
    if let Ok(reader) = cx.place().open(Access::Read).await {
        check_nothing(&reader).await?;
    }
    let Some(folder) = cx.place().folder() else { return Ok(()) };
    let made: Vec<_> =
        std::fs::read_dir(folder)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(made.is_empty(), "opening for reading made {made:?}");
    Ok(())
}

async fn check_nothing(reader: &Arc<dyn MessageStore>) -> CaseResult {
    ensure_eq!(reader.partitions().await?, Vec::new(), "partitions of an empty place");
    ensure_eq!(reader.documents("").await?, Vec::new(), "documents of an empty place");
    reader.close().await?;
    Ok(())
}
