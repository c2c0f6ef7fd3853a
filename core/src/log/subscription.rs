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
use super::filter::Filter;
use super::partition::Partition;
use super::queue::closed;
use super::read::BatchPage;
use super::subscribe_options::SubscribeOptions;
use crate::batch::{DecodeLimits, Records};
use crate::store::{ReadLimit, wait_for};
use crate::{ErrorKind, Msn, Record, RecordBatch, Result};

/// The size of a page that may be there at once: what the caches of a core hold.
const PAGE_BYTES: usize = 256 << 10;
/// The size of a page that is read ahead: what hides the wait.
const AHEAD_BYTES: usize = 1 << 20;
/// How much a filter looks at in vain at a time.
const TURN_BYTES: usize = 1 << 20;
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
    /// Pages that were read and not yet taken up, in order, each with whether it was there at once.
    ahead: VecDeque<Result<(BatchPage, bool)>>,
    policy: Policy,
    ended: bool,
    /// Several of them make it worth to keep what one has read.
    _tailer: Tailer,
}

/// How much is read at a time and ahead.
#[derive(Clone, Copy, Debug)]
struct Policy {
    /// The size of a page that may be there at once, and of one that has to be waited for.
    page_bytes: usize,
    ahead_bytes: usize,
    pages_ahead: usize,
    spin: Duration,
}

impl From<&SubscribeOptions> for Policy {
    fn from(options: &SubscribeOptions) -> Self {
        Self {
            page_bytes: options.page_bytes.unwrap_or(PAGE_BYTES),
            ahead_bytes: options.page_bytes.unwrap_or(AHEAD_BYTES),
            pages_ahead: options.pages_ahead,
            spin: options.spin,
        }
    }
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
    pub(super) fn new(partition: Arc<Partition>, from: Msn, options: &SubscribeOptions) -> Self {
        Self {
            policy: options.into(),
            ahead: VecDeque::new(),
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

    /// Begins to read the next pages if there are any. Where pages are there at once it does not
    /// pay: what another core has read is in the wrong cache.
    fn read_ahead(&mut self) {
        let room = self.policy.pages_ahead.saturating_sub(self.ahead.len());
        let waiting = self.fetch.is_some() || room == 0;
        if waiting || self.partition.bounds().next_msn <= self.read_msn {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (partition, from, policy) = (self.partition.clone(), self.read_msn, self.policy);
        // One more than there are, so that the first ones do not wait for the last.
        let pages = room.min(self.ahead.len() + 1);
        let task = if partition.store_blocks {
            let waiting = runtime.clone();
            let limit = ReadLimit::bytes(policy.ahead_bytes);
            let read = async move {
                let began = Instant::now();
                let page = partition.read_batches(from, limit).await?;
                let at_once = began.elapsed() < AT_ONCE;
                Ok(Fetched { page, at_once, more: Vec::new() }
                    .and_more(&partition, limit, pages)
                    .await)
            };
            runtime.spawn_blocking(move || wait_for(&waiting, read))
        } else {
            runtime.spawn(async move {
                let fetched = next_page(partition.clone(), from, policy).await?;
                let limit = ReadLimit::bytes(policy.page_bytes);
                Ok(fetched.and_more(&partition, limit, pages).await)
            })
        };
        self.fetch = Some(Fetch::Ahead(Ahead(task)));
    }

    /// Takes up pages that were read ahead meanwhile, and begins to read those after them.
    fn gather(&mut self, cx: &mut Context<'_>) {
        let Some(Fetch::Ahead(task)) = &self.fetch else { return };
        if task.0.is_finished() && self.poll_fetch(cx).is_ready() && self.is_waited_for() {
            self.read_ahead();
        }
    }

    /// Takes up the next pages from the store.
    fn poll_fetch(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (from, policy) = (self.read_msn, self.policy);
        let partition = &self.partition;
        let fetch = self.fetch.get_or_insert_with(|| {
            Fetch::Here(Box::pin(next_page(partition.clone(), from, policy)))
        });
        let fetched = ready!(Pin::new(fetch).poll(cx));
        self.fetch = None;
        match fetched {
            Err(error) => self.ahead.push_back(Err(error)),
            Ok(Fetched { page, at_once, more }) => {
                for page in std::iter::once(page).chain(more) {
                    self.read_msn = page.next_msn;
                    self.ahead.push_back(Ok((page, at_once)));
                }
            }
        }
        Poll::Ready(())
    }

    /// Whether the newest page had to be waited for, so that reading ahead pays.
    fn is_waited_for(&self) -> bool {
        matches!(self.ahead.back(), Some(Ok((_, false))))
    }
}

/// A page, whether the store has pages at once, and the pages that follow.
struct Fetched {
    page: BatchPage,
    at_once: bool,
    more: Vec<BatchPage>,
}

impl Fetched {
    /// With the pages that follow, `pages` in all, as far as they are there.
    async fn and_more(mut self, partition: &Partition, limit: ReadLimit, pages: usize) -> Self {
        let mut from = self.page.next_msn;
        while self.more.len() + 1 < pages && from < partition.bounds().next_msn {
            // Whatever is wrong here is met again, and said, by the next one who reads.
            let Ok(page) = partition.read_batches(from, limit).await else { break };
            if page.batches.is_empty() {
                break;
            }
            from = page.next_msn;
            self.more.push(page);
        }
        self
    }
}

/// The next page that has batches, waiting for it.
async fn next_page(partition: Arc<Partition>, from: Msn, policy: Policy) -> Result<Fetched> {
    loop {
        let mut read = pin!(partition.read_batches(from, ReadLimit::bytes(policy.page_bytes)));
        let (page, at_once) = match futures::poll!(&mut read) {
            Poll::Ready(page) => (page?, true),
            Poll::Pending => (read.await?, false),
        };
        if !page.batches.is_empty() {
            return Ok(Fetched { page, at_once, more: Vec::new() });
        }
        // Nothing below the end that was seen, nor below `from`, needs to be looked at again.
        let end = from.max(page.next_msn);
        if !partition.grows_within(policy.spin, end).await {
            partition.grown_beyond(end).await?;
        }
    }
}

impl Stream for BatchSubscription {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.gather(cx);
        loop {
            if let Some(batch) = self.batches.pop_front() {
                self.next_msn = batch.next_msn();
                return Poll::Ready(Some(Ok(batch)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            let Some(page) = self.ahead.pop_front() else {
                ready!(self.poll_fetch(cx));
                continue;
            };
            match page {
                Ok((page, at_once)) => {
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
/// be waited for, the next one is read while one is consumed; memory is bounded by two pages of about
/// 1 MiB, or as [`SubscribeOptions`] say. Where a filter finds nothing, [`next_msn`](Self::next_msn)
/// still rises.
#[derive(Debug)]
pub struct Subscription {
    batches: BatchSubscription,
    records: Option<Records>,
    filter: Filter,
    /// What the filter has found in the batch at hand.
    filtered: VecDeque<Record>,
    /// How many bytes it has looked at in vain.
    looked_at_bytes: usize,
    next_msn: Msn,
    ended: bool,
}

impl Subscription {
    pub(super) fn new(partition: Arc<Partition>, from: Msn, options: SubscribeOptions) -> Self {
        Self {
            batches: BatchSubscription::new(partition, from, &options),
            records: None,
            filter: options.filter,
            filtered: VecDeque::new(),
            looked_at_bytes: 0,
            next_msn: from,
            ended: false,
        }
    }

    /// The smallest MSN that the next record can have.
    pub fn next_msn(&self) -> Msn {
        self.next_msn
    }

    /// The next record of the batch at hand that was asked for.
    fn next_at_hand(&mut self) -> Option<Result<Record>> {
        let from = self.next_msn;
        if let Some(record) = self.filtered.pop_front() {
            return Some(Ok(record));
        }
        let records = self.records.as_mut()?;
        records.find(|record| record.as_ref().map_or(true, |record| record.msn >= from))
    }

    /// Takes up the next batch; `None` at the end of the stream.
    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        let batch = ready!(Pin::new(&mut self.batches).poll_next(cx));
        let Some(batch) = batch else { return Poll::Ready(None) };
        Poll::Ready(Some(batch.and_then(|batch| self.take_up(&batch))))
    }

    fn take_up(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.filter == Filter::Everything {
            self.records = Some(batch.records(DecodeLimits::default())?);
        } else {
            self.filtered = self.filter.take(batch, self.next_msn)?.into();
            self.looked_at_bytes += batch.encoded_len();
        }
        Ok(())
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
                    self.looked_at_bytes = 0;
                    return Poll::Ready(Some(Ok(record)));
                }
                Some(Err(error)) => break error,
                None => self.next_msn = self.next_msn.max(self.batches.next_msn()),
            }
            if self.looked_at_bytes >= TURN_BYTES {
                // A filter that finds nothing lets the other tasks of its worker run.
                self.looked_at_bytes = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
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
