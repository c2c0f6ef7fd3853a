//! The codecs that a typed topic reads with, and what becomes of a record.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::record::{Decoded, TypedRecord};
use crate::codec::{CODEC_HEADER, CodecError, CodecId};
use crate::{Error, ErrorKind, Record, Result};

/// Makes a value of a payload.
type Decode<T> = Arc<dyn Fn(&Bytes) -> Result<T, CodecError> + Send + Sync>;

/// Codecs by id; a few, so they are looked through.
pub(super) struct Readers<T> {
    named: Vec<(CodecId, Decode<T>)>,
    unnamed: Option<Decode<T>>,
}

impl<T> Readers<T> {
    /// Decodes what names this id; takes the place of one that did.
    pub(super) fn add(
        &mut self,
        id: CodecId,
        decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync + 'static,
    ) {
        self.named.retain(|(present, _)| *present != id);
        self.named.push((id, Arc::new(decode)));
    }

    /// Decodes what names no id.
    pub(super) fn set_unnamed(
        &mut self,
        decode: impl Fn(&Bytes) -> Result<T, CodecError> + Send + Sync + 'static,
    ) {
        self.unnamed = Some(Arc::new(decode));
    }

    pub(super) fn decode(&self, record: Record) -> TypedRecord<T> {
        let decoded = match &record.payload {
            None => Decoded::Tombstone,
            Some(payload) => self.payload(&record, payload),
        };
        TypedRecord { record, decoded }
    }

    fn payload(&self, record: &Record, payload: &Bytes) -> Decoded<T> {
        if let Err(error) = check_hash(record, payload) {
            return Decoded::Failed(error);
        }
        let id = record.last_header(CODEC_HEADER);
        let decode = match id {
            None => self.unnamed.as_ref(),
            Some(id) => {
                let known = self.named.iter().find(|(known, _)| known.as_str().as_bytes() == id);
                known.map(|(_, decode)| decode)
            }
        };
        // An id that is no text is nobody's.
        let shown = id.map(|id| String::from_utf8_lossy(id).into_owned());
        let Some(decode) = decode else { return Decoded::Unknown { codec: shown } };
        decode(payload).map_or_else(
            |cause| {
                let name = shown.as_deref().unwrap_or("of records that name none");
                let why = format!("record {}: codec `{name}` cannot decode it", record.msn);
                Decoded::Failed(Error::new(ErrorKind::Corrupt, why).with_source(cause))
            },
            Decoded::Value,
        )
    }
}

/// Checks the content hash of a record that has one.
#[cfg(feature = "blake3")]
fn check_hash(record: &Record, payload: &[u8]) -> Result<()> {
    match record.last_header(crate::codec::HASH_HEADER) {
        Some(stored) if !crate::codec::hash::matches(stored, payload) => {
            let why = format!("record {}: payload does not match its content hash", record.msn);
            Err(Error::new(ErrorKind::Corrupt, why))
        }
        _ => Ok(()),
    }
}

#[cfg(not(feature = "blake3"))]
#[expect(clippy::unnecessary_wraps, reason = "with the feature it fails")]
fn check_hash(_record: &Record, _payload: &[u8]) -> Result<()> {
    Ok(())
}

impl<T> Default for Readers<T> {
    fn default() -> Self {
        Self { named: Vec::new(), unnamed: None }
    }
}

impl<T> Clone for Readers<T> {
    fn clone(&self) -> Self {
        Self { named: self.named.clone(), unnamed: self.unnamed.clone() }
    }
}

impl<T> fmt::Debug for Readers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.named.iter().map(|(id, _)| id)).finish()
    }
}
