//! Append, sync, read, reopen, find, trim, remove on real files.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::*;
use msglog_core::store::{MessageStore, OpenOptions, ReadLimit};
use msglog_core::{ErrorKind, Msn, Timestamp};
use msglog_fs::FsStore;
use msglog_fs::io::SimFs;

#[tokio::test]
async fn appended_is_read_at_once_and_after_reopening() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), options()).await;
    append(&partition, 3).await;
    append(&partition, 2).await;
    assert_eq!(msns(&partition).await, [0, 1, 2, 3, 4]);
    assert_eq!(partition.bounds().durable_msn, Msn::ZERO);
    assert_eq!(partition.sync().await.unwrap(), Msn::new(5));
    store.close().await.unwrap();
    let error = partition.read(Msn::ZERO, ReadLimit::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);

    let (store, partition) = open(root.path(), options()).await;
    assert_eq!(msns(&partition).await, [0, 1, 2, 3, 4]);
    let bounds = partition.bounds();
    assert_eq!((bounds.durable_msn, bounds.next_msn), (Msn::new(5), Msn::new(5)));
    append(&partition, 1).await;
    drop(store);
    let (_store, partition) = open(root.path(), options()).await;
    assert_eq!(msns(&partition).await, [0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn every_msn_is_found_across_segments_with_and_without_derived_files() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), small(1024)).await;
    for count in 0..100 {
        append(&partition, 1 + count % 3).await;
    }
    partition.sync().await.unwrap();
    let all = msns(&partition).await;
    store.close().await.unwrap();
    assert!(segments(root.path()).len() > 5);
    for step in ["as it is", "without indexes", "without checkpoint"] {
        match step {
            "without indexes" => remove_indexes(root.path()),
            "without checkpoint" => {
                remove_indexes(root.path());
                remove_checkpoints(root.path());
            }
            _ => {}
        }
        let (store, partition) = open(root.path(), small(1024)).await;
        for msn in 0..all.len() as u64 {
            let first = partition.read(Msn::new(msn), ReadLimit::bytes(1)).await.unwrap();
            assert_eq!(first.len(), 1, "{step}: {msn}");
            let range = first[0].base_msn()..first[0].next_msn();
            assert!(range.contains(&Msn::new(msn)), "{step}: {msn} in {range:?}");
            let found = partition.find(Timestamp::from_millis(1_000 + msn as i64 * 10)).await;
            assert_eq!(found.unwrap(), first[0].base_msn(), "{step}: time of {msn}");
        }
        assert_eq!(msns_of(&read_from(&partition, 0, 700).await), all, "{step}");
        let end = partition.find(Timestamp::from_millis(i64::MAX)).await.unwrap();
        assert_eq!(end, partition.bounds().next_msn);
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn batch_that_does_not_continue_is_a_conflict_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (_store, partition) = open(root.path(), small(2048)).await;
    append(&partition, 2).await;
    for batches in [vec![batch(3, 1)], vec![batch(1, 1)], vec![batch(2, 1), batch(4, 1)]] {
        let error = partition.append(batches).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    let error = partition.append(vec![batch_of(2, 1, 2048)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(msns(&partition).await, [0, 1]);
    append(&partition, 1).await;
    assert_eq!(msns(&partition).await, [0, 1, 2]);
}

#[tokio::test]
async fn group_larger_than_a_segment_is_spread_over_several() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), small(1024)).await;
    let group: Vec<_> = (0..40).map(|msn| batch(msn, 1)).collect();
    partition.append(group).await.unwrap();
    assert_eq!(msns(&partition).await, (0..40).collect::<Vec<_>>());
    drop((store, partition));
    assert!(segments(root.path()).len() > 2);
    let (_store, partition) = open(root.path(), small(1024)).await;
    assert_eq!(msns(&partition).await, (0..40).collect::<Vec<_>>());
}

#[tokio::test]
async fn trim_drops_whole_segments_and_survives_reopening() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), small(1024)).await;
    append_synced(&partition, 60).await;
    let first = partition.trim(Msn::new(30)).await.unwrap();
    assert!(first <= Msn::new(30) && first > Msn::new(15), "{first}");
    assert_eq!(msns(&partition).await, (first.get()..60).collect::<Vec<_>>());
    assert_eq!(partition.trim(Msn::new(3)).await.unwrap(), first);
    drop((store, partition));
    let (store, partition) = open(root.path(), small(1024)).await;
    assert_eq!(partition.bounds().first_msn, first);
    assert_eq!(partition.trim(Msn::new(1000)).await.unwrap(), Msn::new(60));
    assert!(msns(&partition).await.is_empty());
    append(&partition, 1).await;
    drop((store, partition));
    let (_store, partition) = open(root.path(), small(1024)).await;
    assert_eq!(partition.bounds().first_msn, Msn::new(60));
    assert_eq!(msns(&partition).await, [60]);
    assert_eq!(segments(root.path()).len(), 1);
}

#[tokio::test]
async fn removed_partition_is_closed_and_can_be_created_again() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), options()).await;
    append_synced(&partition, 2).await;
    assert_eq!(store.partitions().await.unwrap(), [name()]);
    assert!(store.remove(&name()).await.unwrap());
    assert!(!store.remove(&name()).await.unwrap());
    assert_eq!(partition.sync().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(store.partitions().await.unwrap().is_empty());
    let error = store.open(&name(), OpenOptions::existing()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let again = store.open(&name(), OpenOptions::or_create_at(Msn::new(7))).await.unwrap();
    assert_eq!(again.bounds().first_msn, Msn::new(7));
    append(&again, 1).await;
    assert_eq!(msns(&again).await, [7]);
}

#[tokio::test]
async fn more_segments_than_open_files_are_read() {
    let root = tempfile::tempdir().unwrap();
    let mut options = small(1024);
    options.open_files_max = 4;
    let (store, partition) = open(root.path(), options).await;
    append_synced(&partition, 200).await;
    for _ in 0..2 {
        assert_eq!(msns(&partition).await, (0..200).collect::<Vec<_>>());
        assert!(store.open_files() <= 4, "{}", store.open_files());
    }
}

#[tokio::test]
async fn idle_partition_takes_up_next_to_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut options = options();
    options.background = true;
    let (store, partition) = open(root.path(), options).await;
    append_synced(&partition, 3).await;
    assert!(partition.usage().await.unwrap().allocated_bytes < 4096);
    store.close().await.unwrap();
    let store = FsStore::open(root.path(), options).await.unwrap();
    store.open(&name(), OpenOptions::existing()).await.unwrap();
    assert!(store.io_counts().bytes_read < 4096, "{:?}", store.io_counts());
}

#[tokio::test]
async fn truncated_end_is_gone_and_its_msns_are_appended_again() {
    for from in 0..60 {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        for _ in 0..30 {
            append(&partition, 2).await;
        }
        let kept = from / 2 * 2;
        assert_eq!(partition.truncate(Msn::new(from)).await.unwrap(), Msn::new(kept));
        assert_eq!(msns(&partition).await, (0..kept).collect::<Vec<_>>());
        append_synced(&partition, 20).await;
        assert_eq!(msns(&partition).await, (0..kept + 20).collect::<Vec<_>>());
        let found = partition.find(Timestamp::from_millis(1_000 + kept as i64 * 10)).await.unwrap();
        assert_eq!(found, Msn::new(kept));
        drop((store, partition));
        let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        assert_eq!(msns(&partition).await, (0..kept + 20).collect::<Vec<_>>(), "from {from}");
        assert!(partition.holes().is_empty());
    }
}
