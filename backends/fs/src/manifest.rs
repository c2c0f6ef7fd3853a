//! `msglog.json`: what makes a folder a store, and how often it was opened for writing.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use msglog_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::io::{FileSystem, read_small, replace_file};
use crate::layout::{MANIFEST, MANIFEST_TEMPORARY};

/// The format that this version reads and writes.
pub(crate) const FORMAT: u32 = 1;
/// The largest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;

/// The content of `msglog.json`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Manifest {
    /// The version of everything under the root.
    pub(crate) format: u32,
    /// Which store this is.
    pub(crate) uuid: String,
    /// Raised by each opening for writing; stamped on batches as their leader epoch.
    pub(crate) writer_epoch: i32,
}

/// Only this is read before the format is known.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// The manifest of a fresh store that was never opened for writing.
    pub(crate) fn fresh() -> Self {
        Self { format: FORMAT, uuid: random_uuid(), writer_epoch: 0 }
    }

    /// Reads the manifest; `None` when there is none.
    pub(crate) fn load(fs: &dyn FileSystem, root: &Path) -> Result<Option<Self>> {
        let path = root.join(MANIFEST);
        let read = read_small(fs, &path, MANIFEST_BYTES_MAX);
        let read = read.map_err(|cause| Error::from_io(format!("read {}", path.display()), cause));
        let Some(bytes) = read? else { return Ok(None) };
        Self::parse(&bytes).map(Some).map_err(|error| error.within(path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        let broken = |cause| {
            Error::new(ErrorKind::Corrupt, "the manifest cannot be read").with_source(cause)
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(broken)?;
        if format != FORMAT {
            let why = format!("format {format} is not known to this version (known: {FORMAT})");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(broken)?;
        if manifest.writer_epoch < 0 {
            let why = format!("the writer epoch {} is negative", manifest.writer_epoch);
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        Ok(manifest)
    }

    /// Raises the writer epoch by one, on the device before it returns.
    pub(crate) fn raise_epoch(mut self, fs: &dyn FileSystem, root: &Path) -> Result<Self> {
        let Some(epoch) = self.writer_epoch.checked_add(1) else {
            return Err(Error::new(ErrorKind::Unsupported, "the writer epochs are used up"));
        };
        self.writer_epoch = epoch;
        let failed = |cause| Error::from_io(format!("write {MANIFEST}"), cause);
        let mut text = serde_json::to_vec(&self).map_err(|cause| failed(cause.into()))?;
        text.push(b'\n');
        let (path, temporary) = (root.join(MANIFEST), root.join(MANIFEST_TEMPORARY));
        replace_file(fs, &path, &temporary, &text).map_err(failed)?;
        fs.sync_dir(root).map_err(failed)?;
        Ok(self)
    }
}

/// A version 4 UUID out of the standard library's random hash keys.
fn random_uuid() -> String {
    let [high, low] = [0, 1].map(|number: u8| RandomState::new().hash_one(number));
    let high = high & !0xF000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_format_is_unsupported_and_nonsense_corrupt() {
        let newer = br#"{"format":2,"something":"else"}"#;
        assert_eq!(Manifest::parse(newer).unwrap_err().kind(), ErrorKind::Unsupported);
        let negative = br#"{"format":1,"uuid":"x","writer_epoch":-1}"#;
        for bytes in [b"".as_slice(), b"{", b"{}", b"null", negative] {
            assert_eq!(Manifest::parse(bytes).unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn uuid_has_version_and_variant() {
        let uuid = random_uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4', "{uuid}");
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
        assert_ne!(uuid, random_uuid());
    }
}
