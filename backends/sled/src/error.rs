//! What sled's errors mean for callers.

use msglog_core::{Error, ErrorKind};

/// What sled says when another process, or this one, holds the folder.
const LOCK_TEXT: &str = "could not acquire lock";

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
