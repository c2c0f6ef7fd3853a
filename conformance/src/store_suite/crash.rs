//! A writer killed at any moment: what it acked is there, whole, in order, and nothing else.

use std::time::Duration;

use msglog_core::Msn;
use msglog_core::store::Survives;

use crate::case::{MULTI, Need, cases};
use crate::cx::{Opened, PARTITION, create, key, read_all};
use crate::process::{Child, Job, count_in, large_bytes, said};
use crate::sample::{Dice, check_prefix, check_same};
use crate::{CaseResult, Cx, ensure, ensure_eq};

const SYNCED: Need = Need::SyncSurvives(Survives::Os);

cases! { "crash":
    killed_writer_keeps_what_append_acked
        [Need::AppendSurvives(Survives::Os), Need::Address] { runtimes: MULTI, seconds_max: 60 };
    killed_writer_keeps_what_sync_acked
        [SYNCED, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    killed_writer_leaves_whole_documents
        [SYNCED, Need::Address] { runtimes: MULTI, seconds_max: 60 };
    killed_writer_keeps_its_trims
        [SYNCED, Need::Address] { runtimes: MULTI, seconds_max: 60 };
}

/// How many times a writer is killed unless something else is asked for.
pub(crate) const ROUNDS: u64 = 10;

/// How many times a writer is killed: [`ROUNDS`], or what `MSGLOG_CONFORMANCE_CRASH_ROUNDS` says.
pub(crate) fn rounds() -> u64 {
    let asked = std::env::var("MSGLOG_CONFORMANCE_CRASH_ROUNDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// Starts a writer, kills it at a moment that the dice choose, and answers all that it said.
async fn start_and_kill(cx: &Cx, job: Job, dice: &mut Dice) -> CaseResult<Vec<String>> {
    let mut child = Child::start(cx, job)?;
    let mut lines = vec![child.line().await?];
    if dice.below(4) > 0 {
        tokio::time::sleep(Duration::from_micros(dice.below(40_000))).await;
    }
    lines.extend(child.kill().await?);
    Ok(lines)
}

/// The last number that was said after `word`.
fn last_said(lines: &[String], word: &str) -> u64 {
    lines.iter().filter_map(|line| said(line, word)).next_back().unwrap_or(0)
}

async fn reopened(cx: &Cx) -> CaseResult<Opened> {
    let store = cx.open_once_free().await?;
    let partition = create(&store, PARTITION).await?;
    Ok(Opened { store, partition })
}

async fn check_recovered(cx: &Cx, acked: Msn) -> CaseResult {
    let opened = reopened(cx).await?;
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    check_prefix(&found, &cx.samples().run(Msn::ZERO, found.len())?, "recovered after kill -9")?;
    let end = found.last().map_or(Msn::ZERO, |batch| batch.next_msn());
    ensure!(end >= acked, "acked up to {acked}, recovered up to {end}");
    ensure_eq!(opened.partition.bounds().next_msn, end, "next_msn after recovery");
    opened.append_each(&cx.samples().run(end, 1)?).await
}

/// With `append_survives` of `Os`, every append that returned is there after `kill -9`.
pub async fn killed_writer_keeps_what_append_acked(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..rounds() {
        let job = Job::Append { sync_every: 50, pause_micros: 50 };
        let lines = start_and_kill(&cx, job, &mut dice).await?;
        check_recovered(&cx, Msn::new(last_said(&lines, "A"))).await?;
    }
    Ok(())
}

/// Every sync that returned holds after `kill -9`, and what else is there continues it.
pub async fn killed_writer_keeps_what_sync_acked(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..rounds() {
        let job = Job::Append { sync_every: 3, pause_micros: 50 };
        let lines = start_and_kill(&cx, job, &mut dice).await?;
        check_recovered(&cx, Msn::new(last_said(&lines, "S"))).await?;
    }
    Ok(())
}

/// A document saved over and over is whole after `kill -9`, and no older than the last ack.
pub async fn killed_writer_leaves_whole_documents(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..rounds() {
        let lines = start_and_kill(&cx, Job::Save, &mut dice).await?;
        let acked = last_said(&lines, "D");
        let store = cx.open_once_free().await?;
        let found = store.load(&key("commits/counter")?).await?;
        let count = match found {
            Some(document) => count_in(&document.value)?,
            None => 0,
        };
        ensure!(count >= acked, "save {acked} was acked, {count} is there");
        ensure!(count <= acked + 1, "save {acked} was the last, {count} is there");
        store.close().await?;
    }
    Ok(())
}

/// After `kill -9` no trim that returned is undone, and nothing after it is missing, small or large.
pub async fn killed_writer_keeps_its_trims(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..rounds() {
        let lines = start_and_kill(&cx, Job::AppendAndTrim, &mut dice).await?;
        let (synced, trimmed) = (last_said(&lines, "S"), last_said(&lines, "T"));
        let opened = reopened(&cx).await?;
        let bounds = opened.partition.bounds();
        let (first, next) = (bounds.first_msn, bounds.next_msn);
        ensure!(first >= Msn::new(trimmed), "trimmed to {trimmed}, but {first} is there");
        ensure!(next >= Msn::new(synced), "synced up to {synced}, recovered up to {next}");
        let found = read_all(&opened.partition, Msn::ZERO).await?;
        let samples = cx.samples().with_large(large_bytes(cx.capabilities()));
        check_same(&found, &samples.run(first, found.len())?, "recovered after kill -9")?;
        let bytes: u64 = found.iter().map(|batch| batch.encoded_len() as u64).sum();
        let usage = opened.partition.usage().await?;
        ensure!(usage.bytes >= bytes, "{bytes} bytes are there, usage says {}", usage.bytes);
        let end = found.last().map_or(first, |batch| batch.next_msn());
        ensure_eq!(end, next, "the end of what is there");
        opened.store.close().await?;
    }
    Ok(())
}
