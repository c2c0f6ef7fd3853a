//! What a journal's frames add up to: partitions with their batches, and documents.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::{Buf, BufMut, Bytes};
use msglog_core::store::{Bounds, Document, DocumentKey, ReadLimit, Usage, Version};
use msglog_core::{Msn, RecordBatch, Result, TopicPartition};

use crate::file_store::FileFault;

/// One change; a frame holds exactly one.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Create(TopicPartition, Msn),
    Append(TopicPartition, Vec<RecordBatch>),
    Trim(TopicPartition, Msn),
    Truncate(TopicPartition, Msn),
    Replace(TopicPartition, Range<Msn>, Vec<RecordBatch>),
    Remove(TopicPartition),
    Save(DocumentKey, Bytes),
    Discard(DocumentKey),
}

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, name) = match self {
            Self::Create(name, _) => (b'O', name.to_string()),
            Self::Append(name, _) => (b'B', name.to_string()),
            Self::Trim(name, _) => (b'T', name.to_string()),
            Self::Truncate(name, _) => (b'C', name.to_string()),
            Self::Replace(name, ..) => (b'R', name.to_string()),
            Self::Remove(name) => (b'X', name.to_string()),
            Self::Save(name, _) => (b'D', name.to_string()),
            Self::Discard(name) => (b'Z', name.to_string()),
        };
        let mut bytes = vec![kind];
        bytes.put_u16(u16::try_from(name.len()).unwrap());
        bytes.put_slice(name.as_bytes());
        match self {
            Self::Create(_, msn) | Self::Trim(_, msn) | Self::Truncate(_, msn) => {
                bytes.put_u64(msn.get());
            }
            Self::Append(_, batches) => put_batches(&mut bytes, batches),
            Self::Replace(_, range, batches) => {
                bytes.put_u64(range.start.get());
                bytes.put_u64(range.end.get());
                put_batches(&mut bytes, batches);
            }
            Self::Save(_, value) => bytes.put_slice(value),
            Self::Remove(_) | Self::Discard(_) => {}
        }
        bytes
    }

    pub(crate) fn decode(payload: Vec<u8>) -> Option<Self> {
        let mut bytes = Bytes::from(payload);
        let kind = bytes.try_get_u8().ok()?;
        let length = usize::from(bytes.try_get_u16().ok()?);
        if bytes.len() < length {
            return None;
        }
        let name = String::from_utf8(bytes.split_to(length).to_vec()).ok()?;
        let name = name.as_str();
        Some(match kind {
            b'O' => Self::Create(name.parse().ok()?, bytes.try_get_u64().ok()?.into()),
            b'B' => Self::Append(name.parse().ok()?, batches(bytes)?),
            b'T' => Self::Trim(name.parse().ok()?, bytes.try_get_u64().ok()?.into()),
            b'C' => Self::Truncate(name.parse().ok()?, bytes.try_get_u64().ok()?.into()),
            b'R' => {
                let start = bytes.try_get_u64().ok()?.into();
                let end = bytes.try_get_u64().ok()?.into();
                Self::Replace(name.parse().ok()?, start..end, batches(bytes)?)
            }
            b'X' => Self::Remove(name.parse().ok()?),
            b'D' => Self::Save(DocumentKey::parse(name).ok()?, bytes),
            b'Z' => Self::Discard(DocumentKey::parse(name).ok()?),
            _ => return None,
        })
    }
}

fn put_batches(bytes: &mut Vec<u8>, batches: &[RecordBatch]) {
    for batch in batches {
        bytes.put_slice(&batch.to_bytes());
    }
}

fn batches(mut bytes: Bytes) -> Option<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        batches.push(RecordBatch::split_first(&mut bytes).ok()??);
    }
    Some(batches)
}

/// All partitions and documents.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) partitions: BTreeMap<TopicPartition, Part>,
    pub(crate) documents: BTreeMap<DocumentKey, Document>,
}

/// One partition, and which creation of that name it is.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) creation: u64,
    batches: Vec<RecordBatch>,
    pub(crate) next: Msn,
    pub(crate) durable: Msn,
    /// The bounds as of the last change, for whoever must not wait for the next one.
    shown: Arc<Mutex<Bounds>>,
}

impl Contents {
    /// Applies a change whose frame ends at `end`, a number that never comes back.
    pub(crate) fn apply(&mut self, change: Change, end: u64, fault: FileFault) {
        match change {
            Change::Create(name, start) => {
                let (batches, shown) = (Vec::new(), Arc::default());
                let part = Part { creation: end, batches, next: start, durable: start, shown };
                part.show();
                self.partitions.insert(name, part);
            }
            Change::Remove(name) => drop(self.partitions.remove(&name)),
            Change::Save(key, value) => {
                self.documents.insert(key, Document { value, version: Version::new(end) });
            }
            Change::Discard(key) => drop(self.documents.remove(&key)),
            Change::Append(name, batches) => self.change(&name, |part| part.append(batches)),
            Change::Trim(name, before) => self.change(&name, |part| {
                part.batches.retain(|batch| batch.next_msn() > before);
                if fault == FileFault::ReusesMsns && part.batches.is_empty() {
                    part.next = Msn::ZERO;
                }
            }),
            Change::Truncate(name, from) => self.change(&name, |part| part.truncate(from)),
            Change::Replace(name, range, new) => self.change(&name, |part| {
                part.batches.retain(|batch| !range.contains(&batch.base_msn()));
                part.batches.extend(new);
                part.batches.sort_by_key(RecordBatch::base_msn);
            }),
        }
    }

    fn change(&mut self, name: &TopicPartition, change: impl FnOnce(&mut Part)) {
        if let Some(part) = self.partitions.get_mut(name) {
            change(part);
            part.show();
        }
    }

    pub(crate) fn all_is_durable(&mut self) {
        for part in self.partitions.values_mut() {
            part.durable = part.next;
            part.show();
        }
    }
}

impl Part {
    pub(crate) fn shown(&self) -> Arc<Mutex<Bounds>> {
        Arc::clone(&self.shown)
    }

    fn show(&self) {
        *self.shown.lock().unwrap() = self.bounds();
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let first_msn = self.batches.first().map_or(self.next, RecordBatch::base_msn);
        let durable_msn = self.durable.max(first_msn);
        Bounds { first_msn, next_msn: self.next, durable_msn }
    }

    fn append(&mut self, batches: Vec<RecordBatch>) {
        self.next = batches.last().map_or(self.next, RecordBatch::next_msn);
        self.batches.extend(batches);
    }

    fn truncate(&mut self, from: Msn) {
        if let Some(cut) = self.batches.iter().position(|batch| batch.next_msn() > from) {
            self.next = self.batches[cut].base_msn();
            self.durable = self.durable.min(self.next);
            self.batches.truncate(cut);
        }
    }

    pub(crate) fn read(&self, from: Msn, limit: ReadLimit) -> Vec<RecordBatch> {
        let mut bytes = 0_usize;
        let mut found = Vec::new();
        for batch in self.batches.iter().filter(|batch| batch.next_msn() > from) {
            bytes = bytes.saturating_add(batch.encoded_len());
            if bytes > limit.bytes && !found.is_empty() {
                break;
            }
            found.push(batch.clone());
        }
        found
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        let bytes = self.batches.iter().map(|batch| batch.encoded_len() as u64).sum();
        Ok(Usage::new(bytes, bytes, 1))
    }

    /// Whether the range cuts no batch and the new batches lie in it in order.
    pub(crate) fn may_replace(&self, range: &Range<Msn>, new: &[RecordBatch]) -> bool {
        let cuts = |msn: Msn| {
            self.batches.iter().any(|batch| batch.base_msn() < msn && msn < batch.next_msn())
        };
        let mut next = range.start;
        let inside = new.iter().all(|batch| {
            let follows = batch.base_msn() >= next;
            next = batch.next_msn();
            follows && next <= range.end
        });
        inside && range.end <= self.next && !cuts(range.start) && !cuts(range.end)
    }
}
