//! The batches of one partition, in order, and every question about them.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use msglog_core::store::{Bounds, ReadLimit, Usage, check};
use msglog_core::{Msn, RecordBatch, Result, Timestamp};

/// Batches by base MSN; their ranges rise without overlap and end at or below `next`.
#[derive(Debug)]
pub(crate) struct Sequence {
    batches: BTreeMap<Msn, RecordBatch>,
    next: Msn,
    pub(crate) removed: bool,
}

impl Sequence {
    pub(crate) fn starting_at(first: Msn) -> Self {
        Self { batches: BTreeMap::new(), next: first, removed: false }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let first_msn = self.batches.keys().next().copied().unwrap_or(self.next);
        Bounds { first_msn, next_msn: self.next, durable_msn: self.next }
    }

    pub(crate) fn append(&mut self, batches: Vec<RecordBatch>) -> Result<()> {
        let next = check::continues(self.next, &batches)?;
        self.batches.extend(batches.into_iter().map(|batch| (batch.base_msn(), batch)));
        self.next = next;
        Ok(())
    }

    pub(crate) fn read(&self, from: Msn, limit: ReadLimit) -> Vec<RecordBatch> {
        let mut bytes = 0_usize;
        let mut answer = Vec::new();
        for batch in self.batches.range(self.holder_of(from)..).map(|(_, batch)| batch) {
            bytes = bytes.saturating_add(batch.encoded_len());
            if bytes > limit.bytes && !answer.is_empty() {
                break;
            }
            answer.push(batch.clone());
        }
        answer
    }

    pub(crate) fn part(&self, batch: &Range<Msn>, bytes: Range<usize>) -> Option<Bytes> {
        let there = self.batches.get(&batch.start)?;
        let fits = there.next_msn() == batch.end
            && bytes.start <= bytes.end
            && bytes.end <= there.encoded_len();
        fits.then(|| there.to_bytes().slice(bytes))
    }

    pub(crate) fn trim(&mut self, before: Msn) -> Msn {
        self.batches = self.batches.split_off(&self.holder_of(before));
        self.bounds().first_msn
    }

    pub(crate) fn truncate(&mut self, from: Msn) -> Msn {
        let dropped = self.batches.split_off(&self.holder_of(from));
        if let Some(first) = dropped.keys().next() {
            self.next = *first;
        }
        self.next
    }

    pub(crate) fn find(&self, timestamp: Timestamp) -> Msn {
        let mut batches = self.batches.values();
        let found = batches.find(|batch| batch.max_timestamp() >= timestamp);
        found.map_or(self.next, RecordBatch::base_msn)
    }

    pub(crate) fn replace(&mut self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        self.check_replaces(&range, &batches)?;
        self.batches.retain(|base, _| !range.contains(base));
        self.batches.extend(batches.into_iter().map(|batch| (batch.base_msn(), batch)));
        Ok(())
    }

    pub(crate) fn usage(&self) -> Usage {
        let bytes = self.batches.values().map(|batch| batch.encoded_len() as u64).sum();
        Usage::new(bytes, bytes, 0)
    }

    /// The base MSN of the batch that holds `msn`, or `msn` itself when none does.
    fn holder_of(&self, msn: Msn) -> Msn {
        match self.batches.range(..=msn).next_back() {
            Some((base, batch)) if batch.next_msn() > msn => *base,
            _ => msn,
        }
    }

    fn check_replaces(&self, range: &Range<Msn>, batches: &[RecordBatch]) -> Result<()> {
        check::replacement(range, batches, self.next)?;
        if self.holder_of(range.start) != range.start || self.holder_of(range.end) != range.end {
            return Err(check::not_replaceable(range, "it cuts a batch"));
        }
        Ok(())
    }
}
