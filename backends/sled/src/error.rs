//! What sled's errors mean for callers, and blocking work that never takes the caller down.

use std::sync::{Mutex, MutexGuard, PoisonError};

use msglog_core::{Error, ErrorKind, Result};

/// What sled says when another process, or this one, holds the folder.
const LOCK_TEXT: &str = "could not acquire lock";

/// What cannot be said by an error of sled itself.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("sled panicked: {0}")]
    Panicked(String),
}

/// The error of a failed call of sled.
#[cold]
pub(crate) fn failed(context: &str, cause: sled::Error) -> Error {
    let kind = match &cause {
        sled::Error::CollectionNotFound(_) => ErrorKind::Closed,
        sled::Error::Unsupported(_) => ErrorKind::Unsupported,
        sled::Error::Corruption { .. } => ErrorKind::Corrupt,
        sled::Error::ReportableBug(_) => ErrorKind::Unavailable,
        sled::Error::Io(io) if io.to_string().contains(LOCK_TEXT) => ErrorKind::Locked,
        sled::Error::Io(io) => {
            let copy = std::io::Error::new(io.kind(), io.to_string());
            return Error::from_io(context, copy);
        }
    };
    let error = Error::new(kind, context);
    let lasting = matches!(cause, sled::Error::ReportableBug(_));
    let error = if lasting { error.with_transient(false) } else { error };
    error.with_source(cause)
}

/// The error of a failed change of the database, of which some may be there.
#[cold]
pub(crate) fn failed_change(context: &str, cause: sled::Error) -> Error {
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
///
/// sled panics on some damage that it finds: that is an error here.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(cause) => Err(match cause.try_into_panic() {
            Ok(payload) => {
                let cause = Cause::Panicked(text_of(payload.as_ref()));
                corrupt("sled gave up").with_source(cause).with_unknown_effect()
            }
            Err(cause) => Error::new(ErrorKind::Unavailable, "the runtime is shutting down")
                .with_source(cause),
        }),
    }
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

/// The guarded value, also after a panic elsewhere: what is guarded this way is never half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_in_blocking_work_is_an_error() {
        let error = blocking::<()>(|| panic!("page {} is gone", 7)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "sled panicked: page 7 is gone");
    }
}
