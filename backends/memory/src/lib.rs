//! The store that keeps everything in this process: the model answer to the contract of a store.
//!
//! Read this crate first when you write a backend: it keeps every sentence of the contract in
//! [`msglog_core::store`], claims exactly what it can do, and has nothing else in it.
//! `sequence.rs` is one partition's batches, `lib.rs` the place that holds partitions and
//! documents, the stores open on it, and the URL scheme.
//!
//! ```
//! use msglog_core::store::{Access, MessageStore, OpenOptions};
//! use msglog_memory::MemoryPlace;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> msglog_core::Result<()> {
//! let place = MemoryPlace::new();
//! let writer = place.open(Access::Write)?;
//! writer.open(&"orders-0".parse()?, OpenOptions::or_create()).await?;
//! let reader = place.open(Access::Read)?;
//! assert_eq!(reader.partitions().await?.len(), 1);
//! # Ok(())
//! # }
//! ```

mod partition;
mod sequence;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreFactory, StoreInfo, StoreUrl, Survives, Version, check,
};
use msglog_core::{Error, ErrorKind, Result, TopicPartition};

use crate::partition::MemoryPartition;
use crate::sequence::Sequence;

/// Memory that stores are opened on, one writer at a time beside any number of readers.
///
/// Clones are handles of the same memory, which lives as long as any of them or a store on it.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlace(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    partitions: BTreeMap<TopicPartition, Arc<Mutex<Sequence>>>,
    documents: BTreeMap<DocumentKey, Document>,
    saves: u64,
    has_writer: bool,
}

impl MemoryPlace {
    /// Memory that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a store on this memory.
    ///
    /// # Errors
    ///
    /// [`Locked`](ErrorKind::Locked) for a second writer while the first one is not closed.
    pub fn open(&self, access: Access) -> Result<MemoryStore> {
        if access == Access::Write {
            let mut contents = lock(&self.0);
            if contents.has_writer {
                return Err(Error::new(ErrorKind::Locked, "this memory has a writer"));
            }
            contents.has_writer = true;
        }
        let session = Session { place: self.clone(), access, closed: AtomicBool::new(false) };
        Ok(MemoryStore { session: Arc::new(session), survives: Survives::Process })
    }
}

/// One opening of a place; partition handles share it, so that closing it closes them all.
#[derive(Debug)]
struct Session {
    place: MemoryPlace,
    access: Access,
    closed: AtomicBool,
}

impl Session {
    fn contents(&self) -> Result<MutexGuard<'_, Contents>> {
        self.check_open()?;
        Ok(lock(&self.place.0))
    }

    fn contents_to_write(&self) -> Result<MutexGuard<'_, Contents>> {
        self.check_writable()?;
        self.contents()
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if self.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
        }
        Ok(())
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) && self.access == Access::Write {
            lock(&self.place.0).has_writer = false;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

/// A store whose batches and documents are in this process and gone with it.
#[derive(Debug)]
pub struct MemoryStore {
    session: Arc<Session>,
    survives: Survives,
}

impl MemoryStore {
    /// A store on memory of its own, for writing; nothing survives it.
    pub fn new() -> Self {
        let place = MemoryPlace::new();
        let access = Access::Write;
        let session = Session { place, access, closed: AtomicBool::new(false) };
        Self { session: Arc::new(session), survives: Survives::None }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl MessageStore for MemoryStore {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("memory", "this process")
    }

    fn capabilities(&self) -> Capabilities {
        let shared = self.survives == Survives::Process;
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = self.survives;
        capabilities.sync_survives = self.survives;
        capabilities.ownership = if shared { Ownership::Exclusive } else { Ownership::Private };
        capabilities.shared_readers = shared;
        capabilities.exact_trim = true;
        capabilities.truncate = true;
        capabilities.find = true;
        capabilities.replace = true;
        capabilities.read_part = true;
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let mut contents = self.session.contents()?;
        let sequence = match (contents.partitions.get(partition), options.create_at) {
            (Some(sequence), _) => Arc::clone(sequence),
            (None, Some(first)) => {
                self.session.check_writable()?;
                let sequence = Arc::new(Mutex::new(Sequence::starting_at(first)));
                contents.partitions.insert(partition.clone(), Arc::clone(&sequence));
                sequence
            }
            (None, None) => {
                let why = format!("there is no partition {partition}");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
        };
        let batch_bytes_max = self.capabilities().batch_bytes_max;
        let session = Arc::clone(&self.session);
        Ok(Arc::new(MemoryPartition { session, sequence, batch_bytes_max }))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        Ok(self.session.contents()?.partitions.keys().cloned().collect())
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let removed = self.session.contents_to_write()?.partitions.remove(partition);
        if let Some(sequence) = &removed {
            lock(sequence).removed = true;
        }
        Ok(removed.is_some())
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        Ok(self.session.contents()?.documents.get(key).cloned())
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        let bytes_max = self.capabilities().document_bytes_max;
        let mut contents = self.session.contents_to_write()?;
        check::document_size(&value, bytes_max)?;
        check_expected(&contents, key, expected)?;
        contents.saves += 1;
        let version = Version::new(contents.saves);
        contents.documents.insert(key.clone(), Document { value, version });
        Ok(version)
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let mut contents = self.session.contents_to_write()?;
        check_expected(&contents, key, expected)?;
        Ok(contents.documents.remove(key).is_some())
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let contents = self.session.contents()?;
        let keys = contents.documents.keys();
        Ok(keys.filter(|key| key.as_str().starts_with(prefix)).cloned().collect())
    }

    async fn close(&self) -> Result<()> {
        self.session.close();
        Ok(())
    }
}

fn check_expected(contents: &Contents, key: &DocumentKey, expected: Expected) -> Result<()> {
    let current = contents.documents.get(key).map(|document| document.version);
    check::expected(key, expected, current)
}

/// Opens `memory:`, each time a [`MemoryStore`] of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryFactory;

#[async_trait]
impl StoreFactory for MemoryFactory {
    fn scheme(&self) -> &'static str {
        "memory"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        url.check_keys(&[])?;
        let whole = url.as_url();
        if !whole.path().is_empty() || whole.has_authority() || whole.fragment().is_some() {
            return Err(Error::new(ErrorKind::Invalid, "a memory store has no name: `memory:`"));
        }
        if access == Access::Read {
            let why = "nobody can have written to a fresh memory store: open it for writing";
            return Err(Error::new(ErrorKind::NotFound, why));
        }
        Ok(Arc::new(MemoryStore::new()))
    }
}

/// The guarded value, also after a panic elsewhere: no change here can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(url: &str, access: Access) -> Result<Arc<dyn MessageStore>> {
        MemoryFactory.open(&StoreUrl::parse(url)?, access).await
    }

    #[tokio::test]
    async fn url_opens_a_fresh_store_each_time() {
        let first = opened("memory:", Access::Write).await.unwrap();
        first.open(&"orders-0".parse().unwrap(), OpenOptions::or_create()).await.unwrap();
        let second = opened("memory:", Access::Write).await.unwrap();
        assert_eq!(second.partitions().await.unwrap(), []);
        assert_eq!(second.info().scheme, MemoryFactory.scheme());
    }

    #[tokio::test]
    async fn url_with_a_name_or_a_key_is_invalid() {
        for url in ["memory:x", "memory:/x", "memory://x", "memory:?size=1", "memory:#x"] {
            let error = opened(url, Access::Write).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        }
    }

    #[tokio::test]
    async fn nobody_reads_a_fresh_store() {
        let error = opened("memory:", Access::Read).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn place_outlives_its_stores_and_lets_one_write_at_a_time() {
        let place = MemoryPlace::new();
        let writer = place.open(Access::Write).unwrap();
        assert_eq!(place.open(Access::Write).unwrap_err().kind(), ErrorKind::Locked);
        let reader = place.open(Access::Read).unwrap();
        drop(writer);
        assert!(place.open(Access::Write).is_ok());
        drop(reader);
    }
}
