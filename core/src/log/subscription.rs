//! A subscription: a stream of records from history to live.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;

use super::partition::Partition;
use super::read::Page;
use crate::store::ReadLimit;
use crate::{ErrorKind, Msn, Record, Result};

/// A stream of a partition's records in order, from history to live, without a gap or a repeat.
///
/// MSNs that were trimmed or lost to damage are passed over. It waits at the end for more, ends
/// when the log is closed, and ends after an error. Dropping it frees it. Memory is bounded by one
/// page of about 1 MiB.
pub struct Subscription {
    partition: Arc<Partition>,
    ready: VecDeque<Record>,
    next_msn: Msn,
    fetch: Option<BoxFuture<'static, Result<Page>>>,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(partition: Arc<Partition>, from: Msn) -> Self {
        let ready = VecDeque::new();
        Self { partition, ready, next_msn: from, fetch: None, ended: false }
    }

    /// The smallest MSN that the next record can have.
    pub fn next_msn(&self) -> Msn {
        self.ready.front().map_or(self.next_msn, |record| record.msn)
    }
}

/// The next page that has records, waiting for it.
async fn next_page(partition: Arc<Partition>, from: Msn) -> Result<Page> {
    loop {
        let page = partition.read(from, ReadLimit::default()).await?;
        if !page.records.is_empty() {
            return Ok(page);
        }
        // Nothing below the end that was seen, nor below `from`, needs to be looked at again.
        let end = from.max(page.next_msn);
        partition.grown_beyond(end).await?;
    }
}

impl Stream for Subscription {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(record)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let (partition, from) = (self.partition.clone(), self.next_msn);
            let fetch = self.fetch.get_or_insert_with(|| Box::pin(next_page(partition, from)));
            let page = std::task::ready!(fetch.as_mut().poll(cx));
            self.fetch = None;
            match page {
                Ok(page) => {
                    self.next_msn = page.next_msn;
                    self.ready = page.records.into();
                }
                Err(error) => {
                    self.ended = true;
                    let closed = error.kind() == ErrorKind::Closed;
                    return Poll::Ready((!closed).then_some(Err(error)));
                }
            }
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("partition", &self.partition.name)
            .field("next_msn", &self.next_msn())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
