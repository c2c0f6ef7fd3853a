//! Consumers: named readers whose commits survive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::committer::{Committer, Touch};
use super::{ConsumerStatus, Subscription, Topic};
use crate::{ConsumerName, Error, ErrorKind, Msn, Result, Timestamp};

/// How soon a commit for later is stored.
const LATER: Duration = Duration::from_millis(100);

/// The stored time of a consumer is renewed when it is older, also by a commit that moves nothing.
const TOUCH_AFTER_MAX: Duration = Duration::from_secs(60);

/// A named reader of a topic: `commit(msn)` states that everything below is done.
///
/// Cheap to clone. All handles of one name in one log share their writes: commits that come while
/// one is stored are stored together by the next.
#[derive(Clone, Debug)]
pub struct Consumer {
    topic: Topic,
    committer: Arc<Committer>,
}

/// Where a consumer is set to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ResetTo {
    /// The oldest record that is there.
    Start,
    /// Behind the newest record that readers see.
    End,
    /// This MSN, at most the end.
    Msn(Msn),
    /// The first record at or after this time, or the end.
    Timestamp(Timestamp),
}

impl Consumer {
    pub(super) fn new(topic: Topic, committer: Arc<Committer>) -> Self {
        Self { topic, committer }
    }

    /// Its name.
    pub fn name(&self) -> &ConsumerName {
        &self.committer.name
    }

    /// States that everything below `msn` is done; durable when it returns. Never moves back.
    ///
    /// What is below is synced first, whatever the topic's level: a commit that outlives its
    /// records would pass over those that get their MSNs next. A log opened for reading cannot
    /// sync; there commit only what its writer has acked at `Sync`. Many commits at the same time
    /// cost few writes. After an error, or when it is cancelled, the commit may be stored with a
    /// later one.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when `msn` lies beyond what readers see, or for a partition
    /// that is not; [`Closed`](ErrorKind::Closed) when the topic was deleted; and whatever the
    /// store answers.
    pub async fn commit(&self, partition: u32, msn: Msn) -> Result<()> {
        self.check_within(partition, msn).await?;
        self.topic.partition(partition)?.sync_up_to(msn).await?;
        let write = self.committer.state(partition, msn);
        self.store(write).await
    }

    /// As [`commit`](Self::commit), without waiting: it is stored within about 100 ms, with all
    /// others that come until then.
    ///
    /// Durable once [`flush`](Self::flush) or the log's `close` has returned. When the process ends
    /// before, the consumer reads some records again. A failure is told by `flush` and `close`, and
    /// until then it is tried again with every commit for later. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit), but for what storing it comes to.
    pub async fn commit_later(&self, partition: u32, msn: Msn) -> Result<()> {
        self.check_within(partition, msn).await?;
        if self.committer.state_later(partition, msn) {
            let consumer = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LATER).await;
                let flushed = consumer.flush().await;
                // The topic or the log may be gone by now, and what was noted with it.
                if let Some(error) = flushed.err().filter(|e| e.kind() != ErrorKind::Closed) {
                    let (consumer, topic) = (consumer.name(), consumer.topic.name());
                    tracing::warn!(%consumer, %topic, %error, "commit for later failed");
                }
            });
        }
        Ok(())
    }

    /// Stores every commit for later of this consumer; durable when it returns.
    ///
    /// # Errors
    ///
    /// Whatever the store answers; what failed is kept and tried again.
    pub async fn flush(&self) -> Result<()> {
        let mut first_error = None;
        for (partition, msn) in self.committer.noted() {
            match self.topic.partition(partition)?.sync_up_to(msn).await {
                Ok(()) => self.committer.settle(partition, msn),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        if let Some(write) = self.committer.unstored() {
            self.store(write).await?;
        }
        first_error.map_or(Ok(()), Err)
    }

    /// What was committed last; `None` when nothing ever was.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when the stored commits cannot be read; and whatever the
    /// store answers.
    pub async fn committed(&self, partition: u32) -> Result<Option<Msn>> {
        self.topic.partition(partition)?;
        let commits = self.committer.load().await?.unwrap_or_default();
        Ok(commits.partitions.get(&partition).copied())
    }

    /// A stream that starts where the last commit left off, or at the beginning.
    ///
    /// # Errors
    ///
    /// As [`committed`](Self::committed).
    pub async fn subscribe(&self, partition: u32) -> Result<Subscription> {
        let from = self.committed(partition).await?.unwrap_or(Msn::ZERO);
        self.topic.subscribe(partition, from)
    }

    /// How far it is in every partition, and how far that is from the end.
    ///
    /// # Errors
    ///
    /// As [`committed`](Self::committed).
    pub async fn status(&self) -> Result<ConsumerStatus> {
        let commits = self.committer.load().await?.unwrap_or_default();
        ConsumerStatus::of(self.name().clone(), &self.topic, &commits).await
    }

    /// How many records it has still to do, over all partitions.
    ///
    /// # Errors
    ///
    /// As [`committed`](Self::committed).
    pub async fn lag(&self) -> Result<u64> {
        Ok(self.status().await?.lag())
    }

    /// Sets what is committed in a partition, forwards or back; answers the MSN. Durable when it
    /// returns.
    ///
    /// This alone moves a consumer back. Commits that were stated before count as older; a
    /// subscription that runs does not jump.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit); and as [`Topic::find`] for a time.
    pub async fn reset(&self, partition: u32, to: ResetTo) -> Result<Msn> {
        let msn = self.place_of(partition, to).await?;
        self.committer.reset(&BTreeMap::from([(partition, msn)]), self.topic.now()).await?;
        Ok(msn)
    }

    /// As [`reset`](Self::reset), all partitions at once: all of them or none, also across a crash.
    ///
    /// # Errors
    ///
    /// As [`reset`](Self::reset).
    pub async fn reset_all(&self, to: ResetTo) -> Result<BTreeMap<u32, Msn>> {
        let mut places = BTreeMap::new();
        for partition in 0..self.topic.partition_count() {
            places.insert(partition, self.place_of(partition, to).await?);
        }
        self.committer.reset(&places, self.topic.now()).await?;
        Ok(places)
    }

    /// Says that the consumer lives, so that it does not expire; see
    /// [`Retention::consumers_expire`](super::Retention::consumers_expire).
    ///
    /// It becomes a consumer of the topic that has committed nothing yet, if it was none.
    ///
    /// # Errors
    ///
    /// Whatever the store answers.
    pub async fn touch(&self) -> Result<()> {
        self.committer.touch(self.topic.now()).await
    }

    /// Forgets what it has committed in the topic: retention waits for it no longer. Answers whether
    /// there was anything. The next commit makes it a consumer again.
    ///
    /// # Errors
    ///
    /// Whatever the store answers.
    pub async fn delete(&self) -> Result<bool> {
        self.committer.delete().await
    }

    async fn check_within(&self, partition: u32, msn: Msn) -> Result<()> {
        let end = self.topic.bounds(partition).await?.next_msn;
        if msn > end {
            let why = format!("commit of MSN {msn} lies beyond the end {end}");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(())
    }

    async fn place_of(&self, partition: u32, to: ResetTo) -> Result<Msn> {
        let msn = match to {
            ResetTo::Start => self.topic.bounds(partition).await?.first_msn,
            ResetTo::End => self.topic.bounds(partition).await?.next_msn,
            ResetTo::Msn(msn) => msn,
            ResetTo::Timestamp(at) => self.topic.find(partition, at).await?,
        };
        self.check_within(partition, msn).await?;
        self.topic.partition(partition)?.sync_up_to(msn).await?;
        Ok(msn)
    }

    async fn store(&self, write: u64) -> Result<()> {
        // A consumer that is to expire after some time is renewed well before.
        let expire = self.topic.config().retention.consumers_expire;
        let after = expire.map_or(TOUCH_AFTER_MAX, |expire| (expire / 4).min(TOUCH_AFTER_MAX));
        let touch = Touch { now: self.topic.now(), after };
        let stored = self.committer.store(write, touch).await;
        stored.map_err(|error| error.within(format_args!("commit of `{}`", self.name())))
    }
}
