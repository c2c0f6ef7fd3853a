//! A topic of an open log.

mod appending;
mod reading;

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::committer::Committers;
use super::compaction::{Compacted, Job};
use super::constraints::{Gate, Rules};
use super::partition::Partition;
use super::producers::OpenProducers;
use super::topic_config::TopicConfig;
use super::{Consumer, PartitionDescription, Partitioner, Producer, TopicDescription};
use crate::store::MessageStore;
use crate::{Clock, ConsumerName, Error, ErrorKind, Msn, Result, Timestamp, TopicName};

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
    /// How often the turn among messages without a key has moved on.
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
    pub(in crate::log) fn new(
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

    pub(in crate::log) fn partitioned_by(
        mut self,
        partitioner: Option<Arc<dyn Partitioner>>,
    ) -> Self {
        self.partitioner = partitioner;
        self
    }

    /// Takes up another configuration, and the partitions that it adds. Called by one at a time.
    pub(in crate::log) fn take_up(
        &self,
        config: TopicConfig,
        rules: Rules,
        added: Vec<Arc<Partition>>,
    ) {
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
    pub(in crate::log) fn compactions(&self, forced: bool) -> Vec<Job> {
        let Some(compaction) = self.config().compaction.clone() else { return Vec::new() };
        let job = |partition: &Arc<Partition>| Job {
            partition: partition.clone(),
            store: self.inner.store.clone(),
            compaction: compaction.clone(),
            forced,
        };
        self.partitions().iter().map(job).collect()
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

    pub(in crate::log) fn open_producers(&self) -> &OpenProducers {
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
    pub(in crate::log) async fn flush_commits(&self) -> Result<()> {
        let mut first_error = None;
        for committer in self.inner.committers.open() {
            if let Err(error) = Consumer::new(self.clone(), committer).flush().await {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Trims everything, past the delete hooks.
    pub(in crate::log) async fn trim_all(&self) -> Result<()> {
        for partition in self.partitions() {
            partition.trim(Msn::MAX).await?;
        }
        Ok(())
    }

    /// Lets no consumer of this topic commit any more: it is deleted.
    pub(in crate::log) async fn end_commits(&self) {
        self.inner.committers.end().await;
    }

    pub(in crate::log) fn message_store(&self) -> &Arc<dyn MessageStore> {
        &self.inner.store
    }

    /// The time of day by the log's clock.
    pub(in crate::log) fn now(&self) -> Timestamp {
        // A topic has at least one partition.
        self.partitions().first().map(|one| one.options.clock.now()).unwrap_or_default()
    }

    /// The log's clock.
    pub(in crate::log) fn clock(&self) -> Option<&dyn Clock> {
        self.partitions().first().map(|partition| partition.options.clock.as_ref())
    }

    pub(in crate::log) fn partitions(&self) -> &[Arc<Partition>] {
        &self.inner.partitions.newest().partitions
    }

    pub(in crate::log) fn partition(&self, number: u32) -> Result<&Arc<Partition>> {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        self.partitions().get(place).ok_or_else(|| {
            let (name, count) = (&self.inner.name, self.partition_count());
            let why = format!("topic `{name}` has {count} partitions, no partition {number}");
            Error::new(ErrorKind::Invalid, why)
        })
    }
}
