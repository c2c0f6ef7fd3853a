//! Idempotent producers: what is sent again is stored once.
//!
//! A producer numbers its messages, partition by partition, from 0 on without a gap; each append
//! says the sequence of its first message, in the fields that Kafka's record batch has for that. The
//! partition remembers how far it has stored each producer's messages: an append that comes again
//! answers the MSN that it got the first time, one that leaves messages out is refused. Opening a
//! producer raises its epoch, and older ones of the same name are fenced.

mod partition;
mod registry;
mod snapshot;
mod table;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

pub(super) use self::partition::Remembered;
pub(super) use self::registry::key as registry_key;
pub(super) use self::snapshot::key as snapshot_key;
pub(super) use self::table::{Sequenced, Table, Verdict};
use super::{Appended, Topic};
use crate::store::MessageStore;
use crate::{AsMessage, ConsumerName, Error, ErrorKind, Result, Timestamp};

/// A named producer of a topic, whose messages are stored once, however often they are sent.
///
/// Its messages are counted partition by partition: the first one has sequence 0. After a crash, or
/// an append whose outcome is not known, open it again under its name: [`next_sequence`] says how
/// many of its messages are stored, and so where to go on.
///
/// Every append is a batch of its own, 61 bytes and more: give many messages to
/// [`append_batch`](Self::append_batch).
///
/// [`next_sequence`]: Self::next_sequence
pub struct Producer {
    topic: Topic,
    name: ConsumerName,
    id: i64,
    epoch: i16,
    /// By partition, the sequence of the next message; locked while it is handed over.
    next: Mutex<BTreeMap<u32, Arc<tokio::sync::Mutex<u64>>>>,
    /// Tells the topic that it is in use.
    _alive: Arc<()>,
}

/// The producers of a topic that are or were open in this process.
#[derive(Debug, Default)]
pub(super) struct OpenProducers(Mutex<HashMap<i64, (i16, Weak<()>)>>);

impl OpenProducers {
    fn epoch(&self, id: i64) -> Option<i16> {
        self.lock().get(&id).map(|(epoch, _)| *epoch)
    }

    fn is_alive(&self, id: i64) -> bool {
        self.lock().get(&id).is_some_and(|(_, alive)| alive.strong_count() > 0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, (i16, Weak<()>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Producer {
    /// Opens a producer of a topic under the next epoch.
    pub(super) async fn open(
        topic: &Topic,
        name: ConsumerName,
        store: &Arc<dyn MessageStore>,
    ) -> Result<Self> {
        for partition in topic.partitions() {
            partition.check_writable()?;
            partition.load_producers().await?;
        }
        let Some(first) = topic.partitions().first() else {
            return Err(Error::new(ErrorKind::Closed, "the topic has no partition"));
        };
        let (now, expiry) = (first.options.clock.now(), first.options.producer_expiry);
        let expiry = i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_millis(now.as_millis().saturating_sub(expiry));
        let open = topic.open_producers();
        let last_seen = |id: i64| {
            let seen = |partition: &Arc<super::partition::Partition>| {
                partition.with_producers(|table| table.seen(id))
            };
            if open.is_alive(id) {
                Some(now)
            } else {
                topic.partitions().iter().filter_map(seen).max()
            }
        };
        let registered =
            registry::register(store, (topic.name(), name.as_str()), (now, oldest), last_seen)
                .await?;
        let (named, alive) = (registered.named, Arc::new(()));
        let mut next = BTreeMap::new();
        for partition in topic.partitions() {
            for id in &registered.expired {
                partition.with_producers(|table| table.forget(*id));
            }
            let sequence = partition.fence(named.id, named.epoch);
            next.insert(partition.name.partition, Arc::new(tokio::sync::Mutex::new(sequence)));
        }
        let mut epochs = open.lock();
        let newest = epochs.entry(named.id).or_insert((named.epoch, Weak::new()));
        if newest.0 <= named.epoch {
            *newest = (named.epoch, Arc::downgrade(&alive));
        }
        drop(epochs);
        Ok(Self {
            topic: topic.clone(),
            name,
            id: named.id,
            epoch: named.epoch,
            next: Mutex::new(next),
            _alive: alive,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its id, which the batches carry.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Its epoch: how often it was opened before.
    pub fn epoch(&self) -> i16 {
        self.epoch
    }

    /// The sequence of the next message to this partition: how many of this producer's messages it
    /// has accepted. Right after opening, so many are stored.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not.
    pub fn next_sequence(&self, partition: u32) -> Result<u64> {
        Ok(self.topic.partition(partition)?.next_sequence(self.id))
    }

    /// Appends the next message of this producer: answers its MSN at once, and an ack.
    ///
    /// A key chooses the partition; without one the partitions take turns. Acked at the topic's
    /// level.
    ///
    /// # Errors
    ///
    /// As [`append_at`](Self::append_at). After a refused append the ones behind it are refused
    /// with [`Conflict`](ErrorKind::Conflict), so that order is kept: go on with
    /// [`append_at`](Self::append_at) from [`next_sequence`](Self::next_sequence) on.
    pub async fn append(&self, message: impl AsMessage) -> Result<Appended> {
        let message = message.as_message();
        let partition = self.topic.choose(&message);
        self.send(partition, None, std::slice::from_ref(&message)).await
    }

    /// Appends the next messages of this producer to one partition, all or nothing.
    ///
    /// # Errors
    ///
    /// As [`append`](Self::append); and [`Invalid`](ErrorKind::Invalid) for no message at all, or
    /// for keys that belong to different partitions.
    pub async fn append_batch(&self, messages: &[impl AsMessage]) -> Result<Appended> {
        if messages.is_empty() {
            return Err(no_message());
        }
        self.send(self.topic.choose_for_all(messages)?, None, messages).await
    }

    /// Appends messages of which the first one has this sequence; stored already, they are not
    /// stored again, and the answer is their MSNs.
    ///
    /// Cancelling it while it waits appends nothing.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) when messages in front of them are missing, or only some of
    /// them are stored: see [`next_sequence`](Self::next_sequence);
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) when they are stored, but too many others of
    /// other producers came behind to say where; [`Fenced`](ErrorKind::Fenced) once a producer of
    /// the same name was opened after this one; and as [`Topic::append`].
    pub async fn append_at(
        &self,
        partition: u32,
        sequence: u64,
        messages: &[impl AsMessage],
    ) -> Result<Appended> {
        self.send(partition, Some(sequence), messages).await
    }

    async fn send(
        &self,
        number: u32,
        sequence: Option<u64>,
        messages: &[impl AsMessage],
    ) -> Result<Appended> {
        if messages.is_empty() {
            return Err(no_message());
        }
        if self.topic.open_producers().epoch(self.id).is_some_and(|newest| newest > self.epoch) {
            let why = format!("producer `{}` was opened again", self.name);
            return Err(Error::new(ErrorKind::Fenced, why));
        }
        let partition = self.topic.partition(number)?;
        let turn = self.turn(number).await?;
        let mut next = turn.lock().await;
        let sequence = sequence.unwrap_or(*next);
        let (id, epoch, count) = (self.id, self.epoch, messages.len() as u64);
        let records = Sequenced { id, epoch, sequence, count };
        let permit = self.topic.admit(messages)?;
        let appended = partition.append_sequenced(messages, &records).await;
        let appended =
            appended.map_err(|error| error.within(format_args!("producer `{}`", self.name)))?;
        permit.spend();
        *next = (*next).max(sequence + count);
        Ok(appended)
    }

    /// The place of a partition in the order of this producer's appends; it may be a new one.
    async fn turn(&self, number: u32) -> Result<Arc<tokio::sync::Mutex<u64>>> {
        if let Some(turn) = self.lock().get(&number) {
            return Ok(turn.clone());
        }
        let partition = self.topic.partition(number)?;
        partition.load_producers().await?;
        let sequence = partition.fence(self.id, self.epoch);
        let turn = || Arc::new(tokio::sync::Mutex::new(sequence));
        Ok(self.lock().entry(number).or_insert_with(turn).clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<tokio::sync::Mutex<u64>>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", self.topic.name())
            .field("name", &self.name)
            .field("id", &self.id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

fn no_message() -> Error {
    Error::new(ErrorKind::Invalid, "an append of no messages")
}
