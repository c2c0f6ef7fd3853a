//! The sparse index of one segment: a hint where to start reading, never evidence.
//!
//! The files are Kafka's: `.index` has entries of relative MSN (u32) and offset (u32), where the
//! MSN is the last one of the batch at that offset; `.timeindex` has entries of the newest
//! timestamp so far (i64) and the relative last MSN (u32) of the batch that had it. Big-endian.

use std::ops::Range;

use msglog_core::Msn;
use msglog_core::batch::BatchHeader;

use crate::segment::Extent;

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
    /// The MSN of the first batch covered.
    covered_msn: Msn,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    /// The newest timestamp so far.
    newest: Option<TimeEntry>,
    /// Bytes since the last entry.
    gap_bytes: u64,
}

impl Index {
    /// An index of a segment from its beginning on.
    pub(crate) fn new(base: Msn) -> Self {
        Self { base, covered_msn: base, ..Self::default() }
    }

    /// An index of what comes behind `extent`.
    pub(crate) fn behind(base: Msn, extent: Extent) -> Self {
        let (covered_from, covered_msn) = (extent.end, extent.next_msn);
        let last = covered_msn.get().saturating_sub(1).saturating_sub(base.get());
        // An entry says that all before it is no newer: also what the extent holds.
        let newest = u32::try_from(last).ok().filter(|_| covered_from > 0);
        let timestamp = extent.max_timestamp;
        let newest = newest.map(|relative| TimeEntry { timestamp, relative });
        Self { base, covered_from, covered_msn, newest, ..Self::default() }
    }

    /// Whether nothing of the segment is left out.
    pub(crate) fn is_complete(&self) -> bool {
        self.covered_from == 0
    }

    /// Takes note of the batch at `offset`.
    pub(crate) fn push(&mut self, batch: &BatchHeader, offset: u64, interval_bytes: u64) {
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
        let rises =
            |last: &TimeEntry| last.timestamp < newest.timestamp && last.relative < newest.relative;
        if self.times.last().is_none_or(rises) {
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
        rising.then_some(Self { offsets, times, ..Self::new(base) })
    }

    /// Puts what `earlier` knows of the part that this index does not cover in front.
    pub(crate) fn complete_with(&mut self, earlier: Self) {
        let covered = self.covered_from;
        let mut offsets = earlier.offsets;
        offsets.retain(|entry| u64::from(entry.offset) < covered);
        offsets.append(&mut self.offsets);
        let covered_relative = self.covered_msn.distance_from(self.base);
        let mut times = earlier.times;
        times.retain(|entry| u64::from(entry.relative) < covered_relative);
        let newest_before = times.last().map(|entry| entry.timestamp);
        self.times.retain(|entry| newest_before.is_none_or(|before| before < entry.timestamp));
        times.append(&mut self.times);
        self.newest = [self.newest, times.last().copied()]
            .into_iter()
            .flatten()
            .max_by_key(|entry| (entry.timestamp, std::cmp::Reverse(entry.relative)));
        (self.offsets, self.times) = (offsets, times);
        (self.covered_from, self.covered_msn) = (0, self.base);
    }

    /// This index, and behind it one that covers what follows.
    pub(crate) fn followed_by(self, mut later: Self) -> Self {
        let covered = (self.covered_from, self.covered_msn);
        later.complete_with(self);
        (later.covered_from, later.covered_msn) = covered;
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
mod tests;
