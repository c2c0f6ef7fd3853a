//! Reading by MSN, in batches or in pages of records, with the next-available rule.

use super::partition::Partition;
use crate::batch::DecodeLimits;
use crate::store::{Access, ReadLimit};
use crate::{Msn, Record, RecordBatch, Result};

/// Records in order, and where to read on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The records; empty when nothing is there yet.
    pub records: Vec<Record>,
    /// The next available MSN: where the next page starts, or, for an empty page, the MSN that the
    /// next record to become readable will have.
    pub next_msn: Msn,
}

/// Record batches as they are stored, in order, and where to read on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchPage {
    /// Whole batches, their checksums checked; empty when nothing is there yet. The first one may
    /// begin before the MSN that was asked for.
    pub batches: Vec<RecordBatch>,
    /// As [`Page::next_msn`].
    pub next_msn: Msn,
}

impl Partition {
    /// A page from `from` on, or from the next available MSN.
    pub(super) async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Page> {
        let mut page = Page { records: Vec::new(), next_msn: from };
        while page.records.is_empty() {
            let read = self.read_batches(page.next_msn, limit).await?;
            page.next_msn = read.next_msn;
            if read.batches.is_empty() {
                break;
            }
            for batch in &read.batches {
                take_records(batch, from, &mut page)?;
            }
        }
        Ok(page)
    }

    /// Batches from the one that holds `from` on, or from the next one there is.
    pub(super) async fn read_batches(&self, from: Msn, limit: ReadLimit) -> Result<BatchPage> {
        let (first, end) = self.readable();
        if from >= end {
            return Ok(BatchPage { batches: Vec::new(), next_msn: end });
        }
        if let Some(batches) = self.cache.page(from.max(first), end, limit) {
            return Ok(self.page_of(batches, from, end));
        }
        let (mut looked_at, mut since) = (None, self.cache.unchanged());
        let mut batches = loop {
            let batches = self.store.read(from, limit).await?;
            if !batches.is_empty() {
                break batches;
            }
            let next_msn = self.fresh_bounds().await?.next_msn;
            if next_msn <= from || looked_at == Some(next_msn) {
                return Ok(BatchPage { batches, next_msn });
            }
            // It may have come since that read: only another one proves that nothing is there.
            (looked_at, since) = (Some(next_msn), self.cache.unchanged());
        };
        // A batch becomes visible as a whole.
        batches.truncate(batches.partition_point(|batch| batch.next_msn() <= end));
        self.cache.offer(&batches, end, limit, since);
        Ok(self.page_of(batches, from, end))
    }

    fn page_of(&self, batches: Vec<RecordBatch>, from: Msn, end: Msn) -> BatchPage {
        let next_msn = batches.last().map_or(end, |last| last.next_msn().max(from));
        let (mut records, mut bytes) = (0, 0);
        for batch in &batches {
            records += u64::from(batch.record_count());
            bytes += batch.encoded_len() as u64;
        }
        self.counters.read(records, bytes);
        BatchPage { batches, next_msn }
    }

    /// Below and from which MSN readers find nothing now; for a log opened for reading it is not
    /// known ahead.
    pub(super) fn readable(&self) -> (Msn, Msn) {
        match self.options.access {
            Access::Read => (Msn::ZERO, Msn::MAX),
            Access::Write => {
                let bounds = self.bounds();
                (bounds.first_msn, bounds.next_msn)
            }
        }
    }
}

fn take_records(batch: &RecordBatch, from: Msn, page: &mut Page) -> Result<()> {
    for record in batch.records(DecodeLimits::default())? {
        let record = record?;
        if record.msn >= from {
            page.records.push(record);
        }
    }
    Ok(())
}
