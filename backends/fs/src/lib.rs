//! The reference store of msglog: segment files in a folder, readable as a Kafka log folder.
//!
//! ```text
//! <root>/
//!   msglog.json     format, uuid, writer epoch       LOCK     held by the one writing process
//!   documents/      one file per document, each replaced whole
//!   <topic>-<partition>/
//!     00000000000000000000.log         record batches back to back, first MSN in the name
//!     00000000000000000000.index       derived: MSN -> offset        (Kafka's format)
//!     00000000000000000000.timeindex   derived: timestamp -> MSN     (Kafka's format)
//!     checkpoint                       how far everything is known synced
//!     quarantine/                      what recovery has cut
//! ```
//!
//! # Examples
//!
//! ```
//! use msglog_core::store::{MessageStore, OpenOptions, PartitionStore, ReadLimit};
//! use msglog_core::{Msn, TopicPartition};
//! use msglog_fs::{FsOptions, FsStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> msglog_core::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("store");
//! let store = FsStore::open(path, FsOptions::default()).await?;
//! let orders: TopicPartition = "orders-0".parse()?;
//! let orders = store.open(&orders, OpenOptions::or_create()).await?;
//! assert!(orders.read(Msn::ZERO, ReadLimit::default()).await?.is_empty());
//! store.close().await
//! # }
//! ```

mod allocation;
mod blocking;
mod checkpoint;
mod chores;
mod documents;
mod factory;
mod filler;
mod folder;
mod follower;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod hold;
mod housekeeper;
mod index;
mod inspect;
pub mod io;
mod layout;
mod log;
mod loose_end;
mod manifest;
mod opening;
mod options;
mod part;
mod partition;
mod place;
mod quarantine;
mod read_buffers;
mod reader;
mod recovery;
mod replace;
mod resync;
mod runway;
mod scan;
mod segment;
mod store;
mod survey;
mod swap;
mod truncate;
mod unproven;
mod walk;
mod write;
mod writer;

pub use crate::factory::FsFactory;
pub use crate::inspect::{
    Inspection, PartitionInspection, SegmentInspection, SegmentVerdict, inspect, inspect_on,
};
pub use crate::options::{
    BATCH_BYTES_MAX, CHECKPOINT_BYTES_DEFAULT, CHECKPOINT_BYTES_MIN, DOCUMENT_BYTES_MAX, FsOptions,
    INDEX_INTERVAL_BYTES_DEFAULT, INDEX_INTERVAL_BYTES_MAX, OPEN_FILES_MAX_DEFAULT,
    OPEN_FILES_MAX_MIN, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    ZEROS_AHEAD_BYTES_DEFAULT,
};
pub use crate::recovery::RecoveryReport;
pub use crate::store::FsStore;
