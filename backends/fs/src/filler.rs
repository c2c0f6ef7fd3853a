//! Batches without records: they stand for MSNs that hold nothing any more, so that the batches of
//! a partition continue each other without a gap, and a gap stays what it is: damage.

use msglog_core::batch::{BatchBuilder, BatchOptions, Producer};
use msglog_core::{Msn, RecordBatch, Result};

/// The most MSNs that one filler stands for.
const FILLER_MSNS_MAX: u64 = 1 << 30;

/// Whether a batch says nothing but that its MSNs are empty; readers pass over it.
pub(crate) fn is_filler(batch: &RecordBatch) -> bool {
    batch.record_count() == 0
        && batch.header().attributes() == 0
        && batch.producer() == Producer::NONE
}

/// Fillers for all MSNs from `from` to `end`.
pub(crate) fn fillers(from: Msn, end: Msn) -> impl Iterator<Item = Result<RecordBatch>> {
    let mut from = from;
    std::iter::from_fn(move || {
        let count = end.get().saturating_sub(from.get()).min(FILLER_MSNS_MAX);
        let last = u32::try_from(count.checked_sub(1)?).ok()?;
        let base = from;
        from = base.plus(count);
        Some(filler(base, last))
    })
}

fn filler(base: Msn, last: u32) -> Result<RecordBatch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.cover(last)?;
    let mut batch = builder.build()?;
    batch.stamp(base, msglog_core::batch::NO_EPOCH);
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fillers_continue_each_other_over_any_range() {
        for (from, end) in [(0, 0), (3, 4), (7, 5_000_000_000)] {
            let (from, end) = (Msn::new(from), Msn::new(end));
            let mut next = from;
            for batch in fillers(from, end) {
                let batch = batch.unwrap();
                assert!(is_filler(&batch));
                assert_eq!(batch.base_msn(), next);
                next = batch.next_msn();
            }
            assert_eq!(next, end);
        }
    }
}
