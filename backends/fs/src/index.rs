//! The sparse index of one segment: a hint where to start reading, never evidence.
//!
//! The files are Kafka's: `.index` has entries of relative MSN (u32) and offset (u32), where the
//! MSN is the last one of the batch at that offset; `.timeindex` has entries of the newest
//! timestamp so far (i64) and the relative last MSN (u32) of the batch that had it. Big-endian.

use std::ops::Range;

use msglog_core::{Msn, RecordBatch};

/// The checksums of the two files as the checkpoint keeps them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct IndexSums {
    pub(crate) offsets: u32,
    pub(crate) times: u32,
}

/// What an index says of where a batch begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    /// At this offset.
    Exact(u64),
    /// At this offset or behind it.
    Before(u64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct OffsetEntry {
    relative: u32,
    offset: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct TimeEntry {
    timestamp: i64,
    relative: u32,
}

/// The index of one segment, or of its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    base: Msn,
    /// Bytes before this offset are not covered yet.
    covered_from: u64,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    /// The newest timestamp so far.
    newest: Option<TimeEntry>,
    /// Bytes since the last entry.
    gap_bytes: u64,
}

impl Index {
    /// An index that will cover what is pushed from `covered_from` on.
    pub(crate) fn new(base: Msn, covered_from: u64) -> Self {
        Self { base, covered_from, ..Self::default() }
    }

    /// Whether nothing of the segment is left out.
    pub(crate) fn is_complete(&self) -> bool {
        self.covered_from == 0
    }

    /// Takes note of the batch at `offset`.
    pub(crate) fn push(&mut self, batch: &RecordBatch, offset: u64, interval_bytes: u64) {
        let last = batch.next_msn().get().saturating_sub(1).saturating_sub(self.base.get());
        let (Ok(relative), Ok(place)) = (u32::try_from(last), u32::try_from(offset)) else {
            return;
        };
        let timestamp = batch.max_timestamp().as_millis();
        if self.newest.is_none_or(|newest| newest.timestamp < timestamp) {
            self.newest = Some(TimeEntry { timestamp, relative });
        }
        if self.gap_bytes > interval_bytes {
            self.offsets.push(OffsetEntry { relative, offset: place });
            self.push_time();
            self.gap_bytes = 0;
        }
        self.gap_bytes = self.gap_bytes.saturating_add(batch.encoded_len() as u64);
    }

    fn push_time(&mut self) {
        let Some(newest) = self.newest else { return };
        if self.times.last().is_none_or(|last| last.timestamp < newest.timestamp) {
            self.times.push(newest);
        }
    }

    /// Where to start looking for `msn`.
    pub(crate) fn offset_for(&self, msn: Msn) -> u64 {
        let relative = msn.distance_from(self.base);
        let count = self.offsets.partition_point(|entry| u64::from(entry.relative) <= relative);
        let entry = count.checked_sub(1).and_then(|last| self.offsets.get(last));
        entry.map_or(0, |entry| u64::from(entry.offset))
    }

    /// Where the batch of these MSNs begins, if it has an entry, or where to start looking for it.
    pub(crate) fn start_of(&self, batch: &Range<Msn>) -> Start {
        let last = batch.end.get().saturating_sub(1).saturating_sub(self.base.get());
        let found = self.offsets.binary_search_by_key(&last, |entry| u64::from(entry.relative));
        match found.ok().and_then(|place| self.offsets.get(place)) {
            Some(entry) => Start::Exact(u64::from(entry.offset)),
            None => Start::Before(self.offset_for(batch.start)),
        }
    }

    /// An MSN before which every timestamp is older than `timestamp`.
    pub(crate) fn msn_for(&self, timestamp: i64) -> Msn {
        let count = self.times.partition_point(|entry| entry.timestamp < timestamp);
        let entry = count.checked_sub(1).and_then(|last| self.times.get(last));
        entry.map_or(self.base, |entry| self.base.plus(u64::from(entry.relative)))
    }

    /// The content of the two files.
    pub(crate) fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        let mut offsets = Vec::with_capacity(self.offsets.len() * 8);
        for entry in &self.offsets {
            offsets.extend_from_slice(&entry.relative.to_be_bytes());
            offsets.extend_from_slice(&entry.offset.to_be_bytes());
        }
        let mut whole = self.clone();
        whole.push_time();
        let mut times = Vec::with_capacity(whole.times.len() * 12);
        for entry in &whole.times {
            times.extend_from_slice(&entry.timestamp.to_be_bytes());
            times.extend_from_slice(&entry.relative.to_be_bytes());
        }
        (offsets, times)
    }

    /// Reads the two files; `None` unless both are as they were written and in order.
    pub(crate) fn decode(base: Msn, files: (&[u8], &[u8]), sums: IndexSums) -> Option<Self> {
        let (offsets, times) = files;
        if IndexSums::of(offsets, times) != sums {
            return None;
        }
        let (offsets, rest) = offsets.as_chunks::<8>();
        let (times, times_rest) = times.as_chunks::<12>();
        if !rest.is_empty() || !times_rest.is_empty() {
            return None;
        }
        let offsets = offsets.iter().map(|[a, b, c, d, offset @ ..]| OffsetEntry {
            relative: u32::from_be_bytes([*a, *b, *c, *d]),
            offset: u32::from_be_bytes(*offset),
        });
        let times = times.iter().map(|[a, b, c, d, e, f, g, h, relative @ ..]| TimeEntry {
            timestamp: i64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            relative: u32::from_be_bytes(*relative),
        });
        let (offsets, times): (Vec<_>, Vec<_>) = (offsets.collect(), times.collect());
        let rising = offsets.is_sorted_by(|a, b| a.relative < b.relative && a.offset < b.offset)
            && times.is_sorted_by(|a, b| a.timestamp < b.timestamp && a.relative < b.relative);
        let newest = times.last().copied();
        let index = Self { base, covered_from: 0, offsets, times, newest, gap_bytes: 0 };
        rising.then_some(index)
    }

    /// Puts what `earlier` knows of the part that this index does not cover in front.
    pub(crate) fn complete_with(&mut self, earlier: Self) {
        let covered = self.covered_from;
        let mut offsets = earlier.offsets;
        offsets.retain(|entry| u64::from(entry.offset) < covered);
        offsets.append(&mut self.offsets);
        let mut times = earlier.times;
        if let Some(first) = self.times.first().or(self.newest.as_ref()) {
            times.retain(|entry| entry.relative < first.relative);
        }
        let newest_before = times.last().map(|entry| entry.timestamp);
        self.times.retain(|entry| newest_before.is_none_or(|before| before < entry.timestamp));
        times.append(&mut self.times);
        self.newest = [self.newest, times.last().copied()]
            .into_iter()
            .flatten()
            .max_by_key(|entry| (entry.timestamp, std::cmp::Reverse(entry.relative)));
        (self.offsets, self.times, self.covered_from) = (offsets, times, 0);
    }

    /// This index, and behind it one that covers what follows.
    pub(crate) fn followed_by(self, mut later: Self) -> Self {
        let covered_from = self.covered_from;
        later.complete_with(self);
        later.covered_from = covered_from;
        later
    }

    /// Bytes of the two files.
    pub(crate) fn encoded_len(&self) -> u64 {
        (self.offsets.len() * 8 + self.times.len() * 12) as u64
    }
}

impl IndexSums {
    /// The checksums of the content of the two files.
    pub(crate) fn of(offsets: &[u8], times: &[u8]) -> Self {
        let [offsets, times] = [offsets, times].map(crc_fast::crc32_iscsi);
        Self { offsets, times }
    }
}

#[cfg(test)]
mod tests {
    use msglog_core::batch::{BatchBuilder, BatchOptions};
    use msglog_core::{Message, Timestamp};

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
                builder.push(&Message::new("x".repeat(30)), at).unwrap();
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

    fn index(batches: &[(RecordBatch, u64)]) -> Index {
        let mut index = Index::new(Msn::new(BASE), 0);
        batches.iter().for_each(|(batch, offset)| index.push(batch, *offset, INTERVAL_BYTES));
        index
    }

    /// The files read back, and the index as it was kept in memory.
    fn both(batches: &[(RecordBatch, u64)]) -> [Index; 2] {
        let kept = index(batches);
        let (offsets, times) = kept.encode();
        let sums = IndexSums::of(&offsets, &times);
        [Index::decode(Msn::new(BASE), (&offsets, &times), sums).unwrap(), kept]
    }

    #[test]
    fn search_for_an_msn_begins_at_or_before_its_batch_and_not_far_before() {
        let batches = batches();
        let longest = batches.iter().map(|(batch, _)| batch.encoded_len() as u64).max().unwrap();
        for index in both(&batches) {
            let apart = |a: &OffsetEntry, b: &OffsetEntry| u64::from(b.offset - a.offset);
            assert!(index.offsets.is_sorted_by(|a, b| apart(a, b) > INTERVAL_BYTES), "{index:?}");
            for (batch, place) in &batches {
                for msn in batch.base_msn().get()..batch.next_msn().get() {
                    let from = index.offset_for(Msn::new(msn));
                    assert!(from <= *place, "MSN {msn} at {place} is looked for from {from} on");
                    let too_far = from + INTERVAL_BYTES + 2 * longest;
                    assert!(*place <= too_far, "MSN {msn} at {place} is looked for from {from} on");
                    let starts = batches.iter().any(|(_, place)| *place == from);
                    assert!(starts, "no batch begins at {from}");
                }
            }
        }
    }

    #[test]
    fn search_for_a_time_passes_over_older_records_only() {
        let batches = batches();
        for index in both(&batches) {
            for timestamp in 490..560 {
                let from = index.msn_for(timestamp);
                let passed = batches.iter().filter(|(batch, _)| batch.base_msn() < from);
                for (batch, _) in passed {
                    let newest = batch.max_timestamp().as_millis();
                    assert!(newest < timestamp, "{timestamp} from {from} on passes {newest}");
                }
            }
            let last = batches.last().unwrap().0.next_msn().get() - 1;
            let near_the_end = index.msn_for(i64::MAX).get();
            assert!(near_the_end > last - 12, "beyond all times it begins at {near_the_end}");
        }
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
        assert!(decode(&offsets[1..], &times).is_none() && decode(&offsets, &times[1..]).is_none());
        let sums = IndexSums::of(&offsets, &times);
        let other = Index::decode(Msn::new(BASE), (&times, &offsets), sums);
        assert!(other.is_none(), "other bytes than those of the checksums");
    }
}
