//! Opening a store by URL: `fs:///absolute/path?segment_bytes=67108864&strict=true`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use msglog_core::store::{Access, MessageStore, StoreFactory, StoreUrl};
use msglog_core::{Error, ErrorKind, Result};

use crate::{FsOptions, FsStore};

/// The query keys: the options of the same names.
const KEYS: &[&str] = &[
    "segment_bytes",
    "index_interval_bytes",
    "open_files_max",
    "checkpoint_bytes",
    "zeros_ahead_bytes",
    "strict",
    "full_scan",
    "background",
];

/// Opens stores of the scheme `fs`: `fs:///absolute/path`, with options as query keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsFactory;

impl FsFactory {
    /// The folder that a URL of the scheme `fs` names.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a URL of another scheme, or one that names no folder.
    pub fn folder(url: &StoreUrl) -> Result<PathBuf> {
        if url.as_url().scheme() != "fs" {
            return Err(Error::new(ErrorKind::Invalid, format!("`{url}` is no folder of files")));
        }
        path(url)
    }
}

#[async_trait]
impl StoreFactory for FsFactory {
    fn scheme(&self) -> &'static str {
        "fs"
    }

    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>> {
        let (path, options) = (path(url)?, options(url, access)?);
        Ok(Arc::new(FsStore::open(path, options).await?))
    }
}

pub(crate) fn options(url: &StoreUrl, access: Access) -> Result<FsOptions> {
    url.check_keys(KEYS)?;
    let default = FsOptions::new(access);
    let options = FsOptions {
        segment_bytes: url.parsed("segment_bytes")?.unwrap_or(default.segment_bytes),
        index_interval_bytes: url
            .parsed("index_interval_bytes")?
            .unwrap_or(default.index_interval_bytes),
        open_files_max: url.parsed("open_files_max")?.unwrap_or(default.open_files_max),
        checkpoint_bytes: url.parsed("checkpoint_bytes")?.unwrap_or(default.checkpoint_bytes),
        zeros_ahead_bytes: url.parsed("zeros_ahead_bytes")?.unwrap_or(default.zeros_ahead_bytes),
        strict: url.parsed("strict")?.unwrap_or(default.strict),
        full_scan: url.parsed("full_scan")?.unwrap_or(default.full_scan),
        background: url.parsed("background")?.unwrap_or(default.background),
        access,
    };
    options.check()?;
    Ok(options)
}

fn path(url: &StoreUrl) -> Result<PathBuf> {
    let invalid = |why: String| Err(Error::new(ErrorKind::Invalid, why));
    if let Some(host) = url.as_url().host_str().filter(|host| !host.is_empty()) {
        return invalid(format!("`{url}` names the host `{host}`: a path takes three slashes"));
    }
    let encoded = url.as_url().path();
    if !encoded.starts_with('/') {
        return invalid(format!("`{url}` has no absolute path"));
    }
    match decode(encoded) {
        Some(path) if !path.contains(&0) => Ok(OsString::from_vec(path).into()),
        _ => invalid(format!("`{url}` has a path that cannot be decoded")),
    }
}

/// Percent-decodes; `None` for a `%` without two hexadecimal digits.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(text: &str) -> Result<PathBuf> {
        path(&StoreUrl::parse(text).unwrap())
    }

    #[test]
    fn path_is_decoded_and_a_host_is_invalid() {
        assert_eq!(path_of("fs:///var/a%20b").unwrap(), PathBuf::from("/var/a b"));
        for text in ["fs://host/path", "fs:relative", "fs:///a%2", "fs:///a%zz", "fs:///a%00"] {
            assert_eq!(path_of(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn unknown_key_and_value_out_of_range_are_invalid() {
        for query in ["colour=red", "segment_bytes=1", "strict=maybe", "segment_bytes=-1"] {
            let url = StoreUrl::parse(&format!("fs:///x?{query}")).unwrap();
            let error = options(&url, Access::Read).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{query}");
        }
        let url = StoreUrl::parse("fs:///x?segment_bytes=4096&strict=true").unwrap();
        let options = options(&url, Access::Read).unwrap();
        assert_eq!((options.segment_bytes, options.strict), (4096, true));
    }
}
