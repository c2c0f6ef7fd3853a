//! The engine: a log over a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::advice::{self, Advice};
use super::cleaner::CleanerTask;
use super::config::{AppendOptions, LogBuilder};
use super::partition::Partition;
use super::read::Page;
use super::stats::LogStats;
use super::topic_config::TopicConfig;
use super::topics::Topics;
use super::{
    Appended, CleanReport, Compacted, MsgLog, SubscribeOptions, Subscription, Topic,
    TopicDescription,
};
use crate::store::{Access, Bounds, MessageStore, ReadLimit, StoreInfo, Usage};
use crate::{
    ConsumerName, Error, ErrorKind, Message, Msn, Result, Timestamp, TopicName, TopicPartition,
};

/// A log over a store. Cheap to clone; the last clone, topic or consumer lets the store go.
///
/// Dropping it without [`close`](MsgLog::close) loses nothing that was acked at
/// [`Durability::Sync`](crate::Durability::Sync); appends that wait then are answered with
/// [`Closed`](ErrorKind::Closed).
#[derive(Clone, Debug)]
pub struct Log {
    topics: Arc<Topics>,
    /// Ends with the last clone.
    _cleaner: Option<Arc<CleanerTask>>,
}

impl Log {
    /// Options with sane defaults; [`LogBuilder::open`] makes the log.
    pub fn builder() -> LogBuilder {
        LogBuilder::default()
    }

    pub(super) fn open(store: Arc<dyn MessageStore>, options: LogBuilder) -> Result<Self> {
        let cleans = options.access == Access::Write && !options.clean_interval.is_zero();
        let every = options.clean_interval;
        let topics = Arc::new(Topics::of(store, options)?);
        topics.start_schedule();
        let cleaner = cleans.then(|| Arc::new(CleanerTask::spawn(&topics, every)));
        Ok(Self { topics, _cleaner: cleaner })
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
        match self.topics.existing(&name).await {
            Err(error) if error.kind() == ErrorKind::NotFound && self.topics.creates_topics() => {}
            found => return found,
        }
        match self.topics.create(&name, &TopicConfig::default()).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.topics.existing(&name).await
            }
            created => created,
        }
    }

    /// Changes a topic's configuration: `change` gets the present one.
    ///
    /// Durable when it returns, and in force for what is appended from then on; what is stored stays
    /// as it is. The number of partitions may grow: keyed messages then go to other partitions than
    /// before. Another process follows when it opens the log anew.
    ///
    /// `change` is called again when another change came between. Answers the new configuration.
    ///
    /// # Errors
    ///
    /// As [`MsgLog::configure_topic`].
    pub async fn configure(
        &self,
        topic: impl AsRef<str>,
        change: impl FnMut(&mut TopicConfig) + Send,
    ) -> Result<TopicConfig> {
        self.topics.configure(&TopicName::parse(topic)?, change).await
    }

    /// Applies every topic's [`Retention`](super::Retention) now, as the cleaner does every
    /// [`clean_interval`](LogBuilder::clean_interval), and answers what came of it.
    ///
    /// Waits for a run that is under way, then makes its own. What fails in one topic is told in the
    /// report and does not keep the others from being cleaned. Cancelling it leaves a part undone.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly); [`Closed`](ErrorKind::Closed); and what the store answers
    /// when it is asked for topics and consumers.
    pub async fn clean(&self) -> Result<CleanReport> {
        self.topics.clean().await
    }

    /// What the last run of the cleaner came to, in the background or asked for; `None` before it.
    pub fn last_clean(&self) -> Option<Arc<CleanReport>> {
        self.topics.cleaner.last()
    }

    /// The consumers that there are, by topic, sorted; [`Topic::consumers`] says how far they are.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed); and whatever the store answers.
    pub async fn consumers(&self) -> Result<BTreeMap<TopicName, Vec<ConsumerName>>> {
        self.topics.consumers().await
    }

    /// Compacts every keyed topic now, however little is new; see [`Topic::compact`].
    ///
    /// # Errors
    ///
    /// As for [`Topic::compact`].
    pub async fn compact(&self) -> Result<Vec<(TopicName, Compacted)>> {
        let mut all = Vec::new();
        for name in self.topics.names().await? {
            let topic = self.topics.existing(&name).await?;
            if topic.config().compaction.is_some() {
                let done = topic.compact().await?;
                all.extend(done.into_iter().map(|done| (name.clone(), done)));
            }
        }
        Ok(all)
    }

    /// What the store is and where, without secrets.
    pub fn store_info(&self) -> StoreInfo {
        self.topics.store_info()
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> LogStats {
        let mut partitions: Vec<_> = self
            .topics
            .open_topics()
            .iter()
            .flat_map(Topic::partitions)
            .map(|partition| partition.stats())
            .collect();
        partitions.sort_by(|one, other| one.partition.cmp(&other.partition));
        let in_flight_bytes = self.topics.in_flight_bytes();
        let (cache, open_for) = (self.topics.cache_stats(), self.topics.open_for());
        let delete_hooks = self.topics.hooks().stats();
        LogStats { partitions, in_flight_bytes, delete_hooks, cache, open_for }
    }

    /// What the open topics take up in the store, by partition, sorted. Asks the store.
    ///
    /// # Errors
    ///
    /// Whatever the store answers.
    pub async fn usage(&self) -> Result<BTreeMap<TopicPartition, Usage>> {
        let mut usage = BTreeMap::new();
        for topic in self.topics.open_topics() {
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
        let mut advice = advice::of_stats(&self.stats(), self.topics.options());
        advice.extend(advice::of_usage(&self.usage().await?));
        for topic in self.topics.open_topics() {
            advice.extend(advice::of_contents(&topic).await?);
        }
        Ok(advice)
    }

    pub(super) async fn existing(&self, name: &TopicName) -> Result<Topic> {
        self.topics.existing(name).await
    }

    async fn partition(&self, partition: &TopicPartition) -> Result<Arc<Partition>> {
        let topic = self.topics.existing(&partition.topic).await?;
        let found = topic.partition(partition.partition);
        found.cloned().map_err(|error| Error::new(ErrorKind::NotFound, error.context()))
    }
}

#[async_trait]
impl MsgLog for Log {
    async fn create_topic(&self, topic: &TopicName, config: TopicConfig) -> Result<()> {
        self.topics.create(topic, &config).await.map(drop)
    }

    async fn delete_topic(&self, topic: &TopicName) -> Result<bool> {
        self.topics.delete(topic).await
    }

    async fn topics(&self) -> Result<Vec<TopicName>> {
        self.topics.names().await
    }

    async fn configure_topic(&self, topic: &TopicName, config: TopicConfig) -> Result<()> {
        self.topics.configure(topic, |present| present.clone_from(&config)).await.map(drop)
    }

    async fn describe(&self, topic: &TopicName) -> Result<TopicDescription> {
        self.topics.existing(topic).await?.describe().await
    }

    async fn append(
        &self,
        topic: &TopicName,
        message: Message,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.topics.existing(topic).await?.append_with(message, options).await
    }

    async fn append_batch(
        &self,
        topic: &TopicName,
        messages: Vec<Message>,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.topics.existing(topic).await?.append_batch_with(&messages, options).await
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
        let topic = self.topics.existing(&partition.topic).await?;
        topic.consumer(consumer.as_str())?.commit(partition.partition, msn).await
    }

    async fn committed(
        &self,
        consumer: &ConsumerName,
        partition: &TopicPartition,
    ) -> Result<Option<Msn>> {
        let topic = self.topics.existing(&partition.topic).await?;
        topic.consumer(consumer.as_str())?.committed(partition.partition).await
    }

    async fn close(&self) -> Result<()> {
        self.topics.close().await
    }
}
