//! How batches are compressed: the codec, its level, and from which size on.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Compression, unsupported};
use crate::{Error, ErrorKind, Result};

/// A codec, its level, and the size from which a batch is compressed.
///
/// A batch that would not become smaller is kept as it is, whatever the policy. Readers need to know
/// none of this: each batch names its codec. Its text is `codec` or `codec:level`, e.g. `zstd:3`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(from = "Stored", into = "Stored")]
#[non_exhaustive]
pub struct CompressionPolicy {
    /// The codec.
    pub codec: Compression,
    /// Its level: zstd has -7 to 22, gzip 1 to 9, the others none. The codec's own default when
    /// `None` (zstd 3, gzip 6).
    pub level: Option<i32>,
    /// Batches whose records are smaller than this, in bytes, stay uncompressed.
    pub bytes_min: u32,
}

/// As it is stored: a plain codec is its name alone.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Stored {
    Codec(Compression),
    Policy(StoredPolicy),
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StoredPolicy {
    codec: Compression,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    level: Option<i32>,
    #[serde(default)]
    bytes_min: u32,
}

impl From<Stored> for CompressionPolicy {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Codec(codec) => codec.into(),
            Stored::Policy(StoredPolicy { codec, level, bytes_min }) => {
                Self { codec, level, bytes_min }
            }
        }
    }
}

impl From<CompressionPolicy> for Stored {
    fn from(policy: CompressionPolicy) -> Self {
        let CompressionPolicy { codec, level, bytes_min } = policy;
        if policy == codec.into() {
            return Self::Codec(codec);
        }
        Self::Policy(StoredPolicy { codec, level, bytes_min })
    }
}

impl From<Compression> for CompressionPolicy {
    /// Every batch, at the codec's default level.
    fn from(codec: Compression) -> Self {
        Self { codec, level: None, bytes_min: 0 }
    }
}

impl CompressionPolicy {
    /// The same policy at this level.
    #[must_use]
    pub fn with_level(mut self, level: i32) -> Self {
        self.level = Some(level);
        self
    }

    /// The same policy for batches of at least so many bytes.
    #[must_use]
    pub fn with_bytes_min(mut self, bytes: u32) -> Self {
        self.bytes_min = bytes;
        self
    }

    /// Whether this build can do it.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a level that the codec does not have;
    /// [`Unsupported`](ErrorKind::Unsupported) when the codec's cargo feature is off.
    pub fn check(&self) -> Result<()> {
        if !self.codec.is_built_in() {
            return Err(unsupported(self.codec));
        }
        let (Some(level), name) = (self.level, self.codec.as_str()) else { return Ok(()) };
        let why = match self.codec.levels() {
            Some(levels) if levels.contains(&level) => return Ok(()),
            Some(levels) => {
                format!("level {level} of {name} is not {} to {}", levels.start(), levels.end())
            }
            None => format!("{name} has no levels, so none is {level}"),
        };
        Err(Error::new(ErrorKind::Invalid, why))
    }

    /// Whether records of so many bytes are worth trying.
    pub(in crate::batch) fn covers(&self, records_bytes: usize) -> bool {
        let bytes_min = usize::try_from(self.bytes_min).unwrap_or(usize::MAX);
        self.codec != Compression::None && records_bytes >= bytes_min
    }
}

impl Compression {
    fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Self::Gzip => Some(1..=9),
            Self::Zstd => Some(-7..=22),
            Self::None | Self::Lz4 | Self::Snappy => None,
        }
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];
        all.into_iter().find(|codec| codec.as_str() == text).ok_or_else(|| {
            let names = all.map(Self::as_str).join(", ");
            Error::new(ErrorKind::Invalid, format!("compression `{text}` is none of {names}"))
        })
    }
}

impl FromStr for CompressionPolicy {
    type Err = Error;

    /// `codec` or `codec:level`, checked.
    fn from_str(text: &str) -> Result<Self> {
        let (codec, level) = match text.split_once(':') {
            None => (text, None),
            Some((codec, level)) => (codec, Some(level)),
        };
        let mut policy = Self::from(codec.parse::<Compression>()?);
        if let Some(level) = level {
            policy.level = Some(level.parse().map_err(|_| {
                Error::new(ErrorKind::Invalid, format!("level `{level}` is no number"))
            })?);
        }
        policy.check().map(|()| policy)
    }
}

impl fmt::Display for CompressionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.codec.as_str())?;
        self.level.map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_codec_is_stored_by_name_and_what_is_more_as_fields() {
        let rows = [
            (r#""lz4""#, CompressionPolicy::from(Compression::Lz4)),
            (
                r#"{"codec":"zstd","level":-1,"bytes_min":0}"#,
                CompressionPolicy::from(Compression::Zstd).with_level(-1),
            ),
            (r#"{"codec":"none","bytes_min":7}"#, CompressionPolicy::default().with_bytes_min(7)),
        ];
        for (json, policy) in rows {
            assert_eq!(serde_json::to_string(&policy).unwrap(), json);
            assert_eq!(serde_json::from_str::<CompressionPolicy>(json).unwrap(), policy);
        }
        for wrong in [r#""lzma""#, r#"{"codec":"lz4","leve":1}"#, r#"{"level":1}"#, "3"] {
            assert!(serde_json::from_str::<CompressionPolicy>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn level_is_checked_at_both_ends() {
        let codecs = [
            (Compression::Zstd, Some((-7, 22))),
            (Compression::Gzip, Some((1, 9))),
            (Compression::Lz4, None),
            (Compression::Snappy, None),
            (Compression::None, None),
        ];
        for (codec, levels) in codecs.into_iter().filter(|(codec, _)| codec.is_built_in()) {
            let policy = CompressionPolicy::from(codec);
            policy.check().unwrap();
            for level in [i32::MIN, -8, -7, 0, 1, 9, 10, 22, 23, i32::MAX] {
                let allowed = levels.is_some_and(|(low, high)| (low..=high).contains(&level));
                let checked = policy.with_level(level).check();
                assert_eq!(checked.is_ok(), allowed, "{codec:?} {level}");
                if let Err(error) = checked {
                    assert_eq!(error.kind(), ErrorKind::Invalid);
                }
            }
        }
    }

    #[test]
    fn text_is_read_back() {
        assert_eq!("none".parse::<CompressionPolicy>().unwrap(), CompressionPolicy::default());
        for wrong in ["", "lz5", "none:1", "none:", "zstd:x", "zstd:99"] {
            assert!(wrong.parse::<CompressionPolicy>().is_err(), "`{wrong}`");
        }
        #[cfg(feature = "zstd")]
        assert_eq!("zstd:-3".parse::<CompressionPolicy>().unwrap().to_string(), "zstd:-3");
    }
}
