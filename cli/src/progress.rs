//! What people see while they wait: a bar and a closing line, on a terminal only.

use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What a progress bar counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    Bytes,
    Records,
}

/// A progress bar, or nothing when nobody would see it or the length is not known.
pub(crate) fn bar(length: Option<u64>, unit: Unit, stdout_is_busy: bool) -> ProgressBar {
    let busy = stdout_is_busy && stdout().is_terminal();
    let Some(length) = length.filter(|_| stderr().is_terminal() && !busy) else {
        return ProgressBar::hidden();
    };
    let template = match unit {
        Unit::Bytes => "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        Unit::Records => "{bar:30} {human_pos}/{human_len} records {eta}",
    };
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Says something to a person who watches; scripts hear nothing.
pub(crate) fn say(line: &str) {
    if stderr().is_terminal() {
        eprintln!("{line}");
    }
}

/// What was done, and since when.
#[derive(Debug)]
pub(crate) struct Tally {
    started: Instant,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), records: 0, bytes: 0 }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// E.g. `5,000,000 records, 201.4 MiB, 1.62 s, 124.3 MiB/s`.
    pub(crate) fn line(&self) -> String {
        let seconds = self.elapsed().as_secs_f64().max(1e-6);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people is approximate")]
        let rate = self.bytes as f64 / seconds / f64::from(1 << 20);
        let (records, bytes) = (HumanCount(self.records), HumanBytes(self.bytes));
        format!("{records} records, {bytes}, {seconds:.2} s, {rate:.1} MiB/s")
    }
}
