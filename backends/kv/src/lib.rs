//! What stores on an embedded ordered key-value database have in common: all but the database.
//!
//! A backend implements [`Database`] for its engine: opening, a few ranges, one atomic change, a
//! sync. [`Store`] over it is the message store: who may call, where a partition starts and ends,
//! what continues and what conflicts, what poisons, documents by compare-and-swap, the folder and
//! its marker. How keys and values are laid out is the database's.
//!
//! `tests/failures.rs` has the smallest such database, over a `BTreeMap`. The conformance suite runs
//! on the stores that are made with it.

mod database;
mod documents;
mod partition;
mod partitions;
mod place;
mod sequence;
mod session;
mod store;

pub use crate::database::{Change, Database, End, Step};
pub use crate::place::folder_of;
pub use crate::store::{BATCH_BYTES_MAX, DOCUMENT_BYTES_MAX, Store};

use std::sync::{Mutex, MutexGuard, PoisonError};

use msglog_core::{Error, ErrorKind};

/// The error for stored bytes that cannot be read.
#[cold]
pub fn corrupt(context: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, context)
}

/// The error of a call on what was closed or removed.
#[cold]
pub fn closed(why: &str) -> Error {
    Error::new(ErrorKind::Closed, why)
}

/// The guarded value, also after a panic elsewhere: what is guarded this way is never half done.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
