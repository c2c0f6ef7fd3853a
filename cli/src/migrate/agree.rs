//! Whether what the destination holds is a beginning of the source; anything else is a conflict.

use std::sync::Arc;

use indicatif::ProgressBar;
use msglog::store::{MessageStore, OpenOptions, PartitionStore};
use msglog::{ErrorKind, Msn, ReadLimit, TopicPartition};

use super::compare::compare;
use super::documents;
use super::plan::{Part, Plan};
use crate::args::Holes;
use crate::failure::Failure;

/// Compares what is there: all of it when `whole`, else bounds, first and last batches, documents.
pub(crate) async fn check(
    plan: &Plan,
    destination: &dyn MessageStore,
    whole: bool,
) -> Result<(), Failure> {
    for name in destination.partitions().await? {
        if !plan.chosen.has_topic(&name.topic) {
            continue;
        }
        let Some(part) = plan.partitions.iter().find(|part| part.name == name) else {
            let why = format!("the destination has {name}, which the source has not");
            return Err(Failure::Conflict(why));
        };
        let there = existing(destination, &name).await?;
        check_partition(part, there, plan.holes, whole).await?;
    }
    documents::check(plan, destination).await
}

/// Opens a partition of the destination that must be there.
pub(crate) async fn existing(
    destination: &dyn MessageStore,
    name: &TopicPartition,
) -> Result<Arc<dyn PartitionStore>, Failure> {
    let opened = destination.open(name, OpenOptions::existing()).await;
    opened.map_err(|error| match error.kind() {
        // One that was made just before an interruption.
        ErrorKind::NotFound => Failure::NotFound(format!("{name} vanished at the destination")),
        _ => Failure::Log(error.within("destination")),
    })
}

async fn check_partition(
    part: &Part,
    there: Arc<dyn PartitionStore>,
    holes: Holes,
    whole: bool,
) -> Result<(), Failure> {
    let bounds = there.refresh().await?;
    let (first, next) = (bounds.first_msn, bounds.next_msn);
    let (start, end) = (part.range.start, part.range.end);
    // Retention at the source may have gone on since; then the destination holds more before.
    let agrees =
        if first == next { next == start } else { first <= start && start < next && next <= end };
    if !agrees {
        let name = &part.name;
        let why = format!(
            "{name} holds MSNs {first}..{next} at the destination, {start}..{end} at the source"
        );
        return Err(Failure::Conflict(why));
    }
    if first == next {
        return Ok(());
    }
    let silent = ProgressBar::hidden();
    if whole {
        compare(part, there, start..next, holes, &silent).await?;
        return Ok(());
    }
    let begin = batch_at(&there, start).await?.map_or(start..next, |batch| start..batch.1);
    compare(part, Arc::clone(&there), begin, holes, &silent).await?;
    let last = Msn::new(next.get().saturating_sub(1));
    let from = batch_at(&there, last).await?.map_or(last, |batch| batch.0);
    compare(part, there, from.max(start)..next, holes, &silent).await?;
    Ok(())
}

/// First and next MSN of the batch that holds `msn`, or of the next one there is.
async fn batch_at(
    store: &Arc<dyn PartitionStore>,
    msn: Msn,
) -> Result<Option<(Msn, Msn)>, Failure> {
    let read = store.read(msn, ReadLimit::bytes(1)).await?;
    Ok(read.first().map(|batch| (batch.base_msn(), batch.next_msn())))
}
