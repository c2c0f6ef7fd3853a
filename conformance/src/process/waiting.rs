//! A child on a slow device: `strace` delays its writes and syncs, and who waits for them is seen.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use msglog_core::store::{MessageStore, PartitionStore};
use serde::{Deserialize, Serialize};

use super::serve::say;
use super::{Child, Job, Order};
use crate::cx::{PARTITION, create};
use crate::sample::Samples;
use crate::{CaseResult, Cx, Failure};

/// How long each write and sync takes.
const DELAY: Duration = Duration::from_millis(300);
/// How long somebody waits at least who waits for one; a machine under load may hold up anybody.
const WAIT_MIN: Duration = Duration::from_millis(225);
/// How often an append and a sync are watched: who waits for the device does so every time.
const ROUNDS: usize = 5;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// How many lines of silence a child on a slow device is allowed.
const SILENCES_MAX: usize = 6;

/// What was seen during one append and the sync after it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Watched {
    /// How long both took.
    took: Duration,
    /// How long the longest call of `bounds` from another thread took.
    bounds: Duration,
    /// How long another task on the same thread was not polled at most.
    task: Duration,
}

/// Who is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// A caller of `bounds`.
    Bounds,
    /// A task on the thread that polls `append` and `sync`.
    Task,
}

/// Checks that on a slow device there was a round in which they did not wait for it.
///
/// # Errors
///
/// Unavailable when there is no `strace` that delays, or it may not trace.
pub(crate) async fn check_no_wait(cx: &Cx, who: Waiting) -> CaseResult {
    let rounds = watched(cx).await?;
    if rounds.iter().all(|round| round.took < DELAY) {
        let why = "inconclusive: no write or sync of the store was delayed (mapped or io_uring?)";
        return Err(Failure::new(why));
    }
    let waited = |round: &Watched| match who {
        Waiting::Bounds => round.bounds,
        Waiting::Task => round.task,
    };
    let shortest = rounds.iter().map(waited).min().unwrap_or_default();
    if shortest < WAIT_MIN {
        return Ok(());
    }
    let what = match who {
        Waiting::Bounds => "bounds waits for a write or sync",
        Waiting::Task => "append or sync blocks the thread that polls it",
    };
    let (took, shortest) = (DELAY.as_millis(), shortest.as_millis());
    Err(Failure::new(format!("{what}: for {shortest} ms each time, where one takes {took} ms")))
}

async fn watched(cx: &Cx) -> CaseResult<Vec<Watched>> {
    let slow = "fsync,fdatasync,pwrite64,pwritev,pwritev2,writev";
    let delay = format!("inject={slow}:delay_enter={}", DELAY.as_micros());
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", &format!("trace={slow}"), "-e", &delay, "--"]);
    command.arg(std::env::current_exe()?).stderr(std::process::Stdio::null());
    let order = Order {
        backend: cx.backend_name().to_owned(),
        address: cx.place().address().unwrap_or_default(),
        seed: cx.seed(),
        job: Job::Wait,
    };
    let why_not = "a slow device needs `strace` 4.22, and the right to trace";
    let mut child = Child::spawn(command, &order)
        .map_err(|failure| Failure::unavailable(format!("{why_not}: {}", failure.message())))?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let line = match child.line_on_slow_device().await {
            Ok(line) => line,
            Err(failure) if !child.has_said_anything() => {
                return Err(Failure::unavailable(format!("{why_not}: {}", failure.message())));
            }
            Err(failure) => return Err(failure.during("the child on a slow device")),
        };
        let unreadable = |cause| Failure::new(format!("`{line}` is no round: {cause}"));
        rounds.push(serde_json::from_str(&line).map_err(unreadable)?);
    }
    Ok(rounds)
}

impl Child {
    async fn line_on_slow_device(&mut self) -> CaseResult<String> {
        for _ in 1..SILENCES_MAX {
            match self.line().await {
                Err(failure) if failure.message().ends_with("says nothing") => {}
                other => return other,
            }
        }
        self.line().await
    }
}

/// The child's side: appends and syncs, and says who waited meanwhile.
pub(crate) async fn wait(store: &Arc<dyn MessageStore>, samples: Samples) -> CaseResult {
    let there = create(store, PARTITION).await?;
    let longest = Arc::new(AtomicU64::new(0));
    let task = Arc::clone(&longest);
    tokio::spawn(async move {
        loop {
            let begun = Instant::now();
            tokio::time::sleep(PAUSE).await;
            task.fetch_max(micros(begun.elapsed()), Ordering::AcqRel);
        }
    });
    // A task that was never polled would not be missed.
    tokio::time::sleep(PAUSE * 4).await;
    loop {
        longest.store(0, Ordering::Release);
        let begun = Instant::now();
        let bounds = Bounds::watch(&there);
        let batch = samples.next(there.bounds().next_msn)?;
        there.append(vec![batch]).await?;
        there.sync().await?;
        let took = begun.elapsed();
        let bounds = bounds.longest();
        // The task is polled before its longest pause is read, also when it was kept from it.
        tokio::time::sleep(PAUSE * 4).await;
        let task = Duration::from_micros(longest.load(Ordering::Acquire));
        let line = serde_json::to_string(&Watched { took, bounds, task });
        say(&line.map_err(|cause| Failure::new(format!("a round cannot be written: {cause}")))?)?;
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A thread that asks for the bounds again and again.
struct Bounds {
    done: Arc<AtomicBool>,
    asking: std::thread::JoinHandle<Duration>,
}

impl Bounds {
    fn watch(there: &Arc<dyn PartitionStore>) -> Self {
        let (there, done) = (Arc::clone(there), Arc::new(AtomicBool::new(false)));
        let until = Arc::clone(&done);
        let asking = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !until.load(Ordering::Acquire) {
                let begun = Instant::now();
                let _ = there.bounds();
                longest = longest.max(begun.elapsed());
                std::thread::sleep(PAUSE);
            }
            longest
        });
        Self { done, asking }
    }

    fn longest(self) -> Duration {
        self.done.store(true, Ordering::Release);
        // A thread that panicked in `bounds` waited for ever.
        self.asking.join().unwrap_or(Duration::MAX)
    }
}
