//! The seam to what threads and tasks share: the parts of the standard library and of tokio, or,
//! for the models, parts whose every step the model checker chooses.

#[cfg(not(shuttle))]
mod parts {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};
    pub(crate) use std::thread::yield_now;

    pub(crate) use tokio::spawn;
    pub(crate) use tokio::task::JoinHandle;
}

#[cfg(shuttle)]
mod parts {
    pub(crate) use shuttle::future::{JoinHandle, spawn};
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::yield_now;

    /// The checker has none of its own: others may run before each look and each change.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        steps: AtomicU64,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self { steps: AtomicU64::new(0), value: std::sync::OnceLock::new() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.steps.load(Ordering::SeqCst);
            self.value.get()
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            self.steps.fetch_add(1, Ordering::SeqCst);
            self.value.set(value)
        }
    }
}

pub(super) use self::parts::{
    AtomicBool, AtomicU64, Condvar, JoinHandle, Mutex, MutexGuard, OnceLock, Ordering, spawn,
    yield_now,
};
use crate::{Error, ErrorKind, Result};

/// What a task answered; `Poisoned` when it panicked or was cancelled.
pub(super) async fn outcome_of<T>(task: JoinHandle<Result<T>>) -> Result<T> {
    task.await.unwrap_or_else(|cause| {
        let error = Error::new(ErrorKind::Poisoned, "the appender ended early");
        #[cfg(not(shuttle))]
        let error = error.with_source(cause);
        #[cfg(shuttle)]
        let error = error.within(format_args!("{cause:?}"));
        Err(error)
    })
}
