//! The engine: a log over a store. Opens topics, keeps them, and closes in order.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::Instrument;

use super::advice::{self, Advice};
use super::cache::BatchCache;
use super::config::{AppendOptions, LogBuilder, TopicConfig};
use super::partition::{Partition, Shared};
use super::queue::closed;
use super::read::Page;
use super::stats::LogStats;
use super::{Appended, MsgLog, SubscribeOptions, Subscription, Topic, TopicDescription};
use crate::store::{
    Access, Bounds, Capabilities, DocumentKey, Expected, MessageStore, OpenOptions, ReadLimit,
    StoreInfo, Survives, Usage,
};
use crate::{
    ConsumerName, Durability, Error, ErrorKind, Message, Msn, Result, Timestamp, TopicName,
    TopicPartition,
};

/// The folder of documents that hold the topics' configurations.
const TOPIC_DOCUMENTS: &str = "topics/";

/// A log over a store. Cheap to clone; the last clone, topic or consumer lets the store go.
///
/// Dropping it without [`close`](MsgLog::close) loses nothing that was acked at
/// [`Durability::Sync`]; appends that wait then are answered with
/// [`Closed`](ErrorKind::Closed).
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn MessageStore>,
    options: Arc<LogBuilder>,
    shared: Shared,
    opened: Instant,
    topics: RwLock<HashMap<TopicName, Topic>>,
    /// Held while the set of topics changes; true once closed.
    closed: tokio::sync::Mutex<bool>,
}

impl Log {
    /// Options with sane defaults; [`LogBuilder::open`] makes the log.
    pub fn builder() -> LogBuilder {
        LogBuilder::default()
    }

    pub(super) fn open(store: Arc<dyn MessageStore>, options: LogBuilder) -> Result<Self> {
        options.check()?;
        let capabilities = store.capabilities();
        check_level(options.durability, &capabilities)?;
        let shared = Shared {
            in_flight: Arc::new(Semaphore::new(options.in_flight_bytes_max)),
            store_batch_bytes_max: capabilities.batch_bytes_max,
            store_blocks: capabilities.calls_block,
            cache: BatchCache::new(cache_bytes(&options, &capabilities)),
        };
        let options = Arc::new(options);
        let (topics, closed) = (RwLock::default(), tokio::sync::Mutex::new(false));
        let opened = Instant::now();
        Ok(Self { inner: Arc::new(Inner { store, options, shared, opened, topics, closed }) })
    }

    /// The topic of this name; created with defaults when there is none, unless that is switched off.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a name outside the allow-list;
    /// [`NotFound`](ErrorKind::NotFound) when there is none and none is created;
    /// [`Closed`](ErrorKind::Closed); and whatever the store answers.
    pub async fn topic(&self, name: impl AsRef<str>) -> Result<Topic> {
        let name = TopicName::parse(name)?;
        match self.inner.existing(&name).await {
            Err(error) if error.kind() == ErrorKind::NotFound && self.inner.creates_topics() => {}
            found => return found,
        }
        match self.inner.create(&name, &TopicConfig::default()).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.inner.existing(&name).await
            }
            created => created,
        }
    }

    /// What the store is and where, without secrets.
    pub fn store_info(&self) -> StoreInfo {
        self.inner.store.info()
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> LogStats {
        let mut partitions: Vec<_> = self
            .inner
            .open_topics()
            .iter()
            .flat_map(Topic::partitions)
            .map(|partition| partition.counters.stats(partition.name.clone()))
            .collect();
        partitions.sort_by(|one, other| one.partition.cmp(&other.partition));
        let limit = self.inner.options.in_flight_bytes_max;
        let available = self.inner.shared.in_flight.available_permits();
        let cache = self.inner.shared.cache.stats();
        let in_flight_bytes = limit.saturating_sub(available);
        let open_for = self.inner.opened.elapsed();
        LogStats { partitions, in_flight_bytes, cache, open_for }
    }

    /// What the open topics take up in the store, by partition, sorted. Asks the store.
    ///
    /// # Errors
    ///
    /// Whatever the store answers.
    pub async fn usage(&self) -> Result<BTreeMap<TopicPartition, Usage>> {
        let mut usage = BTreeMap::new();
        for topic in self.inner.open_topics() {
            for partition in topic.partitions() {
                usage.insert(partition.name.clone(), partition.store.usage().await?);
            }
        }
        Ok(usage)
    }

    /// What the stats and the usage suggest to change, each with the figures that it rests on.
    ///
    /// Reads some of the newest records of topics that are not compressed, to see what compressing
    /// them would bring.
    ///
    /// # Errors
    ///
    /// Whatever the store answers.
    pub async fn advise(&self) -> Result<Vec<Advice>> {
        let mut advice = advice::of_stats(&self.stats(), &self.inner.options);
        advice.extend(advice::of_usage(&self.usage().await?));
        for topic in self.inner.open_topics() {
            advice.extend(advice::of_contents(&topic).await?);
        }
        Ok(advice)
    }

    async fn partition(&self, partition: &TopicPartition) -> Result<Arc<Partition>> {
        let topic = self.inner.existing(&partition.topic).await?;
        let found = topic.partition(partition.partition);
        found.cloned().map_err(|error| Error::new(ErrorKind::NotFound, error.context()))
    }
}

#[async_trait]
impl MsgLog for Log {
    async fn create_topic(&self, topic: &TopicName, config: TopicConfig) -> Result<()> {
        self.inner.create(topic, &config).await.map(drop)
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<bool> {
        self.inner.delete(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicName>> {
        self.inner.names().await
    }

    async fn describe(&self, topic: &TopicName) -> Result<TopicDescription> {
        self.inner.existing(topic).await?.describe().await
    }

    async fn append(
        &self,
        topic: &TopicName,
        message: Message,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.inner.existing(topic).await?.append_with(message, options).await
    }

    async fn append_batch(
        &self,
        topic: &TopicName,
        messages: Vec<Message>,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.inner.existing(topic).await?.append_batch_with(&messages, options).await
    }

    async fn read(&self, partition: &TopicPartition, from: Msn, limit: ReadLimit) -> Result<Page> {
        self.partition(partition).await?.read(from, limit).await
    }

    async fn subscribe(&self, partition: &TopicPartition, from: Msn) -> Result<Subscription> {
        Ok(Subscription::new(self.partition(partition).await?, from, SubscribeOptions::default()))
    }

    async fn find(&self, partition: &TopicPartition, timestamp: Timestamp) -> Result<Msn> {
        self.partition(partition).await?.find(timestamp).await
    }

    async fn bounds(&self, partition: &TopicPartition) -> Result<Bounds> {
        self.partition(partition).await?.fresh_bounds().await
    }

    async fn trim(&self, partition: &TopicPartition, before: Msn) -> Result<Msn> {
        self.partition(partition).await?.trim(before).await
    }

    async fn commit(
        &self,
        consumer: &ConsumerName,
        partition: &TopicPartition,
        msn: Msn,
    ) -> Result<()> {
        let topic = self.inner.existing(&partition.topic).await?;
        topic.consumer(consumer.as_str())?.commit(partition.partition, msn).await
    }

    async fn committed(
        &self,
        consumer: &ConsumerName,
        partition: &TopicPartition,
    ) -> Result<Option<Msn>> {
        let topic = self.inner.existing(&partition.topic).await?;
        topic.consumer(consumer.as_str())?.committed(partition.partition).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

impl Inner {
    fn creates_topics(&self) -> bool {
        self.options.create_topics && self.options.access == Access::Write
    }

    /// The topic, opening it if need be.
    async fn existing(&self, name: &TopicName) -> Result<Topic> {
        if let Some(topic) = self.open_topic(name) {
            return Ok(topic);
        }
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        if let Some(topic) = self.open_topic(name) {
            return Ok(topic);
        }
        match self.load_config(name).await? {
            Some(config) => self.open_partitions(name, config).await,
            None => Err(Error::new(ErrorKind::NotFound, format!("no topic `{name}`"))),
        }
    }

    async fn create(&self, name: &TopicName, config: &TopicConfig) -> Result<Topic> {
        if self.options.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the log was opened for reading"));
        }
        config.check()?;
        self.check_level(config)?;
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        if self.load_config(name).await?.is_some() {
            return Err(already_exists(name));
        }
        let json = serde_json::to_vec(config).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "topic configuration cannot be written")
                .with_source(cause)
        })?;
        let saved = self.store.save(&topic_key(name)?, Bytes::from(json), Expected::Absent).await;
        match saved {
            Err(error) if error.kind() == ErrorKind::Conflict => return Err(already_exists(name)),
            saved => saved?,
        };
        self.open_partitions(name, config.clone()).await
    }

    async fn delete(&self, name: &TopicName) -> Result<bool> {
        if self.options.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the log was opened for reading"));
        }
        let closed = self.closed.lock().await;
        check_not_closed(*closed)?;
        let Some(config) = self.load_config(name).await? else { return Ok(false) };
        let open = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            topics.remove(name)
        };
        for partition in open.iter().flat_map(Topic::partitions) {
            // Whoever still waits is answered; what fails to be synced here is removed anyway.
            let _ = partition.close().await;
        }
        // From the last one, so that a crash in between leaves a topic that can be deleted again.
        for partition in (0..config.partitions).rev() {
            self.store.remove(&TopicPartition::new(name.clone(), partition)).await?;
        }
        self.store.discard(&topic_key(name)?, Expected::Any).await?;
        Ok(true)
    }

    async fn names(&self) -> Result<Vec<TopicName>> {
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

    /// The stored configuration; for partitions without one, e.g. Kafka's own, the default.
    async fn load_config(&self, name: &TopicName) -> Result<Option<TopicConfig>> {
        let Some(document) = self.store.load(&topic_key(name)?).await? else {
            let partitions = self.store.partitions().await?;
            let last = partitions.iter().rfind(|partition| partition.topic == *name);
            return Ok(last.map(|last| {
                TopicConfig::default().with_partitions(last.partition.saturating_add(1))
            }));
        };
        let config: TopicConfig = serde_json::from_slice(&document.value).map_err(|cause| {
            let what = format!("configuration of topic `{name}` cannot be read");
            Error::new(ErrorKind::Corrupt, what).with_source(cause)
        })?;
        config.check().map_err(|error| error.within(format_args!("topic `{name}`")))?;
        Ok(Some(config))
    }

    /// Opens a topic's partitions and keeps it. Called with `closed` held.
    async fn open_partitions(&self, name: &TopicName, config: TopicConfig) -> Result<Topic> {
        let open = self.topics.read().unwrap_or_else(PoisonError::into_inner).len();
        if open >= self.options.topics_max {
            let why = format!("{open} topics are open, which is topics_max");
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        self.check_level(&config)?;
        let mut partitions = Vec::new();
        for number in 0..config.partitions {
            let partition = TopicPartition::new(name.clone(), number);
            let options = match self.options.access {
                Access::Read => OpenOptions::existing(),
                Access::Write => OpenOptions::or_create(),
            };
            let span = tracing::debug_span!("open", %partition);
            let store = self.store.open(&partition, options).instrument(span).await;
            let store = store.map_err(|error| error.within(format_args!("open `{partition}`")))?;
            let options = &self.options;
            partitions.push(Partition::start(partition, store, options, &config, &self.shared));
        }
        let topic = Topic::new(name.clone(), config, partitions, self.store.clone())
            .partitioned_by(self.options.partitioner.clone());
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(name.clone(), topic.clone());
        Ok(topic)
    }

    fn open_topic(&self, name: &TopicName) -> Option<Topic> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn open_topics(&self) -> Vec<Topic> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn check_level(&self, config: &TopicConfig) -> Result<()> {
        let level = config.durability.unwrap_or(self.options.durability);
        check_level(level, &self.store.capabilities())
    }

    async fn close(&self) -> Result<()> {
        let mut closed = self.closed.lock().await;
        if *closed {
            return Ok(());
        }
        let mut first_error = None;
        for topic in self.open_topics() {
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
/// nothing survives the store, which so is memory itself.
fn cache_bytes(options: &LogBuilder, capabilities: &Capabilities) -> usize {
    let pays = options.access == Access::Write && capabilities.sync_survives != Survives::None;
    if pays { options.cache_bytes } else { 0 }
}

fn topic_key(name: &TopicName) -> Result<DocumentKey> {
    DocumentKey::parse(format!("{TOPIC_DOCUMENTS}{name}"))
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
