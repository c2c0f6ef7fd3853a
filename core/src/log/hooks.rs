//! Delete hooks: code that sees records before they go, and keeps them until it is done.

use std::fmt::Debug;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{Either, select};
use tokio::sync::{RwLock, watch};

use super::config::LogBuilder;
use super::queue::closed;
use crate::batch::DecodeLimits;
use crate::{
    Error, ErrorKind, Msn, Record, RecordBatch, Result, Timestamp, TopicName, TopicPartition,
};

/// Code that sees records before they go: by retention, by a trim, with their topic.
///
/// What a hook has not answered `Ok` for stays. It is called at least once for every record that
/// goes, in order of MSNs within a partition and one call at a time; again after an error, after a
/// timeout, and for what was not gone when the log was opened anew: so it must bear repetition.
/// What it has passed may stay for a while, as the store's units have it. Registered with
/// [`LogBuilder::delete_hook`].
#[async_trait]
pub trait DeleteHook: Debug + Send + Sync + 'static {
    /// What it is called in reports, e.g. `archive`.
    fn name(&self) -> &str;

    /// Whether it wants to see the records of this topic (all topics).
    fn covers(&self, topic: &TopicName) -> bool {
        let _ = topic;
        true
    }

    /// Sees what is about to go; `Ok` lets it go.
    ///
    /// Dropped in the middle when it takes longer than [`LogBuilder::hook_timeout`], and when the
    /// log closes and it takes longer than [`LogBuilder::hooks_close_timeout`].
    ///
    /// # Errors
    ///
    /// Any error, and a panic, keeps the records until a later run.
    async fn before_delete(&self, deletion: &Deletion) -> Result<()>;
}

/// Records that are about to go, as a hook sees them: a piece of a partition, a few MiB at most
/// unless a batch is larger.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deletion {
    /// The partition that they go from.
    pub partition: TopicPartition,
    /// Their MSNs. The pieces of a partition follow each other without a gap.
    pub msns: Range<Msn>,
    /// How many records are there; fewer than MSNs where some were lost or compacted away.
    pub record_count: u64,
    /// The bytes of their batches.
    pub bytes: u64,
    /// The smallest first and the largest last time of their batches; `None` without any.
    pub timestamps: Option<(Timestamp, Timestamp)>,
    /// Their batches, as they are stored.
    pub batches: Vec<RecordBatch>,
}

impl Deletion {
    pub(super) fn of(
        partition: TopicPartition,
        msns: Range<Msn>,
        batches: Vec<RecordBatch>,
    ) -> Self {
        let with_records = || batches.iter().filter(|batch| batch.record_count() > 0);
        let first = with_records().map(|batch| batch.header().base_timestamp()).min();
        let last = with_records().map(RecordBatch::max_timestamp).max();
        Self {
            partition,
            msns,
            record_count: batches.iter().map(|batch| u64::from(batch.record_count())).sum(),
            bytes: batches.iter().map(|batch| batch.encoded_len() as u64).sum(),
            timestamps: first.zip(last),
            batches,
        }
    }

    /// The records one by one, decoded as they are asked for.
    ///
    /// Each item is [`Corrupt`](ErrorKind::Corrupt) where a batch cannot be decoded.
    pub fn records(&self) -> impl Iterator<Item = Result<Record>> + Send + '_ {
        self.batches.iter().flat_map(|batch| {
            let (records, error) = match batch.records(DecodeLimits::default()) {
                Ok(records) => (Some(records), None),
                Err(error) => (None, Some(Err(error))),
            };
            records.into_iter().flatten().chain(error)
        })
    }
}

/// What a delete hook has done since the log was opened.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct HookStats {
    /// Its name.
    pub name: String,
    /// Calls that let records go.
    pub passes: u64,
    /// Calls that did not: errors, panics and timeouts.
    pub failures: u64,
    /// Of these, the timeouts.
    pub timeouts: u64,
    /// Calls that run now.
    pub at_work: u64,
}

/// The hooks of a log, and those that are at work.
#[derive(Debug)]
pub(super) struct Hooks {
    hooks: Vec<Tracked>,
    timeout: Duration,
    close_timeout: Duration,
    /// Held by every call, so that closing can wait for them.
    at_work: RwLock<()>,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Stage {
    Open,
    /// No call begins any more.
    Closing,
    /// Those that still run are dropped.
    Abandoned,
}

/// A hook and its counters.
#[derive(Debug)]
pub(super) struct Tracked {
    hook: Arc<dyn DeleteHook>,
    passes: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    at_work: AtomicU64,
}

impl Hooks {
    pub(super) fn of(options: &LogBuilder) -> Self {
        let hooks = options.delete_hooks.iter().map(|hook| Tracked {
            hook: hook.clone(),
            passes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            at_work: AtomicU64::new(0),
        });
        Self {
            hooks: hooks.collect(),
            timeout: options.hook_timeout,
            close_timeout: options.hooks_close_timeout,
            at_work: RwLock::new(()),
            stage: watch::Sender::new(Stage::Open),
        }
    }

    /// Those that want to see a topic's records, each with its place among all.
    pub(super) fn covering(&self, topic: &TopicName) -> Vec<(usize, &Tracked)> {
        let all = self.hooks.iter().enumerate();
        all.filter(|(_, tracked)| tracked.hook.covers(topic)).collect()
    }

    pub(super) fn stats(&self) -> Vec<HookStats> {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let stats = self.hooks.iter().map(|tracked| HookStats {
            name: tracked.hook.name().to_owned(),
            passes: value(&tracked.passes),
            failures: value(&tracked.failures),
            timeouts: value(&tracked.timeouts),
            at_work: value(&tracked.at_work),
        });
        stats.collect()
    }

    /// Shows a hook what is to go; an error, whatever happened, unless it passes.
    pub(super) async fn show(&self, tracked: &Tracked, deletion: &Deletion) -> Result<()> {
        let _at_work = self.at_work.read().await;
        let _counted = Counted::of(&tracked.at_work);
        let mut stage = self.stage.subscribe();
        if *stage.borrow() != Stage::Open {
            return Err(closed());
        }
        let call = AssertUnwindSafe(tracked.hook.before_delete(deletion)).catch_unwind();
        let call = tokio::time::timeout(self.timeout, call);
        let abandoned = stage.wait_for(|stage| *stage == Stage::Abandoned);
        let outcome = match select(Box::pin(call), Box::pin(abandoned)).await {
            Either::Left((Ok(Ok(outcome)), _)) => outcome,
            Either::Left((Ok(Err(_panic)), _)) => {
                Err(Error::new(ErrorKind::Unavailable, "it panicked"))
            }
            Either::Left((Err(_late), _)) => {
                tracked.timeouts.fetch_add(1, Ordering::Relaxed);
                let why = format!("it took longer than {:?}", self.timeout);
                Err(Error::new(ErrorKind::Unavailable, why))
            }
            Either::Right(_) => Err(closed()),
        };
        let counter = if outcome.is_ok() { &tracked.passes } else { &tracked.failures };
        counter.fetch_add(1, Ordering::Relaxed);
        outcome.map_err(|error| {
            let (hook, partition) = (tracked.hook.name(), &deletion.partition);
            let (from, to) = (deletion.msns.start, deletion.msns.end);
            tracing::warn!(hook, %partition, %from, %to, %error, "delete hook keeps records");
            error.within(format_args!("delete hook `{hook}` on MSNs {from}..{to} of `{partition}`"))
        })
    }

    /// Lets no call begin any more, and waits for those that run; after the timeout drops them.
    pub(super) async fn close(&self) {
        self.advance(Stage::Closing);
        if tokio::time::timeout(self.close_timeout, self.at_work.write()).await.is_err() {
            tracing::warn!("delete hooks are dropped that were still at work when the log closed");
            self.advance(Stage::Abandoned);
            drop(self.at_work.write().await);
        }
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let rises = to > *stage;
            *stage = to.max(*stage);
            rises
        });
    }
}

/// One more while it lives.
struct Counted<'a>(&'a AtomicU64);

impl<'a> Counted<'a> {
    fn of(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
