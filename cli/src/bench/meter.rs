//! What a measurement is measured by: operations, bytes, wall time, CPU time, percentiles.

use std::time::{Duration, Instant};

/// The most latencies that are kept: when they are that many, every second one goes.
const SAMPLES_MAX: usize = 1 << 20;

/// A running measurement.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    cpu: Duration,
    limit: Duration,
    operations: u64,
    bytes: u64,
    samples: Samples,
}

/// What a measurement came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) operations: u64,
    pub(super) payload_bytes: u64,
    pub(super) seconds: f64,
    /// CPU time of all threads of this process.
    pub(super) cpu_seconds: f64,
    /// Of calls; none where calls are not awaited one by one.
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
}

impl Meter {
    /// Starts measuring, for about so long.
    pub(super) fn start(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu_time(),
            limit,
            operations: 0,
            bytes: 0,
            samples: Samples::default(),
        }
    }

    /// Whether there is time left; always before the first operation.
    pub(super) fn goes_on(&self) -> bool {
        self.operations == 0 || self.started.elapsed() < self.limit
    }

    /// Counts operations on so many bytes of payload.
    pub(super) fn add(&mut self, operations: u64, bytes: u64) {
        self.operations += operations;
        self.bytes += bytes;
    }

    /// Counts one call that began then: operations, and bytes of payload.
    pub(super) fn call(&mut self, began: Instant, operations: u64, bytes: u64) {
        self.samples.push(began.elapsed());
        self.add(operations, bytes);
    }

    /// Takes over what another meter, started beside this one, has counted.
    pub(super) fn merge(&mut self, other: Self) {
        self.add(other.operations, other.bytes);
        self.samples.extend(other.samples);
    }

    /// Ends the measurement.
    pub(super) fn finish(mut self) -> Outcome {
        Outcome {
            operations: self.operations,
            payload_bytes: self.bytes,
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: cpu_time().saturating_sub(self.cpu).as_secs_f64(),
            p50_us: self.samples.percentile(50),
            p99_us: self.samples.percentile(99),
        }
    }
}

/// CPU time of all threads of this process, user and system.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Latencies, thinned out evenly when there are many.
#[derive(Debug)]
struct Samples {
    kept: Vec<Duration>,
    /// Every so many-th is kept.
    stride: u64,
    seen: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { kept: Vec::new(), stride: 1, seen: 0 }
    }
}

impl Samples {
    fn push(&mut self, latency: Duration) {
        if self.seen.is_multiple_of(self.stride) {
            self.kept.push(latency);
            if self.kept.len() >= SAMPLES_MAX {
                let mut odd = true;
                self.kept.retain(|_| {
                    odd = !odd;
                    !odd
                });
                self.stride *= 2;
            }
        }
        self.seen += 1;
    }

    fn extend(&mut self, other: Self) {
        self.kept.extend(other.kept);
    }

    fn percentile(&mut self, percent: usize) -> Option<f64> {
        self.kept.sort_unstable();
        let last = self.kept.len().checked_sub(1)?;
        // Rounded up: 99 of 100 say what the slowest of two hundred is.
        let place = (last * percent).div_ceil(100);
        self.kept.get(place).map(|latency| latency.as_secs_f64() * 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let mut samples = Samples::default();
        assert_eq!(samples.percentile(50), None);
        (0..=100).rev().for_each(|n| samples.push(Duration::from_micros(n)));
        assert_eq!(samples.percentile(50), Some(50.0));
        assert_eq!(samples.percentile(99), Some(99.0));
    }

    #[test]
    fn latencies_that_are_thinned_out_keep_their_percentiles() {
        let mut samples = Samples::default();
        let count = 3 * u64::try_from(SAMPLES_MAX).unwrap();
        (0..count).for_each(|n| samples.push(Duration::from_micros(n)));
        assert!(samples.kept.len() <= SAMPLES_MAX);
        let middle = samples.percentile(50).unwrap();
        let share = middle / Duration::from_micros(count).as_secs_f64() / 1e6;
        assert!((0.49..0.51).contains(&share), "{share}");
    }

    #[test]
    fn what_is_counted_beside_is_taken_over() {
        let mut meter = Meter::start(Duration::ZERO);
        assert!(meter.goes_on());
        let mut other = Meter::start(Duration::ZERO);
        other.call(Instant::now(), 2, 20);
        meter.add(1, 10);
        meter.merge(other);
        assert!(!meter.goes_on());
        let outcome = meter.finish();
        assert_eq!((outcome.operations, outcome.payload_bytes), (3, 30));
        assert!(outcome.p50_us.is_some());
    }
}
