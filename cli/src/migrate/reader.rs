//! The batches of a range in order, chunk by chunk, with nothing passed over silently.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use msglog::batch::{RecordBatch, empty_batches};
use msglog::store::PartitionStore;
use msglog::{Msn, ReadLimit, TopicPartition};

use super::gap::gap_failure;
use crate::args::Holes;
use crate::failure::Failure;

/// Bytes of batches that are read at a time.
const CHUNK_BYTES: usize = 4 << 20;

/// Reads a range of a partition from its start to its end.
#[derive(Debug)]
pub(crate) struct Reader {
    /// Which side it reads, for errors.
    side: &'static str,
    name: TopicPartition,
    store: Arc<dyn PartitionStore>,
    left: Range<Msn>,
    holes: Holes,
    limit: ReadLimit,
    taken: VecDeque<RecordBatch>,
    /// The ranges that were bridged.
    pub(crate) bridged: Vec<Range<Msn>>,
}

impl Reader {
    pub(crate) fn new(
        side: &'static str,
        name: TopicPartition,
        store: Arc<dyn PartitionStore>,
        range: Range<Msn>,
        holes: Holes,
    ) -> Self {
        let (taken, bridged) = (VecDeque::new(), Vec::new());
        let limit = ReadLimit::bytes(CHUNK_BYTES);
        Self { side, name, store, left: range, holes, limit, taken, bridged }
    }

    /// The next batches; none at the end of the range.
    ///
    /// Batches that begin before the end come whole. Where there is nothing, as after a compaction,
    /// batches without records stand for it; where something was lost, if holes are kept, and
    /// otherwise it is an error.
    pub(crate) async fn chunk(&mut self) -> Result<Vec<RecordBatch>, Failure> {
        if self.left.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.store.read(self.left.start, self.limit).await;
        let place = format!("{} of the {}", self.name, self.side);
        let mut read = read.map_err(|error| Failure::Log(error.within(place)))?;
        read.retain(|batch| batch.base_msn() < self.left.end);
        let is_end = read.is_empty();
        let mut chunk = Vec::with_capacity(read.len());
        for batch in read {
            if batch.base_msn() > self.left.start {
                chunk.extend(self.gap(batch.base_msn()).await?);
            }
            self.left.start = batch.next_msn();
            chunk.push(batch);
        }
        if is_end {
            chunk.extend(self.gap(self.left.end).await?);
        }
        Ok(chunk)
    }

    /// The next batch that has records; none at the end of the range.
    pub(crate) async fn batch(&mut self) -> Result<Option<RecordBatch>, Failure> {
        loop {
            if self.taken.is_empty() {
                self.taken = self.chunk().await?.into();
            }
            match self.taken.pop_front() {
                Some(batch) if batch.record_count() == 0 => {}
                found => return Ok(found),
            }
        }
    }

    /// What stands for the MSNs from here to `end`, where nothing is.
    async fn gap(&mut self, end: Msn) -> Result<Vec<RecordBatch>, Failure> {
        let gap = self.left.start..end;
        let is_trimmed = self.store.refresh().await?.first_msn > gap.start;
        let holes = self.store.holes();
        let is_lost = holes.iter().any(|hole| hole.start < gap.end && gap.start < hole.end);
        if is_trimmed || (is_lost && self.holes == Holes::Refuse) {
            return Err(gap_failure(self.side, &self.name, &*self.store, gap).await);
        }
        self.left.start = end;
        if is_lost {
            self.bridged.push(gap.clone());
        }
        Ok(empty_batches(gap).collect::<msglog::Result<_>>()?)
    }
}
