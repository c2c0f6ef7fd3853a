//! Finding a place by time: by the store's own index, or by a search over batches.

use super::partition::Partition;
use crate::batch::DecodeLimits;
use crate::store::ReadLimit;
use crate::{ErrorKind, Msn, RecordBatch, Result, Timestamp};

/// A read of a single batch, whatever its size.
const ONE_BATCH: ReadLimit = ReadLimit::bytes(0);

impl Partition {
    /// The MSN of the first record at or after `timestamp`, or the end of what readers see.
    pub(super) async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        let bounds = self.fresh_bounds().await?;
        let start = match self.store.find(timestamp).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.search(bounds.first_msn, bounds.next_msn, timestamp).await?
            }
            found => found?,
        };
        if start >= bounds.next_msn {
            return Ok(bounds.next_msn);
        }
        self.first_since(start, bounds.next_msn, timestamp).await
    }

    /// The base MSN of a batch that is new enough while the one before it is not, or `high`.
    ///
    /// Reads one batch for each halving of the range.
    async fn search(&self, mut low: Msn, mut high: Msn, timestamp: Timestamp) -> Result<Msn> {
        while low < high {
            let middle = low.plus(high.distance_from(low) / 2);
            match self.batch_with_records(middle, high).await? {
                Some(batch) if batch.max_timestamp() < timestamp => low = batch.next_msn(),
                // Whatever lies between the middle and this batch has no record.
                Some(batch) => high = middle.min(batch.base_msn()),
                None => high = middle,
            }
        }
        Ok(low)
    }

    /// The first batch from the one that holds `from` on that has records and starts below `end`.
    async fn batch_with_records(&self, from: Msn, end: Msn) -> Result<Option<RecordBatch>> {
        let mut next = from;
        while next < end {
            let Some(batch) = self.store.read(next, ONE_BATCH).await?.into_iter().next() else {
                return Ok(None);
            };
            if batch.base_msn() >= end {
                return Ok(None);
            }
            if batch.record_count() > 0 {
                return Ok(Some(batch));
            }
            next = batch.next_msn();
        }
        Ok(None)
    }

    /// The first record at or after `timestamp` from `start` on, or `end`.
    async fn first_since(&self, start: Msn, end: Msn, timestamp: Timestamp) -> Result<Msn> {
        // The first batch nearly always has it.
        let (mut next, mut limit) = (start, ONE_BATCH);
        while next < end {
            let page = self.read_batches(next, limit).await?;
            if page.batches.is_empty() {
                break;
            }
            for batch in &page.batches {
                if let Some(found) = since(batch, timestamp)? {
                    return Ok(found.min(end));
                }
            }
            (next, limit) = (page.next_msn, ReadLimit::default());
        }
        Ok(end)
    }
}

/// The first record of the batch at or after `timestamp`.
fn since(batch: &RecordBatch, timestamp: Timestamp) -> Result<Option<Msn>> {
    if batch.max_timestamp() < timestamp {
        return Ok(None);
    }
    for record in &batch.decoded(DecodeLimits::default())? {
        let record = record?;
        if record.timestamp >= timestamp {
            return Ok(Some(record.msn));
        }
    }
    Ok(None)
}
