//! Typed topics over the memory store: values in and out, codecs that change, damage that is named.

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use msglog_core::codec::{CODEC_HEADER, Codec, CodecError, CodecId, Raw, UTC_OFFSET_HEADER};
use msglog_core::log::Decoded;
use msglog_core::store::ReadLimit;
use msglog_core::{
    Clock, ErrorKind, Log, Message, Msn, Timestamp, Topic, TopicConfig, UtcOffset, blocking,
};
use msglog_memory::MemoryStore;

/// Decimal numbers under an id of choice.
#[derive(Debug)]
struct Decimal(CodecId);

impl Decimal {
    fn named(id: &str) -> Self {
        Self(CodecId::parse(id).unwrap())
    }
}

impl Codec<u64> for Decimal {
    fn id(&self) -> &CodecId {
        &self.0
    }

    fn encode(&self, value: &u64, buffer: &mut BytesMut) -> Result<(), CodecError> {
        buffer.extend_from_slice(value.to_string().as_bytes());
        if *value == 13 { Err("thirteen is not written".into()) } else { Ok(()) }
    }

    fn decode(&self, payload: &Bytes) -> Result<u64, CodecError> {
        Ok(std::str::from_utf8(payload)?.parse()?)
    }
}

async fn topic() -> (Log, Topic) {
    let log = Log::builder().open(Arc::new(MemoryStore::new())).await.unwrap();
    let topic = log.topic("numbers").await.unwrap();
    (log, topic)
}

async fn append(topic: &Topic, message: Message) {
    topic.append(message).await.unwrap().ack().await.unwrap();
}

#[tokio::test]
async fn values_come_back_and_name_their_codec() {
    let (_log, topic) = topic().await;
    let numbers = topic.typed(Decimal::named("decimal")).keyed_by(|n| format!("{}", n % 2));
    numbers.append(&7).await.unwrap().ack().await.unwrap();
    numbers.append_batch([8, 9]).await.unwrap().ack().await.unwrap();
    let page = numbers.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    assert_eq!(page.next_msn, Msn::new(3));
    let record = &page.records[0].record;
    assert_eq!(record.last_header(CODEC_HEADER), Some(b"decimal".as_slice()));
    assert_eq!((record.key.as_deref(), page.records[0].msn()), (Some(b"1".as_slice()), Msn::ZERO));
    let values: Vec<_> =
        page.records.into_iter().map(|record| record.into_value().unwrap()).collect();
    assert_eq!(values, [Some(7), Some(8), Some(9)]);
}

#[tokio::test]
async fn old_records_decode_after_a_switch() {
    let (_log, topic) = topic().await;
    let old = topic.typed(Decimal::named("decimal"));
    old.append(&7).await.unwrap().ack().await.unwrap();
    append(&topic, Message::new("8")).await;
    let new = topic
        .typed::<String>(Text(CodecId::parse("text").unwrap()))
        .reading_as(Decimal::named("decimal"), |number: u64| format!("number {number}"))
        .reading_unnamed(Text(CodecId::parse("any").unwrap()));
    new.append(&"nine".to_owned()).await.unwrap().ack().await.unwrap();
    let page = new.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    let values: Vec<_> = page.records.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(values, ["number 7", "8", "nine"]);
}

/// UTF-8 as it is.
#[derive(Debug)]
struct Text(CodecId);

impl Codec<String> for Text {
    fn id(&self) -> &CodecId {
        &self.0
    }

    fn encode(&self, value: &String, buffer: &mut BytesMut) -> Result<(), CodecError> {
        buffer.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn decode(&self, payload: &Bytes) -> Result<String, CodecError> {
        Ok(String::from_utf8(payload.to_vec())?)
    }
}

#[tokio::test]
async fn stream_goes_on_after_what_it_cannot_decode() {
    let (_log, topic) = topic().await;
    let numbers = topic.typed(Decimal::named("decimal"));
    append(&topic, Message::new("x").with_header(CODEC_HEADER, "decimal")).await;
    append(&topic, Message::new("a").with_header(CODEC_HEADER, "other")).await;
    append(&topic, Message::new("b").with_header(CODEC_HEADER, vec![0xff])).await;
    append(&topic, Message::new("5")).await;
    append(&topic, Message::tombstone("k")).await;
    numbers.append(&6).await.unwrap().ack().await.unwrap();
    let records: Vec<_> = numbers.subscribe(0, Msn::ZERO).unwrap().take(6).collect().await;
    let mut records = records.into_iter().map(Result::unwrap);
    let failed = records.next().unwrap();
    assert_eq!(failed.record.payload.as_deref(), Some(b"x".as_slice()));
    let error = failed.into_value().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.context(), "record 0: codec `decimal` cannot decode it");
    let unknown = records.next().unwrap();
    assert_eq!(unknown.record.payload.as_deref(), Some(b"a".as_slice()));
    assert!(matches!(&unknown.decoded, Decoded::Unknown { codec: Some(id) } if id == "other"));
    let error = unknown.into_value().unwrap_err();
    assert_eq!(
        (error.kind(), error.context()),
        (ErrorKind::Unsupported, "record 1: codec `other` is not registered",)
    );
    assert!(matches!(records.next().unwrap().decoded, Decoded::Unknown { codec: Some(_) }));
    assert!(matches!(records.next().unwrap().decoded, Decoded::Unknown { codec: None }));
    assert!(matches!(records.next().unwrap().decoded, Decoded::Tombstone));
    assert_eq!(records.next().unwrap().value(), Some(&6));
}

#[tokio::test]
async fn value_that_cannot_be_encoded_is_invalid_and_leaves_nothing() {
    let (_log, topic) = topic().await;
    let numbers = topic.typed(Decimal::named("decimal"));
    let error = numbers.append(&13).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(error.context(), "codec `decimal` cannot encode the value");
    assert!(numbers.append_batch([1, 13]).await.is_err());
    assert_eq!(numbers.append(&1).await.unwrap().ack().await.unwrap(), Msn::ZERO);
    let page = numbers.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    assert_eq!(page.records[0].record.payload.as_deref(), Some(b"1".as_slice()));
}

#[tokio::test]
async fn messages_that_are_kept_do_not_share_their_bytes_with_later_ones() {
    let (_log, topic) = topic().await;
    let bytes = topic.typed(Raw::default());
    let kept: Vec<_> =
        (0..200_u8).map(|n| bytes.message(&Bytes::from(vec![n; 100])).unwrap()).collect();
    for (n, message) in (0..200_u8).zip(kept) {
        assert_eq!(message.payload.unwrap(), vec![n; 100]);
    }
}

/// A clock in Kathmandu.
#[derive(Debug)]
struct Kathmandu;

impl Clock for Kathmandu {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }

    fn utc_offset(&self) -> Option<UtcOffset> {
        UtcOffset::from_minutes(5 * 60 + 45).ok()
    }
}

#[tokio::test]
async fn utc_offset_rides_along_when_asked_for() {
    let builder = Log::builder().clock(Kathmandu);
    let log = builder.open(Arc::new(MemoryStore::new())).await.unwrap();
    let topic = log.topic("numbers").await.unwrap();
    let plain = topic.typed(Decimal::named("decimal"));
    let by_clock = plain.clone().with_clock_utc_offset().unwrap();
    let fixed = plain.clone().with_utc_offset("-03:30".parse().unwrap());
    for numbers in [&plain, &by_clock, &fixed] {
        numbers.append(&1).await.unwrap().ack().await.unwrap();
    }
    let page = plain.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    let minutes: Vec<_> =
        page.records.iter().map(|r| r.utc_offset().map(|o| o.as_minutes())).collect();
    assert_eq!(minutes, [None, Some(345), Some(-210)]);
    let header = page.records[1].record.last_header(UTC_OFFSET_HEADER);
    assert_eq!(header, Some(b"+05:45".as_slice()));
}

#[tokio::test]
async fn clock_that_knows_no_utc_offset_is_told_at_once() {
    let (_log, topic) = topic().await;
    let error = topic.typed(Decimal::named("decimal")).with_clock_utc_offset().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn typed_values_go_through_a_log_without_async_code() {
    let store = Arc::new(MemoryStore::new());
    let log = blocking::Log::start(Log::builder().open(store)).unwrap();
    log.create_topic(&"numbers".parse().unwrap(), TopicConfig::default()).unwrap();
    let topic = log.topic("numbers").unwrap();
    let numbers = topic.as_async().typed(Decimal::named("decimal"));
    topic.append(numbers.message(&7).unwrap()).unwrap().wait().unwrap();
    let page = topic.read(0, Msn::ZERO, ReadLimit::default()).unwrap();
    let values: Vec<_> = page.records.into_iter().map(|r| numbers.decode(r).into_value()).collect();
    assert_eq!(values.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Some(7)]);
}

#[cfg(feature = "blake3")]
#[tokio::test]
async fn payload_that_does_not_match_its_hash_is_corrupt_at_every_byte() {
    use msglog_core::codec::HASH_HEADER;

    let (_log, topic) = topic().await;
    let numbers = topic.typed(Decimal::named("decimal")).with_hash();
    let good = numbers.message(&1_234_567).unwrap();
    append(&topic, good.clone()).await;
    let payload = good.payload.clone().unwrap();
    for place in 0..payload.len() {
        let mut changed = payload.to_vec();
        changed[place] ^= 1;
        append(&topic, Message { payload: Some(changed.into()), ..good.clone() }).await;
    }
    append(&topic, Message::new("1").with_header(HASH_HEADER, "short")).await;
    // Whoever reads without the option checks what is there.
    let plain = topic.typed(Decimal::named("decimal"));
    let page = plain.read(0, Msn::ZERO, ReadLimit::default()).await.unwrap();
    assert_eq!(page.records.len(), payload.len() + 2);
    assert_eq!(page.records[0].value(), Some(&1_234_567));
    for (msn, record) in (1_u64..).zip(page.records.into_iter().skip(1)) {
        let error = record.into_value().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let named = format!("record {msn}: payload does not match its content hash");
        assert_eq!(error.context(), named);
    }
}
