//! Typed topics: values outlive the store's reopening, and what cannot be decoded hides nothing.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use msglog_core::codec::{CODEC_HEADER, Codec, CodecError, CodecId, UTC_OFFSET_HEADER};
use msglog_core::log::{Decoded, TypedRecord};
use msglog_core::store::{ReadLimit, Survives};
use msglog_core::{ErrorKind, Log, Message, Msn, Topic, TypedTopic, UtcOffset};

use super::{TOPIC, open, open_with, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-typed":
    typed_values_come_back_after_reopen [REOPENS];
    records_of_an_old_codec_decode_after_a_switch [REOPENS];
    what_cannot_be_decoded_is_given_back_and_ends_nothing;
    cancelled_appends_of_values_are_whole_or_not_at_all [REOPENS];
}

/// Decimal digits, under an id of choice.
#[derive(Debug)]
struct Decimal(CodecId);

fn decimal(id: &str) -> CaseResult<Decimal> {
    Ok(Decimal(CodecId::parse(id)?))
}

impl Codec<u64> for Decimal {
    fn id(&self) -> &CodecId {
        &self.0
    }

    fn encode(&self, value: &u64, buffer: &mut BytesMut) -> Result<(), CodecError> {
        buffer.extend_from_slice(value.to_string().as_bytes());
        Ok(())
    }

    fn decode(&self, payload: &Bytes) -> Result<u64, CodecError> {
        Ok(std::str::from_utf8(payload)?.parse()?)
    }
}

async fn read(numbers: &TypedTopic<u64>) -> CaseResult<Vec<TypedRecord<u64>>> {
    Ok(numbers.read(0, Msn::ZERO, ReadLimit::default()).await?.records)
}

fn values(records: Vec<TypedRecord<u64>>) -> CaseResult<Vec<Option<u64>>> {
    let mut values = Vec::new();
    for record in records {
        values.push(record.into_value()?);
    }
    Ok(values)
}

/// Values, keys, the codec's id and the offset from UTC are there after reopening.
pub async fn typed_values_come_back_after_reopen(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let typed = |topic: &Topic| -> CaseResult<TypedTopic<u64>> {
        let numbers =
            topic.typed(decimal("decimal")?).keyed_by(|number| number.to_be_bytes().to_vec());
        Ok(numbers.with_utc_offset(UtcOffset::from_minutes(-210)?))
    };
    let numbers = typed(&log.topic(TOPIC).await?)?;
    for number in 0..20 {
        numbers.append(&number).await?.ack().await?;
    }
    numbers.append_batch(20..40).await?.ack().await?;
    drop(numbers);
    let log = reopen(&cx, log).await?;
    let records = read(&typed(&log.topic(TOPIC).await?)?).await?;
    for (number, record) in (0_u64..).zip(&records) {
        let key = number.to_be_bytes();
        let header = |name| record.record.last_header(name);
        ensure_eq!(record.record.key.as_deref(), Some(key.as_slice()), "key of {number}");
        ensure_eq!(header(CODEC_HEADER), Some(b"decimal".as_slice()), "codec of {number}");
        ensure_eq!(header(UTC_OFFSET_HEADER), Some(b"-03:30".as_slice()), "offset of {number}");
    }
    let expected: Vec<_> = (0..40).map(Some).collect();
    ensure_eq!(values(records)?, expected, "values after reopen");
    Ok(())
}

/// A topic whose codec is switched reads what it held before, also after reopening.
pub async fn records_of_an_old_codec_decode_after_a_switch(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let old = log.topic(TOPIC).await?.typed::<u64>(decimal("tens")?);
    old.append(&1).await?.ack().await?;
    drop(old);
    let log = reopen(&cx, log).await?;
    let new = log.topic(TOPIC).await?.typed::<u64>(decimal("ones")?);
    new.append(&20).await?.ack().await?;
    let unread = read(&new).await?;
    let unknown = unread.first().map(|record| &record.decoded);
    let named = matches!(unknown, Some(Decoded::Unknown { codec: Some(id) }) if id == "tens");
    ensure!(named, "a codec that is not registered: {unknown:?}");
    let new = new.reading_as(decimal("tens")?, |tens: u64| tens * 10);
    ensure_eq!(values(read(&new).await?)?, [Some(10), Some(20)], "values of both codecs");
    Ok(())
}

/// Damaged payloads and unknown codecs come in their place, with their bytes, and the stream goes on.
pub async fn what_cannot_be_decoded_is_given_back_and_ends_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let numbers = topic.typed::<u64>(decimal("decimal")?);
    let named = |payload: &'static str, id| Message::new(payload).with_header(CODEC_HEADER, id);
    for message in [named("x", "decimal"), named("2", "other"), Message::new("3")] {
        topic.append(message).await?.ack().await?;
    }
    numbers.append(&4).await?.ack().await?;
    let mut found = Vec::new();
    let mut stream = numbers.subscribe(0, Msn::ZERO)?.take(4);
    while let Some(record) = stream.next().await {
        found.push(record?);
    }
    let payloads: Vec<_> =
        found.iter().map(|record| record.record.payload.clone().unwrap_or_default()).collect();
    ensure_eq!(payloads, ["x", "2", "3", "4"], "payloads");
    let mut found = found.into_iter();
    let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported, ErrorKind::Unsupported];
    for (msn, kind) in kinds.into_iter().enumerate() {
        let value = found.next().map_or(Ok(None), TypedRecord::into_value);
        check_refused(value, kind, &format!("record {msn}"))?;
    }
    ensure_eq!(values(found.collect())?, [Some(4)], "what can be decoded");
    Ok(())
}

/// Dropped at any poll, alone and in batches: what is there are whole values, in order, none twice,
/// and every acked one, also after reopening.
pub async fn cancelled_appends_of_values_are_whole_or_not_at_all(cx: Cx) -> CaseResult {
    let log = open_with(&cx, Log::builder().in_flight_bytes_max(300)).await?;
    let numbers = log.topic(TOPIC).await?.typed::<u64>(decimal("decimal")?);
    let mut acked = Vec::new();
    for (number, polls) in (0..120_u64).zip((0..5).cycle()) {
        let first = number * 10;
        let sending = async {
            let appended = if number % 3 == 0 {
                numbers.append_batch(first..first + 4).await?
            } else {
                numbers.append(&first).await?
            };
            appended.ack().await
        };
        if poll_then_drop(sending, polls).await.transpose()?.is_some() {
            acked.push(first);
        }
    }
    let last = numbers.append(&5_000).await?.ack().await?;
    drop(numbers);
    let log = reopen(&cx, log).await?;
    let numbers = log.topic(TOPIC).await?.typed::<u64>(decimal("decimal")?);
    let found: Vec<u64> = values(read(&numbers).await?)?.into_iter().flatten().collect();
    ensure_eq!(found.len() as u64, last.get() + 1, "values and MSNs");
    ensure!(found.is_sorted_by(|one, other| one < other), "out of order or twice: {found:?}");
    ensure!(acked.iter().all(|value| found.contains(value)), "an acked one is missing");
    for whole in found.iter().filter(|value| *value % 30 == 0 && **value < 5_000) {
        let there = (*whole..whole + 4).all(|value| found.contains(&value));
        ensure!(there, "a part of the batch from {whole}");
    }
    Ok(())
}
