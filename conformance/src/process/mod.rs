//! Other processes: the test executable starts itself again as a writer that is killed or traced.

mod serve;
pub(crate) mod start;
pub mod trace;
pub(crate) mod waiting;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use msglog_core::Msn;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use self::serve::serve_if_asked;
pub(crate) use self::serve::{count_in, large_bytes};
use self::start::Start;
use crate::{CaseResult, Cx, Failure};

/// The variable by which the executable learns that it is a child with a job.
pub(crate) const ORDER_VARIABLE: &str = "MSGLOG_CONFORMANCE_ORDER";
/// How long a child may stay silent.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// What a child says first, so that it is known to run.
pub(crate) const HERE: &str = "here";

/// What a child process does; it says on its standard output how far it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Opens the place for writing and says `opened`, `locked` or what went wrong.
    OpenForWriting,
    /// Appends batch after batch, saying `A <next MSN>` after each and `S <MSN>` after each sync.
    Append {
        /// How many appends are followed by a sync.
        sync_every: u32,
        /// How long it pauses after each append, in microseconds.
        pause_micros: u64,
    },
    /// Appends to a log at `Sync`, saying `A <MSN>` for each ack.
    AppendToLog,
    /// Appends keyed messages to a log at `Sync`, saying `A <MSN>` for each ack, and compacts it.
    CompactLog,
    /// Appends to a log as an idempotent producer, some messages again, saying `A <MSN>`.
    ProduceToLog,
    /// Like `Append`, with large batches among the small, and trims in between, saying
    /// `T <first MSN>`.
    AppendAndTrim,
    /// Saves a document again and again, saying `D <count>` after each.
    Save,
    /// Appends, syncs and saves a few marked things, saying `S <round>` and `D <round>` after each;
    /// trims and discards, saying `R <round>` before and `T <round>` after a trim, `K <round>` and
    /// `X <round>` with a discard; appends once more, closes, and says `C 0`.
    Audit,
    /// Appends and syncs, saying as JSON who waited meanwhile.
    Wait,
    /// Runs a case and says its outcome as JSON.
    Case {
        /// `group/name`.
        id: String,
    },
}

/// A job, and where it is done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    pub(crate) backend: String,
    pub(crate) address: String,
    pub(crate) seed: u64,
    pub(crate) job: Job,
}

/// A running child process; killed when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    lines: UnboundedReceiver<String>,
    has_spoken: bool,
}

impl Child {
    /// Starts the executable again to do `job` at the case's place.
    pub fn start(cx: &Cx, job: Job) -> CaseResult<Self> {
        let command = Command::new(std::env::current_exe()?);
        let address = cx.place().address().unwrap_or_default();
        let backend = cx.backend_name().to_owned();
        Self::spawn(command, &Order { backend, address, seed: cx.seed(), job })
    }

    pub(crate) fn spawn(mut command: Command, order: &Order) -> CaseResult<Self> {
        let order = serde_json::to_string(order)
            .map_err(|cause| Failure::new(format!("the order cannot be written: {cause}")))?;
        command.env(ORDER_VARIABLE, order).stdin(Stdio::null()).stdout(Stdio::piped());
        let start = Start::begin();
        let mut process = command.spawn()?;
        let (sender, lines) = unbounded_channel();
        if let Some(stdout) = process.stdout.take() {
            // Ends with the child, whose end of the pipe it reads.
            std::thread::spawn(move || {
                let mut start = Some(start);
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if start.take().is_some() && line == HERE {
                        continue;
                    }
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self { process, lines, has_spoken: false })
    }

    /// The next line that the child says.
    pub async fn line(&mut self) -> CaseResult<String> {
        let line = tokio::time::timeout(SILENCE_MAX, self.lines.recv()).await;
        self.has_spoken |= matches!(line, Ok(Some(_)));
        match line {
            Ok(Some(line)) if line.starts_with("failed: ") => Err(Failure::new(line)),
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(Failure::new("the child process ended early")),
            Err(_) => Err(Failure::new("the child process says nothing")),
        }
    }

    /// Whether it has said a line that was listened to.
    pub(crate) fn has_said_anything(&self) -> bool {
        self.has_spoken
    }

    /// The last line that the child says before it ends; `None` when it says nothing.
    pub(crate) async fn last_line(&mut self) -> Option<String> {
        let mut last = None;
        while let Some(line) = self.lines.recv().await {
            last = Some(line);
        }
        last
    }

    /// Waits for the next `A <MSN>` and answers the MSN.
    pub async fn acked_msn(&mut self) -> CaseResult<Msn> {
        loop {
            if let Some(number) = said(&self.line().await?, "A") {
                return Ok(Msn::new(number));
            }
        }
    }

    /// Kills the child as `kill -9` does, and answers what it had said and nobody had listened to.
    pub async fn kill(mut self) -> CaseResult<Vec<String>> {
        self.process.kill()?;
        self.process.wait()?;
        let mut rest = Vec::new();
        while let Some(line) = self.lines.recv().await {
            if line.starts_with("failed: ") {
                return Err(Failure::new(line));
            }
            rest.push(line);
        }
        Ok(rest)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The number in a line `<word> <number>`.
pub fn said(line: &str, word: &str) -> Option<u64> {
    line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok()
}

/// The files below `folder` that this process holds open.
///
/// # Errors
///
/// Unavailable where that cannot be seen.
pub fn open_files_below(folder: &Path) -> CaseResult<Vec<String>> {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else {
        return Err(Failure::unavailable("open files are seen in /proc/self/fd only"));
    };
    let folder = folder.canonicalize()?;
    let targets = descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let below = targets.filter(|target| target.starts_with(&folder));
    Ok(below.map(|target| target.display().to_string()).collect())
}
