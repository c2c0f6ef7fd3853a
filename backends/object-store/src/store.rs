//! The store: partitions and documents over one place on object storage.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreInfo, Survives, Version, check,
};
use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};
use object_store::ObjectStore;

use crate::bucket::Bucket;
use crate::commit::Event;
use crate::core::{Core, Pace, Session};
use crate::maintain::{self, Maintained};
use crate::options::BucketOptions;
use crate::partition::BucketPartition;
use crate::state::{State, Tail};
use crate::{BATCH_BYTES_MAX, DOCUMENT_BYTES_MAX, pipeline, probe};

/// A message store on object storage. See the [crate](crate) for what it promises and costs.
///
/// Dropping it loses nothing that a `sync` has covered; requests under way finish by themselves.
#[derive(Debug)]
pub struct BucketStore {
    session: Arc<Session>,
}

impl BucketStore {
    /// Opens the place that `options.root` names on `storage`; for writing takes it over.
    ///
    /// The storage's own retries may be on or off: a commit's outcome is read from the object, not
    /// from the answer. Must be called within a tokio runtime, which then runs the store's tasks.
    /// Costs 5 requests, and one for each commit since the last checkpoint.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for a storage that overwrites what it was asked only
    /// to create; [`NotFound`](ErrorKind::NotFound) for reading where nothing was written;
    /// [`Invalid`](ErrorKind::Invalid) for options that cannot work; and as the storage answers.
    pub async fn open(
        storage: Arc<dyn ObjectStore>,
        options: BucketOptions,
        access: Access,
    ) -> Result<Self> {
        options.check()?;
        let bucket = Bucket::new(storage, &options)?;
        probe::check_place(&bucket, access, options.survives).await?;
        let interval = options.maintenance_interval;
        let core = Core::open(bucket, options, access).await?;
        if access == Access::Write {
            tokio::spawn(pipeline::run(core.clone()));
            if let Some(interval) = interval {
                tokio::spawn(maintain::run(core.clone(), interval));
            }
        }
        Ok(Self { session: Arc::new(Session(core)) })
    }

    /// Opens a folder in which every object is a file; what is acked survives a power cut.
    ///
    /// Sets the options' scheme, location and what they survive.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_folder(
        folder: impl AsRef<std::path::Path>,
        mut options: BucketOptions,
        access: Access,
    ) -> Result<Self> {
        let folder = folder.as_ref();
        options.scheme = "file+object";
        options.location = folder.display().to_string();
        options.survives = Survives::Power;
        let owned = folder.to_owned();
        let made = tokio::task::spawn_blocking(move || crate::url::local(&owned, access)).await;
        let storage = made.map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "open the folder").with_source(cause)
        })??;
        Self::open(storage, options, access).await
    }

    /// Merges what is worth it, writes a checkpoint, and deletes what has not been needed for
    /// [`grace`](BucketOptions::grace); for when the background does not.
    ///
    /// # Errors
    ///
    /// As writing, and [`Unavailable`](ErrorKind::Unavailable).
    pub async fn maintain(&self) -> Result<Maintained> {
        maintain::maintain(self.core(), true).await
    }

    fn core(&self) -> &Arc<Core> {
        &self.session.0
    }

    /// Partitions and documents as they are now, for a store that may only read.
    async fn fresh(&self) -> Result<()> {
        self.core().follow(Pace::Now).await
    }

    fn handle(&self, state: &State, id: u64) -> Result<Arc<dyn PartitionStore>> {
        let opened = state.bounds(id).ok_or_else(crate::state::removed)?;
        Ok(Arc::new(BucketPartition { session: self.session.clone(), id, opened }))
    }

    /// Waits for the change that a conflict is about, so that whoever loads then sees it.
    async fn settled(&self, key: &DocumentKey, expected: Expected) -> Result<()> {
        let group = {
            let mut state = self.core().lock_to_write()?;
            if !state.is_changing(key) || state.check_expected(key, expected).is_ok() {
                return Ok(());
            }
            state.want()
        };
        self.core().durable(group).await
    }

    fn create(&self, name: &TopicPartition, first: Msn) -> Result<(u64, u64)> {
        let mut state = self.core().lock_to_write()?;
        if let Some(id) = state.names.get(name).copied() {
            // Somebody else is creating it right now.
            return Ok((id, state.want()));
        }
        state.ids += 1;
        let id = state.ids;
        state.names.insert(name.clone(), id);
        state.tails.insert(id, Tail { next: first, batches: Default::default() });
        let group = state.enqueue(Event::Create { id, name: name.clone(), first });
        Ok((id, group))
    }
}

#[async_trait]
impl MessageStore for BucketStore {
    fn info(&self) -> StoreInfo {
        let options = &self.core().options;
        StoreInfo::new(options.scheme, options.location.clone())
    }

    fn capabilities(&self) -> Capabilities {
        let options = &self.core().options;
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::None;
        capabilities.sync_survives = options.survives;
        capabilities.syncs_in_flight_max = options.pipeline_depth;
        let shared = options.survives > Survives::None;
        capabilities.ownership = if shared { Ownership::Takeover } else { Ownership::Private };
        capabilities.shared_readers = shared;
        capabilities.exact_trim = true;
        capabilities.find = true;
        capabilities.batch_bytes_max = BATCH_BYTES_MAX;
        capabilities.document_bytes_max = DOCUMENT_BYTES_MAX;
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        self.fresh().await?;
        {
            let state = self.core().lock_open()?;
            if let Some(id) = state.names.get(partition)
                && state.catalogue.partitions.contains_key(id)
            {
                return self.handle(&state, *id);
            }
            if options.create_at.is_none() && !state.names.contains_key(partition) {
                let why = format!("there is no partition {partition}");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
        }
        let first = options.create_at.unwrap_or_default();
        let (id, group) = self.create(partition, first)?;
        self.core().durable(group).await?;
        let state = self.core().lock_open()?;
        self.handle(&state, id)
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.fresh().await?;
        let state = self.core().lock_open()?;
        let durable = |id| state.catalogue.partitions.contains_key(id);
        let names = state.names.iter().filter(|(_, id)| durable(id));
        Ok(names.map(|(name, _)| name.clone()).collect())
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let group = {
            let mut state = self.core().lock_to_write()?;
            let Some(id) = state.names.remove(partition) else { return Ok(false) };
            state.tails.remove(&id);
            state.enqueue(Event::Remove { id })
        };
        self.core().durable(group).await?;
        Ok(true)
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.fresh().await?;
        Ok(self.core().lock_open()?.catalogue.documents.get(key).cloned())
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        if let Err(error) = check::document_size(&value, DOCUMENT_BYTES_MAX) {
            drop(self.core().lock_to_write()?);
            return Err(error);
        }
        self.settled(key, expected).await?;
        let (version, group) = {
            let mut state = self.core().lock_to_write()?;
            state.check_expected(key, expected)?;
            state.versions += 1;
            let version = state.versions;
            state.change(key, Some(Version::new(version)));
            // The caller's buffer may be a small part of a large one.
            let value = Bytes::copy_from_slice(&value);
            (version, state.enqueue(Event::Save { key: key.clone(), version, value }))
        };
        self.core().durable(group).await?;
        Ok(Version::new(version))
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        self.settled(key, expected).await?;
        let group = {
            let mut state = self.core().lock_to_write()?;
            if !state.check_expected(key, expected)? {
                return Ok(false);
            }
            state.change(key, None);
            state.enqueue(Event::Discard { key: key.clone() })
        };
        self.core().durable(group).await?;
        Ok(true)
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        self.fresh().await?;
        let state = self.core().lock_open()?;
        let keys = state.catalogue.documents.keys();
        Ok(keys.filter(|key| key.as_str().starts_with(prefix)).cloned().collect())
    }

    async fn close(&self) -> Result<()> {
        let core = self.core();
        let group = {
            let mut state = core.lock();
            if state.closed {
                return Ok(());
            }
            state.want()
        };
        let flushed = match core.access {
            Access::Read => Ok(()),
            Access::Write => core.durable(group).await,
        };
        if core.access == Access::Write && flushed.is_ok() {
            let due = {
                let state = core.lock();
                state.failure.is_none() && state.commits_since_checkpoint > 0
            };
            // Without it the next opening reads a few more objects.
            if due && let Err(error) = maintain::checkpoint(core).await {
                tracing::warn!(location = %core.options.location, %error, "no checkpoint");
            }
        }
        core.lock().closed = true;
        core.wake.notify_one();
        core.maintenance_due.notify_one();
        flushed
    }
}
