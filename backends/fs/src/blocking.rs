//! Blocking work away from the async workers, and locks that outlive a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

use msglog_core::{Error, ErrorKind, Result};

/// Runs blocking work on a blocking thread; once begun it runs to its end, whoever waits.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(cause) => {
            let error = Error::new(ErrorKind::Unavailable, "the blocking work ended early");
            Err(error.with_source(cause).with_unknown_effect())
        }
    }
}

/// Locks; what a panic left is taken as it is, because every change under a lock is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
