//! Tests of the batch cache.

use super::*;
use crate::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
use crate::{Message, Timestamp};

fn batch(base: u64, records: u64, bytes: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for number in base..base + records {
        let fill = u8::try_from(number % 251).unwrap();
        builder.push(Message::new(vec![fill; bytes]), Timestamp::from_millis(0)).unwrap();
    }
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(base), NO_EPOCH);
    batch
}

fn held(cache: &PartitionCache, base: u64) -> bool {
    cache.page(Msn::new(base), Msn::MAX, ReadLimit::bytes(0)).is_some()
}

/// Offers a batch as a read of a single record does.
fn offer(cache: &PartitionCache, batch: &RecordBatch) {
    let since = cache.unchanged();
    cache.offer(std::slice::from_ref(batch), Msn::MAX, ReadLimit::bytes(0), since);
}

#[test]
fn memory_stays_within_the_budget_whatever_is_offered() {
    for parts in [false, true] {
        let shared = BatchCache::new(100_000, parts);
        let caches = [shared.of_partition(), shared.of_partition()];
        for round in 0..2_000_u64 {
            let base = round * 7 % 311 * 10;
            let bytes = usize::try_from(round * 37 % 9_000).unwrap() + 500;
            for cache in &caches {
                let since = cache.unchanged();
                let batch = batch(base, 10, bytes);
                offer(cache, &batch);
                cache.offer_indexed(&batch, since).unwrap();
                drop(cache.record(Msn::new(base + 3), Msn::MAX).unwrap());
                let state = shared.lock();
                let wholes: Vec<_> = state.batches.all().collect();
                let outlines = state.outlines.costs();
                assert!(wholes.iter().all(|(whole, bytes)| *bytes > whole.batch.encoded_len()));
                let whole_bytes = wholes.iter().map(|(_, bytes)| bytes).sum::<usize>();
                let outline_bytes = outlines.iter().sum::<usize>();
                assert_eq!(state.bytes(), whole_bytes + outline_bytes);
                assert_eq!(state.batches.len(), wholes.len());
                assert_eq!(state.outlines.len(), outlines.len());
                assert!(state.bytes() <= 100_000, "{} bytes", state.bytes());
                assert!(outline_bytes <= 50_000, "{outline_bytes} bytes of outlines");
            }
        }
        let stats = shared.stats();
        assert!(stats.admitted > 50 && stats.evicted > 50, "{stats:?}");
        assert_eq!(stats.outlines > 50, parts, "{stats:?}");
        drop(caches);
        let stats = shared.stats();
        assert_eq!((stats.bytes, stats.batches, stats.outlines), (0, 0, 0), "partitions are gone");
    }
}

/// The part that a record is read from, where its batch has an outline and is not held.
fn part(cache: &PartitionCache, msn: u64) -> Option<Part> {
    match cache.record(Msn::new(msn), Msn::MAX).unwrap() {
        Known::Part(part) => Some(part),
        _ => None,
    }
}

#[test]
fn outlines_are_those_of_the_newest_batches_once_their_share_is_full() {
    let shared = BatchCache::new(40_000, true);
    let cache = shared.of_partition();
    let batches: Vec<_> = (0..200).map(|n| batch(n * 10, 10, 1_000)).collect();
    for batch in &batches {
        cache.offer_indexed(batch, cache.unchanged()).unwrap();
    }
    let stats = shared.stats();
    assert!(stats.outlines > 20 && stats.outlines < 200, "{stats:?}");
    assert_eq!((stats.batches, stats.admitted), (0, 0), "no batch was asked for twice");
    assert_eq!(stats.evicted, 200 - stats.outlines as u64);
    let known = (0..200).filter(|n| part(&cache, n * 10 + 5).is_some()).collect::<Vec<u64>>();
    assert_eq!(known.len(), stats.outlines);
    assert!(known.contains(&199), "{known:?}");
}

#[test]
fn outline_answers_only_what_readers_see_and_only_its_own_partition() {
    let shared = BatchCache::new(1 << 20, true);
    let cache = shared.of_partition();
    cache.offer_indexed(&batch(10, 100, 1_000), cache.unchanged()).unwrap();
    for msn in [10, 11, 20, 50, 90, 109] {
        assert!(part(&cache, msn).is_some_and(|part| part.msns().contains(&Msn::new(msn))));
    }
    assert!(part(&cache, 9).is_none() && part(&cache, 110).is_none());
    let unacked = cache.record(Msn::new(10), Msn::new(109)).unwrap();
    assert!(matches!(unacked, Known::Nothing), "{unacked:?}");
    assert!(part(&shared.of_partition(), 15).is_none(), "another partition");
}

#[test]
fn small_batches_and_stores_without_parts_have_no_outlines() {
    for (parts, bytes, outlines) in [(true, 1_000, 1), (true, 500, 0), (false, 1_000, 0)] {
        let shared = BatchCache::new(1 << 20, parts);
        let cache = shared.of_partition();
        cache.offer_indexed(&batch(0, 10, bytes), cache.unchanged()).unwrap();
        assert_eq!(shared.stats().outlines, outlines, "{parts}, {bytes}");
    }
}

#[test]
fn batch_is_read_whole_once_as_many_bytes_of_it_were_read_by_parts() {
    let shared = BatchCache::new(1 << 20, true);
    let cache = shared.of_partition();
    let batch = batch(0, 100, 1_000);
    cache.offer_indexed(&batch, cache.unchanged()).unwrap();
    let mut bytes = 0;
    while let Some(part) = part(&cache, 50) {
        bytes += part.bytes().len();
        assert!(bytes <= batch.encoded_len(), "{bytes}");
    }
    assert!(bytes + 5_000 > batch.encoded_len(), "{bytes}");
    cache.offer_indexed(&batch, cache.unchanged()).unwrap();
    assert_eq!((shared.stats().batches, shared.stats().outlines), (1, 1));
    let found = cache.record(Msn::new(50), Msn::MAX).unwrap();
    assert!(matches!(found, Known::Record(Some(_))), "{found:?}");
}

#[test]
fn batches_that_are_all_read_alike_are_not_read_whole_when_the_cache_is_full() {
    let shared = BatchCache::new(400_000, true);
    let cache = shared.of_partition();
    let batches: Vec<_> = (0..100).map(|n| batch(n * 100, 100, 1_000)).collect();
    let mut wholes = 0;
    for round in 0..10_000_u64 {
        let msn = round * 7_919 % 10_000;
        if matches!(cache.record(Msn::new(msn), Msn::MAX).unwrap(), Known::Nothing) {
            let batch = &batches[usize::try_from(msn / 100).unwrap()];
            cache.offer_indexed(batch, cache.unchanged()).unwrap();
            wholes += 1;
        }
    }
    assert!(wholes < 110, "{wholes} reads of whole batches");
}

#[test]
fn batch_is_kept_from_the_second_read_of_a_record_on() {
    let shared = BatchCache::new(1 << 20, false);
    let cache = shared.of_partition();
    let batch = batch(10, 5, 2_000);
    offer(&cache, &batch);
    assert!(!held(&cache, 10));
    offer(&cache, &batch);
    for msn in 10..15 {
        let page = cache.page(Msn::new(msn), Msn::MAX, ReadLimit::bytes(0));
        assert_eq!(page, Some(vec![batch.clone()]), "MSN {msn}");
        let record = cache.record(Msn::new(msn), Msn::MAX).unwrap();
        assert!(matches!(record, Known::Record(Some(found)) if found.msn == Msn::new(msn)));
    }
    assert!(!held(&cache, 9) && !held(&cache, 15));
    assert!(cache.page(Msn::new(10), Msn::new(14), ReadLimit::bytes(0)).is_none(), "unacked");
    let unacked = cache.record(Msn::new(10), Msn::new(14)).unwrap();
    assert!(matches!(unacked, Known::Nothing), "unacked");
    assert!(!held(&shared.of_partition(), 10), "another partition");
}

#[test]
fn scan_neither_fills_nor_flushes_it() {
    let shared = BatchCache::new(50_000, false);
    let cache = shared.of_partition();
    let wanted = batch(0, 5, 2_000);
    (0..2).for_each(|_| offer(&cache, &wanted));
    for round in 0..3 {
        for base in 1..1_000 {
            let since = cache.unchanged();
            let batches = [batch(base * 5, 5, 2_000)];
            cache.offer(&batches, Msn::MAX, ReadLimit::default(), since);
        }
        assert!(held(&cache, 0), "after scan {round}");
    }
    // Batches that single records are read from once, one after the other.
    for base in 1..1_000 {
        offer(&cache, &batch(base * 5, 5, 2_000));
    }
    assert!(held(&cache, 0));
    assert_eq!(shared.stats().admitted, 1);
}

#[test]
fn tail_is_kept_only_where_several_read_it() {
    let shared = BatchCache::new(1 << 20, false);
    let cache = shared.of_partition();
    let batches = [batch(0, 1, 10), batch(1, 2, 10)];
    let end = Msn::new(3);
    let offer = || cache.offer(&batches, end, ReadLimit::default(), cache.unchanged());
    let one = cache.tailer();
    offer();
    assert_eq!(cache.page(Msn::ZERO, end, ReadLimit::default()), None, "one subscription");
    let other = cache.tailer();
    offer();
    let page = cache.page(Msn::ZERO, end, ReadLimit::default());
    assert_eq!(page.unwrap(), batches, "two subscriptions");
    assert_eq!(cache.page(Msn::ZERO, Msn::new(4), ReadLimit::default()), None, "not all of it");
    drop((one, other));
    cache.forget(&(Msn::ZERO..Msn::MAX));
    offer();
    assert_eq!(cache.page(Msn::ZERO, end, ReadLimit::default()), None, "none any more");
}

#[test]
fn what_is_forgotten_or_was_read_before_is_not_served() {
    let shared = BatchCache::new(1 << 20, false);
    let cache = shared.of_partition();
    let batches: Vec<_> = (0..6).map(|n| batch(n * 10, 10, 1_000)).collect();
    let fill = || batches.iter().cycle().take(12).for_each(|batch| offer(&cache, batch));
    for (range, left) in [
        (0..30, [false, false, false, true, true, true]),
        (25..26, [true, true, false, true, true, true]),
        (30..u64::MAX, [true, true, true, false, false, false]),
        (29..31, [true, true, false, false, true, true]),
    ] {
        fill();
        let since = cache.unchanged();
        cache.forget(&(Msn::new(range.start)..Msn::new(range.end)));
        let found = [0, 10, 20, 30, 40, 50].map(|base| held(&cache, base));
        assert_eq!(found, left, "{range:?}");
        let late = |batch| cache.offer(&[batch], Msn::MAX, ReadLimit::bytes(0), since);
        batches.iter().cloned().for_each(late);
        let found = [0, 10, 20, 30, 40, 50].map(|base| held(&cache, base));
        assert_eq!(found, left, "{range:?}, read before the change");
    }
    fill();
    cache.turn_off();
    fill();
    assert!(!held(&cache, 0));
    assert_eq!(shared.stats().bytes, 0);
}

#[test]
fn outline_that_is_forgotten_or_was_read_before_is_not_served() {
    let batches: Vec<_> = (0..6).map(|n| batch(n * 10, 10, 5_000)).collect();
    for (range, left) in [
        (0..30, [false, false, false, true, true, true]),
        (25..26, [true, true, false, true, true, true]),
        (30..u64::MAX, [true, true, true, false, false, false]),
        (29..31, [true, true, false, false, true, true]),
    ] {
        let shared = BatchCache::new(1 << 20, true);
        let cache = shared.of_partition();
        let offer = |since| {
            for batch in &batches {
                cache.outline(batch, since).unwrap();
            }
        };
        let known = || [5, 15, 25, 35, 45, 55].map(|msn| part(&cache, msn).is_some());
        offer(cache.unchanged());
        assert_eq!(known(), [true; 6]);
        let since = cache.unchanged();
        cache.forget(&(Msn::new(range.start)..Msn::new(range.end)));
        assert_eq!(known(), left, "{range:?}");
        offer(since);
        assert_eq!(known(), left, "{range:?}, read before the change");
        cache.turn_off();
        offer(cache.unchanged());
        assert_eq!(known(), [false; 6]);
        assert_eq!(shared.stats().bytes, 0);
    }
}
