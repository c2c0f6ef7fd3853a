//! The appender of a partition: takes what has gathered, writes it, syncs it, and comes again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::partition::Partition;
use super::queue::{Queue, closed};
use crate::Result;

/// Runs until the queue has ended and is empty, or the partition is dropped.
///
/// Holds the partition only while there is something to write, so that dropping the log lets the
/// store go. While one group is written and synced the next one gathers: group commit needs no
/// timer.
pub(super) async fn run(queue: Arc<Queue>, partition: Weak<Partition>) -> Result<()> {
    let _guard = AnswerAll(&queue);
    let mut sync_at: Option<Instant> = None;
    loop {
        wait(&queue, sync_at).await;
        let Some(partition) = partition.upgrade() else { return Ok(()) };
        linger(&queue, partition.options.linger).await;
        if let Some(group) = queue.take() {
            let within = group.sync_within();
            sync_at = match partition.write(group).await {
                Ok(true) => None,
                Ok(false) => sooner(sync_at, within),
                // Those who wait have been answered. A lasting failure has ended the queue, and
                // nothing is tried again: a sync that failed once proves nothing the second time.
                Err(error) if queue.is_finished() => return Err(error),
                Err(_) => None,
            };
        }
        let finished = queue.is_finished();
        if finished || sync_at.is_some_and(|at| at <= Instant::now()) {
            sync_at = None;
            if partition.is_dirty() {
                partition.sync().await?;
            }
            if finished {
                return Ok(());
            }
        }
    }
}

/// Waits for something to take, for the end, or for the time of the next sync.
async fn wait(queue: &Queue, sync_at: Option<Instant>) {
    if queue.has_work() || queue.is_finished() {
        return;
    }
    match sync_at {
        None => queue.ready().await,
        Some(at) => {
            // Either way the loop looks at everything again.
            let _ = tokio::time::timeout_at(at, queue.ready()).await;
        }
    }
}

/// Lets more gather, as configured.
async fn linger(queue: &Queue, linger: Duration) {
    if !linger.is_zero() && queue.has_work() {
        tokio::time::sleep(linger).await;
    }
}

fn sooner(sync_at: Option<Instant>, within: Option<Duration>) -> Option<Instant> {
    let next = within.map(|within| Instant::now() + within);
    match (sync_at, next) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Answers every append that still waits when the appender ends, however it ends.
struct AnswerAll<'a>(&'a Queue);

impl Drop for AnswerAll<'_> {
    fn drop(&mut self) {
        self.0.fail(&closed(), None);
    }
}
