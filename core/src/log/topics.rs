//! The topics of a log: created, configured, opened, deleted and closed in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::Topic;
use super::cache::{BatchCache, CacheStats};
use super::cleaner::Cleaner;
use super::commits::{CommitsDocument, consumers_by_topic};
use super::compaction::{Job, Schedule, state_key};
use super::config::LogBuilder;
use super::constraints::{Constraints, Gate, Rules};
use super::expiry::empty_key;
use super::hooks::Hooks;
use super::latest::Budget;
use super::partition::{Partition, Shared};
use super::producers::{registry_key, snapshot_key};
use super::queue::{Queue, closed};
use super::topic_config::TopicConfig;
use crate::store::{
    Access, Capabilities, DocumentKey, Expected, MessageStore, OpenOptions, PartitionStore,
    StoreInfo, Survives,
};
use crate::{ConsumerName, Durability, Error, ErrorKind, Msn, Result, TopicName, TopicPartition};

/// The folder of documents that hold the topics' configurations.
const TOPIC_DOCUMENTS: &str = "topics/";

/// How often a change of a configuration is tried again when another one came between.
const CONFIGURE_TRIES_MAX: usize = 100;

/// The topics of a log over a store, opened when they are first asked for.
#[derive(Debug)]
pub(super) struct Topics {
    store: Arc<dyn MessageStore>,
    options: Arc<LogBuilder>,
    shared: Shared,
    opened: Instant,
    topics: RwLock<HashMap<TopicName, Topic>>,
    pub(super) cleaner: Cleaner,
    /// Held while the set of topics changes; true once closed.
    closed: tokio::sync::Mutex<bool>,
    schedule: OnceLock<Schedule>,
}

impl Topics {
    pub(super) fn of(store: Arc<dyn MessageStore>, options: LogBuilder) -> Result<Self> {
        options.check()?;
        let capabilities = store.capabilities();
        check_level(options.durability, &capabilities)?;
        let shared = Shared {
            in_flight: Arc::new(Semaphore::new(options.in_flight_bytes_max)),
            store_batch_bytes_max: capabilities.batch_bytes_max,
            store_blocks: capabilities.calls_block,
            documents: store.clone(),
            hooks: Arc::new(Hooks::of(&options)),
            cache: BatchCache::new(cache_bytes(&options, &capabilities), capabilities.read_part),
            latest_bytes: Arc::new(Budget::of(options.latest_bytes_max)),
        };
        let options = Arc::new(options);
        let (topics, closed) = (RwLock::default(), tokio::sync::Mutex::new(false));
        let (cleaner, schedule, opened) = (Cleaner::default(), OnceLock::new(), Instant::now());
        Ok(Self { store, options, shared, opened, topics, cleaner, closed, schedule })
    }

    /// Starts what runs by itself.
    pub(super) fn start_schedule(self: &Arc<Self>) {
        let interval = self.options.compaction_interval;
        let writes = self.options.access == Access::Write;
        if writes && self.store.capabilities().replace && !interval.is_zero() {
            self.schedule.get_or_init(|| Schedule::start(self, interval));
        }
    }

    /// The partitions of open topics that may have to be compacted.
    pub(super) fn compactions(&self) -> Vec<Job> {
        let topics = self.open_topics();
        topics.iter().flat_map(|topic| topic.compactions(false)).collect()
    }

    pub(super) fn store_info(&self) -> StoreInfo {
        self.store.info()
    }

    /// How long the log has been open.
    pub(super) fn open_for(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(super) fn options(&self) -> &LogBuilder {
        &self.options
    }

    pub(super) fn cache_stats(&self) -> CacheStats {
        self.shared.cache.stats()
    }

    /// Bytes accepted and not yet at their level.
    pub(super) fn in_flight_bytes(&self) -> usize {
        let available = self.shared.in_flight.available_permits();
        self.options.in_flight_bytes_max.saturating_sub(available)
    }

    /// Whether a topic that is asked for is created.
    pub(super) fn creates_topics(&self) -> bool {
        self.options.create_topics && self.options.access == Access::Write
    }

    /// The topic, opening it if need be.
    pub(super) async fn existing(&self, name: &TopicName) -> Result<Topic> {
        if let Some(topic) = self.open_topic(name) {
            return Ok(topic);
        }
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        if let Some(topic) = self.open_topic(name) {
            return Ok(topic);
        }
        match self.load_config(name).await? {
            Some((config, _)) => self.open_partitions(name, config).await,
            None => Err(not_found(name)),
        }
    }

    pub(super) async fn create(&self, name: &TopicName, config: &TopicConfig) -> Result<Topic> {
        self.check_writable()?;
        config.check()?;
        self.check_level(config)?;
        Rules::of(&config.constraints)?;
        let mut config = config.clone();
        config.constraints.follow(&Constraints::default());
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        if self.load_config(name).await?.is_some() {
            return Err(already_exists(name));
        }
        match self.save_config(name, &config, Expected::Absent).await {
            Err(error) if error.kind() == ErrorKind::Conflict => return Err(already_exists(name)),
            saved => saved?,
        }
        self.open_partitions(name, config).await
    }

    pub(super) async fn configure(
        &self,
        name: &TopicName,
        mut change: impl FnMut(&mut TopicConfig) + Send,
    ) -> Result<TopicConfig> {
        self.check_writable()?;
        let topic = self.existing(name).await?;
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        for _ in 0..CONFIGURE_TRIES_MAX {
            let Some((present, expected)) = self.load_config(name).await? else {
                return Err(not_found(name));
            };
            let mut config = present.clone();
            change(&mut config);
            config.check()?;
            self.check_level(&config)?;
            check_growth(&present, &config)?;
            config.constraints.follow(&present.constraints);
            let rules = Rules::of(&config.constraints)?;
            match self.save_config(name, &config, expected).await {
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                saved => saved?,
            }
            let added = self.start_partitions(name, &config, topic.partition_count()).await?;
            topic.take_up(config.clone(), rules, added);
            self.cleaner.note(name, &config);
            return Ok(config);
        }
        let why = format!("topic `{name}` was configured by others {CONFIGURE_TRIES_MAX} times");
        Err(Error::new(ErrorKind::Unavailable, why))
    }

    pub(super) async fn delete(&self, name: &TopicName) -> Result<bool> {
        self.check_writable()?;
        if !self.shared.hooks.covering(name).is_empty() {
            // Most goes while others may still look for topics.
            match self.existing(name).await {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                topic => topic?.trim_all().await?,
            }
        }
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        let Some((config, _)) = self.load_config(name).await? else { return Ok(false) };
        self.remove(name, &config).await.map(|()| true)
    }

    /// Deletes a topic if every partition stands where it is said to; answers whether it did.
    pub(super) async fn delete_empty(&self, topic: &Topic, next_msns: &[Msn]) -> Result<bool> {
        let name = topic.name();
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        let Some((config, _)) = self.load_config(name).await? else { return Ok(false) };
        let queues = topic.partitions().iter().map(|partition| partition.queue.as_ref());
        let queues: Vec<_> = queues.zip(next_msns.iter().copied()).collect();
        let whole = queues.len() == topic.partitions().len();
        if !whole || !Queue::end_all_at(&queues, &expired(name)) {
            return Ok(false);
        }
        self.remove(name, &config).await.map(|()| true)
    }

    /// Removes a topic with all that belongs to it. Called with `closed` held.
    async fn remove(&self, name: &TopicName, config: &TopicConfig) -> Result<()> {
        let open = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            topics.remove(name)
        };
        for partition in open.iter().flat_map(Topic::partitions) {
            // Whoever still waits is answered; what fails to be synced here is removed anyway.
            let _ = partition.close().await;
        }
        if let Some(topic) = &open {
            if !self.shared.hooks.covering(name).is_empty() {
                topic.trim_all().await?;
            }
            topic.end_commits().await;
        }
        // Before the records: a commit that outlived them would pass over those of a new topic.
        for consumer in consumers_by_topic(&self.store).await?.remove(name).unwrap_or_default() {
            let document = CommitsDocument::of(self.store.clone(), &consumer, name)?;
            document.discard(Expected::Any).await?;
        }
        self.store.discard(&empty_key(name)?, Expected::Any).await?;
        // From the last one, so that a crash in between leaves a topic that can be deleted again.
        for partition in (0..config.partitions).rev() {
            let partition = TopicPartition::new(name.clone(), partition);
            self.store.discard(&state_key(&partition)?, Expected::Any).await?;
            self.store.discard(&snapshot_key(&partition)?, Expected::Any).await?;
            self.store.remove(&partition).await?;
        }
        self.store.discard(&registry_key(name)?, Expected::Any).await?;
        self.store.discard(&topic_key(name)?, Expected::Any).await?;
        self.cleaner.forget(name);
        Ok(())
    }

    pub(super) async fn names(&self) -> Result<Vec<TopicName>> {
        check_not_closed(*self.closed.lock().await)?;
        let mut names = Vec::new();
        for key in self.store.documents(TOPIC_DOCUMENTS).await? {
            if let Some(name) = key.as_str().strip_prefix(TOPIC_DOCUMENTS) {
                names.push(TopicName::parse(name)?);
            }
        }
        names.extend(self.store.partitions().await?.into_iter().map(|partition| partition.topic));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The consumers of every topic, by topic.
    pub(super) async fn consumers(&self) -> Result<BTreeMap<TopicName, Vec<ConsumerName>>> {
        check_not_closed(*self.closed.lock().await)?;
        consumers_by_topic(&self.store).await
    }

    /// The stored configuration; for partitions without one, e.g. Kafka's own, the default.
    pub(super) async fn load_config(
        &self,
        name: &TopicName,
    ) -> Result<Option<(TopicConfig, Expected)>> {
        let Some(document) = self.store.load(&topic_key(name)?).await? else {
            let partitions = self.store.partitions().await?;
            let last = partitions.iter().rfind(|partition| partition.topic == *name);
            return Ok(last.map(|last| {
                let partitions = last.partition.saturating_add(1);
                (TopicConfig::default().with_partitions(partitions), Expected::Absent)
            }));
        };
        let config: TopicConfig = serde_json::from_slice(&document.value).map_err(|cause| {
            let what = format!("configuration of topic `{name}` cannot be read");
            Error::new(ErrorKind::Corrupt, what).with_source(cause)
        })?;
        config.check().map_err(|error| error.within(format_args!("topic `{name}`")))?;
        Ok(Some((config, Expected::Version(document.version))))
    }

    async fn save_config(
        &self,
        name: &TopicName,
        config: &TopicConfig,
        expected: Expected,
    ) -> Result<()> {
        let json = serde_json::to_vec(config).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "topic configuration cannot be written")
                .with_source(cause)
        })?;
        self.store.save(&topic_key(name)?, Bytes::from(json), expected).await.map(drop)
    }

    /// Opens a topic's partitions and keeps it. Called with `closed` held.
    async fn open_partitions(&self, name: &TopicName, config: TopicConfig) -> Result<Topic> {
        let open = self.topics.read().unwrap_or_else(PoisonError::into_inner).len();
        if open >= self.options.topics_max {
            let why = format!("{open} topics are open, which is topics_max");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        self.check_level(&config)?;
        let partitions = self.start_partitions(name, &config, 0).await?;
        self.cleaner.note(name, &config);
        let rules = match self.options.access {
            Access::Read => Ok(Rules::default()),
            Access::Write => Rules::of(&config.constraints),
        };
        let gate = Gate::of(rules, self.options.clock.clone());
        let topic = Topic::new(name.clone(), config, partitions, self.store.clone(), gate)
            .partitioned_by(self.options.partitioner.clone());
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(name.clone(), topic.clone());
        Ok(topic)
    }

    /// Opens and starts the partitions of a topic from this number on.
    async fn start_partitions(
        &self,
        name: &TopicName,
        config: &TopicConfig,
        from: u32,
    ) -> Result<Vec<Arc<Partition>>> {
        let mut partitions = Vec::new();
        for number in from..config.partitions {
            let partition = TopicPartition::new(name.clone(), number);
            let options = match self.options.access {
                Access::Read => OpenOptions::existing(),
                Access::Write => OpenOptions::or_create(),
            };
            let span = tracing::debug_span!("open", %partition);
            let store = self.store.open(&partition, options).instrument(span).await;
            let store = store.map_err(|error| error.within(format_args!("open `{partition}`")))?;
            self.sync_what_is_found(store.as_ref(), config)
                .await
                .map_err(|error| error.within(format_args!("open `{partition}`")))?;
            let options = &self.options;
            partitions.push(Partition::start(partition, store, options, config, &self.shared));
        }
        Ok(partitions)
    }

    /// At `Sync` readers see only what is durable, also of what an earlier life has left unsynced.
    async fn sync_what_is_found(
        &self,
        store: &dyn PartitionStore,
        config: &TopicConfig,
    ) -> Result<()> {
        let level = config.durability.unwrap_or(self.options.durability);
        let bounds = store.bounds();
        if self.options.access == Access::Write
            && level == Durability::Sync
            && bounds.durable_msn < bounds.next_msn
        {
            store.sync().await?;
        }
        Ok(())
    }

    fn open_topic(&self, name: &TopicName) -> Option<Topic> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn open_topics(&self) -> Vec<Topic> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        if self.options.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the log was opened for reading"));
        }
        Ok(())
    }

    fn check_level(&self, config: &TopicConfig) -> Result<()> {
        if config.compaction.is_some() && !self.store.capabilities().replace {
            let why = "compaction needs a store that can replace stored batches";
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let level = config.durability.unwrap_or(self.options.durability);
        check_level(level, &self.store.capabilities())
    }

    pub(super) async fn check_not_closed(&self) -> Result<()> {
        check_not_closed(*self.closed.lock().await)
    }

    pub(super) fn hooks(&self) -> &Hooks {
        &self.shared.hooks
    }

    pub(super) async fn close(&self) -> Result<()> {
        // First, so that whoever waits for a hook gets on.
        self.shared.hooks.close().await;
        let mut closed = self.closed.lock().await;
        if *closed {
            return Ok(());
        }
        let mut first_error = None;
        for topic in self.open_topics() {
            if let Err(error) = topic.flush_commits().await {
                first_error.get_or_insert(error);
            }
            for partition in topic.partitions() {
                if let Err(error) = partition.close().await {
                    first_error.get_or_insert(error);
                }
            }
        }
        let store = self.store.close().await;
        // Not earlier: a close that was cancelled can be called again.
        *closed = true;
        self.topics.write().unwrap_or_else(PoisonError::into_inner).clear();
        first_error.map_or(store, Err)
    }
}

/// The budget of the batch cache: none where the store may change behind the log's back, nor where
/// it keeps everything in memory itself.
fn cache_bytes(options: &LogBuilder, capabilities: &Capabilities) -> usize {
    let pays = options.access == Access::Write && capabilities.sync_survives != Survives::None;
    if pays { options.cache_bytes } else { 0 }
}

fn topic_key(name: &TopicName) -> Result<DocumentKey> {
    DocumentKey::parse(format!("{TOPIC_DOCUMENTS}{name}"))
}

fn expired(name: &TopicName) -> Error {
    Error::new(ErrorKind::Closed, format!("topic `{name}` was empty for long and has expired"))
}

fn not_found(name: &TopicName) -> Error {
    Error::new(ErrorKind::NotFound, format!("no topic `{name}`"))
}

/// Partitions are never taken away: their records would be lost.
fn check_growth(present: &TopicConfig, config: &TopicConfig) -> Result<()> {
    if config.partitions < present.partitions {
        let (from, to) = (present.partitions, config.partitions);
        let why = format!("{from} partitions cannot become {to}: their number only grows");
        return Err(Error::new(ErrorKind::Invalid, why));
    }
    Ok(())
}

fn already_exists(name: &TopicName) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("topic `{name}` exists"))
}

fn check_not_closed(is_closed: bool) -> Result<()> {
    if is_closed { Err(closed()) } else { Ok(()) }
}

/// Refuses a level that the store's `append` cannot keep.
fn check_level(level: Durability, capabilities: &Capabilities) -> Result<()> {
    let needs_append = matches!(level, Durability::Os | Durability::Interval(_));
    if needs_append && capabilities.append_survives < Survives::Os {
        let survives = capabilities.append_survives;
        let why = format!(
            "durability `{level}` needs a store whose append survives the process; \
             this one's survives {survives:?}"
        );
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    Ok(())
}
