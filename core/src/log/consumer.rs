//! Consumers: named readers whose commits survive, kept as documents beside the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Subscription, Topic};
use crate::store::{DocumentKey, Expected, MessageStore};
use crate::{ConsumerName, Error, ErrorKind, Msn, Result};

/// How often a commit is tried again when other consumers' processes commit at the same time.
const COMMIT_TRIES_MAX: usize = 100;

/// A named reader of a topic: `commit(msn)` states that everything below is done.
#[derive(Clone, Debug)]
pub struct Consumer {
    topic: Topic,
    name: ConsumerName,
    key: DocumentKey,
    store: Arc<dyn MessageStore>,
}

/// The document of a consumer's commits in a topic.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Commits {
    /// By partition: everything below is done.
    partitions: BTreeMap<u32, Msn>,
}

impl Consumer {
    pub(super) fn new(
        name: ConsumerName,
        topic: Topic,
        store: Arc<dyn MessageStore>,
    ) -> Result<Self> {
        let key = DocumentKey::parse(format!("commits/{name}/{}", topic.name()))?;
        Ok(Self { topic, name, key, store })
    }

    /// Its name.
    pub fn name(&self) -> &ConsumerName {
        &self.name
    }

    /// States that everything below `msn` is done; durable when it returns. Never moves back.
    ///
    /// What is below is synced first, whatever the topic's level: a commit that outlives its
    /// records would pass over those that get their MSNs next. A log opened for reading cannot
    /// sync; there commit only what its writer has acked at `Sync`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when `msn` lies beyond what readers see, or for a partition
    /// that is not; and whatever the store answers.
    pub async fn commit(&self, partition: u32, msn: Msn) -> Result<()> {
        let end = self.topic.bounds(partition).await?.next_msn;
        if msn > end {
            let why = format!("commit of MSN {msn} lies beyond the end {end}");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        self.topic.partition(partition)?.sync_up_to(msn).await?;
        for _ in 0..COMMIT_TRIES_MAX {
            let (mut commits, expected) = self.load().await?;
            if commits.partitions.get(&partition).is_some_and(|done| *done >= msn) {
                return Ok(());
            }
            commits.partitions.insert(partition, msn);
            match self.store.save(&self.key, encode(&commits)?, expected).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                Err(error) => return Err(error.within(format_args!("commit of `{}`", self.name))),
            }
        }
        let why = format!("commit of `{}` met another one {COMMIT_TRIES_MAX} times", self.name);
        Err(Error::new(ErrorKind::Unavailable, why))
    }

    /// What was committed last; `None` when nothing ever was.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when the stored commits cannot be read; and whatever the
    /// store answers.
    pub async fn committed(&self, partition: u32) -> Result<Option<Msn>> {
        self.topic.partition(partition)?;
        Ok(self.load().await?.0.partitions.get(&partition).copied())
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

    async fn load(&self) -> Result<(Commits, Expected)> {
        let Some(document) = self.store.load(&self.key).await? else {
            return Ok((Commits::default(), Expected::Absent));
        };
        let commits = serde_json::from_slice(&document.value).map_err(|cause| {
            let what = format!("commits of consumer `{}` cannot be read", self.name);
            Error::new(ErrorKind::Corrupt, what).with_source(cause)
        })?;
        Ok((commits, Expected::Version(document.version)))
    }
}

fn encode(commits: &Commits) -> Result<Bytes> {
    let json = serde_json::to_vec(commits).map_err(|cause| {
        Error::new(ErrorKind::Invalid, "commits cannot be written").with_source(cause)
    })?;
    Ok(json.into())
}
