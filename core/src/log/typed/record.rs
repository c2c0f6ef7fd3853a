//! A record with the value that its payload stands for.

use std::str;

use crate::codec::UTC_OFFSET_HEADER;
use crate::{Error, ErrorKind, Msn, Record, Result, UtcOffset};

/// What the payload of a record turned out to be.
#[derive(Clone, Debug)]
pub enum Decoded<T> {
    /// A value.
    Value(T),
    /// No payload: with a key, a tombstone.
    Tombstone,
    /// Written with a codec that is not registered here, or, for `None`, with none: its bytes are
    /// the record's payload.
    Unknown {
        /// The id that the record names.
        codec: Option<String>,
    },
    /// [`Corrupt`](ErrorKind::Corrupt): the codec cannot decode it, or the content hash is another
    /// one; the error names the MSN, and the bytes are the record's payload.
    Failed(Error),
}

/// A record as it was read, and what its payload turned out to be.
#[derive(Clone, Debug)]
pub struct TypedRecord<T> {
    /// The record with its bytes.
    pub record: Record,
    /// Its payload as a value.
    pub decoded: Decoded<T>,
}

impl<T> TypedRecord<T> {
    /// Its place in the partition.
    pub fn msn(&self) -> Msn {
        self.record.msn
    }

    /// The value, if it is one.
    pub fn value(&self) -> Option<&T> {
        match &self.decoded {
            Decoded::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The value; `None` for a record without payload.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) for a codec that is not registered here;
    /// [`Corrupt`](ErrorKind::Corrupt) for what cannot be decoded. Both name the MSN.
    pub fn into_value(self) -> Result<Option<T>> {
        let msn = self.record.msn;
        match self.decoded {
            Decoded::Value(value) => Ok(Some(value)),
            Decoded::Tombstone => Ok(None),
            Decoded::Failed(error) => Err(error),
            Decoded::Unknown { codec: Some(codec) } => {
                let why = format!("record {msn}: codec `{codec}` is not registered");
                Err(Error::new(ErrorKind::Unsupported, why))
            }
            Decoded::Unknown { codec: None } => {
                let why = format!("record {msn} names no codec");
                Err(Error::new(ErrorKind::Unsupported, why))
            }
        }
    }

    /// How far the producer's clock was ahead of UTC, where it said so.
    pub fn utc_offset(&self) -> Option<UtcOffset> {
        str::from_utf8(self.record.last_header(UTC_OFFSET_HEADER)?).ok()?.parse().ok()
    }
}

/// Typed records in order, and where to read on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TypedPage<T> {
    /// The records; empty when nothing is there yet.
    pub records: Vec<TypedRecord<T>>,
    /// As [`Page::next_msn`](crate::Page::next_msn).
    pub next_msn: Msn,
}
