//! What goes to the device before a sync waits for it: the first bytes of large groups, and zeros.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::sync::Arc;

use common::*;
use msglog_core::store::{MessageStore, PartitionStore, ReadLimit};
use msglog_core::{Msn, RecordBatch};
use msglog_fs::io::SimFs;

/// Appends `count` batches in one call, and answers them.
async fn append(partition: &Arc<dyn PartitionStore>, count: u64, bytes: usize) -> Vec<RecordBatch> {
    let next = partition.bounds().next_msn.get();
    let batches: Vec<_> = (next..next + count).map(|msn| batch_of(msn, 1, bytes)).collect();
    partition.append(batches.clone()).await.unwrap();
    batches
}

#[tokio::test]
async fn large_group_that_a_sync_follows_is_on_its_way_before_it_is_whole() {
    let (store, partition) = open_sim(&SimFs::new(), small(64 << 20)).await.unwrap();
    let mut all = append(&partition, 1, 1_000).await;
    partition.sync().await.unwrap();
    for (count, bytes) in [(1, 3 << 20), (30, 100_001), (900, 1_003), (3, 256 << 10)] {
        let before = store.io_counts();
        let batches = append(&partition, count, bytes).await;
        let after = store.io_counts();
        let len: u64 = batches.iter().map(|batch| batch.encoded_len() as u64).sum();
        let on_its_way = after.bytes_written_out - before.bytes_written_out;
        // All but the last piece, which the sync begins with.
        assert!((len - (256 << 10)..len).contains(&on_its_way), "{on_its_way} of {len}");
        partition.sync().await.unwrap();
        all.extend(batches);
    }
    let mut read = Vec::new();
    while let Some(from) = Some(read.last().map_or(Msn::ZERO, RecordBatch::next_msn))
        .filter(|from| *from < partition.bounds().next_msn)
    {
        read.extend(partition.read(from, ReadLimit::default()).await.unwrap());
    }
    let contents = |batches: &[RecordBatch]| -> Vec<_> {
        batches.iter().map(|batch| (batch.base_msn(), batch.rest().to_vec())).collect()
    };
    assert!(contents(&read) == contents(&all), "pieces are put together as they were");
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_small_or_nobody_syncs_is_left_to_the_next_sync() {
    let (store, partition) = open_sim(&SimFs::new(), small(64 << 20)).await.unwrap();
    append(&partition, 1, 3 << 20).await;
    assert_eq!(store.io_counts().write_outs, 0, "nobody has ever synced it");
    partition.sync().await.unwrap();
    append(&partition, 1, 400 << 10).await;
    assert_eq!(store.io_counts().write_outs, 0, "it is small");
    append(&partition, 1, 3 << 20).await;
    assert_eq!(store.io_counts().write_outs, 0, "the one before it was not synced");
    store.close().await.unwrap();
}

#[tokio::test]
async fn zeros_are_synced_mib_by_mib() {
    let (store, partition) = open_sim(&SimFs::new(), small(64 << 20)).await.unwrap();
    let mut syncs_max = 0;
    while partition.bounds().next_msn < Msn::new(200) {
        // The append writes the zeros itself where there is no thread for it.
        let before = store.io_counts().sync_data;
        append(&partition, 1, 100 << 10).await;
        partition.sync().await.unwrap();
        syncs_max = syncs_max.max(store.io_counts().sync_data - before);
    }
    // Its own, and those of the 4 MiB and more by which a runway of 8 MiB is extended.
    assert!(syncs_max >= 5, "{syncs_max} syncs at most");
    store.close().await.unwrap();
}
