//! Which child processes are being started: until one runs, it shares this process's open files.
//!
//! A child that is forked holds every file of its parent until its exec has closed them, which
//! may be after `spawn` returned. A store that was closed in between has let go of its files, but
//! a lock on them stays for as long as the child holds them too. Only the child itself knows when
//! that is over: it runs when it has said something, or has ended.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a child may take until it runs; after that nobody waits for it.
const START_MAX: Duration = Duration::from_secs(15);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(2);

static STARTING: Mutex<Starting> = Mutex::new(Starting { begun: 0, under_way: BTreeSet::new() });
static RUNS: Condvar = Condvar::new();

struct Starting {
    begun: u64,
    under_way: BTreeSet<u64>,
}

fn starting() -> MutexGuard<'static, Starting> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A child that is being started, until this is dropped.
#[derive(Debug)]
pub(crate) struct Start(u64);

impl Start {
    /// Begins to start a child, once every other one runs: a child could not tell whether a place
    /// is locked or only shared with an earlier one.
    pub(crate) fn begin() -> Self {
        let waiting =
            RUNS.wait_timeout_while(starting(), START_MAX, |now| !now.under_way.is_empty());
        let (mut now, _) = waiting.unwrap_or_else(PoisonError::into_inner);
        now.begun += 1;
        let number = now.begun;
        now.under_way.insert(number);
        Self(number)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        starting().under_way.remove(&self.0);
        RUNS.notify_all();
    }
}

/// The youngest child that is being started, if any is.
pub(crate) fn under_way() -> Option<u64> {
    starting().under_way.last().copied()
}

/// Waits until every child up to this one runs.
pub(crate) async fn wait_for(youngest: u64) {
    let begun = Instant::now();
    while starting().under_way.first().is_some_and(|number| *number <= youngest)
        && begun.elapsed() < START_MAX
    {
        tokio::time::sleep(PAUSE).await;
    }
}
