//! Reading a page of records by MSN, with the next-available rule.

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

impl Partition {
    /// A page from `from` on, or from the next available MSN.
    pub(super) async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Page> {
        let mut page = Page { records: Vec::new(), next_msn: from };
        let end = self.readable_end();
        let mut looked_at = None;
        while page.records.is_empty() {
            if page.next_msn >= end {
                page.next_msn = end;
                return Ok(page);
            }
            let batches = self.store.read(page.next_msn, limit).await?;
            if batches.is_empty() {
                let next_msn = self.fresh_bounds().await?.next_msn;
                if next_msn <= page.next_msn || looked_at == Some(next_msn) {
                    page.next_msn = next_msn;
                    return Ok(page);
                }
                // It may have come since that read: only another one proves that nothing is there.
                looked_at = Some(next_msn);
                continue;
            }
            let before = page.next_msn;
            for batch in &batches {
                self.take_records(batch, from, end, &mut page)?;
            }
            if page.next_msn == before {
                // The next batch there is lies beyond what readers may see.
                page.next_msn = end;
                return Ok(page);
            }
        }
        Ok(page)
    }

    fn take_records(
        &self,
        batch: &RecordBatch,
        from: Msn,
        end: Msn,
        page: &mut Page,
    ) -> Result<()> {
        if batch.base_msn() >= end {
            return Ok(());
        }
        let before = page.records.len();
        for record in batch.records(DecodeLimits::default())? {
            let record = record?;
            if record.msn >= from && record.msn < end {
                page.records.push(record);
            }
        }
        page.next_msn = batch.next_msn().min(end).max(page.next_msn);
        self.counters.read(page.records.len() - before, batch.encoded_len());
        Ok(())
    }

    /// The MSN that readers do not pass now; for a log opened for reading it is not known ahead.
    fn readable_end(&self) -> Msn {
        match self.options.access {
            Access::Read => Msn::MAX,
            Access::Write => self.bounds().next_msn,
        }
    }
}
