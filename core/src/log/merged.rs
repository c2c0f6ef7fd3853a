//! Several partitions of a topic as one stream.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::SelectAll;

use super::subscription::Subscription;
use crate::{Error, ErrorKind, Msn, Record, Result};

/// A record, and the partition that it is in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PartitionRecord {
    /// The partition.
    pub partition: u32,
    /// The record.
    pub record: Record,
}

/// A stream of the records of several partitions, from history to live.
///
/// Each partition's records come in order, without a gap or a repeat, as in a [`Subscription`]; no
/// order holds between partitions. Fair: among partitions that have records they take turns, record
/// by record. Ends when the log is closed, and after an error. Memory is that of as many
/// subscriptions.
#[derive(Debug)]
pub struct MergedSubscription {
    streams: SelectAll<Numbered>,
    /// Where each partition goes on, as far as records were given.
    positions: BTreeMap<u32, Msn>,
}

#[derive(Debug)]
struct Numbered {
    partition: u32,
    subscription: Subscription,
}

impl Stream for Numbered {
    type Item = Result<PartitionRecord>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let partition = self.partition;
        let record = ready!(Pin::new(&mut self.subscription).poll_next(cx));
        Poll::Ready(record.map(|record| match record {
            Ok(record) => Ok(PartitionRecord { partition, record }),
            Err(error) => Err(error.within(format_args!("partition {partition}"))),
        }))
    }
}

impl MergedSubscription {
    pub(super) fn new(subscriptions: Vec<(u32, Subscription)>) -> Result<Self> {
        let mut positions = BTreeMap::new();
        let mut streams = SelectAll::new();
        for (partition, subscription) in subscriptions {
            if positions.insert(partition, subscription.next_msn()).is_some() {
                let why = format!("partition {partition} is named twice");
                return Err(Error::new(ErrorKind::Invalid, why));
            }
            streams.push(Numbered { partition, subscription });
        }
        Ok(Self { streams, positions })
    }

    /// The smallest MSN that the next record of each partition can have.
    ///
    /// A stream that is made of these with
    /// [`Topic::subscribe_partitions`](super::Topic::subscribe_partitions) goes on where this one
    /// stands.
    pub fn positions(&self) -> BTreeMap<u32, Msn> {
        let mut positions = self.positions.clone();
        for stream in self.streams.iter() {
            // Beyond the last record where a filter, a trim or a hole was passed.
            positions.insert(stream.partition, stream.subscription.next_msn());
        }
        positions
    }
}

impl Stream for MergedSubscription {
    type Item = Result<PartitionRecord>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(Pin::new(&mut self.streams).poll_next(cx));
        match &next {
            Some(Ok(found)) => {
                self.positions.insert(found.partition, found.record.msn.plus(1));
            }
            Some(Err(_)) => self.streams.clear(),
            None => {}
        }
        Poll::Ready(next)
    }
}
