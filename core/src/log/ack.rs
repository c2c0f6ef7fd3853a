//! Acks: one watermark a partition that every waiting producer looks at, not a channel a message.

use std::collections::VecDeque;
use std::future::Future;
use std::num::NonZeroU64;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::sync::{AtomicU64, Mutex, MutexGuard, OnceLock, Ordering};
use crate::{Error, Msn, Result};

/// Which watermark an ack waits for.
///
/// Eight bytes, as the fields beside it: an ack is moved between append and await, eight bytes or more
/// at a time, and a byte that was written by itself delays that until it is in the cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub(super) enum AckAt {
    /// At once.
    Accepted,
    /// When the store has taken it.
    Written,
    /// When a sync covers it.
    Durable,
}

/// How far one run of appends to a partition has got. A run ends with its first failure; the next
/// one starts anew.
#[derive(Debug)]
pub(super) struct Progress {
    partition: u32,
    written: Watermark,
    durable: Watermark,
    failure: OnceLock<Error>,
}

impl Progress {
    /// The run that begins behind what is stored, of which so much is durable.
    pub(super) fn behind(partition: u32, next: Msn, durable: Msn) -> Self {
        Self {
            partition,
            written: Watermark::at(next),
            durable: Watermark::at(durable),
            failure: OnceLock::new(),
        }
    }

    /// The run after this one.
    pub(super) fn anew_at(&self, next: Msn) -> Self {
        Self::behind(self.partition, next, next)
    }

    /// Everything below `msn` is in the store: wakes the acks that waited for that.
    pub(super) fn advance_written(&self, msn: Msn) {
        self.written.advance(msn);
    }

    /// Everything below `msn` is synced: wakes the acks that waited for that.
    pub(super) fn advance_durable(&self, msn: Msn) {
        self.durable.advance(msn);
    }

    /// Ends the run: every ack that does not hold yet is this error. Only the first one counts.
    pub(super) fn fail(&self, error: Error) {
        let _ = self.failure.set(error);
        self.written.wake_all();
        self.durable.wake_all();
    }

    #[inline]
    fn watermark(&self, at: AckAt) -> &Watermark {
        if at == AckAt::Durable { &self.durable } else { &self.written }
    }
}

/// A rising MSN and those who wait for it.
#[derive(Debug)]
struct Watermark {
    msn: AtomicU64,
    waiters: Mutex<Waiters>,
}

/// In the order of what they wait for, which is nearly that in which they come.
#[derive(Debug, Default)]
struct Waiters {
    waiting: VecDeque<Waiting>,
    tickets: u64,
}

#[derive(Debug)]
struct Waiting {
    /// The MSN waited for, then a number that tells waiters for the same one apart.
    place: (Msn, NonZeroU64),
    waker: Waker,
}

impl Waiters {
    fn ticket(&mut self) -> NonZeroU64 {
        self.tickets += 1;
        NonZeroU64::MIN.saturating_add(self.tickets)
    }

    /// Answers whom the place had before: to be dropped without the lock, as that may drop a task,
    /// and acks with it.
    fn insert(&mut self, waiting: Waiting) -> Option<Waiting> {
        match self.find(waiting.place) {
            Ok(index) => {
                self.waiting.get_mut(index).map(|before| std::mem::replace(before, waiting))
            }
            Err(index) => {
                self.waiting.insert(index, waiting);
                None
            }
        }
    }

    /// Answers who was there; see [`insert`](Self::insert).
    fn remove(&mut self, place: (Msn, NonZeroU64)) -> Option<Waiting> {
        let index = self.find(place).ok()?;
        self.waiting.remove(index)
    }

    /// Where a waiter is, or would be.
    fn find(&self, place: (Msn, NonZeroU64)) -> Result<usize, usize> {
        match self.waiting.back() {
            Some(last) if last.place >= place => {
                self.waiting.binary_search_by_key(&place, |waiting| waiting.place)
            }
            _ => Err(self.waiting.len()),
        }
    }

    /// Takes out those who wait for `msn` or less.
    fn take(&mut self, msn: Msn) -> Vec<Waiting> {
        if self.waiting.front().is_none_or(|first| first.place.0 > msn) {
            return Vec::new();
        }
        let count = self.waiting.partition_point(|waiting| waiting.place.0 <= msn);
        self.waiting.drain(..count).collect()
    }
}

impl Watermark {
    fn at(msn: Msn) -> Self {
        Self { msn: AtomicU64::new(msn.get()), waiters: Mutex::default() }
    }

    #[inline]
    fn reached(&self, msn: Msn) -> bool {
        self.msn.load(Ordering::Acquire) >= msn.get()
    }

    fn advance(&self, msn: Msn) {
        self.msn.fetch_max(msn.get(), Ordering::AcqRel);
        let satisfied = self.lock().take(msn);
        satisfied.into_iter().for_each(|waiting| waiting.waker.wake());
    }

    fn wake_all(&self) {
        let all = std::mem::take(&mut self.lock().waiting);
        all.into_iter().for_each(|waiting| waiting.waker.wake());
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        // A queue of wakers is whole at every step, whoever panicked while holding it.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future that resolves to the first MSN of an append when its durability level holds.
///
/// Dropping it gives up nothing but the knowledge. It resolves to an error when the append failed
/// or, for an [`Unknown`](crate::Effect::Unknown) effect, may have failed.
#[derive(Debug)]
#[must_use = "an append is only known to be durable once its ack resolves"]
pub struct Ack {
    msns: Range<Msn>,
    at: AckAt,
    progress: Arc<Progress>,
    ticket: Option<NonZeroU64>,
}

impl Ack {
    #[inline]
    pub(super) fn new(msns: Range<Msn>, at: AckAt, progress: Arc<Progress>) -> Self {
        Self { msns, at, progress, ticket: None }
    }

    /// Whether the level holds already.
    #[inline]
    pub fn is_acked(&self) -> bool {
        self.at == AckAt::Accepted || self.progress.watermark(self.at).reached(self.msns.end)
    }

    #[inline]
    fn outcome(&self) -> Option<Result<Msn>> {
        if self.is_acked() {
            return Some(Ok(self.msns.start));
        }
        self.progress.failure.get().map(|error| Err(error.clone()))
    }

    fn register(&mut self, waker: &Waker) {
        let mut waiters = self.progress.watermark(self.at).lock();
        let ticket = *self.ticket.get_or_insert_with(|| waiters.ticket());
        let waiting = Waiting { place: (self.msns.end, ticket), waker: waker.clone() };
        let before = waiters.insert(waiting);
        drop(waiters);
        drop(before);
    }
}

impl Future for Ack {
    type Output = Result<Msn>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut outcome = self.outcome();
        if outcome.is_none() {
            self.register(cx.waker());
            // What happened between the look and the registration woke nobody: look again.
            outcome = self.outcome();
        }
        let Some(outcome) = outcome else { return Poll::Pending };
        // Whoever has brought this about takes the waker away.
        self.ticket = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Ack {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let mut waiters = self.progress.watermark(self.at).lock();
            let before = waiters.remove((self.msns.end, ticket));
            drop(waiters);
            drop(before);
        }
    }
}

/// What an append answers at once: where the records are, and the ack to come.
#[derive(Debug)]
#[must_use = "an append is only known to be durable once its ack resolves"]
pub struct Appended {
    ack: Ack,
}

impl Appended {
    #[inline]
    pub(super) fn new(msns: Range<Msn>, at: AckAt, progress: Arc<Progress>) -> Self {
        Self { ack: Ack::new(msns, at, progress) }
    }

    /// The MSN of the (first) record.
    pub fn msn(&self) -> Msn {
        self.ack.msns.start
    }

    /// The MSNs of all records of the append.
    pub fn msns(&self) -> Range<Msn> {
        self.ack.msns.clone()
    }

    /// The partition that the records went to.
    pub fn partition(&self) -> u32 {
        self.ack.progress.partition
    }

    /// The future that resolves, to the first MSN, when the durability level holds.
    pub fn ack(self) -> Ack {
        self.ack
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use crate::ErrorKind;
    use futures::FutureExt;

    fn ack(progress: &Arc<Progress>, start: u64, end: u64, at: AckAt) -> Ack {
        Ack::new(Msn::new(start)..Msn::new(end), at, progress.clone())
    }

    #[tokio::test]
    async fn ack_resolves_only_when_its_own_watermark_covers_it() {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        let mut written = ack(&progress, 0, 2, AckAt::Written);
        let mut durable = ack(&progress, 0, 2, AckAt::Durable);
        progress.advance_written(Msn::new(1));
        assert!((&mut written).now_or_never().is_none());
        progress.advance_written(Msn::new(2));
        assert_eq!(written.await.unwrap(), Msn::ZERO);
        assert!((&mut durable).now_or_never().is_none());
        progress.advance_durable(Msn::new(2));
        assert_eq!(durable.await.unwrap(), Msn::ZERO);
    }

    #[tokio::test]
    async fn failure_answers_those_that_wait_and_leaves_what_holds() {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        progress.advance_durable(Msn::new(1));
        let waiting = ack(&progress, 1, 2, AckAt::Durable);
        let task = tokio::spawn(waiting);
        tokio::task::yield_now().await;
        progress.fail(Error::new(ErrorKind::Poisoned, "sync failed"));
        assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
        assert!(ack(&progress, 0, 1, AckAt::Durable).await.is_ok());
    }

    /// A waker that counts, and that may hold an ack, as that of a task does.
    #[derive(Default)]
    struct Counter {
        count: AtomicUsize,
        _held: Option<Ack>,
    }

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn poll(ack: &mut Ack, waker: &Arc<Counter>) -> bool {
        let waker = Waker::from(Arc::clone(waker));
        Pin::new(ack).poll(&mut Context::from_waker(&waker)).is_ready()
    }

    fn count(waker: &Counter) -> usize {
        waker.count.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[test]
    fn those_are_woken_whose_msn_is_reached_in_whatever_order_they_came() {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        let order = [7, 2, 9, 2, 4, 1, 9, 3, 8];
        let mut acks: Vec<_> = order
            .map(|end| (ack(&progress, 0, end, AckAt::Durable), Arc::<Counter>::default()))
            .into();
        for (ack, waker) in &mut acks {
            assert!(!poll(ack, waker));
        }
        // Whoever looks again is woken by the last waker that it had, and once.
        let later = Arc::<Counter>::default();
        assert!(!poll(&mut acks[3].0, &later) && !poll(&mut acks[6].0, &later));
        drop(acks.remove(7));
        progress.advance_durable(Msn::new(3));
        let woken: Vec<_> = acks.iter().map(|(_, waker)| count(waker)).collect();
        assert_eq!((woken, count(&later)), (vec![0, 1, 0, 0, 0, 1, 0, 0], 1));
        progress.advance_durable(Msn::new(9));
        let woken: Vec<_> = acks.iter().map(|(_, waker)| count(waker)).collect();
        assert_eq!((woken, count(&later)), (vec![1, 1, 1, 0, 1, 1, 0, 1], 2));
        assert!(progress.durable.lock().waiting.is_empty());
    }

    #[test]
    fn waker_that_is_replaced_may_drop_other_acks() {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        let (mut kept, mut held) =
            (ack(&progress, 0, 1, AckAt::Durable), ack(&progress, 1, 2, AckAt::Durable));
        assert!(!poll(&mut held, &Arc::default()));
        let holder = Arc::new(Counter { count: AtomicUsize::new(0), _held: Some(held) });
        assert!(!poll(&mut kept, &holder));
        drop(holder);
        assert_eq!(progress.durable.lock().waiting.len(), 2);
        assert!(!poll(&mut kept, &Arc::default()));
        assert_eq!(progress.durable.lock().waiting.len(), 1);
    }

    #[tokio::test]
    async fn dropped_ack_leaves_no_waiter_behind() {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        let mut waiting = ack(&progress, 0, 1, AckAt::Durable);
        assert!((&mut waiting).now_or_never().is_none());
        assert_eq!(progress.durable.lock().waiting.len(), 1);
        drop(waiting);
        assert!(progress.durable.lock().waiting.is_empty());
    }
}
