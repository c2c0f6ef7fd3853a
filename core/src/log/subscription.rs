//! Subscriptions: streams of batches, or of records, from history to live.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::Stream;
use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::cache::Tailer;
use super::partition::Partition;
use super::queue::closed;
use super::read::BatchPage;
use crate::batch::{DecodeLimits, Records};
use crate::store::{ReadLimit, wait_for};
use crate::{ErrorKind, Msn, Record, RecordBatch, Result};

/// The size of a page that may be there at once: what the caches of a core hold.
const PAGE_BYTES: usize = 256 << 10;
/// The size of a page that is read ahead: what hides the wait.
const AHEAD_BYTES: usize = 1 << 20;
/// A page that was read ahead in less time came from memory: the next one is tried at once.
const AT_ONCE: Duration = Duration::from_micros(200);

/// A stream of a partition's record batches in order, from history to live, as they are stored.
///
/// The way to read at the least cost: [`RecordBatch::decoded`] gives records by reference. Promises
/// what [`Subscription`] does; the first batch may begin before the MSN that was asked for.
pub struct BatchSubscription {
    partition: Arc<Partition>,
    batches: VecDeque<RecordBatch>,
    /// Behind the last batch that was given out.
    next_msn: Msn,
    /// Behind the last batch that was read.
    read_msn: Msn,
    fetch: Option<Fetch>,
    ended: bool,
    /// Several of them make it worth to keep what one has read.
    _tailer: Tailer,
}

/// The next page on its way.
enum Fetch {
    /// Polled by the reader.
    Here(BoxFuture<'static, Result<Fetched>>),
    /// Read while the reader is busy with the page before.
    Ahead(Ahead),
}

/// A task that ends with its subscription.
struct Ahead(JoinHandle<Result<Fetched>>);

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Future for Fetch {
    type Output = Result<Fetched>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Here(page) => page.as_mut().poll(cx),
            // The task ends early only with its runtime.
            Self::Ahead(task) => {
                Pin::new(&mut task.0).poll(cx).map(|page| page.unwrap_or_else(|_| Err(closed())))
            }
        }
    }
}

impl BatchSubscription {
    pub(super) fn new(partition: Arc<Partition>, from: Msn) -> Self {
        Self {
            _tailer: partition.cache.tailer(),
            partition,
            batches: VecDeque::new(),
            next_msn: from,
            read_msn: from,
            fetch: None,
            ended: false,
        }
    }

    /// The smallest MSN that the next batch can bring.
    pub fn next_msn(&self) -> Msn {
        self.next_msn
    }

    /// Begins to read the next page if there is one. Where pages are there at once it does not pay:
    /// what another core has read is in the wrong cache.
    fn read_ahead(&mut self) {
        if self.partition.bounds().next_msn <= self.read_msn {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (partition, from) = (self.partition.clone(), self.read_msn);
        let task = if partition.store_blocks {
            let waiting = runtime.clone();
            let limit = ReadLimit::bytes(AHEAD_BYTES);
            let read = async move {
                let began = Instant::now();
                let page = partition.read_batches(from, limit).await?;
                Ok(Fetched { page, at_once: began.elapsed() < AT_ONCE })
            };
            runtime.spawn_blocking(move || wait_for(&waiting, read))
        } else {
            runtime.spawn(next_page(partition, from))
        };
        self.fetch = Some(Fetch::Ahead(Ahead(task)));
    }
}

/// A page, and whether the store has pages at once.
struct Fetched {
    page: BatchPage,
    at_once: bool,
}

/// The next page that has batches, waiting for it.
async fn next_page(partition: Arc<Partition>, from: Msn) -> Result<Fetched> {
    loop {
        let mut read = pin!(partition.read_batches(from, ReadLimit::bytes(PAGE_BYTES)));
        let (page, at_once) = match futures::poll!(&mut read) {
            Poll::Ready(page) => (page?, true),
            Poll::Pending => (read.await?, false),
        };
        if !page.batches.is_empty() {
            return Ok(Fetched { page, at_once });
        }
        // Nothing below the end that was seen, nor below `from`, needs to be looked at again.
        let end = from.max(page.next_msn);
        partition.grown_beyond(end).await?;
    }
}

impl Stream for BatchSubscription {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(batch) = self.batches.pop_front() {
                self.next_msn = batch.next_msn();
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let (partition, from) = (self.partition.clone(), self.read_msn);
            let fetch =
                self.fetch.get_or_insert_with(|| Fetch::Here(Box::pin(next_page(partition, from))));
            let page = ready!(Pin::new(fetch).poll(cx));
            self.fetch = None;
            match page {
                Ok(Fetched { page, at_once }) => {
                    self.read_msn = page.next_msn;
                    self.batches = page.batches.into();
                    if !at_once {
                        self.read_ahead();
                    }
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

impl fmt::Debug for BatchSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchSubscription")
            .field("partition", &self.partition.name)
            .field("next_msn", &self.next_msn())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A stream of a partition's records in order, from history to live, without a gap or a repeat.
///
/// MSNs that were trimmed or lost to damage are passed over. It waits at the end for more, ends
/// when the log is closed, and ends after an error. Dropping it frees it. Where pages have to
/// be waited for, the next one is read while one is consumed; memory is bounded by two pages of about 1 MiB.
#[derive(Debug)]
pub struct Subscription {
    batches: BatchSubscription,
    records: Option<Records>,
    next_msn: Msn,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(partition: Arc<Partition>, from: Msn) -> Self {
        let batches = BatchSubscription::new(partition, from);
        Self { batches, records: None, next_msn: from, ended: false }
    }

    /// The smallest MSN that the next record can have.
    pub fn next_msn(&self) -> Msn {
        self.next_msn
    }

    /// The next record of the batch at hand that was asked for.
    fn next_at_hand(&mut self) -> Option<Result<Record>> {
        let from = self.next_msn;
        let records = self.records.as_mut()?;
        records.find(|record| record.as_ref().map_or(true, |record| record.msn >= from))
    }

    /// Takes up the next batch; `None` at the end of the stream.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        let batch = ready!(Pin::new(&mut self.batches).poll_next(cx));
        Poll::Ready(batch.map(|batch| {
            self.records = Some(batch?.records(DecodeLimits::default())?);
            Ok(())
        }))
    }
}

impl Stream for Subscription {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let error = loop {
            if self.ended {
                return Poll::Ready(None);
            }
            match self.next_at_hand() {
                Some(Ok(record)) => {
                    self.next_msn = record.msn.plus(1);
                    return Poll::Ready(Some(Ok(record)));
                }
                Some(Err(error)) => break error,
                None => self.next_msn = self.next_msn.max(self.batches.next_msn()),
            }
            match ready!(self.poll_batch(cx)) {
                Some(Ok(())) => {}
                Some(Err(error)) => break error,
                None => self.ended = true,
            }
        };
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}
