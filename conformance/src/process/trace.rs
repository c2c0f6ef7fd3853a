//! The sync audit: a child's system calls as `strace` saw them, and whether each ack was earned.
//!
//! `strace` sees every call of every thread, also of stores that make their system calls without
//! the C library. An ack is earned when some write that holds the marked payload was followed by a
//! completed fsync, fdatasync or the like of the same file before the child said so.

mod changes;

use std::path::Path;
use std::process::Command;

use super::{Child, Job, Order};
use crate::{CaseResult, Cx, Failure};

/// How many batches and documents the child writes.
pub(crate) const AUDIT_ROUNDS: u64 = 8;
/// How often the child trims and discards.
pub(crate) const AUDIT_CHANGES: u64 = 2;
/// What the child says last.
pub(crate) const AUDIT_END: &str = "C 0";

const CALLS: &str = "trace=write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync,syncfs,\
                     sync_file_range,msync,open,openat,creat,rename,renameat,renameat2,\
                     link,linkat,unlink,unlinkat,rmdir,ftruncate,fallocate,\
                     io_uring_enter";

/// The text that marks the payload of a round, so that it is found again in what was written.
pub(crate) fn marker(seed: u64, what: &str, round: u64) -> String {
    format!("<audit {what} {seed:016x} {round}>")
}

/// Runs the audit's child under `strace` and answers what it saw.
///
/// # Errors
///
/// Unavailable when there is no `strace` or it may not trace.
pub async fn audited(cx: &Cx) -> CaseResult<Trace> {
    let output = tempfile::NamedTempFile::new()?;
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-s", "262144", "-e", CALLS, "-o"]).arg(output.path()).arg("--");
    command.arg(std::env::current_exe()?).stderr(std::process::Stdio::piped());
    let order = Order {
        backend: cx.backend_name().to_owned(),
        address: cx.place().address().unwrap_or_default(),
        seed: cx.seed(),
        job: Job::Audit,
    };
    let why_not = "the sync audit needs `strace`, and the right to trace";
    let mut child = Child::spawn(command, &order)
        .map_err(|failure| Failure::unavailable(format!("{why_not}: {}", failure.message())))?;
    let mut last = String::new();
    while last != AUDIT_END {
        match child.line().await {
            Ok(line) => last = line,
            Err(failure) if last.is_empty() && std::fs::metadata(output.path())?.len() == 0 => {
                return Err(Failure::unavailable(format!("{why_not}: {}", failure.message())));
            }
            Err(failure) => return Err(failure.during("the audited child")),
        }
    }
    // Its last lines are written when the tracer has ended.
    child.process.wait()?;
    Ok(Trace::parse(&String::from_utf8_lossy(&std::fs::read(output.path())?)))
}

/// System calls in the order in which they ended.
#[derive(Debug, Default)]
pub struct Trace {
    calls: Vec<Call>,
}

/// One system call: between which lines it ran, and what it was given.
#[derive(Debug)]
struct Call {
    began: usize,
    ended: usize,
    name: String,
    arguments: String,
    failed: bool,
}

impl Call {
    /// The path of the file that the first argument is a descriptor of.
    fn path(&self) -> Option<&str> {
        let (_, rest) = self.arguments.split_once('<')?;
        let (path, _) = rest.split_once('>')?;
        Some(path)
    }

    fn is_write(&self) -> bool {
        matches!(self.name.as_str(), "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2")
    }

    fn syncs(&self, path: &str) -> bool {
        match self.name.as_str() {
            "fsync" | "fdatasync" => self.path() == Some(path),
            "sync" | "syncfs" => true,
            _ => false,
        }
    }
}

impl Trace {
    /// Reads what `strace -f -y` wrote.
    pub fn parse(text: &str) -> Self {
        let mut begun: Vec<(&str, usize, String)> = Vec::new();
        let mut calls = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let Some((pid, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if let Some(head) = call.strip_suffix("<unfinished ...>") {
                begun.push((pid, number, head.to_owned()));
            } else if let Some(rest) = call.strip_prefix("<... ") {
                let Some(index) = begun.iter().position(|(who, ..)| *who == pid) else { continue };
                let (_, began, head) = begun.swap_remove(index);
                let tail = rest.split_once("resumed>").map_or("", |(_, tail)| tail);
                calls.extend(Self::call(began, number, &format!("{head}{tail}")));
            } else {
                calls.extend(Self::call(number, number, call));
            }
        }
        Self { calls }
    }

    fn call(began: usize, ended: usize, text: &str) -> Option<Call> {
        let (name, rest) = text.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        let failed = result.starts_with('-') || result.starts_with('?');
        let (name, arguments) = (name.to_owned(), arguments.to_owned());
        Some(Call { began, ended, name, arguments, failed })
    }

    /// Checks that the ack `<word> <round>` came after a sync of a write that holds `mark`.
    pub fn check_earned(&self, mark: &str, ack: &str) -> CaseResult {
        let said = self.ack(ack)?;
        let writes: Vec<&Call> = self.writes(mark).filter(|call| call.ended < said.began).collect();
        if writes.is_empty() {
            let why = "inconclusive: no write call with the payload was seen before the ack";
            return Err(Failure::new(format!("{why} `{ack}` (mapped, compressed or io_uring?)")));
        }
        if writes.iter().any(|write| self.is_synced(write, said)) {
            return Ok(());
        }
        let between: Vec<&str> = self
            .calls
            .iter()
            .filter(|call| call.ended < said.began)
            .filter(|call| writes.iter().any(|write| call.began > write.ended))
            .filter(|call| call.name.contains("sync"))
            .map(|call| call.name.as_str())
            .collect();
        let seen =
            if between.is_empty() { "no sync at all".to_owned() } else { between.join(", ") };
        let path = writes.first().and_then(|write| write.path()).unwrap_or("?");
        let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
        let why = format!("not synced between the write to {file} and the ack `{ack}`: saw {seen}");
        Err(Failure::new(why))
    }

    /// Checks that the folder of each new file that the ack relies on was synced after it was made.
    pub fn check_folder_synced(&self, mark: &str, ack: &str) -> CaseResult {
        let said = self.ack(ack)?;
        let writes = self.writes(mark).filter(|call| call.ended < said.began);
        for path in writes.filter_map(Call::path) {
            let made = self.calls.iter().find(|call| !call.failed && call.makes(path));
            let (Some(made), Some(folder)) = (made, Path::new(path).parent()) else { continue };
            let folder = folder.to_string_lossy();
            let synced = self.calls.iter().any(|call| {
                !call.failed
                    && call.syncs(&folder)
                    && call.began > made.ended
                    && call.ended < said.began
            });
            if !synced {
                let file = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
                let why = format!("the folder of {file} was not synced before the ack `{ack}`");
                return Err(Failure::new(why));
            }
        }
        Ok(())
    }

    fn ack(&self, ack: &str) -> CaseResult<&Call> {
        let text = format!("\"{ack}\\n\"");
        let said = self.calls.iter().find(|call| {
            call.name == "write"
                && call.arguments.starts_with('1')
                && call.arguments.contains(&text)
        });
        said.ok_or_else(|| Failure::new(format!("inconclusive: the ack `{ack}` was not traced")))
    }

    fn writes<'a>(&'a self, mark: &'a str) -> impl Iterator<Item = &'a Call> {
        let done = self.calls.iter().filter(|call| call.is_write() && !call.failed);
        done.filter(move |call| call.arguments.contains(mark))
    }

    fn is_synced(&self, write: &Call, said: &Call) -> bool {
        let Some(path) = write.path() else { return false };
        let synced = |call: &Call| {
            !call.failed && call.syncs(path) && call.began > write.ended && call.ended < said.began
        };
        self.syncs_itself(write) || self.calls.iter().any(synced)
    }

    /// Whether a write returns only when it is synced.
    fn syncs_itself(&self, write: &Call) -> bool {
        let Some(path) = write.path() else { return false };
        let flagged = write.arguments.contains("RWF_DSYNC") || write.arguments.contains("RWF_SYNC");
        let opened_to_sync = self.calls.iter().any(|call| {
            call.name.starts_with("open")
                && call.arguments.contains(path)
                && (call.arguments.contains("O_DSYNC") || call.arguments.contains("O_SYNC"))
        });
        flagged || opened_to_sync
    }
}

impl Call {
    /// Whether the call may have made the file at `path`.
    fn makes(&self, path: &str) -> bool {
        let quoted = format!("{path}\"");
        match self.name.as_str() {
            "open" | "openat" => {
                self.arguments.contains("O_CREAT") && self.arguments.contains(&quoted)
            }
            "creat" | "rename" | "renameat" | "renameat2" => self.arguments.contains(&quoted),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = r#"7 pwrite64(5</d/log>, "..<m>..", 7, 0) = 7"#;
    const ACK: &str = r#"7 write(1<pipe:[1]>, "S 0\n", 4) = 4"#;

    fn verdict(lines: &[&str]) -> Option<String> {
        let trace = Trace::parse(&lines.join("\n"));
        trace.check_earned("<m>", "S 0").err().map(|failure| failure.message().to_owned())
    }

    #[test]
    fn ack_after_write_and_sync_is_earned() {
        assert_eq!(verdict(&[WRITE, "7 fdatasync(5</d/log>) = 0", ACK]), None);
        let by_another =
            [WRITE, "9 fsync(8</d/log> <unfinished ...>", "9 <... fsync resumed>) = 0"];
        assert_eq!(verdict(&[&by_another[..], &[ACK]].concat()), None);
        let opened = r#"7 openat(AT_FDCWD</>, "/d/log", O_RDWR|O_CREAT|O_DSYNC, 0600) = 5</d/log>"#;
        assert_eq!(verdict(&[opened, WRITE, ACK]), None);
    }

    #[test]
    fn ack_without_sync_of_that_file_after_the_write_is_not_earned() {
        let cases: [&[&str]; 6] = [
            &[WRITE, ACK],
            &["7 fdatasync(5</d/log>) = 0", WRITE, ACK],
            &[WRITE, ACK, "7 fdatasync(5</d/log>) = 0"],
            &[WRITE, "7 fdatasync(6</d/other>) = 0", ACK],
            &[WRITE, "7 fdatasync(5</d/log>) = -1 EIO (Input/output error)", ACK],
            &[WRITE, "9 fsync(5</d/log> <unfinished ...>", ACK, "9 <... fsync resumed>) = 0"],
        ];
        for lines in cases {
            let why = verdict(lines).unwrap();
            assert!(why.starts_with("not synced between the write to log"), "{why}: {lines:?}");
        }
        let range = [WRITE, "7 sync_file_range(5</d/log>, 0, 0, SYNC_FILE_RANGE_WRITE) = 0", ACK];
        assert!(verdict(&range).unwrap().contains("saw sync_file_range"));
    }

    #[test]
    fn payload_that_is_never_seen_is_inconclusive() {
        assert!(verdict(&["7 fsync(5</d/log>) = 0", ACK]).unwrap().starts_with("inconclusive"));
    }

    #[test]
    fn new_file_needs_its_folder_synced() {
        let made = r#"7 openat(AT_FDCWD</>, "/d/log", O_RDWR|O_CREAT, 0600) = 5</d/log>"#;
        let folder = "7 fsync(6</d>) = 0";
        let check = |lines: &[&str]| {
            Trace::parse(&lines.join("\n")).check_folder_synced("<m>", "S 0").is_ok()
        };
        assert!(check(&[made, WRITE, folder, ACK]));
        assert!(!check(&[made, WRITE, ACK]));
        assert!(!check(&[folder, made, WRITE, ACK]));
    }
}
