//! One partition: its bounds in memory, its batches in the table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, Usage, check};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, TopicPartition};
use redb::{Durability, ReadableTable};

use crate::{BATCHES, NEXT, Shared, calling_redb, lock, redb_error};

/// What all handles of a partition share.
pub(crate) struct Part {
    bounds: Mutex<Bounds>,
    pub(crate) is_removed: AtomicBool,
}

impl Part {
    fn at(first_msn: Msn, next_msn: Msn) -> Self {
        let bounds = Mutex::new(Bounds { first_msn, next_msn, durable_msn: next_msn });
        Self { bounds, is_removed: AtomicBool::default() }
    }

    /// The partition as it is stored.
    pub(crate) fn load(shared: &Shared, name: &TopicPartition) -> Result<Option<Self>> {
        let name = name.to_string();
        shared.read(|transaction| {
            let table = transaction.open_table(NEXT).map_err(redb_error)?;
            let Some(next) = table.get(name.as_str()).map_err(redb_error)? else { return Ok(None) };
            let next = Msn::new(next.value());
            let table = transaction.open_table(BATCHES).map_err(redb_error)?;
            let all = (name.as_str(), 0)..=(name.as_str(), u64::MAX);
            let first = table.range(all).map_err(redb_error)?.next().transpose();
            let first = first.map_err(redb_error)?.map(|(key, _)| Msn::new(key.value().1));
            Ok(Some(Self::at(first.unwrap_or(next), next)))
        })
    }

    pub(crate) fn create(shared: &Shared, name: &TopicPartition, start: Msn) -> Result<Self> {
        shared.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(NEXT).map_err(redb_error)?;
            table.insert(name.to_string().as_str(), start.get()).map_err(redb_error)?;
            Ok(())
        })?;
        Ok(Self::at(start, start))
    }
}

#[derive(Clone)]
pub(crate) struct RedbPartition {
    pub(crate) shared: Arc<Shared>,
    pub(crate) part: Arc<Part>,
    pub(crate) name: String,
    pub(crate) batch_bytes_max: usize,
}

impl std::fmt::Debug for RedbPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {:?}", self.name, self.shared)
    }
}

impl RedbPartition {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let own = self.clone();
        calling_redb(move || {
            if own.part.is_removed.load(Ordering::Acquire) {
                return Err(Error::new(ErrorKind::Closed, "the partition was removed"));
            }
            work(&own)
        })
        .await
    }

    fn locked(&self) -> MutexGuard<'_, Bounds> {
        lock(&self.part.bounds)
    }

    /// The base MSN of the batch that holds `msn` or is the next there is.
    fn holder(
        &self,
        table: &impl ReadableTable<(&'static str, u64), &'static [u8]>,
        msn: Msn,
    ) -> Result<u64> {
        let name = self.name.as_str();
        let mut before = table.range((name, 0)..=(name, msn.get())).map_err(redb_error)?;
        let Some(row) = before.next_back() else { return Ok(msn.get()) };
        let (key, value) = row.map_err(redb_error)?;
        let base = key.value().1;
        let batch = decode(base, value.value())?;
        Ok(if batch.next_msn() > msn { base } else { msn.get() })
    }

    fn append_now(&self, batches: &[RecordBatch]) -> Result<()> {
        let mut bounds = self.locked();
        let next = check::continues(bounds.next_msn, batches)?;
        check::batch_sizes(batches, self.batch_bytes_max)?;
        self.shared.write(Durability::None, |transaction| {
            let mut table = transaction.open_table(BATCHES).map_err(redb_error)?;
            for batch in batches {
                let key = (self.name.as_str(), batch.base_msn().get());
                table.insert(key, &*batch.to_bytes()).map_err(redb_error)?;
            }
            let mut table = transaction.open_table(NEXT).map_err(redb_error)?;
            table.insert(self.name.as_str(), next.get()).map_err(redb_error)?;
            Ok(())
        })?;
        bounds.next_msn = next;
        Ok(())
    }

    fn sync_now(&self) -> Result<Msn> {
        let next = self.locked().next_msn;
        self.shared.write(Durability::Immediate, |_| Ok(()))?;
        let mut bounds = self.locked();
        bounds.durable_msn = bounds.durable_msn.max(next);
        Ok(next)
    }

    fn read_now(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        self.shared.read(|transaction| {
            let table = transaction.open_table(BATCHES).map_err(redb_error)?;
            let (name, start) = (self.name.as_str(), self.holder(&table, from)?);
            let (mut bytes, mut found) = (0_usize, Vec::new());
            for row in table.range((name, start)..=(name, u64::MAX)).map_err(redb_error)? {
                let (key, value) = row.map_err(redb_error)?;
                bytes = bytes.saturating_add(value.value().len());
                if bytes > limit.bytes && !found.is_empty() {
                    break;
                }
                found.push(decode(key.value().1, value.value())?);
            }
            Ok(found)
        })
    }

    fn trim_now(&self, before: Msn) -> Result<Msn> {
        let mut bounds = self.locked();
        let first = self.shared.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(BATCHES).map_err(redb_error)?;
            let (name, end) = (self.name.as_str(), self.holder(&table, before)?);
            table.retain_in((name, 0)..(name, end), |_, _| false).map_err(redb_error)?;
            let all = (name, 0)..=(name, u64::MAX);
            let left = table.range(all).map_err(redb_error)?.next().transpose();
            Ok(left.map_err(redb_error)?.map(|(key, _)| Msn::new(key.value().1)))
        })?;
        bounds.first_msn = first.unwrap_or(bounds.next_msn);
        bounds.durable_msn = bounds.next_msn;
        Ok(bounds.first_msn)
    }

    fn usage_now(&self) -> Result<Usage> {
        self.shared.read(|transaction| {
            let table = transaction.open_table(BATCHES).map_err(redb_error)?;
            let all = (self.name.as_str(), 0)..=(self.name.as_str(), u64::MAX);
            let mut bytes = 0;
            for row in table.range(all).map_err(redb_error)? {
                bytes += row.map_err(redb_error)?.1.value().len() as u64;
            }
            Ok(Usage::new(bytes, bytes, 1))
        })
    }
}

/// A stored batch, checked to be whole and the one that its key says.
fn decode(base: u64, bytes: &[u8]) -> Result<RecordBatch> {
    let batch = RecordBatch::decode(Bytes::copy_from_slice(bytes))?;
    if batch.base_msn().get() == base {
        return Ok(batch);
    }
    let why = format!("batch {} is stored as {base}", batch.base_msn());
    Err(Error::new(ErrorKind::Corrupt, why))
}

#[async_trait]
impl PartitionStore for RedbPartition {
    fn bounds(&self) -> Bounds {
        *self.locked()
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        self.run(move |own| own.append_now(&batches)).await
    }

    async fn sync(&self) -> Result<Msn> {
        self.run(Self::sync_now).await
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        self.run(move |own| own.read_now(from, limit)).await
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        self.run(move |own| own.trim_now(before)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.run(Self::usage_now).await
    }
}
