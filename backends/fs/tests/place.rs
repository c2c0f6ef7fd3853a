//! The folder of a store: created, locked, refused, private; and what opening it costs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::*;
use msglog_core::store::{Access, MessageStore, OpenOptions, StoreRegistry};
use msglog_core::{ErrorKind, Msn};
use msglog_fs::{FsFactory, FsOptions, FsStore};

#[tokio::test]
async fn second_writer_is_locked_out_until_the_first_lets_go() {
    let root = tempfile::tempdir().unwrap();
    let (store, _partition) = open(root.path(), FsOptions::default()).await;
    let error = FsStore::open(root.path(), FsOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("LOCK"), "{error}");
    store.close().await.unwrap();
    let second = FsStore::open(root.path(), FsOptions::default()).await.unwrap();
    drop(second);
    FsStore::open(root.path(), FsOptions::default()).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn handles_of_a_dropped_store_are_closed_and_hold_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), FsOptions::default()).await;
    append_synced(&partition, 3).await;
    drop(store);
    assert_eq!(partition.append(vec![batch(3, 1)]).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(partition.sync().await.unwrap_err().kind(), ErrorKind::Closed);
    let (_store, partition) = open(root.path(), FsOptions::default()).await;
    assert_eq!(msns(&partition).await, [0, 1, 2]);
}

#[tokio::test]
async fn folder_that_is_no_store_is_invalid_and_untouched() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("precious.txt"), "mine").unwrap();
    for access in [Access::Write, Access::Read] {
        let error = FsStore::open(root.path(), FsOptions::new(access)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("no msglog store"), "{error}");
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    let file = root.path().join("precious.txt");
    let error = FsStore::open(&file, FsOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn reading_what_is_absent_is_not_found_and_creates_nothing() {
    let root = tempfile::tempdir().unwrap();
    let read = FsOptions::new(Access::Read);
    let absent = root.path().join("absent");
    for path in [absent.as_path(), root.path()] {
        let error = FsStore::open(path, read).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    let writer = FsStore::open(&absent, FsOptions::default()).await.unwrap();
    let reader = FsStore::open(&absent, read).await.unwrap();
    let error = reader.open(&name(), OpenOptions::existing()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = reader.open(&name(), OpenOptions::or_create()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    let error = reader.remove(&name()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly);
    drop(writer);
}

#[tokio::test]
async fn newer_format_is_unsupported_and_the_epoch_rises_with_each_writer() {
    let root = tempfile::tempdir().unwrap();
    let manifest = root.path().join("msglog.json");
    for epoch in 1..4 {
        drop(FsStore::open(root.path(), options()).await.unwrap());
        let text = std::fs::read_to_string(&manifest).unwrap();
        assert!(text.contains(&format!("\"writer_epoch\":{epoch}")), "{text}");
    }
    drop(FsStore::open(root.path(), FsOptions::new(Access::Read)).await.unwrap());
    let text = std::fs::read_to_string(&manifest).unwrap();
    let newer = text.replace("\"format\":1", "\"format\":2");
    std::fs::write(&manifest, &newer).unwrap();
    for access in [Access::Write, Access::Read] {
        let error = FsStore::open(root.path(), FsOptions::new(access)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    assert_eq!(std::fs::read_to_string(&manifest).unwrap(), newer);
}

fn check_private(path: &Path) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let wanted = if metadata.is_dir() { 0o700 } else { 0o600 };
    assert_eq!(metadata.permissions().mode() & 0o777, wanted, "{}", path.display());
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            check_private(&entry.unwrap().path());
        }
    }
}

#[tokio::test]
async fn only_the_owner_may_read_what_the_store_creates() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b");
    let (store, partition) = open(&path, small(1024)).await;
    append_synced(&partition, 60).await;
    let key = msglog_core::store::DocumentKey::parse("topics/orders").unwrap();
    store.save(&key, "x".into(), msglog_core::store::Expected::Any).await.unwrap();
    store.close().await.unwrap();
    check_private(&root.path().join("a"));
}

#[tokio::test]
async fn opening_reads_no_more_of_a_long_log_than_of_a_short_one() {
    let mut read = Vec::new();
    for records in [50, 1000] {
        let root = tempfile::tempdir().unwrap();
        let (store, partition) = open(root.path(), small(8 << 10)).await;
        for _ in 0..records {
            append(&partition, 1).await;
        }
        partition.sync().await.unwrap();
        store.close().await.unwrap();
        let (store, partition) = open(root.path(), small(8 << 10)).await;
        assert_eq!(partition.bounds().next_msn, Msn::new(records));
        read.push(store.io_counts().bytes_read);
    }
    // The checkpoint names each segment in 40 bytes, whatever these hold.
    assert!(read[1] < read[0] + 16 * 40, "{read:?}");
}

#[tokio::test]
async fn crash_leaves_no_more_to_scan_than_the_checkpoint_interval() {
    let root = tempfile::tempdir().unwrap();
    let mut options = options();
    options.checkpoint_bytes = 64 << 10;
    let (store, partition) = open(root.path(), options).await;
    for msn in 0..1000 {
        partition.append(vec![batch_of(msn, 1, 1000)]).await.unwrap();
    }
    drop((store, partition));
    let (store, partition) = open(root.path(), options).await;
    assert_eq!(partition.bounds().next_msn, Msn::new(1000));
    let counts = store.io_counts();
    assert!(counts.bytes_read < 3 * options.checkpoint_bytes, "{counts:?}");
}

#[tokio::test]
async fn one_sync_of_a_group_is_one_fdatasync() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), options()).await;
    let before = store.io_counts();
    for group in 0..10 {
        let batches = (0..5).map(|msn| batch(group * 5 + msn, 1)).collect();
        partition.append(batches).await.unwrap();
        partition.sync().await.unwrap();
        partition.sync().await.unwrap();
    }
    let after = store.io_counts();
    assert_eq!(after.sync_data - before.sync_data, 10);
    assert_eq!(after.writes - before.writes, 10);
    assert_eq!((after.sync_all, after.sync_dir), (before.sync_all, before.sync_dir));
}

#[tokio::test]
async fn url_opens_a_store() {
    let root = tempfile::tempdir().unwrap();
    let mut registry = StoreRegistry::new();
    registry.register(FsFactory);
    let url = format!("fs://{}/a%20b?segment_bytes=65536", root.path().display());
    let store = registry.open(&url, Access::Write).await.unwrap();
    assert!(root.path().join("a b/msglog.json").is_file());
    assert_eq!(store.info().scheme, "fs");
    assert_eq!(store.capabilities().batch_bytes_max, 65536);
    let error = registry.open("fs://host/path", Access::Write).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
