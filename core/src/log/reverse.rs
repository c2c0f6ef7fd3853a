//! Reading backwards: the newest records below an MSN.

use std::collections::VecDeque;

use super::partition::Partition;
use crate::batch::DecodeLimits;
use crate::store::ReadLimit;
use crate::{Msn, Record, Result};

/// How far below the MSN it is looked first; twice as far each time that is not enough.
const SPAN_MIN: u64 = 16;

/// The newest records found so far, as many as there is room for; older ones go.
#[derive(Debug)]
struct Newest {
    records: VecDeque<Record>,
    bytes: usize,
    /// How many are kept at most, of how many bytes, and at least.
    count_max: usize,
    bytes_max: usize,
    count_min: usize,
    is_full: bool,
}

impl Newest {
    fn push(&mut self, record: Record) {
        self.bytes = self.bytes.saturating_add(size(&record));
        self.records.push_back(record);
        while self.records.len() > self.count_min.max(self.count_max)
            || (self.bytes > self.bytes_max && self.records.len() > self.count_min)
        {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(size(&oldest));
            self.is_full = true;
        }
    }
}

fn size(record: &Record) -> usize {
    let field = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let header = |header: &crate::Header| header.name.len() + field(&header.value);
    let headers: usize = record.headers.iter().map(header).sum();
    field(&record.key) + field(&record.payload) + headers
}

impl Partition {
    /// The newest records below `before`, oldest first: at most `count`, of about `limit` bytes.
    pub(super) async fn read_before(
        &self,
        before: Msn,
        count: usize,
        limit: ReadLimit,
    ) -> Result<Vec<Record>> {
        let bounds = self.fresh_bounds().await?;
        let (mut found, mut bytes) = (VecDeque::new(), 0_usize);
        let (mut high, mut span) = (before.min(bounds.next_msn), SPAN_MIN);
        while high > bounds.first_msn && found.len() < count {
            let low = Msn::new(high.get().saturating_sub(span)).max(bounds.first_msn);
            let mut newest = Newest {
                records: VecDeque::new(),
                bytes: 0,
                count_max: count - found.len(),
                bytes_max: limit.bytes.saturating_sub(bytes),
                count_min: usize::from(found.is_empty()),
                is_full: false,
            };
            high = self.take_between(low, high, &mut newest).await?.max(bounds.first_msn);
            span = span.saturating_mul(2);
            bytes = bytes.saturating_add(newest.bytes);
            newest.records.into_iter().rev().for_each(|record| found.push_front(record));
            if newest.is_full {
                break;
            }
        }
        found.retain(|record: &Record| record.msn >= bounds.first_msn);
        Ok(found.into())
    }

    /// Takes the records below `high` of the batches from the one that holds `low` on; answers
    /// where these begin, so that none is read twice.
    async fn take_between(&self, low: Msn, high: Msn, newest: &mut Newest) -> Result<Msn> {
        let (mut start, mut next) = (low, low);
        while next < high {
            let page = self.read_batches(next, ReadLimit::default()).await?;
            if page.batches.is_empty() {
                break;
            }
            for batch in page.batches.iter().filter(|batch| batch.base_msn() < high) {
                start = start.min(batch.base_msn());
                for record in batch.records(DecodeLimits::default())? {
                    let record = record?;
                    if record.msn < high {
                        newest.push(record);
                    }
                }
            }
            next = page.next_msn;
        }
        Ok(start)
    }
}
