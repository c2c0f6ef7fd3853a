//! The plan: which contenders run which workload, interleaved, each run in a process of its own.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::measure::Outcome;
use crate::report;

/// One line of the results.
#[derive(Debug, Deserialize, Serialize)]
pub struct Line {
    pub workload: String,
    pub size: usize,
    pub contender: String,
    pub run: usize,
    pub load: f64,
    pub outcome: Option<Outcome>,
}

/// How the workloads are run.
pub struct Plan {
    runs: usize,
    seconds: String,
    only: Vec<String>,
    /// The peers that run; all that are here where none is named.
    peers: Vec<String>,
    out: PathBuf,
    dir: PathBuf,
    /// Measured runs get real-time priority: for a machine that others use too.
    real_time: bool,
}

/// Bytes of a payload.
pub const SIZES: &[usize] = &[100, 1024, 65536];
const WRITES: &[(&str, &[&str])] = &[
    ("w1", &["limit", "msglog", "msglog/await", "msglog/wait", "msglog/sync"]),
    ("w1b", &["limit", "msglog"]),
    ("w2", &["limit", "msglog", "msglog/await"]),
    ("w3", &["limit", "msglog"]),
    ("w4", &["limit", "msglog", "msglog/await", "msglog/window"]),
    ("r3", &["msglog", "msglog/spin", "msglog/await", "msglog/await-spin"]),
];

impl Plan {
    pub fn parse(options: &[&str]) -> Self {
        let mut plan = Self {
            runs: 3,
            seconds: "0.5".to_owned(),
            only: Vec::new(),
            peers: Vec::new(),
            out: PathBuf::from("results"),
            dir: std::env::temp_dir().join("msglog-bench"),
            real_time: false,
        };
        let mut options = options.iter();
        while let Some(option) = options.next() {
            if *option == "--rt" {
                plan.real_time = true;
                continue;
            }
            let value = options.next().expect("the option takes a value");
            match *option {
                "--runs" => plan.runs = value.parse().expect("a number"),
                "--seconds" => plan.seconds = (*value).to_owned(),
                "--only" => plan.only = value.split(',').map(str::to_owned).collect(),
                "--peers" => plan.peers = value.split(',').map(str::to_owned).collect(),
                "--out" => plan.out = PathBuf::from(value),
                "--dir" => plan.dir = PathBuf::from(value),
                other => panic!("no option {other}"),
            }
        }
        plan
    }

    pub fn execute(&self) {
        self.make_folders();
        for (workload, own) in WRITES {
            let sizes = if *workload == "r3" { &SIZES[..1] } else { SIZES };
            for size in sizes.iter().filter(|_| self.wants(workload)) {
                self.fresh(workload, *size, &self.contenders(workload, own));
            }
        }
        for size in SIZES.iter().filter(|_| self.wants("r1")) {
            let own = ["limit", "msglog", "msglog/records"];
            self.filled("r1", *size, &self.contenders("r1", &own), self.runs);
        }
        if self.wants("r2") {
            let own = ["limit", "msglog", "msglog/100", "msglog/10", "msglog/1"];
            self.filled("r2", 1024, &self.contenders("r2", &own), self.runs);
        }
        if self.wants("o1") {
            self.filled("o1", 1024, &self.contenders("o1", &["msglog"]), self.runs);
        }
        if self.wants("o1k") {
            self.killed(1024, &self.contenders("o1k", &["msglog"]));
        }
        if self.wants("synced") {
            self.count_syncs(&self.contenders("w2", &["msglog", "msglog/await"]));
        }
        report::write(&self.lines());
    }

    pub fn make_folders(&self) {
        std::fs::create_dir_all(&self.out).expect("the folder of results");
        std::fs::create_dir_all(&self.dir).expect("the folder of logs");
    }

    /// Whether a workload was asked for.
    pub fn wants(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == workload)
    }

    /// Where results go.
    pub fn lines(&self) -> PathBuf {
        self.out.join("results.jsonl")
    }

    /// Each run on a log of its own.
    pub fn fresh(&self, workload: &str, size: usize, contenders: &[String]) {
        for run in 0..self.runs {
            for contender in rotated(contenders, run) {
                let dir = self.place("fresh");
                let outcome = self.run(contender, workload, size, &dir, self.real_time);
                self.keep(workload, size, contender, run, outcome);
                remove(&dir);
            }
        }
    }

    /// All runs of a contender on one log, filled before.
    fn filled(&self, workload: &str, size: usize, contenders: &[String], runs: usize) {
        for contender in contenders {
            let dir = self.place(contender);
            // Variants that only read differently share the log of the first.
            if contender == "msglog/records" {
                continue;
            }
            let outcome = self.run(contender, "fill", size, &dir, false);
            let outcome = outcome.map(|outcome| match outcome.figures.get("filled").copied() {
                Some(filled) => outcome.with("disk_per_byte", disk_bytes(&dir) / filled),
                None => outcome,
            });
            self.keep("fill", size, contender, 0, outcome);
        }
        for run in 0..runs {
            for contender in rotated(contenders, run) {
                let name = if contender == "msglog/records" { "msglog" } else { contender };
                let outcome =
                    self.run(contender, workload, size, &self.place(name), self.real_time);
                self.keep(workload, size, contender, run, outcome);
            }
        }
        contenders.iter().for_each(|contender| remove(&self.place(contender)));
    }

    /// Those who can run it: our own ways and the limit, then the peers.
    fn contenders(&self, workload: &str, own: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = own.iter().map(|name| (*name).to_owned()).collect();
        #[cfg(feature = "peers")]
        all.extend(
            crate::peers::NAMES
                .iter()
                .filter(|name| crate::peers::is_here(name) && can(name, workload))
                .map(|name| (*name).to_owned())
                .filter(|name| self.peers.is_empty() || self.peers.contains(name)),
        );
        let _ = workload;
        all
    }

    /// Each opening after an end without close.
    fn killed(&self, size: usize, contenders: &[String]) {
        for run in 0..self.runs {
            for contender in rotated(contenders, run) {
                let dir = self.place("killed");
                let _ = self.run(contender, "fillk", size, &dir, false);
                let outcome = self.run(contender, "o1k", size, &dir, self.real_time);
                self.keep("o1k", size, contender, run, outcome);
                remove(&dir);
            }
        }
    }

    /// Counts the system calls that sync, for each append of a short W2.
    fn count_syncs(&self, contenders: &[String]) {
        for contender in contenders {
            let dir = self.place("synced");
            let summary = self.out.join("strace.txt");
            let calls = "trace=fsync,fdatasync,sync_file_range,msync,pwritev2,io_uring_enter";
            let program = std::env::current_exe().expect("this program");
            let output = Command::new("strace")
                .args(["-f", "-c", "-e", calls, "-o"])
                .arg(&summary)
                .arg(program)
                .args(["run", contender, "w2", "100"])
                .arg(&dir)
                .arg("0.3")
                .output();
            let Ok(output) = output else { return };
            let outcome: Option<Outcome> = serde_json::from_slice(&output.stdout).ok();
            let counts = std::fs::read_to_string(&summary).unwrap_or_default();
            let outcome = outcome.map(|outcome| {
                let figure = |name: &str| outcome.figures.get(name).copied().unwrap_or(f64::NAN);
                let appends = figure("msgs_s") * figure("seconds");
                outcome.clone().with("syncs_per_append", syncs(&counts) / appends)
            });
            self.keep("synced", 100, contender, 0, outcome);
            let _ = std::fs::remove_file(&summary);
            remove(&dir);
        }
    }

    fn run(
        &self,
        contender: &str,
        workload: &str,
        size: usize,
        dir: &Path,
        real_time: bool,
    ) -> Option<Outcome> {
        let program = std::env::current_exe().expect("this program");
        let mut command = match real_time {
            true => Command::new("chrt"),
            false => Command::new("timeout"),
        };
        match real_time {
            true => command.args(["-r", "1", "timeout", "120"]),
            false => command.arg("120"),
        };
        let output = command
            .arg(program)
            .args(["run", contender, workload, &size.to_string()])
            .arg(dir)
            .arg(&self.seconds)
            .output()
            .expect("start a run");
        let outcome = serde_json::from_slice(&output.stdout).ok();
        if outcome.is_none() && workload != "fillk" {
            eprintln!("{contender} {workload}: {}", String::from_utf8_lossy(&output.stderr));
        }
        outcome
    }

    fn keep(
        &self,
        workload: &str,
        size: usize,
        contender: &str,
        run: usize,
        outcome: Option<Outcome>,
    ) {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN);
        let (workload, contender) = (workload.to_owned(), contender.to_owned());
        let line = Line { workload, size, contender, run, load, outcome };
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.lines());
        let json = serde_json::to_string(&line).expect("JSON");
        eprintln!("{json}");
        writeln!(file.as_mut().expect("results"), "{json}").expect("write a result");
    }

    fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name.replace('/', "-"))
    }
}

#[cfg(feature = "peers")]
fn can(name: &str, workload: &str) -> bool {
    match workload {
        "r3" => false,
        "w1" | "w1b" => name != "okaywal",
        "r1" => name != "okaywal",
        "r2" | "o1" => !matches!(name, "okaywal" | "walrus"),
        "o1k" => matches!(name, "commitlog" | "raft-engine" | "fjall" | "redb" | "rocksdb"),
        _ => true,
    }
}

/// Another order in each run, so that nobody always comes after the same one.
fn rotated(contenders: &[String], run: usize) -> impl Iterator<Item = &String> {
    let start = run * 3 % contenders.len().max(1);
    contenders.iter().cycle().skip(start).take(contenders.len())
}

fn remove(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
    std::thread::sleep(std::time::Duration::from_millis(50));
}

pub fn disk_bytes(dir: &Path) -> f64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0.0 };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => meta.blocks() as f64 * 512.0,
        Err(_) => 0.0,
    });
    bytes.sum()
}

/// The calls in a summary of strace that bring bytes to the device.
fn syncs(summary: &str) -> f64 {
    let lines = summary.lines().filter(|line| {
        line.ends_with(" fsync") || line.ends_with(" fdatasync") || line.ends_with(" msync")
    });
    lines.filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok()).sum()
}
