//! The msglog store on object storage: S3, Google Cloud Storage, Azure, a folder, memory.
//!
//! **One PUT is one ack.** What all partitions appended since the last commit leaves as one *commit
//! object*; once the storage has it, all who wait are acked. There is no other server, no lock and
//! no clock between writers: the only thing relied on is that an object can be created *only if it
//! is absent*, which S3, GCS, Azure, a folder and memory all keep, and which is tried out when a
//! place is made.
//!
//! ```
//! use std::sync::Arc;
//!
//! use msglog_core::store::{Access, MessageStore, Survives};
//! use msglog_object_store::{BucketOptions, BucketStore};
//! use object_store::memory::InMemory;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> msglog_core::Result<()> {
//! let mut options = BucketOptions::default();
//! options.root = "orders".into();
//! options.survives = Survives::Process;
//! let store = BucketStore::open(Arc::new(InMemory::new()), options, Access::Write).await?;
//! assert_eq!(store.partitions().await?, []);
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//!
//! | URL | feature | an acked record survives |
//! |---|---|---|
//! | `s3://bucket/path` | `aws` | the loss of this machine |
//! | `gs://bucket/path` | `gcp` | the loss of this machine |
//! | `az://container/path` | `azure` | the loss of this machine |
//! | `file+object:///folder` | none | a power cut |
//! | `memory+object:name` | none | closing and reopening in this process; without a name nothing |
//!
//! Credentials come from the environment as `object_store` reads them (`AWS_ACCESS_KEY_ID`,
//! `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_KEY`, ...); the query may name `endpoint`,
//! `region`, `allow_http` and the like, and any number among [`BucketOptions`] (`linger_ms`,
//! `commits_per_second_max`, ...). An unknown key is an error.
//!
//! # Choose it when
//!
//! - an ack must outlive the machine, and no second server is to be run for that;
//! - the machine is replaced by another one that takes the log over: any process can, at any time,
//!   and the one before it is told [`Fenced`](msglog_core::ErrorKind::Fenced);
//! - history is large and read seldom: it costs what objects cost, and nothing while nothing happens;
//! - 50 to 100 ms an ack are well (10 ms on zonal storage); otherwise use the fs store.
//!
//! # What it survives
//!
//! A commit object is there whole or not at all, and its name is its place in the one order of all
//! commits. Lost answers, answers that say something else than what happened, requests that arrive
//! late, crashes at any request, two writers, a writer that sleeps for a day: after all of them each
//! partition holds a prefix of what was appended with everything acked in it.
//! `tests/model.rs` walks through every state of a small world to show it, and breaks the rule in 13
//! ways to show that it would notice.
//!
//! The rule:
//!
//! 1. Commit objects are `log/1`, `log/2`, ...; each is created only if absent and carries its
//!    writer's *epoch* and a *nonce*. Up to 8 are under way at a time; acks are strictly in order.
//! 2. No answer but success is believed. After any other the object is read: the own nonce means
//!    committed, nothing means that the same bytes are sent again, another nonce another writer.
//! 3. A newcomer reads all there is up to the first seq that is missing and creates its *fence*
//!    there, with the next epoch. Whoever was there before meets it and is fenced.
//! 4. An object of a lower epoch than one before it is *dead*: it came out of a fenced writer's
//!    pipeline. The newcomer commits one by one until it is past where those can be.
//! 5. A deleted name is free again, so nothing is deleted until [`grace`](BucketOptions::grace)
//!    after it was replaced, and a writer that has had no proof of its ownership for
//!    [`stall_limit`](BucketOptions::stall_limit), which is far shorter, looks for a successor
//!    before it acks. The newest commit object is never deleted, so that the look finds it.
//!
//! What it does not survive: a storage that loses what it acknowledged; one that keeps
//! put-if-absent most of the time and passed the probe; clocks of two machines that run at rates
//! different by more than `grace` to `stall_limit` (20 to 1); deleting or copying objects by hand
//! while a writer runs.
//!
//! # Costs
//!
//! Measured by `tests/requests.rs`, asserted there, in memory and with the same result on an S3
//! server (moto):
//!
//! | what | requests |
//! |---|---|
//! | making a place, beside opening it: the probe and `FORMAT` | 67 PUTs, 5 GETs, 1 delete |
//! | an ack, alone or shared by all who wait | 1 PUT |
//! | an ack after half of `stall_limit` without one | and 1 list, at the same time |
//! | 64 producers who each wait for their ack, 5 ms a PUT | 1 PUT for 34 appends (1 partition), 18 (8); moto: 34 and 22 |
//! | opening after a close | 2 GETs, 2 lists, 1 PUT, for 100 commits as for 10,000 |
//! | opening after a crash | and 1 GET for each commit since the checkpoint (256 at most) |
//! | reading what was appended lately | none |
//! | reading any MSN | 1 GET of 4 MiB |
//! | scanning 100 MiB of segments | 26 GETs |
//! | a reader that follows and finds nothing | 1 GET, at most 5 a second, 1 list in 30 s |
//! | a checkpoint, a merged segment | 1 PUT each |
//! | deletion, while there is something to delete | 4 lists every `grace` / 4, 1 request for 1,000 |
//! | nothing happens | none |
//!
//! Money, where a PUT or list costs $5 a million and a GET $0.40: a writer that commits without a
//! pause every 100 ms pays $130 a month for PUTs, every second $13. `commits_per_second_max` is that
//! dial: `10` bounds a month at $130 and adds up to 100 ms to an ack. A follower pays $5 a month.
//!
//! # Limits
//!
//! One writer for a place, which all its topics share. A batch is at most 16 MiB, a document 1 MiB.
//! `append` survives nothing before `sync`; unsynced batches leave after
//! [`flush_interval`](BucketOptions::flush_interval). The catalogue is in RAM, about 80 bytes for
//! each MiB of segments and for each commit that is not merged yet, and every checkpoint writes it
//! whole. `truncate` and `replace` are not there. Readers poll. A store that is dropped rather than
//! closed lets requests under way finish by themselves.

mod bucket;
mod cache;
mod catalogue;
mod commit;
mod core;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod maintain;
mod options;
mod partition;
mod pipeline;
mod probe;
mod propose;
mod read;
mod recover;
mod state;
mod stopwatch;
mod store;
mod url;
mod wire;

pub use crate::maintain::Maintained;
pub use crate::options::{BucketOptions, PIPELINE_DEPTH_MAX};
pub use crate::store::BucketStore;
#[cfg(feature = "azure")]
pub use crate::url::AzureFactory;
#[cfg(feature = "gcp")]
pub use crate::url::GcsFactory;
#[cfg(feature = "aws")]
pub use crate::url::S3Factory;
pub use crate::url::{FolderFactory, MemoryFactory, register};

/// The largest encoded batch, in bytes.
pub(crate) const BATCH_BYTES_MAX: usize = 16 << 20;
/// The largest document, in bytes.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 1 << 20;
