//! bincode 2 by serde, in its standard configuration: little-endian, varints.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, CodecId, check_rest};
use crate::Result;

/// The most bytes that lengths in a payload may claim: as many as a message can have.
const CLAIMED_BYTES_MAX: usize = 1 << 30;

/// bincode 2, with the id `bincode`: small and fast, says nothing about itself, so any change of the
/// type needs an id of its own.
#[derive(Clone, Debug)]
pub struct Bincode {
    id: CodecId,
}

impl Default for Bincode {
    fn default() -> Self {
        Self { id: CodecId::shipped("bincode") }
    }
}

impl Bincode {
    /// bincode under an id of its own, e.g. `order.v2+bincode`.
    ///
    /// # Errors
    ///
    /// As [`CodecId::parse`].
    pub fn named(id: impl AsRef<str>) -> Result<Self> {
        Ok(Self { id: CodecId::parse(id)? })
    }
}

fn configuration() -> Configuration<LittleEndian, Varint, Limit<CLAIMED_BYTES_MAX>> {
    bincode::config::standard().with_limit()
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Bincode {
    fn id(&self) -> &CodecId {
        &self.id
    }

    fn encode(&self, value: &T, buffer: &mut BytesMut) -> Result<(), CodecError> {
        let mut writer = buffer.writer();
        bincode::serde::encode_into_std_write(value, &mut writer, configuration())?;
        Ok(())
    }

    fn decode(&self, payload: &Bytes) -> Result<T, CodecError> {
        let (value, taken) = bincode::serde::decode_from_slice(payload, configuration())?;
        check_rest(payload.len() - taken)?;
        Ok(value)
    }
}
