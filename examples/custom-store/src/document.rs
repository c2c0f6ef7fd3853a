//! A document as it is stored: in a record batch of one record, whose checksum finds damage.
//!
//! redb checks its own checksums only when it repairs a file.

use bytes::Bytes;
use msglog_core::batch::{BatchBuilder, BatchOptions, DecodeLimits};
use msglog_core::store::{Document, DocumentKey, Version};
use msglog_core::{Error, ErrorKind, MessageRef, RecordBatch, Result, Timestamp};

/// The bytes that stand for a value: key and version are under the checksum too.
pub(crate) fn sealed(key: &DocumentKey, version: u64, value: &[u8]) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let message = MessageRef::new(value).with_key(key.as_str().as_bytes());
    builder.push(message.with_timestamp(stamp(version)), Timestamp::default())?;
    let batch = builder.build()?;
    Ok([&batch.prefix(), batch.rest()].concat())
}

/// The document that was stored under `key`.
pub(crate) fn opened(key: &DocumentKey, (version, sealed): (u64, &[u8])) -> Result<Document> {
    let damaged = || Error::new(ErrorKind::Corrupt, format!("document {key} is damaged"));
    let batch = RecordBatch::decode(Bytes::copy_from_slice(sealed))?;
    let record = batch.records(DecodeLimits::default())?.next().ok_or_else(damaged)??;
    let is_its = record.key.as_deref() == Some(key.as_str().as_bytes());
    if !is_its || record.timestamp != stamp(version) {
        return Err(damaged());
    }
    let value = record.payload.ok_or_else(damaged)?;
    Ok(Document { value, version: Version::new(version) })
}

fn stamp(version: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(version).unwrap_or(i64::MAX))
}
