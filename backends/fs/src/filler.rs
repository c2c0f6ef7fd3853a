//! Batches without records that [`replace`](crate::replace) leaves where nothing is kept, so that a
//! gap stays what it is: damage.

use msglog_core::RecordBatch;
use msglog_core::batch::Producer;

/// Whether a batch says nothing but that its MSNs are empty; readers pass over it.
pub(crate) fn is_filler(batch: &RecordBatch) -> bool {
    batch.record_count() == 0
        && batch.header().attributes() == 0
        && batch.producer() == Producer::NONE
}

#[cfg(test)]
mod tests {
    use msglog_core::Msn;
    use msglog_core::batch::empty_batches;

    use super::*;

    #[test]
    fn empty_batches_are_fillers() {
        for batch in empty_batches(Msn::new(7)..Msn::new(5_000_000_000)) {
            assert!(is_filler(&batch.unwrap()));
        }
    }
}
