//! The record batch: Apache Kafka's RecordBatch v2, from the producer to the disk and the network.

use bytes::Bytes;

use crate::{Message, Msn, Record, Result, Timestamp};

/// Bytes of the fixed header of a batch.
pub const HEADER_BYTES: usize = 61;
/// The leader epoch of a batch that proves nothing about what was synced before it.
pub const NO_EPOCH: i32 = -1;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, in the framing of Kafka's Java client.
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// What the timestamps of a batch say.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum TimestampKind {
    /// When each message was created.
    #[default]
    Create,
    /// When the batch was appended: one time for all.
    Append,
}

/// Limits of decoding, against bombs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecodeLimits {
    /// The largest size of the records once decompressed, in bytes.
    pub records_bytes_max: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { records_bytes_max: 256 << 20 }
    }
}

/// How a batch is built.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct BatchOptions {
    /// How the records are compressed.
    pub compression: Compression,
    /// What the timestamps say.
    pub timestamp_kind: TimestampKind,
}

/// A checked record batch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordBatch {
    base_msn: Msn,
    leader_epoch: i32,
    bytes: Bytes,
}

impl RecordBatch {
    /// Checks one whole batch: length, magic, CRC, header fields.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        unimplemented!("{bytes:?}")
    }
    /// First MSN.
    pub fn base_msn(&self) -> Msn {
        self.base_msn
    }
    /// MSN after the last one that it covers.
    pub fn next_msn(&self) -> Msn {
        unimplemented!()
    }
    /// Number of records in it (fewer than it covers after compaction).
    pub fn record_count(&self) -> u32 {
        unimplemented!()
    }
    /// Stamp.
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }
    /// Newest timestamp.
    pub fn max_timestamp(&self) -> Timestamp {
        unimplemented!()
    }
    /// Sets the two stamps, which lie outside the CRC; O(1).
    pub fn stamp(&mut self, base_msn: Msn, leader_epoch: i32) {
        self.base_msn = base_msn;
        self.leader_epoch = leader_epoch;
    }
    /// Size in bytes.
    pub fn encoded_len(&self) -> usize {
        self.bytes.len()
    }
    /// The first 16 bytes, with the present stamps.
    pub fn prefix(&self) -> [u8; 16] {
        unimplemented!()
    }
    /// All bytes after the prefix.
    pub fn rest(&self) -> &[u8] {
        unimplemented!()
    }
    /// The whole batch with the present stamps; free when the stamps are as they were decoded, else a copy.
    pub fn to_bytes(&self) -> Bytes {
        unimplemented!()
    }
    /// The records, owned, as slices of the batch's bytes.
    pub fn records(&self, limits: DecodeLimits) -> Result<Records> {
        unimplemented!("{limits:?}")
    }
}

/// The records of a batch; ends after an error.
#[derive(Debug)]
pub struct Records {}

impl Iterator for Records {
    type Item = Result<Record>;
    fn next(&mut self) -> Option<Self::Item> {
        unimplemented!()
    }
}

/// Builds a batch message by message.
#[derive(Debug)]
pub struct BatchBuilder {}

impl BatchBuilder {
    /// An empty batch.
    pub fn new(options: BatchOptions) -> Self {
        unimplemented!("{options:?}")
    }
    /// Adds a message; `now` is its timestamp when it has none, or when timestamps are append time.
    pub fn push(&mut self, message: &Message, now: Timestamp) -> Result<()> {
        unimplemented!("{message:?}{now}")
    }
    /// Records so far.
    pub fn record_count(&self) -> u32 {
        unimplemented!()
    }
    /// Bytes so far, header included, before compression.
    pub fn encoded_len(&self) -> usize {
        unimplemented!()
    }
    /// Compresses, checksums; base MSN 0, epoch -1 until stamped. An empty builder is `Invalid`.
    pub fn build(self) -> Result<RecordBatch> {
        unimplemented!()
    }
}
