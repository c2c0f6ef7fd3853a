//! A memory store that passes every call on, except where it is broken on purpose.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_conformance::Fixture;
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, ReadLimit, StoreInfo, Survives, Version,
};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, TopicPartition};
use msglog_memory::{MemoryPlace, MemoryStore};

use crate::memory_fault::MemoryFault;
use crate::memory_partition::BrokenPartition;

/// What all openings of a place share.
#[derive(Debug, Default)]
struct Place {
    memory: MemoryPlace,
    openings: AtomicU64,
    versions: Mutex<BTreeMap<DocumentKey, Version>>,
}

#[derive(Debug)]
pub(crate) struct BrokenStore {
    inner: Arc<MemoryStore>,
    fault: MemoryFault,
    place: Arc<Place>,
    closed: AtomicBool,
    used: AtomicBool,
    saves: AtomicU64,
}

impl BrokenStore {
    pub(crate) fn open(at: &Fixture, access: Access, fault: MemoryFault) -> Result<Self> {
        let place = at.shared(Place::default);
        let inner = match (fault, access) {
            (MemoryFault::SecondWriterGetsIn, Access::Write) => place
                .memory
                .open(Access::Write)
                .or_else(|_| MemoryPlace::new().open(Access::Write))?,
            (MemoryFault::ReaderIsAWriter, _) => place.memory.open(Access::Write)?,
            (MemoryFault::ReaderIsFrozen, Access::Read) => {
                MemoryPlace::new().open(Access::Write)?
            }
            _ => place.memory.open(access)?,
        };
        let (closed, used) = (AtomicBool::new(false), AtomicBool::new(false));
        // The number of the opening is kept wrong from the second one on.
        let opening = place.openings.fetch_add(1, Ordering::AcqRel).min(1);
        let saves = AtomicU64::new(opening << 32);
        Ok(Self { inner: Arc::new(inner), fault, place, closed, used, saves })
    }

    fn is(&self, fault: MemoryFault) -> bool {
        self.fault == fault
    }

    /// The partition that a name leads to.
    fn led(&self, partition: &TopicPartition) -> TopicPartition {
        let mut led = partition.clone();
        match self.fault {
            MemoryFault::MixesPartitions if partition.partition >= 10 => led.partition /= 10,
            MemoryFault::CaseDoesNotMatter => {
                led = partition.to_string().to_lowercase().parse().unwrap();
            }
            _ => {}
        }
        led
    }

    /// The document that a key leads to.
    fn led_key(&self, key: &DocumentKey) -> DocumentKey {
        let cut = key.as_str().get(..600).filter(|_| self.is(MemoryFault::KeysAreCut));
        cut.map_or_else(
            || key.clone(),
            |cut| DocumentKey::parse(cut.trim_end_matches('/')).unwrap(),
        )
    }

    async fn last_batch(&self, partition: &TopicPartition) -> Result<Option<RecordBatch>> {
        let there = self.inner.open(partition, OpenOptions::existing()).await?;
        Ok(there.read(Msn::ZERO, ReadLimit::bytes(usize::MAX)).await?.pop())
    }

    /// What `close` does to each partition first.
    async fn before_close(&self) -> Result<()> {
        let lasts =
            matches!(self.fault, MemoryFault::CloseLosesLast | MemoryFault::CloseRepeatsLast);
        if !lasts || self.closed.load(Ordering::Acquire) {
            return Ok(());
        }
        for partition in self.inner.partitions().await? {
            let Some(mut last) = self.last_batch(&partition).await? else { continue };
            let there = self.inner.open(&partition, OpenOptions::existing()).await?;
            if self.is(MemoryFault::CloseLosesLast) {
                there.truncate(last.base_msn()).await?;
            } else {
                last.stamp(last.next_msn(), -1);
                there.append(vec![last]).await?;
            }
        }
        Ok(())
    }
}

impl Drop for BrokenStore {
    fn drop(&mut self) {
        if self.is(MemoryFault::LockOutlivesDrop) && !self.closed.load(Ordering::Acquire) {
            std::mem::forget(Arc::clone(&self.inner));
        }
    }
}

#[async_trait]
impl MessageStore for BrokenStore {
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.inner.capabilities();
        capabilities.batch_bytes_max = 1 << 21;
        match self.fault {
            MemoryFault::HidesTruncate => capabilities.truncate = false,
            MemoryFault::HidesFind => capabilities.find = false,
            MemoryFault::HidesReplace => capabilities.replace = false,
            MemoryFault::HidesParts => capabilities.read_part = false,
            MemoryFault::ClaimsReaderDocuments => capabilities.shared_documents = true,
            MemoryFault::ClaimsPrivate => capabilities.ownership = Ownership::Private,
            MemoryFault::HidesReaders => capabilities.shared_readers = false,
            MemoryFault::ClaimsMoreForAppend => capabilities.append_survives = Survives::Os,
            MemoryFault::ClaimsNothingSurvives => {
                capabilities.append_survives = Survives::None;
                capabilities.sync_survives = Survives::None;
            }
            MemoryFault::ClaimsChange if self.used.load(Ordering::Acquire) => {
                capabilities.syncs_in_flight_max += 1;
            }
            MemoryFault::SecondWriterGetsIn => capabilities.ownership = Ownership::Exclusive,
            _ => {}
        }
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        mut options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let partition = self.led(partition);
        self.used.store(true, Ordering::Release);
        match (self.fault, options.create_at) {
            (MemoryFault::StartsAtZero, Some(_)) => options = OpenOptions::or_create(),
            (MemoryFault::CreatesWhatIsMissing, None) => options = OpenOptions::or_create(),
            (MemoryFault::StartMovesExisting, Some(start)) => {
                let there = self.inner.open(&partition, options).await?;
                there.trim(start).await?;
            }
            (MemoryFault::OpensTwice, Some(_))
                if !self.inner.partitions().await?.contains(&partition) =>
            {
                tokio::task::yield_now().await;
                self.inner.remove(&partition).await?;
            }
            _ => {}
        }
        let inner = self.inner.open(&partition, options).await;
        let inner = match (inner, self.fault, options.create_at) {
            (Err(error), MemoryFault::WorksAfterClose, _) if error.kind() == ErrorKind::Closed => {
                self.place
                    .memory
                    .open(Access::Read)?
                    .open(&partition, OpenOptions::existing())
                    .await?
            }
            (inner, ..) => inner?,
        };
        let store = Arc::clone(&self.inner);
        let limit = self.capabilities().batch_bytes_max;
        Ok(Arc::new(BrokenPartition::new(inner, store, self.fault, limit)))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        if self.is(MemoryFault::WorksAfterClose) {
            return self.place.memory.open(Access::Read)?.partitions().await;
        }
        let mut partitions = self.inner.partitions().await?;
        if self.is(MemoryFault::ListsAsText) {
            partitions.sort_by_key(ToString::to_string);
        }
        if self.is(MemoryFault::DocumentsAreListed) {
            let keys = self.inner.documents("").await?;
            partitions.extend(keys.iter().filter_map(|key| key.as_str().parse().ok()));
            partitions.sort();
            partitions.dedup();
        }
        Ok(partitions)
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        match self.fault {
            MemoryFault::RemoveKeepsBatches => {
                Ok(self.inner.partitions().await?.contains(partition))
            }
            MemoryFault::RemovesTheTopic => {
                let mut there = false;
                for other in self.inner.partitions().await? {
                    if other.topic == partition.topic {
                        there |= self.inner.remove(&other).await?;
                    }
                }
                Ok(there)
            }
            _ => self.inner.remove(partition).await,
        }
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let key = &self.led_key(key);
        let mut found = self.inner.load(key).await?;
        match (&mut found, self.fault) {
            (Some(document), MemoryFault::EmptyIsMissing) if document.value.is_empty() => {
                return Ok(None);
            }
            (None, MemoryFault::MissingIsEmpty) => {
                return Ok(Some(Document { value: Bytes::new(), version: Version::new(0) }));
            }
            (Some(document), MemoryFault::VersionIsOneBehind) => {
                document.version = Version::new(document.version.get() - 1);
            }
            (Some(document), MemoryFault::VersionIsLength) => {
                document.version = Version::new(document.value.len() as u64);
            }
            (Some(document), MemoryFault::VersionsComeBack) => {
                let versions = self.place.versions.lock().unwrap();
                document.version = versions.get(key).copied().unwrap_or(document.version);
            }
            _ => {}
        }
        Ok(found)
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        let key = &self.led_key(key);
        match self.fault {
            MemoryFault::DocumentLimitOneLess if value.len() == 1 << 20 => {
                Err(Error::new(ErrorKind::TooLarge, "the document is too large"))
            }
            MemoryFault::SaveIgnoresExpected => self.inner.save(key, value, Expected::Any).await,
            MemoryFault::SaveChecksLate => {
                let there = self.inner.load(key).await?.map(|document| document.version);
                if !expected.matches(there) {
                    return Err(Error::new(ErrorKind::Conflict, "not as expected"));
                }
                tokio::task::yield_now().await;
                self.inner.save(key, value, Expected::Any).await
            }
            MemoryFault::SavesTornWhenDropped => {
                let half = value.slice(..value.len() / 2);
                let version = self.inner.save(key, half, expected).await?;
                tokio::task::yield_now().await;
                self.inner.save(key, value, Expected::Version(version)).await
            }
            MemoryFault::VersionIsLength | MemoryFault::VersionsComeBack => {
                let version = match self.fault {
                    MemoryFault::VersionIsLength => value.len() as u64,
                    _ => self.saves.fetch_add(1, Ordering::AcqRel),
                };
                let version = Version::new(version);
                let there = self.load(key).await?.map(|document| document.version);
                if !expected.matches(there) {
                    return Err(Error::new(ErrorKind::Conflict, "not as expected"));
                }
                self.inner.save(key, value, Expected::Any).await?;
                self.place.versions.lock().unwrap().insert(key.clone(), version);
                Ok(version)
            }
            MemoryFault::DocumentLimitOneMore if value.len() == (1 << 20) + 1 => {
                self.inner.save(key, value.slice(1..), expected).await
            }
            MemoryFault::ReaderSavesNowhere => match self.inner.save(key, value, expected).await {
                Err(error) if error.kind() == ErrorKind::ReadOnly => Ok(Version::new(0)),
                other => other,
            },
            _ => self.inner.save(key, value, expected).await,
        }
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        match self.fault {
            MemoryFault::DiscardsBelow => {
                for below in self.inner.documents(&format!("{key}/")).await? {
                    self.inner.discard(&below, Expected::Any).await?;
                }
                self.inner.discard(key, expected).await
            }
            MemoryFault::DiscardIsAlwaysTrue => {
                self.inner.discard(key, expected).await.map(|_| true)
            }
            MemoryFault::DiscardIgnoresExpected => self.inner.discard(key, Expected::Any).await,
            _ => self.inner.discard(key, expected).await,
        }
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let mut keys = self.inner.documents(prefix).await?;
        if self.is(MemoryFault::ListsOnlyFolder) && !prefix.is_empty() {
            let folder = format!("{}/", prefix.trim_end_matches('/'));
            keys.retain(|key| key.as_str().starts_with(&folder));
        }
        Ok(keys)
    }

    async fn close(&self) -> Result<()> {
        if self.is(MemoryFault::LockOutlivesClose) {
            return Ok(());
        }
        self.before_close().await?;
        let again = self.closed.swap(true, Ordering::AcqRel);
        if again && self.is(MemoryFault::SecondCloseFails) {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        self.inner.close().await
    }
}
