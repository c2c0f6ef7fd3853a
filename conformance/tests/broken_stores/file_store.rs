//! A correct store in one journal file, and the switches that break it on purpose.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions as OpenFile, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_conformance::{Fault, Faults};
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreInfo, Survives, Version,
};
use msglog_core::{Error, ErrorKind, Result, TopicPartition};

use crate::contents::{Change, Contents};
use crate::file_partition::FilePartition;
use crate::journal::Journal;

/// What is wrong with a file store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FileFault {
    None,
    NoSync,
    ForgetsToSync,
    NoSaveSync,
    DiscardNoSync,
    TrimNoSync,
    CloseNoSync,
    NoFolderSync,
    KeepsTornTail,
    ChecksNothing,
    ChecksNoDocuments,
    SkipsBadDocuments,
    DamageIsUnavailable,
    CutsSilently,
    BuffersAppends,
    AcksFromBuffer,
    SkipsBadFrames,
    TakesOverNothing,
    LeaksFile,
    ForgetsTrims,
    ReusesMsns,
    LosesDocuments,
    LosesReplaces,
    LocksOnlyItself,
    ReaderMakesFiles,
    NotPoisoned,
    TearsWhenFull,
    NotFenced,
    BoundsWait,
    BlocksItsThread,
    HandlesKeepFiles,
}

/// What is wrong with the store, and with the storage below it at the moment.
#[derive(Debug)]
pub(crate) struct Switches {
    fault: FileFault,
    pub(crate) ownership: Ownership,
    journal: PathBuf,
    full: AtomicBool,
    sync_fails: AtomicBool,
    /// How many bytes of the journal the device has.
    durable: AtomicU64,
}

impl Switches {
    pub(crate) fn new(fault: FileFault, ownership: Ownership, folder: &Path) -> Self {
        let (full, sync_fails) = (AtomicBool::default(), AtomicBool::default());
        let (journal, durable) = (folder.join("journal"), AtomicU64::default());
        Self { fault, ownership, journal, full, sync_fails, durable }
    }

    pub(crate) fn is_durable_to(&self, end: u64) {
        self.durable.store(end, Ordering::Release);
    }

    pub(crate) fn fault(&self) -> FileFault {
        self.fault
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    pub(crate) fn sync_fails(&self) -> bool {
        self.sync_fails.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Faults for Switches {
    async fn inject(&self, fault: Fault) {
        match fault {
            Fault::Full => self.full.store(true, Ordering::Release),
            Fault::SyncFails => self.sync_fails.store(true, Ordering::Release),
            _ => {}
        }
    }

    async fn heal(&self) {
        self.full.store(false, Ordering::Release);
        self.sync_fails.store(false, Ordering::Release);
    }

    /// Not where the sync audit alone must find what is wrong.
    fn can_cut_power(&self) -> bool {
        self.fault != FileFault::NoSync
    }

    async fn cut_power(&self, seed: u64) {
        let journal = OpenFile::new().write(true).open(&self.journal).unwrap();
        let (end, durable) =
            (journal.metadata().unwrap().len(), self.durable.load(Ordering::Acquire));
        let kept = durable + seed % (end.saturating_sub(durable) + 1);
        journal.set_len(kept).unwrap();
    }
}

/// One opening of the journal; partition handles share it.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    access: Access,
    epoch: u64,
    pub(crate) switches: Arc<Switches>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    journal: Option<Journal>,
    pub(crate) contents: Contents,
    poisoned: bool,
}

/// The places that a store locks which only knows of its own process.
static LOCKED_HERE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn io(what: &str, cause: std::io::Error) -> Error {
    Error::from_io(what, cause)
}

impl Session {
    fn open(folder: &Path, access: Access, switches: Arc<Switches>) -> Result<Self> {
        let path = folder.join("journal");
        let fault = switches.fault();
        let mut inner = Inner { journal: None, contents: Contents::default(), poisoned: false };
        let mut epoch = 0;
        if access == Access::Read {
            if fault == FileFault::ReaderMakesFiles {
                File::create(folder.join("reader"))
                    .map_err(|cause| io("note the reader", cause))?;
            }
            inner.journal = Some(Journal::to_read(&path).map_err(|cause| io("open", cause))?);
        } else {
            let opened = Journal::to_write(folder, &path, fault);
            let mut journal = opened.map_err(|cause| io("open", cause))?;
            match switches.ownership {
                Ownership::Takeover => {
                    epoch = raise_epoch(folder)?;
                    if fault == FileFault::TakesOverNothing {
                        journal.file().set_len(0).map_err(|cause| io("start anew", cause))?;
                    }
                }
                _ => lock(folder, &journal, fault)?,
            }
            let frames = journal.recover(fault, &switches).map_err(|cause| io("recover", cause))?;
            let frames = frames.ok_or_else(|| {
                let kind = match fault {
                    FileFault::DamageIsUnavailable => ErrorKind::Unavailable,
                    _ => ErrorKind::Corrupt,
                };
                Error::new(kind, "synced bytes of the journal are damaged")
            })?;
            for frame in frames {
                let change = Change::decode(frame.payload);
                let corrupt = || Error::new(ErrorKind::Corrupt, "a frame holds no change");
                inner.contents.apply(change.ok_or_else(corrupt)?, frame.end, fault);
            }
            inner.contents.all_is_durable();
            inner.journal = Some(journal);
        }
        let inner = Mutex::new(inner);
        let session = Self { folder: folder.into(), access, epoch, switches, inner };
        drop(session.to_read()?);
        Ok(session)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn peek(&self) -> MutexGuard<'_, Inner> {
        self.lock()
    }

    /// The contents, for a reader as of now.
    pub(crate) fn to_read(&self) -> Result<MutexGuard<'_, Inner>> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(journal) = &mut inner.journal else {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        };
        if self.access == Access::Read {
            for frame in journal.follow().map_err(|cause| io("follow", cause))? {
                if let Some(change) = Change::decode(frame.payload) {
                    inner.contents.apply(change, frame.end, FileFault::None);
                }
            }
        }
        Ok(guard)
    }

    pub(crate) fn to_write(&self) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.to_read()?;
        if self.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
        }
        if inner.poisoned && self.switches.fault() != FileFault::NotPoisoned {
            return Err(Error::new(ErrorKind::Poisoned, "an earlier sync failed"));
        }
        let takeover = self.switches.ownership == Ownership::Takeover;
        let fenced = takeover && self.switches.fault() != FileFault::NotFenced;
        if fenced && epoch(&self.folder) != self.epoch {
            return Err(Error::new(ErrorKind::Fenced, "another writer took over"));
        }
        Ok(inner)
    }

    /// Writes a change and applies it; answers a number that never comes back.
    pub(crate) fn change(&self, inner: &mut Inner, change: Change) -> Result<u64> {
        let fault = self.switches.fault();
        let Some(journal) = &mut inner.journal else {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        };
        let forgotten = match fault {
            FileFault::ForgetsTrims => matches!(change, Change::Trim(..)),
            FileFault::LosesDocuments => matches!(change, Change::Save(..)),
            FileFault::LosesReplaces => matches!(change, Change::Replace(..)),
            _ => false,
        };
        let end = if forgotten {
            journal.end + 1
        } else {
            let added = journal.add(&change.encode(), &self.switches);
            added.map_err(|cause| io("write the journal", cause))?
        };
        inner.contents.apply(change, end, FileFault::None);
        Ok(end)
    }

    /// Syncs; `skip` is the fault that leaves this sync out.
    pub(crate) fn sync(&self, inner: &mut Inner, skip: FileFault) -> Result<()> {
        let Some(journal) = &mut inner.journal else {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        };
        if let Err(cause) = journal.sync(&self.switches, skip) {
            inner.poisoned = true;
            return Err(io("sync the journal", cause).with_unknown_effect());
        }
        inner.contents.all_is_durable();
        Ok(())
    }

    fn close(&self) -> Result<()> {
        let mut inner = self.lock();
        if inner.journal.is_none() {
            return Ok(());
        }
        if self.access == Access::Write && !inner.poisoned {
            self.sync(&mut inner, FileFault::CloseNoSync)?;
            if let Some(journal) = &mut inner.journal {
                journal.flush().map_err(|cause| io("flush", cause))?;
            }
        }
        // A child process may share the open file, and with it the lock.
        let journal = inner.journal.take();
        journal.map_or(Ok(()), |journal| journal.file().unlock()).map_err(|c| io("unlock", c))?;
        unlock(&self.folder, self.switches.fault());
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        unlock(&self.folder, self.switches.fault());
        let journal = self.lock().journal.take();
        if let Some(journal) = &journal {
            let _ = journal.file().unlock();
        }
        if self.switches.fault() == FileFault::LeaksFile {
            std::mem::forget(journal);
        }
    }
}

fn lock(folder: &Path, journal: &Journal, fault: FileFault) -> Result<()> {
    let locked = || Error::new(ErrorKind::Locked, "the journal has a writer");
    if fault == FileFault::LocksOnlyItself {
        let mut here = LOCKED_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        return if here.insert(folder.into()) { Ok(()) } else { Err(locked()) };
    }
    match journal.file().try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(locked()),
        Err(TryLockError::Error(cause)) => Err(io("lock the journal", cause)),
    }
}

fn unlock(folder: &Path, fault: FileFault) {
    if fault == FileFault::LocksOnlyItself {
        LOCKED_HERE.lock().unwrap_or_else(PoisonError::into_inner).remove(folder);
    }
}

fn epoch(folder: &Path) -> u64 {
    let text = std::fs::read_to_string(folder.join("epoch")).unwrap_or_default();
    text.parse().unwrap_or(0)
}

fn raise_epoch(folder: &Path) -> Result<u64> {
    let next = epoch(folder) + 1;
    std::fs::write(folder.join("epoch.new"), next.to_string())
        .and_then(|()| std::fs::rename(folder.join("epoch.new"), folder.join("epoch")))
        .map_err(|cause| io("raise the epoch", cause))?;
    Ok(next)
}

/// A store in one journal file, all of it also in memory.
#[derive(Debug)]
pub(crate) struct FileStore(Arc<Session>);

impl FileStore {
    pub(crate) fn open(folder: &Path, access: Access, switches: Arc<Switches>) -> Result<Self> {
        Ok(Self(Arc::new(Session::open(folder, access, switches)?)))
    }
}

#[async_trait]
impl MessageStore for FileStore {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("journal", self.0.folder.display().to_string())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::Os;
        capabilities.sync_survives = Survives::Power;
        capabilities.ownership = self.0.switches.ownership;
        capabilities.shared_readers = true;
        capabilities.exact_trim = true;
        capabilities.truncate = true;
        capabilities.replace = true;
        capabilities.batch_bytes_max = 2 << 20;
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let mut inner = self.0.to_read()?;
        if !inner.contents.partitions.contains_key(partition) {
            let why = format!("there is no partition {partition}");
            let start = options.create_at.ok_or_else(|| Error::new(ErrorKind::NotFound, why))?;
            drop(inner);
            inner = self.0.to_write()?;
            self.0.change(&mut inner, Change::Create(partition.clone(), start))?;
        }
        let part = inner.contents.partitions.get(partition);
        let (creation, shown) = part.map(|part| (part.creation, part.shown())).unwrap_or_default();
        let (session, name) = (Arc::clone(&self.0), partition.clone());
        let batch_bytes_max = self.capabilities().batch_bytes_max;
        let keeps = self.0.switches.fault() == FileFault::HandlesKeepFiles;
        let kept = keeps.then(|| File::open(self.0.folder.join("journal")).map(Arc::new));
        let kept = kept.transpose().map_err(|cause| io("keep a file", cause))?;
        Ok(Arc::new(FilePartition { session, name, creation, batch_bytes_max, shown, kept }))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        Ok(self.0.to_read()?.contents.partitions.keys().cloned().collect())
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let mut inner = self.0.to_write()?;
        let there = inner.contents.partitions.contains_key(partition);
        if there {
            self.0.change(&mut inner, Change::Remove(partition.clone()))?;
            self.0.sync(&mut inner, FileFault::NoSync)?;
        }
        Ok(there)
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        Ok(self.0.to_read()?.contents.documents.get(key).cloned())
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        let mut inner = self.0.to_write()?;
        if value.len() > self.capabilities().document_bytes_max {
            return Err(Error::new(ErrorKind::TooLarge, "the document is too large"));
        }
        check_expected(&inner.contents, key, expected)?;
        let end = self.0.change(&mut inner, Change::Save(key.clone(), value))?;
        self.0.sync(&mut inner, FileFault::NoSaveSync)?;
        Ok(Version::new(end))
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let mut inner = self.0.to_write()?;
        check_expected(&inner.contents, key, expected)?;
        let there = inner.contents.documents.contains_key(key);
        if there {
            self.0.change(&mut inner, Change::Discard(key.clone()))?;
            self.0.sync(&mut inner, FileFault::DiscardNoSync)?;
        }
        Ok(there)
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let inner = self.0.to_read()?;
        let keys = inner.contents.documents.keys();
        Ok(keys.filter(|key| key.as_str().starts_with(prefix)).cloned().collect())
    }

    async fn close(&self) -> Result<()> {
        self.0.close()
    }
}

fn check_expected(contents: &Contents, key: &DocumentKey, expected: Expected) -> Result<()> {
    if expected.matches(contents.documents.get(key).map(|document| document.version)) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, "the document is not as expected"))
}
