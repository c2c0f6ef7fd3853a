//! Our batches and those of an independent implementation of Kafka's protocol are the same.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a helper that fails fails its test"
)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as KafkaCompression, Record as KafkaRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use msglog_core::batch::{
    BatchBuilder, BatchOptions, Compression, DecodeLimits, Producer, TimestampKind,
};
use msglog_core::{Header, Message, Msn, Record, RecordBatch, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

const BASE_MSN: i64 = 1_234;
const EPOCH: i32 = 5;
const PRODUCER: Producer = Producer { id: 42, epoch: 2, sequence: 900 };

fn codecs() -> impl Iterator<Item = (Compression, KafkaCompression)> {
    [
        (Compression::None, KafkaCompression::None),
        (Compression::Gzip, KafkaCompression::Gzip),
        (Compression::Snappy, KafkaCompression::Snappy),
        (Compression::Lz4, KafkaCompression::Lz4),
        (Compression::Zstd, KafkaCompression::Zstd),
    ]
    .into_iter()
    .filter(|(codec, _)| codec.is_built_in())
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    let sizes = prop_oneof![8 => 0..100_usize, 1 => 100..80_000_usize];
    let bytes = sizes.prop_flat_map(|size| {
        prop_oneof![vec(any::<u8>(), size), any::<u8>().prop_map(move |byte| vec![byte; size])]
    });
    option::weighted(0.8, bytes.prop_map(Bytes::from))
}

/// Header names differ, because the other implementation keeps them in a map; the first timestamp
/// is the smallest, because it counts from the smallest.
fn any_messages() -> impl Strategy<Value = Vec<Message>> {
    let headers = btree_map(".{0,20}", any_bytes(), 0..4);
    let message = (any_bytes(), any_bytes(), headers, 0..1_000_000_i64).prop_map(
        |(key, payload, headers, timestamp)| Message {
            key,
            payload,
            headers: headers.into_iter().map(|(name, value)| Header { name, value }).collect(),
            timestamp: Some(Timestamp::from_millis(timestamp)),
        },
    );
    vec(message, 1..12).prop_map(|mut messages| {
        messages[0].timestamp = Some(Timestamp::from_millis(0));
        messages
    })
}

fn kafka_record(at: usize, message: &Message) -> KafkaRecord {
    let at = i32::try_from(at).unwrap();
    let headers = message.headers.iter();
    KafkaRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: EPOCH,
        producer_id: PRODUCER.id,
        producer_epoch: PRODUCER.epoch,
        timestamp_type: TimestampType::Creation,
        offset: BASE_MSN + i64::from(at),
        sequence: PRODUCER.sequence + at,
        timestamp: message.timestamp.unwrap().as_millis(),
        key: message.key.clone(),
        value: message.payload.clone(),
        headers: headers
            .map(|header| (StrBytes::from_string(header.name.clone()), header.value.clone()))
            .collect::<IndexMap<_, _>>(),
    }
}

fn ours(messages: &[Message], options: BatchOptions) -> RecordBatch {
    let mut builder = BatchBuilder::new(options.with_producer(PRODUCER));
    for message in messages {
        builder.push(message, Timestamp::from_millis(77)).unwrap();
    }
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(BASE_MSN.unsigned_abs()), EPOCH);
    batch
}

fn theirs(messages: &[Message], compression: KafkaCompression) -> Bytes {
    let records: Vec<_> = messages.iter().enumerate().map(|(at, m)| kafka_record(at, m)).collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.freeze()
}

fn decoded(batch: &RecordBatch) -> Vec<Record> {
    batch.records(DecodeLimits::default()).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn kafka_reads_what_we_build(mut messages in any_messages()) {
        // So that every codec makes it smaller, and so is used.
        messages.push(Message::new(vec![0; 8 << 10]).with_timestamp(Timestamp::from_millis(7)));
        for (codec, kafka_codec) in codecs() {
            let batch = ours(&messages, BatchOptions::default().with_compression(codec));
            let set = RecordBatchDecoder::decode(&mut batch.to_bytes()).unwrap();
            prop_assert_eq!(set.compression, kafka_codec);
            let expected: Vec<_> =
                messages.iter().enumerate().map(|(at, m)| kafka_record(at, m)).collect();
            prop_assert_eq!(set.records, expected, "{:?}", codec);
        }
    }

    #[test]
    fn we_read_what_kafka_builds(messages in any_messages()) {
        for (codec, kafka_codec) in codecs() {
            let batch = RecordBatch::decode(theirs(&messages, kafka_codec)).unwrap();
            prop_assert_eq!(batch.header().compression().unwrap(), codec);
            prop_assert_eq!(batch.base_msn().get(), BASE_MSN.unsigned_abs());
            prop_assert_eq!(batch.leader_epoch(), EPOCH);
            prop_assert_eq!(batch.producer(), PRODUCER);
            let records = decoded(&batch);
            prop_assert!(records.iter().zip(BASE_MSN.unsigned_abs()..).all(|(r, m)| r.msn.get() == m));
            let read: Vec<_> = records.into_iter().map(Message::from).collect();
            prop_assert_eq!(&read, &messages, "{:?}", codec);
        }
    }

    #[test]
    fn uncompressed_bytes_are_equal(messages in any_messages()) {
        let batch = ours(&messages, BatchOptions::default());
        prop_assert_eq!(batch.to_bytes(), theirs(&messages, KafkaCompression::None));
    }
}

#[test]
fn append_time_reads_the_same() {
    let options = BatchOptions::default().with_timestamp_kind(TimestampKind::Append);
    let batch = ours(&["a".into(), "b".into()], options);
    let set = RecordBatchDecoder::decode(&mut batch.to_bytes()).unwrap();
    for (record, kafka_record) in decoded(&batch).iter().zip(&set.records) {
        assert_eq!(kafka_record.timestamp_type, TimestampType::LogAppend);
        assert_eq!(kafka_record.timestamp, record.timestamp.as_millis());
        assert_eq!(record.timestamp, Timestamp::from_millis(77));
    }
}

#[test]
fn batches_back_to_back_read_the_same() {
    let messages: [Message; 2] = ["a".into(), "b".into()];
    let batch = ours(&messages, BatchOptions::default());
    let mut later = batch.clone();
    later.stamp(batch.next_msn(), EPOCH);
    let mut bytes = Bytes::from([batch.to_bytes(), later.to_bytes()].concat());
    let sets = RecordBatchDecoder::decode_all(&mut bytes).unwrap();
    let offsets: Vec<_> = sets.iter().flat_map(|set| &set.records).map(|r| r.offset).collect();
    assert_eq!(offsets, [1_234, 1_235, 1_236, 1_237]);
}

/// The bytes in Apache Kafka's own form of one record, `hello` -> `world`.
#[test]
fn batch_of_kafka_is_read() {
    let bytes: [u8; 79] = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x43, 0, 0, 0, 0, 2, 0x73, 0x6d, 0x29, 0x7b, 0, 0, 0, 0,
        0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 1, 0x22, 1, 0xd0, 0xf, 2, 0xa, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa, 0x77,
        0x6f, 0x72, 0x6c, 0x64, 0,
    ];
    let batch = RecordBatch::decode(Bytes::copy_from_slice(&bytes)).unwrap();
    assert_eq!((batch.record_count(), batch.next_msn()), (1, Msn::new(4)));
    let record = decoded(&batch).remove(0);
    assert_eq!(record.msn, Msn::new(1));
    assert_eq!(record.key.as_deref(), Some(&b"hello"[..]));
    assert_eq!(record.payload.as_deref(), Some(&b"world"[..]));
}
