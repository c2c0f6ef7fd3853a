//! The log as users hold it, built once above any [`MessageStore`](crate::store::MessageStore).
//!
//! [`MsgLog`] is the small, object-safe trait of a log: code written against it runs embedded or,
//! later, over a network. [`Log`] is the engine that implements it over a store, and carries the
//! conveniences: [`Topic`], [`Consumer`], [`Subscription`].
//!
//! # What an ack promises
//!
//! An append answers at once with its MSN and an [`Ack`], which resolves when the durability level
//! holds; awaiting it is optional. After any crash each partition recovers to a prefix of what was
//! appended that contains everything acked at [`Durability::Sync`](crate::Durability::Sync): no
//! hole, no alteration, no duplicate. Where bytes on the device were damaged, exactly the damaged
//! range is missing and is reported.
//!
//! # How an append travels
//!
//! Producers put records into the partition's queue, which gives out MSNs; one appender per
//! partition takes all that has gathered, hands it to the store in one call, syncs if anyone in the
//! group asked for it, and moves a watermark that every waiting ack looks at. While one sync runs,
//! the next group gathers: there is no timer unless a linger is set.

mod ack;
mod admission;
mod advice;
mod appender;
mod archive;
mod buffers;
mod cache;
mod cached_store;
mod clean_report;
mod cleaner;
mod commits;
mod committer;
mod compaction;
mod config;
mod constraints;
mod consumer;
mod consumers;
mod engine;
mod expiry;
mod filter;
mod find;
mod held;
mod hooks;
mod in_flight;
mod latest;
mod merged;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(all(test, shuttle))]
mod models;
mod outlines;
mod partition;
mod partitioner;
mod producers;
mod queue;
mod read;
mod retention;
mod reverse;
mod single;
mod sink;
mod stats;
mod subscribe_options;
mod subscription;
mod sync;
mod topic;
mod topic_config;
mod topics;
mod touches;
mod trimming;
mod typed;

use std::fmt::Debug;
use std::ops::Range;

use async_trait::async_trait;

pub use self::ack::{Ack, Appended};
pub use self::admission::{Admission, Refusal};
pub use self::advice::Advice;
pub use self::archive::ArchiveHook;
pub use self::cache::CacheStats;
pub use self::clean_report::{CleanReport, HeldBack, HeldBy, Trimmed};
pub use self::compaction::{Compacted, Compaction};
pub use self::config::{AppendOptions, LogBuilder};
pub use self::constraints::{ByteRange, Constraints, HeaderValue, Rate, Rule};
pub use self::consumer::{Consumer, ResetTo};
pub use self::consumers::{ConsumerLag, ConsumerStatus};
pub use self::engine::Log;
pub use self::filter::Filter;
pub use self::hooks::{DeleteHook, Deletion, HookStats};
pub use self::merged::{MergedSubscription, PartitionRecord};
#[cfg(feature = "metrics")]
pub use self::metrics::MetricsReporter;
pub use self::partitioner::{Partitioner, partition_of_key};
pub use self::producers::Producer;
pub use self::read::{BatchPage, Page};
pub use self::retention::Retention;
pub use self::single::Missing;
pub use self::sink::AppendSink;
pub use self::stats::{Counts, LatencyHistogram, LogStats, PartitionStats, Rates, SizeHistogram};
pub use self::subscribe_options::SubscribeOptions;
pub use self::subscription::{BatchSubscription, Subscription};
pub use self::topic::Topic;
pub use self::topic_config::TopicConfig;
pub use self::typed::{Decoded, TypedPage, TypedRecord, TypedSubscription, TypedTopic};
use crate::store::{Bounds, ReadLimit, Usage};
use crate::{ConsumerName, Message, Msn, Result, Timestamp, TopicName, TopicPartition};

/// An ordered, durable log of messages in topics, wherever it runs.
///
/// Object-safe and small on purpose; conveniences are on the concrete types.
#[async_trait]
pub trait MsgLog: Debug + Send + Sync + 'static {
    /// Creates a topic; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when there is one of that name;
    /// [`Invalid`](crate::ErrorKind::Invalid) for a configuration that cannot be;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for one that the store cannot keep.
    async fn create_topic(&self, topic: &TopicName, config: TopicConfig) -> Result<()>;

    /// Removes a topic with all its records and its consumers' commits; answers whether there was one.
    ///
    /// Delete hooks see what goes first; when one fails the topic stays, without what it has passed.
    async fn delete_topic(&self, topic: &TopicName) -> Result<bool>;

    /// The topics there are, sorted.
    async fn topics(&self) -> Result<Vec<TopicName>>;

    /// Replaces a topic's configuration; durable when it returns, and in force for what is appended
    /// from then on. The number of partitions may only grow.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such topic;
    /// [`Invalid`](crate::ErrorKind::Invalid) for a configuration that cannot be, or with fewer
    /// partitions; [`Unsupported`](crate::ErrorKind::Unsupported) for one that the store cannot
    /// keep; [`ReadOnly`](crate::ErrorKind::ReadOnly).
    async fn configure_topic(&self, topic: &TopicName, config: TopicConfig) -> Result<()>;

    /// A topic's configuration, and what each of its partitions holds.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such topic.
    async fn describe(&self, topic: &TopicName) -> Result<TopicDescription>;

    /// Appends one message: answers with its MSN at once, and an [`Ack`] that resolves when durable.
    ///
    /// Waits only while too many bytes are in flight. Cancelling it while it waits appends nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](crate::ErrorKind::TooLarge), [`NotFound`](crate::ErrorKind::NotFound),
    /// [`Refused`](crate::ErrorKind::Refused), its source a [`Refusal`];
    /// [`Poisoned`](crate::ErrorKind::Poisoned), [`Fenced`](crate::ErrorKind::Fenced),
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly), [`Closed`](crate::ErrorKind::Closed).
    async fn append(
        &self,
        topic: &TopicName,
        message: Message,
        options: AppendOptions,
    ) -> Result<Appended>;

    /// Appends messages to one partition, all or nothing, also across a crash.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](crate::ErrorKind::Invalid) for no message at
    /// all, or for keys that belong to different partitions.
    async fn append_batch(
        &self,
        topic: &TopicName,
        messages: Vec<Message>,
        options: AppendOptions,
    ) -> Result<Appended>;

    /// Records in order from `from`, or from the next available MSN when `from` was trimmed or lost.
    ///
    /// An empty page means that nothing is there yet; see [`Page::next_msn`].
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such partition;
    /// [`Closed`](crate::ErrorKind::Closed).
    async fn read(&self, partition: &TopicPartition, from: Msn, limit: ReadLimit) -> Result<Page>;

    /// A stream of records from `from` on, from history to live, without a gap or a repeat.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is no such partition.
    async fn subscribe(&self, partition: &TopicPartition, from: Msn) -> Result<Subscription>;

    /// The MSN of the first record at or after `timestamp`; the end of what readers see if none is.
    ///
    /// See [`Topic::find`] for what holds where the times of records fall.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    async fn find(&self, partition: &TopicPartition, timestamp: Timestamp) -> Result<Msn>;

    /// What a partition holds for readers: `next_msn` is the end of what they see.
    async fn bounds(&self, partition: &TopicPartition) -> Result<Bounds>;

    /// Drops records below `before`, as far as the store's units allow; answers the new first MSN.
    ///
    /// What is at or above `before` is never dropped. Durable when it returns. Delete hooks see what
    /// goes first, as with retention.
    async fn trim(&self, partition: &TopicPartition, before: Msn) -> Result<Msn>;

    /// States that `consumer` has done everything below `msn`; durable when it returns.
    ///
    /// Moving back changes nothing.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) when `msn` lies beyond the end.
    async fn commit(
        &self,
        consumer: &ConsumerName,
        partition: &TopicPartition,
        msn: Msn,
    ) -> Result<()>;

    /// What `consumer` has committed; `None` when it never has.
    async fn committed(
        &self,
        consumer: &ConsumerName,
        partition: &TopicPartition,
    ) -> Result<Option<Msn>>;

    /// Finishes what was accepted, makes it durable, and lets the store go. A second close is a no-op.
    async fn close(&self) -> Result<()>;
}

/// A topic as it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopicDescription {
    /// Its name.
    pub topic: TopicName,
    /// How it was configured.
    pub config: TopicConfig,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PartitionDescription {
    /// Its number.
    pub partition: u32,
    /// What readers see.
    pub bounds: Bounds,
    /// What it takes up.
    pub usage: Usage,
    /// MSN ranges that are lost to damage.
    pub holes: Vec<Range<Msn>>,
}
