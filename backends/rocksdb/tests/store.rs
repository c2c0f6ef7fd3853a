//! What the store promises: order, durability across reopening, one writer, whole documents.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::fs;
use std::sync::Arc;

use common::{batch, open, open_writer, partition, read_all, run};
use msglog_core::store::{Access, Expected, OpenOptions, ReadLimit};
use msglog_core::{ErrorKind, Msn, RecordBatch};

#[tokio::test]
async fn appended_batches_are_read_back_also_after_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let batches = run(Msn::ZERO, 60);
    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    for group in batches.chunks(7) {
        there.append(group.to_vec()).await.unwrap();
    }
    assert_eq!(read_all(&there).await, batches);
    let usage = there.usage().await.unwrap();
    assert_eq!(usage.bytes, batches.iter().map(|batch| batch.encoded_len() as u64).sum::<u64>());
    let before = there.bounds();
    store.close().await.unwrap();

    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    assert_eq!(there.bounds().next_msn, before.next_msn);
    assert_eq!(read_all(&there).await, batches);
    assert_eq!(there.usage().await.unwrap().bytes, usage.bytes);
}

#[tokio::test]
async fn read_starts_at_the_batch_that_holds_the_msn() {
    let folder = tempfile::tempdir().unwrap();
    let batches = run(Msn::ZERO, 20);
    let there = partition(&open_writer(folder.path()).await, "orders-0").await;
    there.append(batches.clone()).await.unwrap();
    for from in 0..there.bounds().next_msn.get() {
        let page = there.read(Msn::new(from), ReadLimit::bytes(1)).await.unwrap();
        let holder = batches.iter().find(|batch| batch.next_msn() > Msn::new(from)).unwrap();
        assert_eq!(page, std::slice::from_ref(holder), "from {from}");
    }
    let end = there.bounds().next_msn;
    assert!(there.read(end, ReadLimit::default()).await.unwrap().is_empty());
    assert!(there.read(Msn::MAX, ReadLimit::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn append_that_does_not_continue_conflicts_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let there = partition(&open_writer(folder.path()).await, "orders-0").await;
    let batches = run(Msn::ZERO, 3);
    there.append(batches.clone()).await.unwrap();
    let next = there.bounds().next_msn;
    for wrong in [vec![batch(Msn::ZERO)], vec![batch(next.plus(1))], vec![batch(next), batch(next)]]
    {
        assert_eq!(there.append(wrong).await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(there.bounds().next_msn, next);
    assert_eq!(read_all(&there).await, batches);
    there.append(vec![batch(next)]).await.unwrap();
}

#[tokio::test]
async fn trims_truncations_and_replacements_survive_reopen() {
    let folder = tempfile::tempdir().unwrap();
    let batches = run(Msn::ZERO, 40);
    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    there.append(batches.clone()).await.unwrap();
    let (trim, cut) = (batches[5].base_msn(), batches[30].base_msn());
    assert_eq!(there.trim(batches[5].next_msn().plus(0)).await.unwrap(), batches[6].base_msn());
    assert_eq!(there.trim(trim).await.unwrap(), batches[6].base_msn(), "trims do not go back");
    assert_eq!(there.truncate(cut).await.unwrap(), cut);
    let range = batches[10].base_msn()..batches[13].next_msn();
    let fresh = batch(range.start.plus(1));
    there.replace(range.clone(), vec![fresh.clone()]).await.unwrap();
    let cuts = there.replace(range.start.plus(2)..range.end, Vec::new()).await;
    assert_eq!(cuts.unwrap_err().kind(), ErrorKind::Invalid);

    let mut wanted: Vec<RecordBatch> = batches[6..10].to_vec();
    wanted.push(fresh);
    wanted.extend_from_slice(&batches[14..30]);
    assert_eq!(read_all(&there).await, wanted);
    drop((there, store));
    let there = partition(&open_writer(folder.path()).await, "orders-0").await;
    assert_eq!(read_all(&there).await, wanted);
    assert_eq!(there.bounds().next_msn, cut);
    there.append(vec![batch(cut)]).await.unwrap();
}

#[tokio::test]
async fn msns_go_on_after_everything_was_trimmed_and_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    there.append(run(Msn::ZERO, 1500)).await.unwrap();
    let next = there.bounds().next_msn;
    assert_eq!(there.trim(Msn::MAX).await.unwrap(), next);
    assert_eq!(there.usage().await.unwrap().bytes, 0);
    let late = "late-7".parse().unwrap();
    let late = store.open(&late, OpenOptions::or_create_at(Msn::new(42))).await;
    assert_eq!(late.unwrap().bounds().first_msn, Msn::new(42));
    drop((there, store));
    let store = open_writer(folder.path()).await;
    let bounds = partition(&store, "orders-0").await.bounds();
    assert_eq!((bounds.first_msn, bounds.next_msn), (next, next));
    assert_eq!(partition(&store, "late-7").await.bounds().next_msn, Msn::new(42));
}

#[tokio::test]
async fn removed_partition_is_gone_and_its_handles_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    there.append(run(Msn::ZERO, 3)).await.unwrap();
    let name = "orders-0".parse().unwrap();
    assert!(store.remove(&name).await.unwrap());
    assert!(!store.remove(&name).await.unwrap());
    let read = there.read(Msn::ZERO, ReadLimit::default()).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Closed);
    let missing = store.open(&name, OpenOptions::existing()).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(read_all(&partition(&store, "orders-0").await).await.is_empty());
}

#[tokio::test]
async fn documents_change_only_as_expected_and_versions_never_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_writer(folder.path()).await;
    let key = msglog_core::store::DocumentKey::parse("topics/orders").unwrap();
    let first = store.save(&key, "a".into(), Expected::Absent).await.unwrap();
    let again = store.save(&key, "b".into(), Expected::Absent).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Conflict);
    let second = store.save(&key, "c".into(), Expected::Version(first)).await.unwrap();
    assert!(store.discard(&key, Expected::Version(second)).await.unwrap());
    assert!(!store.discard(&key, Expected::Any).await.unwrap());
    drop(store);

    let store = open_writer(folder.path()).await;
    let third = store.save(&key, "d".into(), Expected::Absent).await.unwrap();
    assert!(third != first && third != second);
    assert_eq!(store.load(&key).await.unwrap().unwrap().value, "d");
    assert_eq!(store.documents("topics/").await.unwrap(), [key]);
    assert!(store.documents("commits/").await.unwrap().is_empty());
    let large = vec![0; store.capabilities().document_bytes_max + 1];
    let key = msglog_core::store::DocumentKey::parse("large").unwrap();
    let refused = store.save(&key, large.into(), Expected::Any).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
}

#[tokio::test]
async fn second_writer_is_locked_out_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let store = open_writer(folder.path()).await;
        let there = partition(&store, "orders-0").await;
        there.append(vec![batch(there.bounds().next_msn)]).await.unwrap();
        let second = open(folder.path(), Access::Write).await;
        assert_eq!(second.unwrap_err().kind(), ErrorKind::Locked);
        if round % 2 == 0 {
            store.close().await.unwrap();
            store.close().await.unwrap();
            let closed = there.append(vec![batch(there.bounds().next_msn)]).await;
            assert_eq!(closed.unwrap_err().kind(), ErrorKind::Closed);
        }
    }
}

#[tokio::test]
async fn folder_that_is_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = open(&missing, Access::Read).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(!missing.exists());
    let error = open(folder.path(), Access::Read).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    for (name, text) in [("photo.jpg", "x"), ("msglog.json", "{\"format\":1,\"uuid\":\"u\"}")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let error = open(folder.path(), Access::Write).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let error = open(&folder.path().join(name), Access::Write).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn dropped_append_is_there_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    let mut wanted: Vec<RecordBatch> = Vec::new();
    for round in 0..50_u64 {
        let group = run(there.bounds().next_msn, 3);
        let append = there.append(group.clone());
        let patience = std::time::Duration::from_micros(round * 20);
        let _ = tokio::time::timeout(patience, append).await;
        // Waits for the dropped append: changes of a partition run one at a time.
        let there = Arc::clone(&there);
        there.sync().await.unwrap();
        let end = there.bounds().next_msn;
        let old = wanted.last().map_or(Msn::ZERO, RecordBatch::next_msn);
        assert!(end == old || end == group[2].next_msn(), "{old} then {end}");
        if end > old {
            wanted.extend(group);
        }
    }
    assert_eq!(read_all(&there).await, wanted);
}
