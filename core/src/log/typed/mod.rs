//! Typed topics: values in and out through codecs, each record naming its own.

mod decode;
mod record;
mod subscription;

use std::borrow::Borrow;
use std::fmt;
use std::sync::{Arc, Mutex, TryLockError};

use bytes::{Bytes, BytesMut};

use self::decode::Readers;
pub use self::record::{Decoded, TypedPage, TypedRecord};
pub use self::subscription::TypedSubscription;
use super::{AppendOptions, Appended, Topic};
use crate::codec::{CODEC_HEADER, Codec, UTC_OFFSET_HEADER};
use crate::store::ReadLimit;
use crate::{Error, ErrorKind, Header, Message, Msn, Record, Result, UtcOffset};

/// The room that a fresh buffer for values gets.
const BUFFER_BYTES: usize = 4 << 10;

/// Makes the key of a value.
type KeyOf<T> = Arc<dyn Fn(&T) -> Bytes + Send + Sync>;

/// A topic whose payloads are values of `T`.
///
/// Appends with one codec, whose id rides in each record, and reads with as many as are registered:
/// so old records decode after a switch, and what no codec here knows is handed out as bytes. Cheap
/// to clone; [`topic`](Self::topic) is the topic below, for everything else.
pub struct TypedTopic<T> {
    topic: Topic,
    writer: Arc<dyn Codec<T>>,
    readers: Arc<Readers<T>>,
    key: Option<KeyOf<T>>,
    utc_offset: Option<OffsetSource>,
    #[cfg(feature = "blake3")]
    hashes: bool,
    /// What values are encoded in; whoever finds it in use takes a fresh one.
    buffer: Mutex<BytesMut>,
}

/// Where the producer's offset from UTC comes from.
#[derive(Clone, Copy, Debug)]
enum OffsetSource {
    Fixed(UtcOffset),
    Clock,
}

impl Topic {
    /// This topic as one of typed values, appended with `codec` and read with it.
    pub fn typed<T: 'static>(&self, codec: impl Codec<T>) -> TypedTopic<T> {
        let writer: Arc<dyn Codec<T>> = Arc::new(codec);
        let mut readers = Readers::default();
        let reader = writer.clone();
        readers.add(writer.id().clone(), move |payload| reader.decode(payload));
        TypedTopic {
            topic: self.clone(),
            writer,
            readers: Arc::new(readers),
            key: None,
            utc_offset: None,
            #[cfg(feature = "blake3")]
            hashes: false,
            buffer: Mutex::default(),
        }
    }
}

impl<T: 'static> TypedTopic<T> {
    /// Reads records of this codec too, e.g. of the one that was used before.
    ///
    /// One that is registered under the same id is replaced.
    #[must_use]
    pub fn reading(self, codec: impl Codec<T>) -> Self {
        self.reading_as(codec, |value| value)
    }

    /// Reads records of an older type too, each turned into a `T` by `upgrade`.
    #[must_use]
    pub fn reading_as<Old: 'static>(
        mut self,
        codec: impl Codec<Old>,
        upgrade: impl Fn(Old) -> T + Send + Sync + 'static,
    ) -> Self {
        let id = codec.id().clone();
        let decode = move |payload: &Bytes| codec.decode(payload).map(&upgrade);
        Arc::make_mut(&mut self.readers).add(id, decode);
        self
    }

    /// Decodes with this codec what names none: records from before the topic was typed.
    #[must_use]
    pub fn reading_unnamed(mut self, codec: impl Codec<T>) -> Self {
        Arc::make_mut(&mut self.readers).set_unnamed(move |payload| codec.decode(payload));
        self
    }

    /// Gives each value that is appended the key that `key` makes of it.
    #[must_use]
    pub fn keyed_by<K: Into<Bytes>>(
        mut self,
        key: impl Fn(&T) -> K + Send + Sync + 'static,
    ) -> Self {
        self.key = Some(Arc::new(move |value| key(value).into()));
        self
    }

    /// Adds the BLAKE3 hash of the payload to what is appended, in the header
    /// [`HASH_HEADER`](crate::codec::HASH_HEADER).
    ///
    /// It says from end to end what a checksum of a batch cannot: that these are the producer's
    /// bytes, also after they were copied elsewhere. A record that has one is checked whenever it
    /// is read as typed, with or without this option.
    #[cfg(feature = "blake3")]
    #[must_use]
    pub fn with_hash(mut self) -> Self {
        self.hashes = true;
        self
    }

    /// Adds this offset from UTC to what is appended, in the header [`UTC_OFFSET_HEADER`].
    #[must_use]
    pub fn with_utc_offset(mut self, offset: UtcOffset) -> Self {
        self.utc_offset = Some(OffsetSource::Fixed(offset));
        self
    }

    /// As [`with_utc_offset`](Self::with_utc_offset), with what the log's clock says at each append.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) when [`Clock::utc_offset`](crate::Clock::utc_offset)
    /// of that clock knows none.
    pub fn with_clock_utc_offset(mut self) -> Result<Self> {
        self.utc_offset = Some(OffsetSource::Clock);
        self.utc_offset_now().map(|_| self)
    }

    /// The topic below: bytes, trimming, consumers, bounds.
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The message that [`append`](Self::append) would append, e.g. to give it headers of its own,
    /// or to append it from code without async.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the codec cannot encode the value;
    /// [`Unsupported`](ErrorKind::Unsupported) when the clock no longer knows its offset from UTC.
    pub fn message(&self, value: &T) -> Result<Message> {
        let payload = self.encode(value)?;
        let mut headers = Vec::with_capacity(3);
        headers.push(Header::new(CODEC_HEADER, self.writer.id().to_bytes()));
        #[cfg(feature = "blake3")]
        if self.hashes {
            let hash = crate::codec::hash::of(&payload);
            headers.push(Header::new(crate::codec::HASH_HEADER, hash));
        }
        if let Some(offset) = self.utc_offset_now()? {
            headers.push(Header::new(UTC_OFFSET_HEADER, offset.to_string()));
        }
        let key = self.key.as_ref().map(|key| key(value));
        Ok(Message { key, payload: Some(payload), headers, timestamp: None })
    }

    /// Appends one value: answers its MSN at once, and an ack that resolves when durable.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message) and [`Topic::append`].
    pub async fn append(&self, value: &T) -> Result<Appended> {
        self.append_with(value, AppendOptions::default()).await
    }

    /// As [`append`](Self::append), with a level or partition of its own.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message) and [`Topic::append_with`].
    pub async fn append_with(&self, value: &T, options: AppendOptions) -> Result<Appended> {
        self.topic.append_with(self.message(value)?, options).await
    }

    /// Appends values to one partition, all or nothing, also across a crash.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message) and [`Topic::append_batch`].
    pub async fn append_batch<V: Borrow<T>>(
        &self,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Appended> {
        self.append_batch_with(values, AppendOptions::default()).await
    }

    /// As [`append_batch`](Self::append_batch), with a level or partition of its own.
    ///
    /// # Errors
    ///
    /// As [`message`](Self::message) and [`Topic::append_batch_with`].
    pub async fn append_batch_with<V: Borrow<T>>(
        &self,
        values: impl IntoIterator<Item = V>,
        options: AppendOptions,
    ) -> Result<Appended> {
        let messages: Result<Vec<_>> =
            values.into_iter().map(|value| self.message(value.borrow())).collect();
        self.topic.append_batch_with(&messages?, options).await
    }

    /// Records of a partition in order, from `from` or the next available MSN on, decoded.
    ///
    /// A record that does not decode is in its place and says so: see [`Decoded`].
    ///
    /// # Errors
    ///
    /// As [`Topic::read`].
    pub async fn read(&self, partition: u32, from: Msn, limit: ReadLimit) -> Result<TypedPage<T>> {
        let page = self.topic.read(partition, from, limit).await?;
        let records = page.records.into_iter().map(|record| self.decode(record)).collect();
        Ok(TypedPage { records, next_msn: page.next_msn })
    }

    /// A stream of a partition's records from `from` on, from history to live, decoded.
    ///
    /// # Errors
    ///
    /// As [`Topic::subscribe`].
    pub fn subscribe(&self, partition: u32, from: Msn) -> Result<TypedSubscription<T>> {
        let subscription = self.topic.subscribe(partition, from)?;
        Ok(TypedSubscription::new(subscription, self.readers.clone()))
    }

    /// A record of this topic, decoded; however it was read.
    pub fn decode(&self, record: Record) -> TypedRecord<T> {
        self.readers.decode(record)
    }

    fn encode(&self, value: &T) -> Result<Bytes> {
        let mut guard = match self.buffer.try_lock() {
            Ok(buffer) => Some(buffer),
            // A codec that panicked left something behind, which is cleared below.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let mut fresh = BytesMut::new();
        let buffer = guard.as_deref_mut().unwrap_or(&mut fresh);
        buffer.clear();
        buffer.reserve(BUFFER_BYTES);
        self.writer.encode(value, buffer).map_err(|cause| {
            let why = format!("codec `{}` cannot encode the value", self.writer.id());
            Error::new(ErrorKind::Invalid, why).with_source(cause)
        })?;
        // The room comes back once the message is gone.
        Ok(buffer.split().freeze())
    }

    fn utc_offset_now(&self) -> Result<Option<UtcOffset>> {
        match self.utc_offset {
            None => Ok(None),
            Some(OffsetSource::Fixed(offset)) => Ok(Some(offset)),
            Some(OffsetSource::Clock) => match self.topic.clock().and_then(|it| it.utc_offset()) {
                None => {
                    let why = "the log's clock knows no offset from UTC";
                    Err(Error::new(ErrorKind::Unsupported, why))
                }
                offset => Ok(offset),
            },
        }
    }
}

impl<T> Clone for TypedTopic<T> {
    fn clone(&self) -> Self {
        Self {
            topic: self.topic.clone(),
            writer: self.writer.clone(),
            readers: self.readers.clone(),
            key: self.key.clone(),
            utc_offset: self.utc_offset,
            #[cfg(feature = "blake3")]
            hashes: self.hashes,
            // Clones are other producers: they would only be in each other's way.
            buffer: Mutex::default(),
        }
    }
}

impl<T: 'static> fmt::Debug for TypedTopic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedTopic")
            .field("topic", self.topic.name())
            .field("codec", self.writer.id())
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}
