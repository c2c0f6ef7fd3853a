//! The batch cache: checked batches in memory, within a budget that all partitions of a log share.
//!
//! It holds what is read again: batches at the end that several subscriptions read, batches that
//! single records are read from, and outlines of batches, with which a single record costs the
//! reading of a part. Large reads pass it by, so a scan neither pays for it nor flushes it. What a
//! single record is read from once is not admitted: a batch must be asked for twice, and when the
//! cache is full within a quarter as many other reads as it has batches. Where there is an outline
//! a batch asks once as many bytes of it were read by parts as it has.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::held::{Covers, Held, Place};
use super::outlines::{OUTLINE_BATCH_BYTES_MIN, Outcome, Outlines};
use super::touches::Touches;
use crate::batch::{Outline, Part, RecordIndex};
use crate::store::ReadLimit;
use crate::{Msn, Record, RecordBatch, Result};

/// A read of at most so many bytes is for a single record: larger ones are part of a scan.
const POINT_BYTES_MAX: usize = 4 << 10;
/// A smaller batch is read as fast as it is found here: it is not kept for single records.
const POINT_BATCH_BYTES_MIN: usize = 4 << 10;
/// A read of at most so many bytes up to the end is a tailer's: more is one that catches up.
const TAIL_BYTES_MAX: usize = 256 << 10;
/// What a batch costs beside its bytes: its place, its slot, the headers of allocations.
const BATCH_OVERHEAD_BYTES: usize = 256;
/// Outlines take at most one part in so many of the budget.
const OUTLINES_SHARE: usize = 2;

/// What a log's batch cache has done since the log was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CacheStats {
    /// The budget, in bytes; 0 when there is no cache.
    pub bytes_max: usize,
    /// Bytes of memory that are used.
    pub bytes: usize,
    /// Batches that are held.
    pub batches: usize,
    /// Outlines that are held: of batches that were checked, of which parts can be read.
    pub outlines: usize,
    /// Reads that were answered from it.
    pub hits: u64,
    /// Reads of single records that took a part of a batch from the store, thanks to its outline.
    pub parts: u64,
    /// Reads of single records, or by one of several tailers, that it could not answer.
    pub misses: u64,
    /// Batches that were admitted.
    pub admitted: u64,
    /// Batches and outlines that had to go for others.
    pub evicted: u64,
}

impl CacheStats {
    /// The share of reads for which no whole batch was read, 0.0 to 1.0; `None` before the first
    /// one.
    pub fn hit_rate(&self) -> Option<f64> {
        let spared = self.hits.saturating_add(self.parts);
        let reads = spared.saturating_add(self.misses);
        #[expect(clippy::cast_precision_loss, reason = "a share of counts is approximate")]
        (reads > 0).then(|| spared as f64 / reads as f64)
    }
}

/// The cache of a log.
#[derive(Debug)]
pub(super) struct BatchCache {
    bytes_max: usize,
    /// Whether the store answers parts of batches: only then outlines are worth anything.
    parts: bool,
    state: Mutex<State>,
    hits: AtomicU64,
    parts_read: AtomicU64,
    misses: AtomicU64,
    partitions: AtomicU64,
}

#[derive(Debug)]
struct State {
    bytes_max: usize,
    batches: Held<Whole>,
    outlines: Outlines,
    touches: Touches,
    admitted: u64,
    evicted: u64,
}

/// A batch that is held.
#[derive(Debug)]
struct Whole {
    batch: RecordBatch,
    /// Where its records begin, once a single one was read.
    index: Option<Arc<RecordIndex>>,
}

impl Covers for Whole {
    fn next_msn(&self) -> Msn {
        self.batch.next_msn()
    }
}

/// What the cache knows of a single record.
#[derive(Debug)]
pub(super) enum Known {
    /// Itself, or that its batch has none there.
    Record(Option<Record>),
    /// The part of a stored batch that it is in.
    Part(Part),
    /// Nothing.
    Nothing,
}

/// The cache as one partition sees it; forgets all of it when dropped.
#[derive(Debug)]
pub(super) struct PartitionCache {
    shared: Arc<BatchCache>,
    id: u64,
    /// How often stored batches were changed: what was read before is not admitted after.
    changes: AtomicU64,
    off: AtomicBool,
    /// How many subscriptions there are.
    tailers: AtomicUsize,
}

/// A time before which nothing that is stored was changed since.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unchanged(u64);

impl BatchCache {
    /// A cache of at most this many bytes; none for 0.
    ///
    /// With `parts`, the store answers parts of batches.
    pub(super) fn new(bytes_max: usize, parts: bool) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            parts,
            state: Mutex::new(State::for_budget(bytes_max)),
            hits: AtomicU64::new(0),
            parts_read: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            partitions: AtomicU64::new(0),
        })
    }

    /// Whether there is one.
    pub(super) fn is_on(&self) -> bool {
        self.bytes_max > 0
    }

    /// The cache as a partition that is being opened sees it.
    pub(super) fn of_partition(self: &Arc<Self>) -> Arc<PartitionCache> {
        Arc::new(PartitionCache {
            shared: Arc::clone(self),
            id: self.partitions.fetch_add(1, Ordering::Relaxed),
            changes: AtomicU64::new(0),
            off: AtomicBool::new(!self.is_on()),
            tailers: AtomicUsize::new(0),
        })
    }

    pub(super) fn stats(&self) -> CacheStats {
        let state = self.lock();
        CacheStats {
            bytes_max: self.bytes_max,
            bytes: state.bytes(),
            batches: state.batches.len(),
            outlines: state.outlines.len(),
            hits: self.hits.load(Ordering::Relaxed),
            parts: self.parts_read.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            admitted: state.admitted,
            evicted: state.evicted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole at every step, whoever panicked while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartitionCache {
    /// To be asked before the store is read, for what is then offered.
    pub(super) fn unchanged(&self) -> Unchanged {
        Unchanged(self.changes.load(Ordering::Acquire))
    }

    /// Batches from the one that holds `from` on and below `end`, if they are the whole answer to
    /// a read of this limit.
    pub(super) fn page(&self, from: Msn, end: Msn, limit: ReadLimit) -> Option<Vec<RecordBatch>> {
        if self.off.load(Ordering::Acquire) {
            return None;
        }
        let mut batches = Vec::new();
        let (mut next, mut bytes) = (from, 0_usize);
        {
            let mut state = self.shared.lock();
            while next < end && (batches.is_empty() || bytes < limit.bytes) {
                let place = (self.id, next);
                let held = match batches.is_empty() {
                    true => state.batches.holder(place),
                    false => state.batches.at(place),
                };
                let Some(slot) = held.filter(|slot| slot.value.next_msn() <= end) else { break };
                let batch = &slot.value.batch;
                let after = bytes.saturating_add(batch.encoded_len());
                slot.read = true;
                if !batches.is_empty() && after > limit.bytes {
                    bytes = limit.bytes;
                    break;
                }
                bytes = after;
                next = batch.next_msn();
                batches.push(batch.clone());
            }
        }
        let whole = !batches.is_empty() && (next >= end || bytes >= limit.bytes);
        if whole {
            self.shared.hits.fetch_add(1, Ordering::Relaxed);
        }
        whole.then_some(batches)
    }

    /// What is known of the record at `msn`, if its batch ends at or below `end`.
    ///
    /// # Errors
    ///
    /// As [`RecordBatch::decoded`], and [`Corrupt`](crate::ErrorKind::Corrupt).
    pub(super) fn record(&self, msn: Msn, end: Msn) -> Result<Known> {
        if self.off.load(Ordering::Acquire) {
            return Ok(Known::Nothing);
        }
        let since = self.unchanged();
        let found = {
            let mut state = self.shared.lock();
            let place = (self.id, msn);
            let holder = state.batches.holder(place);
            match holder.filter(|slot| slot.value.next_msn() <= end) {
                None => return Ok(state.part(place, end).map_or(Known::Nothing, Known::Part)),
                Some(slot) => {
                    slot.read = true;
                    slot.value.index.clone().ok_or_else(|| slot.value.batch.clone())
                }
            }
        };
        let index = match found {
            Ok(index) => index,
            Err(batch) => {
                let index = Arc::new(RecordIndex::of(&batch)?);
                self.admit(batch, Some(Arc::clone(&index)), since);
                index
            }
        };
        self.shared.hits.fetch_add(1, Ordering::Relaxed);
        index.record(msn).map(Known::Record)
    }

    /// A part was read, and was as it had been when all of its batch was checked.
    pub(super) fn part_answered(&self) {
        self.shared.parts_read.fetch_add(1, Ordering::Relaxed);
    }

    /// Considers what was read from the store, up to `end`, with this limit.
    pub(super) fn offer(
        &self,
        batches: &[RecordBatch],
        end: Msn,
        limit: ReadLimit,
        since: Unchanged,
    ) {
        if self.off.load(Ordering::Acquire) {
            return;
        }
        if limit.bytes <= POINT_BYTES_MAX {
            if let [batch] = batches
                && self.is_wanted(batch)
            {
                self.admit(batch.detached(), None, since);
            }
            return;
        }
        let is_tail = batches.last().is_some_and(|last| last.next_msn() == end);
        if !is_tail || self.tailers.load(Ordering::Relaxed) < 2 {
            return;
        }
        let bytes: usize = batches.iter().map(RecordBatch::encoded_len).sum();
        if bytes <= TAIL_BYTES_MAX {
            self.miss();
            batches.iter().for_each(|batch| self.admit(batch.detached(), None, since));
        }
    }

    /// Considers a batch that a single record was read from, or its outline.
    ///
    /// # Errors
    ///
    /// As [`RecordBatch::decoded`], and [`Corrupt`](crate::ErrorKind::Corrupt).
    pub(super) fn offer_indexed(&self, batch: &RecordBatch, since: Unchanged) -> Result<()> {
        if self.off.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.is_wanted(batch) {
            let batch = batch.detached();
            let index = Arc::new(RecordIndex::of(&batch)?);
            self.admit(batch, Some(index), since);
            return Ok(());
        }
        self.outline(batch, since)
    }

    /// Makes the outline of a batch, where that pays and is not done.
    fn outline(&self, batch: &RecordBatch, since: Unchanged) -> Result<()> {
        let place = (self.id, batch.base_msn());
        let pays = self.shared.parts && batch.encoded_len() >= OUTLINE_BATCH_BYTES_MIN;
        if !pays || self.shared.lock().outlines.has(place, batch.header()) {
            return Ok(());
        }
        if let Some(outline) = Outline::of(batch)? {
            let mut state = self.shared.lock();
            if self.may_admit(since) {
                state.admit_outline(place, outline);
            }
        }
        Ok(())
    }

    fn miss(&self) {
        self.shared.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the batch was asked for lately; remembers that it is now.
    fn is_wanted(&self, batch: &RecordBatch) -> bool {
        let (budget, bytes) = (self.shared.bytes_max, batch.encoded_len());
        if bytes < POINT_BATCH_BYTES_MIN || bytes.saturating_add(BATCH_OVERHEAD_BYTES) > budget {
            return false;
        }
        self.miss();
        self.shared.lock().is_wanted((self.id, batch.base_msn()), bytes)
    }

    fn admit(&self, batch: RecordBatch, index: Option<Arc<RecordIndex>>, since: Unchanged) {
        let place = (self.id, batch.base_msn());
        let mut state = self.shared.lock();
        if self.may_admit(since) {
            state.admit(place, Whole { batch, index });
        }
    }

    /// Whether what was read then is still so; to be asked under the lock that a change takes when
    /// it is done.
    fn may_admit(&self, since: Unchanged) -> bool {
        self.changes.load(Ordering::Acquire) == since.0 && !self.off.load(Ordering::Acquire)
    }

    /// Lets what overlaps `range` go, and admits nothing that was read before.
    pub(super) fn forget(&self, range: &Range<Msn>) {
        let mut state = self.shared.lock();
        self.changes.fetch_add(1, Ordering::AcqRel);
        state.forget(self.id, range);
    }

    /// Lets all of the partition go, and admits nothing more.
    pub(super) fn turn_off(&self) {
        self.off.store(true, Ordering::Release);
        self.forget(&(Msn::ZERO..Msn::MAX));
    }

    /// A subscription that counts as a tailer until it is dropped.
    pub(super) fn tailer(self: &Arc<Self>) -> Tailer {
        self.tailers.fetch_add(1, Ordering::Relaxed);
        Tailer(Arc::clone(self))
    }
}

impl Drop for PartitionCache {
    fn drop(&mut self) {
        self.turn_off();
    }
}

/// A subscription, while there is one.
#[derive(Debug)]
pub(super) struct Tailer(Arc<PartitionCache>);

impl Drop for Tailer {
    fn drop(&mut self) {
        self.0.tailers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl State {
    fn for_budget(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            batches: Held::default(),
            outlines: Outlines::default(),
            touches: Touches::for_budget(bytes_max),
            admitted: 0,
            evicted: 0,
        }
    }

    fn bytes(&self) -> usize {
        self.batches.bytes() + self.outlines.bytes()
    }

    /// Whether a batch of so many bytes was asked for lately; remembers that it is now.
    fn is_wanted(&mut self, place: Place, bytes: usize) -> bool {
        let is_full = self.bytes().saturating_add(bytes) > self.bytes_max;
        // What comes back later is no better than what would have to go for it.
        let within = if is_full { self.batches.len() / 4 } else { usize::MAX };
        self.touches.touch(place, within)
    }

    /// The part in which a record is; none where the whole batch had better be read and held.
    fn part(&mut self, place: Place, end: Msn) -> Option<Part> {
        match self.outlines.part(place, end)? {
            Outcome::Part(part) => Some(part),
            Outcome::Worn(part) => {
                let (base, bytes) = (part.header().base_msn(), part.header().encoded_len());
                (!self.is_wanted((place.0, base), bytes)).then_some(part)
            }
        }
    }

    fn admit(&mut self, place: Place, whole: Whole) {
        let marks = whole.index.as_ref().map_or(0, |index| index.bytes());
        let bytes = whole.batch.encoded_len() + marks + BATCH_OVERHEAD_BYTES;
        // The same batch: only what an index adds is news.
        let is_news = whole.index.is_some() || self.batches.at(place).is_none();
        if bytes > self.bytes_max || !is_news {
            return;
        }
        self.batches.remove(place);
        while self.bytes().saturating_add(bytes) > self.bytes_max
            && (self.batches.evict() || self.outlines.evict())
        {
            self.evicted += 1;
        }
        self.admitted += 1;
        self.batches.insert(place, whole, bytes);
    }

    fn admit_outline(&mut self, place: Place, outline: Outline) {
        let (bytes, share) = (Outlines::cost(&outline), self.bytes_max / OUTLINES_SHARE);
        if bytes > share {
            return;
        }
        self.outlines.remove(place);
        while self.outlines.bytes().saturating_add(bytes) > share && self.outlines.evict() {
            self.evicted += 1;
        }
        while self.bytes().saturating_add(bytes) > self.bytes_max && self.batches.evict() {
            self.evicted += 1;
        }
        self.outlines.insert(place, outline);
    }

    fn forget(&mut self, partition: u64, range: &Range<Msn>) {
        self.batches.forget(partition, range);
        self.outlines.forget(partition, range);
    }
}

#[cfg(test)]
mod tests;
