//! A writing process killed at any moment: what was acked is a prefix of what is recovered.
//!
//! `MSGLOG_KILL_ROUNDS` says how often (default 10).

#![allow(clippy::unwrap_used, reason = "helpers of tests end a test by panicking")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{batch, below, open_writer, partition, read_all, run, scramble};
use msglog_core::{ErrorKind, Msn, RecordBatch};

const FOLDER: &str = "MSGLOG_TEST_FOLDER";

/// The process that is killed: appends, syncs, says how far that was; trims what is far behind.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the other tests as a process of its own"]
async fn writing_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = open_writer(Path::new(&folder)).await;
    let there = partition(&store, "orders-0").await;
    for step in 0_u64.. {
        let next = there.bounds().next_msn;
        there.append(run(next, 1 + below(4, scramble(next.get())))).await.unwrap();
        if step % 3 != 0 {
            println!("acked {} {}.", there.bounds().first_msn, there.sync().await.unwrap());
        }
        if step % 40 == 39 {
            let before = Msn::new(there.bounds().next_msn.get().saturating_sub(200));
            there.trim(before).await.unwrap();
        }
    }
}

fn command(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env(FOLDER, folder);
    command.stdout(Stdio::piped());
    command
}

/// Lets a writing process run for a while after its first ack, or from its start on, kills it, and
/// answers what it acked last.
fn write_and_kill(folder: &Path, patience: Duration, wait_for_ack: bool) -> Option<(Msn, Msn)> {
    let mut child = command("writing_process", folder).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acks = lines.map_while(Result::ok).filter_map(|line| ack_in(&line));
    let first = if wait_for_ack { Some(acks.next().unwrap()) } else { None };
    let killer = std::thread::spawn(move || {
        std::thread::sleep(patience);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let acked = acks.last().or(first);
    killer.join().unwrap();
    acked
}

/// The first and the next MSN in what a writing process says; `None` in a line that is cut.
fn ack_in(line: &str) -> Option<(Msn, Msn)> {
    let (_, rest) = line.split_once("acked ")?;
    let (first, rest) = rest.split_once(' ')?;
    let next = rest.strip_suffix('.')?;
    Some((first.parse().unwrap(), next.parse().unwrap()))
}

fn rounds() -> u64 {
    std::env::var("MSGLOG_KILL_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_writer_loses_nothing_acked_and_leaves_no_torn_batch() {
    let folder = tempfile::tempdir().unwrap();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (mut acked, mut first, mut rounds_acked) = (Msn::ZERO, Msn::ZERO, 0);
    let started = Instant::now();
    for round in 0..rounds() {
        let dice = scramble(seed ^ round);
        let patience = Duration::from_millis(dice % 150);
        let killed = write_and_kill(folder.path(), patience, !dice.is_multiple_of(8));
        if let Some((acked_first, acked_next)) = killed {
            (first, acked) = (acked_first.max(first), acked_next.max(acked));
            rounds_acked += 1;
        }
        let store = open_writer(folder.path()).await;
        let there = partition(&store, "orders-0").await;
        let bounds = there.bounds();
        assert!(bounds.next_msn >= acked, "round {round}: {bounds:?}, acked {acked}");
        assert!(bounds.first_msn >= first, "round {round}: {bounds:?}, trimmed to {first}");
        let found = read_all(&there).await;
        let mut next = bounds.first_msn;
        for found in &found {
            assert_eq!(found, &batch(next), "round {round}, MSN {next}");
            next = found.next_msn();
        }
        assert_eq!(next, bounds.next_msn, "round {round}");
        let bytes: u64 = found.iter().map(|batch| batch.encoded_len() as u64).sum();
        assert_eq!(there.usage().await.unwrap().bytes, bytes, "round {round}");
        store.close().await.unwrap();
    }
    println!("{rounds_acked} rounds acked, up to MSN {acked}, in {:?}", started.elapsed());
    assert!(rounds_acked > 0 || rounds() == 0, "no round came so far as to ack anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn writer_in_another_process_is_locked_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_writer(folder.path()).await;
    let there = partition(&store, "orders-0").await;
    let output = command("one_writer_more", folder.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("kind: Locked"), "{text}");
    there.append(vec![batch(Msn::ZERO)]).await.unwrap();
    let last = read_all(&there).await.last().map(RecordBatch::next_msn);
    assert_eq!(last, Some(there.bounds().next_msn));
}

#[tokio::test]
#[ignore = "started by another test as a process of its own"]
async fn one_writer_more() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let error = common::open(Path::new(&folder), msglog_core::store::Access::Write).await;
    println!("kind: {:?}", error.map(drop).map_err(|error| error.kind()).unwrap_err());
    assert_eq!(ErrorKind::Locked.as_str(), "locked");
}
