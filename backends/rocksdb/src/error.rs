//! What RocksDB's errors mean for callers, and blocking work that outlives its caller.

use std::sync::{Mutex, MutexGuard, PoisonError};

use msglog_core::{Error, ErrorKind, Result};

/// What RocksDB says when another process, or this one, holds the folder.
const LOCK_TEXTS: [&str; 2] = ["While lock file", "lock hold by current process"];
/// What RocksDB says when a write finds no room.
const FULL_TEXTS: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// The error of a failed call of RocksDB.
#[cold]
pub(crate) fn failed(context: impl Into<String>, cause: rocksdb::Error) -> Error {
    use rocksdb::ErrorKind as Kind;
    let says = |texts: [&str; 2]| texts.iter().any(|text| cause.as_ref().contains(text));
    let kind = match cause.kind() {
        _ if says(LOCK_TEXTS) => ErrorKind::Locked,
        _ if says(FULL_TEXTS) => ErrorKind::StorageFull,
        Kind::Corruption => ErrorKind::Corrupt,
        Kind::NotFound => ErrorKind::NotFound,
        Kind::InvalidArgument => ErrorKind::Invalid,
        Kind::NotSupported => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, context).with_source(cause)
}

/// The error of a failed change of the database, of which nobody knows whether it is there.
#[cold]
pub(crate) fn failed_change(context: impl Into<String>, cause: rocksdb::Error) -> Error {
    failed(context, cause).with_unknown_effect()
}

#[cold]
pub(crate) fn closed(why: &str) -> Error {
    Error::new(ErrorKind::Closed, why)
}

#[cold]
pub(crate) fn corrupt(context: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, context)
}

/// Runs work on a blocking thread; it goes on when the future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(cause) => {
            let why =
                if cause.is_panic() { "work panicked" } else { "the runtime is shutting down" };
            Err(Error::new(ErrorKind::Unavailable, why).with_source(cause).with_unknown_effect())
        }
    }
}

/// The guarded value, also after a panic elsewhere: what is guarded this way is never half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
