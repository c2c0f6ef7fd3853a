//! A message as a producer hands it in, and the record that it becomes.

use bytes::Bytes;

use crate::{Msn, Timestamp};

/// A small named value that travels with a message; names may repeat and keep their order.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value; `None` is distinct from empty.
    pub value: Option<Bytes>,
}

impl Header {
    /// A header with a value.
    pub fn new(name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { name: name.into(), value: Some(value.into()) }
    }
}

/// What a producer hands in: payload, optional key, headers and time.
///
/// ```
/// use msglog_core::Message;
///
/// let message = Message::new("two coffees").with_key("table-7").with_header("trace", "abc");
/// assert_eq!(message.payload.as_deref(), Some(b"two coffees".as_slice()));
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Message {
    /// Identity: chooses the partition, and what compaction keeps. `None` is distinct from empty.
    pub key: Option<Bytes>,
    /// The bytes; `None` with a key is a tombstone.
    pub payload: Option<Bytes>,
    /// Small metadata, in order.
    pub headers: Vec<Header>,
    /// When it was created; the log's clock fills it in when `None`.
    pub timestamp: Option<Timestamp>,
}

impl Message {
    /// A message with this payload and nothing else.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: Some(payload.into()), ..Self::default() }
    }

    /// A keyed message without payload: compaction removes the key.
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// The same message with a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same message with one more header at the end.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header::new(name, value));
        self
    }

    /// The same message with the time it was created.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

impl From<&'static str> for Message {
    fn from(payload: &'static str) -> Self {
        Self::new(payload)
    }
}

impl From<String> for Message {
    fn from(payload: String) -> Self {
        Self::new(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::new(payload)
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::new(payload)
    }
}

/// A message with its MSN and timestamp, as stored and read.
///
/// Key, payload and header values are cheap slices of the record batch that holds them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Its place in the partition.
    pub msn: Msn,
    /// When it was created, or appended where the topic says so.
    pub timestamp: Timestamp,
    /// Identity, if it has one.
    pub key: Option<Bytes>,
    /// The bytes; `None` with a key is a tombstone.
    pub payload: Option<Bytes>,
    /// Small metadata, in order.
    pub headers: Vec<Header>,
}

impl Record {
    /// The value of the last header of this name, as Kafka's `lastHeader`; `None` also for null.
    pub fn last_header(&self, name: &str) -> Option<&[u8]> {
        let header = self.headers.iter().rfind(|header| header.name == name)?;
        header.value.as_deref()
    }
}

impl From<Record> for Message {
    /// The message that would be stored as the same record; the MSN is left behind.
    fn from(record: Record) -> Self {
        Self {
            key: record.key,
            payload: record.payload,
            headers: record.headers,
            timestamp: Some(record.timestamp),
        }
    }
}
