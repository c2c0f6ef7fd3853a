//! Where a store's blocking calls run: never on an async worker.

use std::cell::Cell;
use std::future::Future;

use tokio::runtime::Handle;

use crate::{Error, ErrorKind, Result};

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// Runs work that may block, where no async worker waits for it.
///
/// At once on a thread that the log keeps for such work, which costs nothing; else on a blocking
/// thread of the runtime, which costs two wake-ups. Once begun it runs to its end, whoever waits.
///
/// # Errors
///
/// What the work answers; [`Unavailable`](ErrorKind::Unavailable), with an unknown effect, when it
/// panicked or the runtime was shut down.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if may_block() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(cause) => {
            let error = Error::new(ErrorKind::Unavailable, "the blocking work ended early");
            Err(error.with_source(cause).with_unknown_effect())
        }
    }
}

/// Whether this thread is one that may wait for a file.
pub(crate) fn may_block() -> bool {
    MAY_BLOCK.get()
}

/// Runs `work` on this thread, which may block meanwhile: [`blocking`] work in it runs at once.
///
/// For a thread on which nobody else waits, e.g. that of a test which runs a whole log without any
/// other thread: `blocking_here(|| runtime.block_on(future))`.
pub fn blocking_here<T>(work: impl FnOnce() -> T) -> T {
    let _restore = Restore(MAY_BLOCK.replace(true));
    work()
}

/// Waits for `future` on this thread, which may block: [`blocking`] work in it runs at once.
pub(crate) fn wait_for<F: Future>(runtime: &Handle, future: F) -> F::Output {
    blocking_here(|| runtime.block_on(future))
}

struct Restore(bool);

impl Drop for Restore {
    fn drop(&mut self) {
        MAY_BLOCK.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::current;

    async fn runs_here() -> bool {
        let here = current().id();
        blocking(move || Ok(current().id() == here)).await.unwrap()
    }

    #[test]
    fn work_runs_at_once_only_where_the_thread_may_block() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(!runtime.block_on(runs_here()));
        assert!(wait_for(runtime.handle(), runs_here()));
        assert!(!runtime.block_on(runs_here()));
        assert!(blocking_here(|| runtime.block_on(runs_here())));
        assert!(!runtime.block_on(runs_here()));
    }

    #[tokio::test]
    async fn panic_of_the_work_is_an_error_of_unknown_effect() {
        let error = blocking::<()>(|| std::panic::resume_unwind(Box::new("work"))).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.effect(), crate::Effect::Unknown);
    }
}
