//! How far a partition is compacted: a document, without which everything is compacted again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::store::{DocumentKey, Expected, MessageStore};
use crate::{Error, ErrorKind, Msn, Result, Timestamp, TopicPartition};

/// How far a partition is compacted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct State {
    /// Everything below has no older record of a key than the newest one below.
    pub(super) clean_msn: Msn,
    /// The bytes of the partition when that was so.
    pub(super) clean_bytes: u64,
    /// When the next tombstone may go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) horizon: Option<Timestamp>,
}

/// The document of a partition.
pub(in crate::log) fn key(partition: &TopicPartition) -> Result<DocumentKey> {
    DocumentKey::parse(format!("compaction/{}/{}", partition.topic, partition.partition))
}

impl State {
    pub(super) async fn load(
        store: &Arc<dyn MessageStore>,
        partition: &TopicPartition,
    ) -> Result<Self> {
        let found = store.load(&key(partition)?).await?;
        // What cannot be read is made again.
        Ok(found.and_then(|found| serde_json::from_slice(&found.value).ok()).unwrap_or_default())
    }

    pub(super) async fn save(
        self,
        store: &Arc<dyn MessageStore>,
        partition: &TopicPartition,
    ) -> Result<()> {
        let json = serde_json::to_vec(&self).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "compaction state cannot be written").with_source(cause)
        })?;
        store.save(&key(partition)?, json.into(), Expected::Any).await.map(drop)
    }
}
