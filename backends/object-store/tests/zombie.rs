//! Two processes: the older is stopped, the newer takes over, the older is woken.
//!
//! Rounds: `MSGLOG_ZOMBIE_ROUNDS` (3).

#![expect(clippy::unwrap_used, reason = "a test: its helpers fail by panic")]

mod common;
#[path = "services/mod.rs"]
mod services;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use common::{append, commit};
use msglog_core::store::{Access, MessageStore, OpenOptions, PartitionStore};

const URL: &str = "MSGLOG_ZOMBIE_URL";

async fn open(url: &str) -> (Arc<dyn MessageStore>, Arc<dyn PartitionStore>) {
    let store = services::open(url, Access::Write).await.unwrap();
    let name = "orders-0".parse().unwrap();
    let partition = store.open(&name, OpenOptions::or_create()).await.unwrap();
    (store, partition)
}

/// The older writer, when this binary is started as one: says what is acked, and how it ended.
#[tokio::test]
#[ignore = "the other process of the tests below"]
async fn older_writer() {
    let Ok(url) = std::env::var(URL) else { return };
    let (_store, partition) = open(&url).await;
    let mut out = std::io::stdout();
    for number in 0_u64.. {
        let appended = append(&partition, &format!("old{number}")).await;
        let ended = match appended {
            Err(error) => Some(error),
            Ok(_) if number % 3 != 0 => None,
            Ok(_) => match partition.sync().await {
                Err(error) => Some(error),
                Ok(durable) => {
                    writeln!(out, "acked {durable}").unwrap();
                    None
                }
            },
        };
        if let Some(error) = ended {
            writeln!(out, "ended {:?}", error.kind()).unwrap();
            return;
        }
    }
}

struct Older {
    process: Child,
    lines: BufReader<ChildStdout>,
    acked: u64,
}

impl Older {
    fn start(url: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "older_writer", "--ignored", "--nocapture"])
            .env(URL, url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines, acked: 0 }
    }

    /// The next thing that it says: `None` after an ack, its end otherwise.
    fn next(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            assert!(read > 0, "the older writer ended without a word");
            if let Some((_, acked)) = line.split_once("acked ") {
                self.acked = acked.trim().parse().unwrap();
                return None;
            }
            if let Some((_, kind)) = line.split_once("ended ") {
                return Some(kind.trim().to_owned());
            }
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }
}

impl Drop for Older {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn round(url: &str, acks: usize) {
    let mut older = Older::start(url);
    for _ in 0..acks {
        assert_eq!(older.next(), None, "before anybody took over");
    }
    older.signal("-STOP");
    let (newer, partition) = open(url).await;
    let recovered = partition.bounds().next_msn;
    commit(&partition, "new0").await.unwrap();
    older.signal("-CONT");
    for number in 1..4 {
        commit(&partition, &format!("new{number}")).await.unwrap();
    }
    let end = loop {
        if let Some(end) = older.next() {
            break end;
        }
    };
    assert_eq!(end, "Fenced", "{url}");
    assert!(older.acked <= recovered.get(), "acked {} of {recovered}", older.acked);
    commit(&partition, "new4").await.unwrap();
    newer.close().await.unwrap();
    let (_store, partition) = open(url).await;
    let texts = common::read_all(&partition).await;
    let old = (0..recovered.get()).map(|number| format!("old{number}"));
    let new = (0..5).map(|number| format!("new{number}"));
    assert_eq!(texts, old.chain(new).collect::<Vec<_>>());
}

async fn rounds(base: &str) {
    let rounds = std::env::var("MSGLOG_ZOMBIE_ROUNDS").map_or(3, |rounds| rounds.parse().unwrap());
    for number in 0..rounds {
        let url = services::below(base, &services::unique("zombie"));
        round(&url, 1 + number % 7).await;
    }
}

#[tokio::test]
async fn woken_writer_of_a_folder_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    rounds(&format!("file+object://{}", folder.path().display())).await;
}

#[cfg(feature = "aws")]
#[tokio::test]
async fn woken_writer_of_s3_is_fenced() {
    let Some(url) = services::url("MSGLOG_TEST_S3_URL") else { return };
    rounds(&url).await;
}

#[cfg(feature = "azure")]
#[tokio::test]
async fn woken_writer_of_azure_is_fenced() {
    let Some(url) = services::url("MSGLOG_TEST_AZURE_URL") else { return };
    rounds(&url).await;
}
