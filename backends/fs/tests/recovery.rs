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

use common::*;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore};
use msglog_core::{ErrorKind, Msn};
use msglog_fs::io::SimFs;
use msglog_fs::{FsOptions, FsStore, RecoveryReport};

const SEGMENT_BYTES: u64 = 1024;

/// A log of one record a batch; `true` syncs after the batch.
async fn log_of(syncs: &[bool], segment_bytes: u64) -> Image {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(segment_bytes)).await.unwrap();
    for sync in syncs {
        append(&partition, 1).await;
        if *sync {
            partition.sync().await.unwrap();
        }
    }
    drop(store);
    Image::of(&fs)
}

/// The same of batches that are all synced, as a clean close leaves it.
async fn closed_log(count: u64) -> Image {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(SEGMENT_BYTES)).await.unwrap();
    append_synced(&partition, count).await;
    store.close().await.unwrap();
    Image::of(&fs)
}

struct Opened {
    fs: SimFs,
    store: FsStore,
    partition: Arc<dyn PartitionStore>,
}

impl Opened {
    async fn from(image: &Image) -> Self {
        Self::with(image, small(SEGMENT_BYTES)).await
    }

    async fn with(image: &Image, options: FsOptions) -> Self {
        let fs = image.restore();
        let (store, partition) = open_sim(&fs, options).await.unwrap();
        Self { fs, store, partition }
    }

    fn report(&self) -> RecoveryReport {
        self.store.recovery_report(&name()).unwrap()
    }

    async fn reopened(self) -> Self {
        drop(self.partition);
        drop(self.store);
        Self::from(&Image::of(&self.fs)).await
    }

    async fn check(&self, found: impl IntoIterator<Item = u64>, holes: &[Range<u64>]) {
        assert_eq!(msns(&self.partition).await, found.into_iter().collect::<Vec<_>>());
        let holes: Vec<_> =
            holes.iter().map(|hole| Msn::new(hole.start)..Msn::new(hole.end)).collect();
        assert_eq!(self.partition.holes(), holes);
    }

    /// Quarantined bytes are there, and appending goes on and is there after another opening.
    async fn check_goes_on(self, found: Vec<u64>, holes: &[Range<u64>]) {
        let next = self.partition.bounds().next_msn.get();
        append_synced(&self.partition, 2).await;
        let found: Vec<_> = found.into_iter().chain([next, next + 1]).collect();
        self.check(found.clone(), holes).await;
        let again = self.reopened().await;
        again.check(found, holes).await;
        assert_eq!(again.report().cut_at, None, "a second opening cuts nothing");
    }
}

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

fn flip(image: &mut Image, path: &Path, batch: usize) {
    let place = image.batches(path)[batch].0.clone();
    image.bytes(path)[place.start + 70] ^= 0x10;
}

#[tokio::test]
async fn bad_last_batch_is_a_torn_tail() {
    let mut image = log_of(&[true, true, true], SEGMENT_BYTES).await;
    let path = image.segments()[0].clone();
    flip(&mut image, &path, 2);
    assert!(!refused(&image).await);
    let opened = Opened::from(&image).await;
    opened.check([0, 1], &[]).await;
    let report = opened.report();
    assert_eq!((report.cut_at, report.holes.len()), (Some(Msn::new(2)), 0));
    let kept = Image::of(&opened.fs);
    let place = image.batches(&path)[2].0.clone();
    assert_eq!(kept.0[&report.quarantined[0]], image.0[&path][place], "cut bytes are kept");
    opened.check_goes_on(vec![0, 1], &[]).await;
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

/// Damage at `place` costs the batch there and no other; an epoch costs nothing, it is no data.
fn lost_at(batches: &[(Range<usize>, Range<u64>)], place: usize) -> Range<u64> {
    let (bytes, msns) = batches.iter().find(|(bytes, _)| bytes.contains(&place)).unwrap();
    if (12..16).contains(&(place - bytes.start)) { 0..0 } else { msns.clone() }
}

#[tokio::test]
async fn byte_flipped_anywhere_costs_exactly_its_batch() {
    let whole = log_of(&[true; 16], SEGMENT_BYTES).await;
    assert!(whole.segments().len() >= 2);
    for (mask, checkpoint) in [(0x01, false), (0x80, false), (0xFF, true)] {
        let image = if checkpoint { whole.clone() } else { whole.clone().without(&["checkpoint"]) };
        for path in image.segments() {
            let batches = image.batches(&path);
            for place in 0..batches[batches.len() - 1].0.end {
                let mut damaged = image.clone();
                damaged.bytes(&path)[place] ^= mask;
                let lost = lost_at(&batches, place);
                let found: Vec<_> = (0..16).filter(|msn| !lost.contains(msn)).collect();
                let opened = Opened::from(&damaged).await;
                let seen = msns(&opened.partition).await;
                assert_eq!(seen, found, "{} at {place} by {mask:#x}", path.display());
                let seen = msns(&opened.reopened().await.partition).await;
                assert_eq!(seen, found, "again: {} at {place}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn segment_cut_anywhere_costs_exactly_what_was_cut() {
    let image = log_of(&[true; 16], SEGMENT_BYTES).await.without(&["checkpoint"]);
    for path in image.segments() {
        let batches = image.batches(&path);
        for cut in 0..batches[batches.len() - 1].0.end {
            let mut damaged = image.clone();
            damaged.bytes(&path).truncate(cut);
            let kept = batches.iter().take_while(|(bytes, _)| bytes.end <= cut).count();
            let lost = batches[kept].1.start..batches[batches.len() - 1].1.end;
            let found: Vec<_> = (0..16).filter(|msn| !lost.contains(msn)).collect();
            let opened = Opened::from(&damaged).await;
            assert_eq!(msns(&opened.partition).await, found, "{} cut at {cut}", path.display());
        }
    }
}

#[tokio::test]
async fn rot_below_the_checkpoint_is_found_by_reading() {
    let mut image = closed_log(30).await;
    let path = image.segments()[0].clone();
    let lost = image.batches(&path)[2].1.clone();
    flip(&mut image, &path, 2);
    let opened = Opened::from(&image).await;
    let found: Vec<_> = (0..30).filter(|msn| !lost.contains(msn)).collect();
    for from in 0..30 {
        let seen = msns_of(&read_from(&opened.partition, from, 300).await);
        let wanted: Vec<_> = found.iter().copied().filter(|msn| *msn >= from).collect();
        assert_eq!(seen, wanted, "from {from}");
    }
    opened.check(found, &[lost]).await;
    let mut options = small(SEGMENT_BYTES);
    options.strict = true;
    let opened = Opened::with(&image, options).await;
    let limit = msglog_core::store::ReadLimit::bytes(1);
    let error = opened.partition.read(Msn::new(2), limit).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn derived_files_that_are_lost_or_damaged_change_no_answer() {
    let image = closed_log(40).await;
    let derived: Vec<_> = image
        .0
        .keys()
        .filter(|path| {
            let name = path.to_str().unwrap();
            name.contains("orders-0") && !name.ends_with(".log")
        })
        .cloned()
        .collect();
    assert!(derived.len() > 6);
    for path in &derived {
        for damage in 0..4 {
            let mut damaged = image.clone();
            let bytes = damaged.bytes(path);
            match damage {
                0 => bytes.clear(),
                1 => bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1)),
                2 => bytes.truncate(bytes.len() / 2),
                _ => drop(damaged.0.remove(path)),
            }
            let opened = Opened::from(&damaged).await;
            opened.check(0..40, &[]).await;
            for msn in 0..40 {
                let time = msglog_core::Timestamp::from_millis(1_000 + msn * 10);
                let found = opened.partition.find(time).await.unwrap().get();
                assert_eq!(found, u64::try_from(msn).unwrap(), "{} {damage}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn power_cut_during_recovery_changes_no_verdict() {
    let hole = {
        let mut image = log_of(&[true; 30], SEGMENT_BYTES).await.without(&["checkpoint"]);
        let path = image.segments()[1].clone();
        flip(&mut image, &path, 1);
        image
    };
    let torn = {
        let mut syncs = vec![true; 12];
        syncs.extend([false; 3]);
        let mut image = log_of(&syncs, SEGMENT_BYTES).await;
        let path = image.segments().last().unwrap().clone();
        let last = image.batches(&path).len();
        flip(&mut image, &path, last - 2);
        image
    };
    for (image, expected) in
        [(&hole, Opened::from(&hole).await), (&torn, Opened::from(&torn).await)]
    {
        let expected_msns = msns(&expected.partition).await;
        let holes = expected.partition.holes();
        for seed in 0..300 {
            let fs = image.restore();
            // What is on the disk at the beginning is durable.
            fs.sync_everything();
            for cut in [seed % 30, seed % 17] {
                fs.cut_power_after(cut);
                let _ = open_sim(&fs, small(SEGMENT_BYTES)).await;
                fs.crash(seed + cut);
            }
            let (_store, partition) = open_sim(&fs, small(SEGMENT_BYTES)).await.unwrap();
            assert_eq!(msns(&partition).await, expected_msns, "seed {seed}");
            assert_eq!(partition.holes(), holes, "seed {seed}");
        }
    }
}
