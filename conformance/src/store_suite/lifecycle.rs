//! Opening, closing, dropping, reopening and removing: what stays, what goes, what is let go of.

use msglog_core::store::{Expected, OpenOptions, PartitionStore, ReadLimit, Survives};
use msglog_core::{ErrorKind, Msn, NAME_BYTES_MAX, RecordBatch};

use crate::case::{Need, cases};
use crate::cx::{
    PARTITION, append_each, check_refused, create, existing, key, partition, read_all,
};
use crate::sample::check_same;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "lifecycle":
    created_partitions_are_listed_in_order;
    missing_partition_is_not_found_and_not_made;
    synced_batches_survive_close [REOPENS];
    synced_batches_survive_drop [REOPENS];
    close_makes_what_was_appended_durable [REOPENS];
    appends_continue_after_reopen [REOPENS];
    many_reopens_lose_nothing [REOPENS];
    empty_partition_keeps_its_start [REOPENS];
    bounds_survive_reopen [REOPENS];
    second_close_does_nothing;
    calls_after_close_are_refused;
    removed_partition_is_gone;
    removed_partition_starts_empty_when_created_again;
    removal_survives_reopen [REOPENS];
    removal_touches_no_other_partition;
    handles_of_a_removed_partition_are_closed;
    names_at_the_edges_are_kept_apart;
    hundreds_of_partitions_are_kept { seconds_max: 60 };
    claims_and_info_stay_the_same;
    closed_store_leaves_no_file_open [Need::Folder];
    dropped_store_leaves_no_file_open [Need::Folder];
}

/// `partitions` lists every partition once, by topic and then by number.
pub async fn created_partitions_are_listed_in_order(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    ensure_eq!(store.partitions().await?, Vec::new(), "partitions of a fresh store");
    let mut expected = Vec::new();
    for name in ["b-2", "b-10", "a-0", "b-1", "a-b-0", "B-0", "a.b-3", "b-2"] {
        create(&store, name).await?;
        expected.push(partition(name)?);
    }
    expected.sort();
    expected.dedup();
    ensure_eq!(store.partitions().await?, expected, "partitions");
    Ok(())
}

/// Opening what does not exist without creating it is `NotFound`, and makes nothing.
pub async fn missing_partition_is_not_found_and_not_made(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    for _ in 0..2 {
        let answer = store.open(&partition(PARTITION)?, OpenOptions::existing()).await;
        check_refused(answer, ErrorKind::NotFound, "open a missing partition")?;
    }
    ensure_eq!(store.partitions().await?, Vec::new(), "partitions");
    Ok(())
}

/// What `sync` covered is there after close and reopen.
pub async fn synced_batches_survive_close(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    opened.append_each(&batches).await?;
    opened.partition.sync().await?;
    let opened = cx.reopen(opened).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after reopen")
}

/// What `sync` covered is there after the store was dropped without close.
pub async fn synced_batches_survive_drop(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    opened.append_each(&batches).await?;
    opened.partition.sync().await?;
    let opened = cx.reopen_dropped(opened).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after drop and reopen")?;
    let end = opened.partition.bounds().next_msn;
    ensure_eq!(opened.partition.sync().await?, end, "what sync answered after reopen");
    ensure_eq!(opened.partition.bounds().durable_msn, end, "durable_msn after that sync");
    Ok(())
}

/// `close` covers what was appended without `sync`.
pub async fn close_makes_what_was_appended_durable(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    opened.append_each(&batches).await?;
    let opened = cx.reopen(opened).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after close and reopen")
}

/// A reopened partition goes on where it ended.
pub async fn appends_continue_after_reopen(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 20)?;
    let (early, late) = batches.split_at(10);
    opened.append_each(early).await?;
    let opened = cx.reopen(opened).await?;
    let end = early.last().map(RecordBatch::next_msn);
    ensure_eq!(Some(opened.partition.bounds().next_msn), end, "next_msn after reopen");
    opened.append_each(late).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "both halves")?;
    let opened = cx.reopen(opened).await?;
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after a second reopen")
}

/// However often it is reopened, closed or dropped, a partition keeps all that was synced.
pub async fn many_reopens_lose_nothing(cx: Cx) -> CaseResult {
    let mut opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 24)?;
    for (round, chunk) in batches.chunks(2).enumerate() {
        opened.append_each(chunk).await?;
        opened.partition.sync().await?;
        opened = if round % 2 == 0 {
            cx.reopen(opened).await?
        } else {
            cx.reopen_dropped(opened).await?
        };
    }
    check_same(&read_all(&opened.partition, Msn::ZERO).await?, &batches, "after 12 reopens")
}

/// An empty partition created at an MSN still starts there after close and reopen.
pub async fn empty_partition_keeps_its_start(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let start = Msn::new(4_242);
    let there = store.open(&partition(PARTITION)?, OpenOptions::or_create_at(start)).await?;
    drop(there);
    store.close().await?;
    drop(store);
    let store = cx.open().await?;
    let there = existing(&store, PARTITION).await?;
    ensure_eq!(there.bounds().next_msn, start, "next_msn after reopen");
    append_each(&there, &cx.samples().run(start, 1)?).await
}

/// After close and reopen the bounds are what they were, and all of it is durable.
pub async fn bounds_survive_reopen(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 10)?).await?;
    opened.partition.trim(Msn::new(8)).await?;
    let before = opened.partition.bounds();
    let opened = cx.reopen(opened).await?;
    let after = opened.partition.bounds();
    ensure_eq!(after.first_msn, before.first_msn, "first_msn");
    ensure_eq!(after.next_msn, before.next_msn, "next_msn");
    ensure_eq!(after.durable_msn, before.next_msn, "durable_msn");
    Ok(())
}

/// Closing a closed store succeeds.
pub async fn second_close_does_nothing(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    for _ in 0..3 {
        opened.store.close().await?;
    }
    Ok(())
}

/// After `close`, calls on the store and on its partitions answer `Closed`.
pub async fn calls_after_close_are_refused(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 3)?).await?;
    opened.store.close().await?;
    let (store, closed) = (&opened.store, ErrorKind::Closed);
    let id = partition(PARTITION)?;
    let name = key("a/b")?;
    check_refused(store.open(&id, OpenOptions::or_create()).await, closed, "open")?;
    check_refused(store.partitions().await, closed, "partitions")?;
    check_refused(store.remove(&id).await, closed, "remove")?;
    check_refused(store.load(&name).await, closed, "load")?;
    check_refused(store.save(&name, "x".into(), Expected::Any).await, closed, "save")?;
    check_refused(store.discard(&name, Expected::Any).await, closed, "discard")?;
    check_refused(store.documents("").await, closed, "documents")?;
    check_closed(opened.partition.as_ref(), &cx).await
}

/// Every call of a partition that no longer is there answers `Closed`.
async fn check_closed(there: &dyn PartitionStore, cx: &Cx) -> CaseResult {
    let closed = ErrorKind::Closed;
    let batch = cx.samples().batch(there.bounds().next_msn, 1)?;
    check_refused(there.append(vec![batch]).await, closed, "append")?;
    check_refused(there.read(Msn::ZERO, ReadLimit::default()).await, closed, "read")?;
    check_refused(there.sync().await, closed, "sync")?;
    check_refused(there.trim(Msn::new(1)).await, closed, "trim")?;
    check_refused(there.usage().await, closed, "usage")
}

/// `remove` answers whether the partition existed; afterwards it does not.
pub async fn removed_partition_is_gone(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 3)?).await?;
    drop(opened.partition);
    let (store, id) = (opened.store, partition(PARTITION)?);
    ensure!(store.remove(&id).await?, "remove said that there was nothing");
    ensure!(!store.remove(&id).await?, "a second remove said that there was something");
    ensure_eq!(store.partitions().await?, Vec::new(), "partitions");
    let answer = store.open(&id, OpenOptions::existing()).await;
    check_refused(answer, ErrorKind::NotFound, "open after remove")
}

/// A removed partition can be created again and holds nothing of the old one.
pub async fn removed_partition_starts_empty_when_created_again(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 5)?).await?;
    drop(opened.partition);
    opened.store.remove(&partition(PARTITION)?).await?;
    let there = create(&opened.store, PARTITION).await?;
    ensure_eq!(there.bounds().next_msn, Msn::ZERO, "next_msn");
    ensure!(read_all(&there, Msn::ZERO).await?.is_empty(), "old batches are there");
    let batches = crate::sample::Samples::new(!cx.seed()).run(Msn::ZERO, 3)?;
    append_each(&there, &batches).await?;
    check_same(&read_all(&there, Msn::ZERO).await?, &batches, "the new partition")
}

/// A removed partition is still gone after reopen, and what replaced it is there.
pub async fn removal_survives_reopen(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    for name in ["gone-0", "again-0"] {
        append_each(&create(&store, name).await?, &cx.samples().run(Msn::ZERO, 5)?).await?;
        store.remove(&partition(name)?).await?;
    }
    let batches = crate::sample::Samples::new(!cx.seed()).run(Msn::ZERO, 2)?;
    append_each(&create(&store, "again-0").await?, &batches).await?;
    store.close().await?;
    drop(store);
    let store = cx.open().await?;
    ensure_eq!(store.partitions().await?, vec![partition("again-0")?], "partitions after reopen");
    let there = existing(&store, "again-0").await?;
    check_same(&read_all(&there, Msn::ZERO).await?, &batches, "the new partition after reopen")
}

/// Removing one partition leaves its neighbours and all documents as they are.
pub async fn removal_touches_no_other_partition(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let batches = cx.samples().run(Msn::ZERO, 3)?;
    let names = ["a-1", "a-10", "a-1-1", "a-2"];
    for name in names {
        append_each(&create(&store, name).await?, &batches).await?;
    }
    store.save(&key("a-1")?, "kept".into(), Expected::Absent).await?;
    store.remove(&partition("a-1")?).await?;
    for name in names.iter().skip(1) {
        let there = existing(&store, name).await?;
        check_same(&read_all(&there, Msn::ZERO).await?, &batches, name)?;
    }
    ensure!(store.load(&key("a-1")?).await?.is_some(), "the document a-1 went with the partition");
    Ok(())
}

/// An open handle of a removed partition answers `Closed`, also once the name exists again.
pub async fn handles_of_a_removed_partition_are_closed(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    opened.append_each(&cx.samples().run(Msn::ZERO, 3)?).await?;
    opened.store.remove(&partition(PARTITION)?).await?;
    check_closed(opened.partition.as_ref(), &cx).await?;
    let there = create(&opened.store, PARTITION).await?;
    check_closed(opened.partition.as_ref(), &cx).await?;
    append_each(&there, &cx.samples().run(Msn::ZERO, 1)?).await
}

/// Allowed names that differ in case, dots or dashes, or are words of a file system, stay apart.
pub async fn names_at_the_edges_are_kept_apart(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let longest = format!("{}-4294967295", "x".repeat(NAME_BYTES_MAX));
    let names = [
        "a-0",
        "A-0",
        "a--0",
        "a-0-0",
        "a_0-0",
        "a.-0",
        "a.b-0",
        "-0-0",
        "con-0",
        "nul.log-0",
        "LOCK-0",
        "documents-0",
        "checkpoint-0",
        "00000000000000000000.log-0",
        "a-4294967295",
        &longest,
    ];
    let mut expected = Vec::new();
    for (seed, name) in (0_u64..).zip(names) {
        let batches = crate::sample::Samples::new(cx.seed() ^ seed).run(Msn::ZERO, 2)?;
        append_each(&create(&store, name).await?, &batches).await?;
        expected.push((partition(name)?, batches));
    }
    for (id, batches) in &expected {
        let there = store.open(id, OpenOptions::existing()).await?;
        check_same(&read_all(&there, Msn::ZERO).await?, batches, &id.to_string())?;
    }
    let mut names: Vec<_> = expected.into_iter().map(|(id, _)| id).collect();
    names.sort();
    ensure_eq!(store.partitions().await?, names, "partitions");
    Ok(())
}

/// Three hundred partitions, all open, are kept and listed.
pub async fn hundreds_of_partitions_are_kept(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let batches = cx.samples().run(Msn::ZERO, 1)?;
    let mut open = Vec::new();
    for number in 0..300 {
        let there = create(&store, &format!("many-{number}")).await?;
        append_each(&there, &batches).await?;
        open.push(there);
    }
    ensure_eq!(store.partitions().await?.len(), open.len(), "number of partitions");
    for there in &open {
        check_same(&read_all(there, Msn::ZERO).await?, &batches, "each of 300 partitions")?;
    }
    Ok(())
}

/// What a store claims and says of itself does not change while it is open or between openings.
pub async fn claims_and_info_stay_the_same(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let info = opened.store.info();
    ensure!(!info.scheme.is_empty(), "the scheme is empty");
    opened.append_each(&cx.samples().run(Msn::ZERO, 3)?).await?;
    opened.partition.sync().await?;
    ensure_eq!(&opened.store.capabilities(), cx.capabilities(), "capabilities after appends");
    opened.store.close().await?;
    drop(opened);
    let store = cx.open().await?;
    ensure_eq!(&store.capabilities(), cx.capabilities(), "capabilities after reopen");
    ensure_eq!(store.info(), info, "info after reopen");
    Ok(())
}

/// A closed store holds no file of its place open, even while handles of it live.
pub async fn closed_store_leaves_no_file_open(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    use_a_little(&cx, &opened).await?;
    opened.store.close().await?;
    drop(opened);
    check_no_file_open(&cx).await
}

/// A dropped store holds no file of its place open.
pub async fn dropped_store_leaves_no_file_open(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    use_a_little(&cx, &opened).await?;
    drop(opened);
    check_no_file_open(&cx).await
}

async fn use_a_little(cx: &Cx, opened: &crate::cx::Opened) -> CaseResult {
    opened.append_each(&cx.samples().run(Msn::ZERO, 5)?).await?;
    opened.partition.sync().await?;
    read_all(&opened.partition, Msn::ZERO).await?;
    opened.store.save(&key("a/b")?, "x".into(), Expected::Any).await?;
    Ok(())
}

pub(crate) async fn check_no_file_open(cx: &Cx) -> CaseResult {
    let Some(folder) = cx.place().folder() else { return Ok(()) };
    let mut open = Vec::new();
    for _ in 0..100 {
        open = crate::process::open_files_below(&folder)?;
        if open.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    ensure!(false, "left open for 2 s: {}", open.join(", "));
    Ok(())
}
