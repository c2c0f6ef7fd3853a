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
        let end = self.readable_end();
        if from >= end {
            return Ok(BatchPage { batches: Vec::new(), next_msn: end });
        }
        let mut looked_at = None;
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
            looked_at = Some(next_msn);
        };
        // A batch becomes visible as a whole.
        batches.truncate(batches.partition_point(|batch| batch.next_msn() <= end));
        let next_msn = batches.last().map_or(end, |last| last.next_msn().max(from));
        let (mut records, mut bytes) = (0, 0);
        for batch in &batches {
            records += u64::from(batch.record_count());
            bytes += batch.encoded_len() as u64;
        }
        self.counters.read(records, bytes);
        Ok(BatchPage { batches, next_msn })
    }

    /// The MSN that readers do not pass now; for a log opened for reading it is not known ahead.
    fn readable_end(&self) -> Msn {
        match self.options.access {
            Access::Read => Msn::MAX,
            Access::Write => self.bounds().next_msn,
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
