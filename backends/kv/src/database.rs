//! What a store asks of its database, in batches and MSNs; keys and values are the database's own.

use std::fmt::Debug;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use msglog_core::store::{Access, Capabilities, Document, DocumentKey, Usage, Version};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp, TopicPartition};

/// An open database. Calls block and come from many threads at a time.
///
/// Changes of one partition come one after the other, and so do those of documents, and creating
/// and removing partitions. A failed change whose outcome is not known answers an error of unknown
/// effect; the partition is then poisoned. A call that panics is an error to its caller.
pub trait Database: Debug + Send + Sync + Sized + 'static {
    /// How it is opened.
    type Options: Debug + Send + 'static;
    /// Names the rows of one partition; keeps nothing of the database open.
    type Rows: Debug + Send + Sync + 'static;

    /// The URL scheme of the store, and its name in the marker of a place.
    const NAME: &'static str;
    /// The folder of the database within a place.
    const FOLDER: &'static str;
    /// A file in that folder without which there is no database.
    const FILE: &'static str;

    /// Checks every limit, and answers what the store is opened for.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the option that is out of range.
    fn check(options: &Self::Options) -> Result<Access>;

    /// Opens the database in this folder; for writing it is created when it is not there.
    ///
    /// # Errors
    ///
    /// [`Locked`](ErrorKind::Locked) and whatever else keeps it shut.
    fn open(folder: &Path, options: &Self::Options) -> Result<Self>;

    /// What such a store claims; the limits of sizes are set by the caller.
    fn capabilities() -> Capabilities;

    /// Looks at what a writer elsewhere has done; called only when opened for reading.
    fn catch_up(&self) -> Result<()> {
        Ok(())
    }

    /// The names of all partitions, in any order.
    fn partitions(&self) -> Result<Vec<TopicPartition>>;

    /// The rows of a partition, if there is such a one.
    fn rows(&self, name: &TopicPartition) -> Result<Option<Self::Rows>>;

    /// Makes an empty partition, whose first record gets `first`; durable when it returns.
    fn create(&self, name: &TopicPartition, first: Msn) -> Result<Self::Rows>;

    /// Removes a partition with its rows; durable when it returns.
    fn remove(&self, name: &TopicPartition, rows: &Self::Rows) -> Result<()>;

    /// Where a partition ends; `None` when it was removed.
    fn end(&self, rows: &Self::Rows) -> Result<Option<End>>;

    /// Changes a partition as a whole, also across a crash; durable after [`sync`](Self::sync).
    ///
    /// One that is asked for [`in_steps`](Change::in_steps) may be done in several.
    fn change(&self, rows: &Self::Rows, change: &Change<'_>) -> Result<Step>;

    /// Returns once every change of the partition made before the call is durable.
    ///
    /// # Errors
    ///
    /// Of unknown effect; a failed sync is never tried again.
    fn sync(&self, rows: &Self::Rows) -> Result<()>;

    /// Gives back at once what space it can of batches below `before`: they are gone durably.
    fn free(&self, rows: &Self::Rows, before: Msn) {
        let _ = (rows, before);
    }

    /// The base MSN of the oldest batch with a base of at least `from`.
    fn first_from(&self, rows: &Self::Rows, from: Msn) -> Result<Option<Msn>>;

    /// The base MSN of the batch that holds `msn`, or `msn` itself when none does.
    fn holder_of(&self, rows: &Self::Rows, msn: Msn) -> Result<Msn>;

    /// Hands the base MSNs and the stored bytes of the batches with a base in `range` to `each`, in
    /// order, until it answers `false`.
    fn scan(
        &self,
        rows: &Self::Rows,
        range: Range<Msn>,
        each: &mut dyn FnMut(Msn, Bytes) -> Result<bool>,
    ) -> Result<()>;

    /// The base MSN of the first batch in `range` with a record at or after `timestamp`, or the end
    /// of `range`.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) without [`Capabilities::find`].
    fn find(&self, rows: &Self::Rows, range: Range<Msn>, timestamp: Timestamp) -> Result<Msn> {
        let _ = (rows, range);
        Err(Error::new(ErrorKind::Unsupported, format!("this store cannot find ({timestamp})")))
    }

    /// What a partition with so many bytes of batches takes up.
    fn usage(&self, rows: &Self::Rows, bytes: u64) -> Result<Usage>;

    /// A document with its version.
    fn document(&self, key: &DocumentKey) -> Result<Option<Document>>;

    /// Keeps a document under a version that no document has had; durable when it returns.
    fn put_document(&self, key: &DocumentKey, value: &[u8]) -> Result<Version>;

    /// Drops a document that is there; durable when it returns.
    fn delete_document(&self, key: &DocumentKey) -> Result<()>;

    /// The keys that start with `prefix`, in order.
    fn documents(&self, prefix: &str) -> Result<Vec<DocumentKey>>;

    /// Makes everything durable; dropped next. Called only when opened for writing.
    fn close(&self) -> Result<()>;
}

/// Where a partition ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct End {
    /// The MSN that the next record gets.
    pub next: Msn,
    /// Bytes of all its batches.
    pub bytes: u64,
}

/// One change of a partition: first it drops, then it puts.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// What is done, for errors.
    pub what: &'static str,
    /// The batches with a base MSN in this range go.
    pub drop: Range<Msn>,
    /// These come.
    pub put: &'a [RecordBatch],
    /// Where the partition ends before the change.
    pub end: End,
    /// The MSN that the next record gets after it.
    pub next: Msn,
    /// Whether several steps will do, of which each leaves a sequence: it only drops the oldest, or
    /// only the newest, so that `next` moves down.
    pub in_steps: bool,
}

impl Change<'_> {
    /// Bytes of the batches that come.
    pub fn put_bytes(&self) -> u64 {
        self.put.iter().map(|batch| batch.encoded_len() as u64).sum()
    }
}

/// What came of a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Where the partition ends now.
    pub end: End,
    /// Whether the change is done; where not, it is asked for again.
    pub is_last: bool,
}

impl Step {
    /// The change is done as a whole.
    pub fn last(end: End) -> Self {
        Self { end, is_last: true }
    }
}
