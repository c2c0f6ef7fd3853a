//! The recovery table, row by row, on real bytes; and damage at every byte.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use common::damaged::*;
use common::*;
use msglog_core::store::{MessageStore, OpenOptions};
use msglog_core::{ErrorKind, Msn};
use msglog_fs::io::{CountedFs, FileSystem, IoCounts, SimFs};
use msglog_fs::{FsStore, RecoveryReport};

async fn refused(image: &Image) -> bool {
    let mut options = small(SEGMENT_BYTES);
    options.strict = true;
    let fs = image.restore();
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", options).await.unwrap();
    let before = Image::of(&fs);
    match store.open(&name(), OpenOptions::existing()).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert_eq!(Image::of(&fs).0, before.0, "refusing changes nothing");
            true
        }
    }
}

fn hole(start: u64, end: u64) -> [Range<u64>; 1] {
    std::array::from_fn(|_| start..end)
}

#[tokio::test]
async fn bad_last_batch_is_a_torn_tail() {
    let mut image = log_of(&[true, true, true], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    flip(&mut image, &path, 2);
    assert!(!refused(&image).await);
    let opened = Opened::from(&image).await;
    opened.check([0, 1], &[]).await;
    assert_eq!(Image::of(&opened.fs).0[&path], image.0[&path], "opening changes nothing");
    opened.partition.sync().await.unwrap();
    let report = opened.report();
    assert_eq!((report.cut_at, report.holes.len()), (Some(Msn::new(2)), 0));
    let kept = Image::of(&opened.fs);
    let place = image.batches(&path)[2].0.clone();
    assert_eq!(kept.0[&report.quarantined[0]], image.0[&path][place], "cut bytes are kept");
    opened.check_goes_on(vec![0, 1], &[]).await;
}

#[tokio::test]
async fn torn_tail_is_put_aside_before_anything_stands_in_its_place() {
    for torn_bytes in [8, 60, 61, 100] {
        let mut image = log_of(&[true, true, true, false], SEGMENT_BYTES).await;
        let path = image.segments()[0].clone();
        let place = image.batches(&path)[3].0.clone();
        image.bytes(&path).truncate(place.start + torn_bytes.min(place.len() - 1));
        let torn = image.0[&path][place.start..].to_vec();
        let opened = Opened::from(&image).await;
        opened.check([0, 1, 2], &[]).await;
        append(&opened.partition, 1).await;
        let report = opened.report();
        assert_eq!((report.cut_at, report.quarantined.len()), (Some(Msn::new(3)), 1));
        let kept = Image::of(&opened.fs);
        assert_eq!(kept.0[&report.quarantined[0]], torn, "{torn_bytes}");
        assert_eq!(kept.segments(), [path]);
        opened.check_goes_on(vec![0, 1, 2, 3], &[]).await;
    }
}

#[tokio::test]
async fn valid_batches_of_the_same_group_behind_bad_bytes_are_cut_with_them() {
    let mut image = log_of(&[true, false, false, false], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    flip(&mut image, &path, 2);
    let opened = Opened::from(&image).await;
    opened.check([0, 1], &[]).await;
    assert_eq!(opened.report().cut_at, Some(Msn::new(2)));
    opened.check_goes_on(vec![0, 1], &[]).await;
}

#[tokio::test]
async fn unsynced_segments_behind_a_torn_one_go_to_quarantine() {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(SEGMENT_BYTES)).await.unwrap();
    append_synced(&partition, 1).await;
    // One group over several segments, none of it synced.
    partition.append((1..40).map(|msn| batch(msn, 1)).collect()).await.unwrap();
    drop(partition);
    let mut image = Image::of(&fs).without(&["checkpoint"]);
    drop(store);
    let paths = image.segments();
    assert!(paths.len() > 3, "{}", paths.len());
    let flipped = image.batches(&paths[1])[1].clone();
    // The housekeeping of this log has synced; make it one that nobody has.
    for path in &paths {
        for (place, _) in image.batches(path).into_iter().skip(1) {
            image.bytes(path)[place.start + 12..place.start + 16].fill(0xFF);
        }
    }
    flip(&mut image, &paths[1], 1);
    let fs = Arc::new(image.restore());
    let store = FsStore::open_on(fs, "/store", reading(small(SEGMENT_BYTES))).await.unwrap();
    let reader = store.open(&name(), OpenOptions::existing()).await.unwrap();
    assert_eq!(msns(&reader).await, (0..flipped.1.start).collect::<Vec<_>>(), "for reading");
    let opened = Opened::from(&image).await;
    opened.check(0..flipped.1.start, &[]).await;
    assert_eq!(Image::of(&opened.fs).segments().len(), 2);
    assert_eq!(opened.report().quarantined.len(), paths.len() - 1);
    opened.check_goes_on((0..flipped.1.start).collect(), &[]).await;
}

#[tokio::test]
async fn epoch_behind_bad_bytes_makes_them_a_hole_and_nothing_is_cut() {
    let mut image = log_of(&[true, true, true, true, false], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    flip(&mut image, &path, 1);
    assert!(refused(&image).await);
    let opened = Opened::from(&image).await;
    opened.check([0, 2, 3, 4], &hole(1, 2)).await;
    assert_eq!(opened.report().cut_at, None);
    let kept = Image::of(&opened.fs);
    assert_eq!(kept.0[&path], image.0[&path], "damaged bytes are kept as they are");
    assert_eq!(kept.segments().len(), 2, "writing goes on in a new segment");
    opened.check_goes_on(vec![0, 2, 3, 4], &hole(1, 2)).await;
}

#[tokio::test]
async fn epoch_that_this_log_never_had_proves_nothing() {
    let mut image = log_of(&[true, false, false, false], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    let place = image.batches(&path)[3].0.clone();
    for epoch in [i32::MAX, 77, -2] {
        let field = place.start + 12..place.start + 16;
        image.bytes(&path)[field].copy_from_slice(&epoch.to_be_bytes());
        let mut damaged = image.clone();
        flip(&mut damaged, &path, 2);
        Opened::from(&damaged).await.check([0, 1], &[]).await;
        // Undamaged, such a batch is served: its records are whole.
        Opened::from(&image).await.check([0, 1, 2, 3], &[]).await;
    }
}

#[tokio::test]
async fn epoch_in_a_later_segment_proves_as_well() {
    let image = log_of(&[true; 30], SEGMENT_BYTES).await.without(&["checkpoint"]);
    let paths = image.segments();
    let last = image.batches(&paths[0]).len() - 1;
    let (_, lost) = image.batches(&paths[0])[last].clone();
    let mut damaged = image.clone();
    flip(&mut damaged, &paths[0], last);
    let found: Vec<_> = (0..30).filter(|msn| !lost.contains(msn)).collect();
    let opened = Opened::from(&damaged).await;
    opened.check(found.clone(), std::slice::from_ref(&lost)).await;
    opened.check_goes_on(found, &[lost]).await;
}

#[tokio::test]
async fn segment_missing_without_a_checkpoint_is_a_hole() {
    let image = log_of(&[true; 30], SEGMENT_BYTES).await.without(&["checkpoint"]);
    let paths = image.segments();
    let batches = image.batches(&paths[1]);
    let lost = batches[0].1.start..batches[batches.len() - 1].1.end;
    let mut damaged = image.clone();
    damaged.0.remove(&paths[1]);
    let found: Vec<_> = (0..30).filter(|msn| !lost.contains(msn)).collect();
    assert!(refused(&damaged).await);
    Opened::from(&damaged).await.check_goes_on(found, &[lost]).await;
}

#[tokio::test]
async fn segment_missing_or_short_below_the_checkpoint_is_a_hole() {
    let image = closed_log(30).await;
    let paths = image.segments();
    for (number, path) in paths.iter().enumerate() {
        let batches = image.batches(path);
        let end = batches[batches.len() - 1].1.end;
        for keep in [None, Some(0), Some(1), Some(batches.len() - 1)] {
            let mut damaged = image.clone();
            match keep {
                None => drop(damaged.0.remove(path)),
                Some(count) => damaged.bytes(path).truncate(batches[count].0.start + 5),
            }
            let lost = batches[keep.unwrap_or(0)].1.start..end;
            assert!(refused(&damaged).await, "segment {number}, {keep:?} batches left");
            let found: Vec<_> = (0..30).filter(|msn| !lost.contains(msn)).collect();
            let opened = Opened::from(&damaged).await;
            assert_eq!(opened.partition.bounds().next_msn, Msn::new(30));
            opened.check_goes_on(found, &[lost]).await;
        }
    }
}

#[tokio::test]
async fn zeros_behind_the_end_are_the_normal_end() {
    let mut image = log_of(&[true, true, false], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    image.bytes(&path).extend([0; 3000]);
    let opened = Opened::from(&image).await;
    opened.check([0, 1, 2], &[]).await;
    assert_eq!(opened.report(), RecoveryReport::default());
    opened.check_goes_on(vec![0, 1, 2], &[]).await;
}

#[tokio::test]
async fn bad_bytes_behind_zeros_are_a_torn_tail() {
    let mut image = log_of(&[true, true], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    image.bytes(&path).extend([0; 700]);
    image.bytes(&path).extend([9; 10]);
    let opened = Opened::from(&image).await;
    opened.check([0, 1], &[]).await;
    assert_eq!(opened.report().cut_at, Some(Msn::new(2)));
    opened.check_goes_on(vec![0, 1], &[]).await;
}

#[tokio::test]
async fn file_of_garbage_under_the_name_of_a_segment_costs_nothing() {
    let image = log_of(&[true; 30], SEGMENT_BYTES).await;
    for checkpoint in [true, false] {
        for base in [1, 29, 30, 31, 1_000_000] {
            let mut damaged = image.clone();
            let path = format!("/store/orders-0/{base:020}.log");
            damaged.0.insert(path.into(), vec![0xA5; 5000]);
            let damaged = if checkpoint { damaged } else { damaged.without(&["checkpoint"]) };
            let opened = Opened::from(&damaged).await;
            opened.check(0..30, &[]).await;
            opened.check_goes_on((0..30).collect(), &[]).await;
        }
    }
}

#[tokio::test]
async fn segment_within_another_one_is_put_aside() {
    for (count, checkpoint) in [(5, true), (5, false), (30, false)] {
        let mut image = log_of(&vec![true; count], SEGMENT_BYTES).await;
        let paths = image.segments();
        let copied = image.batches(&paths[0])[2].0.start..image.batches(&paths[0])[3].0.end;
        let bytes = image.bytes(&paths[0])[copied].to_vec();
        image.0.insert("/store/orders-0/00000000000000000002.log".into(), bytes);
        let image = if checkpoint { image } else { image.without(&["checkpoint"]) };
        let opened = Opened::from(&image).await;
        let all: Vec<_> = (0..count as u64).collect();
        opened.check(all.clone(), &[]).await;
        for from in 0..count as u64 {
            let found = msns_of(&read_from(&opened.partition, from, 1).await);
            assert_eq!(found, (from..count as u64).collect::<Vec<_>>());
        }
        assert_eq!(Image::of(&opened.fs).segments(), paths);
        opened.check_goes_on(all, &[]).await;
    }
}

#[tokio::test]
async fn log_that_was_closed_is_opened_without_reading_or_syncing_it() {
    let image = closed_log(30).await;
    let fs = Arc::new(CountedFs::new(Arc::new(image.restore())));
    let disk: Arc<dyn FileSystem> = fs.clone();
    let store = FsStore::open_on(disk, "/store", small(SEGMENT_BYTES)).await.unwrap();
    let before = fs.counts();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    let after = fs.counts();
    let checkpoint = image.0[Path::new("/store/orders-0/checkpoint")].len() as u64;
    assert_eq!(after.bytes_read - before.bytes_read, checkpoint, "no batch is read");
    let syncs = |counts: IoCounts| (counts.sync_data, counts.sync_all, counts.sync_dir);
    assert_eq!((syncs(after), after.writes), (syncs(before), before.writes));
    assert_eq!(msns(&partition).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn log_without_a_checkpoint_is_read_in_large_steps() {
    let image = log_of(&[true; 30], 64 << 10).await.without(&["checkpoint"]);
    let fs = Arc::new(CountedFs::new(Arc::new(image.restore())));
    let disk: Arc<dyn FileSystem> = fs.clone();
    let store = FsStore::open_on(disk, "/store", small(64 << 10)).await.unwrap();
    let before = fs.counts();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    let reads = fs.counts().reads - before.reads;
    assert!(reads < 10, "{reads} reads for 30 batches");
    assert_eq!(msns(&partition).await, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn segment_that_a_trim_has_left_goes_however_the_log_is_opened() {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(SEGMENT_BYTES)).await.unwrap();
    append_synced(&partition, 30).await;
    let before = Image::of(&fs);
    partition.trim(Msn::new(15)).await.unwrap();
    let first = partition.bounds().first_msn.get();
    store.close().await.unwrap();
    let mut image = Image::of(&fs);
    let kept = image.segments();
    let left = before.segments()[0].clone();
    assert!(!kept.contains(&left));
    image.0.insert(left.clone(), before.0[&left].clone());
    for full_scan in [false, true] {
        let mut options = small(SEGMENT_BYTES);
        options.full_scan = full_scan;
        let opened = Opened::with(&image, options).await;
        opened.check(first..30, &[]).await;
        assert_eq!(Image::of(&opened.fs).segments(), kept, "all is read: {full_scan}");
    }
}

#[tokio::test]
async fn what_recovery_has_decided_is_remembered_and_without_damage_nothing_is_written() {
    let checkpoint = Path::new("/store/orders-0/checkpoint");
    for damaged in [None, Some(1), Some(4)] {
        let mut image = log_of(&[true; 5], SEGMENT_BYTES).await.without(&["checkpoint"]);
        let path = image.segments()[0].clone();
        damaged.into_iter().for_each(|batch| flip(&mut image, &path, batch));
        let opened = Opened::from(&image).await;
        let remembered = Image::of(&opened.fs).0.contains_key(checkpoint);
        assert_eq!(remembered, damaged == Some(1), "{damaged:?}: a torn tail is just cut");
    }
}
