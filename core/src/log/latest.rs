//! The newest record of each key of a partition, in memory, brought up to date when it is asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::partition::Partition;
use crate::store::ReadLimit;
use crate::{Header, Msn, Record, Result};

/// Bytes that an entry takes beside its key and its record.
const ENTRY_BYTES: usize = 160;

/// Bytes that all views of a log may take.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub(super) fn of(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The view of one partition.
#[derive(Debug)]
pub(super) struct Latest {
    view: tokio::sync::Mutex<View>,
}

#[derive(Debug)]
struct View {
    records: HashMap<Bytes, Record>,
    /// Everything below is in it.
    next_msn: Msn,
    bytes: usize,
    budget: Arc<Budget>,
    /// The budget did not suffice: every question reads the partition.
    exceeded: bool,
}

impl Latest {
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        let (records, next_msn) = (HashMap::new(), Msn::ZERO);
        let view = View { records, next_msn, bytes: 0, budget, exceeded: false };
        Self { view: tokio::sync::Mutex::new(view) }
    }
}

impl Partition {
    /// The newest record of a key that is no tombstone.
    pub(super) async fn latest(&self, key: &[u8]) -> Result<Option<Record>> {
        let mut view = self.latest.view.lock().await;
        let end = self.fresh_bounds().await?.next_msn;
        while view.next_msn < end && !view.exceeded {
            let page = self.read(view.next_msn, ReadLimit::default()).await?;
            if page.next_msn <= view.next_msn {
                break;
            }
            view.next_msn = page.next_msn;
            page.records.into_iter().for_each(|record| view.note(record));
        }
        let first = self.bounds().first_msn;
        if view.exceeded {
            drop(view);
            return self.scan_for(key, end).await;
        }
        // What was trimmed is gone here too.
        Ok(view.records.get(key).filter(|record| record.msn >= first).cloned())
    }

    async fn scan_for(&self, key: &[u8], end: Msn) -> Result<Option<Record>> {
        let (mut from, mut newest) = (Msn::ZERO, None);
        while from < end {
            let page = self.read(from, ReadLimit::default()).await?;
            if page.next_msn <= from {
                break;
            }
            from = page.next_msn;
            let of_key = |record: &Record| record.key.as_deref() == Some(key);
            newest = page.records.into_iter().rfind(of_key).or(newest);
        }
        Ok(newest.filter(|record| record.payload.is_some()).map(own))
    }
}

impl View {
    fn note(&mut self, record: Record) {
        let Some(key) = record.key.as_deref() else { return };
        if let Some(old) = self.records.remove(key) {
            self.free(bytes_of(&old));
        }
        if record.payload.is_none() || self.exceeded {
            return;
        }
        let bytes = bytes_of(&record);
        if !self.budget.take(bytes) {
            let taken = self.bytes;
            self.free(taken);
            self.records = HashMap::new();
            self.exceeded = true;
            return;
        }
        self.bytes += bytes;
        let record = own(record);
        if let Some(key) = record.key.clone() {
            self.records.insert(key, record);
        }
    }

    fn free(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

fn bytes_of(record: &Record) -> usize {
    let len = |field: &Option<Bytes>| field.as_ref().map_or(0, Bytes::len);
    let header = |header: &Header| ENTRY_BYTES + header.name.len() + len(&header.value);
    let headers: usize = record.headers.iter().map(header).sum();
    ENTRY_BYTES + len(&record.key) + len(&record.payload) + headers
}

/// The record with bytes of its own: else it would keep the whole batch in memory.
fn own(mut record: Record) -> Record {
    let own = |field: Option<Bytes>| field.map(|bytes| Bytes::copy_from_slice(&bytes));
    record.key = own(record.key);
    record.payload = own(record.payload);
    for header in &mut record.headers {
        header.value = own(header.value.take());
    }
    record
}
