//! One opening of a place: the database, its partitions, its documents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use msglog_core::store::{Access, Document, DocumentKey, Expected, OpenOptions, Version};
use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};

use crate::codec::{COUNTER_KEY, PartitionEntry, batch_key, decode_number};
use crate::database::{Change, Database, Family};
use crate::error::{corrupt, lock};
use crate::options::RocksDbOptions;
use crate::sequence::Sequence;

/// Above every key that is text.
const TEXT_END: [u8; 1] = [0xFF];

#[derive(Debug)]
pub(crate) struct Engine {
    database: Database,
    access: Access,
    open: Mutex<BTreeMap<TopicPartition, Arc<Sequence>>>,
    /// Held while a document changes.
    document_turn: Mutex<()>,
}

impl Engine {
    pub(crate) fn open(folder: &Path, options: &RocksDbOptions) -> Result<Self> {
        let database = Database::open(folder, options)?;
        let (open, document_turn) = (Mutex::default(), Mutex::default());
        Ok(Self { database, access: options.access, open, document_turn })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn is_follower(&self) -> bool {
        self.access == Access::Read
    }

    pub(crate) fn open_partition(
        &self,
        name: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<Sequence>> {
        let mut open = lock(&self.open);
        if let Some(there) = open.get(name)
            && !self.is_gone(there)
        {
            return Ok(Arc::clone(there));
        }
        self.database.catch_up()?;
        let entry = match (self.entry(name)?, options.create_at) {
            (Some(entry), _) => entry,
            (None, Some(first)) if !self.is_follower() => self.create(name, first)?,
            (None, Some(_)) => {
                let why =
                    format!("there is no partition {name}, and the store is open for reading");
                return Err(Error::new(ErrorKind::ReadOnly, why));
            }
            (None, None) => {
                let why = format!("there is no partition {name}");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
        };
        let sequence = Arc::new(
            Sequence::recover(&self.database, name, entry)
                .map_err(|error| error.within(format_args!("partition {name}")))?,
        );
        open.insert(name.clone(), Arc::clone(&sequence));
        Ok(sequence)
    }

    /// Whether a follower's partition was removed by the writer.
    fn is_gone(&self, there: &Sequence) -> bool {
        self.is_follower()
            && there.refresh(&self.database).is_err_and(|error| error.kind() == ErrorKind::Closed)
    }

    fn entry(&self, name: &TopicPartition) -> Result<Option<PartitionEntry>> {
        let value = self.database.value(Family::Partitions, name.to_string().as_bytes())?;
        value.as_deref().map(PartitionEntry::decode).transpose()
    }

    fn create(&self, name: &TopicPartition, first: Msn) -> Result<PartitionEntry> {
        let number = self.counter(Family::Partitions)?;
        let Ok(short) = u32::try_from(number) else {
            let why = "the numbers of partitions are used up";
            return Err(Error::new(ErrorKind::Unsupported, why));
        };
        let entry = PartitionEntry { number: short, next: first, bytes: 0 };
        let mut change = Change::of(&self.database);
        change.put(Family::Partitions, name.to_string().as_bytes(), &entry.encode())?;
        change.put(Family::Partitions, &COUNTER_KEY, &(number + 1).to_be_bytes())?;
        self.database.change_durably("create a partition", change)?;
        Ok(entry)
    }

    /// The next number of a family, which nobody has used.
    fn counter(&self, family: Family) -> Result<u64> {
        let value = self.database.value(family, &COUNTER_KEY)?;
        value.as_deref().map_or(Ok(1), decode_number)
    }

    pub(crate) fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.database.catch_up()?;
        let mut names = Vec::new();
        self.database.scan(Family::Partitions, &[0], &TEXT_END, |(key, _)| {
            names.push(text_of(&key)?.parse()?);
            Ok(true)
        })?;
        names.sort();
        Ok(names)
    }

    pub(crate) fn remove(&self, name: &TopicPartition) -> Result<bool> {
        let mut open = lock(&self.open);
        let Some(entry) = self.entry(name)? else { return Ok(false) };
        let mut change = Change::of(&self.database);
        Sequence::remove(entry.number, &name.to_string(), &mut change)?;
        let there = open.remove(name);
        let alone = there.as_ref().map(|there| there.end());
        self.database.change_durably("remove a partition", change)?;
        drop(alone);
        let (start, last) = (batch_key(entry.number, Msn::ZERO), batch_key(entry.number, Msn::MAX));
        self.database.free_files(&start, &last);
        Ok(true)
    }

    pub(crate) fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.database.catch_up()?;
        let value = self.database.value(Family::Documents, key.as_str().as_bytes())?;
        value.map(decode).transpose()
    }

    pub(crate) fn save(
        &self,
        key: &DocumentKey,
        value: &[u8],
        expected: Expected,
    ) -> Result<Version> {
        let _turn = self.check_expected(key, expected)?;
        let number = self.counter(Family::Documents)?;
        let mut change = Change::of(&self.database);
        let stored = [number.to_be_bytes().as_slice(), value].concat();
        change.put(Family::Documents, key.as_str().as_bytes(), &stored)?;
        change.put(Family::Documents, &COUNTER_KEY, &(number + 1).to_be_bytes())?;
        self.database.change_durably("save a document", change)?;
        Ok(Version::new(number))
    }

    pub(crate) fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let _turn = self.check_expected(key, expected)?;
        if self.load(key)?.is_none() {
            return Ok(false);
        }
        let mut change = Change::of(&self.database);
        change.delete(Family::Documents, key.as_str().as_bytes())?;
        self.database.change_durably("discard a document", change)?;
        Ok(true)
    }

    pub(crate) fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        self.database.catch_up()?;
        let start = if prefix.is_empty() { &[0] } else { prefix.as_bytes() };
        let mut keys = Vec::new();
        self.database.scan(Family::Documents, start, &TEXT_END, |(key, _)| {
            if !key.starts_with(prefix.as_bytes()) {
                return Ok(false);
            }
            keys.push(DocumentKey::parse(text_of(&key)?)?);
            Ok(true)
        })?;
        Ok(keys)
    }

    /// Makes everything durable and lets the place go.
    pub(crate) fn close(self) -> Result<()> {
        if self.is_follower() { Ok(()) } else { self.database.sync() }
    }

    /// Lets no other document change while the answer lives.
    fn check_expected(&self, key: &DocumentKey, expected: Expected) -> Result<MutexGuard<'_, ()>> {
        let turn = lock(&self.document_turn);
        if expected.matches(self.load(key)?.map(|document| document.version)) {
            return Ok(turn);
        }
        let why = format!("document {key} is not in the expected state");
        Err(Error::new(ErrorKind::Conflict, why))
    }
}

fn text_of(key: &[u8]) -> Result<&str> {
    std::str::from_utf8(key).map_err(|cause| corrupt("a name is no text").with_source(cause))
}

fn decode(value: Vec<u8>) -> Result<Document> {
    let mut value = Bytes::from(value);
    if value.len() < 8 {
        return Err(corrupt("a document cannot be read"));
    }
    let version = decode_number(&value.split_to(8))?;
    Ok(Document { value, version: Version::new(version) })
}
