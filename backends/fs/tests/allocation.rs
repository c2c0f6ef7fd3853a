//! Room that is allocated ahead of what is written, and when housekeeping syncs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore};
use msglog_fs::io::{FileSystem, OpenMode, RealFs, SimFs};
use msglog_fs::{FsOptions, FsStore};

const SEGMENT_BYTES: u64 = 4 << 20;
const BATCH_BYTES: usize = 100 << 10;

async fn open(folder: &Path, options: FsOptions) -> (FsStore, Arc<dyn PartitionStore>) {
    let store = FsStore::open(folder.join("store"), options).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    (store, partition)
}

async fn append(partition: &Arc<dyn PartitionStore>, bytes: usize) {
    let next = partition.bounds().next_msn.get();
    partition.append(vec![batch_of(next, 1, bytes)]).await.unwrap();
}

/// The lengths of the segments, in order, and what they take up on the device.
fn segments(folder: &Path) -> Vec<(u64, u64)> {
    let entries = std::fs::read_dir(folder.join("store").join(name().to_string())).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    let of = |path| std::fs::metadata(path).map(|found| (found.len(), found.blocks() * 512));
    paths.into_iter().map(|path| of(path).unwrap()).collect()
}

/// Whether the file system of this folder can allocate room, and has as much.
fn allocates(folder: &Path) -> bool {
    let file = RealFs.open(&folder.join("probe"), OpenMode::CreateNew).unwrap();
    let roomy = RealFs.space(folder).unwrap().free_bytes > 16 * SEGMENT_BYTES;
    roomy && file.allocate(0, 1 << 20).is_ok()
}

#[tokio::test]
async fn room_is_allocated_ahead_and_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let allocates = allocates(folder.path());
    let mut options = options();
    options.segment_bytes = SEGMENT_BYTES;
    let (store, partition) = open(folder.path(), options).await;
    append(&partition, BATCH_BYTES).await;
    let (len, taken) = segments(folder.path())[0];
    assert!(len < 2 * BATCH_BYTES as u64, "what is allocated does not count as length: {len}");
    if allocates {
        assert!(taken > 3 * len, "{taken} bytes for {len}");
        let usage = partition.usage().await.unwrap();
        assert!(usage.allocated_bytes > 3 * usage.bytes, "{usage:?}");
    }
    while segments(folder.path()).len() == 1 {
        append(&partition, BATCH_BYTES).await;
    }
    partition.sync().await.unwrap();
    if allocates {
        assert!(
            segments(folder.path())[1].1 >= SEGMENT_BYTES,
            "a whole segment follows a full one"
        );
    }
    let next = partition.bounds().next_msn.get();
    store.close().await.unwrap();
    drop((store, partition));
    for (len, taken) in segments(folder.path()) {
        assert!(taken <= len + (64 << 10), "{taken} bytes for {len} after close");
    }
    let (store, partition) = open(folder.path(), self::options()).await;
    assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_syncs_is_synced_a_while_later_though_appends_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = FsOptions::default();
    options.checkpoint_bytes = BATCH_BYTES as u64;
    let (store, partition) = open(folder.path(), options).await;
    let (began, before) = (Instant::now(), store.io_counts().sync_data);
    for _ in 0..20 {
        append(&partition, BATCH_BYTES).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let syncs = store.io_counts().sync_data - before;
    if began.elapsed() < Duration::from_millis(900) {
        assert_eq!(syncs, 0, "appends are not held up by syncs for which nobody has asked");
    }
    let next = partition.bounds().next_msn;
    while partition.bounds().durable_msn < next {
        assert!(began.elapsed() < Duration::from_secs(30), "it is never synced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn large_syncs_get_no_zeros_ahead() {
    for (bytes, are_there) in [(20 << 10, true), (1 << 20, false)] {
        let (store, partition) = open_sim(&SimFs::new(), small(64 << 20)).await.unwrap();
        for _ in 0..20 {
            append(&partition, bytes).await;
            partition.sync().await.unwrap();
        }
        let usage = partition.usage().await.unwrap();
        let ahead = usage.allocated_bytes - usage.bytes;
        assert_eq!(ahead > 4 << 10, are_there, "{ahead} bytes ahead of syncs of {bytes}");
        store.close().await.unwrap();
    }
}
