//! The gate of a topic: what lets a message in, or says which rule it breaks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Rule;
use super::rate::{Bucket, Load, Refusal};
use super::rules::{Rules, load, violated};
use crate::{AsMessage, Clock, Error, ErrorKind, Result};

/// Lets messages in that keep the rules. One load of a flag where there are none.
#[derive(Debug)]
pub(in crate::log) struct Gate {
    is_watched: AtomicBool,
    /// An error when this build cannot check them: then nothing gets in.
    rules: RwLock<Result<Arc<Rules>>>,
    clock: Arc<dyn Clock>,
}

/// What an append has taken of the rate; given back unless it is spent.
#[derive(Debug)]
#[must_use = "an append that got in spends it"]
pub(in crate::log) struct Permit {
    taken: Option<(Arc<Bucket>, Load)>,
}

impl Gate {
    pub(in crate::log) fn of(rules: Result<Rules>, clock: Arc<dyn Clock>) -> Self {
        let gate = Self {
            is_watched: AtomicBool::new(false),
            rules: RwLock::new(Ok(Arc::default())),
            clock,
        };
        gate.take_up(rules);
        gate
    }

    /// Takes other rules, for what comes from now on; a rate that stays the same goes on.
    pub(in crate::log) fn take_up(&self, rules: Result<Rules>) {
        let mut present = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let rules = rules.map(|mut rules| {
            if let Ok(before) = &*present {
                rules.keep_rate_of(before);
            }
            Arc::new(rules)
        });
        let is_watched = rules.as_ref().map_or(true, |rules| !rules.is_empty());
        *present = rules;
        self.is_watched.store(is_watched, Ordering::Release);
    }

    /// Whether these messages, all of them, get in.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for one that breaks a rule, which the error names;
    /// [`Refused`](ErrorKind::Refused), transient, when the rate is used up.
    #[inline]
    pub(in crate::log) fn admit(&self, messages: &[impl AsMessage]) -> Result<Permit> {
        if !self.is_watched.load(Ordering::Acquire) {
            return Ok(Permit { taken: None });
        }
        self.check(messages)
    }

    #[cold]
    fn check(&self, messages: &[impl AsMessage]) -> Result<Permit> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        for (place, message) in messages.iter().enumerate() {
            rules.check(message.as_message()).map_err(|error| match messages.len() {
                1 => error,
                _ => error.within(format_args!("message {place} of the batch")),
            })?;
        }
        // Last, so that what breaks another rule takes nothing.
        let Some(bucket) = &rules.rate else { return Ok(Permit { taken: None }) };
        let load = load(messages);
        let taken = bucket.take(load, self.clock.now());
        taken.map_err(|refusal| refused(bucket, refusal))?;
        Ok(Permit { taken: Some((bucket.clone(), load)) })
    }
}

fn refused(bucket: &Bucket, refusal: Refusal) -> Error {
    match refusal {
        Refusal::Never(why) => violated(&Rule::Rate(bucket.rate()), &why),
        Refusal::Later { milliseconds, what } => {
            let why = format!("rule `rate`: {what}; there is room in {milliseconds} ms");
            Error::new(ErrorKind::Refused, why).with_transient(true)
        }
    }
}

impl Permit {
    /// What was taken is used.
    #[inline]
    pub(in crate::log) fn spend(mut self) {
        self.taken = None;
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some((bucket, load)) = self.taken.take() {
            bucket.give_back(load);
        }
    }
}
