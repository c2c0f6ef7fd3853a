//! A topic of an open log, with the conveniences of appending and reading.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::committer::Committers;
use super::compaction::{Compacted, Job};
use super::config::{AppendOptions, TopicConfig};
use super::constraints::{Gate, Permit, Rules};
use super::partition::Partition;
use super::partition_of_key;
use super::producers::OpenProducers;
use super::read::{BatchPage, Page};
use super::{
    AppendSink, Appended, BatchSubscription, Consumer, Filter, MergedSubscription, Missing,
    PartitionDescription, Partitioner, Producer, SubscribeOptions, Subscription, TopicDescription,
};
use crate::store::{Bounds, MessageStore, ReadLimit};
use crate::{
    Clock, ConsumerName, Error, ErrorKind, Message, Msn, Record, Result, Timestamp, TopicName,
};

/// A topic of an open log. Cheap to clone; keeps the store open while it lives.
#[derive(Clone, Debug)]
pub struct Topic {
    inner: Arc<Inner>,
    /// Who chooses partitions instead of the key.
    partitioner: Option<Arc<dyn Partitioner>>,
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
    gate: Gate,
    producers: OpenProducers,
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
        gate: Gate,
    ) -> Self {
        let (config, turn) = (RwLock::new(Arc::new(config)), AtomicU32::new(0));
        let partitions = Generation::of(partitions);
        let committers = Committers::default();
        let producers = OpenProducers::default();
        let inner =
            Arc::new(Inner { name, config, partitions, turn, committers, store, gate, producers });
        Self { inner, partitioner: None }
    }

    /// The same topic, with partitions chosen by `partitioner` for appends through this handle and
    /// its clones.
    #[must_use]
    pub fn with_partitioner(&self, partitioner: impl Partitioner) -> Self {
        self.clone().partitioned_by(Some(Arc::new(partitioner)))
    }

    pub(super) fn partitioned_by(mut self, partitioner: Option<Arc<dyn Partitioner>>) -> Self {
        self.partitioner = partitioner;
        self
    }

    /// Takes up another configuration, and the partitions that it adds. Called by one at a time.
    pub(super) fn take_up(&self, config: TopicConfig, rules: Rules, added: Vec<Arc<Partition>>) {
        self.inner.gate.take_up(Ok(rules));
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
    /// A key chooses the partition as Kafka does, unless a [`Partitioner`] is set; without one the
    /// partitions take turns. Waits only
    /// while too many bytes are in flight; cancelling it while it waits appends nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) beyond the message limit;
    /// [`Invalid`](ErrorKind::Invalid) when it breaks a rule of the topic;
    /// [`Refused`](ErrorKind::Refused), transient when the topic's rate is used up, else with a
    /// [`Refusal`](super::Refusal) as its source;
    /// [`Poisoned`](ErrorKind::Poisoned) and [`Fenced`](ErrorKind::Fenced) after a failure;
    /// [`ReadOnly`](ErrorKind::ReadOnly); [`Closed`](ErrorKind::Closed).
    pub async fn append(&self, message: impl Into<Message>) -> Result<Appended> {
        self.append_with(message, AppendOptions::default()).await
    }

    /// As [`append`](Self::append), with a level, partition or compression of its own.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for a partition that is not.
    pub async fn append_with(
        &self,
        message: impl Into<Message>,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.append_ref(&message.into(), options).await
    }

    pub(super) async fn append_ref(
        &self,
        message: &Message,
        options: AppendOptions,
    ) -> Result<Appended> {
        let permit = self.admit(std::slice::from_ref(message))?;
        let appended = self.place(message, options)?.append(message, options).await?;
        permit.spend();
        Ok(appended)
    }

    /// A [`Sink`](futures::Sink) that appends: its flush returns when all is acked.
    pub fn sink(&self) -> AppendSink {
        self.sink_with(AppendOptions::default())
    }

    /// As [`sink`](Self::sink), with a level or partition of its own.
    pub fn sink_with(&self, options: AppendOptions) -> AppendSink {
        AppendSink::new(self.clone(), options)
    }

    /// As [`append_with`](Self::append_with) from a thread that waits for the ack anyway: it writes
    /// itself unless another is at it, which spares two wake-ups.
    pub(crate) async fn append_here(
        &self,
        message: &Message,
        options: AppendOptions,
    ) -> Result<Appended> {
        let permit = self.admit(std::slice::from_ref(message))?;
        let appended = self.place(message, options)?.append_here(message, options).await?;
        permit.spend();
        Ok(appended)
    }

    /// Appends messages to one partition, all or nothing, also across a crash.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for no message at all, or
    /// for messages that belong to different partitions.
    pub async fn append_batch<M: Into<Message>>(
        &self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Appended> {
        let messages: Vec<Message> = messages.into_iter().map(Into::into).collect();
        self.append_batch_with(&messages, AppendOptions::default()).await
    }

    /// As [`append_batch`](Self::append_batch), with a level, partition or compression of its own.
    ///
    /// # Errors
    ///
    /// As [`append_batch`](Self::append_batch).
    pub async fn append_batch_with(
        &self,
        messages: &[Message],
        options: AppendOptions,
    ) -> Result<Appended> {
        if messages.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "a batch of no messages"));
        }
        let partition = match options.partition {
            Some(partition) => partition,
            None => self.choose_for_all(messages)?,
        };
        let permit = self.admit(messages)?;
        let appended = self.partition(partition)?.append_batch(messages, options).await?;
        permit.spend();
        Ok(appended)
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
        self.subscribe_with(partition, from, SubscribeOptions::default())
    }

    /// As [`subscribe`](Self::subscribe), with a filter, or pages of one's own.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not, and for options out of range.
    pub fn subscribe_with(
        &self,
        partition: u32,
        from: Msn,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.check()?;
        Ok(Subscription::new(self.partition(partition)?.clone(), from, options))
    }

    /// A stream of all partitions' records from their beginning on, from history to live.
    ///
    /// # Errors
    ///
    /// As [`subscribe_partitions`](Self::subscribe_partitions).
    pub fn subscribe_all(&self) -> Result<MergedSubscription> {
        let all = (0..self.partition_count()).map(|partition| (partition, Msn::ZERO));
        self.subscribe_partitions(all, &SubscribeOptions::default())
    }

    /// A stream of some partitions' records, each from an MSN on, from history to live.
    ///
    /// Goes on where another one stood with its
    /// [`positions`](MergedSubscription::positions).
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not or is named twice, and for
    /// options out of range.
    pub fn subscribe_partitions(
        &self,
        positions: impl IntoIterator<Item = (u32, Msn)>,
        options: &SubscribeOptions,
    ) -> Result<MergedSubscription> {
        let mut subscriptions = Vec::new();
        for (partition, from) in positions {
            let subscription = self.subscribe_with(partition, from, options.clone())?;
            subscriptions.push((partition, subscription));
        }
        MergedSubscription::new(subscriptions)
    }

    /// As [`read`](Self::read), only the records that `filter` asks for.
    ///
    /// One read of the store of about `limit` bytes, of which the page may have no record at all;
    /// go on at [`Page::next_msn`]. Nothing more is there when that is not beyond `from`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_filtered(
        &self,
        partition: u32,
        from: Msn,
        limit: ReadLimit,
        filter: &Filter,
    ) -> Result<Page> {
        self.partition(partition)?.read_filtered(from, limit, filter).await
    }

    /// The newest records below `before`, oldest first: at most `count`, of about `limit` bytes, at
    /// least one if there is any and `count` is not 0.
    ///
    /// Empty only where nothing is below. To go on backwards, call it again with the MSN of the
    /// first record. Reads about twice the MSNs that it answers, each batch once.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_before(
        &self,
        partition: u32,
        before: Msn,
        count: usize,
        limit: ReadLimit,
    ) -> Result<Vec<Record>> {
        self.partition(partition)?.read_before(before, count, limit).await
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
        let options = SubscribeOptions::default();
        Ok(BatchSubscription::new(self.partition(partition)?.clone(), from, &options))
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

    /// A named producer of this topic, whose messages are stored once, however often they are sent.
    ///
    /// Producers of the same name that were opened before are fenced. The first one of the topic
    /// reads what was appended since the last snapshot of its producers, which is made whenever
    /// they have appended 64 MiB, and when the log is closed. A topic has at most 1,000 of them;
    /// those that were not used for
    /// [`producer_expiry`](super::LogBuilder::producer_expiry) make room for new ones, and start
    /// again at sequence 0.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a name outside the allow-list;
    /// [`TooLarge`](ErrorKind::TooLarge) beyond the limit; [`ReadOnly`](ErrorKind::ReadOnly);
    /// and whatever the store answers.
    pub async fn producer(&self, name: impl AsRef<str>) -> Result<Producer> {
        let name = ConsumerName::parse(name)?;
        Producer::open(self, name, &self.inner.store).await
    }

    pub(super) fn open_producers(&self) -> &OpenProducers {
        &self.inner.producers
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

    /// Lets messages in that keep the topic's rules.
    pub(super) fn admit(&self, messages: &[Message]) -> Result<Permit> {
        let permit = self.inner.gate.admit(messages);
        permit.map_err(|error| error.within(format_args!("topic `{}`", self.inner.name)))
    }

    fn place(&self, message: &Message, options: AppendOptions) -> Result<&Arc<Partition>> {
        self.partition(options.partition.unwrap_or_else(|| self.choose(message)))
    }

    pub(super) fn choose(&self, message: &Message) -> u32 {
        let count = self.partition_count();
        if count == 1 {
            return 0;
        }
        match self.wanted(message, count) {
            Some(partition) => partition,
            None => self.inner.turn.fetch_add(1, Ordering::Relaxed) % count,
        }
    }

    /// The partition that the message itself asks for.
    fn wanted(&self, message: &Message, count: u32) -> Option<u32> {
        match &self.partitioner {
            None => message.key.as_ref().map(|key| partition_of_key(key, count)),
            Some(partitioner) => partitioner.partition(message, count),
        }
    }

    /// The partition of a batch: the one that any of its messages asks for.
    pub(super) fn choose_for_all(&self, messages: &[Message]) -> Result<u32> {
        let count = self.partition_count();
        if count == 1 {
            return Ok(0);
        }
        let mut wanted = messages.iter().filter_map(|message| self.wanted(message, count));
        let Some(partition) = wanted.next() else {
            return Ok(self.inner.turn.fetch_add(1, Ordering::Relaxed) % count);
        };
        if wanted.all(|other| other == partition) {
            return Ok(partition);
        }
        let why = "messages of a batch belong to different partitions; append a batch for each";
        Err(Error::new(ErrorKind::Invalid, why))
    }
}
