//! What is built into a batch comes out of it again, with every codec of this build.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use bytes::{Bytes, BytesMut};
use msglog_core::batch::{
    BatchBuilder, BatchHeader, BatchOptions, Compression, DecodeLimits, NO_EPOCH, Producer,
    TimestampKind,
};
use msglog_core::{ErrorKind, Header, Message, Msn, Record, RecordBatch, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];
const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn built_in() -> impl Iterator<Item = Compression> {
    CODECS.into_iter().filter(|codec| codec.is_built_in())
}

fn options(compression: Compression) -> BatchOptions {
    BatchOptions::default().with_compression(compression)
}

fn build(messages: &[Message], options: BatchOptions) -> RecordBatch {
    let mut builder = BatchBuilder::new(options);
    for message in messages {
        builder.push(message, NOW).unwrap();
    }
    builder.build().unwrap()
}

fn records(batch: &RecordBatch) -> Vec<Record> {
    batch.records(DecodeLimits::default()).unwrap().map(Result::unwrap).collect()
}

/// The same records by the borrowed iterator.
fn viewed(batch: &RecordBatch) -> Vec<Record> {
    let own = |field: Option<&[u8]>| field.map(Bytes::copy_from_slice);
    let decoded = batch.decoded(DecodeLimits::default()).unwrap();
    let views = decoded.iter().map(|view| {
        let view = view.unwrap();
        let headers = view.headers.map(Result::unwrap);
        let headers = headers.map(|h| Header { name: h.name.into(), value: own(h.value) });
        Record {
            msn: view.msn,
            timestamp: view.timestamp,
            key: own(view.key),
            payload: own(view.payload),
            headers: headers.collect(),
        }
    });
    views.collect()
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    let sizes = prop_oneof![8 => 0..100_usize, 1 => 100..20_000_usize];
    let bytes = sizes.prop_flat_map(|size| {
        prop_oneof![vec(any::<u8>(), size), any::<u8>().prop_map(move |byte| vec![byte; size])]
    });
    option::weighted(0.8, bytes.prop_map(Bytes::from))
}

fn any_message() -> impl Strategy<Value = Message> {
    let header = (".{0,20}", any_bytes()).prop_map(|(name, value)| Header { name, value });
    let timestamp =
        option::of(prop_oneof![any::<i64>(), 1_795_000_000_000..1_795_000_100_000_i64,]);
    (any_bytes(), any_bytes(), vec(header, 0..4), timestamp).prop_map(
        |(key, payload, headers, timestamp)| Message {
            key,
            payload,
            headers,
            timestamp: timestamp.map(Timestamp::from_millis),
        },
    )
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were_pushed(
        mut messages in vec(any_message(), 1..20),
        base_msn in 0..i64::MAX.unsigned_abs() - 100,
        epoch in any::<i32>(),
    ) {
        // So that every codec makes it smaller, and so is used.
        messages.push(Message::new(vec![0; 8 << 10]));
        for codec in built_in() {
            let mut batch = build(&messages, options(codec));
            batch.stamp(Msn::new(base_msn), epoch);
            let batch = RecordBatch::decode(batch.to_bytes()).unwrap();
            prop_assert_eq!((batch.base_msn().get(), batch.leader_epoch()), (base_msn, epoch));
            prop_assert_eq!(batch.next_msn().get(), base_msn + messages.len() as u64);
            prop_assert_eq!(batch.header().compression().unwrap(), codec);

            let read = records(&batch);
            prop_assert_eq!(&read, &viewed(&batch));
            prop_assert_eq!(read.iter().map(|r| r.timestamp).max(), Some(batch.max_timestamp()));
            prop_assert_eq!(read.len(), messages.len());
            for (at, (record, message)) in read.into_iter().zip(&messages).enumerate() {
                prop_assert_eq!(record.msn.get(), base_msn + at as u64);
                let mut expected = message.clone();
                expected.timestamp = message.timestamp.or(Some(NOW));
                prop_assert_eq!(Message::from(record), expected);
            }
        }
    }

    #[test]
    fn bound_of_a_message_holds(messages in vec(any_message(), 1..20)) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for message in &messages {
            let before = builder.encoded_len();
            builder.push(message, NOW).unwrap();
            let added = builder.encoded_len() - before;
            prop_assert!(added <= BatchBuilder::record_bytes_bound(message));
        }
        let bytes = builder.encoded_len();
        prop_assert_eq!(builder.build().unwrap().encoded_len(), bytes);
    }

    #[test]
    fn msns_left_out_stay_left_out(
        gaps in vec(0..1_000_u32, 0..20), covered in 0..30_000_u32, base in 0..1_000_000_u64,
    ) {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        let mut next = 0;
        let mut deltas = vec![];
        for gap in gaps {
            deltas.push(next + gap);
            next += gap + 1;
            builder.push_at(next - 1, Message::new("kept"), NOW).unwrap();
        }
        builder.cover(covered).unwrap();
        prop_assert_eq!(builder.record_count() as usize, deltas.len());
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(base), NO_EPOCH);
        let batch = RecordBatch::decode(batch.to_bytes()).unwrap();
        prop_assert_eq!(batch.next_msn().get(), base + u64::from(next.max(covered + 1)));
        let read = records(&batch).into_iter().map(|record| record.msn.get() - base);
        prop_assert!(read.eq(deltas.into_iter().map(u64::from)));
    }
}

#[test]
fn large_payload_comes_back_with_every_codec() {
    let pattern = (0..1_u32 << 20).map(|at| at.wrapping_mul(2_654_435_761) >> 9);
    let pattern: Vec<_> =
        pattern.flat_map(|bits| [0, 1, 2].map(|at| bits.to_be_bytes()[at])).collect();
    let message = Message::new(pattern).with_timestamp(NOW);
    for codec in built_in() {
        let batch = build(&[message.clone(), message.clone()], options(codec));
        let read: Vec<_> = records(&batch).into_iter().map(Message::from).collect();
        assert_eq!(read, [message.clone(), message.clone()], "{codec:?}");
    }
}

#[test]
fn fields_are_slices_of_the_bytes_of_the_batch() {
    let batch = build(&["zero copies".into()], BatchOptions::default());
    let bytes = batch.to_bytes();
    let payload = records(&batch).remove(0).payload.unwrap();
    let range = bytes.as_ptr_range();
    assert!(range.contains(&payload.as_ptr()));
}

#[test]
fn append_time_is_that_of_every_record() {
    let early = Message::new("a").with_timestamp(Timestamp::from_millis(5));
    let mut builder =
        BatchBuilder::new(BatchOptions::default().with_timestamp_kind(TimestampKind::Append));
    builder.push(&early, Timestamp::from_millis(100)).unwrap();
    builder.push(&early, Timestamp::from_millis(101)).unwrap();
    let batch = RecordBatch::decode(builder.build().unwrap().to_bytes()).unwrap();
    assert_eq!(batch.header().timestamp_kind(), TimestampKind::Append);
    for record in records(&batch) {
        assert_eq!(record.timestamp, Timestamp::from_millis(101));
    }
}

#[test]
fn producer_is_kept() {
    let producer = Producer { id: 77, epoch: 3, sequence: 1_000 };
    let batch = build(&["a".into()], BatchOptions::default().with_producer(producer));
    assert_eq!(RecordBatch::decode(batch.to_bytes()).unwrap().producer(), producer);
}

#[test]
fn batch_without_records_covers_its_msns() {
    for codec in CODECS {
        let mut builder = BatchBuilder::new(options(codec));
        builder.cover(9).unwrap();
        assert!(!builder.compresses(), "there is nothing to compress");
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(20), 4);
        let batch = RecordBatch::decode(batch.to_bytes()).unwrap();
        assert_eq!((batch.record_count(), batch.next_msn()), (0, Msn::new(30)));
        let no_time = Timestamp::from_millis(-1);
        assert_eq!((batch.header().base_timestamp(), batch.max_timestamp()), (no_time, no_time));
        assert_eq!(records(&batch), []);
    }
}

#[test]
fn delta_that_does_not_rise_is_invalid() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push_at(5, "a", NOW).unwrap();
    let error = builder.push_at(5, "b", NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let error = builder.push_at(1 << 31, "b", NOW).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let error = builder.cover(1 << 31).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(builder.record_count(), 1);
}

#[cfg(target_pointer_width = "64")]
#[test]
fn message_beyond_the_format_is_too_large_and_leaves_the_batch_as_it_was() {
    // Never touched, and so never backed by memory.
    let huge = Message::new(vec![0; i32::MAX.unsigned_abs() as usize]);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push("a", NOW).unwrap();
    let bytes = builder.encoded_len();
    assert_eq!(builder.push(&huge, NOW).unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!((builder.record_count(), builder.encoded_len()), (1, bytes));
    assert_eq!(records(&builder.build().unwrap()).len(), 1);
}

#[test]
fn batches_are_taken_off_a_buffer_until_one_is_cut() {
    let mut batches = [
        build(&["one".into()], BatchOptions::default()),
        build(&["two".into(), "three".into()], BatchOptions::default()),
    ];
    batches[1].stamp(Msn::new(1), 0);
    let bytes = Bytes::from([batches[0].to_bytes(), batches[1].to_bytes()].concat());
    for cut in 0..=bytes.len() {
        let mut rest = bytes.slice(..cut);
        let mut taken = 0;
        while let Some(batch) = RecordBatch::split_first(&mut rest).unwrap() {
            assert_eq!(batch, batches[taken]);
            taken += 1;
        }
        let whole = batches[..taken].iter().map(RecordBatch::encoded_len).sum::<usize>();
        assert_eq!(rest.len(), cut - whole);
        assert_eq!(
            taken,
            usize::from(cut >= batches[0].encoded_len()) + usize::from(cut == bytes.len())
        );
    }
}

#[test]
fn damaged_batch_stays_on_the_buffer() {
    let mut bytes = BytesMut::from(&build(&["one".into()], BatchOptions::default()).to_bytes()[..]);
    *bytes.last_mut().unwrap() ^= 1;
    let mut buffer = bytes.freeze();
    let before = buffer.clone();
    assert_eq!(RecordBatch::split_first(&mut buffer).unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(buffer, before);
}

#[test]
fn header_is_parsed_without_the_records() {
    let options = BatchOptions::default().with_timestamp_kind(TimestampKind::Append);
    let mut batch = build(&["one".into(), "two".into()], options);
    batch.stamp(Msn::new(8), 2);
    let bytes = batch.to_bytes();
    let header = BatchHeader::parse(&bytes[..61]).unwrap();
    assert_eq!(&header, batch.header());
    assert_eq!((header.leader_epoch(), header.max_timestamp()), (2, NOW));
    assert_eq!(header.attributes().to_be_bytes(), bytes[21..23]);
    assert_eq!(header.crc().to_be_bytes(), bytes[17..21]);
    assert_eq!((header.base_msn(), header.next_msn()), (Msn::new(8), Msn::new(10)));
    assert_eq!((header.encoded_len(), header.record_count()), (bytes.len(), 2));
}

#[test]
fn recycled_buffer_builds_the_same_batch() {
    let messages = [Message::new("one").with_timestamp(NOW), Message::new("two")];
    for codec in built_in() {
        let expected = build(&messages, options(codec));
        let mut buffer = BytesMut::with_capacity(4 << 10);
        for _ in 0..3 {
            let mut builder = BatchBuilder::with_buffer(buffer, options(codec));
            for message in &messages {
                builder.push(message, NOW).unwrap();
            }
            let (batch, back) = builder.build_and_recycle().unwrap();
            assert_eq!(batch, expected);
            buffer = back;
        }
    }
}

#[test]
fn batch_names_a_codec_only_if_that_makes_it_smaller() {
    for codec in built_in() {
        let mut named = [false, false];
        for size in 0..300 {
            let message = Message::new((0..40).chain([0; 300]).take(size).collect::<Vec<u8>>());
            let plain = build(std::slice::from_ref(&message), BatchOptions::default());
            let batch = build(&[message], options(codec));
            let names = batch.header().compression().unwrap() != Compression::None;
            assert_eq!(names, batch.encoded_len() < plain.encoded_len(), "{codec:?} {size}");
            named[usize::from(names)] = true;
        }
        assert_eq!(named, [true, codec != Compression::None], "{codec:?}");
    }
}

#[test]
fn codec_that_is_not_built_in_names_its_feature() {
    for codec in CODECS.into_iter().filter(|codec| !codec.is_built_in()) {
        let mut builder = BatchBuilder::new(options(codec));
        builder.push("a", NOW).unwrap();
        let error = builder.build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let feature = format!("cargo feature `{}`", codec.as_str());
        assert!(error.context().contains(&feature), "{error}");
    }
}

#[test]
#[should_panic(expected = "MSNs never wrap")]
fn stamp_beyond_the_largest_msn_panics() {
    build(&["a".into()], BatchOptions::default()).stamp(Msn::MAX, 0);
}

#[test]
fn largest_msn_is_a_next_msn() {
    let mut batch = build(&["a".into()], BatchOptions::default());
    batch.stamp(Msn::new(Msn::MAX.get() - 1), 0);
    assert_eq!(RecordBatch::decode(batch.to_bytes()).unwrap().next_msn(), Msn::MAX);
}
