//! Where an iteration over the records of a batch is, and how it takes the next one.

use super::records::{HeaderViews, RecordView, take_header_views, take_nullable};
use super::{BatchHeader, TimestampKind, corrupt, place, varint};
use crate::{Error, Msn, Result, Timestamp};

/// The length of a field that is null, in zigzag.
const NULL: u32 = 1;

/// How far an iteration is, apart from the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) base_msn: Msn,
    base_timestamp: i64,
    append_time: Option<Timestamp>,
    /// How many records are left; none once it ended.
    pub(super) left: u32,
    /// The smallest offset delta that the next record may have.
    pub(super) delta_min: u32,
    delta_max: u32,
    ended: bool,
}

impl Cursor {
    pub(super) fn new(header: &BatchHeader) -> Self {
        let append_time = match header.timestamp_kind() {
            TimestampKind::Create => None,
            TimestampKind::Append => Some(header.max_timestamp),
        };
        Self {
            base_msn: header.base_msn,
            base_timestamp: header.base_timestamp.as_millis(),
            append_time,
            left: header.record_count,
            delta_min: 0,
            delta_max: header.last_offset_delta,
            ended: false,
        }
    }

    /// The same place in the same batch, with so many records left.
    pub(super) fn with_left(self, left: u32) -> Self {
        Self { left, ..self }
    }

    /// The same place, where the next record has this offset delta or a larger one.
    pub(super) fn with_delta_min(self, delta_min: u32) -> Self {
        Self { delta_min, ..self }
    }

    /// Takes the next record off the front of `rest`.
    #[inline(always)]
    pub(super) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Result<RecordView<'a>>> {
        let view = match self.take_short(rest) {
            Some(view) => view,
            None => match self.next_exact(rest)? {
                Ok(view) => view,
                Err(error) => return Some(Err(error)),
            },
        };
        Some(Ok(view))
    }

    #[inline(never)]
    fn next_exact<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Result<RecordView<'a>>> {
        if self.ended {
            return None;
        }
        let taken = match self.left {
            0 if rest.is_empty() => return None,
            0 => Err("record batch has bytes after its last record"),
            _ => self.take_record(rest),
        };
        self.left = self.left.saturating_sub(1);
        Some(taken.map_err(|what| self.fail(what)))
    }

    /// As [`next`](Self::next), without looking at more of the record than its offset delta.
    pub(super) fn pass(&mut self, rest: &mut &[u8]) -> Option<Result<u32>> {
        if let Some(head) = self.short_head(rest)
            && let Some(after) = rest.get(head.end..)
        {
            *rest = after;
            self.passed(head.delta);
            return Some(Ok(head.delta));
        }
        if self.ended || self.left == 0 {
            return self.next(rest).map(|record| record.map(|_| 0));
        }
        let taken = self.take_head(rest);
        self.left -= 1;
        Some(taken.map(|(_, _, delta)| delta).map_err(|what| self.fail(what)))
    }

    /// The record with this offset delta is behind.
    #[inline]
    fn passed(&mut self, delta: u32) {
        self.left -= 1;
        self.delta_min = delta + 1;
    }

    #[cold]
    fn fail(&mut self, what: &'static str) -> Error {
        self.end();
        corrupt(what).within(place(self.base_msn))
    }

    /// Takes nothing more.
    pub(super) fn end(&mut self) {
        (self.ended, self.left) = (true, 0);
    }

    /// Takes the next record if its small fields are short and it is as it must be; `None`, and
    /// nothing taken, for any other, which [`next_exact`](Self::next_exact) takes or refuses.
    #[inline(always)]
    fn take_short<'a>(&mut self, rest: &mut &'a [u8]) -> Option<RecordView<'a>> {
        let bytes = *rest;
        let head = self.short_head(bytes)?;
        let (record, after) = bytes.split_at_checked(head.end)?;
        let mut fields = record.get(head.at..)?;
        let (mut word, mut key) = (head.word, None);
        if word & 0xff == u64::from(NULL) {
            (word, fields) = (word >> 8, fields.get(1..)?);
        } else {
            let (length, bits) = varint::small_at(word)?;
            let (found, after_key) = split_field(fields.get(bits as usize / 8..)?, length)?;
            (key, fields) = (Some(found), after_key);
            word = u32::from_le_bytes(*fields.first_chunk()?).into();
        }
        let (payload_len, bits) = varint::small_at(word)?;
        fields = fields.get(bits as usize / 8..)?;
        let mut payload = None;
        if payload_len != NULL {
            let (found, after_payload) = split_field(fields, payload_len)?;
            (payload, fields) = (Some(found), after_payload);
        }
        let (headers_left, rest_of_headers) = match fields {
            [0] => (0, [].as_slice()),
            _ => take_header_views(fields).ok()?.parts(),
        };
        let headers = HeaderViews::of_parts(headers_left, rest_of_headers);
        *rest = after;
        self.passed(head.delta);
        let (msn, timestamp) = (self.msn(head.delta), self.timestamp(head.time));
        Some(RecordView { msn, timestamp, key, payload, headers })
    }

    /// What comes before the key of the next record, if it is short and as it must be.
    #[inline(always)]
    fn short_head(&self, bytes: &[u8]) -> Option<ShortHead> {
        let (low, high) = bytes.first_chunk::<16>()?.split_at(size_of::<u64>());
        let word = u64::from_le_bytes(low.try_into().ok()?);
        let high = u64::from_le_bytes(high.try_into().ok()?);
        let (length, length_bits) = varint::small_at(word)?;
        let at = length_bits + u8::BITS;
        let (time, time_bits) = varint::small_at(word >> at)?;
        let at = at + time_bits;
        // Three to seven bytes are behind, and so as many are to come.
        let word = word >> at | high << (u64::BITS - at);
        let (delta, delta_bits) = varint::small_at(word)?;
        let delta = varint::not_negative(delta)?;
        let (at, end) = (at + delta_bits, length_bits as usize / 8);
        let end = end + varint::not_negative(length)? as usize;
        let at = at as usize / 8;
        let follows = self.left > 0 && self.delta_min <= delta && delta <= self.delta_max;
        let time = i64::from(varint::of_zigzag(time));
        (follows && at <= end).then_some(ShortHead {
            time,
            delta,
            word: word >> delta_bits,
            at,
            end,
        })
    }

    /// When the record of this timestamp delta was created, or appended where the batch says so.
    #[inline]
    fn timestamp(&self, delta: i64) -> Timestamp {
        // Wraps as Kafka's own arithmetic does, so that every pair of times comes back.
        let created = Timestamp::from_millis(self.base_timestamp.wrapping_add(delta));
        self.append_time.unwrap_or(created)
    }

    /// The MSN of the record of this offset delta.
    #[inline]
    fn msn(&self, delta: u32) -> Msn {
        // An MSN is below 2^63, so that this does not wrap.
        Msn::new(self.base_msn.get().wrapping_add(delta.into()))
    }

    /// The fields of the next record from the key on, its timestamp delta and its offset delta.
    fn take_head<'a>(&mut self, rest: &mut &'a [u8]) -> Result<(&'a [u8], i64, u32), &'static str> {
        let length = varint::take_int(rest).ok_or("record length is cut or overlong")?;
        let length = usize::try_from(length).map_err(|_| "record length is negative")?;
        let (mut record, after) = rest.split_at_checked(length).ok_or("record is cut")?;
        *rest = after;

        let (_attributes, fields) = record.split_first().ok_or("record is empty")?;
        record = fields;
        let time = varint::take_long(&mut record).ok_or("timestamp delta is cut or overlong")?;
        let delta = varint::take_int(&mut record).ok_or("offset delta is cut or overlong")?;
        let delta = u32::try_from(delta).map_err(|_| "offset delta is negative")?;
        if delta < self.delta_min {
            return Err("offset deltas do not rise");
        }
        if delta > self.delta_max {
            return Err("offset delta is beyond the last one of the batch");
        }
        self.delta_min = delta + 1;
        Ok((record, time, delta))
    }

    fn take_record<'a>(&mut self, rest: &mut &'a [u8]) -> Result<RecordView<'a>, &'static str> {
        let (mut record, time, delta) = self.take_head(rest)?;
        let key = take_nullable(&mut record)?;
        let payload = take_nullable(&mut record)?;
        let headers = take_header_views(record)?;
        let (msn, timestamp) = (self.msn(delta), self.timestamp(time));
        Ok(RecordView { msn, timestamp, key, payload, headers })
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            // One more for the error about bytes after the last record.
            false => (0, usize::try_from(self.left).ok().and_then(|left| left.checked_add(1))),
        }
    }
}

/// What comes before the key of a record.
struct ShortHead {
    /// The timestamp delta.
    time: i64,
    /// The offset delta.
    delta: u32,
    /// At least four bytes from the length of the key on.
    word: u64,
    /// Where that length is, from the start of the record on.
    at: usize,
    /// Where the record ends.
    end: usize,
}

/// A field of this length, in zigzag, and what follows.
#[inline]
fn split_field(fields: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    fields.split_at_checked(varint::not_negative(length)? as usize)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::Message;
    use crate::batch::{BatchBuilder, BatchOptions, HEADER_BYTES};

    /// All that an iteration answers, and where it stands after each answer.
    fn answers(
        header: &BatchHeader,
        mut rest: &[u8],
        next: impl for<'a> Fn(&mut Cursor, &mut &'a [u8]) -> Option<Result<RecordView<'a>>>,
    ) -> Vec<String> {
        let mut cursor = Cursor::new(header);
        let mut answers = Vec::new();
        while let Some(answer) = next(&mut cursor, &mut rest) {
            let place = (rest.len(), cursor.left, cursor.delta_min);
            answers.push(match answer {
                Ok(view) => format!("{view:?} {:?} {place:?}", view.headers.collect::<Vec<_>>()),
                Err(error) => format!("{error}"),
            });
        }
        answers
    }

    /// Both ways answer the same, record by record, and passing over records errs where they do
    /// not lie as they must.
    fn check(header: &BatchHeader, records: &[u8]) {
        let exact = answers(header, records, Cursor::next_exact);
        assert_eq!(answers(header, records, Cursor::next), exact, "{records:02x?}");
        let (mut cursor, mut rest) = (Cursor::new(header), records);
        let (mut plain, mut plain_rest) = (Cursor::new(header), records);
        while plain.left > 0 {
            let delta = plain.take_head(&mut plain_rest).map(|(_, _, delta)| delta).ok();
            plain.left -= 1;
            let passed = cursor.pass(&mut rest).map(Result::ok);
            assert_eq!(passed, Some(delta), "{records:02x?}");
            if delta.is_none() {
                break;
            }
            assert_eq!(rest, plain_rest, "{records:02x?}");
        }
    }

    /// The header of a batch of these messages, a millisecond apart, and its records.
    fn batch(messages: &[Message], gap: u32) -> (BatchHeader, Vec<u8>) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for (number, message) in (0_u32..).zip(messages) {
            let time = Timestamp::from_millis(1_000 + i64::from(number * gap));
            builder.push_at((number + 1) * gap, message, time).unwrap();
        }
        let batch = builder.build().unwrap();
        (*batch.header(), batch.to_bytes()[HEADER_BYTES..].to_vec())
    }

    /// Messages of every shape: with and without each field, empty ones among them.
    fn shapes(len: usize) -> Vec<Message> {
        let payload = Message::new(vec![7; len]);
        let mut shapes = vec![payload.clone(), Message::tombstone(vec![7; len]), Message::new("")];
        shapes.push(payload.clone().with_key("key"));
        shapes.push(Message::new("payload").with_key(vec![7; len]));
        shapes.push(payload.clone().with_header("name", "value"));
        shapes.push(payload.with_key("").with_header("", "").with_header("b", vec![7; len]));
        shapes.push(Message { key: None, payload: None, ..Message::default() });
        shapes
    }

    #[test]
    fn records_are_the_same_in_a_hurry_at_every_edge_of_a_varint() {
        for gap in [1, 50, 63, 64, 8_191, 8_192, 1 << 20, 1 << 24] {
            for len in [0, 1, 12, 50, 63, 64, 100, 8_150, 8_191, 8_192] {
                let (header, records) = batch(&shapes(len), gap);
                check(&header, &records);
            }
        }
        let largest = Message::new(vec![7; (1 << 20) - 1]);
        let (header, records) = batch(&[largest, Message::new(vec![7; 1 << 20])], 1);
        check(&header, &records);
    }

    #[test]
    fn records_cut_at_any_byte_are_refused_alike_in_a_hurry() {
        for len in [0, 5, 70] {
            let (header, records) = batch(&shapes(len), 70);
            for cut in 0..records.len() {
                check(&header, &records[..cut]);
            }
            check(&header, &[&records[..], &[0; 40]].concat());
        }
    }

    #[test]
    fn records_with_any_byte_changed_are_read_or_refused_alike_in_a_hurry() {
        let (header, mut records) = batch(&shapes(9), 70);
        for at in 0..records.len() {
            let before = records[at];
            for byte in 0..=u8::MAX {
                records[at] = byte;
                check(&header, &records);
            }
            records[at] = before;
        }
    }

    proptest! {
        #[test]
        fn noise_is_read_or_refused_alike_in_a_hurry(
            noise in vec(prop_oneof![0..12_u8, Just(0x80), Just(0x81), any::<u8>()], 0..120),
        ) {
            let (header, _) = batch(&shapes(1), 2);
            check(&header, &noise);
            // A record whose length fits what follows, so that its fields are looked at.
            let length = u8::try_from((noise.len() * 2) & 0x7e).unwrap();
            check(&header, &[&[length], &noise[..]].concat());
        }
    }
}
