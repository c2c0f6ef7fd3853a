//! What a store is opened with, and its URL.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use msglog_core::store::{Access, MessageStore, StoreFactory, StoreUrl};
use msglog_core::{Error, ErrorKind, Result};
use msglog_kv::folder_of;

use crate::RocksDbStore;

/// The write buffer, unless the options say otherwise.
pub const WRITE_BUFFER_BYTES_DEFAULT: usize = 64 << 20;
/// Which sizes of the write buffer can be.
pub const WRITE_BUFFER_BYTES: RangeInclusive<usize> = 64 << 10..=4 << 30;
/// The cache of blocks read from files, unless the options say otherwise.
pub const CACHE_BYTES_DEFAULT: usize = 32 << 20;
/// Which sizes of the cache can be.
pub const CACHE_BYTES: RangeInclusive<usize> = 64 << 10..=1 << 40;
/// From which size on batches go to blob files, unless the options say otherwise.
pub const BLOB_BYTES_MIN_DEFAULT: u64 = 16 << 10;
/// How many threads flush and compact, unless the options say otherwise.
pub const BACKGROUND_JOBS_MAX_DEFAULT: usize = 2;
/// Which numbers of threads can be.
pub const BACKGROUND_JOBS_MAX: RangeInclusive<usize> = 1..=64;

/// How a store is opened.
///
/// ```
/// use msglog_rocksdb::RocksDbOptions;
///
/// let mut options = RocksDbOptions::default();
/// options.write_buffer_bytes = 256 << 20;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct RocksDbOptions {
    /// For reading or for writing.
    pub access: Access,
    /// Bytes of batches that gather in memory before they are written to a file; up to twice as
    /// many are held, and as many of the write-ahead log are read when the store is opened.
    pub write_buffer_bytes: usize,
    /// Bytes of blocks read from files that are kept in memory.
    pub cache_bytes: usize,
    /// Batches of at least this many bytes go to blob files, which compaction does not rewrite;
    /// 0 keeps all batches out of them.
    pub blob_bytes_min: u64,
    /// How many threads flush and compact.
    pub background_jobs_max: usize,
}

impl Default for RocksDbOptions {
    fn default() -> Self {
        Self {
            access: Access::Write,
            write_buffer_bytes: WRITE_BUFFER_BYTES_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
            blob_bytes_min: BLOB_BYTES_MIN_DEFAULT,
            background_jobs_max: BACKGROUND_JOBS_MAX_DEFAULT,
        }
    }
}

impl RocksDbOptions {
    /// The default options for this access.
    pub fn new(access: Access) -> Self {
        Self { access, ..Self::default() }
    }

    /// Checks every limit.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the option that is out of range.
    pub fn check(&self) -> Result<()> {
        within("write_buffer_bytes", self.write_buffer_bytes, &WRITE_BUFFER_BYTES)?;
        within("cache_bytes", self.cache_bytes, &CACHE_BYTES)?;
        within("background_jobs_max", self.background_jobs_max, &BACKGROUND_JOBS_MAX)
    }
}

fn within(name: &str, value: usize, range: &RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let why = format!("{name} {value} is out of range ({} to {})", range.start(), range.end());
    Err(Error::new(ErrorKind::Invalid, why))
}

/// Opens `rocksdb:///folder?key=value&...`: the absolute path of a folder, created when missing.
///
/// The keys are the fields of [`RocksDbOptions`] but for the access.
#[derive(Clone, Copy, Debug, Default)]
pub struct RocksDbFactory;

#[async_trait]
impl StoreFactory for RocksDbFactory {
    fn scheme(&self) -> &'static str {
        "rocksdb"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        let (folder, options) = from_url(url, access)?;
        Ok(Arc::new(RocksDbStore::open(folder, options).await?))
    }
}

const KEYS: [&str; 4] =
    ["write_buffer_bytes", "cache_bytes", "blob_bytes_min", "background_jobs_max"];

fn from_url(url: &StoreUrl, access: Access) -> Result<(PathBuf, RocksDbOptions)> {
    url.check_keys(&KEYS)?;
    let mut options = RocksDbOptions::new(access);
    if let Some(bytes) = url.parsed("write_buffer_bytes")? {
        options.write_buffer_bytes = bytes;
    }
    if let Some(bytes) = url.parsed("cache_bytes")? {
        options.cache_bytes = bytes;
    }
    if let Some(bytes) = url.parsed("blob_bytes_min")? {
        options.blob_bytes_min = bytes;
    }
    if let Some(jobs) = url.parsed("background_jobs_max")? {
        options.background_jobs_max = jobs;
    }
    options.check()?;
    Ok((folder_of(url)?, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<(PathBuf, RocksDbOptions)> {
        from_url(&StoreUrl::parse(url).unwrap(), Access::Write)
    }

    #[test]
    fn url_names_a_folder_and_options() {
        let url = "rocksdb:///var/lib/the%20orders?cache_bytes=65536&blob_bytes_min=0\
                   &write_buffer_bytes=65536&background_jobs_max=64";
        let (folder, options) = parsed(url).unwrap();
        assert_eq!(folder, PathBuf::from("/var/lib/the orders"));
        assert_eq!((options.cache_bytes, options.blob_bytes_min), (65_536, 0));
        assert_eq!((options.write_buffer_bytes, options.background_jobs_max), (65_536, 64));
    }

    #[test]
    fn url_that_is_not_exactly_understood_is_invalid() {
        for url in [
            "rocksdb:relative",
            "rocksdb:",
            "rocksdb:///",
            "rocksdb://host/x",
            "rocksdb://user@host/x",
            "rocksdb:///x#part",
            "rocksdb:///x?colour=red",
            "rocksdb:///x?cache_bytes=",
            "rocksdb:///x?blob_bytes_min=-1",
            "rocksdb:///x?cache_bytes=65535",
            "rocksdb:///x?write_buffer_bytes=1",
            "rocksdb:///x?background_jobs_max=0",
        ] {
            assert_eq!(parsed(url).unwrap_err().kind(), ErrorKind::Invalid, "{url}");
        }
    }
}
