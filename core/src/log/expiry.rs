//! Topics that expire: empty for long enough, with nothing appended meanwhile.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Topic;
use super::consumers::is_older;
use super::topics::Topics;
use crate::store::{DocumentKey, Expected};
use crate::{Error, ErrorKind, Msn, Result, Timestamp, TopicName};

/// Since when a topic is empty, as it was first seen.
#[derive(Debug, Deserialize, Serialize)]
struct Empty {
    since: Timestamp,
    /// By partition: where the next record goes. Moves with every append.
    next_msns: Vec<Msn>,
}

/// The document that says since when a topic is empty.
pub(super) fn empty_key(topic: &TopicName) -> Result<DocumentKey> {
    DocumentKey::parse(format!("empty/{topic}"))
}

impl Topics {
    /// Deletes the topic if it has been empty for longer than `limit`; answers whether it did.
    ///
    /// The time counts from when a run of the cleaner first finds it empty. An append that comes
    /// between keeps the topic.
    pub(super) async fn expire_topic(&self, topic: &Topic, limit: Duration) -> Result<bool> {
        let key = empty_key(topic.name())?;
        let store = topic.message_store();
        let Some(next_msns) = empty_at(topic) else {
            return store.discard(&key, Expected::Any).await.map(|_| false);
        };
        let now = topic.now();
        let seen: Option<Empty> = match store.load(&key).await? {
            // What cannot be read is taken as seen now.
            Some(document) => serde_json::from_slice(&document.value).ok(),
            None => None,
        };
        match seen.filter(|seen| seen.next_msns == next_msns) {
            Some(seen) if is_older(seen.since, now, limit) => {
                self.delete_empty(topic, &next_msns).await
            }
            Some(_) => Ok(false),
            None => {
                let json =
                    serde_json::to_vec(&Empty { since: now, next_msns }).map_err(|cause| {
                        Error::new(ErrorKind::Invalid, "a time cannot be written")
                            .with_source(cause)
                    })?;
                store.save(&key, Bytes::from(json), Expected::Any).await.map(|_| false)
            }
        }
    }
}

/// Where each partition stands, if none holds a record.
fn empty_at(topic: &Topic) -> Option<Vec<Msn>> {
    let bounds = topic.partitions().iter().map(|partition| partition.store.bounds());
    bounds.map(|bounds| (bounds.first_msn == bounds.next_msn).then_some(bounds.next_msn)).collect()
}
