//! How fast compaction reads and writes, and when it has to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::Result;
use crate::log::queue::closed;

/// How long a wait may be until it is looked whether to stop.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Tells a run to stop when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Bytes a second, and whether to go on. Waits on its thread.
#[derive(Debug)]
pub(super) struct Throttle {
    bytes_per_second: Option<u64>,
    stops: [Arc<AtomicBool>; 2],
    started: Instant,
    bytes: u64,
}

impl Throttle {
    pub(super) fn new(bytes_per_second: Option<u64>, stops: [Arc<AtomicBool>; 2]) -> Self {
        Self { bytes_per_second, stops, started: Instant::now(), bytes: 0 }
    }

    /// Waits until so many more bytes may be moved.
    ///
    /// # Errors
    ///
    /// `Closed` when nobody waits for the run any more.
    pub(super) fn pass(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        loop {
            if self.stops.iter().any(|stop| stop.load(Ordering::Acquire)) {
                return Err(closed());
            }
            let left = self.due().saturating_sub(self.started.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLEEP_MAX));
        }
    }

    /// How long all bytes so far should have taken.
    fn due(&self) -> Duration {
        let Some(rate) = self.bytes_per_second else { return Duration::ZERO };
        let micros = u128::from(self.bytes) * 1_000_000 / u128::from(rate.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn bytes_take_as_long_as_the_rate_says_and_a_stop_ends_the_wait() {
        let (one, other) = (Stop::default(), Stop::default());
        let mut throttle = Throttle::new(Some(1 << 20), [one.flag(), other.flag()]);
        let started = Instant::now();
        throttle.pass(50 << 10).unwrap();
        assert!(started.elapsed() >= Duration::from_millis(40), "{:?}", started.elapsed());
        drop(other);
        assert_eq!(throttle.pass(1 << 40).unwrap_err().kind(), ErrorKind::Closed);
    }
}
