//! Batches, partitions and documents as trees of sled.
//!
//! Tree `msglog-partitions` maps the names of partitions to the number of their tree and the MSN
//! they were created at; `msglog-documents` maps keys to version and value. Trees
//! `msglog-batches-<number>` map big-endian base MSNs to batches as they are. One more key in them,
//! above all MSNs, holds where the partition ends and how many bytes it has; it changes in the same
//! atomic batch of sled as the batches do.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use msglog_core::batch::BatchHeader;
use msglog_core::store::{Access, Capabilities, Document, DocumentKey, Survives, Usage, Version};
use msglog_core::{Msn, Result, TopicPartition};
use msglog_kv::{Change, Database, End, Step, closed, corrupt, lock};
use sled::{Batch, Config, Db, IVec, Tree};

use crate::error::{failed, failed_change};
use crate::options::SledOptions;

const PARTITIONS: &str = "msglog-partitions";
const DOCUMENTS: &str = "msglog-documents";
const BATCHES: &str = "msglog-batches-";
/// Above the keys of all batches, whose first bit is 0.
const END_KEY: [u8; 1] = [0xFF];
/// How many batches one step of a change drops.
const DROPS_MAX: usize = 1024;
/// How often, and how far apart, a lock that lingers is looked at.
const LOCK_ROUNDS_MAX: u32 = 1000;
const LOCK_ROUND: Duration = Duration::from_millis(5);

/// An open database of sled, as [`SledStore`](crate::SledStore) needs it.
#[derive(Debug)]
pub struct Sled {
    partitions: Tree,
    documents: Tree,
    /// The trees of partitions, by number.
    trees: Mutex<BTreeMap<u64, Tree>>,
    inner: Db,
    access: Access,
    /// Dropped last.
    _place: Place,
}

/// Which partition it is: the number of its tree, and where it started.
#[derive(Debug)]
pub struct SledRows {
    number: u64,
    first: Msn,
}

/// The folder of sled, which is free once this is dropped after the database.
#[derive(Debug)]
struct Place(PathBuf);

impl Database for Sled {
    type Options = SledOptions;
    type Rows = SledRows;

    const NAME: &'static str = "sled";
    const FOLDER: &'static str = "sled";
    /// The file of sled that holds the data and the lock.
    const FILE: &'static str = "db";

    fn check(options: &SledOptions) -> Result<Access> {
        options.check()?;
        Ok(options.access)
    }

    fn open(folder: &Path, options: &SledOptions) -> Result<Self> {
        let opening = |cause| failed("open the database", cause);
        let config = Config::new()
            .path(folder)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let inner = config.open().map_err(opening)?;
        let sled = Self {
            partitions: inner.open_tree(PARTITIONS).map_err(opening)?,
            documents: inner.open_tree(DOCUMENTS).map_err(opening)?,
            trees: Mutex::default(),
            inner,
            access: options.access,
            _place: Place(folder.to_owned()),
        };
        if options.access == Access::Write {
            sled.drop_leftovers()?;
        }
        Ok(sled)
    }

    fn capabilities() -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::Process;
        capabilities.sync_survives = Survives::Os;
        capabilities
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>> {
        let keys = self.partitions.iter().keys();
        keys.map(|key| text_of(&key.map_err(|cause| failed("list partitions", cause))?)?.parse())
            .collect()
    }

    fn rows(&self, name: &TopicPartition) -> Result<Option<SledRows>> {
        let opening = |cause| failed("open a partition", cause);
        let Some(value) = self.partitions.get(name.to_string()).map_err(opening)? else {
            return Ok(None);
        };
        let rows = SledRows::decode(&value)?;
        let tree = self.inner.open_tree(tree_name(rows.number)).map_err(opening)?;
        lock(&self.trees).insert(rows.number, tree);
        Ok(Some(rows))
    }

    fn create(&self, name: &TopicPartition, first: Msn) -> Result<SledRows> {
        let creating = |cause| failed_change("create a partition", cause);
        let rows = SledRows { number: self.inner.generate_id().map_err(creating)?, first };
        let tree = self.inner.open_tree(tree_name(rows.number)).map_err(creating)?;
        self.partitions.insert(name.to_string(), &rows.encode()).map_err(creating)?;
        self.partitions.flush().map_err(creating)?;
        lock(&self.trees).insert(rows.number, tree);
        Ok(rows)
    }

    fn remove(&self, name: &TopicPartition, rows: &SledRows) -> Result<()> {
        let removing = |cause| failed_change("remove a partition", cause);
        self.partitions.remove(name.to_string()).map_err(removing)?;
        lock(&self.trees).remove(&rows.number);
        self.partitions.flush().map_err(removing)?;
        // From here on it is gone; a crash leaves the tree to the next opening.
        self.inner.drop_tree(tree_name(rows.number)).map_err(removing)?;
        Ok(())
    }

    fn end(&self, rows: &SledRows) -> Result<Option<End>> {
        let tree = self.tree(rows)?;
        let end = tree.get(END_KEY).map_err(|cause| failed("read the end", cause))?;
        let end = end.map_or(Ok(End { next: rows.first, bytes: 0 }), |value| decode_end(&value))?;
        match self.first_from(rows, Msn::ZERO)? {
            Some(first) if first > end.next => {
                Err(corrupt(format!("partition starts at {first} and ends at {}", end.next)))
            }
            _ => Ok(Some(end)),
        }
    }

    fn change(&self, rows: &SledRows, change: &Change<'_>) -> Result<Step> {
        let tree = self.tree(rows)?;
        let mut batch = Batch::default();
        let Dropped { bytes, last, is_all } = drop_some(&tree, change, &mut batch)?;
        let mut end = End { next: change.next, bytes: change.end.bytes.saturating_sub(bytes) };
        match last {
            // The end moves down with the batches that are gone by now.
            Some(last) if !is_all && last >= change.next => end.next = last,
            _ => {}
        }
        if is_all {
            for put in change.put {
                batch.insert(&key(put.base_msn()), put.to_bytes().as_ref());
            }
            end.bytes += change.put_bytes();
        }
        batch.insert(&END_KEY, &encode_end(end));
        tree.apply_batch(batch).map_err(|cause| failed_change(change.what, cause))?;
        Ok(Step { end, is_last: is_all })
    }

    fn sync(&self, rows: &SledRows) -> Result<()> {
        self.tree(rows)?.flush().map(drop).map_err(|cause| failed_change("sync", cause))
    }

    fn first_from(&self, rows: &SledRows, from: Msn) -> Result<Option<Msn>> {
        let oldest = self.tree(rows)?.range(key(from)..key(Msn::MAX)).next().transpose();
        let oldest = oldest.map_err(|cause| failed("look for the oldest batch", cause))?;
        oldest.map(|(key, _)| msn_of(&key)).transpose()
    }

    fn holder_of(&self, rows: &SledRows, msn: Msn) -> Result<Msn> {
        let last = self.tree(rows)?.range(key(Msn::ZERO)..=key(msn)).next_back().transpose();
        let last = last.map_err(|cause| failed("look for a batch", cause))?;
        let Some((key, value)) = last else { return Ok(msn) };
        let base = msn_of(&key)?;
        // A batch whose header is damaged may hold it: whoever reads on finds out.
        let next = BatchHeader::parse(&value).map_or(Msn::MAX, |header| header.next_msn());
        Ok(if next > msn { base } else { msn })
    }

    fn scan(
        &self,
        rows: &SledRows,
        range: Range<Msn>,
        each: &mut dyn FnMut(Msn, Bytes) -> Result<bool>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        for entry in self.tree(rows)?.range(key(range.start)..key(range.end)) {
            let (key, value) = entry.map_err(|cause| failed("read", cause))?;
            if !each(msn_of(&key)?, Bytes::from_owner(value))? {
                break;
            }
        }
        Ok(())
    }

    fn usage(&self, rows: &SledRows, bytes: u64) -> Result<Usage> {
        self.tree(rows)?;
        // All partitions share the files: what they take up is told in whole.
        let whole = self.inner.size_on_disk();
        let whole = whole.map_err(|cause| failed("look at the database", cause))?;
        Ok(Usage::new(bytes, whole.max(bytes), 0))
    }

    fn document(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let value = self.documents.get(key.as_str());
        let value = value.map_err(|cause| failed("load a document", cause))?;
        value.as_ref().map(decode_document).transpose()
    }

    fn put_document(&self, key: &DocumentKey, value: &[u8]) -> Result<Version> {
        let saving = |cause| failed_change("save a document", cause);
        let number = self.inner.generate_id().map_err(saving)?;
        let stored = [number.to_be_bytes().as_slice(), value].concat();
        self.documents.insert(key.as_str(), stored).map_err(saving)?;
        self.documents.flush().map_err(saving)?;
        Ok(Version::new(number))
    }

    fn delete_document(&self, key: &DocumentKey) -> Result<()> {
        let discarding = |cause| failed_change("discard a document", cause);
        self.documents.remove(key.as_str()).map_err(discarding)?;
        self.documents.flush().map(drop).map_err(discarding)
    }

    fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let keys = self.documents.scan_prefix(prefix).keys();
        keys.map(|key| {
            let key = key.map_err(|cause| failed("list documents", cause))?;
            DocumentKey::parse(text_of(&key)?)
        })
        .collect()
    }

    fn close(&self) -> Result<()> {
        self.inner.flush().map(drop).map_err(|cause| failed_change("close", cause))
    }
}

impl Sled {
    /// The tree of a partition.
    ///
    /// # Errors
    ///
    /// [`Closed`](msglog_core::ErrorKind::Closed) when it was removed, also when there is a new one
    /// of its name.
    fn tree(&self, rows: &SledRows) -> Result<Tree> {
        let tree = lock(&self.trees).get(&rows.number).cloned();
        tree.ok_or_else(|| closed("the partition was removed"))
    }

    /// Drops trees whose partition was removed, or never came to be, before a crash.
    fn drop_leftovers(&self) -> Result<()> {
        let mut known = BTreeSet::new();
        for entry in self.partitions.iter().values() {
            let entry = entry.map_err(|cause| failed("list partitions", cause))?;
            known.insert(tree_name(SledRows::decode(&entry)?.number));
        }
        for name in self.inner.tree_names() {
            let is_left = name.starts_with(BATCHES.as_bytes())
                && !known.contains(String::from_utf8_lossy(&name).as_ref());
            if is_left {
                let dropped = self.inner.drop_tree(&name);
                dropped.map_err(|cause| failed("drop a removed partition", cause))?;
            }
        }
        Ok(())
    }
}

impl Drop for Sled {
    /// Blocks as long as sled takes to write its buffers; then the place lets its lock go.
    fn drop(&mut self) {
        if self.access == Access::Write {
            // Whoever wants to know whether it succeeds calls `close`.
            let _ = self.inner.flush();
        }
    }
}

impl Drop for Place {
    /// Waits until the lock of the database is let go: threads of sled may hold it a little longer.
    fn drop(&mut self) {
        let Ok(file) = File::open(self.0.join(Sled::FILE)) else { return };
        for _ in 0..LOCK_ROUNDS_MAX {
            if !matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
                return;
            }
            std::thread::sleep(LOCK_ROUND);
        }
    }
}

impl SledRows {
    fn encode(&self) -> [u8; 16] {
        (u128::from(self.number) << 64 | u128::from(self.first.get())).to_be_bytes()
    }

    fn decode(value: &IVec) -> Result<Self> {
        let broken = || corrupt("the entry of a partition cannot be read");
        let (number, first) = value.split_first_chunk::<8>().ok_or_else(broken)?;
        let first = first.try_into().map_err(|_| broken())?;
        let (number, first) = (u64::from_be_bytes(*number), u64::from_be_bytes(first));
        Ok(Self { number, first: Msn::new(first) })
    }
}

/// What one step drops.
struct Dropped {
    bytes: u64,
    /// The base MSN of the batch that went last.
    last: Option<Msn>,
    is_all: bool,
}

/// Adds to `batch` what drops the batches, up to [`DROPS_MAX`] of them in one step: the oldest
/// first, or the newest where the partition gets shorter, so that a crash leaves a sequence.
fn drop_some(tree: &Tree, change: &Change<'_>, batch: &mut Batch) -> Result<Dropped> {
    let mut dropped = Dropped { bytes: 0, last: None, is_all: true };
    if change.drop.is_empty() {
        return Ok(dropped);
    }
    let newest_first = change.next < change.end.next;
    let drops_max = if change.in_steps { DROPS_MAX } else { usize::MAX };
    let mut entries = tree.range(key(change.drop.start)..key(change.drop.end));
    for count in 0.. {
        let entry = if newest_first { entries.next_back() } else { entries.next() };
        let Some(entry) = entry else { break };
        if count == drops_max {
            dropped.is_all = false;
            break;
        }
        let (key, value) = entry.map_err(|cause| failed(change.what, cause))?;
        dropped.last = Some(msn_of(&key)?);
        dropped.bytes += value.len() as u64;
        batch.remove(key);
    }
    Ok(dropped)
}

fn tree_name(number: u64) -> String {
    format!("{BATCHES}{number}")
}

fn text_of(key: &IVec) -> Result<&str> {
    std::str::from_utf8(key).map_err(|cause| corrupt("a name is no text").with_source(cause))
}

fn decode_document(value: &IVec) -> Result<Document> {
    let broken = || corrupt("a document cannot be read");
    let (version, value) = value.split_first_chunk::<8>().ok_or_else(broken)?;
    let version = Version::new(u64::from_be_bytes(*version));
    Ok(Document { value: Bytes::copy_from_slice(value), version })
}

fn key(msn: Msn) -> [u8; 8] {
    msn.get().to_be_bytes()
}

fn msn_of(key: &[u8]) -> Result<Msn> {
    let bytes = key.try_into().map_err(|_| corrupt("a key of the partition is no MSN"))?;
    Ok(Msn::new(u64::from_be_bytes(bytes)))
}

fn encode_end(end: End) -> [u8; 16] {
    (u128::from(end.next.get()) << 64 | u128::from(end.bytes)).to_be_bytes()
}

fn decode_end(value: &IVec) -> Result<End> {
    let broken = || corrupt("the end of the partition cannot be read");
    let (next, bytes) = value.split_first_chunk::<8>().ok_or_else(broken)?;
    let bytes = bytes.try_into().map_err(|_| broken())?;
    Ok(End { next: Msn::new(u64::from_be_bytes(*next)), bytes: u64::from_be_bytes(bytes) })
}
