//! One opening of a place, which the store and the handles of its partitions share.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use msglog_core::store::Access;
use msglog_core::{Error, ErrorKind, Result};

use crate::partitions::Partitions;
use crate::{Database, closed, corrupt};

/// What cannot be said by an error of the database itself.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("panic: {0}")]
    Panicked(String),
}

/// Closing it closes all that share it.
#[derive(Debug)]
pub(crate) struct Session<D: Database> {
    access: Access,
    /// Calls hold it for reading while they run, `close` takes the database out.
    opening: RwLock<Option<Opening<D>>>,
}

/// The database, and what is known of it while it is open.
#[derive(Debug)]
pub(crate) struct Opening<D: Database> {
    pub(crate) database: D,
    pub(crate) access: Access,
    pub(crate) partitions: Partitions<D>,
    /// Held while a document changes.
    pub(crate) document_turn: Mutex<()>,
}

impl<D: Database> Opening<D> {
    /// Whether a writer elsewhere may change what is there.
    pub(crate) fn is_follower(&self) -> bool {
        self.access == Access::Read
    }

    /// Looks at what a writer elsewhere has done, where there may be one.
    pub(crate) fn catch_up(&self) -> Result<()> {
        if self.is_follower() { self.database.catch_up() } else { Ok(()) }
    }
}

impl<D: Database> Session<D> {
    pub(crate) fn new(database: D, access: Access) -> Self {
        let (partitions, document_turn) = (Partitions::default(), Mutex::default());
        let opening = Opening { database, access, partitions, document_turn };
        Self { access, opening: RwLock::new(Some(opening)) }
    }

    /// Asks the database on a thread that may block.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Opening<D>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let session = Arc::clone(self);
        blocking(move || {
            let opening = session.opening.read().unwrap_or_else(PoisonError::into_inner);
            work(opening.as_ref().ok_or_else(|| closed("the store is closed"))?)
        })
        .await
    }

    /// As [`run`](Self::run), for changes.
    pub(crate) async fn run_writing<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Opening<D>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.access == Access::Read {
            // Also a reader that was closed says so first.
            self.run(|_| Ok(())).await?;
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
        }
        self.run(work).await
    }

    pub(crate) async fn close(self: &Arc<Self>) -> Result<()> {
        let session = Arc::clone(self);
        blocking(move || {
            let opening = session.opening.write().unwrap_or_else(PoisonError::into_inner).take();
            match opening {
                Some(opening) if !opening.is_follower() => opening.database.close(),
                _ => Ok(()),
            }
        })
        .await
    }
}

/// Runs work on a thread that may block; it goes on when the future is dropped.
///
/// Databases panic on some damage that they find: that is an error here, and never takes down the
/// thread of the caller.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let caught = move || match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome,
        Err(payload) => {
            let cause = Cause::Panicked(text_of(payload.as_ref()));
            Err(corrupt("the database gave up").with_source(cause).with_unknown_effect())
        }
    };
    msglog_core::store::blocking(caught).await
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panic_in_blocking_work_is_an_error() {
        let error = blocking::<()>(|| panic!("page {} is gone", 7)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(error.effect(), msglog_core::Effect::Unknown);
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, "panic: page 7 is gone");
    }
}
