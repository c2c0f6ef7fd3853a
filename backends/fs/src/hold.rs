//! The ownership of a place: the held lock, shared by every call that is under way.

use std::sync::Arc;
use std::time::Duration;

use crate::io::Lock;

/// Between two looks whether the last call has ended.
const WAIT_STEP: Duration = Duration::from_millis(1);
/// How often is looked: some seconds in all.
const WAIT_STEPS_MAX: usize = 5_000;

/// The lock of a store that is open for writing.
#[derive(Debug)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held for its drop")] Box<dyn Lock>);

impl Hold {
    pub(crate) fn new(lock: Box<dyn Lock>) -> Self {
        Self(lock)
    }

    /// Lets the place go once every call that is under way has ended.
    ///
    /// A call that hangs keeps the lock for as long as it does: nobody else may write meanwhile.
    pub(crate) fn release(self: Arc<Self>) {
        for _ in 0..WAIT_STEPS_MAX {
            if Arc::strong_count(&self) == 1 {
                return;
            }
            std::thread::sleep(WAIT_STEP);
        }
    }
}
