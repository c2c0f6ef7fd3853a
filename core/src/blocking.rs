//! The log for programs without async code: the same calls, each waiting for its answer.
//!
//! A [`Log`] brings a small runtime of its own. Calling it from async code blocks a worker, and
//! panics where the runtime forbids that: use [`log`](mod@crate::log) there.

mod cleaning;
mod consumer;
mod keyed;
mod reading;

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;

use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};

pub use self::consumer::Consumer;
use crate::log::{self, Advice, LogStats, MsgLog, Page, TopicConfig, TopicDescription};
use crate::store::{Bounds, ReadLimit, StoreInfo, Usage, wait_for};
use crate::{
    AppendOptions, AsMessage, Error, ErrorKind, Msn, Record, Result, TopicName, TopicPartition,
};

/// A log whose calls wait for their answer. See [`log::Log`] for what each one promises.
#[derive(Clone, Debug)]
pub struct Log {
    runtime: Arc<Runtime>,
    log: log::Log,
}

impl Log {
    /// Starts a runtime and opens a log in it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when no thread can be started; and whatever `open`
    /// answers.
    pub fn start(open: impl Future<Output = Result<log::Log>>) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "start the runtime").with_source(cause)
        })?;
        let log = wait_for(runtime.handle(), open)?;
        Ok(Self { runtime: Arc::new(runtime), log })
    }

    /// The topic of this name; created with defaults when there is none.
    ///
    /// # Errors
    ///
    /// As [`log::Log::topic`].
    pub fn topic(&self, name: impl AsRef<str>) -> Result<Topic> {
        let topic = wait_for(self.runtime.handle(), self.log.topic(name))?;
        Ok(Topic { runtime: self.runtime.clone(), topic })
    }

    /// Creates a topic; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`MsgLog::create_topic`].
    pub fn create_topic(&self, topic: &TopicName, config: TopicConfig) -> Result<()> {
        wait_for(self.runtime.handle(), self.log.create_topic(topic, config))
    }

    /// Removes a topic with all its records; answers whether there was one.
    ///
    /// # Errors
    ///
    /// As [`MsgLog::delete_topic`].
    pub fn delete_topic(&self, topic: &TopicName) -> Result<bool> {
        wait_for(self.runtime.handle(), self.log.delete_topic(topic))
    }

    /// The topics there are, sorted.
    ///
    /// # Errors
    ///
    /// As [`MsgLog::topics`].
    pub fn topics(&self) -> Result<Vec<TopicName>> {
        wait_for(self.runtime.handle(), self.log.topics())
    }

    /// A topic's configuration, and what each of its partitions holds.
    ///
    /// # Errors
    ///
    /// As [`MsgLog::describe`].
    pub fn describe(&self, topic: &TopicName) -> Result<TopicDescription> {
        wait_for(self.runtime.handle(), self.log.describe(topic))
    }

    /// What the store is and where, without secrets.
    pub fn store_info(&self) -> StoreInfo {
        self.log.store_info()
    }

    /// What the log has done since it was opened.
    pub fn stats(&self) -> LogStats {
        self.log.stats()
    }

    /// What the open topics take up in the store.
    ///
    /// # Errors
    ///
    /// As [`log::Log::usage`].
    pub fn usage(&self) -> Result<BTreeMap<TopicPartition, Usage>> {
        wait_for(self.runtime.handle(), self.log.usage())
    }

    /// What the stats and the usage suggest to change.
    ///
    /// # Errors
    ///
    /// As [`log::Log::advise`].
    pub fn advise(&self) -> Result<Vec<Advice>> {
        wait_for(self.runtime.handle(), self.log.advise())
    }

    /// The log that this one waits for, for calls that need not wait.
    pub fn as_async(&self) -> &log::Log {
        &self.log
    }

    /// Finishes what was accepted, makes it durable, and lets the store go.
    ///
    /// # Errors
    ///
    /// As [`MsgLog::close`].
    pub fn close(&self) -> Result<()> {
        wait_for(self.runtime.handle(), self.log.close())
    }
}

/// A topic whose calls wait for their answer. See [`log::Topic`].
#[derive(Clone, Debug)]
pub struct Topic {
    runtime: Arc<Runtime>,
    topic: log::Topic,
}

impl Topic {
    /// Appends one message and answers at once; [`Appended::wait`] waits for the ack.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::append`].
    pub fn append(&self, message: impl AsMessage) -> Result<Appended> {
        self.append_with(message, AppendOptions::default())
    }

    /// As [`append`](Self::append), with a level or partition of its own.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::append_with`].
    pub fn append_with(&self, message: impl AsMessage, options: AppendOptions) -> Result<Appended> {
        let appended = wait_for(self.runtime.handle(), self.topic.append_with(message, options))?;
        Ok(Appended { runtime: self.runtime.clone(), appended })
    }

    /// Appends one message, waits for the ack, and answers the MSN.
    ///
    /// The calling thread does the writing, with all that has gathered, unless another is at it:
    /// for a lone producer that waits this spares two wake-ups of [`append`](Self::append) and
    /// [`Appended::wait`].
    ///
    /// # Errors
    ///
    /// As [`log::Topic::append_with`] and [`Appended::wait`].
    pub fn append_and_wait(&self, message: impl AsMessage, options: AppendOptions) -> Result<Msn> {
        wait_for(self.runtime.handle(), async {
            self.topic.append_here(&message.as_message(), &options).await?.ack().await
        })
    }

    /// Appends messages to one partition, all or nothing.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::append_batch_with`].
    pub fn append_batch(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Appended> {
        let appended =
            wait_for(self.runtime.handle(), self.topic.append_batch_with(messages, options))?;
        Ok(Appended { runtime: self.runtime.clone(), appended })
    }

    /// Appends messages to one partition, all or nothing, waits for the ack, and answers the first
    /// MSN. The calling thread writes, as with [`append_and_wait`](Self::append_and_wait).
    ///
    /// # Errors
    ///
    /// As [`log::Topic::append_batch_with`] and [`Appended::wait`].
    pub fn append_batch_and_wait(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Msn> {
        wait_for(self.runtime.handle(), async {
            self.topic.append_batch_here(messages, options).await?.ack().await
        })
    }

    /// Records of a partition in order, from `from` or the next available MSN on.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::read`].
    pub fn read(&self, partition: u32, from: Msn, limit: ReadLimit) -> Result<Page> {
        wait_for(self.runtime.handle(), self.topic.read(partition, from, limit))
    }

    /// An iterator over a partition's records from `from` on, which waits for more at the end.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::subscribe`].
    pub fn subscribe(&self, partition: u32, from: Msn) -> Result<Subscription> {
        let subscription = self.topic.subscribe(partition, from)?;
        Ok(Subscription { runtime: self.runtime.clone(), subscription })
    }

    /// What a partition holds for readers.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::bounds`].
    pub fn bounds(&self, partition: u32) -> Result<Bounds> {
        wait_for(self.runtime.handle(), self.topic.bounds(partition))
    }

    /// Drops records below `before`, as far as the store's units allow.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::trim`].
    pub fn trim(&self, partition: u32, before: Msn) -> Result<Msn> {
        wait_for(self.runtime.handle(), self.topic.trim(partition, before))
    }

    /// A named producer, whose messages are stored once, however often they are sent.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::producer`].
    pub fn producer(&self, name: impl AsRef<str>) -> Result<Producer> {
        let producer = wait_for(self.runtime.handle(), self.topic.producer(name))?;
        Ok(Producer { runtime: self.runtime.clone(), producer })
    }

    /// The topic that this one waits for, for calls that need not wait and for
    /// [typed values](log::Topic::typed).
    pub fn as_async(&self) -> &log::Topic {
        &self.topic
    }

    /// Its configuration, and what each partition holds.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::describe`].
    pub fn describe(&self) -> Result<TopicDescription> {
        wait_for(self.runtime.handle(), self.topic.describe())
    }

    /// States that `consumer` has done everything below `msn`; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::commit`].
    pub fn commit(&self, consumer: &str, partition: u32, msn: Msn) -> Result<()> {
        let consumer = self.topic.consumer(consumer)?;
        wait_for(self.runtime.handle(), consumer.commit(partition, msn))
    }

    /// What `consumer` committed last.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::committed`].
    pub fn committed(&self, consumer: &str, partition: u32) -> Result<Option<Msn>> {
        let consumer = self.topic.consumer(consumer)?;
        wait_for(self.runtime.handle(), consumer.committed(partition))
    }
}

/// A named producer whose calls wait for their answer. See [`log::Producer`].
#[derive(Debug)]
pub struct Producer {
    runtime: Arc<Runtime>,
    producer: log::Producer,
}

impl Producer {
    /// The sequence of the next message to this partition.
    ///
    /// # Errors
    ///
    /// As [`log::Producer::next_sequence`].
    pub fn next_sequence(&self, partition: u32) -> Result<u64> {
        self.producer.next_sequence(partition)
    }

    /// Appends the next message and answers at once; [`Appended::wait`] waits for the ack.
    ///
    /// # Errors
    ///
    /// As [`log::Producer::append`].
    pub fn append(&self, message: impl AsMessage) -> Result<Appended> {
        let appended = wait_for(self.runtime.handle(), self.producer.append(message))?;
        Ok(Appended { runtime: self.runtime.clone(), appended })
    }

    /// Appends the next messages to one partition, all or nothing.
    ///
    /// # Errors
    ///
    /// As [`log::Producer::append_batch`].
    pub fn append_batch(&self, messages: &[impl AsMessage]) -> Result<Appended> {
        let appended = wait_for(self.runtime.handle(), self.producer.append_batch(messages))?;
        Ok(Appended { runtime: self.runtime.clone(), appended })
    }

    /// Appends messages from this sequence on; stored already, they are not stored again.
    ///
    /// # Errors
    ///
    /// As [`log::Producer::append_at`].
    pub fn append_at(
        &self,
        partition: u32,
        sequence: u64,
        messages: &[impl AsMessage],
    ) -> Result<Appended> {
        let appending = self.producer.append_at(partition, sequence, messages);
        let appended = wait_for(self.runtime.handle(), appending)?;
        Ok(Appended { runtime: self.runtime.clone(), appended })
    }
}

/// An append whose ack can be waited for.
#[derive(Debug)]
#[must_use = "an append is only known to be durable once `wait` returns"]
pub struct Appended {
    runtime: Arc<Runtime>,
    appended: log::Appended,
}

impl Appended {
    /// The MSNs of the records.
    pub fn msns(&self) -> Range<Msn> {
        self.appended.msns()
    }

    /// The first MSN.
    pub fn msn(&self) -> Msn {
        self.appended.msn()
    }

    /// The partition that they are in.
    pub fn partition(&self) -> u32 {
        self.appended.partition()
    }

    /// Waits until the durability level holds, and answers the first MSN.
    ///
    /// # Errors
    ///
    /// Why the append failed, or may have failed.
    pub fn wait(self) -> Result<Msn> {
        wait_for(self.runtime.handle(), self.appended.ack())
    }
}

/// An iterator over records, from history to live. See [`log::Subscription`].
#[derive(Debug)]
pub struct Subscription {
    runtime: Arc<Runtime>,
    subscription: log::Subscription,
}

/// An iterator over record batches. See [`log::BatchSubscription`].
#[derive(Debug)]
pub struct BatchSubscription {
    runtime: Arc<Runtime>,
    subscription: log::BatchSubscription,
}

/// An iterator over the records of several partitions. See [`log::MergedSubscription`].
#[derive(Debug)]
pub struct MergedSubscription {
    runtime: Arc<Runtime>,
    subscription: log::MergedSubscription,
}

impl Iterator for Subscription {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        wait_for(self.runtime.handle(), self.subscription.next())
    }
}
