//! A store that fails as planned: refused calls, lost answers, latency, crashes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use msglog_core::store::MessageStore;
use msglog_core::{Error, ErrorKind, Result, TopicPartition};

use super::around::{Around, At, Call, Wrapped};

/// A store whose calls fail as a [`FaultPlan`] says; made by [`FaultPlan::wrap`].
///
/// It keeps the contract while it fails: after a change of unknown outcome, and after a failed
/// sync, the partition is [`Poisoned`](ErrorKind::Poisoned) for writing, and reads go on.
pub type FaultStore = Wrapped<FaultPlan>;

/// What happens to a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Mishap {
    /// Nothing is done, and this is the answer.
    Refuse(Error),
    /// It is done, and this is the answer, of unknown effect.
    LoseAnswer(Error),
    /// It is done, so much later.
    Delay(Duration),
    /// Nothing is done, and no call after it: the process has ended.
    CrashBefore,
    /// It is done, but nobody is told, and no call after it is done.
    CrashAfter,
}

impl Mishap {
    /// The service is down (what HTTP calls 503): nothing is done, the same call may succeed later.
    pub fn unavailable() -> Self {
        Self::Refuse(Error::new(ErrorKind::Unavailable, "503 service unavailable"))
    }

    /// Too many requests (429): nothing is done, the same call may succeed later.
    pub fn throttled() -> Self {
        Self::Refuse(Error::new(ErrorKind::Unavailable, "429 slow down").with_transient(true))
    }

    /// Somebody else was there first (409): nothing is done.
    pub fn conflict() -> Self {
        Self::Refuse(Error::new(ErrorKind::Conflict, "409 conflict"))
    }

    /// The storage has no room: nothing is done.
    pub fn full() -> Self {
        Self::Refuse(Error::new(ErrorKind::StorageFull, "no space left"))
    }

    /// It is done, but the connection ends before the answer.
    pub fn lost_answer() -> Self {
        Self::LoseAnswer(Error::new(ErrorKind::Unavailable, "the answer was lost"))
    }
}

/// Which calls meet with which mishap.
#[derive(Clone, Debug)]
pub struct Rule {
    call: Call,
    partition: Option<TopicPartition>,
    /// How many such calls pass by first, and how many are hit then.
    passes: u64,
    hits: u64,
    mishap: Mishap,
}

impl Rule {
    /// The `n`-th such call from now on, counted from 1.
    pub fn nth(call: Call, n: u64, mishap: Mishap) -> Self {
        Self { call, partition: None, passes: n.saturating_sub(1), hits: 1, mishap }
    }

    /// The next such call.
    pub fn next(call: Call, mishap: Mishap) -> Self {
        Self::nth(call, 1, mishap)
    }

    /// Every such call.
    pub fn every(call: Call, mishap: Mishap) -> Self {
        Self { hits: u64::MAX, ..Self::next(call, mishap) }
    }

    /// So many calls in a row instead of one.
    #[must_use]
    pub fn times(mut self, hits: u64) -> Self {
        self.hits = hits;
        self
    }

    /// Only calls of this partition count.
    #[must_use]
    pub fn of(mut self, partition: TopicPartition) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Whether this call meets with the mishap.
    fn hits(&mut self, at: At<'_>) -> bool {
        let is_such = self.call == at.call
            && (self.partition.is_none() || self.partition.as_ref() == at.partition);
        if !is_such || self.hits == 0 {
            return false;
        }
        if self.passes > 0 {
            self.passes -= 1;
            return false;
        }
        self.hits -= 1;
        true
    }
}

/// What goes wrong, and when: rules that can be added at any time. Clones share them.
///
/// A call counts for every rule that names it; the first that hits decides.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    hits: u64,
    poisoned: BTreeMap<TopicPartition, Error>,
    has_crashed: bool,
}

impl FaultPlan {
    /// A plan by which nothing fails yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on this rule holds too.
    pub fn add(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Forgets all rules; what is poisoned or has crashed stays so.
    pub fn clear(&self) {
        self.state().rules.clear();
    }

    /// How many calls have met with a mishap.
    pub fn hits(&self) -> u64 {
        self.state().hits
    }

    /// Whether a rule has ended the process.
    pub fn has_crashed(&self) -> bool {
        self.state().has_crashed
    }

    /// A store over `inner` that fails by this plan; nothing is poisoned, as after reopening.
    ///
    /// After a crash, drop it with all that was opened of it, and wrap a reopened store.
    pub fn wrap(&self, inner: Arc<dyn MessageStore>) -> Arc<FaultStore> {
        let mut state = self.state();
        (state.poisoned, state.has_crashed) = (BTreeMap::new(), false);
        drop(state);
        Wrapped::new(inner, self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens to this call, or why it is refused anyway.
    fn decide(&self, at: At<'_>) -> Result<Option<Mishap>> {
        let mut state = self.state();
        if state.has_crashed {
            return Err(crashed());
        }
        if at.call.changes_a_partition()
            && let Some(cause) = at.partition.and_then(|name| state.poisoned.get(name))
        {
            let why = "an earlier change failed: reopen the store";
            return Err(Error::new(ErrorKind::Poisoned, why).with_source(cause.clone()));
        }
        // Each rule counts the call.
        let hit: Vec<bool> = state.rules.iter_mut().map(|rule| rule.hits(at)).collect();
        let first = hit.into_iter().position(|hit| hit);
        let mishap = first.and_then(|first| state.rules.get(first)).map(|rule| rule.mishap.clone());
        state.hits += u64::from(mishap.is_some());
        state.has_crashed = matches!(mishap, Some(Mishap::CrashBefore));
        Ok(mishap)
    }

    /// Answers an error as the contract asks for: in doubt, and with what is in doubt poisoned.
    fn fail<T>(&self, at: At<'_>, error: Error, is_done: bool) -> Result<T> {
        let is_in_doubt = is_done || at.call == Call::Sync;
        let error = if is_in_doubt { error.with_unknown_effect() } else { error };
        if let Some(name) = at.partition
            && is_in_doubt
            && at.call.changes_a_partition()
        {
            self.state().poisoned.insert(name.clone(), error.clone());
        }
        Err(error)
    }
}

impl Around for FaultPlan {
    fn around<'a, T: Send + 'a>(
        &'a self,
        at: At<'a>,
        work: BoxFuture<'a, Result<T>>,
    ) -> BoxFuture<'a, Result<T>> {
        Box::pin(async move {
            match self.decide(at)? {
                None => work.await,
                Some(Mishap::Refuse(error)) => self.fail(at, error, false),
                Some(Mishap::LoseAnswer(error)) => {
                    // What fails by itself has its own answer.
                    work.await?;
                    self.fail(at, error, true)
                }
                Some(Mishap::Delay(time)) => {
                    tokio::time::sleep(time).await;
                    work.await
                }
                Some(Mishap::CrashBefore) => Err(crashed()),
                Some(Mishap::CrashAfter) => {
                    let _ = work.await;
                    self.state().has_crashed = true;
                    Err(crashed())
                }
            }
        })
    }
}

fn crashed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store's process has ended").with_unknown_effect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits_of(mut rule: Rule, calls: usize) -> Vec<bool> {
        let at = At { call: Call::Append, partition: None };
        (0..calls).map(|_| rule.hits(at)).collect()
    }

    #[test]
    fn rule_hits_the_calls_that_it_names() {
        let refuse = Mishap::unavailable;
        assert_eq!(hits_of(Rule::next(Call::Append, refuse()), 3), [true, false, false]);
        assert_eq!(hits_of(Rule::nth(Call::Append, 3, refuse()), 4), [false, false, true, false]);
        let twice = Rule::nth(Call::Append, 2, refuse()).times(2);
        assert_eq!(hits_of(twice, 4), [false, true, true, false]);
        assert_eq!(hits_of(Rule::every(Call::Append, refuse()), 2), [true, true]);
        assert_eq!(hits_of(Rule::every(Call::Sync, refuse()), 2), [false, false]);
        let elsewhere = Rule::every(Call::Append, refuse()).of("orders-1".parse().unwrap());
        assert_eq!(hits_of(elsewhere, 2), [false, false]);
    }
}
