//! Documents: small named values beside the logs, changed by compare-and-swap.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::topic::check_name;
use crate::{Error, ErrorKind, Result};

/// The longest document key, in bytes.
pub(crate) const DOCUMENT_KEY_BYTES_MAX: usize = 700;

/// The name of a document: names of the allow-list joined by `/`, e.g. `topics/orders`.
///
/// `a` and `a/b` may both exist, and 700 bytes do not fit one file name; `=`, `+` and `~` are never
/// in a key.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DocumentKey(Arc<str>);

impl DocumentKey {
    /// Checks the key; afterwards nobody looks again.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when it is longer than 700 bytes or a part
    /// between slashes is empty, longer than 200 bytes, starts with a dot, or has a character other
    /// than `A-Z a-z 0-9 . _ -`.
    pub fn parse(key: impl AsRef<str>) -> Result<Self> {
        let key = key.as_ref();
        if key.len() > DOCUMENT_KEY_BYTES_MAX {
            let length = key.len();
            let why =
                format!("document key of {length} bytes is longer than {DOCUMENT_KEY_BYTES_MAX}");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        for part in key.split('/') {
            check_name("document", part)?;
        }
        Ok(Self(key.into()))
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which state of a document a value is: changes with every save, never comes back.
///
/// Not after a discard, a reopen or a crash either; e.g. the number of openings, made durable before
/// the first save, in the upper half and a counter in the lower one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Version(u64);

impl Version {
    /// The version with this number; only stores make them.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number that the store gave it.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A document as it was loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// The bytes.
    pub value: Bytes,
    /// The state that these bytes are.
    pub version: Version,
}

/// What a document must be for a change of it to happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// Anything: the last writer wins.
    Any,
    /// Not there.
    Absent,
    /// There, in this state.
    Version(Version),
}

impl Expected {
    /// Whether a document in state `current` is as expected.
    pub fn matches(self, current: Option<Version>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Version(version) => current == Some(version),
        }
    }
}

impl From<Option<Version>> for Expected {
    /// What a compare-and-swap after a `load` expects.
    fn from(version: Option<Version>) -> Self {
        version.map_or(Self::Absent, Self::Version)
    }
}
