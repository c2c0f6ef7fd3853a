//! The store on [sled](https://docs.rs/sled/0.34) 0.34: pure Rust, small, survives the process but no power cut.
//!
//! ```
//! use msglog_core::store::{MessageStore, OpenOptions};
//! use msglog_sled::{SledOptions, SledStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let store = SledStore::open(folder.path(), SledOptions::default()).await?;
//! let orders = store.open(&"orders-0".parse()?, OpenOptions::or_create()).await?;
//! assert_eq!(orders.bounds().next_msn.get(), 0);
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it survives
//!
//! `append` survives closing and reopening, `sync` and `save` the end of the process, also by
//! `kill -9`. **Nothing survives a power cut or a crash of the operating system for sure**, and the
//! capabilities say so (`sync_survives` is `Os`): on Linux sled's `flush` calls `sync_file_range`,
//! which writes no metadata and does not empty the device's cache, and it never syncs the files in
//! `blobs/` that hold what is larger than 128 KiB (a trace of 270 syncs: 898 writes,
//! 898 `sync_file_range`, 243 blob files written, not one of them synced).
//!
//! This cannot be mended from outside by syncing the files once more after `flush`: between two
//! such syncs sled reuses segments, and deletes blobs, whose replacement only `sync_file_range` has
//! seen, so a power cut may take what an earlier sync had made durable. Where that matters use
//! another store.
//!
//! What is damaged on the device, sled mostly reports as `Corrupt`, or panics over, which is
//! `Corrupt` here too; it has lost data in places where it should have reported damage. Its log ends
//! where a checksum first fails, and nobody is told.
//!
//! # Limits and costs
//!
//! - One opening at a time, for reading too: others are `Locked`. Opening for reading runs sled's
//!   recovery, which writes to the folder. No `find`.
//! - A tree per partition, all in one file that never shrinks. sled keeps up to 17 batches in a
//!   leaf and rewrites the leaf as a whole now and then: batches of some KiB are cheap, larger ones
//!   are written several times over and take memory in proportion. Expect about twice the payload
//!   on the disk.
//! - Opening reads the end of the file since sled's last snapshot: seconds for hundreds of MiB.
//! - Dropping a store blocks until sled has written its buffers; `close` does so on a blocking
//!   thread.
//!
//! # When to choose it
//!
//! For a single process, small data, no C or C++ compiler, and no need to survive a power cut: tests,
//! tools, caches that can be rebuilt. sled 0.34 is from 2021 and is no longer maintained. It adds
//! 15 crates to those of the core (66) and builds with them in 25 s of one core.

mod engine;
mod error;
mod options;
mod partition;
mod place;
mod sequence;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreInfo, Survives, Version,
};
use msglog_core::{Error, ErrorKind, Result, TopicPartition};

use crate::engine::Engine;
use crate::error::{blocking, closed};
pub use crate::options::{
    CACHE_BYTES_DEFAULT, CACHE_BYTES_MAX, CACHE_BYTES_MIN, SledFactory, SledOptions,
};
use crate::partition::SledPartition;

/// The largest encoded batch.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// The largest document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// A store that keeps batches and documents in a database of sled.
///
/// Must be used within a tokio runtime, whose blocking threads do the work.
#[derive(Debug)]
pub struct SledStore {
    session: Arc<Session>,
    folder: PathBuf,
}

/// One opening of a place; partition handles share it, so that closing it closes them all.
#[derive(Debug)]
pub(crate) struct Session {
    access: Access,
    /// The folder of sled.
    database: PathBuf,
    /// Calls hold it for reading while they run, `close` takes the engine out.
    engine: RwLock<Option<Engine>>,
}

impl SledStore {
    /// Opens the store in this folder; for writing it is created when the folder is empty or missing.
    ///
    /// # Errors
    ///
    /// [`Locked`](ErrorKind::Locked) while another store value, here or in another process, is open
    /// on it, for reading too; [`NotFound`](ErrorKind::NotFound) when there is none to read;
    /// [`Invalid`](ErrorKind::Invalid) for options out of range and for a folder that holds
    /// something else; [`Corrupt`](ErrorKind::Corrupt) when sled finds damage that it cannot pass;
    /// [`Unsupported`](ErrorKind::Unsupported) for a newer format.
    pub async fn open(folder: impl AsRef<Path>, options: SledOptions) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        blocking(move || Self::open_blocking(folder, options)).await
    }

    fn open_blocking(folder: PathBuf, options: SledOptions) -> Result<Self> {
        options.check()?;
        let access = options.access;
        let database = place::prepare(&folder, access)?;
        let engine =
            Engine::open(&database, &options).map_err(|error| error.within(folder.display()))?;
        if access == Access::Write {
            engine.drop_leftovers()?;
        }
        let engine = RwLock::new(Some(engine));
        Ok(Self { session: Arc::new(Session { access, database, engine }), folder })
    }
}

impl Session {
    /// Asks the engine on a blocking thread.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let session = Arc::clone(self);
        blocking(move || {
            let engine = session.engine.read().unwrap_or_else(PoisonError::into_inner);
            work(engine.as_ref().ok_or_else(|| closed("the store is closed"))?)
        })
        .await
    }

    /// As [`run`](Self::run), for changes.
    pub(crate) async fn run_writing<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let access = self.access;
        self.run(move |engine| {
            if access == Access::Read {
                return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
            }
            work(engine)
        })
        .await
    }

    fn close(&self) -> Result<()> {
        let engine = self.engine.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(engine) = engine else { return Ok(()) };
        let flushed = if self.access == Access::Write { engine.flush() } else { Ok(()) };
        drop(engine);
        place::wait_until_free(&self.database);
        flushed
    }
}

impl Drop for Session {
    /// Blocks as long as sled takes to write its buffers and to let its lock go.
    fn drop(&mut self) {
        // Whoever wants to know whether it succeeds calls `close`.
        let _ = self.close();
    }
}

#[async_trait]
impl MessageStore for SledStore {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("sled", self.folder.display().to_string())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::Process;
        capabilities.sync_survives = Survives::Os;
        capabilities.ownership = Ownership::Exclusive;
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
        let is_writer = self.session.access == Access::Write;
        let name = partition.clone();
        let open = move |engine: &Engine| engine.open_partition(&name, options, is_writer);
        let sequence = self.session.run(open).await?;
        let (session, name) = (Arc::clone(&self.session), partition.clone());
        Ok(Arc::new(SledPartition { session, name, sequence }))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.session.run(Engine::partitions).await
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let name = partition.clone();
        self.session.run_writing(move |engine| engine.remove(&name)).await
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let key = key.clone();
        self.session.run(move |engine| engine.load(&key)).await
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        let key = key.clone();
        self.session
            .run_writing(move |engine| {
                if value.len() > DOCUMENT_BYTES_MAX {
                    let length = value.len();
                    let why =
                        format!("document of {length} bytes; the limit is {DOCUMENT_BYTES_MAX}");
                    return Err(Error::new(ErrorKind::TooLarge, why));
                }
                engine.save(&key, &value, expected)
            })
            .await
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let key = key.clone();
        self.session.run_writing(move |engine| engine.discard(&key, expected)).await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let prefix = prefix.to_owned();
        self.session.run(move |engine| engine.documents(&prefix)).await
    }

    async fn close(&self) -> Result<()> {
        let session = Arc::clone(&self.session);
        blocking(move || session.close()).await
    }
}
