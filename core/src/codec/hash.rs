//! The content hash of a payload: BLAKE3, 32 bytes, of the payload alone.

use bytes::Bytes;

/// The value of the header [`HASH_HEADER`](super::HASH_HEADER) for this payload.
pub(crate) fn of(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(blake3::hash(payload).as_bytes())
}

/// Whether `stored` is the hash of this payload.
pub(crate) fn matches(stored: &[u8], payload: &[u8]) -> bool {
    blake3::hash(payload).as_bytes() == stored
}
