//! The fixed header of a batch: 61 bytes, parsed and checked for plausibility.

use std::ops::Range;

use bytes::{Buf, BufMut};

use super::{Compression, HEADER_BYTES, Producer, TimestampKind, corrupt};
use crate::{Error, ErrorKind, Msn, Result, Timestamp};

/// Bytes up to and including the length field, which it does not count.
pub(super) const LENGTH_END: u32 = 12;
/// Bytes that hold the stamps: all before the magic.
pub(super) const PREFIX_BYTES: usize = 16;
/// Where the bytes start that the CRC covers.
pub(super) const CRC_START: usize = 21;

/// The length of a batch without records: the rest of the header.
const LENGTH_MIN: u32 = 61 - LENGTH_END;
const MAGIC: i8 = 2;
const CODEC_BITS: i16 = 0b111;
const APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// The header of a batch, plausible but *not* checked against the CRC.
///
/// For walking over batches without touching their records. A checked batch is a
/// [`RecordBatch`](super::RecordBatch).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchHeader {
    pub(super) base_msn: Msn,
    /// Bytes after the length field.
    pub(super) length: u32,
    pub(super) leader_epoch: i32,
    pub(super) crc: u32,
    pub(super) attributes: i16,
    pub(super) last_offset_delta: u32,
    pub(super) base_timestamp: Timestamp,
    pub(super) max_timestamp: Timestamp,
    pub(super) producer: Producer,
    pub(super) record_count: u32,
}

impl BatchHeader {
    /// Parses the header at the front of `bytes`, which may go on after it.
    ///
    /// Checks magic, length, MSN range and counts, neither the CRC nor whether the rest of the
    /// batch is there. Constant time, no allocation.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](ErrorKind::Corrupt) when there are fewer than [`HEADER_BYTES`] bytes, or when a
    /// field holds what no batch can hold.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::plausible(bytes).map_err(corrupt)
    }

    fn plausible(bytes: &[u8]) -> Result<Self, &'static str> {
        let mut input: &[u8] =
            bytes.first_chunk::<HEADER_BYTES>().ok_or("record batch is cut in its header")?;
        let base_offset = input.get_i64();
        let length = input.get_i32();
        let leader_epoch = input.get_i32();
        if input.get_i8() != MAGIC {
            return Err("record batch has another magic than 2");
        }
        let crc = input.get_u32();
        let attributes = input.get_i16();
        let last_offset_delta = unsigned(input.get_i32(), "last offset delta is negative")?;
        let base_timestamp = Timestamp::from_millis(input.get_i64());
        let max_timestamp = Timestamp::from_millis(input.get_i64());
        let producer =
            Producer { id: input.get_i64(), epoch: input.get_i16(), sequence: input.get_i32() };
        let record_count = unsigned(input.get_i32(), "record count is negative")?;

        let length = unsigned(length, "record batch length is negative")?;
        if length < LENGTH_MIN {
            return Err("record batch length is less than its header");
        }
        let base_msn = Msn::new(u64::try_from(base_offset).map_err(|_| "base MSN is negative")?);
        if !fits(base_msn, last_offset_delta) {
            return Err("record batch goes beyond the largest MSN");
        }
        if u64::from(record_count) > u64::from(last_offset_delta) + 1 {
            return Err("record batch has more records than MSNs");
        }
        Ok(Self {
            base_msn,
            length,
            leader_epoch,
            crc,
            attributes,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer,
            record_count,
        })
    }

    /// The header as the bytes that [`parse`](Self::parse) takes.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = bytes.as_mut_slice();
        out.put_slice(&self.prefix());
        out.put_i8(MAGIC);
        out.put_u32(self.crc);
        out.put_i16(self.attributes);
        out.put_u32(self.last_offset_delta);
        out.put_i64(self.base_timestamp.as_millis());
        out.put_i64(self.max_timestamp.as_millis());
        out.put_i64(self.producer.id);
        out.put_i16(self.producer.epoch);
        out.put_i32(self.producer.sequence);
        out.put_u32(self.record_count);
        bytes
    }

    /// The first bytes, which hold the stamps.
    pub(super) fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let mut bytes = [0; PREFIX_BYTES];
        let mut out = bytes.as_mut_slice();
        out.put_u64(self.base_msn.get());
        out.put_u32(self.length);
        out.put_i32(self.leader_epoch);
        bytes
    }

    /// The first MSN that the batch covers; outside the CRC.
    pub fn base_msn(&self) -> Msn {
        self.base_msn
    }

    /// The MSN after the last one that the batch covers; outside the CRC.
    pub fn next_msn(&self) -> Msn {
        self.base_msn.plus(self.msn_count())
    }

    /// The MSNs that the batch covers; the base lies outside the CRC.
    pub(crate) fn msns(&self) -> Range<Msn> {
        self.base_msn..self.next_msn()
    }

    /// How many MSNs the batch covers: at least 1, and at least as many as it has records.
    pub fn msn_count(&self) -> u64 {
        u64::from(self.last_offset_delta) + 1
    }

    /// The writer epoch, or [`NO_EPOCH`](super::NO_EPOCH); outside the CRC.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Bytes of the whole batch, header included; the length field lies outside the CRC.
    pub fn encoded_len(&self) -> usize {
        usize::try_from(self.length + LENGTH_END).unwrap_or(usize::MAX)
    }

    /// Number of records; fewer than [`msn_count`](Self::msn_count) after compaction, maybe 0.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// What the records' timestamps count from: that of the first record, in most batches.
    pub fn base_timestamp(&self) -> Timestamp {
        self.base_timestamp
    }

    /// The newest timestamp, or the append time; -1 in a batch without records.
    pub fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// The attribute bits as Kafka numbers them.
    pub fn attributes(&self) -> i16 {
        self.attributes
    }

    /// How the records are compressed.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) when the batch names a codec that this version does
    /// not know.
    pub fn compression(&self) -> Result<Compression> {
        let codec = self.attributes & CODEC_BITS;
        Compression::from_bits(codec).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("record batch has unknown codec {codec}"))
        })
    }

    /// What the timestamps say.
    pub fn timestamp_kind(&self) -> TimestampKind {
        match self.attributes & APPEND_TIME_BIT {
            0 => TimestampKind::Create,
            _ => TimestampKind::Append,
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a marker of Kafka's own instead of users' records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    /// Whether the base timestamp is the time after which compaction may drop tombstones.
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON_BIT != 0
    }

    /// Who built the batch, for idempotent producers.
    pub fn producer(&self) -> Producer {
        self.producer
    }

    /// CRC-32C over everything from the attributes on, as stored.
    pub fn crc(&self) -> u32 {
        self.crc
    }
}

/// Whether the MSN after the batch is still an MSN.
pub(super) fn fits(base_msn: Msn, last_offset_delta: u32) -> bool {
    Msn::MAX.distance_from(base_msn) > u64::from(last_offset_delta)
}

/// The attribute bits of a batch built here.
pub(super) fn attributes(
    compression: Compression,
    timestamp_kind: TimestampKind,
    has_delete_horizon: bool,
) -> i16 {
    let time = match timestamp_kind {
        TimestampKind::Create => 0,
        TimestampKind::Append => APPEND_TIME_BIT,
    };
    let horizon = if has_delete_horizon { DELETE_HORIZON_BIT } else { 0 };
    compression.bits() | time | horizon
}

fn unsigned(value: i32, otherwise: &'static str) -> Result<u32, &'static str> {
    u32::try_from(value).map_err(|_| otherwise)
}
