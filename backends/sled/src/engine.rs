//! One opening of a database of sled: its trees, its partitions, its documents.
//!
//! Tree `msglog-partitions` maps the names of partitions to the number of their tree and the MSN
//! they were created at; trees `msglog-batches-<number>` hold batches; `msglog-documents` maps keys
//! to version and value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use msglog_core::store::{Document, DocumentKey, Expected, OpenOptions, Version};
use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};
use sled::{Config, Db, IVec, Tree};

use crate::error::{closed, corrupt, failed, failed_change, lock};
use crate::options::SledOptions;
use crate::sequence::Sequence;

const PARTITIONS: &str = "msglog-partitions";
const DOCUMENTS: &str = "msglog-documents";
const BATCHES: &str = "msglog-batches-";

#[derive(Debug)]
pub(crate) struct Engine {
    database: Db,
    partitions: Tree,
    documents: Tree,
    open: Mutex<BTreeMap<TopicPartition, OpenPartition>>,
    /// Held while a document changes.
    document_turn: Mutex<()>,
}

#[derive(Debug)]
struct OpenPartition {
    sequence: Arc<Sequence>,
    tree: Tree,
}

/// What the tree of partitions says of one.
struct Entry {
    number: u64,
    first: Msn,
}

impl Engine {
    pub(crate) fn open(folder: &Path, options: &SledOptions) -> Result<Self> {
        let opening = |cause| failed("open the database", cause);
        let config = Config::new()
            .path(folder)
            .cache_capacity(options.cache_bytes)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let database = config.open().map_err(opening)?;
        let partitions = database.open_tree(PARTITIONS).map_err(opening)?;
        let documents = database.open_tree(DOCUMENTS).map_err(opening)?;
        let (open, document_turn) = (Mutex::default(), Mutex::default());
        Ok(Self { database, partitions, documents, open, document_turn })
    }

    /// Drops trees whose partition was removed, or never came to be, before a crash.
    pub(crate) fn drop_leftovers(&self) -> Result<()> {
        let mut known = BTreeSet::new();
        for entry in self.partitions.iter().values() {
            let entry = Entry::decode(&entry.map_err(|cause| failed("list partitions", cause))?)?;
            known.insert(tree_name(entry.number));
        }
        for name in self.database.tree_names() {
            let is_left = name.starts_with(BATCHES.as_bytes()) && {
                let text = String::from_utf8_lossy(&name);
                !known.contains(text.as_ref())
            };
            if is_left {
                let dropped = self.database.drop_tree(&name);
                dropped.map_err(|cause| failed("drop a removed partition", cause))?;
            }
        }
        Ok(())
    }

    pub(crate) fn open_partition(
        &self,
        name: &TopicPartition,
        options: OpenOptions,
        is_writer: bool,
    ) -> Result<Arc<Sequence>> {
        let opening = |cause| failed("open a partition", cause);
        let mut open = lock(&self.open);
        if let Some(there) = open.get(name) {
            return Ok(Arc::clone(&there.sequence));
        }
        let key = name.to_string();
        let entry = match (self.partitions.get(&key).map_err(opening)?, options.create_at) {
            (Some(value), _) => Entry::decode(&value)?,
            (None, Some(first)) if is_writer => self.create(&key, first)?,
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
        let tree = self.database.open_tree(tree_name(entry.number)).map_err(opening)?;
        let sequence = Sequence::recover(&tree, entry.first)
            .map_err(|error| error.within(format_args!("partition {name}")))?;
        let sequence = Arc::new(sequence);
        open.insert(name.clone(), OpenPartition { sequence: Arc::clone(&sequence), tree });
        Ok(sequence)
    }

    fn create(&self, key: &str, first: Msn) -> Result<Entry> {
        let creating = |cause| failed_change("create a partition", cause);
        let entry = Entry { number: self.database.generate_id().map_err(creating)?, first };
        self.partitions.insert(key, &entry.encode()).map_err(creating)?;
        self.partitions.flush().map_err(creating)?;
        Ok(entry)
    }

    /// The tree of an open partition.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) when it was removed, also when there is a new one of its name.
    pub(crate) fn tree_of(&self, name: &TopicPartition, sequence: &Arc<Sequence>) -> Result<Tree> {
        match lock(&self.open).get(name) {
            Some(there) if Arc::ptr_eq(&there.sequence, sequence) => Ok(there.tree.clone()),
            _ => Err(closed("the partition was removed")),
        }
    }

    pub(crate) fn partitions(&self) -> Result<Vec<TopicPartition>> {
        let mut names = Vec::new();
        for key in self.partitions.iter().keys() {
            let key = key.map_err(|cause| failed("list partitions", cause))?;
            names.push(text_of(&key)?.parse()?);
        }
        names.sort();
        Ok(names)
    }

    pub(crate) fn remove(&self, name: &TopicPartition) -> Result<bool> {
        let removing = |cause| failed_change("remove a partition", cause);
        let mut open = lock(&self.open);
        let Some(value) = self.partitions.remove(name.to_string()).map_err(removing)? else {
            return Ok(false);
        };
        open.remove(name);
        self.partitions.flush().map_err(removing)?;
        // From here on it is gone; a crash leaves the tree to the next opening.
        self.database.drop_tree(tree_name(Entry::decode(&value)?.number)).map_err(removing)?;
        Ok(true)
    }

    pub(crate) fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let value = self.documents.get(key.as_str());
        value.map_err(|cause| failed("load a document", cause))?.as_ref().map(decode).transpose()
    }

    pub(crate) fn save(
        &self,
        key: &DocumentKey,
        value: &[u8],
        expected: Expected,
    ) -> Result<Version> {
        let saving = |cause| failed_change("save a document", cause);
        let _turn = lock(&self.document_turn);
        self.check_expected(key, expected)?;
        let number = self.database.generate_id().map_err(saving)?;
        let stored = [number.to_be_bytes().as_slice(), value].concat();
        self.documents.insert(key.as_str(), stored).map_err(saving)?;
        self.documents.flush().map_err(saving)?;
        Ok(Version::new(number))
    }

    pub(crate) fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let discarding = |cause| failed_change("discard a document", cause);
        let _turn = lock(&self.document_turn);
        self.check_expected(key, expected)?;
        let was_there = self.documents.remove(key.as_str()).map_err(discarding)?.is_some();
        if was_there {
            self.documents.flush().map_err(discarding)?;
        }
        Ok(was_there)
    }

    pub(crate) fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let keys = self.documents.scan_prefix(prefix).keys();
        keys.map(|key| {
            let key = key.map_err(|cause| failed("list documents", cause))?;
            DocumentKey::parse(text_of(&key)?)
        })
        .collect()
    }

    pub(crate) fn size_on_disk(&self) -> Result<u64> {
        self.database.size_on_disk().map_err(|cause| failed("look at the database", cause))
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.database.flush().map(drop).map_err(|cause| failed_change("close", cause))
    }

    fn check_expected(&self, key: &DocumentKey, expected: Expected) -> Result<()> {
        if expected.matches(self.load(key)?.map(|document| document.version)) {
            return Ok(());
        }
        let why = format!("document {key} is not in the expected state");
        Err(Error::new(ErrorKind::Conflict, why))
    }
}

impl Entry {
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

fn tree_name(number: u64) -> String {
    format!("{BATCHES}{number}")
}

fn text_of(key: &IVec) -> Result<&str> {
    std::str::from_utf8(key).map_err(|cause| corrupt("a name is no text").with_source(cause))
}

fn decode(value: &IVec) -> Result<Document> {
    let broken = || corrupt("a document cannot be read");
    let (version, value) = value.split_first_chunk::<8>().ok_or_else(broken)?;
    let version = Version::new(u64::from_be_bytes(*version));
    Ok(Document { value: Bytes::copy_from_slice(value), version })
}
