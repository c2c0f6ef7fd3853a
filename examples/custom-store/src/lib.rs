//! A msglog store in one [redb](https://docs.rs/redb) file, as a third party would write it.
//!
//! It is whole and conformant, and short because the contract is: batches under partition and
//! base MSN, the next MSN of each partition, documents. `append` commits without waiting for the
//! device, `sync` commits once and waits. [`RedbFactory`] brings the URL scheme `redb:`.

mod document;
mod partition;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{
    Access, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions, Ownership,
    PartitionStore, StoreFactory, StoreInfo, StoreUrl, Survives, Version, blocking, check,
};
use msglog_core::{Error, ErrorKind, Result, TopicPartition};
use redb::{
    Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};

use crate::partition::{Part, RedbPartition};

/// Batches, by partition and base MSN.
const BATCHES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("batches");
/// The next MSN, by partition.
const NEXT: TableDefinition<&str, u64> = TableDefinition::new("next");
/// Version and sealed value, by key.
const DOCUMENTS: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("documents");
/// How many documents were ever saved.
const SAVES: TableDefinition<(), u64> = TableDefinition::new("saves");

/// A store in one redb file.
#[derive(Debug)]
pub struct RedbStore(Arc<Shared>);

struct Shared {
    path: PathBuf,
    database: Mutex<Option<Arc<Opened>>>,
    parts: Mutex<BTreeMap<TopicPartition, Arc<Part>>>,
    is_poisoned: AtomicBool,
}

enum Opened {
    ToWrite(Database),
    ToRead(ReadOnlyDatabase),
}

impl RedbStore {
    /// Opens the file, which is created for writing when there is none.
    pub async fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        let path = path.as_ref().to_owned();
        calling_redb(move || {
            let opened = match access {
                Access::Read if !path.exists() => {
                    return Err(Error::new(ErrorKind::NotFound, "there is no such file"));
                }
                Access::Read => ReadOnlyDatabase::open(&path).map(Opened::ToRead),
                Access::Write => Database::create(&path).map(Opened::ToWrite),
            };
            let database = Mutex::new(Some(Arc::new(opened.map_err(redb_error)?)));
            let (parts, is_poisoned) = (Mutex::default(), AtomicBool::default());
            let shared = Shared { path, database, parts, is_poisoned };
            if access == Access::Write {
                sync_folder_of(&shared.path)?;
                // Makes all tables, so that reads find them.
                shared.write(Durability::Immediate, |transaction| {
                    transaction.open_table(BATCHES).map_err(redb_error)?;
                    transaction.open_table(NEXT).map_err(redb_error)?;
                    transaction.open_table(DOCUMENTS).map_err(redb_error)?;
                    transaction.open_table(SAVES).map_err(redb_error)?;
                    Ok(())
                })?;
            }
            Ok(Self(Arc::new(shared)))
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.0);
        calling_redb(move || work(&shared)).await
    }
}

/// Runs calls of redb, which panics where its own pages are damaged.
async fn calling_redb<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let damaged = || Error::new(ErrorKind::Corrupt, "redb panicked").with_unknown_effect();
    blocking(move || catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damaged()))).await
}

/// A new file's name is durable once its folder is synced.
fn sync_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let synced = std::fs::File::open(folder.unwrap_or(Path::new("."))).and_then(|f| f.sync_all());
    synced.map_err(|cause| Error::from_io("sync the folder", cause))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn redb_error(cause: impl Into<redb::Error>) -> Error {
    let cause = cause.into();
    let kind = match &cause {
        redb::Error::DatabaseAlreadyOpen => ErrorKind::Locked,
        redb::Error::Corrupted(_) | redb::Error::RepairAborted => ErrorKind::Corrupt,
        // All tables are made with one definition each, here.
        redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_) => ErrorKind::Corrupt,
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
            ErrorKind::StorageFull
        }
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "redb").with_source(cause)
}

impl Shared {
    fn database(&self) -> Result<Arc<Opened>> {
        let closed = || Error::new(ErrorKind::Closed, "the store is closed");
        lock(&self.database).clone().ok_or_else(closed)
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        let transaction = match &*self.database()? {
            Opened::ToWrite(database) => database.begin_read(),
            Opened::ToRead(database) => database.begin_read(),
        };
        work(&transaction.map_err(redb_error)?)
    }

    /// Commits what `work` does, or nothing of it.
    fn write<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T>,
    ) -> Result<T> {
        let database = self.database()?;
        let Opened::ToWrite(database) = &*database else {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
        };
        if self.is_poisoned.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Poisoned, "an earlier commit failed"));
        }
        let mut transaction = database.begin_write().map_err(redb_error)?;
        transaction.set_durability(durability).map_err(redb_error)?;
        let answer = work(&transaction)?;
        transaction.commit().map_err(|cause| {
            self.is_poisoned.store(true, Ordering::Release);
            redb_error(cause).with_unknown_effect()
        })?;
        Ok(answer)
    }

    fn part(&self, name: &TopicPartition, options: OpenOptions) -> Result<Arc<Part>> {
        let mut parts = lock(&self.parts);
        if let Some(part) = parts.get(name) {
            self.database()?;
            return Ok(Arc::clone(part));
        }
        let part = Arc::new(match (Part::load(self, name)?, options.create_at) {
            (Some(part), _) => part,
            (None, Some(start)) => Part::create(self, name, start)?,
            (None, None) => {
                let why = format!("there is no partition {name}");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
        });
        parts.insert(name.clone(), Arc::clone(&part));
        Ok(part)
    }

    fn remove(&self, name: &TopicPartition) -> Result<bool> {
        let mut parts = lock(&self.parts);
        let there = self.write(Durability::Immediate, |transaction| {
            let text = name.to_string();
            let mut batches = transaction.open_table(BATCHES).map_err(redb_error)?;
            let all = (text.as_str(), 0)..=(text.as_str(), u64::MAX);
            batches.retain_in(all, |_, _| false).map_err(redb_error)?;
            let mut next = transaction.open_table(NEXT).map_err(redb_error)?;
            Ok(next.remove(text.as_str()).map_err(redb_error)?.is_some())
        })?;
        if let Some(part) = parts.remove(name) {
            part.is_removed.store(true, Ordering::Release);
        }
        Ok(there)
    }

    fn names(&self) -> Result<Vec<TopicPartition>> {
        let mut names: Vec<TopicPartition> = self.read(|transaction| {
            let table = transaction.open_table(NEXT).map_err(redb_error)?;
            let rows = table.iter().map_err(redb_error)?;
            rows.map(|row| row.map_err(redb_error)?.0.value().parse()).collect()
        })?;
        names.sort();
        Ok(names)
    }

    fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS).map_err(redb_error)?;
            let found = table.get(key.as_str()).map_err(redb_error)?;
            found.map(|row| document::opened(key, row.value())).transpose()
        })
    }

    /// Replaces a document by a value or by nothing; answers its state before and after.
    fn change(
        &self,
        key: &DocumentKey,
        value: Option<&[u8]>,
        expected: Expected,
    ) -> Result<(bool, Version)> {
        self.write(Durability::Immediate, |transaction| {
            let mut table = transaction.open_table(DOCUMENTS).map_err(redb_error)?;
            let there = table.get(key.as_str()).map_err(redb_error)?.map(|row| row.value().0);
            check::expected(key, expected, there.map(Version::new))?;
            let mut saves = transaction.open_table(SAVES).map_err(redb_error)?;
            let version = saves.get(()).map_err(redb_error)?.map_or(0, |row| row.value()) + 1;
            match value {
                Some(value) => {
                    saves.insert((), version).map_err(redb_error)?;
                    let sealed = document::sealed(key, version, value)?;
                    let row = (version, sealed.as_slice());
                    drop(table.insert(key.as_str(), row).map_err(redb_error)?);
                }
                None => drop(table.remove(key.as_str()).map_err(redb_error)?),
            }
            Ok((there.is_some(), Version::new(version)))
        })
    }

    fn keys(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        self.read(|transaction| {
            let table = transaction.open_table(DOCUMENTS).map_err(redb_error)?;
            let mut keys = Vec::new();
            for row in table.range(prefix..).map_err(redb_error)? {
                let (key, _) = row.map_err(redb_error)?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                keys.push(DocumentKey::parse(key.value())?);
            }
            Ok(keys)
        })
    }

    fn close(&self) -> Result<()> {
        let synced = match self.write(Durability::Immediate, |_| Ok(())) {
            Err(error) if !matches!(error.kind(), ErrorKind::Closed | ErrorKind::ReadOnly) => {
                Err(error)
            }
            _ => Ok(()),
        };
        drop(lock(&self.database).take());
        synced
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "redb({})", self.path.display())
    }
}

#[async_trait]
impl MessageStore for RedbStore {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("redb", self.0.path.display().to_string())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.sync_survives = Survives::Power;
        capabilities.ownership = Ownership::Exclusive;
        capabilities.exact_trim = true;
        capabilities.calls_block = true;
        capabilities
    }

    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>> {
        let name = partition.clone();
        let batch_bytes_max = self.capabilities().batch_bytes_max;
        self.run(move |shared| {
            let part = shared.part(&name, options)?;
            let shared = Arc::clone(shared);
            let opened = RedbPartition { shared, part, name: name.to_string(), batch_bytes_max };
            Ok(Arc::new(opened) as Arc<dyn PartitionStore>)
        })
        .await
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        self.run(|shared| shared.names()).await
    }

    async fn remove(&self, partition: &TopicPartition) -> Result<bool> {
        let name = partition.clone();
        self.run(move |shared| shared.remove(&name)).await
    }

    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        let key = key.clone();
        self.run(move |shared| shared.load(&key)).await
    }

    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version> {
        check::document_size(&value, self.capabilities().document_bytes_max)?;
        let key = key.clone();
        self.run(move |shared| Ok(shared.change(&key, Some(&value), expected)?.1)).await
    }

    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let key = key.clone();
        self.run(move |shared| Ok(shared.change(&key, None, expected)?.0)).await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let prefix = prefix.to_owned();
        self.run(move |shared| shared.keys(&prefix)).await
    }

    async fn close(&self) -> Result<()> {
        self.run(|shared| shared.close()).await
    }
}

/// Opens `redb:///path/of/the/file`.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedbFactory;

#[async_trait]
impl StoreFactory for RedbFactory {
    fn scheme(&self) -> &'static str {
        "redb"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        url.check_keys(&[])?;
        let path = url
            .as_url()
            .to_file_path()
            .map_err(|()| Error::new(ErrorKind::Invalid, "expected redb:///path/of/the/file"))?;
        Ok(Arc::new(RedbStore::open(path, access).await?))
    }
}
