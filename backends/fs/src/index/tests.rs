//! Searches by MSN and by time, in an index as it is kept, read back, and put together of two.

use msglog_core::batch::{BatchBuilder, BatchOptions};
use msglog_core::{Message, RecordBatch, Timestamp};

use super::*;

const BASE: u64 = 1_000;
const INTERVAL_BYTES: u64 = 200;

/// Batches of one to three records with times that go up and down, and where each begins.
fn batches() -> Vec<(RecordBatch, u64)> {
    let (mut next, mut offset) = (BASE, 0);
    let batches = (0..40_u64).map(|number| {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let at = Timestamp::from_millis(500 + i64::try_from(number * 7 % 11 + number).unwrap());
        for _ in 0..=number % 3 {
            builder.push(Message::new("x".repeat(30)), at).unwrap();
        }
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(next), 0);
        let place = offset;
        next += number % 3 + 1;
        offset += batch.encoded_len() as u64;
        (batch, place)
    });
    batches.collect()
}

/// The index of what comes behind these batches.
fn behind(batches: &[(RecordBatch, u64)]) -> Index {
    let extent = batches.iter().fold(Extent::empty(Msn::new(BASE)), |extent, (batch, offset)| {
        extent.with(batch.header(), *offset)
    });
    Index::behind(Msn::new(BASE), extent)
}

fn index(batches: &[(RecordBatch, u64)]) -> Index {
    let mut index = Index::new(Msn::new(BASE));
    batches.iter().for_each(|(batch, offset)| index.push(batch.header(), *offset, INTERVAL_BYTES));
    index
}

/// The files read back, and the index as it was kept in memory.
fn both(batches: &[(RecordBatch, u64)]) -> [Index; 2] {
    let kept = index(batches);
    let (offsets, times) = kept.encode();
    let sums = IndexSums::of(&offsets, &times);
    [Index::decode(Msn::new(BASE), (&offsets, &times), sums).unwrap(), kept]
}

fn check_search_for_an_msn(index: &Index, batches: &[(RecordBatch, u64)]) {
    let longest = batches.iter().map(|(batch, _)| batch.encoded_len() as u64).max().unwrap();
    for (batch, place) in batches {
        for msn in batch.base_msn().get()..batch.next_msn().get() {
            let from = index.offset_for(Msn::new(msn));
            assert!(from <= *place, "MSN {msn} at {place} is looked for from {from} on");
            let too_far = from + 2 * INTERVAL_BYTES + 2 * longest;
            assert!(*place <= too_far, "MSN {msn} at {place} is looked for from {from} on");
            let starts = batches.iter().any(|(_, place)| *place == from);
            assert!(starts, "no batch begins at {from}");
        }
    }
}

fn check_search_for_a_time(index: &Index, batches: &[(RecordBatch, u64)]) {
    for timestamp in 490..560 {
        let from = index.msn_for(timestamp);
        let passed = batches.iter().filter(|(batch, _)| batch.base_msn() < from);
        for (batch, _) in passed {
            let newest = batch.max_timestamp().as_millis();
            assert!(newest < timestamp, "{timestamp} from {from} on passes {newest}");
        }
    }
}

fn check_search_beyond_all_times(index: &Index, batches: &[(RecordBatch, u64)]) {
    let last = batches.last().unwrap().0.next_msn().get() - 1;
    let near_the_end = index.msn_for(i64::MAX).get();
    assert!(near_the_end > last - 12, "beyond all times it begins at {near_the_end}");
}

#[test]
fn search_for_an_msn_begins_at_or_before_its_batch_and_not_far_before() {
    let batches = batches();
    for index in both(&batches) {
        let apart = |a: &OffsetEntry, b: &OffsetEntry| u64::from(b.offset - a.offset);
        assert!(index.offsets.is_sorted_by(|a, b| apart(a, b) > INTERVAL_BYTES), "{index:?}");
        check_search_for_an_msn(&index, &batches);
    }
}

#[test]
fn search_for_a_time_passes_over_older_records_only() {
    let batches = batches();
    for index in both(&batches) {
        check_search_for_a_time(&index, &batches);
        check_search_beyond_all_times(&index, &batches);
    }
}

#[test]
fn index_put_together_of_two_finds_what_one_does_and_is_read_back() {
    let batches = batches();
    for cut in 0..=batches.len() {
        let (front, back) = batches.split_at(cut);
        let mut later = behind(front);
        back.iter().for_each(|(batch, offset)| later.push(batch.header(), *offset, INTERVAL_BYTES));
        assert_eq!(later.is_complete(), cut == 0);
        let middle = Index { covered_from: 1, ..index(front) };
        assert!(!middle.followed_by(later.clone()).is_complete(), "its front is not there");
        let followed = index(front).followed_by(later.clone());
        // The earlier one may know also of what was behind before, and is no longer there.
        let gone = newer(back);
        for earlier in both(front).into_iter().chain(both(&[front, &gone].concat())) {
            let mut whole = later.clone();
            whole.complete_with(earlier);
            for whole in [whole, followed.clone()] {
                assert!(whole.is_complete());
                check_search_for_an_msn(&whole, &batches);
                check_search_for_a_time(&whole, &batches);
                check_search_beyond_all_times(&whole, &batches);
                let (offsets, times) = whole.encode();
                let sums = IndexSums::of(&offsets, &times);
                let read = Index::decode(Msn::new(BASE), (&offsets, &times), sums).unwrap();
                assert_eq!(read.encoded_len(), (offsets.len() + times.len()) as u64);
            }
        }
    }
}

/// The same batches with a time that is newer than most.
fn newer(batches: &[(RecordBatch, u64)]) -> Vec<(RecordBatch, u64)> {
    let newer = batches.iter().map(|(batch, offset)| {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..batch.record_count() {
            let message = Message::new("x".repeat(30));
            builder.push(&message, Timestamp::from_millis(530)).unwrap();
        }
        let mut newer = builder.build().unwrap();
        newer.stamp(batch.base_msn(), 0);
        (newer, *offset)
    });
    newer.collect()
}

#[test]
fn newest_time_of_the_front_is_not_passed_over_when_an_index_is_put_together() {
    let batches = batches();
    for at in 0..12 {
        let mut batches = batches.clone();
        let newer = newer(&batches[at..=at]);
        batches[at..=at].clone_from_slice(&newer);
        for cut in 0..=batches.len() {
            let (front, back) = batches.split_at(cut);
            let mut later = behind(front);
            back.iter()
                .for_each(|(batch, offset)| later.push(batch.header(), *offset, INTERVAL_BYTES));
            // The files may be older than the extent.
            for known in [0, cut / 2, cut] {
                let [mut whole, followed] = [later.clone(), later.clone()];
                whole.complete_with(index(&batches[..known]));
                check_search_for_a_time(&whole, &batches);
                check_search_for_a_time(&index(front).followed_by(followed), &batches);
            }
        }
    }
}

#[test]
fn entries_lie_more_than_the_interval_apart_and_the_first_of_equal_times_is_named() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(Message::new("x"), Timestamp::from_millis(500)).unwrap();
    let mut batch = builder.build().unwrap();
    let bytes = batch.encoded_len() as u64;
    let mut index = Index::new(Msn::new(BASE));
    let (end, next_msn) = (5 * bytes, Msn::new(BASE + 5));
    let mut later = Index::behind(Msn::new(BASE), Extent { end, next_msn, max_timestamp: 500 });
    for number in 0..10 {
        batch.stamp(Msn::new(BASE + number), 0);
        let index = if number < 5 { &mut index } else { &mut later };
        index.push(batch.header(), number * bytes, bytes);
    }
    let places: Vec<_> = index.offsets.iter().map(|entry| u64::from(entry.offset)).collect();
    assert_eq!(places, [2 * bytes, 4 * bytes]);
    let first = [500_i64.to_be_bytes().as_slice(), &[0; 4]].concat();
    assert_eq!(index.encode().1, first, "as Kafka has it");
    assert_eq!(index.followed_by(later).encode().1, first, "also of two put together");
}

#[test]
fn files_that_do_not_rise_or_fit_are_not_used_whatever_their_checksums_say() {
    let (offsets, times) = index(&batches()).encode();
    let decode = |offsets: &[u8], times: &[u8]| {
        Index::decode(Msn::new(BASE), (offsets, times), IndexSums::of(offsets, times))
    };
    assert!(decode(&offsets, &times).is_some() && decode(&[], &[]).is_some());
    let swapped = |bytes: &[u8], entry: usize, field: std::ops::Range<usize>| {
        let mut bytes = bytes.to_vec();
        for at in field {
            bytes.swap(at, entry + at);
        }
        bytes
    };
    assert!(decode(&swapped(&offsets, 8, 0..4), &times).is_none(), "relative MSNs fall");
    assert!(decode(&swapped(&offsets, 8, 4..8), &times).is_none(), "offsets fall");
    assert!(decode(&offsets, &swapped(&times, 12, 0..8)).is_none(), "timestamps fall");
    assert!(decode(&offsets, &swapped(&times, 12, 8..12)).is_none(), "relative MSNs fall");
    assert!(decode(&[&offsets[..8], &offsets[..8]].concat(), &times).is_none(), "one twice");
    let same = |bytes: &[u8], entry: usize, field: std::ops::Range<usize>| {
        let mut bytes = bytes.to_vec();
        bytes.copy_within(field.clone(), entry + field.start);
        bytes
    };
    assert!(decode(&same(&offsets, 8, 0..4), &times).is_none(), "one relative MSN twice");
    assert!(decode(&same(&offsets, 8, 4..8), &times).is_none(), "one offset twice");
    assert!(decode(&offsets, &same(&times, 12, 0..8)).is_none(), "one timestamp twice");
    assert!(decode(&offsets, &same(&times, 12, 8..12)).is_none(), "one relative MSN twice");
    assert!(decode(&offsets[1..], &times).is_none() && decode(&offsets, &times[1..]).is_none());
    let sums = IndexSums::of(&offsets, &times);
    let other = Index::decode(Msn::new(BASE), (&times, &offsets), sums);
    assert!(other.is_none(), "other bytes than those of the checksums");
    let mut late = times;
    *late.last_mut().unwrap() += 1;
    let other = Index::decode(Msn::new(BASE), (&offsets, &late), sums);
    assert!(other.is_none(), "in order, but other bytes than those of the checksum");
}

#[test]
fn index_whose_files_contradict_the_extent_is_read_back() {
    let batches = batches();
    let (end, next_msn) = (batches[1].1, batches[1].0.base_msn());
    let extent = Extent { end, next_msn, max_timestamp: 900 };
    let mut later = Index::behind(Msn::new(BASE), extent);
    later.complete_with(Index {
        times: vec![TimeEntry { timestamp: 500, relative: 0 }],
        ..Index::new(Msn::new(BASE))
    });
    let (offsets, times) = later.encode();
    let sums = IndexSums::of(&offsets, &times);
    assert!(Index::decode(Msn::new(BASE), (&offsets, &times), sums).is_some());
}
