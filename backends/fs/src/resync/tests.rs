//! What is taken for the next stored batch behind bad bytes, and what is not.

use std::io::IoSlice;
use std::path::Path;

use msglog_core::batch::{BatchBuilder, BatchOptions};
use msglog_core::{Message, Timestamp};

use super::*;
use crate::io::{FileSystem, OpenMode, SimFs};

const BYTES_MAX: u64 = 2000;
/// No header, not even a damaged one, and nothing in it can begin a batch.
const BAD: [u8; 100] = [0xA5; 100];

fn batch(msn: u64, payload: Option<usize>) -> Vec<u8> {
    batch_of(msn, payload.map(|size| vec![7; size]))
}

/// A batch of one record, or of none.
fn batch_of(msn: u64, payload: Option<Vec<u8>>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    match payload {
        Some(payload) => {
            builder.push(Message::new(payload), Timestamp::from_millis(1)).unwrap();
        }
        None => builder.cover(0).unwrap(),
    }
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(msn), 1);
    batch.to_bytes().to_vec()
}

fn batches(msns: Range<u64>) -> Vec<u8> {
    msns.flat_map(|msn| batch(msn, Some(10))).collect()
}

/// Where the next batch is found behind bad bytes in front, in place of MSN `expected`, and its MSN.
fn found(parts: &[&[u8]], expected: u64, limit: u64, bytes_max: u64) -> Option<(usize, u64)> {
    let bytes = parts.concat();
    let file = SimFs::new().open(Path::new("/segment"), OpenMode::CreateNew).unwrap();
    assert_eq!(file.write_at(&[IoSlice::new(&bytes)], 0).unwrap(), bytes.len());
    let mut scanner = Scanner::new(file.as_ref(), bytes.len() as u64, bytes_max);
    let range = Msn::new(expected)..Msn::new(limit);
    let (place, batch) = scanner.next_valid(0, &range).unwrap()?;
    Some((usize::try_from(place).unwrap(), batch.base_msn().get()))
}

/// The MSN found behind bytes that are no header, where batch 4 should be.
fn behind_bad(parts: &[&[u8]]) -> Option<u64> {
    found(&[&[&BAD[..]], parts].concat(), 4, 1000, BYTES_MAX).map(|(_, msn)| msn)
}

#[test]
fn fields_that_cannot_be_those_of_the_batch_expected_are_counted() {
    let good = batch(4, Some(10));
    let len = good.len() as u64;
    let wrong = |at: usize, field: &[u8], len_max: u64| {
        let mut head = good.clone();
        head[at..at + field.len()].copy_from_slice(field);
        Remains::of(&head, Msn::new(4), len_max).unwrap().wrong
    };
    let remains = Remains::of(&good, Msn::new(4), len).unwrap();
    assert_eq!((remains.len, remains.next, remains.wrong), (len, 5, 0));
    assert!(Remains::of(&good[..HEADER_BYTES - 1], Msn::new(4), len).is_none());
    for (name, at, field, len_max, expected) in [
        ("base", 0, &5_u64.to_be_bytes()[..], len, 1),
        ("longest", 8, &[], len, 0),
        ("too long", 8, &[], len - 1, 1),
        ("shortest", 8, &49_u32.to_be_bytes(), len, 0),
        ("too short", 8, &48_u32.to_be_bytes(), len, 1),
        ("epoch", 12, &7_i32.to_be_bytes(), len, 0),
        ("no epoch", 12, &NO_EPOCH.to_be_bytes(), len, 0),
        ("negative epoch", 12, &(-2_i32).to_be_bytes(), len, 1),
        ("magic", 16, &[3], len, 1),
        ("attributes", 21, &[1], len, 1),
        ("largest delta", 23, &i32::MAX.to_be_bytes(), len, 0),
        ("negative delta", 23, &i32::MIN.to_be_bytes(), len, 1),
        ("epoch and magic", 12, &[0xFF, 0, 0, 0, 3], len, 2),
    ] {
        assert_eq!(wrong(at, field, len_max), expected, "{name}");
    }
    for (wrong, is_header) in [(0, true), (1, true), (2, false)] {
        assert_eq!(Remains { wrong, ..remains }.is_header(), is_header, "{wrong} wrong");
    }
}

#[test]
fn batch_is_stored_when_the_end_or_the_next_one_follows() {
    assert_eq!(behind_bad(&[&batches(5..6)]), Some(5), "the end of the file");
    assert_eq!(behind_bad(&[&batches(5..6), &[0; 2]]), Some(5), "a runway of zeros");
    assert_eq!(behind_bad(&[&batches(5..6), &[0]]), None, "the end of a record around it");
    assert_eq!(behind_bad(&[&batches(5..6), &BAD]), None, "the rest of a record around it");
    let mut flipped = batch(6, Some(10));
    flipped[70] ^= 1;
    assert_eq!(behind_bad(&[&batches(5..6), &flipped]), Some(5), "the next one is damaged");
    assert_eq!(behind_bad(&[&batches(5..7), &batches(9..10)]), Some(5), "two, and another MSN");
    assert_eq!(behind_bad(&[&batches(5..6), &batches(9..10)]), Some(9), "one, and another MSN");
}

#[test]
fn of_batches_with_bad_bytes_behind_the_longest_row_is_taken() {
    let (two, three) = (batches(5..7), batches(20..23));
    assert_eq!(behind_bad(&[&two, &BAD]), Some(5));
    assert_eq!(behind_bad(&[&two, &BAD, &three, &BAD]), Some(20));
    let (two, three) = (batches(20..22), batches(5..8));
    assert_eq!(behind_bad(&[&three, &BAD, &two, &BAD]), Some(5));
    assert_eq!(behind_bad(&[&batches(5..7), &BAD, &batches(20..22), &BAD]), Some(5), "the first");
    for (rest, expected) in [(HEADER_BYTES - 1, None), (HEADER_BYTES, Some(5))] {
        assert_eq!(behind_bad(&[&batches(5..7), &BAD[..rest]]), expected, "{rest} bytes behind");
    }
}

#[test]
fn batch_where_a_damaged_one_ends_is_taken_although_more_damage_follows() {
    let mut damaged = batch(4, Some(10));
    damaged[26] = 7;
    let parts = [&damaged[..], &batches(5..7), &BAD, &batches(8..10)];
    assert_eq!(found(&parts, 4, 1000, BYTES_MAX), Some((damaged.len(), 5)));
}

#[test]
fn only_msns_that_may_be_next_are_looked_for() {
    assert_eq!(behind_bad(&[&batches(4..5)]), None, "the bad bytes were that batch");
    let found = |msn: u64, limit| {
        found(&[&BAD, &batches(msn..msn + 1)], 4, limit, BYTES_MAX).map(|(_, msn)| msn)
    };
    assert_eq!((found(6, 7), found(6, 6), found(7, 7)), (Some(6), None, None));
    let far = 5 + LOST_MSNS_MAX;
    assert_eq!(LOST_MSNS_MAX, 1 << 40);
    assert_eq!((found(far, u64::MAX >> 1), found(far + 1, u64::MAX >> 1)), (Some(far), None));
}

#[test]
fn row_of_batches_ends_at_the_limit() {
    let msn = |limit| found(&[&BAD, &batches(5..7)], 4, limit, BYTES_MAX).map(|(_, msn)| msn);
    // With 6 as the limit the second one is no part of it.
    assert_eq!((msn(7), msn(6)), (Some(5), None));
}

#[test]
fn shortest_and_longest_batch_are_found() {
    let empty = batch(5, None);
    assert_eq!(empty.len(), HEADER_BYTES);
    assert_eq!(found(&[&[0xA5], &empty], 4, 1000, BYTES_MAX), Some((1, 5)));
    let long = batch(5, Some(1000));
    let len = long.len() as u64;
    assert_eq!(found(&[&BAD, &long], 4, 1000, len), Some((100, 5)));
    assert_eq!(found(&[&BAD, &long], 4, 1000, len - 1), None);
}

#[test]
fn batch_is_found_wherever_the_bytes_read_at_a_time_end() {
    let edge = usize::try_from(WINDOW_BYTES).unwrap();
    for place in (edge - 90..edge + 30).step_by(6).chain([2 * edge, 3 * edge]) {
        let bad = vec![0xA5; place];
        assert_eq!(found(&[&bad, &batches(5..6)], 4, 1000, BYTES_MAX), Some((place, 5)));
    }
}

/// A batch in place of MSN 4 whose length field says that it is shorter.
fn with_damaged_length(mut batch: Vec<u8>) -> Vec<u8> {
    batch[LENGTH_FIELD].copy_from_slice(&50_u32.to_be_bytes());
    batch
}

#[test]
fn batch_of_a_damaged_length_is_whole_up_to_the_next_one() {
    let damaged = with_damaged_length(batch(4, Some(1000)));
    let (place, bytes_max) = (damaged.len(), damaged.len() as u64);
    let parts = [&damaged[..], &batches(5..6), &BAD];
    assert_eq!(found(&parts, 4, 1000, bytes_max), Some((place, 5)));
    assert_eq!(found(&parts, 4, 1000, bytes_max - 1), None, "none of this store is as long");
}

#[test]
fn nothing_within_the_last_batch_is_taken_whatever_its_length_says() {
    let zeros_max = usize::try_from(ZEROS_OF_BATCH_MAX).unwrap();
    // The record and the one within end in one zero each.
    for zeros in 0..zeros_max - 2 {
        let payload = [batches(5..6), vec![0; zeros]].concat();
        let last = with_damaged_length(batch_of(4, Some(payload)));
        for runway in [0, 1, 2, 100] {
            let found = found(&[&last, &vec![0; runway]], 4, 1000, BYTES_MAX);
            assert_eq!(found, None, "{zeros} zeros, a runway of {runway}");
        }
    }
}

#[test]
fn nothing_within_a_last_batch_that_is_too_long_is_taken() {
    for zeros in [0, 3, usize::try_from(ZEROS_OF_BATCH_MAX).unwrap() - 3] {
        let payload = [vec![7; 100], batches(5..6), vec![0; zeros]].concat();
        let last = batch_of(4, Some(payload));
        let bytes_max = last.len() as u64 - 1;
        for runway in [0, 1, 2, 100] {
            let found = found(&[&last, &vec![0; runway]], 4, 1000, bytes_max);
            assert_eq!(found, None, "{zeros} zeros, a runway of {runway}");
        }
        let found = found(&[&last, &batches(5..6)], 4, 1000, bytes_max);
        assert_eq!(found, Some((last.len(), 5)), "one behind it is");
    }
}
