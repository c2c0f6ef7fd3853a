//! The store on [sled](https://docs.rs/sled/0.34) 0.34: pure Rust, small, survives the process but no power cut.
//!
//! ```
//! use msglog_core::store::{MessageStore, OpenOptions};
//! use msglog_sled::{SledOptions, SledStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let store = SledStore::open(folder.path(), SledOptions::default()).await?;
//! let orders = store.open(&"orders-0".parse()?, OpenOptions::or_create()).await?;
//! assert_eq!(orders.bounds().next_msn.get(), 0);
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it survives
//!
//! `append` survives closing and reopening, `sync` and `save` the end of the process, also by
//! `kill -9`. **Nothing survives a power cut or a crash of the operating system for sure**, and the
//! capabilities say so (`sync_survives` is `Os`): on Linux sled's `flush` calls `sync_file_range`,
//! which writes no metadata and does not empty the device's cache, and it never syncs the files in
//! `blobs/` that hold what is larger than 128 KiB (a trace of 270 syncs: 898 writes,
//! 898 `sync_file_range`, 243 blob files written, not one of them synced).
//!
//! This cannot be mended from outside by syncing the files once more after `flush`: between two
//! such syncs sled reuses segments, and deletes blobs, whose replacement only `sync_file_range` has
//! seen, so a power cut may take what an earlier sync had made durable. Where that matters use
//! another store.
//!
//! What is damaged on the device, sled mostly reports as `Corrupt`, or panics over, which is
//! `Corrupt` here too; it has lost data in places where it should have reported damage. Its log ends
//! where a checksum first fails, and nobody is told.
//!
//! # Limits and costs
//!
//! - One opening at a time, for reading too: others are `Locked`. Opening for reading runs sled's
//!   recovery, which writes to the folder. No `find`.
//! - A tree per partition, all in one file that never shrinks. sled keeps up to 17 batches in a
//!   leaf and rewrites the leaf as a whole now and then: batches of some KiB are cheap, larger ones
//!   are written several times over and take memory in proportion. Expect about twice the payload
//!   on the disk.
//! - Opening reads the end of the file since sled's last snapshot: seconds for hundreds of MiB.
//! - Dropping a store blocks until sled has written its buffers; `close` does so on a blocking
//!   thread.
//!
//! # When to choose it
//!
//! For a single process, small data, no C or C++ compiler, and no need to survive a power cut: tests,
//! tools, caches that can be rebuilt. sled 0.34 is from 2021 and is no longer maintained. It adds
//! 17 crates to the 66 of the default build, and 24 s of one core to its 64.

mod database;
mod error;
mod options;

pub use msglog_kv::{BATCH_BYTES_MAX, DOCUMENT_BYTES_MAX};

pub use crate::database::Sled;
pub use crate::options::{
    CACHE_BYTES_DEFAULT, CACHE_BYTES_MAX, CACHE_BYTES_MIN, SledFactory, SledOptions,
};

/// A store that keeps batches and documents in a database of sled.
///
/// Opening it for reading, too, is [`Locked`](msglog_core::ErrorKind::Locked) while it is open
/// elsewhere.
pub type SledStore = msglog_kv::Store<Sled>;
