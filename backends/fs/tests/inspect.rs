//! Inspection says what recovery would find, and changes nothing; opening with a full scan makes
//! what it finds known.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::sync::Arc;

use common::damaged::*;
use common::*;
use msglog_core::Msn;
use msglog_fs::io::FileSystem;
use msglog_fs::{Inspection, PartitionInspection, SegmentVerdict, inspect_on};

fn looked_at(image: &Image) -> Inspection {
    let disk = image.restore();
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let inspection = inspect_on(&fs, "/store").unwrap();
    assert_eq!(Image::of(&disk).0, image.0, "looking changes nothing");
    inspection
}

fn verdicts(partition: &PartitionInspection) -> Vec<SegmentVerdict> {
    partition.segments.iter().map(|segment| segment.verdict).collect()
}

#[tokio::test]
async fn closed_log_is_whole() {
    let inspection = looked_at(&closed_log(30).await);
    assert!(inspection.is_whole());
    let partition = &inspection.partitions[0];
    assert_eq!((partition.first_msn, partition.next_msn), (Msn::ZERO, Msn::new(30)));
    assert!(verdicts(partition).iter().all(|verdict| *verdict == SegmentVerdict::Whole));
    assert!(partition.torn_at.is_none());
}

#[tokio::test]
async fn rot_below_the_checkpoint_is_found_and_its_msns_are_named() {
    let whole = closed_log(30).await;
    for (number, path) in whole.segments().iter().enumerate() {
        for (batch, (_, lost)) in whole.batches(path).into_iter().enumerate() {
            let mut image = whole.clone();
            flip(&mut image, path, batch);
            let inspection = looked_at(&image);
            let partition = &inspection.partitions[0];
            assert_eq!(partition.lost, [Msn::new(lost.start)..Msn::new(lost.end)]);
            assert_eq!(verdicts(partition)[number], SegmentVerdict::Damaged, "{number} {batch}");
            let mut options = small(SEGMENT_BYTES);
            options.full_scan = true;
            let opened = Opened::with(&image, options).await;
            assert_eq!(opened.report().holes, partition.lost);
            assert_eq!(opened.partition.bounds().next_msn, partition.next_msn);
            let again = opened.reopened().await;
            assert_eq!(again.partition.holes(), partition.lost, "it is known from then on");
        }
    }
}

#[tokio::test]
async fn torn_tail_is_told_from_damage() {
    let mut image = log_of(&[true, true, true, false, false], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    flip(&mut image, &path, 4);
    let inspection = looked_at(&image);
    assert!(inspection.is_whole());
    assert_eq!(inspection.partitions[0].torn_at, Some(Msn::new(4)));
    assert_eq!(verdicts(&inspection.partitions[0]), [SegmentVerdict::Torn]);
}

#[tokio::test]
async fn damage_below_the_checkpoint_costs_its_batch_and_not_those_behind_it() {
    let disk = msglog_fs::io::SimFs::new();
    let (store, partition) = open_sim(&disk, small(4096)).await.unwrap();
    for _ in 0..2 {
        // Only the first batch of a group proves anything.
        for _ in 0..5 {
            append(&partition, 1).await;
        }
        partition.sync().await.unwrap();
    }
    msglog_core::store::MessageStore::close(&store).await.unwrap();
    let mut image = Image::of(&disk);
    let path = image.segments()[0].clone();
    flip(&mut image, &path, 7);
    let mut options = small(4096);
    options.full_scan = true;
    let opened = Opened::with(&image, options).await;
    assert_eq!(msns(&opened.partition).await, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(opened.report().cut_at, None);
    assert_eq!(opened.partition.holes(), [Msn::new(7)..Msn::new(8)]);
}
