//! What one batch promises, without compression.

use super::*;
use crate::{Header, Message};

fn message() -> Message {
    Message::new("payload")
        .with_key("key")
        .with_header("name", "value")
        .with_timestamp(Timestamp::from_millis(1_000))
}

fn sample() -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(&message(), Timestamp::default()).unwrap();
    builder.push(&Message::new("later"), Timestamp::from_millis(2_000)).unwrap();
    builder.push(&Message::tombstone("key"), Timestamp::from_millis(1_500)).unwrap();
    builder.build().unwrap()
}

#[test]
fn batch_comes_back_with_its_stamps_and_records() {
    let mut batch = sample();
    assert_eq!((batch.base_msn(), batch.leader_epoch()), (Msn::ZERO, NO_EPOCH));
    batch.stamp(Msn::new(40), 3);
    let read = RecordBatch::decode(batch.to_bytes()).unwrap();
    assert_eq!(read, batch);
    assert_eq!((read.base_msn(), read.next_msn()), (Msn::new(40), Msn::new(43)));
    assert_eq!((read.leader_epoch(), read.record_count()), (3, 3));
    assert_eq!(read.max_timestamp(), Timestamp::from_millis(2_000));
    assert_eq!(read.producer(), Producer::NONE);

    let records: Vec<_> =
        read.records(DecodeLimits::default()).unwrap().map(Result::unwrap).collect();
    let msns: Vec<_> = records.iter().map(|record| record.msn.get()).collect();
    assert_eq!(msns, [40, 41, 42]);
    assert_eq!(Message::from(records[0].clone()), message());
    assert_eq!(records[0].headers, [Header::new("name", "value")]);
    assert_eq!(records[1].timestamp, Timestamp::from_millis(2_000));
    assert_eq!(
        (records[2].payload.as_deref(), records[2].key.as_deref()),
        (None, Some(&b"key"[..]))
    );
}

#[test]
fn prefix_and_rest_make_the_whole_batch() {
    let mut batch = sample();
    let before = batch.to_bytes();
    assert_eq!([&batch.prefix()[..], batch.rest()].concat(), before);
    batch.stamp(Msn::new(7), 1);
    let after = batch.to_bytes();
    assert_eq!([&batch.prefix()[..], batch.rest()].concat(), after);
    assert_eq!(after.len(), batch.encoded_len());
    assert_eq!(before[PREFIX_BYTES..], after[PREFIX_BYTES..]);
}

#[test]
fn bytes_are_shared_when_the_stamps_are_those_decoded() {
    let mut batch = sample();
    batch.stamp(Msn::new(7), 1);
    let bytes = batch.to_bytes();
    let mut read = RecordBatch::decode(bytes.clone()).unwrap();
    assert_eq!(read.to_bytes().as_ptr(), bytes.as_ptr());
    read.stamp(Msn::new(8), 1);
    assert_ne!(read.to_bytes().as_ptr(), bytes.as_ptr());
    read.stamp(Msn::new(7), 1);
    assert_eq!(read.to_bytes().as_ptr(), bytes.as_ptr());
}

#[test]
fn empty_builder_builds_nothing() {
    let error = BatchBuilder::new(BatchOptions::default()).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}
