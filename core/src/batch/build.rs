//! Building a batch message by message, into one growing buffer.

use bytes::{BufMut, BytesMut};

use super::encode::{self, BATCH_BYTES_MAX, RECORD_HEAD_MAX};
use super::header::{self, LENGTH_END};
use super::{
    BatchHeader, Compression, CompressionPolicy, HEADER_BYTES, NO_EPOCH, Producer, RecordBatch,
    TimestampKind, compression, crc_of,
};
use crate::{AsMessage, Error, ErrorKind, Msn, Result, Timestamp};

/// The timestamps of a batch without records.
const NO_TIME: Timestamp = Timestamp::from_millis(-1);
/// The largest offset delta. The count needs no limit of its own: so many records exceed the bytes.
const DELTA_MAX: u32 = i32::MAX.unsigned_abs();
/// The most bytes of a record beside key, payload and headers: the above and the header count.
const RECORD_OVERHEAD_MAX: usize = RECORD_HEAD_MAX + 5;
/// The most bytes of a header beside name and value.
const HEADER_OVERHEAD_MAX: usize = 5 + 5;

/// How a batch is built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchOptions {
    /// How the records are compressed.
    pub compression: CompressionPolicy,
    /// What the timestamps say.
    pub timestamp_kind: TimestampKind,
    /// Who builds the batch.
    pub producer: Producer,
    /// When compaction may drop the tombstones of the batch; kept where Kafka keeps it.
    pub delete_horizon: Option<Timestamp>,
}

impl BatchOptions {
    /// The same options with this compression.
    #[must_use]
    pub fn with_compression(mut self, compression: impl Into<CompressionPolicy>) -> Self {
        self.compression = compression.into();
        self
    }

    /// The same options with timestamps that say this.
    #[must_use]
    pub fn with_timestamp_kind(mut self, timestamp_kind: TimestampKind) -> Self {
        self.timestamp_kind = timestamp_kind;
        self
    }

    /// The same options with this delete horizon.
    #[must_use]
    pub fn with_delete_horizon(mut self, horizon: Timestamp) -> Self {
        self.delete_horizon = Some(horizon);
        self
    }

    /// The same options with this producer.
    #[must_use]
    pub fn with_producer(mut self, producer: Producer) -> Self {
        self.producer = producer;
        self
    }
}

/// Builds a batch message by message, encoding each directly behind the last.
///
/// A message costs one copy and no allocation of its own.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// Room for the header, then the records, not compressed.
    buffer: BytesMut,
    record_count: u32,
    /// How many MSNs the batch covers so far.
    msn_count: u32,
    /// What the records' timestamps count from: the delete horizon or the time of the first record.
    base_timestamp: Option<Timestamp>,
    /// The smallest there is while there are no records.
    max_timestamp: Timestamp,
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        Self::with_buffer(BytesMut::new(), options)
    }

    /// An empty batch that is built in `buffer`, whose contents are dropped.
    ///
    /// Saves the allocation when the buffer comes from
    /// [`build_and_recycle`](Self::build_and_recycle).
    pub fn with_buffer(mut buffer: BytesMut, options: BatchOptions) -> Self {
        buffer.clear();
        buffer.put_bytes(0, HEADER_BYTES);
        Self {
            options,
            buffer,
            record_count: 0,
            msn_count: 0,
            base_timestamp: options.delete_horizon,
            max_timestamp: Timestamp::from_millis(i64::MIN),
        }
    }

    /// An upper bound of the bytes that this message adds to a batch before compression.
    ///
    /// Costs a few additions for each header; for accounting before a batch is there.
    #[inline]
    pub fn record_bytes_bound(message: impl AsMessage) -> usize {
        let message = message.as_message();
        let headers: usize = message
            .headers
            .iter()
            .map(|header| header.name.len() + len(header.value.as_deref()) + HEADER_OVERHEAD_MAX)
            .sum();
        let fields = len(message.key) + len(message.payload);
        RECORD_OVERHEAD_MAX + fields + headers
    }

    /// Adds a message; `now` is its timestamp when it has none, or when timestamps are append time.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) when the batch would exceed 2 GiB or cover more than
    /// 2^31 MSNs; then it is as it was.
    #[inline]
    pub fn push(&mut self, message: impl AsMessage, now: Timestamp) -> Result<()> {
        self.push_at(self.msn_count, message, now)
    }

    /// Adds a message that lies `offset_delta` MSNs after the batch's base MSN, as compaction needs
    /// it: deltas rise, and may leave some out.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push), and [`Invalid`](ErrorKind::Invalid) when the delta is not
    /// beyond what the batch covers already.
    #[inline]
    pub fn push_at(
        &mut self,
        offset_delta: u32,
        message: impl AsMessage,
        now: Timestamp,
    ) -> Result<()> {
        if offset_delta < self.msn_count {
            return Err(falls(offset_delta, self.msn_count));
        }
        check_delta(offset_delta)?;
        let (time, base, time_delta) = match self.options.timestamp_kind {
            TimestampKind::Create => {
                let time = message.as_message().timestamp.unwrap_or(now);
                let base = self.base_timestamp.unwrap_or(time);
                (time, base, time.as_millis().wrapping_sub(base.as_millis()))
            }
            TimestampKind::Append => (now, now, 0),
        };
        encode::put(&mut self.buffer, offset_delta, time_delta, &message)?;
        self.base_timestamp = Some(base);
        self.max_timestamp = self.max_timestamp.max(time);
        self.record_count += 1;
        self.msn_count = offset_delta + 1;
        Ok(())
    }

    /// Makes the batch cover the MSN `last_offset_delta` after its base MSN, with or without a
    /// record there. A batch that covers MSNs may be built without any record.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) when the delta exceeds 2^31 - 1.
    pub fn cover(&mut self, last_offset_delta: u32) -> Result<()> {
        check_delta(last_offset_delta)?;
        self.msn_count = self.msn_count.max(last_offset_delta + 1);
        Ok(())
    }

    /// Records so far.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// How large its buffer is.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Bytes so far, header included, before compression.
    pub fn encoded_len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether building it now compresses, which may take long.
    pub fn compresses(&self) -> bool {
        let records_bytes = self.buffer.len().saturating_sub(HEADER_BYTES);
        // As Kafka does: a batch without records names no codec.
        self.record_count > 0 && self.options.compression.covers(records_bytes)
    }

    /// Compresses and checksums the batch; its base MSN is 0 and its epoch [`NO_EPOCH`] until it
    /// is stamped.
    ///
    /// One pass over the bytes, and one more to compress them; records that would not become smaller
    /// stay as they are, and the batch then names no codec.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the builder is empty or for a level that the codec does
    /// not have,
    /// [`Unsupported`](ErrorKind::Unsupported) when the codec's cargo feature is off, and
    /// [`TooLarge`](ErrorKind::TooLarge) when the compressed batch would exceed 2 GiB.
    pub fn build(self) -> Result<RecordBatch> {
        self.build_and_recycle().map(|(batch, _buffer)| batch)
    }

    /// As [`build`](Self::build), and gives the buffer back for
    /// [`with_buffer`](Self::with_buffer).
    ///
    /// A compressed batch leaves the whole buffer; another one has its bytes there, and the buffer
    /// reclaims them once the batch is dropped.
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn build_and_recycle(mut self) -> Result<(RecordBatch, BytesMut)> {
        if self.msn_count == 0 {
            return Err(Error::new(ErrorKind::Invalid, "record batch has no records"));
        }
        let compressed = if self.compresses() {
            let records = self.buffer.get(HEADER_BYTES..).unwrap_or_default();
            let compressed = compression::compress(self.options.compression, records)?;
            Some(compressed).filter(|compressed| compressed.len() < self.buffer.len())
        } else {
            None
        };
        let (compression, mut bytes) = match compressed {
            Some(bytes) => (self.options.compression.codec, bytes),
            None => (Compression::None, self.buffer.split()),
        };
        let header = self.seal(compression, &mut bytes)?;
        Ok((RecordBatch::from_built(header, bytes.freeze()), self.buffer))
    }

    /// Whether there are records for which the delete horizon counts.
    fn has_horizon(&self) -> bool {
        self.options.delete_horizon.is_some() && self.record_count > 0
    }

    /// Writes the header into its place at the front of `bytes`.
    fn seal(&self, compression: Compression, bytes: &mut BytesMut) -> Result<BatchHeader> {
        let length = i32::try_from(bytes.len()).map_err(|_| {
            let context = format!("record batch exceeds {BATCH_BYTES_MAX} bytes");
            Error::new(ErrorKind::TooLarge, context)
        })?;
        let timestamp_kind = self.options.timestamp_kind;
        let max_timestamp = if self.record_count == 0 { NO_TIME } else { self.max_timestamp };
        let mut header = BatchHeader {
            base_msn: Msn::ZERO,
            length: length.unsigned_abs() - LENGTH_END,
            leader_epoch: NO_EPOCH,
            crc: 0,
            attributes: header::attributes(compression, timestamp_kind, self.has_horizon()),
            last_offset_delta: self.msn_count - 1,
            base_timestamp: match timestamp_kind {
                TimestampKind::Create if self.record_count > 0 => {
                    self.base_timestamp.unwrap_or(max_timestamp)
                }
                TimestampKind::Create | TimestampKind::Append => max_timestamp,
            },
            max_timestamp,
            producer: self.options.producer,
            record_count: self.record_count,
        };
        write_header(&header, bytes);
        header.crc = crc_of(bytes);
        write_header(&header, bytes);
        Ok(header)
    }
}

fn write_header(header: &BatchHeader, bytes: &mut BytesMut) {
    if let Some(room) = bytes.first_chunk_mut::<HEADER_BYTES>() {
        *room = header.encode();
    }
}

#[inline]
fn check_delta(offset_delta: u32) -> Result<()> {
    if offset_delta > DELTA_MAX { Err(beyond_delta_max()) } else { Ok(()) }
}

#[cold]
fn beyond_delta_max() -> Error {
    let context = format!("record batch would cover more than {} MSNs", DELTA_MAX + 1);
    Error::new(ErrorKind::TooLarge, context)
}

#[cold]
fn falls(offset_delta: u32, msn_count: u32) -> Error {
    let context = format!("offset delta {offset_delta} is below {msn_count}");
    Error::new(ErrorKind::Invalid, context)
}

#[inline]
fn len(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn buffer_with_room_for_a_message_does_not_grow() {
        let message = Message::new(vec![7; 1000]).with_key("key").with_header("name", "value");
        let now = Timestamp::from_millis(1);
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(&message, now).unwrap();
        let buffer = BytesMut::with_capacity(builder.encoded_len());
        let room = buffer.capacity();
        let mut builder = BatchBuilder::with_buffer(buffer, BatchOptions::default());
        builder.push(&message, now).unwrap();
        assert_eq!((builder.encoded_len(), builder.buffer.capacity()), (room, room));
    }
}
