//! One record of a batch as bytes: how long it is, and how it is written.

use bytes::BytesMut;

use super::varint;
use crate::{Error, ErrorKind, Message, Result};

/// The largest batch that the format's length fields can name, in bytes.
pub(super) const BATCH_BYTES_MAX: usize = i32::MAX as usize;
/// The most bytes of a record's small fields before the payload: length, attributes, timestamp,
/// offset delta and the lengths of key and payload.
pub(super) const RECORD_HEAD_MAX: usize = 5 + 1 + 10 + 5 + 5 + 5;

/// Appends a record to those in `buffer`, or nothing if the batch would become too large.
pub(super) fn put(
    buffer: &mut BytesMut,
    offset_delta: i64,
    time_delta: i64,
    message: &Message,
) -> Result<()> {
    let (key, payload) = (message.key.as_deref(), message.payload.as_deref());
    let headers = message.headers.iter();
    let length = 1
        + varint::encoded_len(time_delta)
        + varint::encoded_len(offset_delta)
        + nullable_len(key)
        + nullable_len(payload)
        + varint::encoded_len(signed(message.headers.len()))
        + headers.clone().map(header_len).sum::<usize>();
    let whole = varint::encoded_len(signed(length)) + length;
    check_bytes(buffer.len(), whole)?;
    buffer.reserve(whole);
    let mut head = Head::default();
    head.put(signed(length));
    head.put(0);
    head.put(time_delta);
    head.put(offset_delta);
    head.put(nullable_signed(key));
    if let Some(key) = key {
        head.flush_into(buffer);
        buffer.extend_from_slice(key);
    }
    head.put(nullable_signed(payload));
    head.flush_into(buffer);
    buffer.extend_from_slice(payload.unwrap_or_default());
    varint::put(buffer, signed(message.headers.len()));
    for header in headers {
        put_nullable(buffer, Some(header.name.as_bytes()));
        put_nullable(buffer, header.value.as_deref());
    }
    Ok(())
}

/// Small fields of a record: they meet on the stack, because one copy into the buffer is cheaper
/// than five.
#[derive(Default)]
struct Head {
    bytes: [u8; RECORD_HEAD_MAX],
    len: usize,
}

impl Head {
    #[inline]
    fn put(&mut self, value: i64) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        self.len += varint::write(room, value);
    }

    #[inline]
    fn flush_into(&mut self, buffer: &mut BytesMut) {
        buffer.extend_from_slice(self.bytes.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}

fn check_bytes(so_far: usize, more: usize) -> Result<()> {
    if more > BATCH_BYTES_MAX.saturating_sub(so_far) {
        let context = format!("record batch would exceed {BATCH_BYTES_MAX} bytes");
        return Err(Error::new(ErrorKind::TooLarge, context));
    }
    Ok(())
}

/// A length as a varint holds it; no slice is longer than `i64::MAX`.
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn nullable_len(field: Option<&[u8]>) -> usize {
    match field {
        None => 1,
        Some(bytes) => varint::encoded_len(signed(bytes.len())) + bytes.len(),
    }
}

fn header_len(header: &crate::Header) -> usize {
    nullable_len(Some(header.name.as_bytes())) + nullable_len(header.value.as_deref())
}

/// The length of a field as the format has it: -1 for null.
fn nullable_signed(field: Option<&[u8]>) -> i64 {
    field.map_or(-1, |bytes| signed(bytes.len()))
}

fn put_nullable(buffer: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        None => varint::put(buffer, -1),
        Some(bytes) => {
            varint::put(buffer, signed(bytes.len()));
            buffer.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::HEADER_BYTES;

    #[test]
    fn batch_may_be_as_large_as_its_length_field_names() {
        for so_far in [0, HEADER_BYTES, BATCH_BYTES_MAX] {
            let left = BATCH_BYTES_MAX - so_far;
            check_bytes(so_far, left).unwrap();
            assert_eq!(check_bytes(so_far, left + 1).unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }
}
