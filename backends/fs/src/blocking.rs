//! Locks that outlive a panic; the blocking work that the contract knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use msglog_core::store::blocking;

/// Locks; what a panic left is taken as it is, because every change under a lock is one step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
