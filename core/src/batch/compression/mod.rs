//! Compression of a batch's records: the codecs that Kafka's attribute bits name.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
mod inflate;
#[cfg(feature = "lz4")]
mod lz4;
mod policy;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

pub use self::policy::CompressionPolicy;
use super::HEADER_BYTES;
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

    /// Whether this build can compress and decompress it: its cargo feature is on.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::None => true,
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Snappy => cfg!(feature = "snappy"),
            Self::Lz4 => cfg!(feature = "lz4"),
            Self::Zstd => cfg!(feature = "zstd"),
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

/// Room for the header, and behind it the records compressed.
///
/// # Errors
///
/// As [`CompressionPolicy::check`].
pub(super) fn compress(policy: CompressionPolicy, records: &[u8]) -> Result<BytesMut> {
    policy.check()?;
    let codec = policy.codec;
    // Most records shrink to half; those that do not make the buffer grow.
    let mut batch = BytesMut::with_capacity(HEADER_BYTES + records.len() / 2);
    batch.put_bytes(0, HEADER_BYTES);
    let done: Option<io::Result<()>> = match codec {
        #[cfg(feature = "gzip")]
        Compression::Gzip => Some(gzip::compress(records, policy.level, &mut batch)),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => Some(lz4::compress(records, &mut batch)),
        #[cfg(feature = "snappy")]
        Compression::Snappy => Some(snappy::compress(records, &mut batch)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Some(zstd::compress(records, policy.level, &mut batch)),
        _ => None,
    };
    done.ok_or_else(|| unsupported(codec))?
        .map_err(|cause| Error::from_io(format!("compress with {}", codec.as_str()), cause))?;
    Ok(batch)
}

/// The records as they were before compression, never more than `bytes_max`.
///
/// Allocates as it inflates and never more than `bytes_max` at once, beside a working memory that
/// each codec bounds by itself (lz4: 24 MiB, zstd: a window of 128 MiB that is touched as far as
/// records reach, the others below 1 MiB).
pub(super) fn decompress(codec: Compression, bytes: Bytes, bytes_max: usize) -> Result<Bytes> {
    if codec == Compression::None || bytes.is_empty() {
        return Ok(bytes);
    }
    let records: Option<Result<Vec<u8>, Failure>> = match codec {
        #[cfg(feature = "gzip")]
        Compression::Gzip => Some(gzip::decompress(&bytes, bytes_max)),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => Some(lz4::decompress(&bytes, bytes_max)),
        #[cfg(feature = "snappy")]
        Compression::Snappy => Some(snappy::decompress(&bytes, bytes_max)),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Some(zstd::decompress(&bytes, bytes_max)),
        _ => None,
    };
    records
        .ok_or_else(|| unsupported(codec))?
        .map(Bytes::from)
        .map_err(|failure| failure.into_error(codec, bytes_max))
}

/// Why records were not decompressed.
#[cfg_attr(
    not(any(feature = "gzip", feature = "lz4", feature = "snappy", feature = "zstd")),
    expect(dead_code, reason = "no codec is built in")
)]
enum Failure {
    /// They are not what the codec writes.
    Damaged(Box<dyn std::error::Error + Send + Sync>),
    /// They exceed the limit.
    TooLarge,
}

impl Failure {
    fn into_error(self, codec: Compression, bytes_max: usize) -> Error {
        let name = codec.as_str();
        match self {
            Self::Damaged(cause) => {
                Error::new(ErrorKind::Corrupt, format!("records are no valid {name}"))
                    .with_source(cause)
            }
            Self::TooLarge => {
                let context =
                    format!("{name} records exceed `records_bytes_max` of {bytes_max} bytes");
                Error::new(ErrorKind::TooLarge, context)
            }
        }
    }
}

fn unsupported(codec: Compression) -> Error {
    let name = codec.as_str();
    Error::new(ErrorKind::Unsupported, format!("{name} needs the cargo feature `{name}`"))
}
