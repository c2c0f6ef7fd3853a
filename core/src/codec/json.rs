//! JSON by serde.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, CodecId};
use crate::Result;

/// JSON (RFC 8259) without spaces, with the id `json`: readable everywhere, and fields may be added
/// and left out as serde's attributes on the type say.
#[derive(Clone, Debug)]
pub struct Json {
    id: CodecId,
}

impl Default for Json {
    fn default() -> Self {
        Self { id: CodecId::shipped("json") }
    }
}

impl Json {
    /// JSON under an id of its own, e.g. `order.v2+json`.
    ///
    /// # Errors
    ///
    /// As [`CodecId::parse`].
    pub fn named(id: impl AsRef<str>) -> Result<Self> {
        Ok(Self { id: CodecId::parse(id)? })
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn id(&self) -> &CodecId {
        &self.id
    }

    fn encode(&self, value: &T, buffer: &mut BytesMut) -> Result<(), CodecError> {
        Ok(serde_json::to_writer(buffer.writer(), value)?)
    }

    fn decode(&self, payload: &Bytes) -> Result<T, CodecError> {
        Ok(serde_json::from_slice(payload)?)
    }
}
