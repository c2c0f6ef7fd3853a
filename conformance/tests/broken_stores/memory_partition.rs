//! One partition of the memory store that is broken on purpose.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_conformance::sample::batch_of;
use msglog_core::batch::{DecodeLimits, HEADER_BYTES};
use msglog_core::store::{Bounds, MessageStore, PartitionStore, ReadLimit, Usage};
use msglog_core::{Error, ErrorKind, Message, Msn, RecordBatch, Result, Timestamp};
use msglog_memory::MemoryStore;

use crate::memory_fault::MemoryFault;

#[derive(Debug)]
pub(crate) struct BrokenPartition {
    inner: Arc<dyn PartitionStore>,
    store: Arc<MemoryStore>,
    fault: MemoryFault,
    limit: usize,
    synced: std::sync::Mutex<Msn>,
    announced: std::sync::Mutex<Option<Msn>>,
    busy: AtomicBool,
    reading: tokio::sync::Mutex<()>,
    trimmed: AtomicBool,
    /// Batches as they were appended, by their base MSNs.
    parts: std::sync::Mutex<BTreeMap<Msn, Bytes>>,
}

impl BrokenPartition {
    pub(crate) fn new(
        inner: Arc<dyn PartitionStore>,
        store: Arc<MemoryStore>,
        fault: MemoryFault,
        limit: usize,
    ) -> Self {
        let synced = std::sync::Mutex::new(inner.bounds().next_msn);
        let announced = std::sync::Mutex::default();
        let (busy, trimmed) = (AtomicBool::default(), AtomicBool::default());
        let (reading, parts) = (tokio::sync::Mutex::default(), std::sync::Mutex::default());
        Self { inner, store, fault, limit, synced, announced, busy, reading, trimmed, parts }
    }

    fn is(&self, fault: MemoryFault) -> bool {
        self.fault == fault
    }

    fn next(&self) -> Msn {
        self.inner.bounds().next_msn
    }

    /// The limit on a batch, as this store sees it.
    fn check_size(&self, batches: &[RecordBatch]) -> Result<()> {
        let limit = match self.fault {
            MemoryFault::BatchLimitOneLess => self.limit - 1,
            MemoryFault::BatchLimitOneMore => self.limit + 1,
            _ => self.limit,
        };
        if batches.iter().any(|batch| batch.encoded_len() > limit) {
            return Err(Error::new(ErrorKind::TooLarge, "the batch is too large"));
        }
        Ok(())
    }

    async fn append_broken(&self, mut batches: Vec<RecordBatch>) -> Result<()> {
        match self.fault {
            MemoryFault::RestampsInstead => {
                let mut next = self.next();
                for batch in &mut batches {
                    batch.stamp(next, -1);
                    next = batch.next_msn();
                }
            }
            MemoryFault::AppliesGoodPart => {
                for batch in batches {
                    self.inner.append(vec![batch]).await?;
                }
                return Ok(());
            }
            MemoryFault::EmptyAppendFails if batches.is_empty() => {
                return Err(Error::new(ErrorKind::Invalid, "nothing to append"));
            }
            MemoryFault::AppendsTornWhenDropped => {
                // The end is moved first, and the batches come when there is time.
                let end = batches.last().map_or(self.next(), RecordBatch::next_msn);
                let first = batches.first().map_or(end, RecordBatch::base_msn);
                let covers = end.distance_from(first).max(1);
                let gap = vec![Message::new("gap"); usize::try_from(covers).unwrap()];
                let gap = batch_of(first, &gap).unwrap();
                self.inner.append(vec![gap]).await?;
                tokio::task::yield_now().await;
                return self.inner.replace(first..end, batches).await;
            }
            MemoryFault::AnnouncesBeforeIt => {
                let end = batches.last().map_or(self.next(), RecordBatch::next_msn);
                *self.announced.lock().unwrap() = Some(end);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                let answer = self.inner.append(batches).await;
                *self.announced.lock().unwrap() = None;
                return answer;
            }
            _ => {}
        }
        if self.is(MemoryFault::PartsAreStale) {
            let known = batches.iter().map(|batch| (batch.base_msn(), batch.to_bytes()));
            self.parts.lock().unwrap().extend(known);
        }
        let answer = self.inner.append(batches).await;
        match (answer, self.fault) {
            (Err(e), MemoryFault::ConflictMayHaveHappened) => Err(e.with_unknown_effect()),
            (Err(e), MemoryFault::ConflictIsTransient) => Err(e.with_transient(true)),
            (Err(e), MemoryFault::ReaderWrites) if e.kind() == ErrorKind::ReadOnly => Ok(()),
            (answer, _) => answer,
        }
    }

    async fn read_broken(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        let at_end = from >= self.next();
        match self.fault {
            MemoryFault::ReadsFromNext => return self.inner.read(from.plus(1), limit).await,
            MemoryFault::ReadsIgnoreLimit => {
                return self.inner.read(from, ReadLimit::bytes(usize::MAX)).await;
            }
            MemoryFault::ReadsWrapAround if at_end => {
                return self.inner.read(Msn::ZERO, limit).await;
            }
            MemoryFault::ReadPanicsAtEnd if at_end => panic!("nothing at MSN {from}"),
            MemoryFault::ReadAbortsAtEnd if at_end => std::process::abort(),
            MemoryFault::ReadHangsAtEnd if at_end => return std::future::pending().await,
            MemoryFault::ReadsExcludeEachOther => {
                let _turn = self.reading.lock().await;
                tokio::task::yield_now().await;
                return self.inner.read(from, limit).await;
            }
            _ => {}
        }
        let mut found = self.inner.read(from, limit).await?;
        match self.fault {
            MemoryFault::ReadsReversed => found.reverse(),
            MemoryFault::ReadsPassHolder => found.retain(|batch| batch.base_msn() >= from),
            MemoryFault::ReadsKeepLimitStrictly => {
                found.retain(|batch| batch.encoded_len() <= limit.bytes);
            }
            MemoryFault::ShowsOnlySynced => {
                let synced = *self.synced.lock().unwrap();
                found.retain(|batch| batch.next_msn() <= synced);
            }
            MemoryFault::ReadsLastPageTwice if found.len() > 1 => {
                found.extend(found.last().cloned());
            }
            MemoryFault::ReadsLoseHeaders => {
                found = found.iter().map(without_headers).collect::<Result<_>>()?;
            }
            _ => {}
        }
        Ok(found)
    }
}

fn without_headers(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut messages = Vec::new();
    for record in batch.records(DecodeLimits::default())? {
        messages.push(Message { headers: Vec::new(), ..record?.into() });
    }
    Ok(batch_of(batch.base_msn(), &messages).unwrap())
}

#[async_trait]
impl PartitionStore for BrokenPartition {
    fn bounds(&self) -> Bounds {
        let mut bounds = self.inner.bounds();
        if let Some(end) = *self.announced.lock().unwrap() {
            bounds.next_msn = end;
        }
        if self.is(MemoryFault::DurableBeyondEnd) {
            bounds.durable_msn = bounds.next_msn.plus(1);
        }
        bounds
    }

    async fn refresh(&self) -> Result<Bounds> {
        self.inner.refresh().await
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        self.check_size(&batches)?;
        self.append_broken(batches).await
    }

    async fn sync(&self) -> Result<Msn> {
        if self.is(MemoryFault::SyncNeverFreed) {
            if self.busy.swap(true, Ordering::AcqRel) {
                return Err(Error::new(ErrorKind::Unavailable, "a sync is in flight"));
            }
            tokio::task::yield_now().await;
            self.busy.store(false, Ordering::Release);
        }
        let durable = self.inner.sync().await?;
        *self.synced.lock().unwrap() = durable;
        Ok(match self.fault {
            MemoryFault::SyncAnswersLess => Msn::new(durable.get().saturating_sub(1)),
            MemoryFault::SyncAnswersMore => durable.plus(1),
            _ => durable,
        })
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        match self.read_broken(from, limit).await {
            Err(e) if e.kind() == ErrorKind::Closed && self.is(MemoryFault::RemovedHandlesLive) => {
                Ok(Vec::new())
            }
            answer => answer,
        }
    }

    async fn read_part(&self, batch: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
        match self.fault {
            MemoryFault::PartsAreOfTheRecords => {
                let bytes = bytes.start + HEADER_BYTES..bytes.end + HEADER_BYTES;
                self.inner.read_part(batch, bytes).await
            }
            MemoryFault::PartBeyondTheEndPanics => {
                let held = self.inner.read(batch.start, ReadLimit::bytes(0)).await?;
                Ok(held.first().map(|held| held.to_bytes().slice(bytes)))
            }
            MemoryFault::PartsAreStale => {
                let known = self.parts.lock().unwrap().get(&batch.start).cloned();
                let Some(known) = known else {
                    return self.inner.read_part(batch, bytes).await;
                };
                Ok((bytes.end <= known.len()).then(|| known.slice(bytes)))
            }
            _ => self.inner.read_part(batch, bytes).await,
        }
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        self.trimmed.store(true, Ordering::Release);
        match self.fault {
            MemoryFault::TrimsOneTooMany => self.inner.trim(before.plus(1)).await,
            MemoryFault::TrimKeepsAll => {
                self.inner.usage().await?;
                Ok(self.inner.bounds().first_msn)
            }
            MemoryFault::TrimAnswersTheArgument => {
                self.inner.trim(before).await?;
                Ok(before)
            }
            MemoryFault::TrimIgnoresBeyond if before > self.next() => {
                Ok(self.inner.bounds().first_msn)
            }
            MemoryFault::TrimMovesBack => {
                let first = self.inner.trim(before).await?;
                Ok(first.min(before))
            }
            MemoryFault::TrimsAllPartitions => {
                for partition in self.store.partitions().await? {
                    let options = msglog_core::store::OpenOptions::existing();
                    self.store.open(&partition, options).await?.trim(before).await?;
                }
                Ok(self.inner.bounds().first_msn)
            }
            _ => self.inner.trim(before).await,
        }
    }

    async fn usage(&self) -> Result<Usage> {
        let usage = self.inner.usage().await?;
        Ok(if self.is(MemoryFault::UsageIsZero) { Usage::default() } else { usage })
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        if self.is(MemoryFault::HoleAfterTrim) && self.trimmed.load(Ordering::Acquire) {
            return vec![Msn::ZERO..self.inner.bounds().first_msn];
        }
        self.inner.holes()
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        match self.fault {
            MemoryFault::ClaimsTruncate => {
                Err(Error::new(ErrorKind::Unsupported, "this store cannot truncate"))
            }
            MemoryFault::TruncateKeepsHolder => self.inner.truncate(from.plus(1)).await,
            _ => self.inner.truncate(from).await,
        }
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        if self.is(MemoryFault::FindsTheTrimmed) && timestamp.as_millis() <= 0 {
            return Ok(Msn::ZERO);
        }
        let later = Timestamp::from_millis(timestamp.as_millis().saturating_add(1));
        self.inner.find(if self.is(MemoryFault::FindsTheNext) { later } else { timestamp }).await
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        match self.inner.replace(range, batches).await {
            Err(error)
                if error.kind() == ErrorKind::Invalid && self.is(MemoryFault::ReplacesAnything) =>
            {
                Ok(())
            }
            answer => answer,
        }
    }
}
