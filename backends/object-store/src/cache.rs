//! Chunks of objects that were fetched: each once, however many readers want it at the same time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use msglog_core::{Error, ErrorKind, Result};
use object_store::path::Path;
use tokio::sync::OnceCell;

use crate::bucket::Bucket;

type Key = (Path, u64);

/// A bounded cache of chunks; the longest unused goes first.
#[derive(Debug)]
pub(crate) struct ChunkCache {
    chunk_bytes: u64,
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    chunks: HashMap<Key, Chunk>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, Key>,
    ticks: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    cell: Arc<OnceCell<Bytes>>,
    tick: u64,
    bytes: usize,
}

impl ChunkCache {
    pub(crate) fn new(chunk_bytes: usize, bytes_max: usize) -> Self {
        Self { chunk_bytes: chunk_bytes as u64, bytes_max, inner: Mutex::default() }
    }

    /// These bytes of an object: one GET a chunk that nobody has fetched.
    ///
    /// # Errors
    ///
    /// `NotFound` when the object is gone, `Corrupt` when it is shorter than that.
    pub(crate) async fn read(
        &self,
        bucket: &Bucket,
        path: &Path,
        range: Range<u64>,
    ) -> Result<Bytes> {
        let first = range.start / self.chunk_bytes;
        let last = range.end.saturating_sub(1) / self.chunk_bytes;
        let chunks = (first..=last).map(|index| self.chunk(bucket, path, index));
        let chunks = futures::future::try_join_all(chunks).await?;
        let start = range.start - first * self.chunk_bytes;
        let end = start + (range.end - range.start);
        let whole = match chunks.as_slice() {
            [one] => one.clone(),
            many => {
                let mut joined = BytesMut::new();
                many.iter().for_each(|chunk| joined.extend_from_slice(chunk));
                joined.freeze()
            }
        };
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
            return Err(short(path));
        };
        if whole.len() < end {
            return Err(short(path));
        }
        Ok(whole.slice(start..end))
    }

    /// Keeps a whole object that was fetched on the way.
    pub(crate) fn keep(&self, path: &Path, whole: &Bytes) {
        if whole.len() as u64 > self.chunk_bytes {
            return;
        }
        let key = (path.clone(), 0);
        let mut inner = self.lock();
        // Whoever fetches it at this moment sets the same bytes.
        let _ = inner.cell(&key).set(whole.clone());
        inner.fetched(&key, whole.len(), self.bytes_max);
    }

    /// Forgets the chunks of this range, so that the next read fetches them anew.
    pub(crate) fn forget(&self, path: &Path, range: &Range<u64>) {
        let mut inner = self.lock();
        for index in range.start / self.chunk_bytes..=range.end / self.chunk_bytes {
            inner.remove(&(path.clone(), index));
        }
    }

    async fn chunk(&self, bucket: &Bucket, path: &Path, index: u64) -> Result<Bytes> {
        let key = (path.clone(), index);
        let cell = self.lock().cell(&key);
        let fetched = cell
            .get_or_try_init(|| async {
                let start = index * self.chunk_bytes;
                let found = bucket.get(path, Some(start..start + self.chunk_bytes)).await?;
                found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{path} is gone")))
            })
            .await;
        let mut inner = self.lock();
        match fetched {
            Ok(bytes) => {
                inner.fetched(&key, bytes.len(), self.bytes_max);
                Ok(bytes.clone())
            }
            Err(error) => {
                inner.remove(&key);
                Err(error)
            }
        }
    }

    /// How far the chunk that holds `offset` goes.
    pub(crate) fn chunk_end(&self, offset: u64) -> u64 {
        (offset / self.chunk_bytes + 1) * self.chunk_bytes
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    pub(crate) fn chunk_bytes(&self) -> u64 {
        self.chunk_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn short(path: &Path) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{path} is shorter than what was written"))
}

impl Inner {
    fn cell(&mut self, key: &Key) -> Arc<OnceCell<Bytes>> {
        self.ticks += 1;
        let tick = self.ticks;
        let chunk = self.chunks.entry(key.clone()).or_insert_with(|| Chunk {
            cell: Arc::default(),
            tick,
            bytes: 0,
        });
        self.order.remove(&chunk.tick);
        chunk.tick = tick;
        self.order.insert(tick, key.clone());
        chunk.cell.clone()
    }

    fn fetched(&mut self, key: &Key, bytes: usize, bytes_max: usize) {
        let Some(chunk) = self.chunks.get_mut(key) else { return };
        self.bytes = self.bytes + bytes - chunk.bytes;
        chunk.bytes = bytes;
        while self.bytes > bytes_max {
            let Some(oldest) = self.order.values().next().cloned() else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(chunk) = self.chunks.remove(key) {
            self.order.remove(&chunk.tick);
            self.bytes -= chunk.bytes;
        }
    }
}
