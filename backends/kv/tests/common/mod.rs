//! The smallest database that a store can be made over: a `BTreeMap` whose calls a test can fail.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use msglog_core::batch::BatchHeader;
use msglog_core::store::{Access, Capabilities, Document, DocumentKey, Survives, Usage, Version};
use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};
use msglog_kv::{Change, Database, End, Step, closed};

/// How many batches one step of a change drops.
pub(crate) const DROPS_MAX: usize = 3;

/// What there is, and how the next call fails; outlives the stores that are opened on it.
#[derive(Debug, Default)]
pub(crate) struct Content {
    partitions: BTreeMap<TopicPartition, u64>,
    rows: BTreeMap<u64, (End, BTreeMap<Msn, Bytes>)>,
    documents: BTreeMap<DocumentKey, (Version, Bytes)>,
    number: u64,
    /// What the next change answers after it was done.
    pub(crate) fails: Option<Error>,
    /// What the next sync answers.
    pub(crate) fails_sync: Option<Error>,
    /// Whether the next change panics before it does anything.
    pub(crate) panics: bool,
    /// Whether the next change that is done in steps fails after the first.
    pub(crate) stops_between_steps: bool,
    pub(crate) steps: u64,
    /// How many batches scans have handed out.
    pub(crate) looked_at: u64,
}

impl Content {
    /// Flips the last bit of the batch with this base, in whichever partition.
    pub(crate) fn damage(&mut self, base: Msn) {
        for (_, batches) in self.rows.values_mut() {
            let Some(value) = batches.get_mut(&base) else { continue };
            let mut bytes = value.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            *value = bytes.into();
        }
    }
}

/// A store's options: what it is opened on.
pub(crate) type Shared = Arc<Mutex<Content>>;

#[derive(Debug)]
pub(crate) struct Map(Shared);

impl Map {
    fn with<T>(
        &self,
        rows: &u64,
        work: impl FnOnce(&mut (End, BTreeMap<Msn, Bytes>)) -> T,
    ) -> Result<T> {
        let mut content = self.0.lock().unwrap();
        content.rows.get_mut(rows).map(work).ok_or_else(|| closed("the partition was removed"))
    }
}

impl Database for Map {
    type Options = Shared;
    type Rows = u64;

    const NAME: &'static str = "map";
    const FOLDER: &'static str = "map";
    const FILE: &'static str = "file";

    fn check(_: &Shared) -> Result<Access> {
        Ok(Access::Write)
    }

    fn open(_: &Path, options: &Shared) -> Result<Self> {
        Ok(Self(options.clone()))
    }

    fn capabilities() -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.sync_survives = Survives::Process;
        capabilities
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>> {
        Ok(self.0.lock().unwrap().partitions.keys().cloned().collect())
    }

    fn rows(&self, name: &TopicPartition) -> Result<Option<u64>> {
        Ok(self.0.lock().unwrap().partitions.get(name).copied())
    }

    fn create(&self, name: &TopicPartition, first: Msn) -> Result<u64> {
        let mut content = self.0.lock().unwrap();
        content.number += 1;
        let number = content.number;
        content.partitions.insert(name.clone(), number);
        content.rows.insert(number, (End { next: first, bytes: 0 }, BTreeMap::new()));
        Ok(number)
    }

    fn remove(&self, name: &TopicPartition, rows: &u64) -> Result<()> {
        let mut content = self.0.lock().unwrap();
        content.partitions.remove(name);
        content.rows.remove(rows);
        Ok(())
    }

    fn end(&self, rows: &u64) -> Result<Option<End>> {
        Ok(self.with(rows, |(end, _)| *end).ok())
    }

    fn change(&self, rows: &u64, change: &Change<'_>) -> Result<Step> {
        let mut content = self.0.lock().unwrap();
        if std::mem::take(&mut content.panics) {
            drop(content);
            panic!("{} went wrong", change.what);
        }
        if content.stops_between_steps && content.steps > 0 {
            return Err(Error::new(ErrorKind::Unavailable, "gone").with_unknown_effect());
        }
        content.steps += 1;
        let (end, batches) = content.rows.get_mut(rows).unwrap();
        let mut going: Vec<Msn> = match change.drop.is_empty() {
            true => Vec::new(),
            false => batches.range(change.drop.clone()).map(|(base, _)| *base).collect(),
        };
        let is_last = !change.in_steps || going.len() <= DROPS_MAX;
        let mut next = change.next;
        if !is_last && change.next < change.end.next {
            going.reverse();
            next = *going.get(DROPS_MAX - 1).unwrap();
        }
        going.truncate(if is_last { usize::MAX } else { DROPS_MAX });
        let gone: usize = going.iter().map(|base| batches.remove(base).unwrap().len()).sum();
        for put in change.put {
            batches.insert(put.base_msn(), put.to_bytes());
        }
        *end = End { next, bytes: change.end.bytes - gone as u64 + change.put_bytes() };
        let step = Step { end: *end, is_last };
        content.fails.take().map_or(Ok(step), Err)
    }

    fn sync(&self, _: &u64) -> Result<()> {
        self.0.lock().unwrap().fails_sync.take().map_or(Ok(()), Err)
    }

    fn first_from(&self, rows: &u64, from: Msn) -> Result<Option<Msn>> {
        self.with(rows, |(_, batches)| batches.range(from..).next().map(|(base, _)| *base))
    }

    fn holder_of(&self, rows: &u64, msn: Msn) -> Result<Msn> {
        self.with(rows, |(_, batches)| {
            let last = batches.range(..=msn).next_back();
            let holder =
                last.filter(|(_, value)| BatchHeader::parse(value).unwrap().next_msn() > msn);
            holder.map_or(msn, |(base, _)| *base)
        })
    }

    fn scan(
        &self,
        rows: &u64,
        range: Range<Msn>,
        each: &mut dyn FnMut(Msn, Bytes) -> Result<bool>,
    ) -> Result<()> {
        let batches = self.with(rows, |(_, batches)| batches.clone())?;
        for (base, value) in batches.range(range) {
            self.0.lock().unwrap().looked_at += 1;
            if !each(*base, value.clone())? {
                break;
            }
        }
        Ok(())
    }

    fn usage(&self, _: &u64, bytes: u64) -> Result<Usage> {
        Ok(Usage::new(bytes, bytes, 0))
    }

    fn document(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let content = self.0.lock().unwrap();
        let found = content.documents.get(key).cloned();
        Ok(found.map(|(version, value)| Document { value, version }))
    }

    fn put_document(&self, key: &DocumentKey, value: &[u8]) -> Result<Version> {
        let mut content = self.0.lock().unwrap();
        content.number += 1;
        let version = Version::new(content.number);
        content.documents.insert(key.clone(), (version, Bytes::copy_from_slice(value)));
        Ok(version)
    }

    fn delete_document(&self, key: &DocumentKey) -> Result<()> {
        self.0.lock().unwrap().documents.remove(key);
        Ok(())
    }

    fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let content = self.0.lock().unwrap();
        let keys = content.documents.keys().filter(|key| key.as_str().starts_with(prefix));
        Ok(keys.cloned().collect())
    }

    fn close(&self) -> Result<()> {
        self.0.lock().unwrap().fails_sync.take().map_or(Ok(()), Err)
    }
}
