//! The database of RocksDB: opened for writing or to follow a writer, synced, searched.

use std::path::Path;
use std::sync::{PoisonError, RwLock};

use msglog_core::store::Access;
use msglog_core::{Error, ErrorKind, Result};
use msglog_kv::corrupt;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, Direction, IteratorMode, LogLevel, Options, ReadOptions, WriteBatch,
};
use tempfile::TempDir;

use crate::error::{failed, failed_change};
use crate::flusher::Flusher;
use crate::manifest;
use crate::options::RocksDbOptions;

/// The write buffer of everything but the batches.
const SMALL_BUFFER_BYTES: usize = 8 << 20;
/// How much of the write-ahead log is kept at most, as a multiple of the write buffer.
const LOG_BUFFERS_MAX: u64 = 3;

/// A part of the database with an order of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    Batches,
    Documents,
    Index,
    Partitions,
}

impl Family {
    const ALL: [Self; 4] = [Self::Batches, Self::Documents, Self::Index, Self::Partitions];

    fn name(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Documents => "documents",
            Self::Index => "index",
            Self::Partitions => "partitions",
        }
    }

    fn options(self, options: &RocksDbOptions, cache: &Cache) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(cache);
        let mut family = Options::default();
        family.set_block_based_table_factory(&table);
        // Batches bring their own compression.
        family.set_compression_type(DBCompressionType::None);
        family.set_write_buffer_size(match self {
            Self::Batches => options.write_buffer_bytes,
            _ => options.write_buffer_bytes.min(SMALL_BUFFER_BYTES),
        });
        if self == Self::Batches && options.blob_bytes_min > 0 {
            family.set_enable_blob_files(true);
            family.set_min_blob_size(options.blob_bytes_min);
        }
        family
    }
}

/// A key and a value, as an iteration gives them.
pub(crate) type Pair = (Box<[u8]>, Box<[u8]>);

/// An open database.
#[derive(Debug)]
pub(crate) struct Database {
    inner: DB,
    flusher: Flusher,
    /// Held alone while a follower catches up: what is seen in between is neither old nor new.
    view: RwLock<()>,
    /// Where RocksDB writes a follower's own log; gone with the database.
    follower: Option<TempDir>,
}

impl Database {
    pub(crate) fn open(folder: &Path, options: &RocksDbOptions) -> Result<Self> {
        let opening = |cause| failed("open the database", cause);
        manifest::check(folder)?;
        let cache = Cache::new_lru_cache(options.cache_bytes);
        let families = Family::ALL.map(|family| {
            ColumnFamilyDescriptor::new(family.name(), family.options(options, &cache))
        });
        let mut whole = database_options(options);
        let (inner, follower) = match options.access {
            Access::Write => {
                whole.create_if_missing(true);
                whole.create_missing_column_families(true);
                (DB::open_cf_descriptors(&whole, folder, families).map_err(opening)?, None)
            }
            Access::Read => {
                check_whole(folder, &whole)?;
                // A follower must keep what it reads open, for the writer may delete it.
                whole.set_max_open_files(-1);
                let own = tempfile::Builder::new().prefix("msglog-rocksdb-").tempdir();
                let own = own.map_err(|cause| Error::from_io("make a follower's folder", cause))?;
                let path = own.path().to_owned();
                let inner = DB::open_cf_descriptors_as_secondary(&whole, folder, &path, families);
                (inner.map_err(opening)?, Some(own))
            }
        };
        Ok(Self { inner, flusher: Flusher::default(), view: RwLock::default(), follower })
    }

    /// Looks at what the writer has done; changes nothing in the writer's own database.
    pub(crate) fn catch_up(&self) -> Result<()> {
        if self.follower.is_none() {
            return Ok(());
        }
        let _alone = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let caught_up = self.inner.try_catch_up_with_primary();
        caught_up.map_err(|cause| failed("follow the writer", cause))
    }

    pub(crate) fn value(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let _view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        self.inner.get_cf(self.family(family)?, key).map_err(|cause| failed("read", cause))
    }

    /// Hands the pairs with `start <= key < end` to `each`, in order, until it answers `false`.
    pub(crate) fn scan(
        &self,
        family: Family,
        start: &[u8],
        end: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let _view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let mut reading = ReadOptions::default();
        reading.set_iterate_upper_bound(end);
        let mut pairs = self.inner.raw_iterator_cf_opt(self.family(family)?, reading);
        pairs.seek(start);
        while let Some((key, value)) = pairs.item() {
            if !each(key, value)? {
                return Ok(());
            }
            pairs.next();
        }
        pairs.status().map_err(|cause| failed("read", cause))
    }

    /// The pair with the largest key that is at least `start` and at most `last`.
    pub(crate) fn last_pair(
        &self,
        family: Family,
        start: &[u8],
        last: &[u8],
    ) -> Result<Option<Pair>> {
        let _view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        let mut reading = ReadOptions::default();
        reading.set_iterate_lower_bound(start);
        let mode = IteratorMode::From(last, Direction::Reverse);
        let mut pairs = self.inner.iterator_cf_opt(self.family(family)?, reading, mode);
        pairs.next().transpose().map_err(|cause| failed("read", cause))
    }

    /// Applies a change as a whole, also across a crash; it survives a power cut after `sync`.
    pub(crate) fn change(&self, what: &str, change: Change<'_>) -> Result<()> {
        self.inner.write(change.batch).map_err(|cause| failed_change(what, cause))
    }

    /// As [`change`](Self::change), and on the device when it returns.
    pub(crate) fn change_durably(&self, what: &str, change: Change<'_>) -> Result<()> {
        self.change(what, change)?;
        self.sync().map_err(|error| error.within(what))
    }

    /// Returns once every change made before the call is on the device.
    pub(crate) fn sync(&self) -> Result<()> {
        self.flusher.flush(&self.inner)
    }

    /// Gives space back at once where files hold nothing but batches with keys from `start` to
    /// `last`, all of which are deleted already.
    pub(crate) fn free_files(&self, start: &[u8], last: &[u8]) {
        for family in [Family::Batches, Family::Index] {
            if let Ok(family) = self.family(family) {
                // Compaction gives back later what this cannot now.
                let _ = self.inner.delete_file_in_range_cf(family, start, last);
            }
        }
    }

    /// About how many bytes of files the keys from `start` to `end` take up.
    pub(crate) fn file_bytes(&self, family: Family, start: &[u8], end: &[u8]) -> Result<u64> {
        let range = rocksdb::Range::new(start, end);
        let sizes = self.inner.get_approximate_sizes_cf(self.family(family)?, &[range]);
        Ok(sizes.iter().sum())
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily> {
        let name = family.name();
        let found = self.inner.cf_handle(name);
        found.ok_or_else(|| corrupt(format!("the database has no column family `{name}`")))
    }
}

impl Drop for Database {
    /// Waits for what runs in the background; syncs nothing.
    fn drop(&mut self) {
        self.inner.cancel_all_background_work(true);
    }
}

/// Checks that the database was made to its end: its families come after its files.
fn check_whole(folder: &Path, options: &Options) -> Result<()> {
    let there =
        DB::list_cf(options, folder).map_err(|cause| failed("look at the database", cause))?;
    if Family::ALL.iter().all(|family| there.iter().any(|name| name == family.name())) {
        return Ok(());
    }
    let why = "there is no store yet: whoever made it has not come to the end";
    Err(Error::new(ErrorKind::NotFound, why))
}

fn database_options(options: &RocksDbOptions) -> Options {
    let mut whole = Options::default();
    let jobs = i32::try_from(options.background_jobs_max).unwrap_or(i32::MAX);
    whole.set_max_background_jobs(jobs);
    whole.set_max_total_wal_size((options.write_buffer_bytes as u64) * LOG_BUFFERS_MAX);
    // A log that ends in the middle of a record is what a crash leaves, also where later bytes
    // reached the device before earlier ones.
    whole.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    whole.set_log_level(LogLevel::Warn);
    whole.set_keep_log_file_num(2);
    whole
}

/// Changes of the database that become visible together.
pub(crate) struct Change<'a> {
    database: &'a Database,
    batch: WriteBatch,
}

impl<'a> Change<'a> {
    pub(crate) fn of(database: &'a Database) -> Self {
        Self { database, batch: WriteBatch::default() }
    }

    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        self.batch.put_cf(self.database.family(family)?, key, value);
        Ok(())
    }

    pub(crate) fn delete(&mut self, family: Family, key: &[u8]) -> Result<()> {
        self.batch.delete_cf(self.database.family(family)?, key);
        Ok(())
    }

    /// Deletes the keys with `start <= key < end`.
    pub(crate) fn delete_range(&mut self, family: Family, start: &[u8], end: &[u8]) -> Result<()> {
        self.batch.delete_range_cf(self.database.family(family)?, start, end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_whose_making_was_cut_short_is_none_to_readers_and_finished_by_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let mut bare = Options::default();
        bare.create_if_missing(true);
        drop(DB::open(&bare, folder.path()).unwrap());
        let reading = RocksDbOptions::new(Access::Read);
        let error = Database::open(folder.path(), &reading).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        drop(Database::open(folder.path(), &RocksDbOptions::default()).unwrap());
        Database::open(folder.path(), &reading).unwrap();
    }
}
