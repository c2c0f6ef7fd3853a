//! No codec at all: the payload is the value.

use bytes::{Bytes, BytesMut};

use super::{Codec, CodecError, CodecId};
use crate::Result;

/// The bytes as they are, with the id `raw`; decoding is free, encoding is one copy.
#[derive(Clone, Debug)]
pub struct Raw {
    id: CodecId,
}

impl Default for Raw {
    fn default() -> Self {
        Self { id: CodecId::shipped("raw") }
    }
}

impl Raw {
    /// The same bytes under an id of their own.
    ///
    /// # Errors
    ///
    /// As [`CodecId::parse`].
    pub fn named(id: impl AsRef<str>) -> Result<Self> {
        Ok(Self { id: CodecId::parse(id)? })
    }
}

impl Codec<Bytes> for Raw {
    fn id(&self) -> &CodecId {
        &self.id
    }

    fn encode(&self, value: &Bytes, buffer: &mut BytesMut) -> Result<(), CodecError> {
        buffer.extend_from_slice(value);
        Ok(())
    }

    fn decode(&self, payload: &Bytes) -> Result<Bytes, CodecError> {
        Ok(payload.clone())
    }
}
