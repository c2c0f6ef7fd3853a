//! The producers of a partition as a document, so that opening reads only what came behind it, and
//! so that what is trimmed or compacted away is remembered.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::store::{DocumentKey, Expected, MessageStore};
use crate::{Error, ErrorKind, Msn, Result, TopicPartition};

/// The document.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Snapshot {
    /// What is stored from here on is not in it.
    pub(super) below: Msn,
    pub(super) producers: Table,
}

/// The document of a partition.
pub(in crate::log) fn key(partition: &TopicPartition) -> Result<DocumentKey> {
    DocumentKey::parse(format!("producers/{}/{}", partition.topic, partition.partition))
}

impl Snapshot {
    pub(super) async fn load(
        store: &Arc<dyn MessageStore>,
        partition: &TopicPartition,
    ) -> Result<Self> {
        let key = key(partition)?;
        let Some(document) = store.load(&key).await? else { return Ok(Self::default()) };
        serde_json::from_slice(&document.value).map_err(|cause| {
            Error::new(ErrorKind::Corrupt, format!("`{key}` cannot be read")).with_source(cause)
        })
    }

    pub(super) async fn save(
        &self,
        store: &Arc<dyn MessageStore>,
        partition: &TopicPartition,
    ) -> Result<()> {
        let json = serde_json::to_vec(self).map_err(|cause| {
            Error::new(ErrorKind::Invalid, "producers cannot be written").with_source(cause)
        })?;
        store.save(&key(partition)?, json.into(), Expected::Any).await.map(drop)
    }
}
