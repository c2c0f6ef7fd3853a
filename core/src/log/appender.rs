//! The appender of a partition: takes what has gathered, writes it, syncs it, and comes again.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::partition::{Partition, Written};
use super::queue::{Queue, closed};
use crate::store::wait_for;
use crate::{Error, ErrorKind, Result};

/// How long a thread stays with a partition that nobody appends to.
const SPELL_IDLE: Duration = Duration::from_millis(10);
/// How long a thread stays at all: the runtime has so many blocking threads, and others wait too.
const SPELL_MAX: Duration = Duration::from_millis(100);

/// How long a group waits for the producers that the last one has answered.
const PAUSE_MAX: Duration = Duration::from_micros(100);
/// After so many pauses in vain, their number doubles no more.
const PAUSE_MISSES_MAX: u32 = 6;

/// What a turn leaves: the end, or what was written and when the next sync is due.
type Turn = ControlFlow<(), (Written, Option<Instant>)>;

/// Runs until the queue has ended and is empty, or the partition is dropped.
///
/// Holds the partition only while there is something to write, so that dropping the log lets the
/// store go. While one group is written and synced the next one gathers: group commit needs no
/// timer.
///
/// For a store whose calls block, a blocking thread stays with the partition while it is written:
/// handing each group to a thread costs two wake-ups, which is as much as a sync.
pub(super) async fn run(
    queue: Arc<Queue>,
    partition: Weak<Partition>,
    store_blocks: bool,
) -> Result<()> {
    let _guard = AnswerAll(&queue);
    let mut sync_at = None;
    loop {
        wait(&queue, sync_at).await;
        let turn = if store_blocks {
            on_thread(&queue, &partition, sync_at).await?
        } else {
            turn(&queue, &partition, sync_at).await?
        };
        match turn {
            ControlFlow::Break(()) => return Ok(()),
            ControlFlow::Continue((_, next)) => sync_at = next,
        }
    }
}

/// Takes turns on a blocking thread for as long as there is something to do.
async fn on_thread(
    queue: &Arc<Queue>,
    partition: &Weak<Partition>,
    sync_at: Option<Instant>,
) -> Result<Turn> {
    let (queue, partition, runtime) = (queue.clone(), partition.clone(), Handle::current());
    let spell = tokio::task::spawn_blocking(move || spell(&queue, &partition, &runtime, sync_at));
    spell.await.unwrap_or_else(|cause| {
        Err(Error::new(ErrorKind::Poisoned, "the appender ended early").with_source(cause))
    })
}

fn spell(
    queue: &Queue,
    partition: &Weak<Partition>,
    runtime: &Handle,
    mut sync_at: Option<Instant>,
) -> Result<Turn> {
    let mut pause = Pause::default();
    let end = std::time::Instant::now() + SPELL_MAX;
    loop {
        let taken = wait_for(runtime, turn(queue, partition, sync_at))?;
        let ControlFlow::Continue((written, next)) = taken else { return Ok(taken) };
        sync_at = next;
        if std::time::Instant::now() >= end {
            return Ok(taken);
        }
        pause.after(written, queue);
        let idle = std::time::Instant::now() + SPELL_IDLE;
        let until = sync_at.map_or(idle, |at| at.into_std().min(idle));
        if !queue.wait_for(1, until) && sync_at.is_none_or(|at| at > Instant::now()) {
            queue.buffers.clear();
            return Ok(taken);
        }
    }
}

/// A pause after a group, so that those it answered come into the next one.
///
/// Without it the producers settle into two cohorts, of which one gathers while the other is
/// synced. It ends as soon as as many as the group had are there again; where that does not come
/// true it is tried ever less often. Where producers wait for syncs the thread looks instead of
/// sleeping: to be woken would take it half as long as the pause.
#[derive(Debug, Default)]
struct Pause {
    /// How often in a row it was in vain.
    misses: u32,
    /// How many groups go without it.
    skips: u32,
}

impl Pause {
    fn after(&mut self, written: Written, queue: &Queue) {
        if written.records < 2 {
            return;
        }
        if let Some(skips) = self.skips.checked_sub(1) {
            self.skips = skips;
            return;
        }
        let wanted = written.gathered + written.records;
        let until = std::time::Instant::now() + PAUSE_MAX;
        // Where no sync was waited for, nobody is held up by what this thread does.
        let there = match written.synced {
            true => queue.watch_for(wanted, until),
            false => queue.wait_for(wanted, until),
        };
        if there {
            self.misses = 0;
        } else {
            self.misses = (self.misses + 1).min(PAUSE_MISSES_MAX);
            self.skips = 1 << self.misses;
        }
    }
}

/// Writes what has gathered, and syncs if that is due.
async fn turn(
    queue: &Queue,
    partition: &Weak<Partition>,
    sync_at: Option<Instant>,
) -> Result<Turn> {
    linger(queue, queue.settings().linger).await;
    let Some(partition) = partition.upgrade() else { return Ok(ControlFlow::Break(())) };
    // Those who wait have been answered, also when it failed.
    let written = partition.write().await.unwrap_or_default();
    if let Some(failure) = queue.failure() {
        // Nothing is tried again: a sync that failed once proves nothing the second time.
        return Err(failure);
    }
    let within = [written.sync_within, queue.take_owed()].into_iter().flatten().min();
    let mut sync_at = if written.synced { None } else { sync_at };
    sync_at = sooner(sync_at, within);
    let finished = queue.is_finished();
    if finished || sync_at.is_some_and(|at| at <= Instant::now()) {
        sync_at = None;
        if partition.is_dirty() {
            partition.sync().await?;
        }
    }
    Ok(if finished { ControlFlow::Break(()) } else { ControlFlow::Continue((written, sync_at)) })
}

/// Waits for something to take, for the end, or for the time of the next sync.
async fn wait(queue: &Queue, sync_at: Option<Instant>) {
    if queue.records() > 0 || queue.is_finished() {
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

/// Lets more gather, as configured, for as long as more is accepted.
async fn linger(queue: &Queue, linger: Duration) {
    if linger.is_zero() || queue.records() == 0 {
        return;
    }
    let until = Instant::now() + linger;
    while !queue.is_ended() {
        if tokio::time::timeout_at(until, queue.ready()).await.is_err() {
            return;
        }
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
