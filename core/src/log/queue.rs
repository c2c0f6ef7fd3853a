//! The queue in front of a partition: gives out MSNs and gathers records until the appender comes.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::ack::{AckAt, Progress};
use crate::batch::{BatchBuilder, BatchOptions, Compression, NO_EPOCH};
use crate::{Durability, Error, ErrorKind, Message, Msn, RecordBatch, Result, Timestamp};

/// Records accepted and not yet taken by the appender, in MSN order.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Notify,
    batch_options: BatchOptions,
    batch_bytes_max: usize,
}

#[derive(Debug)]
struct State {
    next_msn: Msn,
    gathering: Gathered,
    progress: Arc<Progress>,
    /// Why nothing more is accepted.
    end: Option<Error>,
}

/// What has gathered since the appender last came.
#[derive(Debug, Default)]
struct Gathered {
    pending: Vec<Pending>,
    in_flight: Vec<InFlight>,
    records: u64,
    sync: bool,
    sync_within: Option<Duration>,
}

#[derive(Debug)]
enum Pending {
    /// Single appends of any producers, still open for more.
    Open { base_msn: Msn, builder: BatchBuilder },
    /// A batch that its producer built.
    Built(RecordBatch),
}

/// Bytes that count as in flight until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    bytes: usize,
    semaphore: Arc<Semaphore>,
}

impl InFlight {
    /// Waits until `bytes` more may be in flight; more than the limit counts as the limit.
    pub(super) async fn admit(
        semaphore: &Arc<Semaphore>,
        bytes: usize,
        limit: usize,
    ) -> Result<Self> {
        let bytes = bytes.min(limit);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = match semaphore.try_acquire_many(permits) {
            Ok(permit) => permit,
            Err(_) => semaphore.acquire_many(permits).await.map_err(|_| closed())?,
        };
        permit.forget();
        Ok(Self { bytes, semaphore: semaphore.clone() })
    }

    /// Takes over the bytes of another one.
    fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.bytes);
    }
}

/// What an append is told by the queue.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) msns: Range<Msn>,
    pub(super) progress: Arc<Progress>,
}

/// All that gathered, taken by the appender in one piece.
#[derive(Debug)]
pub(super) struct Group {
    gathered: Gathered,
    compressed: bool,
    /// The MSN after the last record of the group.
    pub(super) next_msn: Msn,
    pub(super) progress: Arc<Progress>,
}

impl Group {
    pub(super) fn records(&self) -> u64 {
        self.gathered.records
    }

    /// Whether an append of the group is acked by a sync only.
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
    pub(super) async fn build(&mut self) -> Result<Vec<RecordBatch>> {
        let pending = std::mem::take(&mut self.gathered.pending);
        let build = move || pending.into_iter().map(Pending::build).collect();
        if !self.compressed {
            return build();
        }
        let built = tokio::task::spawn_blocking(build).await;
        built.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "compression ended early").with_source(cause)
        })?
    }
}

impl Pending {
    fn build(self) -> Result<RecordBatch> {
        match self {
            Self::Built(batch) => Ok(batch),
            Self::Open { base_msn, builder } => {
                let mut batch = builder.build()?;
                batch.stamp(base_msn, NO_EPOCH);
                Ok(batch)
            }
        }
    }
}

impl Queue {
    pub(super) fn new(next_msn: Msn, batch_options: BatchOptions, batch_bytes_max: usize) -> Self {
        let state = State {
            next_msn,
            gathering: Gathered::default(),
            progress: Arc::new(Progress::starting_at(next_msn)),
            end: None,
        };
        Self { state: Mutex::new(state), ready: Notify::new(), batch_options, batch_bytes_max }
    }

    /// Adds one message to the open batch and gives it the next MSN.
    pub(super) fn push(
        &self,
        message: &Message,
        now: Timestamp,
        level: Durability,
        in_flight: InFlight,
    ) -> Result<Accepted> {
        let mut state = self.lock();
        state.check_open(1)?;
        let bound = BatchBuilder::record_bytes_bound(message);
        let next_msn = state.next_msn;
        let pending = &mut state.gathering.pending;
        let room = |builder: &BatchBuilder| builder.encoded_len() + bound <= self.batch_bytes_max;
        match pending.last_mut() {
            Some(Pending::Open { builder, .. }) if room(builder) => builder.push(message, now)?,
            _ => {
                let mut builder = BatchBuilder::new(self.batch_options);
                builder.push(message, now)?;
                pending.push(Pending::Open { base_msn: next_msn, builder });
            }
        }
        Ok(self.accept(state, 1, level, in_flight))
    }

    /// Adds a batch that its producer built, and gives it the next MSNs.
    pub(super) fn push_batch(
        &self,
        mut batch: RecordBatch,
        level: Durability,
        in_flight: InFlight,
    ) -> Result<Accepted> {
        let mut state = self.lock();
        let count = batch.header().msn_count();
        state.check_open(count)?;
        batch.stamp(state.next_msn, NO_EPOCH);
        state.gathering.pending.push(Pending::Built(batch));
        Ok(self.accept(state, count, level, in_flight))
    }

    fn accept(
        &self,
        mut state: MutexGuard<'_, State>,
        count: u64,
        level: Durability,
        in_flight: InFlight,
    ) -> Accepted {
        let first = state.next_msn;
        state.next_msn = first.plus(count);
        let msns = first..state.next_msn;
        let gathering = &mut state.gathering;
        let was_empty = gathering.records == 0;
        gathering.records += count;
        match gathering.in_flight.last_mut() {
            Some(held) => held.absorb(in_flight),
            None => gathering.in_flight.push(in_flight),
        }
        match level {
            Durability::Memory | Durability::Os => {}
            Durability::Interval(every) => {
                let soonest = gathering.sync_within.map_or(every, |within| within.min(every));
                gathering.sync_within = Some(soonest);
            }
            Durability::Sync => gathering.sync = true,
        }
        let progress = state.progress.clone();
        drop(state);
        if was_empty {
            self.ready.notify_one();
        }
        Accepted { msns, progress }
    }

    /// Takes all that has gathered; `None` when there is nothing.
    pub(super) fn take(&self) -> Option<Group> {
        let mut state = self.lock();
        if state.gathering.records == 0 {
            return None;
        }
        let gathered = std::mem::take(&mut state.gathering);
        let compressed = self.batch_options.compression != Compression::None;
        Some(Group {
            gathered,
            compressed,
            next_msn: state.next_msn,
            progress: state.progress.clone(),
        })
    }

    /// Waits until there may be something to take, or the queue was ended.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Accepts nothing more, for this reason; what has gathered can still be taken.
    pub(super) fn end(&self, reason: Error) {
        self.lock().end.get_or_insert(reason);
        self.ready.notify_one();
    }

    /// Whether nothing more is accepted and all was taken.
    pub(super) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.end.is_some() && state.gathering.records == 0
    }

    /// Fails the present run: all that waits is answered with `error`.
    ///
    /// With `restart_at` the next append starts a new run at that MSN; without it the queue ends.
    pub(super) fn fail(&self, error: &Error, restart_at: Option<Msn>) {
        let mut state = self.lock();
        let failed = state.progress.clone();
        // Dropped after the lock: returns the bytes in flight.
        let dropped = std::mem::take(&mut state.gathering);
        match restart_at {
            Some(msn) => {
                state.next_msn = msn;
                state.progress = Arc::new(Progress::starting_at(msn));
            }
            None => {
                state.end.get_or_insert(error.clone());
            }
        }
        drop(state);
        drop(dropped);
        failed.fail(error.clone());
    }

    /// Whether something waits to be taken.
    pub(super) fn has_work(&self) -> bool {
        self.lock().gathering.records > 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every step leaves the state whole, whoever panicked while holding it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether `count` more records are accepted.
    fn check_open(&self, count: u64) -> Result<()> {
        if let Some(reason) = &self.end {
            return Err(reason.clone());
        }
        if Msn::MAX.distance_from(self.next_msn) < count {
            return Err(Error::new(ErrorKind::TooLarge, "the partition has no MSNs left"));
        }
        Ok(())
    }
}

/// At which watermark a level is acked.
pub(super) fn ack_at(level: Durability) -> AckAt {
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
