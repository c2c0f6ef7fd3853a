//! The consumers of a topic as they stand: how far each is, how far behind, and when it expires.

use std::time::Duration;

use super::Topic;
use super::commits::{Commits, CommitsDocument, consumers_by_topic};
use crate::store::Expected;
use crate::{ConsumerName, ErrorKind, Msn, Result, Timestamp, TopicName};

/// A consumer of a topic as it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub consumer: ConsumerName,
    /// The topic.
    pub topic: TopicName,
    /// When it last committed, was reset or touched, by the clock of the log that did it; `None`
    /// where that was before such times were kept.
    pub touched: Option<Timestamp>,
    /// Every partition of the topic, in order.
    pub partitions: Vec<ConsumerLag>,
}

/// How far a consumer is in a partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ConsumerLag {
    /// The partition.
    pub partition: u32,
    /// Everything below is done; `None` when nothing was committed.
    pub committed: Option<Msn>,
    /// The end of what readers see.
    pub end: Msn,
    /// How many MSNs it has still to do; those that are trimmed do not count.
    pub lag: u64,
}

impl ConsumerStatus {
    pub(super) async fn of(
        consumer: ConsumerName,
        topic: &Topic,
        commits: &Commits,
    ) -> Result<Self> {
        let mut partitions = Vec::new();
        for partition in 0..topic.partition_count() {
            let bounds = topic.bounds(partition).await?;
            let committed = commits.partitions.get(&partition).copied();
            let from = committed.unwrap_or_default().max(bounds.first_msn);
            let (end, lag) = (bounds.next_msn, bounds.next_msn.distance_from(from));
            partitions.push(ConsumerLag { partition, committed, end, lag });
        }
        let (topic, touched) = (topic.name().clone(), commits.touched);
        Ok(Self { consumer, topic, touched, partitions })
    }

    /// How many MSNs it has still to do, over all partitions.
    pub fn lag(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.lag).sum()
    }
}

impl Topic {
    /// The consumers that have committed in this topic, or were touched, sorted by name.
    ///
    /// Costs a listing of all commits of the log, and a document a consumer.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when stored commits cannot be read; and whatever the store
    /// answers.
    pub async fn consumers(&self) -> Result<Vec<ConsumerStatus>> {
        let names = consumers_by_topic(self.message_store()).await?.remove(self.name());
        let mut found = Vec::new();
        for (name, commits) in self.load_commits(&names.unwrap_or_default()).await? {
            found.push(ConsumerStatus::of(name, self, &commits).await?);
        }
        Ok(found)
    }

    /// The commits of these consumers, of those that are still there.
    pub(super) async fn load_commits(
        &self,
        names: &[ConsumerName],
    ) -> Result<Vec<(ConsumerName, Commits)>> {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            if let Some((commits, _)) = self.commits_document(name)?.load().await? {
                found.push((name.clone(), commits));
            }
        }
        Ok(found)
    }

    /// Forgets a consumer that has said nothing for `limit`; answers whether it did.
    ///
    /// One whose commits have no time yet gets the present one. A commit that comes between wins.
    pub(super) async fn expire(&self, name: &ConsumerName, limit: Duration) -> Result<bool> {
        let document = self.commits_document(name)?;
        let Some((mut commits, version)) = document.load().await? else { return Ok(false) };
        let now = self.now();
        let expected = Expected::Version(version);
        let done = match commits.touched {
            None => {
                commits.touched = Some(now);
                document.save(&commits, expected).await.map(|()| false)
            }
            Some(touched) if is_older(touched, now, limit) => document.discard(expected).await,
            Some(_) => Ok(false),
        };
        match done {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            done => done,
        }
    }

    fn commits_document(&self, name: &ConsumerName) -> Result<CommitsDocument> {
        CommitsDocument::of(self.message_store().clone(), name, self.name())
    }
}

/// Whether more than `limit` has gone by since `at`.
pub(super) fn is_older(at: Timestamp, now: Timestamp, limit: Duration) -> bool {
    let age = i128::from(now.as_millis()) - i128::from(at.as_millis());
    age > i128::try_from(limit.as_millis()).unwrap_or(i128::MAX)
}
