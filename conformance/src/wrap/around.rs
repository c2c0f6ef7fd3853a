//! A store around a store: every call that can fail goes through one place.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use msglog_core::store::{
    Bounds, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions,
    PartitionStore, ReadLimit, SegmentRoom, StoreInfo, Usage, Version,
};
use msglog_core::{Msn, RecordBatch, Result, Timestamp, TopicPartition};

/// A call of a store, or of one of its partitions, that can fail.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "each is named after its call")]
#[non_exhaustive]
pub enum Call {
    Open,
    Partitions,
    Remove,
    Load,
    Save,
    Discard,
    Documents,
    Close,
    Refresh,
    Append,
    Sync,
    Read,
    ReadPart,
    Trim,
    Usage,
    Truncate,
    Find,
    Replace,
}

impl Call {
    /// Whether it changes a partition, so that one whose outcome is unknown poisons.
    pub fn changes_a_partition(self) -> bool {
        matches!(self, Self::Append | Self::Sync | Self::Trim | Self::Truncate | Self::Replace)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadPart => f.write_str("read_part"),
            _ => f.write_str(&format!("{self:?}").to_lowercase()),
        }
    }
}

/// A call, and of which partition it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct At<'a> {
    /// Which call.
    pub call: Call,
    /// The partition that is asked, opened or removed.
    pub partition: Option<&'a TopicPartition>,
}

/// What is done around each call of a store.
pub trait Around: fmt::Debug + Send + Sync + 'static {
    /// Makes the call by awaiting `work`, or not; answers what the caller gets.
    fn around<'a, T: Send + 'a>(
        &'a self,
        at: At<'a>,
        work: BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>>;
}

/// A store whose every call goes through an [`Around`]; all else is as the store within says.
#[derive(Debug)]
pub struct Wrapped<A> {
    inner: Arc<dyn MessageStore>,
    around: Arc<A>,
}

impl<A: Around> Wrapped<A> {
    /// The store `inner`, with `around` around each call.
    pub fn new(inner: Arc<dyn MessageStore>, around: A) -> Arc<Self> {
        Arc::new(Self { inner, around: Arc::new(around) })
    }

    fn call<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        partition: Option<&'a TopicPartition>,
        work: BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        self.around.around(At { call, partition }, work)
    }
}

#[async_trait]
impl<A: Around> MessageStore for Wrapped<A> {
    fn info(&self) -> StoreInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let opening = self.inner.open(partition, options);
        let inner = self.call(Call::Open, Some(partition), opening).await?;
        let (name, around) = (partition.clone(), Arc::clone(&self.around));
        Ok(Arc::new(WrappedPartition { inner, name, around }))
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.call(Call::Partitions, None, self.inner.partitions()).await
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        self.call(Call::Remove, Some(partition), self.inner.remove(partition)).await
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.call(Call::Load, None, self.inner.load(key)).await
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        self.call(Call::Save, None, self.inner.save(key, value, expected)).await
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        self.call(Call::Discard, None, self.inner.discard(key, expected)).await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        self.call(Call::Documents, None, self.inner.documents(prefix)).await
    }

    async fn close(&self) -> Result<()> {
        self.call(Call::Close, None, self.inner.close()).await
    }
}

#[derive(Debug)]
struct WrappedPartition<A> {
    inner: Arc<dyn PartitionStore>,
    name: TopicPartition,
    around: Arc<A>,
}

impl<A: Around> WrappedPartition<A> {
    fn call<'a, T: Send + 'a>(
        &'a self,
        call: Call,
        work: BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        self.around.around(At { call, partition: Some(&self.name) }, work)
    }
}

#[async_trait]
impl<A: Around> PartitionStore for WrappedPartition<A> {
    fn bounds(&self) -> Bounds {
        self.inner.bounds()
    }

    fn segment(&self) -> Option<SegmentRoom> {
        self.inner.segment()
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        self.inner.holes()
    }

    async fn refresh(&self) -> Result<Bounds> {
        self.call(Call::Refresh, self.inner.refresh()).await
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        self.call(Call::Append, self.inner.append(batches)).await
    }

    async fn sync(&self) -> Result<Msn> {
        self.call(Call::Sync, self.inner.sync()).await
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        self.call(Call::Read, self.inner.read(from, limit)).await
    }

    async fn read_part(&self, batch: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
        self.call(Call::ReadPart, self.inner.read_part(batch, bytes)).await
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        self.call(Call::Trim, self.inner.trim(before)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.call(Call::Usage, self.inner.usage()).await
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        self.call(Call::Truncate, self.inner.truncate(from)).await
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        self.call(Call::Find, self.inner.find(timestamp)).await
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        self.call(Call::Replace, self.inner.replace(range, batches)).await
    }

    fn unit_end(&self, from: Msn) -> Option<Msn> {
        self.inner.unit_end(from)
    }
}
