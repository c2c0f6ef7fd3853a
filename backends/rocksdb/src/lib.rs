//! The store on RocksDB: many partitions share one write-ahead log and so one sync.
//!
//! ```
//! use msglog_core::store::{MessageStore, OpenOptions};
//! use msglog_rocksdb::{RocksDbOptions, RocksDbStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let store = RocksDbStore::open(folder.path(), RocksDbOptions::default()).await?;
//! let orders = store.open(&"orders-0".parse()?, OpenOptions::or_create()).await?;
//! assert_eq!(orders.bounds().next_msn.get(), 0);
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it survives
//!
//! `append` writes to the write-ahead log and survives the end of the process, also by `kill -9`;
//! `sync`, `save` and `trim` put that log on the device and survive a power cut. Calls of all
//! partitions that wait for a sync at the same time share one.
//!
//! What is damaged in a file of sorted tables or blobs is found by its checksum: `Corrupt`. Damage
//! inside the write-ahead log, which holds the last few write buffers, cannot be told from the torn
//! end that a crash leaves: the database then ends there, and nobody is told.
//!
//! # Readers
//!
//! A store opened for reading is what RocksDB calls a secondary instance: it follows a writer in
//! this process or another, keeps nobody out and changes nothing in the place; `refresh` and the
//! calls on documents look at what is new. It keeps every file of the database open (mind the limit
//! of descriptors), holds what is in the write-ahead log in memory a second time, and writes a small
//! log of its own to the folder for temporary files. A blob file that the writer drops in between is
//! an error to the reader until it refreshes.
//!
//! # Limits and costs
//!
//! - One writer; others are `Locked`.
//! - Memory: about twice `write_buffer_bytes`, plus `cache_bytes`, plus 32 MiB. Opening after a crash
//!   reads up to three write buffers of log.
//! - Batches of [`BLOB_BYTES_MIN_DEFAULT`] bytes or more go to blob files. Bytes written to the
//!   device per byte appended, 4 partitions in turn: 2.0 instead of 5.0 for batches of 64 KiB and
//!   1 MiB, 2.1 either way for 4 KiB.
//! - `trim` costs little and frees files that hold nothing else at once; the rest comes back as
//!   RocksDB compacts, some write buffers later, and not before more is written.
//! - `find` looks through an index of 32 bytes a batch, from the oldest on.
//! - A failed write or sync, a full disk among them, poisons: reopen the store.
//!
//! # When to choose it
//!
//! For thousands of partitions with little traffic each, where a file or two per partition and a
//! sync per partition would hurt, or where RocksDB is in the program anyway. For few busy partitions
//! the segment files of `fs` write half as much and need no second language.
//!
//! # Building it
//!
//! Compiles RocksDB 11 from source: needs a C++20 compiler and libclang. On Debian and Ubuntu that is
//! `apt-get install g++ libclang-dev`; where libclang is found in no usual place, `LIBCLANG_PATH`
//! names its folder. 30 crates more than the core's 66, and about 15 minutes of one core; the object
//! files take 1 GiB with debug information. `cargo check` and `cargo build` each compile it once for
//! themselves. To compile it once only, name a library built before:
//! `ROCKSDB_LIB_DIR=<folder of librocksdb.a> ROCKSDB_STATIC=1`.

mod codec;
mod database;
mod engine;
mod error;
mod flusher;
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
    BACKGROUND_JOBS_MAX, BACKGROUND_JOBS_MAX_DEFAULT, BLOB_BYTES_MIN_DEFAULT, CACHE_BYTES,
    CACHE_BYTES_DEFAULT, RocksDbFactory, RocksDbOptions, WRITE_BUFFER_BYTES,
    WRITE_BUFFER_BYTES_DEFAULT,
};
use crate::partition::RocksDbPartition;

/// The largest encoded batch.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// The largest document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// A store that keeps batches and documents in a database of RocksDB.
///
/// Must be used within a tokio runtime, whose blocking threads do the work.
#[derive(Debug)]
pub struct RocksDbStore {
    session: Arc<Session>,
    folder: PathBuf,
}

/// One opening of a place; partition handles share it, so that closing it closes them all.
#[derive(Debug)]
pub(crate) struct Session {
    access: Access,
    /// Calls hold it for reading while they run, `close` takes the engine out.
    engine: RwLock<Option<Engine>>,
}

impl RocksDbStore {
    /// Opens the store in this folder; for writing it is created when the folder is empty or missing.
    ///
    /// # Errors
    ///
    /// [`Locked`](ErrorKind::Locked) for a second writer, here or in another process, while the
    /// first one lives; [`NotFound`](ErrorKind::NotFound) when there is none to read;
    /// [`Invalid`](ErrorKind::Invalid) for options out of range and for a folder that holds
    /// something else; [`Corrupt`](ErrorKind::Corrupt) when RocksDB finds damage that it cannot
    /// pass; [`Unsupported`](ErrorKind::Unsupported) for a newer format.
    pub async fn open(folder: impl AsRef<Path>, options: RocksDbOptions) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        blocking(move || Self::open_blocking(folder, options)).await
    }

    fn open_blocking(folder: PathBuf, options: RocksDbOptions) -> Result<Self> {
        options.check()?;
        let access = options.access;
        let database = place::prepare(&folder, access)?;
        let engine =
            Engine::open(&database, &options).map_err(|error| error.within(folder.display()))?;
        let engine = RwLock::new(Some(engine));
        Ok(Self { session: Arc::new(Session { access, engine }), folder })
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
        engine.map_or(Ok(()), Engine::close)
    }
}

#[async_trait]
impl MessageStore for RocksDbStore {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("rocksdb", self.folder.display().to_string())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::Os;
        capabilities.sync_survives = Survives::Power;
        capabilities.ownership = Ownership::Exclusive;
        capabilities.shared_readers = true;
        capabilities.exact_trim = true;
        capabilities.truncate = true;
        capabilities.find = true;
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
        let open = move |engine: &Engine| engine.open_partition(&name, options);
        let sequence = self.session.run(open).await?;
        let session = Arc::clone(&self.session);
        Ok(Arc::new(RocksDbPartition { session, sequence }))
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
