//! A store's partition under the batch cache: whatever changes what is stored is forgotten there.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::cache::PartitionCache;
use crate::store::{Bounds, PartitionStore, ReadLimit, SegmentRoom, Usage};
use crate::{Msn, RecordBatch, Result, Timestamp};

/// The answer of the store, as the trait's macro writes it.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Hands every call on; those that are made often without a future of its own.
#[derive(Debug)]
pub(super) struct CachedStore {
    pub(super) inner: Arc<dyn PartitionStore>,
    pub(super) cache: Arc<PartitionCache>,
}

/// A change that is under way. Dropped before its end is known, it may still happen: then nothing
/// of the partition is cached any more.
struct Change<'a> {
    cache: &'a PartitionCache,
    is_known: bool,
}

impl<'a> Change<'a> {
    fn of(cache: &'a PartitionCache) -> Self {
        Self { cache, is_known: false }
    }

    fn end(mut self, range: &Range<Msn>) {
        self.is_known = true;
        self.cache.forget(range);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if !self.is_known {
            self.cache.turn_off();
        }
    }
}

#[async_trait]
impl PartitionStore for CachedStore {
    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    async fn refresh(&self) -> Result<Bounds> {
        self.inner.refresh().await
    }

    fn append<'life0, 'async_trait>(
        &'life0 self,
        batches: Vec<RecordBatch>,
    ) -> Answer<'async_trait, ()>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.append(batches)
    }

    fn sync<'life0, 'async_trait>(&'life0 self) -> Answer<'async_trait, Msn>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.sync()
    }

    fn read<'life0, 'async_trait>(
        &'life0 self,
        from: Msn,
        limit: ReadLimit,
    ) -> Answer<'async_trait, Vec<RecordBatch>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.read(from, limit)
    }

    fn read_part<'life0, 'async_trait>(
        &'life0 self,
        batch: Range<Msn>,
        bytes: Range<usize>,
    ) -> Answer<'async_trait, Option<Bytes>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.read_part(batch, bytes)
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        let trimmed = self.inner.trim(before).await;
        // Below the first MSN nobody looks, also when this is not reached: it frees the memory.
        self.cache.forget(&(Msn::ZERO..self.inner.bounds().first_msn));
        trimmed
    }

    async fn usage(&self) -> Result<Usage> {
        self.inner.usage().await
    }

    fn segment(&self) -> Option<SegmentRoom> {
        self.inner.segment()
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        self.inner.holes()
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        let change = Change::of(&self.cache);
        let truncated = self.inner.truncate(from).await;
        change.end(&(from..Msn::MAX));
        truncated
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        self.inner.find(timestamp).await
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        let change = Change::of(&self.cache);
        let replaced = self.inner.replace(range.clone(), batches).await;
        change.end(&range);
        replaced
    }

    fn unit_end(&self, from: Msn) -> Option<Msn> {
        self.inner.unit_end(from)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::super::cache::{BatchCache, Known};
    use super::*;
    use crate::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
    use crate::{Message, Timestamp};

    /// A partition of one batch, whose changes wait to be let through.
    #[derive(Debug)]
    struct One {
        batch: Mutex<RecordBatch>,
        changes: Semaphore,
    }

    fn batch(text: &str) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(Message::new(text.repeat(5_000)), Timestamp::from_millis(0)).unwrap();
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::ZERO, NO_EPOCH);
        batch
    }

    #[async_trait]
    impl PartitionStore for One {
        fn bounds(&self) -> Bounds {
            Bounds { first_msn: Msn::ZERO, next_msn: Msn::new(1), durable_msn: Msn::new(1) }
        }
        async fn append(&self, _: Vec<RecordBatch>) -> Result<()> {
            Ok(())
        }
        async fn sync(&self) -> Result<Msn> {
            Ok(Msn::new(1))
        }
        async fn read(&self, _: Msn, _: ReadLimit) -> Result<Vec<RecordBatch>> {
            Ok(vec![self.batch.lock().unwrap().clone()])
        }
        async fn read_part(&self, _: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
            let stored = self.batch.lock().unwrap().to_bytes();
            Ok((bytes.end <= stored.len()).then(|| stored.slice(bytes)))
        }
        async fn trim(&self, _: Msn) -> Result<Msn> {
            Ok(Msn::ZERO)
        }
        async fn usage(&self) -> Result<Usage> {
            Ok(Usage::default())
        }
        async fn truncate(&self, _: Msn) -> Result<Msn> {
            self.changes.acquire().await.unwrap().forget();
            *self.batch.lock().unwrap() = batch("truncated");
            Ok(Msn::ZERO)
        }
        async fn replace(&self, _: Range<Msn>, _: Vec<RecordBatch>) -> Result<()> {
            self.changes.acquire().await.unwrap().forget();
            *self.batch.lock().unwrap() = batch("replaced");
            Ok(())
        }
    }

    fn cached() -> (Arc<One>, CachedStore) {
        let one = Arc::new(One { batch: Mutex::new(batch("first")), changes: Semaphore::new(0) });
        let cache = BatchCache::new(1 << 20, true).of_partition();
        (one.clone(), CachedStore { inner: one, cache })
    }

    /// Reads as a reader of a single record does.
    async fn read(store: &CachedStore) -> RecordBatch {
        let limit = ReadLimit::bytes(0);
        if let Some(batches) = store.cache.page(Msn::ZERO, Msn::MAX, limit) {
            return batches[0].clone();
        }
        let since = store.cache.unchanged();
        let batches = store.read(Msn::ZERO, limit).await.unwrap();
        store.cache.offer(&batches, Msn::MAX, limit, since);
        batches[0].clone()
    }

    #[tokio::test]
    async fn what_was_replaced_or_truncated_is_never_served_again() {
        for change in ["replaced", "truncated"] {
            let (one, store) = cached();
            for _ in 0..3 {
                assert_eq!(read(&store).await, batch("first"));
            }
            // A read that began before the change and is offered after it.
            let since = store.cache.unchanged();
            let late = store.read(Msn::ZERO, ReadLimit::bytes(0)).await.unwrap();
            one.changes.add_permits(1);
            match change {
                "replaced" => store.replace(Msn::ZERO..Msn::new(1), vec![]).await.unwrap(),
                _ => drop(store.truncate(Msn::ZERO).await.unwrap()),
            }
            (0..3).for_each(|_| store.cache.offer(&late, Msn::MAX, ReadLimit::bytes(0), since));
            for _ in 0..3 {
                assert_eq!(read(&store).await, batch(change));
            }
        }
    }

    #[tokio::test]
    async fn change_that_was_dropped_half_way_ends_the_caching() {
        for change in ["replaced", "truncated"] {
            let (one, store) = cached();
            for _ in 0..3 {
                read(&store).await;
            }
            match change {
                "replaced" => drop(store.replace(Msn::ZERO..Msn::new(1), vec![]).now_or_never()),
                _ => drop(store.truncate(Msn::ZERO).now_or_never()),
            }
            for _ in 0..3 {
                read(&store).await;
            }
            // It happens after all, behind the back of whoever dropped it.
            *one.batch.lock().unwrap() = batch(change);
            assert_eq!(read(&store).await, batch(change));
        }
    }

    /// Reads a single record's whole batch, as is done where there is no outline of it yet.
    async fn read_whole(store: &CachedStore) -> RecordBatch {
        let since = store.cache.unchanged();
        let batch = store.read(Msn::ZERO, ReadLimit::bytes(0)).await.unwrap().remove(0);
        store.cache.offer_indexed(&batch, since).unwrap();
        batch
    }

    /// The record's payload as its part in the store has it, if there is an outline to tell.
    async fn read_part(store: &CachedStore) -> Option<Bytes> {
        let Known::Part(part) = store.cache.record(Msn::ZERO, Msn::MAX).unwrap() else {
            return None;
        };
        let read = store.read_part(part.header().msns(), part.bytes()).await.unwrap();
        let record = part.decoded(read?)?.record(Msn::ZERO).unwrap();
        record.unwrap().payload
    }

    fn payload(text: &str) -> Option<Bytes> {
        Some(text.repeat(5_000).into())
    }

    #[tokio::test]
    async fn outline_of_what_was_replaced_or_truncated_is_never_used_again() {
        for change in ["replaced", "truncated"] {
            let (one, store) = cached();
            assert_eq!(read_part(&store).await, None, "never read");
            read_whole(&store).await;
            assert_eq!(read_part(&store).await, payload("first"));
            // A read that began before the change and is offered after it.
            let since = store.cache.unchanged();
            let late = store.read(Msn::ZERO, ReadLimit::bytes(0)).await.unwrap().remove(0);
            one.changes.add_permits(1);
            match change {
                "replaced" => store.replace(Msn::ZERO..Msn::new(1), vec![]).await.unwrap(),
                _ => drop(store.truncate(Msn::ZERO).await.unwrap()),
            }
            store.cache.offer_indexed(&late, since).unwrap();
            assert_eq!(read_part(&store).await, None);
            let known = store.cache.record(Msn::ZERO, Msn::MAX).unwrap();
            assert!(matches!(known, Known::Nothing), "{known:?}");
            read_whole(&store).await;
            let now = store.cache.record(Msn::ZERO, Msn::MAX).unwrap();
            assert!(!matches!(now, Known::Nothing), "what is there now is known");
        }
    }

    #[tokio::test]
    async fn outline_is_not_trusted_while_its_batch_is_replaced() {
        let (one, store) = cached();
        read_whole(&store).await;
        // The store has done it, and has not answered yet.
        *one.batch.lock().unwrap() = batch("other");
        assert_eq!(read_part(&store).await, None);
    }

    #[tokio::test]
    async fn change_that_was_dropped_half_way_ends_the_outlines() {
        for change in ["replaced", "truncated"] {
            let (_one, store) = cached();
            read_whole(&store).await;
            match change {
                "replaced" => drop(store.replace(Msn::ZERO..Msn::new(1), vec![]).now_or_never()),
                _ => drop(store.truncate(Msn::ZERO).now_or_never()),
            }
            for _ in 0..3 {
                let known = store.cache.record(Msn::ZERO, Msn::MAX).unwrap();
                assert!(matches!(known, Known::Nothing), "{known:?}");
                read_whole(&store).await;
            }
        }
    }
}
