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
    builder.push(message(), Timestamp::default()).unwrap();
    builder.push(Message::new("later"), Timestamp::from_millis(2_000)).unwrap();
    builder.push(Message::tombstone("key"), Timestamp::from_millis(1_500)).unwrap();
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

#[test]
fn batches_are_equal_only_with_the_same_stamps_and_the_same_records() {
    let (batch, mut stamped) = (sample(), sample());
    assert_eq!(batch, stamped);
    stamped.stamp(Msn::new(1), NO_EPOCH);
    assert_ne!(batch, stamped, "other stamps");
    // As long, so that the lengths in front are the same.
    let of = |payload: &'static str| {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(Message::new(payload), Timestamp::default()).unwrap();
        builder.build().unwrap()
    };
    assert_ne!(of("one"), of("two"), "other records");
}

#[test]
fn damaged_record_names_its_batch() {
    let mut batch = sample();
    batch.stamp(Msn::new(40), 3);
    let mut bytes = batch.to_bytes().to_vec();
    // A length of the first record that leads beyond the end, under a checksum that fits.
    bytes[HEADER_BYTES] = 0x7E;
    bytes[HEADER_BYTES + 1] = 0x7E;
    let crc = crc_of(&bytes).to_be_bytes();
    bytes[17..21].copy_from_slice(&crc);
    let batch = RecordBatch::decode(bytes.into()).unwrap();
    let mut records = batch.records(DecodeLimits::default()).unwrap();
    let error = records.next().unwrap().unwrap_err();
    assert!(error.to_string().contains("MSN 40"), "{error}");
}

#[test]
fn attributes_are_told_apart() {
    let bytes = sample().to_bytes();
    for bit in 3..7 {
        let mut bytes = bytes.to_vec();
        bytes[22] = 1 << bit;
        let header = BatchHeader::parse(&bytes).unwrap();
        let is = [
            header.timestamp_kind() == TimestampKind::Append,
            header.is_transactional(),
            header.is_control(),
            header.has_delete_horizon(),
        ];
        assert_eq!(is, [3, 4, 5, 6].map(|other| other == bit), "bit {bit}");
    }
}

#[test]
fn most_items_to_come_are_known() {
    let batch = sample();
    let mut records = batch.records(DecodeLimits::default()).unwrap();
    let decoded = batch.decoded(DecodeLimits::default()).unwrap();
    let mut views = decoded.iter();
    for left in [3, 2, 1] {
        // One more for an error behind the last record.
        let expected = (0, Some(left + 1));
        assert_eq!((records.size_hint(), views.size_hint()), (expected, expected));
        records.next().unwrap().unwrap();
        views.next().unwrap().unwrap();
    }
    assert!(records.next().is_none() && views.next().is_none());
}

#[test]
fn headers_left_are_counted() {
    let message = Message::new("x").with_header("a", "1").with_header("b", "2");
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(&message, Timestamp::default()).unwrap();
    let decoded = builder.build().unwrap().decoded(DecodeLimits::default()).unwrap();
    let mut headers = decoded.iter().next().unwrap().unwrap().headers;
    for left in [2, 1] {
        assert_eq!(headers.count_left(), left);
        headers.next().unwrap().unwrap();
    }
    assert_eq!(headers.count_left(), 0);
}

/// The header as Kafka reads it: base timestamp, producer id and epoch, base sequence.
#[test]
fn header_says_the_first_timestamp_no_epoch_and_no_producer() {
    let bytes = sample().to_bytes();
    assert_eq!(bytes[12..16], [0xFF; 4], "no epoch");
    assert_eq!(bytes[27..35], 1_000_i64.to_be_bytes(), "base timestamp");
    assert_eq!(bytes[35..43], 2_000_i64.to_be_bytes(), "max timestamp");
    assert_eq!(bytes[43..57], [0xFF; 14], "no producer");
}

#[test]
fn delete_horizon_takes_the_place_of_the_base_timestamp_where_there_are_records() {
    let horizon = Timestamp::from_millis(77_000);
    let options = BatchOptions::default().with_delete_horizon(horizon);
    let mut builder = BatchBuilder::new(options);
    builder.push(message(), Timestamp::default()).unwrap();
    let batch = builder.build().unwrap();
    let header = BatchHeader::parse(&batch.to_bytes()).unwrap();
    assert_eq!((header.has_delete_horizon(), header.base_timestamp()), (true, horizon));
    let record = batch.records(DecodeLimits::default()).unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, Timestamp::from_millis(1_000), "that of the record stays");
    let mut builder = BatchBuilder::new(options);
    builder.cover(3).unwrap();
    let header = BatchHeader::parse(&builder.build().unwrap().to_bytes()).unwrap();
    assert!(!header.has_delete_horizon(), "there is no record to drop");
}

#[test]
fn widest_fields_have_room_and_keep_to_the_bound() {
    let time = Timestamp::from_millis(i64::MIN);
    let payload = vec![0; 1 << 27];
    let message = Message::new(payload).with_key("").with_timestamp(time);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(Message::new(""), Timestamp::from_millis(i64::MAX / 2)).unwrap();
    let before = builder.encoded_len();
    builder.push_at(i32::MAX.unsigned_abs(), &message, time).unwrap();
    let added = builder.encoded_len() - before;
    // Five bytes each for the length of the record and of its payload, ten for the time.
    assert_eq!(added, (1 << 27) + 5 + 1 + 10 + 5 + 1 + 5 + 1);
    // The bound takes five bytes also for the length of the key and for the number of headers.
    assert_eq!(BatchBuilder::record_bytes_bound(&message), added + 4 + 4);
}

#[test]
fn bound_has_room_for_headers_without_name_or_value() {
    for header in [Header { name: String::new(), value: None }, Header::new("name", "")] {
        let mut message = Message::new("");
        message.headers = vec![header; 1000];
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let before = builder.encoded_len();
        builder.push(&message, Timestamp::default()).unwrap();
        let added = builder.encoded_len() - before;
        assert!(added <= BatchBuilder::record_bytes_bound(&message), "{added} bytes");
    }
    // Five bytes each for the lengths of name and value.
    let bound = BatchBuilder::record_bytes_bound("");
    let with = Message::new("").with_header("name", "value");
    assert_eq!(BatchBuilder::record_bytes_bound(&with), bound + 5 + 4 + 5 + 5);
}

#[test]
fn header_of_a_length_below_its_own_is_refused() {
    let mut bytes = sample().to_bytes().to_vec();
    for (length, taken) in [(49_u32, true), (48, false)] {
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(BatchHeader::parse(&bytes).is_ok(), taken, "{length}");
    }
}
