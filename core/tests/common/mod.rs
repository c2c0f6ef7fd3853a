//! A store whose appends and syncs a test can hold, fail and count, over memory.

#![allow(dead_code, reason = "each test file uses its part")]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Bounds, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions,
    PartitionStore, ReadLimit, StoreInfo, Survives, Usage, Version,
};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp, TopicPartition};
use msglog_memory::MemoryStore;
use tokio::sync::Semaphore;

/// What becomes of a part of a batch.
pub(crate) type Harm = fn(Bytes) -> Result<Option<Bytes>>;

/// What a test controls, and what it can look at.
#[derive(Debug)]
pub(crate) struct Control {
    /// A permit lets one sync through; closed lets all through.
    pub(crate) syncs: Semaphore,
    pub(crate) sync_count: AtomicU64,
    pub(crate) append_count: AtomicU64,
    pub(crate) batch_count: AtomicU64,
    /// Reads that answered batches.
    pub(crate) read_count: AtomicU64,
    /// Whether it answers parts of batches.
    pub(crate) parts: AtomicBool,
    /// Parts that were answered, and their bytes.
    pub(crate) part_count: AtomicU64,
    pub(crate) part_bytes: AtomicU64,
    /// What becomes of a part before it is answered.
    pub(crate) part_harm: Mutex<Harm>,
    /// Whether a read is not there at once.
    pub(crate) reads_wait: AtomicBool,
    /// Segments that it says to have.
    pub(crate) segments: AtomicU64,
    /// How long a sync takes, in microseconds.
    pub(crate) sync_micros: AtomicU64,
    /// A permit lets one save of a document through.
    pub(crate) saves: Semaphore,
    pub(crate) save_count: AtomicU64,
    pub(crate) load_count: AtomicU64,
    /// What a search by time answers, true or not; `None` for a store without one.
    pub(crate) find_answers: Mutex<Option<Msn>>,
    next_save: Mutex<Option<Error>>,
    next_append: Mutex<Option<Error>>,
    next_sync: Mutex<Option<Error>>,
    /// Syncs answer so many MSNs less than they should.
    pub(crate) sync_answers_less_by: AtomicU64,
    /// What a partition holds when it is opened counts as not synced.
    pub(crate) opens_unsynced: AtomicBool,
}

impl Control {
    pub(crate) fn fail_next_append(&self, error: Error) {
        *self.next_append.lock().unwrap() = Some(error);
    }

    pub(crate) fn fail_next_sync(&self, error: Error) {
        *self.next_sync.lock().unwrap() = Some(error);
    }

    pub(crate) fn fail_next_save(&self, error: Error) {
        *self.next_save.lock().unwrap() = Some(error);
    }

    pub(crate) fn hold_saves(&self) {
        self.saves.forget_permits(usize::MAX >> 3);
    }

    pub(crate) fn let_all_syncs_through(&self) {
        self.syncs.add_permits(1_000_000);
    }

    pub(crate) fn synced(&self) -> u64 {
        self.sync_count.load(Ordering::SeqCst)
    }
}

#[derive(Debug)]
pub(crate) struct ControlledStore {
    memory: MemoryStore,
    control: Arc<Control>,
}

impl ControlledStore {
    /// Every sync waits until the test lets it through.
    pub(crate) fn held() -> (Arc<Self>, Arc<Control>) {
        let control = Arc::new(Control {
            syncs: Semaphore::new(0),
            sync_count: AtomicU64::new(0),
            append_count: AtomicU64::new(0),
            batch_count: AtomicU64::new(0),
            read_count: AtomicU64::new(0),
            parts: AtomicBool::new(false),
            part_count: AtomicU64::new(0),
            part_bytes: AtomicU64::new(0),
            part_harm: Mutex::new(|bytes| Ok(Some(bytes))),
            reads_wait: AtomicBool::new(false),
            segments: AtomicU64::new(0),
            sync_micros: AtomicU64::new(0),
            saves: Semaphore::new(1_000_000),
            save_count: AtomicU64::new(0),
            load_count: AtomicU64::new(0),
            find_answers: Mutex::default(),
            next_save: Mutex::default(),
            next_append: Mutex::default(),
            next_sync: Mutex::default(),
            sync_answers_less_by: AtomicU64::new(0),
            opens_unsynced: AtomicBool::new(false),
        });
        let store = Self { memory: MemoryStore::new(), control: control.clone() };
        (Arc::new(store), control)
    }

    pub(crate) fn free() -> (Arc<Self>, Arc<Control>) {
        let (store, control) = Self::held();
        control.let_all_syncs_through();
        (store, control)
    }
}

#[async_trait]
impl MessageStore for ControlledStore {
    fn info(&self) -> StoreInfo {
        self.memory.info()
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.memory.capabilities();
        // So that every level can be asked for.
        capabilities.append_survives = Survives::Os;
        // So that the log caches what is read.
        capabilities.sync_survives = Survives::Os;
        capabilities.read_part = self.control.parts.load(Ordering::SeqCst);
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let inner = self.memory.open(partition, options).await?;
        let Bounds { first_msn, next_msn, .. } = inner.bounds();
        let unsynced = self.control.opens_unsynced.load(Ordering::SeqCst);
        let durable = Mutex::new(if unsynced { first_msn } else { next_msn });
        Ok(Arc::new(ControlledPartition { inner, durable, control: self.control.clone() }))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.memory.partitions().await
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        self.memory.remove(partition).await
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.control.load_count.fetch_add(1, Ordering::SeqCst);
        self.memory.load(key).await
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        self.control.saves.acquire().await.unwrap().forget();
        let failure = self.control.next_save.lock().unwrap().take();
        if let Some(error) = failure {
            return Err(error);
        }
        self.control.save_count.fetch_add(1, Ordering::SeqCst);
        self.memory.save(key, value, expected).await
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        self.memory.discard(key, expected).await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        self.memory.documents(prefix).await
    }

    async fn close(&self) -> Result<()> {
        self.memory.close().await
    }
}

#[derive(Debug)]
struct ControlledPartition {
    inner: Arc<dyn PartitionStore>,
    durable: Mutex<Msn>,
    control: Arc<Control>,
}

#[async_trait]
impl PartitionStore for ControlledPartition {
    fn bounds(&self) -> Bounds {
        let mut bounds = self.inner.bounds();
        bounds.durable_msn = *self.durable.lock().unwrap();
        bounds
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        let failure = self.control.next_append.lock().unwrap().take();
        if let Some(error) = failure {
            return Err(error);
        }
        self.control.append_count.fetch_add(1, Ordering::SeqCst);
        self.control.batch_count.fetch_add(batches.len() as u64, Ordering::SeqCst);
        self.inner.append(batches).await
    }

    async fn sync(&self) -> Result<Msn> {
        let end = self.inner.bounds().next_msn;
        self.control.syncs.acquire().await.unwrap().forget();
        let micros = self.control.sync_micros.load(Ordering::SeqCst);
        if micros > 0 {
            std::thread::sleep(std::time::Duration::from_micros(micros));
        }
        let failure = self.control.next_sync.lock().unwrap().take();
        if let Some(error) = failure {
            return Err(error);
        }
        self.control.sync_count.fetch_add(1, Ordering::SeqCst);
        let less = self.control.sync_answers_less_by.load(Ordering::SeqCst);
        let end = Msn::new(end.get().saturating_sub(less));
        *self.durable.lock().unwrap() = end;
        Ok(end)
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        if self.control.reads_wait.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let batches = self.inner.read(from, limit).await?;
        self.control.read_count.fetch_add(u64::from(!batches.is_empty()), Ordering::SeqCst);
        Ok(batches)
    }

    async fn read_part(&self, batch: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
        let Some(part) = self.inner.read_part(batch, bytes).await? else { return Ok(None) };
        self.control.part_count.fetch_add(1, Ordering::SeqCst);
        self.control.part_bytes.fetch_add(part.len() as u64, Ordering::SeqCst);
        let harm = *self.control.part_harm.lock().unwrap();
        harm(part)
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        self.inner.trim(before).await
    }

    async fn usage(&self) -> Result<Usage> {
        let usage = self.inner.usage().await?;
        let segments = self.control.segments.load(Ordering::SeqCst);
        Ok(Usage::new(usage.bytes, usage.allocated_bytes, segments))
    }

    async fn find(&self, _: Timestamp) -> Result<Msn> {
        let answer = *self.control.find_answers.lock().unwrap();
        answer.ok_or_else(|| Error::new(ErrorKind::Unsupported, "no search by time"))
    }
}

/// A recorder that remembers what it is told, by name and labels.
#[cfg(feature = "metrics")]
#[derive(Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<(String, f64)>>>);

#[cfg(feature = "metrics")]
impl Heard {
    pub(crate) fn of(&self, name: &str) -> Vec<f64> {
        let told = self.0.lock().unwrap();
        told.iter().filter(|(told, _)| told == name).map(|(_, value)| *value).collect()
    }

    fn ear(&self, key: &metrics::Key) -> Arc<Ear> {
        let labels = key.labels().map(|label| format!(" {}", label.value()));
        Arc::new(Ear(format!("{}{}", key.name(), labels.collect::<String>()), self.0.clone()))
    }
}

#[cfg(feature = "metrics")]
#[derive(Debug)]
struct Ear(String, Arc<Mutex<Vec<(String, f64)>>>);

#[cfg(feature = "metrics")]
impl Ear {
    fn hear(&self, value: f64) {
        self.1.lock().unwrap().push((self.0.clone(), value));
    }
}

#[cfg(feature = "metrics")]
impl metrics::CounterFn for Ear {
    fn increment(&self, value: u64) {
        self.hear(value as f64);
    }
    fn absolute(&self, value: u64) {
        self.hear(value as f64);
    }
}

#[cfg(feature = "metrics")]
impl metrics::GaugeFn for Ear {
    fn increment(&self, value: f64) {
        self.hear(value);
    }
    fn decrement(&self, value: f64) {
        self.hear(-value);
    }
    fn set(&self, value: f64) {
        self.hear(value);
    }
}

#[cfg(feature = "metrics")]
impl metrics::HistogramFn for Ear {
    fn record(&self, value: f64) {
        self.hear(value);
    }
}

#[cfg(feature = "metrics")]
impl metrics::Recorder for Heard {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::from_arc(self.ear(key))
    }
    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.ear(key))
    }
    fn register_histogram(
        &self,
        key: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::from_arc(self.ear(key))
    }
}
