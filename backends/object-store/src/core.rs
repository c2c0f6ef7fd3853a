//! What everything of an open store shares: the state, and the means to wait for it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use msglog_core::store::Access;
use msglog_core::{Error, ErrorKind, Msn, Result};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::bucket::Bucket;
use crate::cache::ChunkCache;
use crate::options::BucketOptions;
use crate::recover::{commits_following, list_after, newest_checkpoint_seq, read_place, take_over};
use crate::state::State;
use crate::stopwatch::Stopwatch;

/// How far the pipeline has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Groups that are durable.
    pub(crate) acked: u64,
    pub(crate) failed: bool,
}

/// How a reader looks for what is new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pace {
    /// Not more often than the options say.
    Slow,
    Now,
    /// At once, and whether the place has moved on without it.
    Thorough,
}

/// When a reader last looked for what is new.
#[derive(Debug)]
struct Followed {
    at: Option<Instant>,
    /// And when it last made sure that nothing that it had not seen was deleted.
    listed_at: Instant,
}

/// A reader that finds nothing new makes sure this often that it has not been left behind.
const LIST_INTERVAL: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) bucket: Bucket,
    pub(crate) options: BucketOptions,
    pub(crate) access: Access,
    pub(crate) stopwatch: Stopwatch,
    pub(crate) cache: ChunkCache,
    state: Mutex<State>,
    /// Wakes the pipeline.
    pub(crate) wake: Notify,
    pub(crate) maintenance_due: Notify,
    pub(crate) progress: watch::Sender<Progress>,
    /// Held while the place is looked at anew.
    following: tokio::sync::Mutex<Followed>,
    /// Held while objects are merged or deleted.
    pub(crate) lane: tokio::sync::Mutex<crate::maintain::Unused>,
    pub(crate) holes: Mutex<BTreeMap<u64, Vec<Range<Msn>>>>,
    pub(crate) read_ahead: crate::read::ReadAhead,
}

impl Core {
    /// Reads the place; for writing takes it over.
    pub(crate) async fn open(
        bucket: Bucket,
        options: BucketOptions,
        access: Access,
    ) -> Result<Arc<Self>> {
        let stopwatch = Stopwatch::new(options.clock.clone());
        let cache = ChunkCache::new(options.chunk_bytes, options.cache_bytes);
        let state = match access {
            Access::Read => State::new(read_place(&bucket, &cache).await?.0, stopwatch.now()),
            Access::Write => {
                let taken = take_over(&bucket, &cache, &options, &stopwatch).await?;
                let mut state = State::new(taken.catalogue, taken.proof);
                state.epoch = taken.epoch;
                state.serial_until = taken.serial_until;
                state.checkpoint_seq = taken.checkpoint_seq;
                state.commits_since_checkpoint = state.catalogue.seq - taken.checkpoint_seq;
                state
            }
        };
        Ok(Arc::new(Self {
            cache,
            bucket,
            options,
            access,
            stopwatch,
            state: Mutex::new(state),
            wake: Notify::new(),
            maintenance_due: Notify::new(),
            progress: watch::Sender::new(Progress::default()),
            following: tokio::sync::Mutex::new(Followed { at: None, listed_at: Instant::now() }),
            lane: tokio::sync::Mutex::default(),
            holes: Mutex::new(BTreeMap::new()),
            read_ahead: crate::read::ReadAhead::default(),
        }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        Ok(state)
    }

    pub(crate) fn lock_to_write(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock_open()?;
        if self.access == Access::Read {
            return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
        }
        state.check_healthy()?;
        Ok(state)
    }

    /// Ends writing for good.
    pub(crate) fn fail(&self, state: &mut State, error: Error) {
        if state.failure.is_none() {
            if error.kind() != ErrorKind::Closed {
                tracing::error!(location = %self.options.location, %error, "writing ended");
            }
            state.failure = Some(error);
        }
        self.progress.send_modify(|progress| progress.failed = true);
    }

    /// Waits until a group is durable.
    pub(crate) async fn durable(&self, group: u64) -> Result<()> {
        self.wake.notify_one();
        let mut progress = self.progress.subscribe();
        let seen = progress.wait_for(|now| now.acked >= group || now.failed).await;
        if seen.is_ok_and(|now| now.acked >= group) {
            return Ok(());
        }
        let failure = self.lock().failure.clone();
        let lost = || Error::new(ErrorKind::Poisoned, "the pipeline ended").with_unknown_effect();
        Err(failure.unwrap_or_else(lost))
    }

    /// Waits while too much is appended and not durable.
    pub(crate) async fn admit(&self) -> Result<()> {
        let mut progress = self.progress.subscribe();
        loop {
            progress.mark_unchanged();
            {
                let mut state = self.lock_to_write()?;
                if state.unsynced_bytes < self.options.unsynced_bytes_max {
                    return Ok(());
                }
                state.want();
            }
            self.wake.notify_one();
            if progress.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Whether the pipeline has nothing more to do.
    pub(crate) fn is_finished(&self) -> bool {
        let state = self.lock();
        state.failure.is_some() || state.closed
    }

    /// Takes in what a writer elsewhere has committed; one call at a time.
    pub(crate) async fn follow(&self, pace: Pace) -> Result<()> {
        if self.access == Access::Write {
            return self.lock_open().map(drop);
        }
        let mut followed = self.following.lock().await;
        if let (Pace::Slow, Some(at)) = (pace, followed.at) {
            tokio::time::sleep_until(at + self.options.follow_interval).await;
        }
        followed.at = Some(Instant::now());
        let seq = self.lock_open()?.catalogue.seq;
        let since = commits_following(&self.bucket, &self.cache, seq).await?;
        if !since.is_empty() {
            let mut state = self.lock_open()?;
            for (header, directory) in &since {
                state.catalogue.apply(header, directory)?;
            }
            state.follow_catalogue();
            return Ok(());
        }
        let recently = followed.listed_at.elapsed() < LIST_INTERVAL.min(self.options.grace / 4);
        if recently && pace != Pace::Thorough {
            return Ok(());
        }
        // Nothing that follows: a hole at the end, or the place has moved on without us.
        followed.listed_at = Instant::now();
        let found = list_after(&self.bucket, seq).await?;
        if !found.is_empty() && newest_checkpoint_seq(&self.bucket).await? > seq {
            let (catalogue, _) = read_place(&self.bucket, &self.cache).await?;
            let mut state = self.lock_open()?;
            state.catalogue = catalogue;
            state.follow_catalogue();
        }
        Ok(())
    }
}

/// One opening of a place; partition handles share it, so that closing it closes them all.
#[derive(Debug)]
pub(crate) struct Session(pub(crate) Arc<Core>);

impl Drop for Session {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
        self.0.maintenance_due.notify_one();
    }
}
