//! Which MSNs of which partitions are to be printed.

use msglog::store::{MessageStore, OpenOptions};
use msglog::{Clock, Msn, ReadLimit, SystemClock, Timestamp, Topic, TopicPartition};

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
pub(super) async fn spans(
    args: &Consume,
    store: &dyn MessageStore,
    topic: &Topic,
) -> Result<Vec<Span>, Failure> {
    let mut spans = Vec::new();
    let mut beyond = None;
    for partition in open::chosen_partitions(topic, args.partition)? {
        let bounds = topic.bounds(partition).await?;
        let from = match (args.since, args.from) {
            (Some(moment), _) => {
                let since = moment.at(SystemClock.now());
                first_since(store, topic, partition, since).await?
            }
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

/// The MSN of the first record of this time or later; the end when there is none.
async fn first_since(
    store: &dyn MessageStore,
    topic: &Topic,
    partition: u32,
    since: Timestamp,
) -> Result<Msn, Failure> {
    let mut from = Msn::ZERO;
    if store.capabilities().find {
        let name = TopicPartition::new(topic.name().clone(), partition);
        let sequence = store.open(&name, OpenOptions::existing()).await?;
        from = sequence.find(since).await?;
    }
    loop {
        let page = topic.read(partition, from, ReadLimit::default()).await?;
        if let Some(record) = page.records.iter().find(|record| record.timestamp >= since) {
            return Ok(record.msn);
        }
        if page.records.is_empty() {
            return Ok(page.next_msn);
        }
        from = page.next_msn;
    }
}
