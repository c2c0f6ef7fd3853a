//! The message store over a database.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreInfo, Version,
};
use msglog_core::{Result, TopicPartition};

use crate::partition::Partition;
use crate::session::{Opening, Session, blocking};
use crate::{Database, place};

/// The largest encoded batch.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// The largest document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// A store that keeps batches and documents in a database in a folder.
///
/// Must be used within a tokio runtime, whose blocking threads do the work.
#[derive(Debug)]
pub struct Store<D: Database> {
    session: Arc<Session<D>>,
    folder: PathBuf,
}

impl<D: Database> Store<D> {
    /// Opens the store in this folder; for writing it is created when the folder is empty or missing.
    ///
    /// # Errors
    ///
    /// [`Locked`](msglog_core::ErrorKind::Locked) for a second writer, here or in another process,
    /// while the first one lives; [`NotFound`](msglog_core::ErrorKind::NotFound) when there is none
    /// to read; [`Invalid`](msglog_core::ErrorKind::Invalid) for options out of range and for a
    /// folder that holds something else; [`Corrupt`](msglog_core::ErrorKind::Corrupt) when the
    /// database finds damage that it cannot pass;
    /// [`Unsupported`](msglog_core::ErrorKind::Unsupported) for a newer format.
    pub async fn open(folder: impl AsRef<Path>, options: D::Options) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        blocking(move || Self::open_blocking(folder, &options)).await
    }

    fn open_blocking(folder: PathBuf, options: &D::Options) -> Result<Self> {
        let access = D::check(options)?;
        let database = place::prepare::<D>(&folder, access)?;
        let database =
            D::open(&database, options).map_err(|error| error.within(folder.display()))?;
        Ok(Self { session: Arc::new(Session::new(database, access)), folder })
    }
}

#[async_trait]
impl<D: Database> MessageStore for Store<D> {
    fn info(&self) -> StoreInfo {
        StoreInfo::new(D::NAME, self.folder.display().to_string())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = D::capabilities();
        capabilities.ownership = Ownership::Exclusive;
        capabilities.calls_block = true;
        capabilities.exact_trim = true;
        capabilities.truncate = true;
        capabilities.replace = true;
        capabilities.batch_bytes_max = BATCH_BYTES_MAX;
        capabilities.document_bytes_max = DOCUMENT_BYTES_MAX;
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let name = partition.clone();
        let open = move |opening: &Opening<D>| opening.open_partition(&name, options);
        let sequence = self.session.run(open).await?;
        let session = Arc::clone(&self.session);
        Ok(Arc::new(Partition { session, sequence }))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.session.run(Opening::names).await
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let name = partition.clone();
        self.session.run_writing(move |opening| opening.remove(&name)).await
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let key = key.clone();
        self.session.run(move |opening| opening.load(&key)).await
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        let key = key.clone();
        self.session.run_writing(move |opening| opening.save(&key, &value, expected)).await
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let key = key.clone();
        self.session.run_writing(move |opening| opening.discard(&key, expected)).await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let prefix = prefix.to_owned();
        self.session.run(move |opening| opening.documents(&prefix)).await
    }

    async fn close(&self) -> Result<()> {
        self.session.close().await
    }
}
