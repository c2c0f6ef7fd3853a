//! Batches, partitions and documents as rows of RocksDB.
//!
//! Besides the batch there is an entry in the index, so that looking for one, dropping many and
//! finding a time read none of the batches; and the entry of the partition says where it ends.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use msglog_core::store::{Access, Capabilities, Document, DocumentKey, Survives, Usage, Version};
use msglog_core::{Error, ErrorKind, Msn, Result, Timestamp, TopicPartition};
use msglog_kv::{self as kv, End, Step, corrupt};

use crate::codec::{COUNTER_KEY, IndexEntry, PartitionEntry, base_of, batch_key, decode_number};
use crate::database::{Change, Database, Family};
use crate::options::RocksDbOptions;

/// Above every key that is text.
const TEXT_END: [u8; 1] = [0xFF];

/// An open database of RocksDB, as [`RocksDbStore`](crate::RocksDbStore) needs it.
#[derive(Debug)]
pub struct RocksDb {
    database: Database,
}

/// Which partition it is: its name, and the number in its keys.
#[derive(Debug)]
pub struct RocksDbRows {
    name: String,
    number: u32,
}

impl RocksDbRows {
    fn key(&self, base: Msn) -> [u8; 12] {
        batch_key(self.number, base)
    }

    fn keys(&self, range: &Range<Msn>) -> ([u8; 12], [u8; 12]) {
        (self.key(range.start), self.key(range.end))
    }
}

impl kv::Database for RocksDb {
    type Options = RocksDbOptions;
    type Rows = RocksDbRows;

    const NAME: &'static str = "rocksdb";
    const FOLDER: &'static str = "db";
    /// The file that RocksDB writes last when it creates a database.
    const FILE: &'static str = "CURRENT";

    fn check(options: &RocksDbOptions) -> Result<Access> {
        options.check()?;
        Ok(options.access)
    }

    fn open(folder: &Path, options: &RocksDbOptions) -> Result<Self> {
        Ok(Self { database: Database::open(folder, options)? })
    }

    fn capabilities() -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.append_survives = Survives::Os;
        capabilities.sync_survives = Survives::Power;
        capabilities.shared_readers = true;
        capabilities.find = true;
        capabilities
    }

    fn catch_up(&self) -> Result<()> {
        self.database.catch_up()
    }

    fn partitions(&self) -> Result<Vec<TopicPartition>> {
        let mut names = Vec::new();
        self.database.scan(Family::Partitions, &[0], &TEXT_END, |key, _| {
            names.push(text_of(key)?.parse()?);
            Ok(true)
        })?;
        Ok(names)
    }

    fn rows(&self, name: &TopicPartition) -> Result<Option<RocksDbRows>> {
        let name = name.to_string();
        let entry = self.entry(&name)?;
        Ok(entry.map(|entry| RocksDbRows { name, number: entry.number }))
    }

    fn create(&self, name: &TopicPartition, first: Msn) -> Result<RocksDbRows> {
        let counter = self.counter(Family::Partitions)?;
        let Ok(number) = u32::try_from(counter) else {
            let why = "the numbers of partitions are used up";
            return Err(Error::new(ErrorKind::Unsupported, why));
        };
        let rows = RocksDbRows { name: name.to_string(), number };
        let entry = PartitionEntry { number, next: first, bytes: 0 };
        let mut change = Change::of(&self.database);
        change.put(Family::Partitions, rows.name.as_bytes(), &entry.encode())?;
        change.put(Family::Partitions, &COUNTER_KEY, &(counter + 1).to_be_bytes())?;
        self.database.change_durably("create a partition", change)?;
        Ok(rows)
    }

    fn remove(&self, name: &TopicPartition, rows: &RocksDbRows) -> Result<()> {
        let all = Msn::ZERO..Msn::MAX;
        let mut change = Change::of(&self.database);
        drop_batches(&mut change, rows, &all)?;
        change.delete(Family::Partitions, name.to_string().as_bytes())?;
        self.database.change_durably("remove a partition", change)?;
        self.database.free_files(&rows.key(all.start), &rows.key(all.end));
        Ok(())
    }

    fn end(&self, rows: &RocksDbRows) -> Result<Option<End>> {
        let entry = self.entry(&rows.name)?.filter(|entry| entry.number == rows.number);
        Ok(entry.map(|entry| End { next: entry.next, bytes: entry.bytes }))
    }

    fn change(&self, rows: &RocksDbRows, asked: &kv::Change<'_>) -> Result<Step> {
        let mut change = Change::of(&self.database);
        let mut bytes = asked.end.bytes;
        if !asked.drop.is_empty() {
            bytes = bytes.saturating_sub(self.bytes_in(rows, &asked.drop)?);
            drop_batches(&mut change, rows, &asked.drop)?;
        }
        for batch in asked.put {
            let key = rows.key(batch.base_msn());
            change.put(Family::Batches, &key, &batch.to_bytes())?;
            change.put(Family::Index, &key, &IndexEntry::of(batch).encode())?;
        }
        let end = End { next: asked.next, bytes: bytes + asked.put_bytes() };
        let entry = PartitionEntry { number: rows.number, next: end.next, bytes: end.bytes };
        change.put(Family::Partitions, rows.name.as_bytes(), &entry.encode())?;
        self.database.change(asked.what, change)?;
        Ok(Step::last(end))
    }

    fn sync(&self, _rows: &RocksDbRows) -> Result<()> {
        self.database.sync()
    }

    fn free(&self, rows: &RocksDbRows, before: Msn) {
        // The end is inclusive: the last MSN that is gone.
        let last = Msn::new(before.get().saturating_sub(1));
        self.database.free_files(&rows.key(Msn::ZERO), &rows.key(last));
    }

    fn first_from(&self, rows: &RocksDbRows, from: Msn) -> Result<Option<Msn>> {
        let mut first = None;
        let (start, end) = rows.keys(&(from..Msn::MAX));
        self.database.scan(Family::Index, &start, &end, |key, _| {
            first = Some(base_of(key)?);
            Ok(false)
        })?;
        Ok(first)
    }

    fn holder_of(&self, rows: &RocksDbRows, msn: Msn) -> Result<Msn> {
        let (start, last) = rows.keys(&(Msn::ZERO..msn));
        let Some((key, value)) = self.database.last_pair(Family::Index, &start, &last)? else {
            return Ok(msn);
        };
        let holds = IndexEntry::decode(&value)?.next > msn;
        if holds { base_of(&key) } else { Ok(msn) }
    }

    fn scan(
        &self,
        rows: &RocksDbRows,
        range: Range<Msn>,
        each: &mut dyn FnMut(Msn, Bytes) -> Result<bool>,
    ) -> Result<()> {
        let (start, end) = rows.keys(&range);
        self.database.scan(Family::Batches, &start, &end, |key, value| {
            each(base_of(key)?, Bytes::copy_from_slice(value))
        })
    }

    fn find(&self, rows: &RocksDbRows, range: Range<Msn>, timestamp: Timestamp) -> Result<Msn> {
        let mut found = range.end;
        let (start, end) = rows.keys(&range);
        self.database.scan(Family::Index, &start, &end, |key, value| {
            if IndexEntry::decode(value)?.max_timestamp < timestamp {
                return Ok(true);
            }
            found = base_of(key)?;
            Ok(false)
        })?;
        Ok(found)
    }

    fn usage(&self, rows: &RocksDbRows, bytes: u64) -> Result<Usage> {
        let (start, end) = rows.keys(&(Msn::ZERO..Msn::MAX));
        let mut allocated = 0;
        for family in [Family::Batches, Family::Index] {
            allocated += self.database.file_bytes(family, &start, &end)?;
        }
        Ok(Usage::new(bytes, allocated.max(bytes), 0))
    }

    fn document(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let value = self.database.value(Family::Documents, key.as_str().as_bytes())?;
        value.map(decode_document).transpose()
    }

    fn put_document(&self, key: &DocumentKey, value: &[u8]) -> Result<Version> {
        let number = self.counter(Family::Documents)?;
        let mut change = Change::of(&self.database);
        let stored = [number.to_be_bytes().as_slice(), value].concat();
        change.put(Family::Documents, key.as_str().as_bytes(), &stored)?;
        change.put(Family::Documents, &COUNTER_KEY, &(number + 1).to_be_bytes())?;
        self.database.change_durably("save a document", change)?;
        Ok(Version::new(number))
    }

    fn delete_document(&self, key: &DocumentKey) -> Result<()> {
        let mut change = Change::of(&self.database);
        change.delete(Family::Documents, key.as_str().as_bytes())?;
        self.database.change_durably("discard a document", change)
    }

    fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let start = if prefix.is_empty() { &[0] } else { prefix.as_bytes() };
        let mut keys = Vec::new();
        self.database.scan(Family::Documents, start, &TEXT_END, |key, _| {
            if !key.starts_with(prefix.as_bytes()) {
                return Ok(false);
            }
            keys.push(DocumentKey::parse(text_of(key)?)?);
            Ok(true)
        })?;
        Ok(keys)
    }

    fn close(&self) -> Result<()> {
        self.database.sync()
    }
}

impl RocksDb {
    fn entry(&self, name: &str) -> Result<Option<PartitionEntry>> {
        let value = self.database.value(Family::Partitions, name.as_bytes())?;
        value.as_deref().map(PartitionEntry::decode).transpose()
    }

    /// The next number of a family, which nobody has used.
    fn counter(&self, family: Family) -> Result<u64> {
        let value = self.database.value(family, &COUNTER_KEY)?;
        value.as_deref().map_or(Ok(1), decode_number)
    }

    fn bytes_in(&self, rows: &RocksDbRows, range: &Range<Msn>) -> Result<u64> {
        let (start, end) = rows.keys(range);
        let mut bytes = 0;
        self.database.scan(Family::Index, &start, &end, |_, value| {
            bytes += u64::from(IndexEntry::decode(value)?.length);
            Ok(true)
        })?;
        Ok(bytes)
    }
}

/// Adds to a change what drops the batches with a base in `range`.
fn drop_batches(change: &mut Change<'_>, rows: &RocksDbRows, range: &Range<Msn>) -> Result<()> {
    let (start, end) = rows.keys(range);
    change.delete_range(Family::Batches, &start, &end)?;
    change.delete_range(Family::Index, &start, &end)
}

fn text_of(key: &[u8]) -> Result<&str> {
    std::str::from_utf8(key).map_err(|cause| corrupt("a name is no text").with_source(cause))
}

fn decode_document(value: Vec<u8>) -> Result<Document> {
    let mut value = Bytes::from(value);
    if value.len() < 8 {
        return Err(corrupt("a document cannot be read"));
    }
    let version = decode_number(&value.split_to(8))?;
    Ok(Document { value, version: Version::new(version) })
}
