//! Real batches to start from.

use msglog_core::batch::{BatchBuilder, BatchOptions, Compression, TimestampKind};
use msglog_core::{Message, Msn, RecordBatch, Timestamp};

/// The codecs, by the number in a batch's attributes.
pub const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// A batch of `count` records from `base` on, each of which names its MSN.
pub fn batch(base: u64, count: u64, payload_bytes: usize) -> RecordBatch {
    batch_of(base, count, payload_bytes, BatchOptions::default())
}

/// The same with options.
pub fn batch_of(base: u64, count: u64, payload_bytes: usize, options: BatchOptions) -> RecordBatch {
    let mut builder = BatchBuilder::new(options);
    for msn in base..base + count {
        let mut payload = format!("record {msn} ").into_bytes();
        payload.resize(payload.len().max(payload_bytes), b'x');
        let mut message = Message::new(payload);
        if msn % 2 == 1 {
            message = message.with_key(format!("key {}", msn % 3)).with_header("kind", "sample");
        }
        let time = Timestamp::from_millis(1_000 + msn.cast_signed() * 10);
        builder.push(&message, time).expect("a small message fits");
    }
    let mut batch = builder.build().expect("a small batch is built");
    batch.stamp(Msn::new(base), -1);
    batch
}

/// Batches of every codec, and of either kind of timestamp.
pub fn batches() -> Vec<RecordBatch> {
    let mut all = Vec::new();
    for compression in CODECS {
        let options = BatchOptions::default().with_compression(compression);
        all.push(batch_of(7, 1, 20, options));
        all.push(batch_of(0, 5, 100, options.with_timestamp_kind(TimestampKind::Append)));
    }
    all
}
