//! Appending to a topic: the rules, the partition, one message or a batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Topic;
use crate::log::constraints::Permit;
use crate::log::partition::Partition;
use crate::log::{AppendOptions, AppendSink, Appended, partition_of_key};
use crate::{AsMessage, Error, ErrorKind, MessageRef, Result};

impl Topic {
    /// Appends one message: answers its MSN at once, and an ack that resolves when durable.
    ///
    /// Bytes or text are the payload of a message that has nothing else. Borrowed ones are taken as
    /// they are: the message is encoded within the call.
    ///
    /// A key chooses the partition as Kafka does, unless a [`Partitioner`](crate::log::Partitioner)
    /// is set; without a key the partitions take turns, batch by batch. Waits only while too many
    /// bytes are in flight; cancelling it while it waits appends nothing.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) beyond the message limit;
    /// [`Invalid`](ErrorKind::Invalid) when it breaks a rule of the topic;
    /// [`Refused`](ErrorKind::Refused), transient when the topic's rate is used up, else with a
    /// [`Refusal`](crate::log::Refusal) as its source;
    /// [`Poisoned`](ErrorKind::Poisoned) and [`Fenced`](ErrorKind::Fenced) after a failure;
    /// [`ReadOnly`](ErrorKind::ReadOnly); [`Closed`](ErrorKind::Closed).
    pub async fn append(&self, message: impl AsMessage) -> Result<Appended> {
        self.append_ref(&message.as_message(), &AppendOptions::default()).await
    }

    /// As [`append`](Self::append), with a level, partition or compression of its own.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for a partition that is not.
    pub async fn append_with(
        &self,
        message: impl AsMessage,
        options: AppendOptions,
    ) -> Result<Appended> {
        self.append_ref(&message.as_message(), &options).await
    }

    #[expect(clippy::manual_async_fn, reason = "an `async fn` moves its arguments once more")]
    pub(in crate::log) fn append_ref<'a>(
        &'a self,
        message: &'a MessageRef<'a>,
        options: &'a AppendOptions,
    ) -> impl Future<Output = Result<Appended>> + Send + 'a {
        async move {
            // A producer that never waits must let the other tasks of its worker run now and then.
            tokio::task::coop::consume_budget().await;
            let permit = self.admit(std::slice::from_ref(message))?;
            let partition = self.place(message, options)?;
            // By itself, though `accept` begins with it: a lone producer would pay for the future.
            let accepted = match partition.accept_now(message, options)? {
                Some(accepted) => accepted,
                None => partition.accept(message, options).await?,
            };
            permit.spend();
            Ok(partition.appended(accepted))
        }
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
        message: &MessageRef<'_>,
        options: &AppendOptions,
    ) -> Result<Appended> {
        let permit = self.admit(std::slice::from_ref(message))?;
        let partition = self.place(message, options)?;
        let accepted = partition.accept(message, options).await?;
        permit.spend();
        Ok(partition.appended_here(accepted).await)
    }

    /// Appends messages to one partition, all or nothing, also across a crash.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for no message at all, or
    /// for messages that belong to different partitions.
    pub async fn append_batch<M: AsMessage>(
        &self,
        messages: impl IntoIterator<Item = M>,
    ) -> Result<Appended> {
        let messages: Vec<M> = messages.into_iter().collect();
        self.append_batch_with(&messages, AppendOptions::default()).await
    }

    /// As [`append_batch`](Self::append_batch), with a level, partition or compression of its own.
    ///
    /// # Errors
    ///
    /// As [`append_batch`](Self::append_batch).
    pub async fn append_batch_with(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Appended> {
        let (permit, partition) = self.admit_batch(messages, options)?;
        let appended = partition.append_batch(messages, options).await?;
        permit.spend();
        Ok(appended)
    }

    /// As [`append_batch_with`](Self::append_batch_with) from a thread that waits for the ack anyway;
    /// see [`append_here`](Self::append_here).
    pub(crate) async fn append_batch_here(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<Appended> {
        let (permit, partition) = self.admit_batch(messages, options)?;
        let appended = partition.append_batch_here(messages, options).await?;
        permit.spend();
        Ok(appended)
    }

    fn admit_batch(
        &self,
        messages: &[impl AsMessage],
        options: AppendOptions,
    ) -> Result<(Permit, &Arc<Partition>)> {
        if messages.is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "a batch of no messages"));
        }
        let partition = match options.partition {
            Some(partition) => partition,
            None => self.choose_for_all(messages)?,
        };
        Ok((self.admit(messages)?, self.partition(partition)?))
    }

    /// Lets messages in that keep the topic's rules.
    #[inline]
    pub(in crate::log) fn admit(&self, messages: &[impl AsMessage]) -> Result<Permit> {
        let permit = self.inner.gate.admit(messages);
        permit.map_err(|error| error.within(format_args!("topic `{}`", self.inner.name)))
    }

    #[inline]
    fn place(&self, message: &MessageRef<'_>, options: &AppendOptions) -> Result<&Arc<Partition>> {
        self.partition(options.partition.unwrap_or_else(|| self.choose(message)))
    }

    #[inline]
    pub(in crate::log) fn choose(&self, message: &MessageRef<'_>) -> u32 {
        let count = self.partition_count();
        if count == 1 {
            return 0;
        }
        match self.wanted(*message, count) {
            Some(partition) => partition,
            None => self.turn(count),
        }
    }

    /// The partition of a message without a key: the one that the last went to as long as a batch
    /// gathers there, else the next, so that pipelined messages share batches.
    fn turn(&self, count: u32) -> u32 {
        let next = self.inner.turn.load(Ordering::Relaxed);
        if let Some(last) = next.checked_sub(1).map(|last| last % count)
            && self.partition(last).is_ok_and(|partition| partition.gathers())
        {
            return last;
        }
        self.inner.turn.fetch_add(1, Ordering::Relaxed) % count
    }

    /// The partition that the message itself asks for.
    fn wanted(&self, message: MessageRef<'_>, count: u32) -> Option<u32> {
        match &self.partitioner {
            None => message.key.map(|key| partition_of_key(key, count)),
            Some(partitioner) => partitioner.partition(message, count),
        }
    }

    /// The partition of a batch: the one that any of its messages asks for.
    pub(in crate::log) fn choose_for_all(&self, messages: &[impl AsMessage]) -> Result<u32> {
        let count = self.partition_count();
        if count == 1 {
            return Ok(0);
        }
        let mut wanted =
            messages.iter().filter_map(|message| self.wanted(message.as_message(), count));
        let Some(partition) = wanted.next() else {
            return Ok(self.turn(count));
        };
        if wanted.all(|other| other == partition) {
            return Ok(partition);
        }
        let why = "messages of a batch belong to different partitions; append a batch for each";
        Err(Error::new(ErrorKind::Invalid, why))
    }
}
