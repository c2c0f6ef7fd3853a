//! Record batches: bytes are checked, decompressed within the limit and taken apart, or an error.

use bytes::Bytes;
use msglog_core::batch::{BatchBuilder, BatchOptions, DecodeLimits, HEADER_BYTES, HeaderViews};
use msglog_core::{ErrorKind, Header, Record, RecordBatch};

use crate::image::with_crc;
use crate::sample;

/// No batch of the fuzzer may become larger than this.
const LIMITS: DecodeLimits = DecodeLimits { records_bytes_max: 1 << 20 };
/// The smallest record: its length, attributes, two deltas, key, payload and count of headers.
const RECORD_BYTES_MIN: usize = 7;

/// The bytes as they are, with a right CRC, and as the records of a batch of each codec.
pub fn run(data: &[u8]) {
    whole(data);
    whole(&with_crc(data));
    stream(data);
    // The codec's own bytes, behind a header that fits them.
    if let Some((codec, records)) = data.split_first() {
        whole(&around(codec % 5, records));
    }
}

/// A batch with these bytes as its records.
fn around(codec: u8, records: &[u8]) -> Vec<u8> {
    let mut bytes = sample::batch(0, 1, 0).to_bytes()[..HEADER_BYTES].to_vec();
    bytes.extend_from_slice(records);
    let length = u32::try_from(bytes.len() - 12).unwrap_or(u32::MAX);
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&u16::from(codec).to_be_bytes());
    let count = 1 + i32::from(records.first().copied().unwrap_or_default() % 8);
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    with_crc(&bytes)
}

fn whole(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let batch = match RecordBatch::decode(bytes.clone()) {
        Ok(batch) => batch,
        Err(error) => return assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
    };
    assert_eq!(batch.to_bytes(), bytes, "a batch is its bytes");
    assert_eq!(batch.encoded_len(), bytes.len());
    assert!(batch.next_msn() > batch.base_msn());
    let decoded = match batch.decoded(LIMITS) {
        Ok(decoded) => decoded,
        Err(error) => {
            let kinds = [ErrorKind::Corrupt, ErrorKind::TooLarge, ErrorKind::Unsupported];
            return assert!(kinds.contains(&error.kind()), "{error}");
        }
    };
    let compressed = batch.header().attributes() & 7 != 0;
    assert!(!compressed || decoded.bytes_len() <= LIMITS.records_bytes_max);
    let views: Vec<_> = decoded.iter().collect();
    let (mut records, mut last) = (Vec::new(), None);
    for (place, record) in decoded.clone().into_records().enumerate() {
        let Ok(record) = record else {
            // Views check the headers only when these are looked at.
            let view = views[place].as_ref();
            let broken = view.is_err() || view.is_ok_and(|view| is_refused(view.headers));
            return assert!(broken, "record {place} is an error, its view is not");
        };
        let view = views[place].as_ref().expect("a record whose view is an error");
        assert_eq!((view.msn, view.key), (record.msn, record.key.as_deref()));
        assert_eq!(view.payload, record.payload.as_deref());
        assert!(batch.base_msn() <= record.msn && record.msn < batch.next_msn(), "outside");
        assert!(last < Some(record.msn), "MSNs rise");
        last = Some(record.msn);
        records.push(record);
    }
    assert_eq!(records.len(), usize::try_from(batch.record_count()).unwrap_or(usize::MAX));
    again(&batch, &records);
}

/// Whether headers are damaged, or more than an owned record may allocate.
fn is_refused(mut headers: HeaderViews<'_>) -> bool {
    let bytes = headers.count_left().saturating_mul(size_of::<Header>());
    headers.any(|header| header.is_err()) || bytes > LIMITS.records_bytes_max
}

/// What was taken apart can be put together again, and is the same then.
fn again(batch: &RecordBatch, records: &[Record]) {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in records {
        let Ok(delta) = u32::try_from(record.msn.distance_from(batch.base_msn())) else { return };
        if builder.push_at(delta, record, record.timestamp).is_err() {
            return;
        }
    }
    if records.is_empty() {
        return;
    }
    let Ok(mut built) = builder.build() else { return };
    built.stamp(batch.base_msn(), batch.leader_epoch());
    let read = built.records(DecodeLimits::default()).expect("what was built is decoded");
    let read: Vec<_> = read.map(|record| record.expect("what was built is read")).collect();
    assert_eq!(read, records);
}

/// Batch after batch off the front: it ends, and nothing is taken that is no batch.
fn stream(data: &[u8]) {
    let mut buffer = Bytes::copy_from_slice(data);
    loop {
        let before = buffer.len();
        match RecordBatch::split_first(&mut buffer) {
            Ok(Some(batch)) => {
                assert_eq!(batch.encoded_len(), before - buffer.len());
                assert!(batch.encoded_len() >= HEADER_BYTES);
            }
            Ok(None) | Err(_) => return assert_eq!(buffer.len(), before, "nothing is taken"),
        }
    }
}

/// One batch of every codec, and a run of two.
pub fn seeds() -> Vec<Vec<u8>> {
    let batches = sample::batches();
    let mut seeds: Vec<_> = batches.iter().map(|batch| batch.to_bytes().to_vec()).collect();
    seeds.push(batches.iter().take(2).flat_map(|batch| batch.to_bytes().to_vec()).collect());
    for (codec, batch) in (0..5).zip(batches.iter().step_by(2)) {
        let records = batch.to_bytes().split_off(HEADER_BYTES);
        seeds.push([&[codec], &records[..]].concat());
    }
    seeds.push(vec![0; RECORD_BYTES_MIN]);
    seeds
}
