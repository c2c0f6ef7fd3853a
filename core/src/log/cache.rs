//! The batch cache: checked batches in memory, within a budget that all partitions of a log share.
//!
//! It holds what is read again: batches at the end that several subscriptions read, and batches
//! that single records are read from. Large reads pass it by, so a scan neither pays for it nor
//! flushes it. What a single record is read from once is not admitted: a batch must be asked for
//! twice, and when the cache is full within a quarter as many other reads as it has batches. What
//! has to go is chosen by a clock with one reference bit (F. J. Corbató, "A Paging Experiment with
//! the Multics System", 1968).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::touches::Touches;
use crate::batch::RecordIndex;
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
    /// Reads that were answered from it.
    pub hits: u64,
    /// Reads of single records, or by one of several tailers, that it could not answer.
    pub misses: u64,
    /// Batches that were admitted.
    pub admitted: u64,
    /// Batches that had to go for others.
    pub evicted: u64,
}

impl CacheStats {
    /// The share of reads that were answered from it, 0.0 to 1.0; `None` before the first one.
    pub fn hit_rate(&self) -> Option<f64> {
        let reads = self.hits.saturating_add(self.misses);
        #[expect(clippy::cast_precision_loss, reason = "a share of counts is approximate")]
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}

/// The cache of a log.
#[derive(Debug)]
pub(super) struct BatchCache {
    bytes_max: usize,
    state: Mutex<State>,
    hits: AtomicU64,
    misses: AtomicU64,
    partitions: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// By partition and base MSN: the slot.
    places: BTreeMap<(u64, Msn), usize>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// The slot that the clock looks at next.
    hand: usize,
    bytes: usize,
    touches: Touches,
    admitted: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Slot {
    place: (u64, Msn),
    batch: RecordBatch,
    /// Where its records begin, once a single one was read.
    index: Option<Arc<RecordIndex>>,
    bytes: usize,
    /// Whether it was read since the hand last passed.
    read: bool,
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
    pub(super) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes_max,
            state: Mutex::new(State::for_budget(bytes_max)),
            hits: AtomicU64::new(0),
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
            bytes: state.bytes,
            batches: state.places.len(),
            hits: self.hits.load(Ordering::Relaxed),
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
                let holder = state.holder((self.id, next), !batches.is_empty());
                let Some(slot) = holder.filter(|slot| slot.batch.next_msn() <= end) else { break };
                let after = bytes.saturating_add(slot.batch.encoded_len());
                slot.read = true;
                if !batches.is_empty() && after > limit.bytes {
                    bytes = limit.bytes;
                    break;
                }
                bytes = after;
                next = slot.batch.next_msn();
                batches.push(slot.batch.clone());
            }
        }
        let whole = !batches.is_empty() && (next >= end || bytes >= limit.bytes);
        if whole {
            self.shared.hits.fetch_add(1, Ordering::Relaxed);
        }
        whole.then_some(batches)
    }

    /// The record at `msn`, if its batch is held; `Some(None)` when that batch has none there.
    pub(super) fn record(&self, msn: Msn, end: Msn) -> Result<Option<Option<Record>>> {
        if self.off.load(Ordering::Acquire) {
            return Ok(None);
        }
        let since = self.unchanged();
        let found = {
            let mut state = self.shared.lock();
            let holder = state.holder((self.id, msn), false);
            holder.filter(|slot| slot.batch.next_msn() <= end).map(|slot| {
                slot.read = true;
                slot.index.clone().ok_or_else(|| slot.batch.clone())
            })
        };
        let index = match found {
            None => return Ok(None),
            Some(Ok(index)) => index,
            Some(Err(batch)) => {
                let index = Arc::new(RecordIndex::of(&batch)?);
                self.admit(batch, Some(Arc::clone(&index)), since);
                index
            }
        };
        self.shared.hits.fetch_add(1, Ordering::Relaxed);
        index.record(msn).map(Some)
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

    /// Considers a batch that a single record was read from.
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
        let mut state = self.shared.lock();
        let is_full = state.bytes.saturating_add(bytes) > budget;
        // What comes back later is no better than what would have to go for it.
        let within = if is_full { state.places.len() / 4 } else { usize::MAX };
        state.touches.touch((self.id, batch.base_msn()), within)
    }

    fn admit(&self, batch: RecordBatch, index: Option<Arc<RecordIndex>>, since: Unchanged) {
        let place = (self.id, batch.base_msn());
        let marks = index.as_ref().map_or(0, |index| index.bytes());
        let bytes = batch.encoded_len() + marks + BATCH_OVERHEAD_BYTES;
        if bytes > self.shared.bytes_max {
            return;
        }
        let slot = Slot { place, batch, index, bytes, read: false };
        let mut state = self.shared.lock();
        // Looked at under the lock that a change takes when it is done.
        if self.changes.load(Ordering::Acquire) == since.0 && !self.off.load(Ordering::Acquire) {
            state.admit(slot, self.shared.bytes_max);
        }
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
    fn for_budget(bytes: usize) -> Self {
        Self {
            places: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            touches: Touches::for_budget(bytes),
            admitted: 0,
            evicted: 0,
        }
    }

    /// The slot of the batch that holds the MSN, or, for an exact place, that begins there.
    fn holder(&mut self, place: (u64, Msn), exact: bool) -> Option<&mut Slot> {
        let (found, slot) = self.places.range(..=place).next_back()?;
        if found.0 != place.0 || (exact && *found != place) {
            return None;
        }
        let slot = self.slots.get_mut(*slot)?.as_mut()?;
        (slot.batch.next_msn() > place.1).then_some(slot)
    }

    fn admit(&mut self, slot: Slot, bytes_max: usize) {
        if let Some(before) = self.places.get(&slot.place).copied() {
            // The same batch: only what an index adds is news.
            if slot.index.is_none() {
                return;
            }
            self.remove(before);
        }
        while self.bytes.saturating_add(slot.bytes) > bytes_max {
            self.evict();
        }
        self.admitted += 1;
        self.bytes += slot.bytes;
        let place = slot.place;
        let number = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(number) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        self.places.insert(place, number);
    }

    /// Lets the next batch go that was not read since the hand last passed it.
    fn evict(&mut self) {
        while !self.places.is_empty() {
            let number = self.hand;
            self.hand = if number + 1 < self.slots.len() { number + 1 } else { 0 };
            match self.slots.get_mut(number).and_then(Option::as_mut) {
                None => {}
                Some(slot) if slot.read => slot.read = false,
                Some(_) => {
                    self.evicted += 1;
                    return self.remove(number);
                }
            }
        }
    }

    fn remove(&mut self, number: usize) {
        if let Some(slot) = self.slots.get_mut(number).and_then(Option::take) {
            self.places.remove(&slot.place);
            self.bytes = self.bytes.saturating_sub(slot.bytes);
            self.free.push(number);
        }
    }

    fn forget(&mut self, partition: u64, range: &Range<Msn>) {
        let held = self.places.range((partition, Msn::ZERO)..(partition, range.end));
        let mut gone = Vec::new();
        for number in held.rev().map(|(_, number)| *number) {
            let slot = self.slots.get(number).and_then(Option::as_ref);
            if slot.is_some_and(|slot| slot.batch.next_msn() <= range.start) {
                break;
            }
            gone.push(number);
        }
        gone.into_iter().for_each(|number| self.remove(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
    use crate::{Message, Timestamp};

    fn batch(base: u64, records: u64, bytes: usize) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for number in base..base + records {
            let fill = u8::try_from(number % 251).unwrap();
            builder.push(&Message::new(vec![fill; bytes]), Timestamp::from_millis(0)).unwrap();
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
        let shared = BatchCache::new(100_000);
        let caches = [shared.of_partition(), shared.of_partition()];
        for round in 0..2_000_u64 {
            let base = round * 7 % 311 * 10;
            let bytes = usize::try_from(round * 37 % 9_000).unwrap() + 500;
            for cache in &caches {
                let since = cache.unchanged();
                let batch = batch(base, 10, bytes);
                offer(cache, &batch);
                cache.offer_indexed(&batch, since).unwrap();
                let state = shared.lock();
                let slots: Vec<_> = state.slots.iter().flatten().collect();
                assert_eq!(state.bytes, slots.iter().map(|slot| slot.bytes).sum::<usize>());
                assert!(slots.iter().all(|slot| slot.bytes > slot.batch.encoded_len()));
                assert_eq!(state.places.len(), slots.len());
                assert!(state.bytes <= 100_000, "{} bytes", state.bytes);
            }
        }
        let stats = shared.stats();
        assert!(stats.admitted > 50 && stats.evicted > 50, "{stats:?}");
        drop(caches);
        assert_eq!((shared.stats().bytes, shared.stats().batches), (0, 0), "partitions are gone");
    }

    #[test]
    fn batch_is_kept_from_the_second_read_of_a_record_on() {
        let shared = BatchCache::new(1 << 20);
        let cache = shared.of_partition();
        let batch = batch(10, 5, 2_000);
        offer(&cache, &batch);
        assert!(!held(&cache, 10));
        offer(&cache, &batch);
        for msn in 10..15 {
            let page = cache.page(Msn::new(msn), Msn::MAX, ReadLimit::bytes(0));
            assert_eq!(page, Some(vec![batch.clone()]), "MSN {msn}");
            let record = cache.record(Msn::new(msn), Msn::MAX).unwrap().unwrap().unwrap();
            assert_eq!(record.msn, Msn::new(msn));
        }
        assert!(!held(&cache, 9) && !held(&cache, 15));
        assert!(cache.page(Msn::new(10), Msn::new(14), ReadLimit::bytes(0)).is_none(), "unacked");
        assert!(cache.record(Msn::new(10), Msn::new(14)).unwrap().is_none(), "unacked");
        assert!(!held(&shared.of_partition(), 10), "another partition");
    }

    #[test]
    fn scan_neither_fills_nor_flushes_it() {
        let shared = BatchCache::new(50_000);
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
        let shared = BatchCache::new(1 << 20);
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
        let shared = BatchCache::new(1 << 20);
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
}
