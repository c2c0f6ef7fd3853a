//! The record batch: Apache Kafka's RecordBatch v2, from the producer to the disk and the network.
//!
//! The one place that knows these bytes. Source: Apache Kafka's protocol guide, "Record Batch".
//!
//! | offset | field | type | here |
//! |---|---|---|---|
//! | 0 | baseOffset | i64 | base MSN, stamped by the appender |
//! | 8 | batchLength | i32 | bytes after this field |
//! | 12 | partitionLeaderEpoch | i32 | writer epoch, stamped by the appender; -1 = none |
//! | 16 | magic | i8 | 2 |
//! | 17 | crc | u32 | CRC-32C over everything from offset 21 on |
//! | 21 | attributes | i16 | bits 0-2 codec, 3 append time, 4 transactional, 5 control, 6 delete horizon |
//! | 23 | lastOffsetDelta | i32 | next MSN = base MSN + this + 1 |
//! | 27 | baseTimestamp | i64 | milliseconds, what records count from |
//! | 35 | maxTimestamp | i64 | milliseconds, the newest or the append time |
//! | 43 | producerId | i64 | -1 = none |
//! | 51 | producerEpoch | i16 | -1 = none |
//! | 53 | baseSequence | i32 | -1 = none |
//! | 57 | recordCount | i32 | at most lastOffsetDelta + 1 |
//! | 61 | records | bytes | compressed as a whole when a codec is named |
//!
//! Integers are big-endian. A record is its length, attributes (i8, unused), timestamp delta,
//! offset delta, key, payload and the count of headers with each header's name and value; all but
//! the attributes are zigzag varints or bytes after their length, which is -1 for null.

mod build;
mod check;
mod compression;
mod cursor;
mod empty;
mod encode;
mod header;
mod lookup;
mod outline;
mod records;
mod varint;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

pub use self::build::{BatchBuilder, BatchOptions};
pub use self::check::BatchCheck;
pub use self::compression::{Compression, CompressionPolicy};
pub use self::empty::empty_batches;
pub use self::header::BatchHeader;
use self::header::{CRC_START, PREFIX_BYTES};
pub(crate) use self::lookup::RecordIndex;
pub(crate) use self::outline::{Outline, Part};
pub use self::records::{DecodedBatch, HeaderView, HeaderViews, RecordView, RecordViews, Records};
use crate::{Error, ErrorKind, Msn, Result, Timestamp};

/// Bytes of the fixed header of a batch.
pub const HEADER_BYTES: usize = 61;
/// The leader epoch of a batch that proves nothing about what was synced before it.
pub const NO_EPOCH: i32 = -1;

/// What the timestamps of a batch say.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampKind {
    /// When each message was created.
    #[default]
    Create,
    /// When the batch was appended: one time for all.
    Append,
}

/// Who built a batch, and its first record's number among that producer's; -1 where not said.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Producer {
    /// The producer's id.
    pub id: i64,
    /// Which of the producer's incarnations.
    pub epoch: i16,
    /// The number of the batch's first record, counted by the producer for this partition.
    pub sequence: i32,
}

impl Producer {
    /// A producer that does not say who it is.
    pub const NONE: Self = Self { id: -1, epoch: -1, sequence: -1 };
}

impl Default for Producer {
    fn default() -> Self {
        Self::NONE
    }
}

/// Limits of decoding, against bombs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeLimits {
    /// The largest size of the records once decompressed, in bytes.
    ///
    /// Also bounds what the headers of one owned record may allocate. Does not apply to records
    /// that are not compressed, which cost nothing to look at.
    pub records_bytes_max: usize,
}

impl Default for DecodeLimits {
    /// 256 MiB.
    fn default() -> Self {
        Self { records_bytes_max: 256 << 20 }
    }
}

/// A record batch whose bytes match their checksum.
///
/// Made only by [`BatchBuilder::build`] and by [`decode`](Self::decode), so whoever holds one need
/// not check again. The CRC says nothing about the two stamps (base MSN and leader epoch) and about
/// the records' own structure, which iteration checks. Cheap to clone. Two batches are equal when
/// their bytes with the present stamps are.
///
/// ```
/// use msglog_core::batch::{BatchBuilder, BatchOptions, DecodeLimits};
/// use msglog_core::{Msn, RecordBatch, Timestamp};
///
/// # fn main() -> msglog_core::Result<()> {
/// let mut builder = BatchBuilder::new(BatchOptions::default());
/// builder.push("two coffees", Timestamp::from_millis(1_000))?;
/// let mut batch = builder.build()?;
/// batch.stamp(Msn::new(42), 7);
///
/// let read = RecordBatch::decode(batch.to_bytes())?;
/// assert_eq!(read, batch);
/// for record in read.records(DecodeLimits::default())? {
///     assert_eq!(record?.msn, Msn::new(42));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// With the present stamps; those in `bytes` may be older.
    header: BatchHeader,
    bytes: Bytes,
}

impl RecordBatch {
    /// Checks that `bytes` are exactly one whole batch; keeps them without copying.
    ///
    /// One pass over the bytes for the CRC; the records are neither decompressed nor parsed.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when the bytes are cut or go on, when the CRC does not
    /// match, or when a header field holds what no batch can hold.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let header = BatchHeader::parse(&bytes)?;
        let length = header.encoded_len();
        if bytes.len() != length {
            let context = format!("record batch of {length} bytes comes as {}", bytes.len());
            return Err(corrupt(context));
        }
        let crc = crc_of(&bytes);
        if crc != header.crc {
            let stored = header.crc;
            return Err(corrupt(format!("record batch has CRC {crc:#x} instead of {stored:#x}")));
        }
        Ok(Self { header, bytes })
    }

    /// Takes the first batch off the front of `buffer`; shares its bytes without copying.
    ///
    /// `None`, and nothing taken, when the buffer holds no whole batch: it is empty, or more bytes
    /// are needed. Otherwise as [`decode`](Self::decode).
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode), apart from a batch that is cut; then nothing is taken.
    pub fn split_first(buffer: &mut Bytes) -> Result<Option<Self>> {
        if buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let length = BatchHeader::parse(buffer)?.encoded_len();
        if buffer.len() < length {
            return Ok(None);
        }
        let batch = Self::decode(buffer.slice(..length))?;
        *buffer = buffer.slice(length..);
        Ok(Some(batch))
    }

    /// A batch just built, whose header and CRC are known to match.
    fn from_built(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, bytes }
    }

    /// The header, with the present stamps.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The first MSN that the batch covers.
    pub fn base_msn(&self) -> Msn {
        self.header.base_msn
    }

    /// The MSN after the last one that the batch covers.
    pub fn next_msn(&self) -> Msn {
        self.header.next_msn()
    }

    /// Number of records in it; fewer than the MSNs that it covers after compaction, maybe 0.
    pub fn record_count(&self) -> u32 {
        self.header.record_count
    }

    /// The writer epoch, or [`NO_EPOCH`].
    pub fn leader_epoch(&self) -> i32 {
        self.header.leader_epoch
    }

    /// The newest timestamp, or the append time; -1 in a batch without records.
    pub fn max_timestamp(&self) -> Timestamp {
        self.header.max_timestamp
    }

    /// Who built the batch.
    pub fn producer(&self) -> Producer {
        self.header.producer
    }

    /// Sets the two stamps, which lie outside the CRC: constant time, the bytes stay shared.
    ///
    /// # Panics
    ///
    /// When the MSN after the batch would exceed [`Msn::MAX`], which no log can reach by appending.
    pub fn stamp(&mut self, base_msn: Msn, leader_epoch: i32) {
        assert!(
            header::fits(base_msn, self.header.last_offset_delta),
            "MSNs never wrap: {} from {base_msn} on are too many",
            self.header.msn_count()
        );
        self.header.base_msn = base_msn;
        self.header.leader_epoch = leader_epoch;
    }

    /// Bytes of the batch, header included.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }

    /// The first 16 bytes, with the present stamps; [`rest`](Self::rest) follows them.
    pub fn prefix(&self) -> [u8; 16] {
        self.header.prefix()
    }

    /// All bytes after the [`prefix`](Self::prefix).
    pub fn rest(&self) -> &[u8] {
        self.bytes.get(PREFIX_BYTES..).unwrap_or_default()
    }

    /// As [`rest`](Self::rest), sharing the bytes of the batch.
    pub fn rest_bytes(&self) -> Bytes {
        self.bytes.slice(PREFIX_BYTES.min(self.bytes.len())..)
    }

    /// The whole batch with the present stamps: free when they equal those in the bytes that were
    /// decoded, else one copy.
    pub fn to_bytes(&self) -> Bytes {
        let prefix = self.prefix();
        if self.bytes.starts_with(&prefix) {
            return self.bytes.clone();
        }
        let mut bytes = BytesMut::with_capacity(self.encoded_len());
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(self.rest());
        bytes.freeze()
    }

    /// The records, decompressed: free when they are not compressed.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) when the codec is unknown or its cargo feature is
    /// off, [`TooLarge`](ErrorKind::TooLarge) when the records exceed the limit, and
    /// [`Corrupt`](ErrorKind::Corrupt) when they cannot be decompressed.
    pub fn decoded(&self, limits: DecodeLimits) -> Result<DecodedBatch> {
        let compression = self.header.compression()?;
        let bytes = self.bytes.slice(HEADER_BYTES..);
        let records = compression::decompress(compression, bytes, limits.records_bytes_max)
            .map_err(|error| error.within(place(self.base_msn())))?;
        Ok(DecodedBatch::new(&self.header, records, limits))
    }

    /// The records as owned values, which are slices of the batch's bytes or of the decompressed
    /// ones. For the least cost iterate [`decoded`](Self::decoded) records by reference instead.
    ///
    /// # Errors
    ///
    /// As for [`decoded`](Self::decoded).
    pub fn records(&self, limits: DecodeLimits) -> Result<Records> {
        self.decoded(limits).map(DecodedBatch::into_records)
    }
}

impl PartialEq for RecordBatch {
    fn eq(&self, other: &Self) -> bool {
        self.prefix() == other.prefix() && self.rest() == other.rest()
    }
}

impl Eq for RecordBatch {}

/// CRC-32C over everything from the attributes on.
fn crc_of(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes.get(CRC_START..).unwrap_or_default())
}

/// Which batch an error is about.
#[cold]
fn place(base_msn: Msn) -> String {
    format!("record batch at MSN {base_msn}")
}

#[cold]
fn corrupt(context: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, context)
}

#[cfg(test)]
mod tests;
