//! Runs cases: each on a fresh place, in a thread of its own, under a watchdog, panics caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use msglog_core::store::Capabilities;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::case::Flavour;
use crate::process::{Child, Job, Order};
use crate::store_suite::crash;
use crate::{Case, Cx, Failure};

/// The variable that fixes the seed, to replay what failed.
pub const SEED_VARIABLE: &str = "MSGLOG_CONFORMANCE_SEED";
/// The variable that multiplies every time limit, for slow machines and services.
pub const PATIENCE_VARIABLE: &str = "MSGLOG_CONFORMANCE_PATIENCE";

/// How the run of a case ended, before any marker is looked at.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The promise holds.
    Passed,
    /// The promise is broken.
    Failed,
    /// It did not end in time.
    TimedOut,
    /// It panicked, or ended its process.
    Crashed,
    /// The store does not claim what the case is about.
    NotApplicable,
    /// A tool or service is missing.
    Unavailable,
}

/// What the run of a case came to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// What was found; empty when it passed.
    pub message: String,
    /// Where in the suite it was found; empty when it passed.
    pub place: String,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// The number that all chance of the run followed from.
    pub seed: u64,
}

/// All cases, ready to be run on one backend.
pub struct Suite {
    backend: Arc<dyn Backend>,
    capabilities: OnceLock<Result<Capabilities, Ended>>,
    seed: u64,
    patience: u32,
}

impl std::fmt::Debug for Suite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Suite({}, seed {})", self.backend.name(), self.seed)
    }
}

#[derive(Clone, Debug)]
enum Ended {
    Failed(Failure),
    NotApplicable(String),
    Panicked(String),
    TimedOut(Duration),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Suite {
    /// The suite for a backend; the seed is the environment's or else by chance.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seed = number(SEED_VARIABLE).unwrap_or_else(by_chance);
        let patience = number(PATIENCE_VARIABLE).and_then(|factor| u32::try_from(factor).ok());
        let patience = patience.unwrap_or(1).max(1);
        Self { backend, capabilities: OnceLock::new(), seed, patience }
    }

    /// The same with this seed.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The backend.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// What the store claims that `append` and `sync` survive, once a case has been run.
    pub fn claims(&self) -> Option<String> {
        let has = self.capabilities.get()?.as_ref().ok()?;
        Some(format!("{:?}, {:?}", has.append_survives, has.sync_survives))
    }

    /// Runs one case on each runtime that it names, until it does not pass.
    pub fn run(&self, case: &Case) -> Outcome {
        let start = Instant::now();
        for flavour in case.runtimes {
            if let Err(ended) = self.run_on(case, *flavour) {
                return self.outcome(ended, *flavour, start.elapsed());
            }
        }
        let millis = as_millis(start.elapsed());
        let (message, place) = (String::new(), String::new());
        Outcome { status: Status::Passed, message, place, millis, seed: self.seed }
    }

    /// Runs a case in a process of its own, so that it can neither hang nor abort this one.
    pub fn run_in_child(&self, case: &Case) -> Outcome {
        let start = Instant::now();
        let ended = match self.child_outcome(case) {
            Ok(outcome) => return outcome,
            Err(ended) => ended,
        };
        self.outcome(ended, Flavour::MultiThread, start.elapsed())
    }

    fn child_outcome(&self, case: &Case) -> Result<Outcome, Ended> {
        let order = Order {
            backend: self.backend.name().to_owned(),
            address: String::new(),
            seed: self.seed,
            job: Job::Case { id: case.id() },
        };
        let limit = self.limit(case).saturating_mul(3);
        watched(limit, move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let executable = std::env::current_exe().map_err(Failure::from)?;
            runtime.map_err(Failure::from)?.block_on(async {
                let mut child = Child::spawn(std::process::Command::new(executable), &order)?;
                let Some(line) = child.last_line().await else {
                    return Err(Ended::Panicked("it ended its process".into()));
                };
                let outcome = serde_json::from_str(&line);
                outcome.map_err(|_| Ended::from(Failure::new(format!("the child said: {line}"))))
            })
        })
    }

    fn limit(&self, case: &Case) -> Duration {
        time_limit(case, crash::rounds()).saturating_mul(self.patience)
    }

    fn run_on(&self, case: &Case, flavour: Flavour) -> Result<(), Ended> {
        let limit = self.limit(case);
        let capabilities = self.capabilities.get_or_init(|| {
            let (backend, case) = (Arc::clone(&self.backend), *case);
            watched(limit, move || {
                let probing = async { crate::cx::probe(backend.as_ref(), &case).await };
                in_runtime(Flavour::MultiThread, probing)
            })
        });
        let capabilities = capabilities.clone()?;
        let (backend, case, seed) = (Arc::clone(&self.backend), *case, self.seed);
        watched(limit, move || {
            in_runtime(flavour, async move {
                let cx = Cx::with_capabilities(backend, case, seed, capabilities).await?;
                let place = Arc::clone(cx.place());
                let missing = case.needs.iter().find(|n| !n.is_met(&capabilities, place.as_ref()));
                if let Some(need) = missing {
                    place.destroy().await.map_err(Failure::from)?;
                    return Err(Ended::NotApplicable(need.missing()));
                }
                let result = (case.run)(cx).await;
                let destroyed = place.destroy().await;
                result?;
                destroyed.map_err(|error| crate::cx::during("destroy the place", error))?;
                Ok(())
            })
        })
    }

    fn outcome(&self, ended: Ended, flavour: Flavour, took: Duration) -> Outcome {
        let on = match flavour {
            Flavour::CurrentThread => " [current-thread runtime]",
            Flavour::MultiThread => "",
        };
        let (status, message, place) = match ended {
            Ended::Failed(failure) if failure.is_unavailable() => {
                (Status::Unavailable, failure.message().to_owned(), failure.place().to_owned())
            }
            Ended::Failed(failure) => {
                let message = format!("{}{on}", failure.message());
                (Status::Failed, message, failure.place().to_owned())
            }
            Ended::NotApplicable(why) => (Status::NotApplicable, why, String::new()),
            Ended::Panicked(what) => {
                (Status::Crashed, format!("crashed: {what}{on}"), String::new())
            }
            Ended::TimedOut(limit) => {
                let message = format!("not done after {} s{on}", limit.as_secs());
                (Status::TimedOut, message, String::new())
            }
        };
        Outcome { status, message, place, millis: as_millis(took), seed: self.seed }
    }
}

/// How long a case may take before patience: a crash case as often longer as it has more rounds.
fn time_limit(case: &Case, crash_rounds: u64) -> Duration {
    let is_crash = case.group == "crash" || case.group == "log-crash";
    let times = if is_crash { crash_rounds.div_ceil(crash::ROUNDS).max(1) } else { 1 };
    Duration::from_secs(case.seconds_max.saturating_mul(times))
}

/// Does the work in a thread of its own; one that hangs is left behind.
fn watched<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> Result<T, Ended> + Send + 'static,
) -> Result<T, Ended> {
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("conformance case".into());
    let started = thread.spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody listens any more when the time was up.
        let _ = sender.send(result.unwrap_or_else(|panic| Err(Ended::Panicked(words(&*panic)))));
    });
    started.map_err(Failure::from)?;
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(Ended::TimedOut(limit)),
        Err(RecvTimeoutError::Disconnected) => Err(Ended::Panicked("its thread ended".into())),
    }
}

fn in_runtime<T, E: From<Failure>>(
    flavour: Flavour,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Ended>
where
    Ended: From<E>,
{
    let mut builder = match flavour {
        Flavour::CurrentThread => tokio::runtime::Builder::new_current_thread(),
        Flavour::MultiThread => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(2).enable_all().build().map_err(Failure::from)?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(2));
    Ok(result?)
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "no message".into()))
}

fn as_millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// A number that differs from run to run, without asking the clock.
fn by_chance() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limit_of_a_crash_case_grows_with_its_rounds() {
        for case in crate::cases() {
            let own = Duration::from_secs(case.seconds_max);
            let times = if case.group.contains("crash") { 11 } else { 1 };
            assert_eq!(time_limit(case, 101), own * times, "{case:?}");
            assert_eq!(time_limit(case, 10), own, "{case:?}");
            assert_eq!(time_limit(case, 0), own, "{case:?}");
        }
    }
}
