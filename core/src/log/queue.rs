//! The queue in front of a partition: gives out MSNs and gathers records until the appender comes.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::ack::{AckAt, Appended, Progress};
use super::admission::{Gate, needed_bytes};
use super::buffers::{Buffers, Spent};
use super::in_flight::{Admitted, InFlight};
use super::producers::{Sequenced, Table, Verdict};
use super::stats::AcceptedCounts;
use super::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, yield_now};
use crate::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
use crate::{Durability, Error, ErrorKind, MessageRef, Msn, RecordBatch, Result, Timestamp};

/// The room of a fresh buffer for small appends; it grows with what gathers.
const BUFFER_BYTES_MIN: usize = 4 << 10;

/// Bytes for which waiting for more does not pay.
const WRITE_BYTES_ENOUGH: usize = 64 << 10;

/// Records accepted and not yet taken by the appender, in MSN order.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes the appender's task.
    ready: Notify,
    /// Wakes the appender's thread where it has one.
    gathered: Condvar,
    /// Whether that was done since the thread has last begun to watch: so it need not lock to look.
    called: AtomicBool,
    pub(super) buffers: Buffers,
}

/// What a topic's configuration asks of its partitions' appends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// The level at which appends are acked that name none, and that every record reaches.
    pub(super) level: Durability,
    pub(super) batch_options: BatchOptions,
    /// The size up to which single appends are gathered into one batch.
    pub(super) batch_bytes_max: usize,
    /// How long a group waits for more.
    pub(super) linger: Duration,
}

#[derive(Debug)]
struct State {
    next_msn: Msn,
    settings: Settings,
    gate: Gate,
    gathering: Gathered,
    /// All that was accepted.
    accepted: AcceptedCounts,
    progress: Arc<Progress>,
    /// How soon what another than the appender has written must be synced.
    owed: Option<Duration>,
    /// Why nothing more is accepted.
    end: Option<Error>,
    /// Whether that was a failure that lasts.
    broken: bool,
    /// What is known of idempotent producers.
    producers: Table,
    /// How many records the appender's thread waits for; `None` when it does not wait.
    awaited: Option<u64>,
}

/// A batch that its producer built, with what is left of the buffer.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) batch: RecordBatch,
    pub(super) spent: Spent,
}

/// What has gathered since the appender last came.
#[derive(Debug, Default)]
struct Gathered {
    /// When the first of them came.
    since: Option<Instant>,
    pending: Vec<Pending>,
    in_flight: Option<InFlight>,
    records: u64,
    sync: bool,
    sync_within: Option<Duration>,
}

#[derive(Debug)]
enum Pending {
    /// Single appends of any producers, still open for more.
    Open { base_msn: Msn, builder: BatchBuilder },
    /// A batch that its producer built.
    Built(Built),
}

/// What an append is told by the queue.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) appended: Appended,
    /// Whom it has to wake.
    pub(super) wake: Wake,
}

/// Whom an append has to wake, so that it is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wake {
    /// Nobody: somebody will look.
    None,
    /// The appender's task.
    Task,
    /// The appender's thread.
    Thread,
}

/// All that gathered, taken by the appender in one piece.
#[derive(Debug)]
pub(super) struct Group {
    gathered: Gathered,
    /// Whether the gate wants to know what the store has left once it is written.
    pub(super) is_watched: bool,
    /// The MSN after the last record of the group.
    pub(super) next_msn: Msn,
    pub(super) progress: Arc<Progress>,
}

impl Group {
    pub(super) fn records(&self) -> u64 {
        self.gathered.records
    }

    /// When its first append came.
    pub(super) fn since(&self) -> Option<Instant> {
        self.gathered.since
    }

    /// Whether an append of the group is acked by a sync only, or the topic's level is one.
    pub(super) fn wants_sync(&self) -> bool {
        self.gathered.sync
    }

    /// How soon an append of the group must be synced.
    pub(super) fn sync_within(&self) -> Option<Duration> {
        self.gathered.sync_within
    }

    /// Finishes the batches: compresses and checksums those that were still open.
    ///
    /// Compressing may take long, so it does not run on an async worker.
    pub(super) async fn build(&mut self) -> Result<Batches> {
        let pending = std::mem::take(&mut self.gathered.pending);
        let compresses = pending.iter().any(Pending::compresses);
        let build = move || Batches::of(pending);
        if compresses { crate::store::blocking(build).await } else { build() }
    }
}

/// The batches of a group, and the buffers that come back when they are written.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) spent: Vec<Spent>,
}

impl Batches {
    fn of(pending: Vec<Pending>) -> Result<Self> {
        let (batches, spent) =
            (Vec::with_capacity(pending.len()), Vec::with_capacity(pending.len()));
        let mut all = Self { batches, spent };
        for pending in pending {
            let Built { batch, spent } = pending.build()?;
            all.batches.push(batch);
            all.spent.push(spent);
        }
        Ok(all)
    }
}

impl Pending {
    fn compresses(&self) -> bool {
        matches!(self, Self::Open { builder, .. } if builder.compresses())
    }

    fn build(self) -> Result<Built> {
        match self {
            Self::Built(built) => Ok(built),
            Self::Open { base_msn, builder } => {
                let mut built = Built::from(builder)?;
                built.batch.stamp(base_msn, NO_EPOCH);
                Ok(built)
            }
        }
    }
}

impl Built {
    /// Compresses and checksums what was built.
    pub(super) fn from(builder: BatchBuilder) -> Result<Self> {
        let capacity = builder.capacity();
        let (batch, buffer) = builder.build_and_recycle()?;
        Ok(Self { batch, spent: Spent { buffer, capacity } })
    }
}

impl Queue {
    /// The queue of a new run.
    pub(super) fn new(progress: Progress, next_msn: Msn, settings: Settings, gate: Gate) -> Self {
        let state = State {
            next_msn,
            settings,
            gate,
            gathering: Gathered::default(),
            accepted: AcceptedCounts::default(),
            progress: Arc::new(progress),
            owed: None,
            end: None,
            broken: false,
            producers: Table::default(),
            awaited: None,
        };
        Self {
            state: Mutex::new(state),
            ready: Notify::new(),
            gathered: Condvar::new(),
            called: AtomicBool::new(false),
            buffers: Buffers::default(),
        }
    }

    /// The queue of a topic with defaults.
    #[cfg(test)]
    pub(super) fn of_defaults(next_msn: Msn) -> Self {
        let batch_options = BatchOptions::default();
        let (level, batch_bytes_max, linger) = (Durability::Sync, 1 << 20, Duration::ZERO);
        let settings = Settings { level, batch_options, batch_bytes_max, linger };
        let gate = Gate::of(crate::TopicConfig::default().admission.rule(0), None);
        Self::new(Progress::behind(0, next_msn, next_msn), next_msn, settings, gate)
    }

    /// Takes other settings for what is appended from now on; a batch that is open stays as it was begun.
    pub(super) fn configure(&self, settings: Settings) {
        self.lock().settings = settings;
    }

    /// Changes the gate, told how many bytes are accepted and not yet taken.
    pub(super) fn with_gate(&self, change: impl FnOnce(&mut Gate, u64)) {
        let mut state = self.lock();
        let bytes = state.gathering.in_flight.as_ref().map_or(0, InFlight::bytes) as u64;
        let batches = state.gathering.pending.len() as u64;
        change(&mut state.gate, needed_bytes(bytes, batches));
    }

    /// Whether `end` is where the queue stands, and it gives out no MSN more.
    pub(super) fn is_final_at(&self, end: Msn) -> bool {
        let state = self.lock();
        state.next_msn == end && state.gate.is_closed_at(end)
    }

    pub(super) fn settings(&self) -> Settings {
        self.lock().settings
    }

    /// Adds one message to the open batch and gives it the next MSN. `bound` are its bytes at most.
    pub(super) fn push(
        &self,
        (message, bound): (&MessageRef<'_>, usize),
        now: Timestamp,
        level: Option<Durability>,
        admitted: Admitted<'_>,
    ) -> Result<Accepted> {
        let mut state = self.lock();
        state.check_open(1, bound)?;
        let next_msn = state.next_msn;
        let Settings { batch_options: options, batch_bytes_max, .. } = state.settings;
        let pending = &mut state.gathering.pending;
        let room = |builder: &BatchBuilder| builder.encoded_len() + bound <= batch_bytes_max;
        match pending.last_mut() {
            Some(Pending::Open { builder, .. }) if room(builder) => builder.push(message, now)?,
            _ => {
                let buffer = self.buffers.take(BUFFER_BYTES_MIN);
                let mut builder = BatchBuilder::with_buffer(buffer, options);
                builder.push(message, now)?;
                pending.push(Pending::Open { base_msn: next_msn, builder });
            }
        }
        Ok(self.accept(state, 1, level, admitted))
    }

    /// Adds a batch that its producer built, and gives it the next MSNs.
    pub(super) fn push_batch(
        &self,
        mut built: Built,
        level: Option<Durability>,
        admitted: Admitted<'_>,
    ) -> Result<Accepted> {
        let mut state = self.lock();
        let count = built.batch.header().msn_count();
        state.check_open(count, built.batch.encoded_len())?;
        built.batch.stamp(state.next_msn, NO_EPOCH);
        state.gathering.pending.push(Pending::Built(built));
        Ok(self.accept(state, count, level, admitted))
    }

    /// As [`push_batch`](Self::push_batch) for the records of a producer, unless they are stored or
    /// on their way already; answers whether they are new.
    pub(super) fn push_sequenced(
        &self,
        mut built: Built,
        records: &Sequenced,
        now: Timestamp,
        admitted: Admitted<'_>,
    ) -> Result<(Accepted, bool)> {
        let mut state = self.lock();
        if let Verdict::Stored(first) = state.producers.check(records)? {
            let msns = first..first.plus(records.count);
            let appended = state.appended(msns, state.settings.level);
            return Ok((Accepted { appended, wake: Wake::None }, false));
        }
        state.check_open(records.count, built.batch.encoded_len())?;
        let next_msn = state.next_msn;
        built.batch.stamp(next_msn, NO_EPOCH);
        state.gathering.pending.push(Pending::Built(built));
        state.producers.note(records, next_msn, now);
        Ok((self.accept(state, records.count, None, admitted), true))
    }

    /// Looks at what is known of producers, or changes it.
    pub(super) fn change_producers<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        change(&mut self.lock().producers)
    }

    /// What is known of producers below which MSN, and the run that makes it true.
    pub(super) fn producers(&self) -> (Table, Msn, Arc<Progress>) {
        let state = self.lock();
        (state.producers.clone(), state.next_msn, state.progress.clone())
    }

    fn accept(
        &self,
        mut state: MutexGuard<'_, State>,
        count: u64,
        level: Option<Durability>,
        admitted: Admitted<'_>,
    ) -> Accepted {
        let topic_level = state.settings.level;
        let level = level.unwrap_or(topic_level);
        let first = state.next_msn;
        state.next_msn = first.plus(count);
        let msns = first..state.next_msn;
        state.accepted.records += count;
        state.accepted.bytes += admitted.asked() as u64;
        let gathering = &mut state.gathering;
        let was_empty = gathering.records == 0;
        if was_empty {
            gathering.since = Some(Instant::now());
        }
        gathering.records += count;
        admitted.join(&mut gathering.in_flight);
        match level {
            Durability::Memory | Durability::Os => {}
            Durability::Interval(every) => {
                let soonest = gathering.sync_within.map_or(every, |within| within.min(every));
                gathering.sync_within = Some(soonest);
            }
            Durability::Sync => gathering.sync = true,
        }
        gathering.sync |= topic_level == Durability::Sync;
        let wake = if was_empty || state.awaited.is_some() { state.whom() } else { Wake::None };
        Accepted { appended: state.appended(msns, level), wake }
    }

    pub(super) fn wake(&self, whom: Wake) {
        match whom {
            Wake::None => {}
            Wake::Task => self.ready.notify_one(),
            Wake::Thread => self.call_thread(),
        }
    }

    fn call_thread(&self) {
        self.called.store(true, Ordering::Release);
        self.gathered.notify_one();
    }

    /// Tells the appender that there is something to take, if there is.
    pub(super) fn announce(&self) {
        let whom = self.lock().whom();
        self.wake(whom);
    }

    /// Leaves to the appender a sync that is due within some time.
    pub(super) fn owe_sync(&self, within: Duration) {
        let mut state = self.lock();
        state.owed = Some(state.owed.map_or(within, |owed| owed.min(within)));
        drop(state);
        self.call_thread();
        self.ready.notify_one();
    }

    /// Everything below `msn` is synced, whoever has done it.
    pub(super) fn advance_durable(&self, msn: Msn) {
        let progress = self.lock().progress.clone();
        progress.advance_durable(msn);
    }

    /// How soon what another than the appender has written must be synced; told once.
    pub(super) fn take_owed(&self) -> Option<Duration> {
        self.lock().owed.take()
    }

    /// Takes all that has gathered; `None` when there is nothing.
    pub(super) fn take(&self) -> Option<Group> {
        let mut state = self.lock();
        if state.gathering.records == 0 {
            return None;
        }
        let gathered = std::mem::take(&mut state.gathering);
        let is_watched = state.gate.take();
        let (next_msn, progress) = (state.next_msn, state.progress.clone());
        Some(Group { gathered, is_watched, next_msn, progress })
    }

    /// Waits until there may be something to take, or the queue was ended.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Blocks this thread until so many records have gathered, enough bytes for one write have, the
    /// queue was ended, or `until`. Answers whether it was not the time that ended it.
    pub(super) fn wait_for(&self, records: u64, until: Instant) -> bool {
        let mut state = self.lock();
        loop {
            state.awaited = None;
            if !state.is_calm() || state.has_gathered(records) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state.awaited = Some(records);
            let woken = self.gathered.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`wait_for`](Self::wait_for), for a short time: looks again and again, and lets other
    /// threads run in between.
    pub(super) fn watch_for(&self, records: u64, until: Instant) -> bool {
        loop {
            {
                let mut state = self.lock();
                state.awaited = None;
                let there = !state.is_calm() || state.has_gathered(records);
                if there || Instant::now() >= until {
                    return there;
                }
                state.awaited = Some(records);
                self.called.store(false, Ordering::Relaxed);
            }
            // Without the lock, which those who append need.
            while !self.called.load(Ordering::Acquire) && Instant::now() < until {
                yield_now();
            }
        }
    }

    /// Whether something gathers, less than what one write should take.
    pub(super) fn gathers(&self) -> bool {
        let state = self.lock();
        state.gathering.records > 0 && !state.has_gathered(u64::MAX)
    }

    /// How much was accepted since the queue was made.
    pub(super) fn accepted(&self) -> AcceptedCounts {
        self.lock().accepted
    }

    /// How many records have gathered.
    pub(super) fn records(&self) -> u64 {
        self.lock().gathering.records
    }

    /// Accepts nothing more, for this reason; what has gathered can still be taken.
    pub(super) fn end(&self, reason: Error) {
        self.lock().end.get_or_insert(reason);
        self.call_thread();
        self.ready.notify_one();
    }

    /// Accepts nothing more in any of these queues, if each stands at its MSN with nothing to take;
    /// else changes none. Answers whether it did.
    pub(super) fn end_all_at(queues: &[(&Self, Msn)], reason: &Error) -> bool {
        // Nobody else holds two of these locks.
        let mut states: Vec<_> = queues.iter().map(|(queue, msn)| (queue.lock(), *msn)).collect();
        if states.iter().any(|(state, msn)| state.next_msn != *msn || state.gathering.records > 0) {
            return false;
        }
        for (state, _) in &mut states {
            state.end.get_or_insert_with(|| reason.clone());
        }
        drop(states);
        for (queue, _) in queues {
            queue.call_thread();
            queue.ready.notify_one();
        }
        true
    }

    /// Whether nothing more is accepted.
    pub(super) fn is_ended(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Whether nothing more is accepted and all was taken.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.end.is_some() && state.gathering.records == 0
    }

    /// The failure after which nothing is written any more.
    pub(super) fn failure(&self) -> Option<Error> {
        let state = self.lock();
        state.end.clone().filter(|_| state.broken)
    }

    /// Fails the present run: all that waits is answered with `error`.
    ///
    /// With `restart_at` the next append starts a new run at that MSN; without it the queue ends.
    pub(super) fn fail(&self, error: &Error, restart_at: Option<Msn>) {
        let mut state = self.lock();
        let failed = state.progress.clone();
        // Dropped after the lock: returns the bytes in flight.
        let dropped = std::mem::take(&mut state.gathering);
        state.gate.failed();
        match restart_at {
            Some(msn) => {
                state.next_msn = msn;
                state.producers.truncate(msn);
                state.progress = Arc::new(state.progress.anew_at(msn));
            }
            None => {
                state.broken |= state.end.is_none();
                state.end.get_or_insert(error.clone());
            }
        }
        drop(state);
        drop(dropped);
        failed.fail(error.clone());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every step leaves the state whole, whoever panicked while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there is nothing to do but to take what gathers.
    fn is_calm(&self) -> bool {
        self.end.is_none() && self.owed.is_none()
    }

    /// Whether so many records have gathered, or as many bytes as one write should take.
    fn has_gathered(&self, records: u64) -> bool {
        let bytes = self.gathering.in_flight.as_ref().map_or(0, InFlight::bytes);
        self.gathering.records >= records || bytes >= WRITE_BYTES_ENOUGH
    }

    /// Whom to wake for what has gathered.
    fn whom(&mut self) -> Wake {
        match self.awaited {
            _ if self.gathering.records == 0 => Wake::None,
            None => Wake::Task,
            Some(awaited) if !self.has_gathered(awaited) => Wake::None,
            Some(_) => {
                self.awaited = None;
                Wake::Thread
            }
        }
    }

    /// What an append of these MSNs is answered.
    #[inline]
    fn appended(&self, msns: Range<Msn>, level: Durability) -> Appended {
        Appended::new(msns, ack_at(level), self.progress.clone())
    }

    /// Whether `count` more records of `bytes` are accepted.
    fn check_open(&mut self, count: u64, bytes: usize) -> Result<()> {
        if let Some(reason) = &self.end {
            return Err(reason.clone());
        }
        if self.gate.open_below.distance_from(self.next_msn) < count {
            return self.gate.ask(self.next_msn, count, bytes as u64);
        }
        Ok(())
    }
}

/// At which watermark a level is acked.
fn ack_at(level: Durability) -> AckAt {
    match level {
        Durability::Memory => AckAt::Accepted,
        Durability::Os | Durability::Interval(_) => AckAt::Written,
        Durability::Sync => AckAt::Durable,
    }
}

/// The error of every call on a log that was closed.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the log was closed")
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    fn queue() -> Queue {
        Queue::of_defaults(Msn::new(7))
    }

    async fn push(queue: &Queue) -> Result<Accepted> {
        let semaphore = Arc::new(Semaphore::new(1 << 20));
        let admitted = Admitted::of(&semaphore, 100, 1 << 20).await?;
        queue.push((&MessageRef::new(b"x"), 100), Timestamp::default(), None, admitted)
    }

    #[tokio::test]
    async fn queues_end_together_or_not_at_all() {
        let (one, other) = (queue(), queue());
        let reason = Error::new(ErrorKind::Closed, "gone");
        let at = |msn| [(&one, Msn::new(7)), (&other, Msn::new(msn))];
        assert!(!Queue::end_all_at(&at(6), &reason));
        push(&other).await.unwrap();
        assert!(!Queue::end_all_at(&at(7), &reason), "one has accepted a record since");
        assert!(!Queue::end_all_at(&at(8), &reason), "one has a record that is not written");
        push(&one).await.unwrap();
        assert!(one.take().is_some() && other.take().is_some());
        assert!(Queue::end_all_at(&[(&one, Msn::new(8)), (&other, Msn::new(8))], &reason));
        for queue in [&one, &other] {
            assert_eq!(push(queue).await.unwrap_err().kind(), ErrorKind::Closed);
        }
    }

    #[test]
    fn thread_that_watches_is_called_once_and_only_when_all_are_there() {
        let (queue, runtime) = (queue(), tokio::runtime::Runtime::new().unwrap());
        assert!(!queue.watch_for(1, Instant::now()), "nothing came in no time");
        std::thread::scope(|scope| {
            let until = Instant::now() + Duration::from_secs(30);
            let queue = &queue;
            let watching = scope.spawn(move || queue.watch_for(2, until));
            while queue.lock().awaited.is_none() {
                std::thread::yield_now();
            }
            queue.wake(Wake::Thread);
            assert_eq!(runtime.block_on(push(queue)).unwrap().wake, Wake::None);
            assert!(!watching.is_finished(), "it was called for nothing, and one is not two");
            let wake = runtime.block_on(push(queue)).unwrap().wake;
            assert_eq!(wake, Wake::Thread);
            queue.wake(wake);
            assert!(watching.join().unwrap() && Instant::now() < until);
        });
        assert_eq!(queue.records(), 2);
        assert!(queue.lock().awaited.is_none(), "who comes next is told again");
    }
}
