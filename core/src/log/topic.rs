//! A topic of an open log, with the conveniences of appending and reading.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::committer::Committers;
use super::compaction::{Compacted, Job};
use super::config::{AppendOptions, TopicConfig};
use super::partition::Partition;
use super::partition_of_key;
use super::read::{BatchPage, Page};
use super::{
    Appended, BatchSubscription, Consumer, Missing, PartitionDescription, Subscription,
    TopicDescription,
};
use crate::store::{Bounds, MessageStore, ReadLimit};
use crate::{
    Clock, ConsumerName, Error, ErrorKind, Message, Msn, Record, Result, Timestamp, TopicName,
};

/// A topic of an open log. Cheap to clone; keeps the store open while it lives.
#[derive(Clone, Debug)]
pub struct Topic {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: TopicName,
    config: RwLock<Arc<TopicConfig>>,
    partitions: Generation,
    /// Whose turn it is among messages without a key.
    turn: AtomicU32,
    committers: Committers,
    store: Arc<dyn MessageStore>,
}

/// The partitions of a topic; when it grows, the longer list comes behind, so that looking costs no
/// lock.
#[derive(Debug)]
struct Generation {
    partitions: Vec<Arc<Partition>>,
    next: OnceLock<Box<Generation>>,
}

impl Generation {
    fn of(partitions: Vec<Arc<Partition>>) -> Self {
        Self { partitions, next: OnceLock::new() }
    }

    fn newest(&self) -> &Self {
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        newest
    }

    /// Called by one at a time.
    fn add(&self, added: Vec<Arc<Partition>>) {
        let newest = self.newest();
        let partitions = newest.partitions.iter().cloned().chain(added).collect();
        let lost = newest.next.set(Box::new(Self::of(partitions)));
        assert!(lost.is_ok(), "a topic grew from two places at a time");
    }
}

impl Topic {
    pub(super) fn new(
        name: TopicName,
        config: TopicConfig,
        partitions: Vec<Arc<Partition>>,
        store: Arc<dyn MessageStore>,
    ) -> Self {
        let (config, turn) = (RwLock::new(Arc::new(config)), AtomicU32::new(0));
        let partitions = Generation::of(partitions);
        let committers = Committers::default();
        Self { inner: Arc::new(Inner { name, config, partitions, turn, committers, store }) }
    }

    /// Takes up another configuration, and the partitions that it adds. Called by one at a time.
    pub(super) fn take_up(&self, config: TopicConfig, added: Vec<Arc<Partition>>) {
        for partition in self.partitions() {
            partition.configure(&config);
        }
        *self.inner.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        if !added.is_empty() {
            self.inner.partitions.add(added);
        }
    }

    /// Its name.
    pub fn name(&self) -> &TopicName {
        &self.inner.name
    }

    /// How it is configured now; see [`Log::configure`](super::Log::configure).
    pub fn config(&self) -> Arc<TopicConfig> {
        self.inner.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        // Within u32: a configuration has at most so many.
        u32::try_from(self.partitions().len()).unwrap_or(u32::MAX)
    }

    /// Appends one message: answers its MSN at once, and an ack that resolves when durable.
    ///
    /// A key chooses the partition as Kafka does; without one the partitions take turns. Waits only
    /// while too many bytes are in flight; cancelling it while it waits appends nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) beyond the message limit;
    /// [`Refused`](ErrorKind::Refused), its source a [`Refusal`](super::Refusal);
    /// [`Poisoned`](ErrorKind::Poisoned) and [`Fenced`](ErrorKind::Fenced) after a failure;
    /// [`ReadOnly`](ErrorKind::ReadOnly); [`Closed`](ErrorKind::Closed).
    pub async fn append(&self, message: impl Into<Message>) -> Result<Appended> {
        self.append_with(message, AppendOptions::default()).await
    }

    /// As [`append`](Self::append), with a level or partition of its own.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for a partition that is not.
    pub async fn append_with(
        &self,
        message: impl Into<Message>,
        options: AppendOptions,
    ) -> Result<Appended> {
        let message = message.into();
        self.place(&message, options)?.append(&message, options.durability).await
    }

    /// As [`append_with`](Self::append_with) from a thread that waits for the ack anyway: it writes
    /// itself unless another is at it, which spares two wake-ups.
    pub(crate) async fn append_here(
        &self,
        message: &Message,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.place(message, options)?.append_here(message, options.durability).await
    }

    /// Appends messages to one partition, all or nothing, also across a crash.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for no message at all, or
    /// for keys that belong to different partitions.
    pub async fn append_batch<M: Into<Message>>(
        &self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Appended> {
        let messages: Vec<Message> = messages.into_iter().map(Into::into).collect();
        self.append_batch_with(&messages, AppendOptions::default()).await
    }

    /// As [`append_batch`](Self::append_batch), with a level or partition of its own.
    ///
    /// # Errors
    ///
    /// As [`append_batch`](Self::append_batch).
    pub async fn append_batch_with(
        &self,
        messages: &[Message],
        options: AppendOptions,
    ) -> Result<Appended> {
        let Some(first) = messages.first() else {
            return Err(Error::new(ErrorKind::Invalid, "a batch of no messages"));
        };
        let partition = match options.partition {
            Some(partition) => partition,
            None => {
                self.check_same_partition(messages)?;
                self.choose(messages.iter().find(|message| message.key.is_some()).unwrap_or(first))
            }
        };
        self.partition(partition)?.append_batch(messages, options.durability).await
    }

    /// Records of a partition in order, from `from` or the next available MSN on.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not;
    /// [`Corrupt`](ErrorKind::Corrupt) for records that a checked batch cannot hold;
    /// [`Closed`](ErrorKind::Closed).
    pub async fn read(&self, partition: u32, from: Msn, limit: ReadLimit) -> Result<Page> {
        self.partition(partition)?.read(from, limit).await
    }

    /// The record at `msn`; `None` when readers see none there. [`read_many`](Self::read_many) says
    /// why.
    ///
    /// Costs one read of the batch that holds it, unless the batch cache has it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn record(&self, partition: u32, msn: Msn) -> Result<Option<Record>> {
        self.partition(partition)?.record(msn).await
    }

    /// A record for each of `msns`, in the order asked, or why there is none.
    ///
    /// The MSNs need not be sorted and may repeat; at most 100,000 at a time. Each batch that holds
    /// any of them is read once. The records keep no batch in memory.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); and [`TooLarge`](ErrorKind::TooLarge) for too many.
    pub async fn read_many(
        &self,
        partition: u32,
        msns: &[Msn],
    ) -> Result<Vec<std::result::Result<Record, Missing>>> {
        self.partition(partition)?.read_many(msns).await
    }

    /// A stream of a partition's records from `from` on, from history to live.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not.
    pub fn subscribe(&self, partition: u32, from: Msn) -> Result<Subscription> {
        Ok(Subscription::new(self.partition(partition)?.clone(), from))
    }

    /// As [`read`](Self::read), record batches as they are stored: the least cost.
    ///
    /// The first batch may begin before `from`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_batches(
        &self,
        partition: u32,
        from: Msn,
        limit: ReadLimit,
    ) -> Result<BatchPage> {
        self.partition(partition)?.read_batches(from, limit).await
    }

    /// As [`subscribe`](Self::subscribe), record batches as they are stored: the least cost.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_batches(&self, partition: u32, from: Msn) -> Result<BatchSubscription> {
        Ok(BatchSubscription::new(self.partition(partition)?.clone(), from))
    }

    /// The MSN of the first record at or after `timestamp`; the end of what readers see if none is.
    ///
    /// Always: the record answered is at or after `timestamp`, and the one before it is older.
    /// Where times never fall from record to record, as with
    /// [`TimestampKind::Append`](crate::batch::TimestampKind::Append) and a clock that never goes
    /// back, all before it are older, so nothing that was asked for is missed. Where times fall, a
    /// record of that time may also lie before the answer, or before the end. Costs one read of a
    /// batch where the store has an index of times, else one for each halving of the partition.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn find(&self, partition: u32, timestamp: Timestamp) -> Result<Msn> {
        self.partition(partition)?.find(timestamp).await
    }

    /// What a partition holds for readers: `next_msn` is the end of what they see.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not.
    pub async fn bounds(&self, partition: u32) -> Result<Bounds> {
        self.partition(partition)?.fresh_bounds().await
    }

    /// The end of a partition, if it is final until the topic accepts again: no append gets in any
    /// more, and readers see all that did. `None` while more may come.
    ///
    /// A log opened for reading knows it only of partitions with a limit that is reached, and by the
    /// configuration as of when it opened the topic.
    ///
    /// # Errors
    ///
    /// As [`bounds`](Self::bounds).
    pub async fn final_msn(&self, partition: u32) -> Result<Option<Msn>> {
        let admission = self.config().admission.clone();
        self.partition(partition)?.final_msn(&admission).await
    }

    /// Drops records below `before`, as far as the store's units allow; answers the new first MSN.
    ///
    /// The delete hooks of the log see them first: when one fails, what it has passed is gone and the
    /// rest stays. Whatever the topic's retention keeps may go.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not;
    /// [`ReadOnly`](ErrorKind::ReadOnly); and whatever the store answers.
    pub async fn trim(&self, partition: u32, before: Msn) -> Result<Msn> {
        self.partition(partition)?.trim(before).await
    }

    /// Compacts every partition now, however little is new: of the records that are durable, each
    /// key keeps the newest one.
    ///
    /// Runs on a thread of its own, beside appends and reads, which do not wait for it; see
    /// [`LogBuilder`](super::LogBuilder) for its memory and its speed. Dropping the future ends it
    /// soon; whatever is done then stays done.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a topic that is not keyed;
    /// [`ReadOnly`](ErrorKind::ReadOnly); [`Closed`](ErrorKind::Closed); and whatever the store
    /// answers.
    pub async fn compact(&self) -> Result<Vec<Compacted>> {
        if self.config().compaction.is_none() {
            let why =
                format!("topic `{}` is not compacted: its configuration says so", self.name());
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        let mut all = Vec::new();
        for job in self.compactions(true) {
            job.partition.check_writable()?;
            all.push(job.run().await?);
        }
        Ok(all)
    }

    /// The partitions that may have to be compacted.
    pub(super) fn compactions(&self, forced: bool) -> Vec<Job> {
        let Some(compaction) = self.config().compaction.clone() else { return Vec::new() };
        let job = |partition: &Arc<Partition>| Job {
            partition: partition.clone(),
            store: self.inner.store.clone(),
            compaction: compaction.clone(),
            forced,
        };
        self.partitions().iter().map(job).collect()
    }

    /// The newest record of a key; `None` when it has none, or its newest one is a tombstone.
    ///
    /// Sees what readers see. The first call reads the partition and keeps the newest record of
    /// each key in memory; each further one reads what has come since. Where these records take
    /// more than [`latest_bytes_max`](super::LogBuilder::latest_bytes_max), every call reads the
    /// whole partition instead.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn latest(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        let key = key.as_ref();
        let message = Message::tombstone(bytes::Bytes::copy_from_slice(key));
        self.latest_in(self.choose(&message), key).await
    }

    /// As [`latest`](Self::latest), in this partition, for keys that were appended to one of the
    /// caller's choice.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn latest_in(&self, partition: u32, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        self.partition(partition)?.latest(key.as_ref()).await
    }

    /// A named reader of this topic, with commits that survive.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a name outside the allow-list.
    pub fn consumer(&self, name: impl AsRef<str>) -> Result<Consumer> {
        let name = ConsumerName::parse(name)?;
        let committer = self.inner.committers.of(&name, self.name(), &self.inner.store)?;
        Ok(Consumer::new(self.clone(), committer))
    }

    /// Its configuration, and what each partition holds.
    ///
    /// # Errors
    ///
    /// Whatever the store answers.
    pub async fn describe(&self) -> Result<TopicDescription> {
        let mut partitions = Vec::with_capacity(self.partitions().len());
        for partition in self.partitions() {
            partitions.push(PartitionDescription {
                partition: partition.name.partition,
                bounds: partition.fresh_bounds().await?,
                usage: partition.store.usage().await?,
                holes: partition.store.holes(),
            });
        }
        let (topic, config) = (self.inner.name.clone(), self.config().as_ref().clone());
        Ok(TopicDescription { topic, config, partitions })
    }

    /// Stores every commit for later of every consumer; the first failure when there are some.
    pub(super) async fn flush_commits(&self) -> Result<()> {
        let mut first_error = None;
        for committer in self.inner.committers.open() {
            if let Err(error) = Consumer::new(self.clone(), committer).flush().await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Trims everything, past the delete hooks.
    pub(super) async fn trim_all(&self) -> Result<()> {
        for partition in self.partitions() {
            partition.trim(Msn::MAX).await?;
        }
        Ok(())
    }

    /// Lets no consumer of this topic commit any more: it is deleted.
    pub(super) async fn end_commits(&self) {
        self.inner.committers.end().await;
    }

    pub(super) fn message_store(&self) -> &Arc<dyn MessageStore> {
        &self.inner.store
    }

    /// The time of day by the log's clock.
    pub(super) fn now(&self) -> Timestamp {
        // A topic has at least one partition.
        self.partitions().first().map(|one| one.options.clock.now()).unwrap_or_default()
    }

    /// The log's clock.
    pub(super) fn clock(&self) -> Option<&dyn Clock> {
        self.partitions().first().map(|partition| partition.options.clock.as_ref())
    }

    pub(super) fn partitions(&self) -> &[Arc<Partition>] {
        &self.inner.partitions.newest().partitions
    }

    pub(super) fn partition(&self, number: u32) -> Result<&Arc<Partition>> {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.partitions().get(place).ok_or_else(|| {
            let (name, count) = (&self.inner.name, self.partition_count());
            let why = format!("topic `{name}` has {count} partitions, no partition {number}");
            Error::new(ErrorKind::Invalid, why)
        })
    }

    fn place(&self, message: &Message, options: AppendOptions) -> Result<&Arc<Partition>> {
        self.partition(options.partition.unwrap_or_else(|| self.choose(message)))
    }

    fn choose(&self, message: &Message) -> u32 {
        let count = self.partition_count();
        match &message.key {
            _ if count == 1 => 0,
            Some(key) => partition_of_key(key, count),
            None => self.inner.turn.fetch_add(1, Ordering::Relaxed) % count,
        }
    }

    fn check_same_partition(&self, messages: &[Message]) -> Result<()> {
        let count = self.partition_count();
        let mut keys = messages.iter().filter_map(|message| message.key.as_ref());
        let Some(first) = keys.next() else { return Ok(()) };
        let partition = partition_of_key(first, count);
        if keys.all(|key| partition_of_key(key, count) == partition) {
            return Ok(());
        }
        let why = "keys of a batch belong to different partitions; append a batch for each";
        Err(Error::new(ErrorKind::Invalid, why))
    }
}
