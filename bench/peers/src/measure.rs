//! What a run is measured by: wall time, CPU time, memory, percentiles.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What one run answers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Outcome {
    /// The figures by name; the unit is the end of the name.
    pub figures: BTreeMap<String, f64>,
    /// What the reader of a table must know about this contender in this workload.
    pub note: String,
}

impl Outcome {
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.figures.insert(name.to_owned(), value);
        self
    }

    pub fn noted(mut self, note: &str) -> Self {
        self.note = note.to_owned();
        self
    }
}

/// A running measurement.
pub struct Meter {
    started: Instant,
    cpu: Duration,
    records: u64,
    bytes: u64,
    latencies_us: Vec<f64>,
}

impl Meter {
    pub fn start() -> Self {
        let latencies_us = Vec::with_capacity(1 << 20);
        Self { started: Instant::now(), cpu: cpu_time(), records: 0, bytes: 0, latencies_us }
    }

    #[inline]
    pub fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
    }

    pub fn lasted(&self, limit: Duration) -> bool {
        self.started.elapsed() >= limit
    }

    pub fn latency(&mut self, since: Instant) {
        if self.latencies_us.len() < self.latencies_us.capacity() {
            self.latencies_us.push(since.elapsed().as_secs_f64() * 1e6);
        }
    }

    pub fn latencies(&mut self, all: Vec<f64>) {
        self.latencies_us = all;
    }

    pub fn finish(mut self) -> Outcome {
        let seconds = self.started.elapsed().as_secs_f64();
        let cpu = (cpu_time() - self.cpu).as_secs_f64();
        let records = self.records.max(1) as f64;
        let mut outcome = Outcome::default()
            .with("mb_s", self.bytes as f64 / seconds / 1e6)
            .with("msgs_s", self.records as f64 / seconds)
            .with("wall_ns_msg", seconds * 1e9 / records)
            .with("cpu_ns_msg", cpu * 1e9 / records)
            .with("cores", cpu / seconds)
            .with("seconds", seconds);
        if !self.latencies_us.is_empty() {
            self.latencies_us.sort_unstable_by(f64::total_cmp);
            for (name, share) in [("p10_us", 0.1), ("p50_us", 0.5), ("p99_us", 0.99)] {
                outcome = outcome.with(name, quantile(&self.latencies_us, share));
            }
        }
        outcome
    }
}

/// The value that this share of the sorted ones does not exceed.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

/// CPU time of all threads of this process, user and system.
pub fn cpu_time() -> Duration {
    // SAFETY: zeros are a valid `rusage`, and the call fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// The most memory that this process has had resident, in MiB.
pub fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("VmHWM: 0 kB");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Forgets the peak, so that the next one is that of what follows.
pub fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Touches memory once: a virtual machine that gave free pages back is slow at the first touch.
pub fn warm(bytes: usize) {
    let mut memory = vec![0_u8; bytes];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
}

/// The share of this machine's CPU time that others used between two looks.
pub struct Others {
    total: f64,
    busy: f64,
    own: f64,
}

impl Others {
    pub fn look() -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let total: f64 = ticks.iter().take(8).sum();
        let idle = ticks.get(3).unwrap_or(&0.0) + ticks.get(4).unwrap_or(&0.0);
        Self { total, busy: total - idle, own: cpu_time().as_secs_f64() * 100.0 }
    }

    pub fn share_since(&self) -> f64 {
        let now = Self::look();
        let others = (now.busy - self.busy) - (now.own - self.own);
        (others / (now.total - self.total).max(1.0)).max(0.0)
    }
}
