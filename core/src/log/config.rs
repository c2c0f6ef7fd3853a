//! How a log and a single append are configured; every default is usable as it is.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{DeleteHook, Log, Partitioner};
use crate::batch::CompressionPolicy;
use crate::store::{Access, MessageStore, StoreRegistry};
use crate::{Clock, Durability, Error, ErrorKind, Result, SystemClock};

/// Between two attempts to open a place that is locked.
const LOCK_STEP: Duration = Duration::from_millis(5);

/// The least memory that a compaction works with.
const COMPACTION_MEMORY_MIN: usize = 1 << 20;

/// What a single append asks for beyond its topic's configuration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct AppendOptions {
    /// The level at which this append is acked; the topic's when `None`.
    pub durability: Option<Durability>,
    /// The partition; chosen by key, or in turn without a key, when `None`.
    pub partition: Option<u32>,
    /// How these records are compressed, in a record batch of their own; as the topic says when
    /// `None`.
    pub compression: Option<CompressionPolicy>,
}

impl AppendOptions {
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        self.compression.as_ref().map_or(Ok(()), CompressionPolicy::check)
    }

    /// Acks this append at `durability`.
    ///
    /// A level weaker than the topic's acks earlier; the record still reaches the topic's level.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Appends to this partition.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Compresses these records so, in a record batch of their own.
    #[must_use]
    pub fn with_compression(mut self, compression: impl Into<CompressionPolicy>) -> Self {
        self.compression = Some(compression.into());
        self
    }
}

/// What a log is opened with. Start from [`Log::builder`].
#[derive(Clone, Debug)]
pub struct LogBuilder {
    pub(super) access: Access,
    pub(super) batch_bytes_max: usize,
    pub(super) cache_bytes: usize,
    pub(super) clean_interval: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) compaction_bytes_per_second: Option<u64>,
    pub(super) compaction_interval: Duration,
    pub(super) compaction_memory_bytes: usize,
    pub(super) create_topics: bool,
    pub(super) delete_hooks: Vec<Arc<dyn DeleteHook>>,
    pub(super) durability: Durability,
    pub(super) hook_timeout: Duration,
    pub(super) hooks_close_timeout: Duration,
    pub(super) in_flight_bytes_max: usize,
    pub(super) latest_bytes_max: usize,
    pub(super) linger: Duration,
    pub(super) lock_wait: Duration,
    pub(super) message_bytes_max: usize,
    pub(super) partitioner: Option<Arc<dyn Partitioner>>,
    pub(super) poll_interval: Duration,
    pub(super) producer_expiry: Duration,
    pub(super) read_unacked: bool,
    pub(super) topics_max: usize,
}

impl Default for LogBuilder {
    fn default() -> Self {
        Self {
            access: Access::Write,
            batch_bytes_max: 1 << 20,
            cache_bytes: 64 << 20,
            clean_interval: Duration::from_secs(60),
            clock: Arc::new(SystemClock),
            compaction_bytes_per_second: None,
            compaction_interval: Duration::from_secs(15),
            compaction_memory_bytes: 128 << 20,
            create_topics: true,
            delete_hooks: Vec::new(),
            durability: Durability::Sync,
            hook_timeout: Duration::from_secs(60),
            hooks_close_timeout: Duration::from_secs(30),
            in_flight_bytes_max: 64 << 20,
            latest_bytes_max: 64 << 20,
            linger: Duration::ZERO,
            lock_wait: Duration::from_secs(2),
            message_bytes_max: 8 << 20,
            partitioner: None,
            poll_interval: Duration::from_millis(5),
            producer_expiry: Duration::from_secs(7 * 24 * 60 * 60),
            read_unacked: false,
            topics_max: 100_000,
        }
    }
}

impl LogBuilder {
    /// What the store was opened for; `Read` makes a log that follows a writer elsewhere.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The size up to which single appends are gathered into one record batch, in bytes (1 MiB).
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.batch_bytes_max = bytes;
        self
    }

    /// How often the topics' [`Retention`](super::Retention) is applied (60 s); zero leaves it to [`Log::clean`].
    ///
    /// The first run comes this long after opening, the next one this long after the last has ended.
    #[must_use]
    pub fn clean_interval(mut self, interval: Duration) -> Self {
        self.clean_interval = interval;
        self
    }

    /// The memory for batches that are read again, in bytes, over all topics (64 MiB); 0 for none.
    ///
    /// It serves reads of single records and several subscriptions at the end of a partition;
    /// large reads pass it by. A log opened for reading, which cannot know what its writer changes,
    /// and one over a store that is memory itself have none.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Where the time of day comes from (the operating system).
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How many bytes compaction reads and writes a second at most; as many as it can when `None`
    /// (`None`).
    #[must_use]
    pub fn compaction_bytes_per_second(mut self, bytes: Option<u64>) -> Self {
        self.compaction_bytes_per_second = bytes;
        self
    }

    /// How often the log looks whether a keyed topic is to be compacted (15 s); zero: never by
    /// itself.
    #[must_use]
    pub fn compaction_interval(mut self, interval: Duration) -> Self {
        self.compaction_interval = interval;
        self
    }

    /// The memory of a compaction, in bytes, 1 MiB or more (128 MiB).
    ///
    /// Half of it names keys, 24 bytes for each of at most three quarters of its places: as many as
    /// fit are compacted in one pass. The other half holds what is about to be written. About 8 MiB
    /// for reading come on top, and what the store itself takes.
    #[must_use]
    pub fn compaction_memory_bytes(mut self, bytes: usize) -> Self {
        self.compaction_memory_bytes = bytes;
        self
    }

    /// Whether [`Log::topic`] creates a topic that does not exist (it does).
    #[must_use]
    pub fn create_topics(mut self, create: bool) -> Self {
        self.create_topics = create;
        self
    }

    /// Shows records to `hook` before they go; one more with each call.
    #[must_use]
    pub fn delete_hook(mut self, hook: impl DeleteHook) -> Self {
        self.delete_hooks.push(Arc::new(hook));
        self
    }

    /// How long a delete hook may take for one call, before it counts as failed (60 s).
    #[must_use]
    pub fn hook_timeout(mut self, timeout: Duration) -> Self {
        self.hook_timeout = timeout;
        self
    }

    /// How long `close` waits for delete hooks that are at work, before they are dropped (30 s).
    #[must_use]
    pub fn hooks_close_timeout(mut self, timeout: Duration) -> Self {
        self.hooks_close_timeout = timeout;
        self
    }

    /// What an ack promises, for topics that do not say (`Sync`).
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How many bytes may be accepted and not yet at their level, over all topics (64 MiB).
    ///
    /// Appends wait while it is exceeded: this bounds the memory of a log.
    #[must_use]
    pub fn in_flight_bytes_max(mut self, bytes: usize) -> Self {
        self.in_flight_bytes_max = bytes;
        self
    }

    /// How many bytes the views behind [`Topic::latest`](super::Topic::latest) may take, over all
    /// topics (64 MiB).
    #[must_use]
    pub fn latest_bytes_max(mut self, bytes: usize) -> Self {
        self.latest_bytes_max = bytes;
        self
    }

    /// How long the first append of a group waits for more to gather (not at all).
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How long [`open_url`](Self::open_url) waits for another writer to let the place go (2 s); zero:
    /// not at all.
    ///
    /// A log that was just dropped without [`close`](super::MsgLog::close) lets its place go once
    /// the calls that are under way have ended.
    #[must_use]
    pub fn lock_wait(mut self, wait: Duration) -> Self {
        self.lock_wait = wait;
        self
    }

    /// The largest message with its key and headers, in bytes (8 MiB).
    #[must_use]
    pub fn message_bytes_max(mut self, bytes: usize) -> Self {
        self.message_bytes_max = bytes;
        self
    }

    /// Who chooses the partitions of messages (their keys, as with Kafka).
    #[must_use]
    pub fn partitioner(mut self, partitioner: impl Partitioner) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// How often a log opened for reading looks for what its writer has done (5 ms).
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// How long a producer that is not used is remembered (7 days).
    #[must_use]
    pub fn producer_expiry(mut self, expiry: Duration) -> Self {
        self.producer_expiry = expiry;
        self
    }

    /// Whether readers of this log see records that are written but not yet acked (they do not).
    #[must_use]
    pub fn read_unacked(mut self, read: bool) -> Self {
        self.read_unacked = read;
        self
    }

    /// How many topics may be open in this log at the same time (100,000).
    #[must_use]
    pub fn topics_max(mut self, topics: usize) -> Self {
        self.topics_max = topics;
        self
    }

    /// Opens the log over `store`, ready to use.
    ///
    /// Must be called within a tokio runtime, which then runs the log's tasks.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a limit that is zero or beyond what the store takes;
    /// [`Unsupported`](ErrorKind::Unsupported) when the store cannot keep the durability level.
    pub async fn open(self, store: Arc<dyn MessageStore>) -> Result<Log> {
        Log::open(store, self)
    }

    /// Opens the store that `url` names, for what [`access`](Self::access) says, and the log over it.
    ///
    /// # Errors
    ///
    /// As [`StoreRegistry::open`], [`Locked`](ErrorKind::Locked) only after
    /// [`lock_wait`](Self::lock_wait); and as [`open`](Self::open).
    pub async fn open_url(self, registry: &StoreRegistry, url: &str) -> Result<Log> {
        let deadline = Instant::now().checked_add(self.lock_wait);
        let in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
        let store = loop {
            match registry.open(url, self.access).await {
                Err(error) if error.kind() == ErrorKind::Locked && in_time() => {
                    tokio::time::sleep(LOCK_STEP).await;
                }
                opened => break opened?,
            }
        };
        self.open(store).await
    }

    pub(super) fn check(&self) -> Result<()> {
        let limits = [
            ("batch_bytes_max", self.batch_bytes_max),
            ("compaction_memory_bytes", self.compaction_memory_bytes),
            ("in_flight_bytes_max", self.in_flight_bytes_max),
            ("message_bytes_max", self.message_bytes_max),
            ("topics_max", self.topics_max),
        ];
        for (name, limit) in limits {
            if limit == 0 || limit > (1 << 30) {
                let why = format!("{name} of {limit} is not within 1 to {}", 1 << 30);
                return Err(Error::new(ErrorKind::Invalid, why));
            }
        }
        if self.compaction_memory_bytes < COMPACTION_MEMORY_MIN {
            let bytes = self.compaction_memory_bytes;
            let why =
                format!("compaction_memory_bytes of {bytes} is below {COMPACTION_MEMORY_MIN}");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(())
    }
}
