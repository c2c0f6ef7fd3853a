//! The contract that a backend implements: ordered record batches, and small documents beside them.
//!
//! A store keeps opaque, already checksummed [`RecordBatch`]es in order and knows nothing of
//! topics' configuration, acks, consumers or retention: those are built once above it, by
//! [`log`](crate::log). Every sentence under "Contract" is a case of the conformance suite.
//!
//! # Contract
//!
//! **Order.** A partition is a sequence of batches whose MSN ranges rise without overlap. A batch
//! is appended whole or not at all, also across a crash.
//!
//! **Visible, then durable.** What `append` has returned for is visible to `read` on the same
//! store value at once. What `sync` has returned for survives what
//! [`Capabilities::sync_survives`] names. The two are separate calls, so that group commit lives
//! above the store and no backend can ack too early.
//!
//! **After any crash** a partition holds a prefix of what was appended, containing everything that
//! `sync` covered. Where bytes on the device were damaged, exactly the damaged batches are missing
//! and [`PartitionStore::holes`] names their MSNs.
//!
//! **Opening** may find more than is known to be durable: what was appended and not synced before the
//! process ended. It is readable at once, lies at or above [`Bounds::durable_msn`], and the next
//! `sync` makes it durable as if it had just been appended. Where that cannot be, as after a sync that
//! has failed before, that `sync` fails; it never answers more than the storage has.
//!
//! **Ownership** is the store value's. Opened for writing, it takes the place over: a local store
//! excludes a second writer with [`Locked`](crate::ErrorKind::Locked); a shared store raises the
//! writer epoch, and the old writer's next append or sync answers
//! [`Fenced`](crate::ErrorKind::Fenced).
//! With [`Capabilities::shared_readers`] any number of readers may open the same place beside the
//! writer and follow it; without it a reader beside a writer is refused with `Locked`. A reader of a
//! place that is not there makes nothing: it sees it empty, or is answered `NotFound`.
//!
//! **One appender.** `append`, `trim` and `truncate` of one partition are called from one place at a
//! time; `sync` beside them, as many at a time as [`Capabilities::syncs_in_flight_max`]; `replace`
//! beside `append` and `sync`, one at a time and never beside `trim` or `truncate`; `read` and
//! `bounds` at any time from anywhere.
//!
//! **Cancellation.** Dropping a future of `append` or `save` leaves its outcome unknown, but never
//! a gap, a torn batch or a torn document, and the handle stays usable.
//!
//! **Failure.** An error says whether anything happened ([`Effect`](crate::Effect)). After
//! `Unknown` of an append, sync, trim, truncate or replace the partition is
//! [`Poisoned`](crate::ErrorKind::Poisoned) for writing until the store is reopened; reads go on. A
//! failed sync is never tried again. After `Unknown` of a `save` or `discard` the document is as it
//! was or as it should be: load it.
//!
//! **Waiting.** No call blocks the thread that polls it, except through [`blocking`]. A store whose
//! `append` and `sync` do so claims [`Capabilities::calls_block`], and the log gives its partitions
//! a thread while they are written.
//!
//! **Close** makes everything appended durable as `sync` would, and is a no-op the second time;
//! later calls answer [`Closed`](crate::ErrorKind::Closed), except `bounds`, which answers what was
//! known last. A poisoned store answers its failure and still lets the place go. Dropping a store
//! without closing it loses nothing that a `sync` has covered.

mod blocking;
mod capabilities;
pub mod check;
mod document;
mod registry;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use self::blocking::wait_for;
pub use self::blocking::{blocking, blocking_here};
pub use self::capabilities::{Capabilities, Ownership, Survives, TailSignal};
pub use self::document::{Document, DocumentKey, Expected, Version};
pub use self::registry::{StoreFactory, StoreRegistry, StoreUrl};
use crate::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp, TopicPartition};

/// What a store is opened for.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Access {
    /// Only for reading; the place is never changed, and may have a writer elsewhere.
    Read,
    /// For writing: takes the place over, creating it when there is none.
    #[default]
    Write,
}

/// A place that keeps record batches in order, one sequence per partition, and documents.
///
/// See the [module](self) for the contract that every implementation keeps.
#[async_trait]
pub trait MessageStore: Debug + Send + Sync + 'static {
    /// What this store is and where, without secrets.
    fn info(&self) -> StoreInfo;

    /// What this store can do; constant for the value's life.
    fn capabilities(&self) -> Capabilities;

    /// Opens a partition. Opening the same one again answers the same sequence. A partition that it
    /// creates is durable with the first `sync` at the latest.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when it does not exist and `options` do not create it;
    /// [`ReadOnly`](ErrorKind::ReadOnly) when `options` would create it and the store is open for
    /// reading;
    /// [`Corrupt`](ErrorKind::Corrupt) when its bytes are damaged beyond what a hole can name.
    async fn open(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Arc<dyn PartitionStore>>;

    /// Every partition there is, sorted.
    async fn partitions(&self) -> Result<Vec<TopicPartition>>;

    /// Removes a partition and all that it holds; durable when it returns. Answers whether it existed.
    ///
    /// Open handles of it answer [`Closed`](ErrorKind::Closed) afterwards. The same name can be
    /// created again and starts empty.
    async fn remove(&self, partition: &TopicPartition) -> Result<bool>;

    /// Reads a document; `None` when there is none. Sees every completed `save`.
    async fn load(&self, key: &DocumentKey) -> Result<Option<Document>>;

    /// Replaces a document if it is as `expected`; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict), with nothing changed, when it is not as expected;
    /// [`TooLarge`](ErrorKind::TooLarge) beyond [`Capabilities::document_bytes_max`].
    async fn save(&self, key: &DocumentKey, value: Bytes, expected: Expected) -> Result<Version>;

    /// Removes a document if it is as `expected`; durable when it returns. Answers whether it existed.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict), with nothing changed, when it is not as expected.
    async fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool>;

    /// The keys that start with `prefix`, sorted; all of them for the empty prefix.
    async fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>>;

    /// Makes everything appended durable and lets the place go. A second close is a no-op.
    async fn close(&self) -> Result<()>;
}

/// One partition of a [`MessageStore`]: a sequence of record batches.
///
/// See the [module](self) for the contract that every implementation keeps.
#[async_trait]
pub trait PartitionStore: Debug + Send + Sync + 'static {
    /// What is there now, as far as this store value knows; never blocks.
    ///
    /// For a store open for reading it is as of the last [`refresh`](Self::refresh) or `read`.
    fn bounds(&self) -> Bounds;

    /// Looks at what another writer has done since, and answers the new bounds.
    ///
    /// The default is right for a store whose only writer is this value.
    async fn refresh(&self) -> Result<Bounds> {
        Ok(self.bounds())
    }

    /// Adds batches at the end; visible to `read` when it returns.
    ///
    /// The first base MSN is `bounds().next_msn`, and each further one continues the batch before.
    /// The store may stamp the leader epoch. Batches are applied in order; after an error with
    /// effect `NotApplied` none of them is there. An empty call changes nothing.
    ///
    /// # Errors
    ///
    /// [`Conflict`](ErrorKind::Conflict) when a base MSN does not continue;
    /// [`TooLarge`](ErrorKind::TooLarge) for a batch beyond [`Capabilities::batch_bytes_max`];
    /// [`StorageFull`](ErrorKind::StorageFull) without room, and appends succeed again when there is;
    /// [`Poisoned`](ErrorKind::Poisoned), [`Fenced`](ErrorKind::Fenced),
    /// [`ReadOnly`](ErrorKind::ReadOnly) and [`Closed`](ErrorKind::Closed).
    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()>;

    /// Makes everything appended before the call, and what was there when it was opened, survive what
    /// [`Capabilities::sync_survives`] names.
    ///
    /// Answers the MSN below which all is durable: at least `bounds().next_msn` of the moment of
    /// the call.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly) and [`Closed`](ErrorKind::Closed). Any other error poisons
    /// the partition: what was not durable may be lost.
    async fn sync(&self) -> Result<Msn>;

    /// Whole batches in order, from the one that holds `from` or else the next one there is.
    ///
    /// Answers at least one batch when there is any at or after `from`, however small the limit;
    /// an empty answer means that the end is reached. What was trimmed or damaged is passed over.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when the storage does not answer;
    /// [`Corrupt`](ErrorKind::Corrupt) where damage is found and not passed over, as a store that
    /// was opened to be strict does; [`Closed`](ErrorKind::Closed).
    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>>;

    /// Some bytes, counted from its first one, of the stored batch that covers exactly the MSNs
    /// `batch`; *not checked*.
    ///
    /// They are those that [`read`](Self::read) answers of it, unless they are damaged. Where no
    /// such batch is there, not any more, or it has fewer bytes, the answer is `None` or any other
    /// bytes, at most as many. So whoever asks has a checksum of them, and reads the whole batch
    /// where it does not match. Costs no more of the storage than these bytes and what finding them
    /// takes.
    ///
    /// The default answers `None`, as every store does without [`Capabilities::read_part`].
    ///
    /// # Errors
    ///
    /// [`Unavailable`](ErrorKind::Unavailable) when the storage does not answer;
    /// [`Closed`](ErrorKind::Closed).
    async fn read_part(&self, batch: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
        let _ = (batch, bytes);
        Ok(None)
    }

    /// Drops whole batches below `before` and answers the new first MSN; durable when it returns.
    ///
    /// Never drops a record at or above `before`; may keep more unless
    /// [`Capabilities::exact_trim`], with which it keeps only the batch that `before` lies in.
    /// Beyond the end it trims all there is. Moving back changes nothing.
    ///
    /// # Errors
    ///
    /// [`ReadOnly`](ErrorKind::ReadOnly), [`Poisoned`](ErrorKind::Poisoned),
    /// [`Fenced`](ErrorKind::Fenced) and [`Closed`](ErrorKind::Closed).
    async fn trim(&self, before: Msn) -> Result<Msn>;

    /// What the partition takes up.
    async fn usage(&self) -> Result<Usage>;

    /// The MSN ranges that are lost to damage, sorted; empty for a healthy partition.
    ///
    /// Damage that nothing has read yet may not be named yet; the `read` that passes over it names
    /// it.
    fn holes(&self) -> Vec<Range<Msn>> {
        Vec::new()
    }

    /// The segment that the next batch goes to, if it fits; `None` on a store that keeps no segments
    /// a partition. Never blocks.
    ///
    /// What is appended in one call goes to that segment if all of it fits into
    /// [`SegmentRoom::bytes_left`].
    fn segment(&self) -> Option<SegmentRoom> {
        None
    }

    /// Drops every batch that holds or follows `from`, and answers the new next MSN; durable after
    /// the next `sync`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) without [`Capabilities::truncate`].
    async fn truncate(&self, from: Msn) -> Result<Msn> {
        Err(unsupported("truncate", from))
    }

    /// The MSN of the first batch whose newest record is at or after `timestamp`, or the end.
    ///
    /// The record looked for is in that batch or later; the log finds it there.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) without [`Capabilities::find`].
    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        Err(unsupported("find", timestamp))
    }

    /// Replaces the batches of `range` by others within it, atomically also across a crash; durable
    /// after the next `sync`.
    ///
    /// May be called beside `append`, which does not wait for more than the switch. Bounds stay.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid), with nothing changed, for a range that cuts a batch or
    /// reaches beyond the end, and for batches outside of it;
    /// [`Corrupt`](ErrorKind::Corrupt), with nothing changed, where the range is damaged and the
    /// store keeps that as it is;
    /// [`Unsupported`](ErrorKind::Unsupported) without [`Capabilities::replace`].
    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        let _ = batches;
        Err(unsupported("replace", format_args!("{}..{}", range.start, range.end)))
    }

    /// Where a range that begins at `from` had best end, so that [`replace`](Self::replace) moves
    /// nothing else: the end of the segment that holds `from`. `None` where any range will do.
    fn unit_end(&self, from: Msn) -> Option<Msn> {
        let _ = from;
        None
    }
}

fn unsupported(call: &str, argument: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("this store cannot {call} ({argument})"))
}

/// What a store is and where it keeps its data, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The URL scheme that opens such a store, e.g. `fs`.
    pub scheme: &'static str,
    /// Where it is, without credentials, e.g. `/var/lib/orders`.
    pub location: String,
}

impl StoreInfo {
    /// A store of this scheme at this place.
    pub fn new(scheme: &'static str, location: impl Into<String>) -> Self {
        Self { scheme, location: location.into() }
    }
}

/// How a partition is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// Create it when it does not exist, its first record getting this MSN.
    pub create_at: Option<Msn>,
}

impl OpenOptions {
    /// Opens only what exists.
    pub const fn existing() -> Self {
        Self { create_at: None }
    }

    /// Opens what exists, or creates an empty partition that starts at MSN 0.
    pub const fn or_create() -> Self {
        Self::or_create_at(Msn::ZERO)
    }

    /// Opens what exists, or creates an empty partition whose first record gets `first`.
    pub const fn or_create_at(first: Msn) -> Self {
        Self { create_at: Some(first) }
    }
}

/// What a partition holds: the readable range, and how much of it is durable.
///
/// `first_msn <= durable_msn <= next_msn`; the range is half open and empty when equal.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bounds {
    /// The oldest readable MSN, or where it would be.
    pub first_msn: Msn,
    /// The MSN that the next record gets.
    pub next_msn: Msn,
    /// Everything below survives what the store's `sync` survives. After opening it may be less than
    /// what does, and less than there is.
    pub durable_msn: Msn,
}

/// How much one read answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReadLimit {
    /// Stop before the batches exceed this many encoded bytes; the first batch always comes.
    pub bytes: usize,
}

impl ReadLimit {
    /// About this many encoded bytes, but at least one batch.
    pub const fn bytes(bytes: usize) -> Self {
        Self { bytes }
    }
}

impl Default for ReadLimit {
    fn default() -> Self {
        Self::bytes(1 << 20)
    }
}

/// A segment that is being written, and how much still goes to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SegmentRoom {
    /// The MSN that it begins at.
    pub base_msn: Msn,
    /// How many bytes of batches still fit.
    pub bytes_left: u64,
}

impl SegmentRoom {
    /// A segment by these two figures.
    pub const fn new(base_msn: Msn, bytes_left: u64) -> Self {
        Self { base_msn, bytes_left }
    }
}

/// What a partition takes up on its storage.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes of stored batches.
    pub bytes: u64,
    /// Bytes taken from the storage, with indexes and space prepared ahead.
    pub allocated_bytes: u64,
    /// Files, objects or the like that hold them; 0 where there is no such thing.
    pub segments: u64,
    /// How many of these are open now; 0 where there is no such thing.
    pub open_files: u64,
}

impl Usage {
    /// Usage by these three figures.
    pub const fn new(bytes: u64, allocated_bytes: u64, segments: u64) -> Self {
        Self { bytes, allocated_bytes, segments, open_files: 0 }
    }

    /// The same usage with so many open files.
    #[must_use]
    pub const fn with_open_files(mut self, open_files: u64) -> Self {
        self.open_files = open_files;
        self
    }

    /// This usage and the other one together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            allocated_bytes: self.allocated_bytes.saturating_add(other.allocated_bytes),
            segments: self.segments.saturating_add(other.segments),
            open_files: self.open_files.saturating_add(other.open_files),
        }
    }
}
