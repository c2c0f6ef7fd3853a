//! Codecs: how a typed value becomes a payload and comes back, told apart by an id in a header.
//!
//! [`Topic::typed`](crate::Topic::typed) uses them. [`Raw`] is always there, [`Json`], [`Bincode`]
//! and [`Postcard`] come with the cargo features of their names, and any type may implement
//! [`Codec`].

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(feature = "blake3")]
pub(crate) mod hash;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "postcard")]
mod postcard;
mod raw;

use std::error::Error as StdError;
use std::fmt;
use std::str;

use bytes::{Bytes, BytesMut};

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "postcard")]
pub use self::postcard::Postcard;
pub use self::raw::Raw;
use crate::{Error, ErrorKind, Result};

/// The header that names the codec of a record's payload.
pub const CODEC_HEADER: &str = "codec";
/// The header that holds the BLAKE3 hash of a record's payload: 32 bytes.
pub const HASH_HEADER: &str = "blake3";
/// The header that holds the producer's offset from UTC, e.g. `+02:00`.
pub const UTC_OFFSET_HEADER: &str = "utc-offset";

/// The longest id of a codec, in bytes; it travels with every record.
pub const CODEC_ID_BYTES_MAX: usize = 64;

/// Why a codec could not do its work; the topic adds the codec's id and the record's MSN.
pub type CodecError = Box<dyn StdError + Send + Sync>;

/// Turns values into payloads and back.
///
/// What was encoded under an id must decode under that id for as long as records of it are kept: a
/// form that old readers cannot decode gets an id of its own.
pub trait Codec<T>: fmt::Debug + Send + Sync + 'static {
    /// The id that each record carries in the header [`CODEC_HEADER`].
    fn id(&self) -> &CodecId;

    /// Adds the value's bytes to the end of `buffer`, which is used again for the next value.
    ///
    /// # Errors
    ///
    /// Why the value has no such form; what was added is dropped.
    fn encode(&self, value: &T, buffer: &mut BytesMut) -> Result<(), CodecError>;

    /// The value that all of these bytes stand for. Slices of `payload` are free.
    ///
    /// # Errors
    ///
    /// Why they stand for none.
    fn decode(&self, payload: &Bytes) -> Result<T, CodecError>;
}

/// The id of a codec: 1 to 64 of `A-Z a-z 0-9 . _ + -`, e.g. `json`, `order.v2+json`.
///
/// Cheap to clone.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CodecId(Bytes);

impl CodecId {
    /// Checks an id.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for no character, more than 64, or others than those above.
    pub fn parse(id: impl AsRef<str>) -> Result<Self> {
        let id = id.as_ref();
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if id.is_empty() || id.len() > CODEC_ID_BYTES_MAX || !id.bytes().all(known) {
            let rule = format!("1 to {CODEC_ID_BYTES_MAX} of A-Z a-z 0-9 . _ + -");
            return Err(Error::new(ErrorKind::Invalid, format!("codec id `{id}` is not {rule}")));
        }
        Ok(Self(Bytes::copy_from_slice(id.as_bytes())))
    }

    /// The id of a codec that comes with this crate.
    pub(crate) const fn shipped(id: &'static str) -> Self {
        Self(Bytes::from_static(id.as_bytes()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        str::from_utf8(&self.0).unwrap_or_default()
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Refuses bytes that no value accounts for: they are another type's, or damage.
#[cfg(any(feature = "bincode", feature = "postcard"))]
fn check_rest(rest: usize) -> Result<(), CodecError> {
    if rest == 0 { Ok(()) } else { Err(format!("{rest} bytes follow the value").into()) }
}

#[cfg(test)]
mod tests;
