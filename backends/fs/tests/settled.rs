//! What a store serves once it is open is durable with the next sync, and the end at which it goes on
//! before anything stands behind it, however the life before has ended: each case was found by the
//! sweep in `faults.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use msglog_core::store::{DocumentKey, Expected, MessageStore, OpenOptions};
use msglog_core::{Effect, ErrorKind, Msn};
use msglog_fs::FsStore;
use msglog_fs::io::{CountedFs, Failure, Fault, FaultFs, FileSystem, IoCounts, OpenMode, SimFs};

/// What is served and synced before the power goes is there after it; and what is appended without
/// a sync is there up to some place, with nothing that the opening has not shown.
async fn stays(fs: &SimFs) {
    let unsynced = fs.fork();
    let (store, partition) = open_sim(fs, small(1024)).await.unwrap();
    let served = msns(&partition).await;
    partition.sync().await.unwrap();
    assert_eq!(partition.bounds().durable_msn, partition.bounds().next_msn);
    drop((store, partition));
    for seed in 0..40 {
        let fs = fs.fork();
        fs.crash(seed);
        let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        assert_eq!(msns(&partition).await, served, "seed {seed}");
    }
    goes_on(&unsynced).await;
}

/// Records of another length than those before are told from what was there before.
async fn goes_on(fs: &SimFs) {
    let (store, partition) = open_sim(fs, small(1024)).await.unwrap();
    let (first, next) = (partition.bounds().first_msn.get(), partition.bounds().next_msn.get());
    let durable = partition.bounds().durable_msn.get();
    for msn in next..next + 3 {
        partition.append(vec![batch_of(msn, 1, 21)]).await.unwrap();
    }
    drop((store, partition));
    for seed in 0..40 {
        let fs = fs.fork();
        fs.crash(seed);
        let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        let end = partition.bounds().next_msn.get();
        assert_eq!(msns(&partition).await, (first..end).collect::<Vec<_>>(), "seed {seed}");
        assert!((durable..=next + 3).contains(&end), "seed {seed}: {durable} {end}");
        for batch in read_from(&partition, next, 1 << 20).await {
            let appended = batch_of(batch.base_msn().get(), 1, 21);
            assert_eq!(batch.rest(), appended.rest(), "seed {seed}: what was there before");
        }
    }
}

#[tokio::test]
async fn store_whose_folder_was_made_by_a_process_that_died_is_durable() {
    let fs = SimFs::new();
    fs.create_dir(Path::new("/store")).unwrap();
    let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
    append_synced(&partition, 3).await;
    drop((store, partition));
    stays(&fs).await;
}

#[tokio::test]
async fn partition_whose_creation_failed_to_be_synced_is_durable_when_opened_again() {
    for fail in 0..3 {
        let fs = SimFs::new();
        let store = FsStore::open_on(Arc::new(fs.clone()), "/store", small(1024)).await.unwrap();
        fs.fail_sync_after(fail);
        let _ = store.open(&name(), OpenOptions::or_create()).await;
        let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
        append_synced(&partition, 3).await;
        drop((store, partition));
        stays(&fs).await;
    }
}

#[tokio::test]
async fn what_a_failed_sync_has_not_written_is_written_before_the_next_one_counts() {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
    append_synced(&partition, 3).await;
    append(&partition, 2).await;
    fs.fail_sync_after(0);
    partition.sync().await.unwrap_err();
    drop((store, partition));
    stays(&fs).await;
}

#[tokio::test]
async fn what_a_failed_sync_has_not_written_is_written_again_wherever_it_lies() {
    let mut failed = 0;
    for synced in 1..24 {
        for unsynced in [1, 5] {
            let fs = SimFs::new();
            let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
            append_synced(&partition, synced).await;
            append(&partition, unsynced).await;
            fs.set_syncs_fail(true);
            // What has filled a segment is synced already.
            failed += u32::from(partition.sync().await.is_err());
            fs.set_syncs_fail(false);
            drop((store, partition));
            stays(&fs).await;
        }
    }
    assert!(failed > 20, "{failed}");
}

#[tokio::test]
async fn what_is_gone_since_the_opening_is_not_taken_for_synced() {
    for before in [true, false] {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, 3).await;
        append(&partition, 2).await;
        fs.fail_sync_after(0);
        partition.sync().await.unwrap_err();
        drop((store, partition));
        if before {
            fs.drop_what_is_marked();
        }
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        let served = msns(&partition).await;
        assert_eq!(served, if before { vec![0, 1, 2] } else { vec![0, 1, 2, 3, 4] });
        fs.drop_what_is_marked();
        let synced = partition.sync().await;
        assert_eq!(synced.is_ok(), before, "{synced:?}");
        if let Err(error) = synced {
            assert_eq!((error.effect(), error.is_transient()), (Effect::Unknown, false));
            let error = partition.append(vec![batch(5, 1)]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned);
        }
        drop((store, partition));
        let (_store, partition) = open_sim(&fs.fork(), small(1024)).await.unwrap();
        assert_eq!(msns(&partition).await, [0, 1, 2]);
        stays(&fs).await;
    }
}

#[tokio::test]
async fn opening_calls_durable_what_is_proven_and_waits_for_no_sync() {
    for (synced, unsynced) in [(3, 4), (20, 30), (1, 0)] {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, synced).await;
        append(&partition, 1).await;
        for _ in 0..unsynced {
            append(&partition, 1).await;
        }
        drop((store, partition));
        let counted = Arc::new(CountedFs::new(Arc::new(fs.clone())));
        let disk: Arc<dyn FileSystem> = counted.clone();
        let store = FsStore::open_on(disk, "/store", small(1024)).await.unwrap();
        let syncs = |counts: IoCounts| (counts.sync_data, counts.sync_all, counts.sync_dir);
        let before = syncs(counted.counts());
        let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
        assert_eq!(syncs(counted.counts()), before, "{synced} {unsynced}");
        let bounds = partition.bounds();
        assert_eq!(bounds.next_msn, Msn::new(synced + unsynced + 1));
        // The first of those that came behind a sync says so; the housekeeping may have synced more.
        assert!(bounds.durable_msn >= Msn::new(synced), "{bounds:?}");
        assert!(bounds.durable_msn < bounds.next_msn, "{bounds:?}");
        let durable = bounds.durable_msn.get();
        drop((store, partition));
        for seed in 0..40 {
            let fs = fs.fork();
            fs.crash(seed);
            let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
            assert!(partition.bounds().next_msn.get() >= durable, "seed {seed}");
        }
        stays(&fs).await;
    }
}

#[tokio::test]
async fn segment_whose_name_was_made_by_a_process_that_died_is_durable() {
    for clean in [false, true] {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, 8).await;
        if clean {
            store.close().await.unwrap();
        }
        drop((store, partition));
        let path = Path::new("/store/orders-0/00000000000000000008.log");
        fs.open(path, OpenMode::CreateNew).unwrap();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, 2).await;
        drop((store, partition));
        for seed in 0..40 {
            let fs = fs.fork();
            fs.crash(seed);
            let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
            let found = msns(&partition).await;
            assert_eq!(found, (0..10).collect::<Vec<_>>(), "seed {seed}, {clean}");
        }
    }
}

#[tokio::test]
async fn truncation_that_failed_to_be_synced_stays_as_it_is_first_seen() {
    for fail in 0..6 {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, 9).await;
        fs.fail_sync_after(fail);
        let _ = partition.truncate(Msn::new(6)).await;
        fs.set_syncs_fail(false);
        drop((store, partition));
        stays(&fs).await;
    }
}

#[tokio::test]
async fn trim_that_failed_to_be_synced_stays_as_it_is_first_seen() {
    for fail in 0..6 {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, 40).await;
        fs.fail_sync_after(fail);
        let _ = partition.trim(Msn::new(30)).await;
        fs.set_syncs_fail(false);
        drop((store, partition));
        stays(&fs).await;
    }
}

#[tokio::test]
async fn document_that_failed_to_be_synced_stays_as_it_is_first_seen() {
    let key = DocumentKey::parse("commits/reader/orders").unwrap();
    for fail in 0..3 {
        let fs = SimFs::new();
        let (store, _) = open_sim(&fs, small(1024)).await.unwrap();
        store.save(&key, Bytes::from_static(b"1"), Expected::Any).await.unwrap();
        fs.fail_sync_after(fail);
        let _ = store.save(&key, Bytes::from_static(b"2"), Expected::Any).await;
        fs.set_syncs_fail(false);
        drop(store);
        let (store, _) = open_sim(&fs, small(1024)).await.unwrap();
        let served = store.load(&key).await.unwrap();
        drop(store);
        for seed in 0..40 {
            let fs = fs.fork();
            fs.crash(seed);
            let (store, _) = open_sim(&fs, small(1024)).await.unwrap();
            assert_eq!(store.load(&key).await.unwrap(), served, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn roll_that_failed_after_its_file_was_made_is_tried_again() {
    // With a file prepared ahead a roll renames, without one it creates.
    for payload_bytes in [300, 500] {
        let disk = SimFs::new();
        let fs = FaultFs::new(disk.clone());
        let store = FsStore::open_on(Arc::new(fs.clone()), "/store", small(1024)).await.unwrap();
        let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
        partition.append(vec![batch_of(0, 1, payload_bytes)]).await.unwrap();
        fs.set_fault(Fault { at: 0, failure: Failure::Io, after: true, sticky: true });
        let error = partition.append(vec![batch_of(1, 1, 800)]).await.unwrap_err();
        assert_eq!(error.effect(), Effect::NotApplied);
        fs.heal();
        partition.append(vec![batch_of(1, 1, 800)]).await.unwrap();
        partition.sync().await.unwrap();
        drop((store, partition));
        stays(&disk).await;
    }
}

#[tokio::test]
async fn document_whose_rename_failed_may_be_the_new_one() {
    let key = DocumentKey::parse("a").unwrap();
    let disk = SimFs::new();
    let fs = FaultFs::new(disk.clone());
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", small(1024)).await.unwrap();
    for at in 0..20 {
        fs.set_fault(Fault { at, failure: Failure::Io, after: true, sticky: false });
        let old = {
            fs.heal();
            let old = store.load(&key).await.unwrap();
            fs.resume();
            old
        };
        let saved = store.save(&key, Bytes::from(at.to_string()), Expected::Any).await;
        fs.heal();
        if let Err(error) = saved
            && error.effect() == Effect::NotApplied
        {
            assert_eq!(store.load(&key).await.unwrap(), old, "call {at}: {error:?}");
        }
    }
}
