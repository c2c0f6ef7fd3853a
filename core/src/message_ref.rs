//! A message by reference: what an append needs of it, since it is encoded at once.

use bytes::Bytes;

use crate::{Header, Message, Record, Timestamp};

/// A [`Message`] whose fields lie somewhere else. Costs nothing to make, and no reference counts.
///
/// ```
/// use msglog_core::MessageRef;
///
/// let line = String::from("table-7: two coffees");
/// let (table, order) = line.split_once(": ").unwrap_or_default();
/// let message = MessageRef::new(order.as_bytes()).with_key(table.as_bytes());
/// assert_eq!(message.key, Some(b"table-7".as_slice()));
/// ```
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MessageRef<'a> {
    /// Identity: chooses the partition, and what compaction keeps. `None` is distinct from empty.
    pub key: Option<&'a [u8]>,
    /// The bytes; `None` with a key is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// Small metadata, in order.
    pub headers: &'a [Header],
    /// When it was created; the log's clock fills it in when `None`.
    pub timestamp: Option<Timestamp>,
}

impl<'a> MessageRef<'a> {
    /// A message with this payload and nothing else.
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { key: None, payload: Some(payload), headers: &[], timestamp: None }
    }

    /// A keyed message without payload: compaction removes the key.
    pub const fn tombstone(key: &'a [u8]) -> Self {
        Self { key: Some(key), payload: None, headers: &[], timestamp: None }
    }

    /// The same message with a key.
    #[must_use]
    pub const fn with_key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// The same message with these headers, in place of those it had.
    #[must_use]
    pub const fn with_headers(mut self, headers: &'a [Header]) -> Self {
        self.headers = headers;
        self
    }

    /// The same message with the time it was created.
    #[must_use]
    pub const fn with_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// What can be appended: a message, or bytes or text that are the payload of one.
///
/// The log encodes it within the call and keeps nothing of it, so borrowed bytes do: neither an
/// allocation nor a reference count is needed for a payload.
pub trait AsMessage: Send + Sync {
    /// The message that it stands for.
    fn as_message(&self) -> MessageRef<'_>;
}

impl AsMessage for MessageRef<'_> {
    #[inline]
    fn as_message(&self) -> MessageRef<'_> {
        *self
    }
}

impl AsMessage for Message {
    #[inline]
    fn as_message(&self) -> MessageRef<'_> {
        MessageRef {
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: &self.headers,
            timestamp: self.timestamp,
        }
    }
}

impl AsMessage for Record {
    /// The message that would be stored as the same record; the MSN is left behind.
    fn as_message(&self) -> MessageRef<'_> {
        MessageRef {
            key: self.key.as_deref(),
            payload: self.payload.as_deref(),
            headers: &self.headers,
            timestamp: Some(self.timestamp),
        }
    }
}

/// Each is the payload of a message that has nothing else.
macro_rules! payloads {
    ($($type:ty),*) => {$(
        impl AsMessage for $type {
            #[inline]
            fn as_message(&self) -> MessageRef<'_> {
                MessageRef::new(self.as_ref())
            }
        }
    )*};
}

payloads!([u8], str, Vec<u8>, String, Bytes);

impl<const N: usize> AsMessage for [u8; N] {
    #[inline]
    fn as_message(&self) -> MessageRef<'_> {
        MessageRef::new(self)
    }
}

impl<M: AsMessage + ?Sized> AsMessage for &M {
    #[inline]
    fn as_message(&self) -> MessageRef<'_> {
        (**self).as_message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Msn;

    #[test]
    fn bytes_and_text_are_payloads_and_nothing_else() {
        fn of(message: impl AsMessage) -> bool {
            message.as_message() == MessageRef::new(b"tea")
        }
        assert!(of("tea") && of(String::from("tea")) && of(b"tea") && of(*b"tea"));
        assert!(of(b"tea".as_slice()) && of(b"tea".to_vec()) && of(Bytes::from_static(b"tea")));
        let message = &Message::new("tea");
        assert!(of(message) && of(message.as_message()) && of(message.clone()) && !of("coffee"));
    }

    #[test]
    fn message_by_reference_has_all_of_its_fields() {
        let time = Timestamp::from_millis(7);
        let message = Message::tombstone("key").with_header("name", "value").with_timestamp(time);
        let headers = [Header::new("name", "value")];
        let wanted = MessageRef::tombstone(b"key").with_headers(&headers).with_timestamp(time);
        assert_eq!(message.as_message(), wanted);
        let Message { key, payload, headers, .. } = message;
        let record = Record { msn: Msn::new(3), timestamp: time, key, payload, headers };
        assert_eq!(record.as_message(), wanted);
        assert_eq!(wanted.with_key(b"other").key, Some(b"other".as_slice()));
    }
}
