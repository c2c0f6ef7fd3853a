//! Batches without records: they stand for MSNs that hold nothing, so that batches continue each
//! other without a gap.

use std::ops::Range;

use super::{BatchBuilder, BatchOptions, NO_EPOCH, RecordBatch};
use crate::{Msn, Result};

/// The most MSNs that one batch covers: two of them still fit the offsets of one segment.
const MSNS_MAX: u64 = 1 << 30;

/// Batches without records that cover `msns`, uncompressed and of no producer: the same ones for
/// the same range, each over at most 2^30 MSNs; none for an empty range.
///
/// # Errors
///
/// None of the items fails: they answer what [`BatchBuilder::build`] does.
pub fn empty_batches(msns: Range<Msn>) -> impl Iterator<Item = Result<RecordBatch>> {
    let Range { start: mut next, end } = msns;
    std::iter::from_fn(move || {
        let count = end.get().saturating_sub(next.get()).min(MSNS_MAX);
        let last = u32::try_from(count.checked_sub(1)?).ok()?;
        let base = next;
        next = base.plus(count);
        Some(empty_batch(base, last))
    })
}

fn empty_batch(base: Msn, last_offset_delta: u32) -> Result<RecordBatch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.cover(last_offset_delta)?;
    let mut batch = builder.build()?;
    batch.stamp(base, NO_EPOCH);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_batches_cover_any_range_without_gap_or_overlap() {
        for (from, to, count) in [(0, 1, 1), (500, 510, 1), (7, (1 << 31) + 7, 2), (3, 1 << 33, 8)]
        {
            let mut next = Msn::new(from);
            let mut batches = 0;
            for batch in empty_batches(next..Msn::new(to)) {
                let batch = batch.unwrap();
                assert_eq!((batch.base_msn(), batch.record_count()), (next, 0));
                next = batch.next_msn();
                batches += 1;
            }
            assert_eq!((next, batches), (Msn::new(to), count), "{from}..{to}");
        }
        for (from, to) in [(5, 5), (6, 5)] {
            assert_eq!(empty_batches(Msn::new(from)..Msn::new(to)).count(), 0);
        }
    }
}
