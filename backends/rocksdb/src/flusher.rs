//! Syncs of the write-ahead log, shared by all who wait for one at the same time.

use std::sync::{Condvar, Mutex, PoisonError};

use msglog_core::Result;
use msglog_kv::lock;
use rocksdb::DB;

use crate::error::failed_change;

/// Gives everyone who asks a sync that began after the question, with one sync at a time.
#[derive(Debug, Default)]
pub(crate) struct Flusher {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    finished: u64,
    is_running: bool,
    failure: Option<msglog_core::Error>,
}

impl Flusher {
    /// Returns once everything written before the call is on the device.
    ///
    /// # Errors
    ///
    /// What the first failed sync answered, for ever: a failed sync is never tried again.
    pub(crate) fn flush(&self, database: &DB) -> Result<()> {
        let mut state = lock(&self.state);
        let wanted = state.started + 1;
        loop {
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            if state.finished >= wanted {
                return Ok(());
            }
            if state.is_running {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_running = true;
            state.started += 1;
            drop(state);
            let outcome = database.flush_wal(true);
            state = lock(&self.state);
            state.is_running = false;
            state.finished = state.started;
            state.failure = outcome.err().map(|cause| failed_change("sync", cause));
            self.done.notify_all();
        }
    }
}
