//! Which MSNs of which partitions are to be printed.

use msglog::{Clock, Msn, ReadLimit, SystemClock, Topic};

use crate::args::{Consume, Place};
use crate::failure::Failure;
use crate::open;

/// A run of MSNs of one partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) partition: u32,
    pub(super) from: Msn,
    /// Where it ends; goes on as records arrive when `None`.
    pub(super) to: Option<Msn>,
}

/// What the options ask for, as MSNs.
///
/// # Errors
///
/// [`Failure::NotFound`] for a partition that is not, and, unless they are waited for, for MSNs
/// that lie beyond the end of every partition.
pub(super) async fn spans(args: &Consume, topic: &Topic) -> Result<Vec<Span>, Failure> {
    let mut spans = Vec::new();
    let mut beyond = None;
    for partition in open::chosen_partitions(topic, args.partition)? {
        let bounds = topic.bounds(partition).await?;
        let from = match (args.since, args.from) {
            _ if args.last.is_some() => {
                first_of_last(topic, partition, args.last.unwrap_or_default()).await?
            }
            (Some(moment), _) => topic.find(partition, moment.at(SystemClock.now())).await?,
            (None, Place::Start) => bounds.first_msn,
            (None, Place::End) => bounds.next_msn,
            (None, Place::Msn(msn)) => msn.max(bounds.first_msn),
        };
        let to = if args.follow {
            args.to
        } else {
            Some(args.to.map_or(bounds.next_msn, |to| to.min(bounds.next_msn)))
        };
        if from > bounds.next_msn && !args.follow {
            beyond = beyond.max(Some((bounds.next_msn, from)));
            continue;
        }
        spans.push(Span { partition, from, to });
    }
    match beyond {
        Some((end, from)) if spans.is_empty() => {
            Err(Failure::NotFound(format!("MSN {from} lies beyond the end, which is {end}")))
        }
        _ => Ok(spans),
    }
}

/// The MSN of the oldest of the newest `count` records, or the end.
async fn first_of_last(topic: &Topic, partition: u32, count: u64) -> Result<Msn, Failure> {
    let mut first = topic.bounds(partition).await?.next_msn;
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    while left > 0 {
        let page = topic.read_before(partition, first, left, ReadLimit::default()).await?;
        let Some(record) = page.first() else { break };
        first = record.msn;
        left = left.saturating_sub(page.len());
    }
    Ok(first)
}
