//! One partition as an open store sees it: checks who calls, then asks the shared state.

use std::ops::Range;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, Usage, check};
use msglog_core::{Msn, RecordBatch, Result, Timestamp};

use crate::BATCH_BYTES_MAX;
use crate::commit::Event;
use crate::core::{Core, Pace, Session};
use crate::read;
use crate::state::removed;

#[derive(Debug)]
pub(crate) struct BucketPartition {
    pub(crate) session: Arc<Session>,
    pub(crate) id: u64,
    /// What it was when it was opened, for when it is removed.
    pub(crate) opened: Bounds,
}

impl BucketPartition {
    fn core(&self) -> &Arc<Core> {
        &self.session.0
    }

    fn durable_end(&self) -> Result<Msn> {
        let state = self.core().lock();
        state.bounds(self.id).map(|bounds| bounds.durable_msn).ok_or_else(removed)
    }
}

#[async_trait]
impl PartitionStore for BucketPartition {
    fn bounds(&self) -> Bounds {
        self.core().lock().bounds(self.id).unwrap_or(self.opened)
    }

    async fn refresh(&self) -> Result<Bounds> {
        self.core().follow(Pace::Slow).await?;
        self.core().lock_open()?.bounds(self.id).ok_or_else(removed)
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        if let Err(error) = check::batch_sizes(&batches, BATCH_BYTES_MAX) {
            drop(self.core().lock_to_write()?);
            return Err(error);
        }
        self.core().admit().await?;
        let wakes = {
            let mut state = self.core().lock_to_write()?;
            let first = state.gather.since.is_none();
            state.append(self.id, batches)?;
            first || state.gather.bytes >= self.core().options.flush_bytes
        };
        if wakes {
            self.core().wake.notify_one();
        }
        Ok(())
    }

    async fn sync(&self) -> Result<Msn> {
        let group = {
            let mut state = self.core().lock_to_write()?;
            let bounds = state.bounds(self.id).ok_or_else(removed)?;
            if bounds.durable_msn >= bounds.next_msn {
                return Ok(bounds.durable_msn);
            }
            state.want()
        };
        self.core().durable(group).await?;
        self.durable_end()
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        read::read(self.core(), self.id, from, limit).await
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        let bounds = {
            let state = self.core().lock_to_write()?;
            state.bounds(self.id).ok_or_else(removed)?
        };
        let start = match before {
            before if before <= bounds.first_msn => return Ok(bounds.first_msn),
            before if before >= bounds.next_msn => bounds.next_msn,
            // The batch that it lies in stays.
            before => {
                let found = self.read(before, ReadLimit::bytes(1)).await?;
                found.first().map_or(before, |batch| batch.base_msn().min(before))
            }
        };
        if start > bounds.first_msn {
            let group = {
                let mut state = self.core().lock_to_write()?;
                state.bounds(self.id).ok_or_else(removed)?;
                state.enqueue(Event::Trim { id: self.id, start })
            };
            self.core().durable(group).await?;
        }
        Ok(self.bounds().first_msn)
    }

    async fn usage(&self) -> Result<Usage> {
        let state = self.core().lock_open()?;
        let partition = state.catalogue.partitions.get(&self.id).ok_or_else(removed)?;
        let durable: u64 = partition.extents.iter().map(|extent| extent.run.length).sum();
        let waiting = state.tails.get(&self.id).into_iter().flat_map(|tail| &tail.batches);
        let waiting = waiting.filter(|batch| batch.base_msn() >= partition.next);
        let waiting: usize = waiting.map(RecordBatch::encoded_len).sum();
        let mut holders: Vec<_> = partition.extents.iter().map(|extent| extent.holder).collect();
        holders.dedup();
        Ok(Usage::new(durable + waiting as u64, durable, holders.len() as u64))
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        let holes = self.core().holes.lock().unwrap_or_else(PoisonError::into_inner);
        holes.get(&self.id).cloned().unwrap_or_default()
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        let mut from = self.core().lock_open()?.bounds(self.id).ok_or_else(removed)?.first_msn;
        loop {
            from = self.not_before(from, timestamp)?;
            let batches = self.read(from, ReadLimit::default()).await?;
            let Some(last) = batches.last() else { return Ok(from.max(self.bounds().next_msn)) };
            let found = batches.iter().find(|batch| batch.max_timestamp() >= timestamp);
            if let Some(found) = found {
                return Ok(found.base_msn());
            }
            from = last.next_msn();
        }
    }
}

impl BucketPartition {
    /// The first MSN from `from` on that the catalogue does not exclude.
    fn not_before(&self, from: Msn, timestamp: Timestamp) -> Result<Msn> {
        let state = self.core().lock_open()?;
        let partition = state.catalogue.partitions.get(&self.id).ok_or_else(removed)?;
        let older = partition.extents_from(from).iter();
        let older = older.take_while(|extent| extent.run.max_timestamp < timestamp);
        Ok(older.last().map_or(from, |extent| extent.run.next.max(from)))
    }
}
