//! The document of a consumer's commits in a topic: loaded, changed by compare-and-swap, listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::store::{DocumentKey, Expected, MessageStore, Version};
use crate::{ConsumerName, Error, ErrorKind, Msn, Result, Timestamp, TopicName};

/// The folder of documents that hold the commits, by consumer and topic.
const COMMIT_DOCUMENTS: &str = "commits/";

/// How often a change is tried again when other processes commit at the same time.
const CHANGE_TRIES_MAX: usize = 100;

/// What a consumer has committed in a topic.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Commits {
    /// By partition: everything below is done.
    pub(super) partitions: BTreeMap<u32, Msn>,
    /// When the consumer last said anything; `None` in documents from before that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) touched: Option<Timestamp>,
}

/// Where the commits of a consumer in a topic are kept.
#[derive(Clone, Debug)]
pub(super) struct CommitsDocument {
    key: DocumentKey,
    store: Arc<dyn MessageStore>,
}

impl CommitsDocument {
    pub(super) fn of(
        store: Arc<dyn MessageStore>,
        consumer: &ConsumerName,
        topic: &TopicName,
    ) -> Result<Self> {
        let key = DocumentKey::parse(format!("{COMMIT_DOCUMENTS}{consumer}/{topic}"))?;
        Ok(Self { key, store })
    }

    /// What is there; `None` when the consumer never committed in the topic.
    pub(super) async fn load(&self) -> Result<Option<(Commits, Version)>> {
        let Some(document) = self.store.load(&self.key).await? else { return Ok(None) };
        let commits = serde_json::from_slice(&document.value).map_err(|cause| {
            let what = format!("`{}` cannot be read", self.key);
            Error::new(ErrorKind::Corrupt, what).with_source(cause)
        })?;
        Ok(Some((commits, document.version)))
    }

    /// Applies `change`, again whenever another process came between; it answers whether there is
    /// anything to save. Durable when it returns.
    pub(super) async fn change(
        &self,
        mut change: impl FnMut(&mut Commits) -> bool + Send,
    ) -> Result<()> {
        for _ in 0..CHANGE_TRIES_MAX {
            let (mut commits, expected) = match self.load().await? {
                Some((commits, version)) => (commits, Expected::Version(version)),
                None => (Commits::default(), Expected::Absent),
            };
            if !change(&mut commits) {
                return Ok(());
            }
            match self.save(&commits, expected).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                saved => return saved,
            }
        }
        let why = format!("`{}` was changed by others {CHANGE_TRIES_MAX} times", self.key);
        Err(Error::new(ErrorKind::Unavailable, why))
    }

    pub(super) async fn save(&self, commits: &Commits, expected: Expected) -> Result<()> {
        let json = serde_json::to_vec(commits).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "commits cannot be written").with_source(cause)
        })?;
        self.store.save(&self.key, Bytes::from(json), expected).await.map(drop)
    }

    /// Removes it; answers whether there was one.
    pub(super) async fn discard(&self, expected: Expected) -> Result<bool> {
        self.store.discard(&self.key, expected).await
    }
}

/// The consumers of every topic, by topic, sorted. Costs one listing of documents.
pub(super) async fn consumers_by_topic(
    store: &Arc<dyn MessageStore>,
) -> Result<BTreeMap<TopicName, Vec<ConsumerName>>> {
    let mut found: BTreeMap<TopicName, Vec<ConsumerName>> = BTreeMap::new();
    for key in store.documents(COMMIT_DOCUMENTS).await? {
        let rest = key.as_str().strip_prefix(COMMIT_DOCUMENTS);
        let Some((consumer, topic)) = rest.and_then(|rest| rest.split_once('/')) else { continue };
        // What is named otherwise is no commit of this log.
        let (Ok(consumer), Ok(topic)) = (ConsumerName::parse(consumer), TopicName::parse(topic))
        else {
            continue;
        };
        found.entry(topic).or_default().push(consumer);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_from_before_time_was_kept_still_load() {
        let old: Commits = serde_json::from_str(r#"{"partitions":{"0":5}}"#).unwrap();
        assert_eq!(old.partitions.get(&0), Some(&Msn::new(5)));
        assert_eq!(old.touched, None);
        assert_eq!(serde_json::to_string(&old).unwrap(), r#"{"partitions":{"0":5}}"#);
    }
}
