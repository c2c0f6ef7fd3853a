//! The store: its place, its open partitions, its documents.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreInfo, Survives, TailSignal, Version,
};
use msglog_core::{Error, ErrorKind, Result, TopicPartition};

use crate::blocking::{blocking, lock};
use crate::documents::Documents;
use crate::hold::Hold;
use crate::housekeeper::Housekeeper;
use crate::io::{CountedFs, FileSystem, IoCounts, RealFs};
use crate::layout::DOCUMENTS;
use crate::options::{DOCUMENT_BYTES_MAX, FsOptions};
use crate::partition::Partition;
use crate::place;
use crate::recovery::RecoveryReport;
use crate::segment::OpenFiles;

/// The reference store: segment files in a folder, readable as a Kafka log folder.
///
/// Open for writing it holds the place alone; any number of stores open for reading, in this
/// process or another, may follow it. Dropping it without [`close`](MessageStore::close) lets the
/// place go, waits for calls that are under way, and loses nothing that a `sync` has covered.
pub struct FsStore {
    shared: Arc<Shared>,
}

/// A partition that is open, being opened, or absent.
type Slot = Arc<Mutex<Option<Partition>>>;

/// What the store value and its running calls share.
pub(crate) struct Shared {
    pub(crate) fs: Arc<CountedFs>,
    pub(crate) root: PathBuf,
    pub(crate) files: Arc<OpenFiles>,
    pub(crate) epoch: i32,
    pub(crate) housekeeper: Housekeeper,
    documents: Documents,
    hold: Mutex<Option<Arc<Hold>>>,
    slots: Mutex<HashMap<TopicPartition, Slot>>,
    /// A partition's folder was created or removed, and the name not synced yet.
    pub(crate) root_unsynced: AtomicBool,
    closed: AtomicBool,
    /// Held by the call that closes.
    closing: Mutex<()>,
}

impl fmt::Debug for FsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FsStore").field("root", &self.shared.root).finish_non_exhaustive()
    }
}

impl FsStore {
    /// Opens the store in the folder `path`, creating it when it is opened for writing.
    ///
    /// # Errors
    ///
    /// [`Locked`](ErrorKind::Locked) while another writer holds it, here or in another process;
    /// [`NotFound`](ErrorKind::NotFound) when there is nothing to read;
    /// [`Invalid`](ErrorKind::Invalid) for a folder that holds something else, and for an option
    /// out of range; [`Unsupported`](ErrorKind::Unsupported) for a newer format.
    pub async fn open(path: impl Into<PathBuf>, options: FsOptions) -> Result<Self> {
        Self::open_on(Arc::new(RealFs), path, options).await
    }

    /// The same on another file system, e.g. a simulated one.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub async fn open_on(
        fs: Arc<dyn FileSystem>,
        path: impl Into<PathBuf>,
        options: FsOptions,
    ) -> Result<Self> {
        options.check()?;
        let root = path.into();
        blocking(move || Shared::open(fs, root, options)).await.map(|shared| Self { shared })
    }

    /// The file calls of this store so far.
    pub fn io_counts(&self) -> IoCounts {
        self.shared.fs.counts()
    }

    /// How many segment files are held open, apart from those with unsynced bytes.
    pub fn open_files(&self) -> usize {
        self.shared.files.count()
    }

    /// What recovery did when this partition was opened; `None` when it is not open.
    pub fn recovery_report(&self, partition: &TopicPartition) -> Option<RecoveryReport> {
        let slot = lock(&self.shared.slots).get(partition).map(Arc::clone)?;
        lock(&slot).as_ref().map(Partition::report)
    }
}

impl Drop for FsStore {
    fn drop(&mut self) {
        self.shared.let_go();
    }
}

impl Shared {
    fn open(fs: Arc<dyn FileSystem>, root: PathBuf, options: FsOptions) -> Result<Arc<Self>> {
        let fs = Arc::new(CountedFs::new(fs));
        let (manifest, hold) = match options.access {
            Access::Read => (place::find(fs.as_ref(), &root)?, None),
            Access::Write => {
                let (manifest, hold) = place::take_over(fs.as_ref(), &root)?;
                (manifest, Some(hold))
            }
        };
        let documents =
            Documents::new(Arc::clone(&fs) as Arc<dyn FileSystem>, root.join(DOCUMENTS));
        if hold.is_some() {
            documents.create()?;
            documents.settle()?;
        }
        let background = options.background && hold.is_some();
        Ok(Arc::new(Self {
            files: Arc::new(OpenFiles::new(Arc::clone(&fs) as Arc<dyn FileSystem>, options)),
            fs,
            root,
            epoch: manifest.writer_epoch,
            housekeeper: Housekeeper::start(background)?,
            documents,
            hold: Mutex::new(hold),
            slots: Mutex::default(),
            root_unsynced: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            closing: Mutex::default(),
        }))
    }

    pub(crate) fn options(&self) -> &FsOptions {
        &self.files.options
    }

    /// What writing calls hold while they run.
    pub(crate) fn hold(&self) -> Weak<Hold> {
        lock(&self.hold).as_ref().map_or_else(Weak::new, Arc::downgrade)
    }

    fn usable(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        Ok(())
    }

    fn slot(&self, partition: &TopicPartition) -> Slot {
        Arc::clone(lock(&self.slots).entry(partition.clone()).or_default())
    }

    fn open_partition(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Partition> {
        let _hold = self.writing_hold()?;
        let slot = self.slot(partition);
        let mut slot = lock(&slot);
        self.usable()?;
        if let Some(open) = &*slot {
            return Ok(open.clone());
        }
        let opened = self.look_at(partition, options)?;
        *slot = Some(opened.clone());
        Ok(opened)
    }

    /// Keeps the place ours while the call runs; `None` in a store open for reading.
    fn writing_hold(&self) -> Result<Option<Arc<Hold>>> {
        self.usable()?;
        if self.options().access == Access::Read {
            return Ok(None);
        }
        match self.hold().upgrade() {
            Some(hold) => Ok(Some(hold)),
            None => Err(Error::new(ErrorKind::Closed, "the store is closed")),
        }
    }

    fn remove_partition(&self, partition: &TopicPartition) -> Result<bool> {
        if self.writing_hold()?.is_none() {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
        }
        let slot = self.slot(partition);
        let mut slot = lock(&slot);
        if let Some(open) = slot.take() {
            open.refuse();
            open.settle();
        }
        self.delete(partition)
    }

    fn open_partitions(&self) -> Vec<Partition> {
        let slots: Vec<_> = lock(&self.slots).values().map(Arc::clone).collect();
        slots.iter().filter_map(|slot| lock(slot).clone()).collect()
    }

    /// Makes everything durable, then lets the place go; the first error is the answer.
    fn close(&self) -> Result<()> {
        let _closing = lock(&self.closing);
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let partitions = self.open_partitions();
        partitions.iter().for_each(Partition::refuse);
        self.housekeeper.stop();
        let closed: Vec<_> = partitions.iter().map(Partition::close).collect();
        self.release();
        closed.into_iter().collect()
    }

    fn let_go(&self) {
        let _closing = lock(&self.closing);
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.open_partitions().iter().for_each(Partition::refuse);
            self.housekeeper.stop();
            self.release();
        }
    }

    fn release(&self) {
        self.files.close();
        lock(&self.slots).clear();
        let hold = lock(&self.hold).take();
        if let Some(hold) = hold {
            hold.release();
        }
    }
}

#[async_trait]
impl MessageStore for FsStore {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("fs", self.shared.root.display().to_string())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::Os;
        capabilities.sync_survives = Survives::Power;
        capabilities.ownership = Ownership::Exclusive;
        capabilities.shared_readers = true;
        capabilities.shared_documents = true;
        capabilities.tail_signal = TailSignal::Poll;
        capabilities.truncate = true;
        capabilities.find = true;
        capabilities.replace = true;
        capabilities.read_part = true;
        // Without a thread of its own a store is to repeat exactly, and so keeps to the caller's.
        capabilities.calls_block = self.shared.options().background;
        let batch_bytes_max = self.shared.options().batch_bytes_max();
        capabilities.batch_bytes_max = usize::try_from(batch_bytes_max).unwrap_or(usize::MAX);
        capabilities.document_bytes_max = DOCUMENT_BYTES_MAX;
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let (shared, partition) = (Arc::clone(&self.shared), partition.clone());
        let opened = blocking(move || shared.open_partition(&partition, options)).await?;
        Ok(Arc::new(opened))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            shared.usable()?;
            shared.list()
        })
        .await
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let (shared, partition) = (Arc::clone(&self.shared), partition.clone());
        blocking(move || shared.remove_partition(&partition)).await
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        blocking(move || {
            shared.usable()?;
            shared.documents.load(&key)
        })
        .await
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        blocking(move || {
            let _hold = shared.writing_hold()?;
            shared.documents.save(&key, &value, expected)
        })
        .await
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let (shared, key) = (Arc::clone(&self.shared), key.clone());
        blocking(move || {
            let _hold = shared.writing_hold()?;
            shared.documents.discard(&key, expected)
        })
        .await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let (shared, prefix) = (Arc::clone(&self.shared), prefix.to_owned());
        blocking(move || {
            shared.usable()?;
            shared.documents.keys(&prefix)
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.close()).await
    }
}

/// The folder of the store.
impl AsRef<Path> for FsStore {
    fn as_ref(&self) -> &Path {
        &self.shared.root
    }
}
