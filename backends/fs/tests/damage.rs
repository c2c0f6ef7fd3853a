//! Damage at every byte, to derived files, and power cuts during recovery.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::ops::Range;

use common::damaged::*;
use common::*;
use msglog_core::{ErrorKind, Msn};

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
