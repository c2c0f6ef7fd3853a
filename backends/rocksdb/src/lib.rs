//! The store on RocksDB: many partitions share one write-ahead log and so one sync.
//!
//! ```
//! use msglog_core::store::{MessageStore, OpenOptions};
//! use msglog_rocksdb::{RocksDbOptions, RocksDbStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let store = RocksDbStore::open(folder.path(), RocksDbOptions::default()).await?;
//! let orders = store.open(&"orders-0".parse()?, OpenOptions::or_create()).await?;
//! assert_eq!(orders.bounds().next_msn.get(), 0);
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it survives
//!
//! `append` writes to the write-ahead log and survives the end of the process, also by `kill -9`;
//! `sync`, `save` and `trim` put that log on the device and survive a power cut. Calls of all
//! partitions that wait for a sync at the same time share one.
//!
//! What is damaged in a file of sorted tables or blobs, or in the manifest that lists these, is found
//! by its checksum: `Corrupt`. Damage inside the write-ahead log, which holds the last few write
//! buffers, cannot be told from the torn end that a crash leaves: the database then ends there, and
//! nobody is told.
//!
//! # Readers
//!
//! A store opened for reading is what RocksDB calls a secondary instance: it follows a writer in
//! this process or another, keeps nobody out and changes nothing in the place; `refresh` and the
//! calls on documents look at what is new. It keeps every file of the database open (mind the limit
//! of descriptors), holds what is in the write-ahead log in memory a second time, and writes a small
//! log of its own to the folder for temporary files. A blob file that the writer drops in between is
//! an error to the reader until it refreshes.
//!
//! # Limits and costs
//!
//! - One writer; others are `Locked`.
//! - Memory: about twice `write_buffer_bytes`, plus `cache_bytes`, plus 32 MiB. Opening after a crash
//!   reads up to three write buffers of log.
//! - Batches of [`BLOB_BYTES_MIN_DEFAULT`] bytes or more go to blob files. Bytes written to the
//!   device per byte appended, 4 partitions in turn: 2.0 instead of 5.0 for batches of 64 KiB and
//!   1 MiB, 2.1 either way for 4 KiB.
//! - `trim` costs little and frees files that hold nothing else at once; the rest comes back as
//!   RocksDB compacts, some write buffers later, and not before more is written.
//! - `find` looks through an index of 32 bytes a batch, from the oldest on.
//! - A failed write or sync, a full disk among them, poisons: reopen the store.
//!
//! # When to choose it
//!
//! For thousands of partitions with little traffic each, where a file or two per partition and a
//! sync per partition would hurt, or where RocksDB is in the program anyway. For few busy partitions
//! the segment files of `fs` write half as much and need no second language.
//!
//! # Building it
//!
//! Compiles RocksDB 11 from source: needs a C++20 compiler and libclang. On Debian and Ubuntu that
//! is `apt-get install g++ libclang-dev`; where libclang is found in no usual place,
//! `LIBCLANG_PATH` names its folder. 29 crates more than the default build's 66, and about 15
//! minutes of one core; the object files take 1 GiB with debug information. `cargo check` and
//! `cargo build` each compile it once for themselves. To compile it once only, name a library built
//! before:
//! `ROCKSDB_LIB_DIR=<folder of librocksdb.a> ROCKSDB_STATIC=1`.

mod codec;
mod database;
mod error;
mod flusher;
mod manifest;
mod options;
mod rocks;

pub use msglog_kv::{BATCH_BYTES_MAX, DOCUMENT_BYTES_MAX};

pub use crate::options::{
    BACKGROUND_JOBS_MAX, BACKGROUND_JOBS_MAX_DEFAULT, BLOB_BYTES_MIN_DEFAULT, CACHE_BYTES,
    CACHE_BYTES_DEFAULT, RocksDbFactory, RocksDbOptions, WRITE_BUFFER_BYTES,
    WRITE_BUFFER_BYTES_DEFAULT,
};
pub use crate::rocks::RocksDb;

/// A store that keeps batches and documents in a database of RocksDB.
pub type RocksDbStore = msglog_kv::Store<RocksDb>;
