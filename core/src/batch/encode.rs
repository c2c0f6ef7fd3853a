//! One record of a batch as bytes: how long it is, and how it is written.

use bytes::BytesMut;

use super::varint::{self, Small};
use crate::{AsMessage, Error, ErrorKind, MessageRef, Result};

/// The largest batch that the format's length fields can name, in bytes.
pub(super) const BATCH_BYTES_MAX: usize = i32::MAX as usize;
/// The most bytes of a record's small fields before the payload: length, attributes, timestamp,
/// offset delta and the lengths of key and payload.
pub(super) const RECORD_HEAD_MAX: usize = 5 + 1 + 10 + 5 + 5 + 5;

/// Bytes that are written at once where the small fields of a record are short.
const SHORT_HEAD_BYTES: usize = 16;

/// The attributes of a record, which nobody uses.
const ATTRIBUTES: Small = Small { bytes: 0, bits: 8 };
/// The length of a field that is null.
const NULL: Small = Small { bytes: 1, bits: 8 };
/// The count of headers where there are none.
const NO_HEADERS: u8 = 0;

/// Appends a record to those in `buffer`, or nothing if the batch would become too large.
#[inline]
pub(super) fn put(
    buffer: &mut BytesMut,
    offset_delta: u32,
    time_delta: i64,
    message: &impl AsMessage,
) -> Result<()> {
    let MessageRef { key, payload, headers, .. } = message.as_message();
    if key.is_none()
        && headers.is_empty()
        && put_short(buffer, offset_delta, time_delta, payload).is_some()
    {
        return Ok(());
    }
    put_other(buffer, offset_delta, time_delta, &message.as_message())
}

/// Appends a record for which the room, or the short way without key and headers, is not there.
#[inline(never)]
fn put_other(
    buffer: &mut BytesMut,
    offset_delta: u32,
    time_delta: i64,
    message: &MessageRef<'_>,
) -> Result<()> {
    match put_keyed(buffer, offset_delta, time_delta, message) {
        Some(()) => Ok(()),
        None => put_any(buffer, i64::from(offset_delta), time_delta, message),
    }
}

/// Appends a record of a payload alone, below 1 MiB, if the buffer has room; else does nothing.
///
/// The small fields meet in two registers. They are written in one piece of fixed size, of which
/// what is too much is taken back: a call of the copying routine for each would cost more than they.
#[inline]
fn put_short(
    buffer: &mut BytesMut,
    offset_delta: u32,
    time_delta: i64,
    payload: Option<&[u8]>,
) -> Option<()> {
    let time = Small::of(time_delta)?;
    let payload_len = Small::of_field(payload)?;
    let back = Small::of(i64::from(offset_delta))?.then(NULL).then(payload_len);
    let payload = payload.unwrap_or_default();
    let front = front(time, back.bits, payload.len())?;
    check_room(buffer, payload.len())?;
    put_both(buffer, front, back);
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(&[NO_HEADERS]);
    Some(())
}

/// As [`put_short`], of a record that may have a key, but no headers.
fn put_keyed(
    buffer: &mut BytesMut,
    offset_delta: u32,
    time_delta: i64,
    message: &MessageRef<'_>,
) -> Option<()> {
    let (key, payload) = (message.key, message.payload);
    if !message.headers.is_empty() {
        return None;
    }
    let time = Small::of(time_delta)?;
    let key_len = Small::of_field(key)?;
    let payload_len = Small::of_field(payload)?;
    let back = Small::of(i64::from(offset_delta))?.then(key_len);
    let (key, payload) = (key.unwrap_or_default(), payload.unwrap_or_default());
    let fields = key.len() + payload.len();
    let front = front(time, back.bits + payload_len.bits, fields)?;
    check_room(buffer, fields)?;
    put_both(buffer, front, back);
    buffer.extend_from_slice(key);
    put_piece(buffer, &payload_len.bytes.to_le_bytes(), payload_len.bits);
    buffer.extend_from_slice(payload);
    buffer.extend_from_slice(&[NO_HEADERS]);
    Some(())
}

/// Length, attributes and timestamp delta of a record whose other small fields have `small` bits,
/// and key and payload `fields` bytes.
#[inline]
fn front(time: Small, small: u32, fields: usize) -> Option<Small> {
    let bits = ATTRIBUTES.bits + time.bits + small + u8::BITS;
    let length = Small::of_length(bits as usize / 8 + fields)?;
    Some(length.then(ATTRIBUTES).then(time))
}

/// Whether a record of `fields` bytes fits the buffer and the batch, and what is taken back too.
#[inline]
fn check_room(buffer: &BytesMut, fields: usize) -> Option<()> {
    let capacity = buffer.capacity();
    let room = capacity - buffer.len();
    // A buffer that is no larger than a batch may be needs no look at the limit of that.
    let fits = fields + 2 * SHORT_HEAD_BYTES <= room && capacity <= BATCH_BYTES_MAX;
    fits.then_some(())
}

/// Appends two runs of one to seven bytes; the buffer has room for 16.
#[inline]
fn put_both(buffer: &mut BytesMut, front: Small, back: Small) {
    let low = front.bytes | back.bytes << front.bits;
    let high = back.bytes >> (u64::BITS - front.bits);
    let piece = u128::from(high) << u64::BITS | u128::from(low);
    put_piece(buffer, &piece.to_le_bytes(), front.bits + back.bits);
}

/// Appends the first `bits` of a piece by writing all of it, for which the buffer has room.
#[inline]
fn put_piece(buffer: &mut BytesMut, piece: &[u8], bits: u32) {
    let end = buffer.len() + bits as usize / 8;
    buffer.extend_from_slice(piece);
    buffer.truncate(end);
}

/// Appends any record.
#[inline(never)]
fn put_any(
    buffer: &mut BytesMut,
    offset_delta: i64,
    time_delta: i64,
    message: &MessageRef<'_>,
) -> Result<()> {
    let (key, payload) = (message.key, message.payload);
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
    use bytes::Bytes;
    use proptest::prelude::*;

    use crate::Message;
    use crate::batch::HEADER_BYTES;

    #[test]
    fn batch_may_be_as_large_as_its_length_field_names() {
        for so_far in [0, HEADER_BYTES, BATCH_BYTES_MAX] {
            let left = BATCH_BYTES_MAX - so_far;
            check_bytes(so_far, left).unwrap();
            assert_eq!(check_bytes(so_far, left + 1).unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }

    /// The record as the exact path has it, and as it is put into a buffer with that much room.
    fn both_ways(delta: u32, time: i64, message: &Message, room: usize) -> [BytesMut; 2] {
        let mut exact = BytesMut::new();
        put_any(&mut exact, i64::from(delta), time, &message.as_message()).unwrap();
        let mut buffer = BytesMut::with_capacity(room);
        put(&mut buffer, delta, time, message).unwrap();
        [exact, buffer]
    }

    /// Values around which a varint takes one byte more, up to what no short path takes.
    const EDGES: [u32; 9] = [0, 63, 64, 8_191, 8_192, 1 << 20, (1 << 20) - 1, 1 << 27, 1 << 28];

    #[test]
    fn record_is_the_same_in_a_hurry_at_every_edge_of_its_small_fields() {
        let message = Message::new(&b"payload"[..]);
        for message in [message.clone(), message.with_key("key"), Message::tombstone("key")] {
            for delta in EDGES {
                for time in EDGES.map(i64::from).into_iter().flat_map(|time| [time, !time, -time]) {
                    let [exact, put] = both_ways(delta, time, &message, 256);
                    assert_eq!(exact, put, "delta {delta}, time {time}, {message:?}");
                }
            }
        }
    }

    #[test]
    fn record_is_the_same_in_a_hurry_at_every_edge_of_its_lengths() {
        let bytes = Bytes::from(vec![7; (1 << 20) + 40]);
        let edges = EDGES.iter().flat_map(|edge| (0..40).map(move |more| *edge as usize + more));
        for len in edges.filter_map(|len| len.checked_sub(20)).filter(|len| *len <= bytes.len()) {
            let long = Message::new(bytes.slice(..len));
            let message = Message::new("payload").with_key(bytes.slice(..len));
            for message in [long.clone().with_key("key"), long, message] {
                let [exact, put] = both_ways(300, 5, &message, len + 256);
                assert!(exact == put, "{len} bytes");
            }
        }
    }

    #[test]
    fn record_is_the_same_in_a_hurry_whatever_room_there_is() {
        let message = Message::new(vec![7; 40]);
        for message in [message.clone(), message.with_key("a key")] {
            for room in 0..150 {
                let [exact, put] = both_ways(300, 5, &message, room);
                assert_eq!(exact, put, "room for {room} bytes");
                assert!(
                    room < exact.len()
                        || put.capacity() == BytesMut::with_capacity(room).capacity()
                );
            }
        }
    }

    proptest! {
        #[test]
        fn record_is_the_same_in_a_hurry(
            delta in 0..1_u32 << 31, time in any::<i64>(), small in 0..64_u32,
            key in proptest::option::of(0..300_usize), payload in proptest::option::of(0..9_000_usize),
            room in 0..20_000_usize,
        ) {
            let field = |len: usize| Bytes::from(vec![7; len]);
            let (key, payload) = (key.map(field), payload.map(field));
            let message = Message { key, payload, ..Message::default() };
            let [exact, put] = both_ways(delta >> (small / 2), time >> small, &message, room);
            prop_assert_eq!(exact, put);
        }
    }
}
