//! postcard by serde.

use bytes::{BufMut, Bytes, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, CodecError, CodecId, check_rest};
use crate::Result;

/// postcard 1, with the id `postcard`: a stable, documented wire format, as small as bincode; any
/// change of the type needs an id of its own.
#[derive(Clone, Debug)]
pub struct Postcard {
    id: CodecId,
}

impl Default for Postcard {
    fn default() -> Self {
        Self { id: CodecId::shipped("postcard") }
    }
}

impl Postcard {
    /// postcard under an id of its own, e.g. `order.v2+postcard`.
    ///
    /// # Errors
    ///
    /// As [`CodecId::parse`].
    pub fn named(id: impl AsRef<str>) -> Result<Self> {
        Ok(Self { id: CodecId::parse(id)? })
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> for Postcard {
    fn id(&self) -> &CodecId {
        &self.id
    }

    fn encode(&self, value: &T, buffer: &mut BytesMut) -> Result<(), CodecError> {
        Ok(postcard::serialize_with_flavor(value, Room(buffer))?)
    }

    fn decode(&self, payload: &Bytes) -> Result<T, CodecError> {
        let (value, rest) = postcard::take_from_bytes(payload)?;
        check_rest(rest.len())?;
        Ok(value)
    }
}

/// Where postcard writes.
struct Room<'a>(&'a mut BytesMut);

impl Flavor for Room<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.put_u8(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
