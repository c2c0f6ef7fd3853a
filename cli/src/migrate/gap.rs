//! MSNs that a side no longer has: how they are told.

use std::ops::Range;

use msglog::store::PartitionStore;
use msglog::{Msn, TopicPartition};

use crate::failure::Failure;

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
