//! How much time has passed, also while the machine slept.

use std::sync::Arc;
use std::time::Duration;

use msglog_core::{Clock, Timestamp};
use tokio::time::Instant;

/// Measures with the steady clock and the time of day, and believes whichever says more.
///
/// The steady clock stands still while a machine sleeps or is moved; the time of day does not. One
/// that jumps ahead only makes an ack be verified that needed no verifying.
#[derive(Clone, Debug)]
pub(crate) struct Stopwatch {
    clock: Arc<dyn Clock>,
}

/// A point in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    steady: Instant,
    day: Timestamp,
}

impl Moment {
    /// The later of two by the steady clock.
    pub(crate) fn later(self, other: Self) -> Self {
        if other.steady > self.steady { other } else { self }
    }
}

impl Stopwatch {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment { steady: Instant::now(), day: self.clock.now() }
    }

    pub(crate) fn since(&self, moment: Moment) -> Duration {
        let steady = moment.steady.elapsed();
        let day = self.clock.now().as_millis().saturating_sub(moment.day.as_millis());
        steady.max(Duration::from_millis(u64::try_from(day).unwrap_or(0)))
    }
}
