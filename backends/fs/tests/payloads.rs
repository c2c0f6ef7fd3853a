//! Payloads that are valid record batches of the same partition: damage around them never lets one
//! be taken for a stored batch.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::damaged::*;
use common::*;
use msglog_core::batch::{BatchBuilder, BatchOptions};
use msglog_core::{Message, Msn, RecordBatch, Timestamp};
use msglog_fs::io::SimFs;

/// Batches as a payload could hold them: they bear an epoch of this log, or none.
fn inner(base: u64, epoch: i32, batches: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for msn in base..base + batches {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(Message::new("from within"), Timestamp::from_millis(1)).unwrap();
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(msn), epoch);
        bytes.extend_from_slice(&batch.to_bytes());
    }
    bytes
}

/// A batch of one record whose payload ends in such batches.
fn outer(msn: u64, ahead: u64, epoch: i32, batches: u64) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut payload = format!("record {msn} ").into_bytes();
    payload.extend(inner(msn + ahead, epoch, batches));
    builder.push(Message::new(payload), Timestamp::from_millis(1)).unwrap();
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(msn), -1);
    batch
}

/// What the payloads hold: how far ahead their MSNs are, their epoch, and how many batches.
const INNER: [(u64, i32, u64); 9] = [
    (0, 1, 1),
    (0, -1, 1),
    (1, 1, 1),
    (1, -1, 1),
    (1, 1, 2),
    (2, 1, 1),
    (3, 1, 2),
    (7, 1, 1),
    (1000, 1, 1),
];

async fn log_of_payloads(of: (u64, i32, u64), runway: usize) -> Image {
    let (ahead, epoch, batches) = of;
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(4096)).await.unwrap();
    for msn in 0..6 {
        partition.append(vec![outer(msn, ahead, epoch, batches)]).await.unwrap();
        partition.sync().await.unwrap();
    }
    drop((store, partition));
    let mut image = Image::of(&fs).without(&["checkpoint"]);
    let path = image.segments()[0].clone();
    let end = image.batches(&path).last().unwrap().0.end;
    image.bytes(&path).truncate(end);
    image.bytes(&path).extend(std::iter::repeat_n(0, runway));
    image
}

/// Names the case when its test fails.
struct What<'a>(&'a str);

impl Drop for What<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {}", self.0);
        }
    }
}

/// Opens what `damage` leaves; whatever is found was stored, and `kept` is there.
async fn check(image: &Image, kept: &[u64], what: &str) {
    let _what = What(what);
    let opened = Opened::with(image, small(4096)).await;
    let found = msns(&opened.partition).await;
    for msn in kept {
        assert!(found.contains(msn), "{what}: {found:?} without {msn}");
    }
    assert!(found.iter().all(|msn| *msn < 6), "{what}: {found:?}");
}

#[tokio::test]
async fn byte_flipped_anywhere_serves_no_batch_from_within() {
    for of in INNER {
        for runway in [0, 10, 500] {
            let image = log_of_payloads(of, runway).await;
            let path = image.segments()[0].clone();
            for (number, (bytes, _)) in (0..).zip(image.batches(&path)).skip(2).step_by(3) {
                for place in bytes.clone() {
                    for mask in [0x01, 0x80] {
                        let mut damaged = image.clone();
                        damaged.bytes(&path)[place] ^= mask;
                        let kept: Vec<u64> = (0..6).filter(|msn| *msn != number).collect();
                        let at = place - bytes.start;
                        check(&damaged, &kept, &format!("{of:?} {runway} {number} {at}")).await;
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn tail_torn_anywhere_serves_no_batch_from_within() {
    for of in INNER {
        for runway in [0, 500] {
            let image = log_of_payloads(of, runway).await;
            let path = image.segments()[0].clone();
            let (last, _) = image.batches(&path).last().unwrap().clone();
            for cut in last.clone() {
                let mut damaged = image.clone();
                if runway == 0 {
                    damaged.bytes(&path).truncate(cut);
                } else {
                    damaged.bytes(&path)[cut..last.end].fill(0);
                }
                check(&damaged, &[0, 1, 2, 3, 4], &format!("{of:?} {runway} {cut}")).await;
            }
        }
    }
}

#[tokio::test]
async fn sector_lost_anywhere_serves_no_batch_from_within() {
    for of in INNER {
        let image = log_of_payloads(of, 0).await;
        let path = image.segments()[0].clone();
        let batches = image.batches(&path);
        for start in 0..batches[5].0.end {
            let lost = start..(start + 40).min(batches[5].0.end);
            let mut damaged = image.clone();
            damaged.bytes(&path)[lost.clone()].fill(0xA5);
            let touched =
                batches.iter().map(|(bytes, _)| bytes.start < lost.end && lost.start < bytes.end);
            let kept: Vec<u64> =
                (0..6).zip(touched).filter(|(_, hit)| !hit).map(|(n, _)| n).collect();
            check(&damaged, &kept, &format!("{of:?} {start}")).await;
        }
    }
}

#[tokio::test]
async fn flips_in_two_batches_cost_both_and_no_other() {
    for of in INNER {
        let image = log_of_payloads(of, 100).await;
        let path = image.segments()[0].clone();
        let batches = image.batches(&path);
        for (first, second) in [(1, 3), (1, 4), (2, 3), (0, 5)] {
            for place in 0..61 {
                let mut damaged = image.clone();
                damaged.bytes(&path)[batches[first].0.start + place] ^= 0x40;
                damaged.bytes(&path)[batches[second].0.start + (place * 7) % 61] ^= 0x04;
                let kept: Vec<_> =
                    (0..6).filter(|msn| *msn != first as u64 && *msn != second as u64).collect();
                check(&damaged, &kept, &format!("{of:?} {first} {second} {place}")).await;
            }
        }
    }
}
