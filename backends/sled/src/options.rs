//! What a store is opened with, and its URL.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use msglog_core::store::{Access, MessageStore, StoreFactory, StoreUrl};
use msglog_core::{Error, ErrorKind, Result};
use msglog_kv::folder_of;

use crate::SledStore;

/// The pages that sled keeps in memory, unless the options say otherwise.
pub const CACHE_BYTES_DEFAULT: u64 = 64 << 20;
/// The smallest cache.
pub const CACHE_BYTES_MIN: u64 = 1 << 20;
/// The largest cache.
pub const CACHE_BYTES_MAX: u64 = 1 << 40;

/// How a store is opened.
///
/// ```
/// use msglog_sled::SledOptions;
///
/// let mut options = SledOptions::default();
/// options.cache_bytes = 256 << 20;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SledOptions {
    /// For reading or for writing.
    pub access: Access,
    /// Bytes of pages that sled keeps in memory.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { access: Access::Write, cache_bytes: CACHE_BYTES_DEFAULT }
    }
}

impl SledOptions {
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
        if (CACHE_BYTES_MIN..=CACHE_BYTES_MAX).contains(&self.cache_bytes) {
            return Ok(());
        }
        let bytes = self.cache_bytes;
        let why =
            format!("cache_bytes {bytes} is out of range ({CACHE_BYTES_MIN} to {CACHE_BYTES_MAX})");
        Err(Error::new(ErrorKind::Invalid, why))
    }
}

/// Opens `sled:///folder?cache_bytes=...`: the absolute path of a folder, created when missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct SledFactory;

#[async_trait]
impl StoreFactory for SledFactory {
    fn scheme(&self) -> &'static str {
        "sled"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        let (folder, options) = from_url(url, access)?;
        Ok(Arc::new(SledStore::open(folder, options).await?))
    }
}

fn from_url(url: &StoreUrl, access: Access) -> Result<(PathBuf, SledOptions)> {
    url.check_keys(&["cache_bytes"])?;
    let mut options = SledOptions::new(access);
    if let Some(bytes) = url.parsed("cache_bytes")? {
        options.cache_bytes = bytes;
    }
    options.check()?;
    Ok((folder_of(url)?, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<(PathBuf, SledOptions)> {
        from_url(&StoreUrl::parse(url).unwrap(), Access::Write)
    }

    #[test]
    fn url_names_a_folder_and_options() {
        let (folder, options) = parsed("sled:///var/lib/the%20orders?cache_bytes=1048576").unwrap();
        assert_eq!(folder, PathBuf::from("/var/lib/the orders"));
        assert_eq!(options.cache_bytes, CACHE_BYTES_MIN);
    }

    #[test]
    fn url_that_is_not_exactly_understood_is_invalid() {
        for url in [
            "sled:relative",
            "sled:",
            "sled:///",
            "sled://host/x",
            "sled://user@/x",
            "sled:///x#part",
            "sled:///x?colour=red",
            "sled:///x?cache_bytes=",
            "sled:///x?cache_bytes=-1",
            "sled:///x?cache_bytes=1048575",
        ] {
            let Ok(url) = StoreUrl::parse(url) else { continue };
            let error = from_url(&url, Access::Write).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{url}");
        }
    }
}
