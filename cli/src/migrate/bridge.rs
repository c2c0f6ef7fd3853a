//! MSNs that a source no longer has: how they are told, and the batch that stands for them.

use std::ops::Range;

use msglog::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
use msglog::store::PartitionStore;
use msglog::{Msn, TopicPartition};

use crate::failure::Failure;

/// The most MSNs that one batch covers.
const MSNS_MAX: u64 = 1 << 31;

/// Batches without records that cover `gap`: the same ones for the same gap.
pub(crate) fn bridges(gap: Range<Msn>) -> Result<Vec<msglog::batch::RecordBatch>, Failure> {
    let mut batches = Vec::new();
    let mut next = gap.start;
    while next < gap.end {
        let count = gap.end.distance_from(next).min(MSNS_MAX);
        let mut builder = BatchBuilder::new(BatchOptions::default());
        // `count` lies in 1..=MSNS_MAX.
        builder.cover(u32::try_from(count - 1).unwrap_or(u32::MAX))?;
        let mut batch = builder.build()?;
        batch.stamp(next, NO_EPOCH);
        next = batch.next_msn();
        batches.push(batch);
    }
    Ok(batches)
}

/// Why `gap` cannot be passed over: retention took it meanwhile, or it is lost.
pub(crate) async fn gap_failure(
    side: &str,
    name: &TopicPartition,
    store: &dyn PartitionStore,
    gap: Range<Msn>,
) -> Failure {
    match store.refresh().await {
        Err(error) => return Failure::Log(error),
        Ok(bounds) if bounds.first_msn > gap.start => {
            let (from, to) = (gap.start, bounds.first_msn);
            let why = format!("MSNs {from}..{to} of {name} were trimmed at the {side} meanwhile");
            return Failure::Conflict(why);
        }
        Ok(_) => {}
    }
    let mut holes = store.holes();
    if !holes.iter().any(|hole| hole.start <= gap.start && gap.end <= hole.end) {
        holes.push(gap);
        holes.sort_unstable_by_key(|hole| hole.start);
    }
    holes_failure(side, [(name, holes)])
}

/// Names the ranges that a side has lost.
pub(crate) fn holes_failure<'a>(
    side: &str,
    lost: impl IntoIterator<Item = (&'a TopicPartition, Vec<Range<Msn>>)>,
) -> Failure {
    let mut ranges = Vec::new();
    for (name, holes) in lost {
        let shown = holes.iter().map(|hole| format!("{}..{} of {name}", hole.start, hole.end));
        ranges.extend(shown);
    }
    let ranges = ranges.join(", ");
    let hint = if side == "source" { "; `--holes keep` migrates the rest" } else { "" };
    Failure::Corrupt(format!("the {side} has lost MSNs {ranges}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bridges_cover_the_gap_without_gap_or_overlap() {
        for (from, to, count) in [(0, 1, 1), (500, 510, 1), (7, (1 << 31) + 7, 1), (3, 1 << 33, 4)]
        {
            let batches = bridges(Msn::new(from)..Msn::new(to)).unwrap();
            assert_eq!(batches.len(), count, "{from}..{to}");
            let end = batches.iter().fold(Msn::new(from), |next, batch| {
                assert_eq!((batch.base_msn(), batch.record_count()), (next, 0));
                batch.next_msn()
            });
            assert_eq!(end, Msn::new(to));
        }
        assert!(bridges(Msn::new(5)..Msn::new(5)).unwrap().is_empty());
    }
}
