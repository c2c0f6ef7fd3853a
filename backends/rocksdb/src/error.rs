//! What RocksDB's errors mean for callers.

use msglog_core::{Error, ErrorKind};

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
