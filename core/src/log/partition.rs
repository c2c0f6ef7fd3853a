//! One partition of an open log: its store, its queue, and the end that readers see.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tracing::Instrument;

use super::ack::{Appended, Progress};
use super::admission::Gate;
use super::appender;
use super::cache::{BatchCache, PartitionCache};
use super::cached_store::CachedStore;
use super::config::{AppendOptions, LogBuilder};
use super::hooks::Hooks;
use super::in_flight::Admitted;
use super::latest::{Budget, Latest};
use super::producers::Remembered;
use super::queue::{Accepted, Batches, Built, Group, Queue, Settings, closed};
use super::stats::{PartitionCounters, PartitionStats};
use super::sync::{JoinHandle, Mutex, outcome_of, spawn};
use super::topic_config::TopicConfig;
use super::trimming::Going;
use crate::batch::{BatchBuilder, BatchOptions, CompressionPolicy, HEADER_BYTES, Producer};
use crate::store::{Access, Bounds, MessageStore, PartitionStore};
use crate::{AsMessage, Effect, Error, ErrorKind, MessageRef, Msn, Result, TopicPartition};

/// Messages at least this large get a batch of their own, built outside the queue's lock.
const OWN_BATCH_BYTES: usize = 32 << 10;

/// What readers of a partition may see.
#[derive(Clone, Copy, Debug)]
struct Visible {
    /// What the topic's level has acked, or what is written where readers asked for that.
    end: Msn,
    /// Whether the end may still rise.
    live: bool,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) name: TopicPartition,
    pub(super) store: Arc<dyn PartitionStore>,
    pub(super) cache: Arc<PartitionCache>,
    pub(super) options: Arc<LogBuilder>,
    pub(super) counters: PartitionCounters,
    /// Whether calls of the store block the thread that makes them.
    pub(super) store_blocks: bool,
    batch_bytes_max: usize,
    in_flight: Arc<Semaphore>,
    pub(super) queue: Arc<Queue>,
    visible: watch::Sender<Visible>,
    /// Held while the store is changed: by the appender and by trims, one at a time.
    pub(super) lane: tokio::sync::Mutex<()>,
    /// Held while records go, and hooks look at them.
    pub(super) going: tokio::sync::Mutex<Going>,
    pub(super) hooks: Arc<Hooks>,
    /// Held while stored records are dropped: by trims and by compaction, chunk by chunk. Taken
    /// before the lane.
    pub(super) rewriting: tokio::sync::Mutex<()>,
    /// Held by the compaction that runs.
    pub(super) compacting: Arc<tokio::sync::Mutex<()>>,
    /// Set when it is closed: a compaction stops.
    pub(super) stopping: Arc<AtomicBool>,
    /// Whether every message needs a key.
    keyed: AtomicBool,
    pub(super) latest: Latest,
    pub(super) remembered: Remembered,
    appender: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl Partition {
    /// Takes over an open store partition; for writing it starts the appender.
    pub(super) fn start(
        name: TopicPartition,
        store: Arc<dyn PartitionStore>,
        options: &Arc<LogBuilder>,
        config: &TopicConfig,
        shared: &Shared,
    ) -> Arc<Self> {
        let Bounds { next_msn, durable_msn, .. } = store.bounds();
        let settings = settings(config, options, shared.store_batch_bytes_max);
        let cache = shared.cache.of_partition();
        let store = cached(store, &cache, shared);
        let gate = Gate::of(config.admission.rule(name.partition), store.segment());
        let progress = Progress::behind(name.partition, next_msn, durable_msn);
        let partition = Arc::new(Self {
            name,
            store,
            cache,
            options: options.clone(),
            counters: PartitionCounters::default(),
            store_blocks: shared.store_blocks,
            batch_bytes_max: shared.store_batch_bytes_max,
            in_flight: shared.in_flight.clone(),
            queue: Arc::new(Queue::new(progress, next_msn, settings, gate)),
            visible: watch::Sender::new(Visible { end: next_msn, live: true }),
            lane: tokio::sync::Mutex::new(()),
            going: tokio::sync::Mutex::default(),
            hooks: shared.hooks.clone(),
            rewriting: tokio::sync::Mutex::new(()),
            compacting: Arc::default(),
            stopping: Arc::default(),
            keyed: AtomicBool::new(config.compaction.is_some()),
            latest: Latest::new(shared.latest_bytes.clone()),
            remembered: Remembered::new(shared.documents.clone()),
            appender: Mutex::new(None),
        });
        if options.access == Access::Write {
            partition.owe_sync_of_the_rest();
            let weak = Arc::downgrade(&partition);
            let running = appender::run(partition.queue.clone(), weak, partition.store_blocks);
            *partition.appender.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(spawn(running));
        }
        partition
    }

    /// Takes up another configuration of its topic, for what is appended from now on.
    pub(super) fn configure(&self, config: &TopicConfig) {
        self.keyed.store(config.compaction.is_some(), Ordering::Relaxed);
        self.queue.configure(settings(config, &self.options, self.batch_bytes_max));
        if self.options.access == Access::Write {
            self.owe_sync_of_the_rest();
        }
        let rule = config.admission.rule(self.name.partition);
        let segment = self.store.segment();
        self.queue.with_gate(|gate, gathered| gate.set(rule, segment, gathered));
    }

    /// Leaves to the appender the sync that the topic's level asks for what is stored already: an
    /// earlier life, or a lower level, has left it unsynced.
    fn owe_sync_of_the_rest(&self) {
        if self.is_dirty()
            && let Some(within) = self.queue.settings().level.sync_within()
        {
            self.queue.owe_sync(within);
        }
    }

    /// What it has done since it was opened.
    pub(super) fn stats(&self) -> PartitionStats {
        self.counters.stats(self.name.clone(), self.queue.accepted())
    }

    /// Whether a batch gathers that has room for more.
    pub(super) fn gathers(&self) -> bool {
        self.queue.gathers()
    }

    pub(super) async fn append_batch(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Appended> {
        let accepted = self.accept_batch(messages, options).await?;
        Ok(self.appended(accepted))
    }

    /// As [`append_batch`](Self::append_batch), and writes on this thread unless another is at it.
    pub(super) async fn append_batch_here(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Appended> {
        let accepted = self.accept_batch(messages, options).await?;
        Ok(self.appended_here(accepted).await)
    }

    async fn accept_batch(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Accepted> {
        self.check_writable()?;
        options.check()?;
        let mut bytes = 0;
        for message in messages {
            let message = message.as_message();
            let bound = BatchBuilder::record_bytes_bound(message);
            self.check_message(message.key.is_some(), bound)?;
            bytes += bound;
        }
        let admitted = self.admit(bytes).await?;
        let built = self.build(messages, bytes, options.compression)?;
        let accepted = self.queue.push_batch(built, options.durability, admitted);
        accepted.map_err(|error| self.named(error))
    }

    /// Gives one message its MSN, unless it has to wait until more may be in flight.
    #[inline]
    pub(super) fn accept_now(
        &self,
        message: &MessageRef<'_>,
        options: &AppendOptions,
    ) -> Result<Option<Accepted>> {
        let bytes = self.check(message, options)?;
        let limit = self.options.in_flight_bytes_max;
        match Admitted::now(&self.in_flight, bytes, limit) {
            Some(admitted) => self.push(message, bytes, options, admitted).map(Some),
            None => Ok(None),
        }
    }

    /// Gives one message its MSN as soon as so many bytes more may be in flight.
    pub(super) async fn accept(
        &self,
        message: &MessageRef<'_>,
        options: &AppendOptions,
    ) -> Result<Accepted> {
        if let Some(accepted) = self.accept_now(message, options)? {
            return Ok(accepted);
        }
        let bytes = self.check(message, options)?;
        let admitted = self.admit(bytes).await?;
        self.push(message, bytes, options, admitted)
    }

    /// How many bytes a message takes at most, if it may be appended.
    #[inline]
    fn check(&self, message: &MessageRef<'_>, options: &AppendOptions) -> Result<usize> {
        self.check_writable()?;
        options.check()?;
        let bytes = BatchBuilder::record_bytes_bound(message);
        self.check_message(message.key.is_some(), bytes)?;
        Ok(bytes)
    }

    #[inline]
    fn push(
        &self,
        message: &MessageRef<'_>,
        bytes: usize,
        options: &AppendOptions,
        admitted: Admitted<'_>,
    ) -> Result<Accepted> {
        let accepted = if bytes < OWN_BATCH_BYTES && options.compression.is_none() {
            let now = self.options.clock.now();
            self.queue.push((message, bytes), now, options.durability, admitted)
        } else {
            let built = self.build(std::slice::from_ref(message), bytes, options.compression)?;
            self.queue.push_batch(built, options.durability, admitted)
        };
        accepted.map_err(|error| self.named(error))
    }

    /// The same error, with the partition in it where it says nothing else.
    pub(super) fn named(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Refused => error.within(format_args!("append to `{}`", self.name)),
            _ => error,
        }
    }

    /// Leaves what was accepted to the appender.
    #[inline]
    pub(super) fn appended(&self, accepted: Accepted) -> Appended {
        self.queue.wake(accepted.wake);
        accepted.appended
    }

    /// Writes what was accepted on this thread, unless another is at it.
    pub(super) async fn appended_here(&self, accepted: Accepted) -> Appended {
        self.write_here().await;
        accepted.appended
    }

    fn build(
        &self,
        messages: &[impl AsMessage],
        bytes: usize,
        compression: Option<CompressionPolicy>,
    ) -> Result<Built> {
        let mut options = self.queue.settings().batch_options;
        options.compression = compression.unwrap_or(options.compression);
        self.build_with(messages, bytes, options)
    }

    /// A batch of one idempotent producer.
    pub(super) fn build_as(
        &self,
        messages: &[impl AsMessage],
        bytes: usize,
        producer: Producer,
    ) -> Result<Built> {
        let options = self.queue.settings().batch_options.with_producer(producer);
        self.build_with(messages, bytes, options)
    }

    fn build_with(
        &self,
        messages: &[impl AsMessage],
        bytes: usize,
        options: BatchOptions,
    ) -> Result<Built> {
        let now = self.options.clock.now();
        let buffer = self.queue.buffers.take(HEADER_BYTES + bytes);
        let mut builder = BatchBuilder::with_buffer(buffer, options);
        for message in messages {
            builder.push(message, now)?;
        }
        let built = Built::from(builder)?;
        let bytes = built.batch.encoded_len();
        if bytes > self.batch_bytes_max {
            let limit = self.batch_bytes_max;
            let why = format!("a batch of {bytes} bytes exceeds the store's limit of {limit}");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        Ok(built)
    }

    pub(super) async fn admit(&self, bytes: usize) -> Result<Admitted<'_>> {
        Admitted::of(&self.in_flight, bytes, self.options.in_flight_bytes_max).await
    }

    /// The largest encoded batch that the store takes.
    pub(super) fn batch_bytes_max(&self) -> usize {
        self.batch_bytes_max
    }

    #[inline]
    pub(super) fn check_message(&self, has_key: bool, bytes: usize) -> Result<()> {
        if !has_key && self.keyed.load(Ordering::Relaxed) {
            let why = "a message without a key, in a topic that is compacted by key";
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let limit = self.options.message_bytes_max;
        if bytes > limit {
            let why = format!("a message of {bytes} bytes exceeds message_bytes_max of {limit}");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.options.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the log was opened for reading"));
        }
        Ok(())
    }

    /// Writes what has gathered, and syncs as its level asks; moves the watermarks.
    pub(super) async fn write(&self) -> Result<Written> {
        let _lane = self.lane.lock().await;
        self.write_in_lane().await
    }

    /// Writes what has gathered unless another is at it, who then looks again or is told to.
    async fn write_here(&self) {
        if let Ok(lane) = self.lane.try_lock() {
            // Those who wait have been answered, also when it failed.
            let written = self.write_in_lane().await.unwrap_or_default();
            drop(lane);
            if let Some(within) = written.sync_within {
                self.queue.owe_sync(within);
            }
        }
        self.queue.announce();
    }

    async fn write_in_lane(&self) -> Result<Written> {
        let Some(mut group) = self.queue.take() else { return Ok(Written::default()) };
        if let Err(error) = self.append_group(&mut group).await {
            self.fail(&error);
            return Err(error);
        }
        let synced = group.wants_sync();
        let mut gathered = self.queue.records();
        // Whoever is acked reads what it appended: so first it becomes visible, then it is acked.
        if !synced || self.options.read_unacked {
            self.publish(group.next_msn);
        }
        group.progress.advance_written(group.next_msn);
        if synced {
            let durable = self.sync_store().await?;
            if durable < group.next_msn {
                return Err(self.broken_sync(durable, group.next_msn));
            }
            gathered = self.queue.records();
            self.publish(durable);
            group.progress.advance_durable(durable);
        }
        self.counters.finished(group.since());
        let sync_within = group.sync_within().filter(|_| !synced);
        Ok(Written { records: group.records(), gathered, synced, sync_within })
    }

    async fn append_group(&self, group: &mut Group) -> Result<()> {
        let Batches { batches, spent } = group.build().await?;
        self.counters.grouped(&batches, group.records());
        let span = tracing::debug_span!("append", partition = %self.name, batches = batches.len());
        self.store.append(batches).instrument(span).await?;
        if group.is_watched {
            let segment = self.store.segment();
            self.queue.with_gate(|gate, _| gate.written(segment));
        }
        spent.into_iter().for_each(|spent| self.queue.buffers.give_back(spent));
        Ok(())
    }

    /// A store that answers less than was appended breaks its contract: nobody waits for the rest.
    fn broken_sync(&self, durable: Msn, next_msn: Msn) -> Error {
        let why = format!("the store's sync covers MSNs below {durable}, appended was {next_msn}");
        let error = Error::new(ErrorKind::Poisoned, why).with_unknown_effect();
        self.fail(&error);
        error
    }

    /// Syncs what is written, for levels that do not wait for it.
    pub(super) async fn sync(&self) -> Result<()> {
        let _lane = self.lane.lock().await;
        let durable = self.sync_store().await?;
        self.publish(durable);
        self.queue.advance_durable(durable);
        Ok(())
    }

    /// Makes everything below `msn` durable if it is not yet; a log opened for reading cannot.
    pub(super) async fn sync_up_to(&self, msn: Msn) -> Result<()> {
        if self.options.access == Access::Read || self.store.bounds().durable_msn >= msn {
            return Ok(());
        }
        self.sync().await
    }

    async fn sync_store(&self) -> Result<Msn> {
        let started = Instant::now();
        let span = tracing::debug_span!("sync", partition = %self.name);
        let outcome = self.store.sync().instrument(span).await;
        match &outcome {
            Ok(_) => self.counters.synced(started.elapsed()),
            Err(error) => self.fail(&error.clone().with_unknown_effect()),
        }
        outcome
    }

    /// Whether something is written that no sync has covered.
    pub(super) fn is_dirty(&self) -> bool {
        let bounds = self.store.bounds();
        bounds.durable_msn < bounds.next_msn
    }

    /// Answers every append that waits with `error`, and refuses more unless nothing was changed.
    fn fail(&self, error: &Error) {
        let lasting = error.effect() == Effect::Unknown
            || matches!(
                error.kind(),
                ErrorKind::Closed | ErrorKind::Fenced | ErrorKind::Poisoned | ErrorKind::ReadOnly
            );
        tracing::error!(partition = %self.name, %error, lasting, "append failed");
        self.counters.failed();
        if !lasting {
            return self.queue.fail(error, Some(self.store.bounds().next_msn));
        }
        let kind = match error.kind() {
            kind @ (ErrorKind::Closed | ErrorKind::Fenced | ErrorKind::ReadOnly) => kind,
            _ => ErrorKind::Poisoned,
        };
        let reason =
            Error::new(kind, error.context()).with_source(error.clone()).with_unknown_effect();
        self.queue.fail(&reason, None);
    }

    fn publish(&self, end: Msn) {
        self.visible.send_if_modified(|visible| {
            let rises = end > visible.end;
            visible.end = end.max(visible.end);
            // Who begins to look now looks at the end first, and not before this is done.
            rises && self.visible.receiver_count() > 0
        });
    }

    /// What readers see.
    pub(super) fn bounds(&self) -> Bounds {
        let mut bounds = self.store.bounds();
        if self.options.access == Access::Write {
            let end = self.visible.borrow().end;
            bounds.next_msn = end.max(bounds.first_msn);
            bounds.durable_msn = bounds.durable_msn.min(bounds.next_msn);
        }
        bounds
    }

    /// As [`bounds`](Self::bounds), after looking at what a writer elsewhere has done.
    pub(super) async fn fresh_bounds(&self) -> Result<Bounds> {
        if self.options.access == Access::Read {
            return self.store.refresh().await;
        }
        Ok(self.bounds())
    }

    /// Looks for `spin` whether readers see more than `end`, letting other tasks run in between.
    pub(super) async fn grows_within(&self, spin: Duration, end: Msn) -> bool {
        if spin.is_zero() || self.options.access == Access::Read {
            return false;
        }
        let began = Instant::now();
        while self.visible.borrow().end <= end {
            if began.elapsed() >= spin || !self.visible.borrow().live {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    }

    /// Waits until readers see more than `end`; `Closed` when that will not be.
    pub(super) async fn grown_beyond(&self, end: Msn) -> Result<()> {
        let mut visible = self.visible.subscribe();
        if self.options.access == Access::Write {
            let grown = visible.wait_for(|visible| visible.end > end || !visible.live).await;
            let grown = grown.map_err(|_| closed())?;
            return if grown.end > end { Ok(()) } else { Err(closed()) };
        }
        loop {
            if self.store.refresh().await?.next_msn > end {
                return Ok(());
            }
            let closing = visible.wait_for(|visible| !visible.live);
            if tokio::time::timeout(self.options.poll_interval, closing).await.is_ok() {
                return Err(closed());
            }
        }
    }

    /// Accepts nothing more, writes and syncs what was accepted, and ends the appender.
    pub(super) async fn close(&self) -> Result<()> {
        self.stopping.store(true, Ordering::Release);
        drop(self.compacting.lock().await);
        self.queue.end(closed());
        let ended = match self.take_appender() {
            None => Ok(()),
            Some(appender) => outcome_of(appender).await,
        };
        self.visible.send_modify(|visible| visible.live = false);
        // What is closed may be removed: the store says so to whoever still reads.
        self.cache.turn_off();
        ended?;
        self.save_producers().await
    }

    /// The running appender, for whoever waits for its end.
    pub(super) fn take_appender(&self) -> Option<JoinHandle<Result<()>>> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        // Wakes the appender, which finds its partition gone and answers whoever still waits.
        self.queue.end(closed());
    }
}

fn settings(config: &TopicConfig, options: &LogBuilder, store_batch_bytes_max: usize) -> Settings {
    let batch_bytes_max = config.batch_bytes_max.and_then(|bytes| usize::try_from(bytes).ok());
    Settings {
        level: config.durability.unwrap_or(options.durability),
        batch_options: config.batch_options(),
        batch_bytes_max: batch_bytes_max
            .unwrap_or(options.batch_bytes_max)
            .min(store_batch_bytes_max),
        linger: config.linger.unwrap_or(options.linger),
    }
}

/// The store under the cache, where there is one.
fn cached(
    store: Arc<dyn PartitionStore>,
    cache: &Arc<PartitionCache>,
    shared: &Shared,
) -> Arc<dyn PartitionStore> {
    if shared.cache.is_on() {
        return Arc::new(CachedStore { inner: store, cache: cache.clone() });
    }
    store
}

/// What a turn of the appender has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// How many records it wrote.
    pub(super) records: u64,
    /// How many had gathered for the next one before these were answered.
    pub(super) gathered: u64,
    /// Whether it synced them.
    pub(super) synced: bool,
    /// How soon they must be synced, if they are not.
    pub(super) sync_within: Option<Duration>,
}

/// What all partitions of a log share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) store_batch_bytes_max: usize,
    /// Whether the store's calls are made on a thread that may wait.
    pub(super) store_blocks: bool,
    /// Where documents are.
    pub(super) documents: Arc<dyn MessageStore>,
    pub(super) hooks: Arc<Hooks>,
    /// What the views of newest records take up.
    pub(super) latest_bytes: Arc<Budget>,
    pub(super) cache: Arc<BatchCache>,
}
