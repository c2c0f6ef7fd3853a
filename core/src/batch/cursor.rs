//! Where an iteration over the records of a batch is, and how it takes the next one.

use super::records::{RecordView, take_header_views, take_nullable};
use super::{BatchHeader, TimestampKind, corrupt, place, varint};
use crate::{Msn, Result, Timestamp};

/// How far an iteration is, apart from the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    pub(super) base_msn: Msn,
    base_timestamp: i64,
    append_time: Option<Timestamp>,
    pub(super) left: u32,
    /// The smallest offset delta that the next record may have.
    pub(super) delta_min: u32,
    delta_max: u32,
    pub(super) ended: bool,
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
    #[inline]
    pub(super) fn next<'a>(&mut self, rest: &mut &'a [u8]) -> Option<Result<RecordView<'a>>> {
        if self.ended {
            return None;
        }
        let taken = match self.left {
            0 if rest.is_empty() => return None,
            0 => Err("record batch has bytes after its last record"),
            _ => self.take_record(rest),
        };
        self.left = self.left.saturating_sub(1);
        Some(taken.map_err(|what| {
            self.ended = true;
            corrupt(what).within(place(self.base_msn))
        }))
    }

    /// As [`next`](Self::next), without looking at more of the record than its offset delta.
    pub(super) fn pass(&mut self, rest: &mut &[u8]) -> Option<Result<u32>> {
        if self.ended || self.left == 0 {
            return self.next(rest).map(|record| record.map(|_| 0));
        }
        let taken = self.take_head(rest);
        self.left -= 1;
        Some(taken.map(|(_, _, delta)| delta).map_err(|what| {
            self.ended = true;
            corrupt(what).within(place(self.base_msn))
        }))
    }

    /// The fields of the next record from the key on, its timestamp delta and its offset delta.
    #[inline]
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

    #[inline]
    fn take_record<'a>(&mut self, rest: &mut &'a [u8]) -> Result<RecordView<'a>, &'static str> {
        let (mut record, time, delta) = self.take_head(rest)?;
        let key = take_nullable(&mut record)?;
        let payload = take_nullable(&mut record)?;
        let headers = take_header_views(record)?;
        // Wraps as Kafka's own arithmetic does, so that every pair of times comes back.
        let created = Timestamp::from_millis(self.base_timestamp.wrapping_add(time));
        let timestamp = self.append_time.unwrap_or(created);
        Ok(RecordView {
            msn: self.base_msn.plus(u64::from(delta)),
            timestamp,
            key,
            payload,
            headers,
        })
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        match self.ended {
            true => (0, Some(0)),
            // One more for the error about bytes after the last record.
            false => (0, usize::try_from(self.left).ok().and_then(|left| left.checked_add(1))),
        }
    }
}
