//! The way out: groups leave as commit objects, several at a time, and are acked strictly in order.
//!
//! One task decides; every PUT is a task of its own, so that no caller who goes away tears one.

use std::sync::Arc;
use std::time::Duration;

use msglog_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::commit::Commit;
use crate::core::Core;
use crate::options::PIPELINE_DEPTH_MAX;
use crate::propose::{self, Proposer, fenced};
use crate::recover::{head_of, list_after};
use crate::state::{Slot, State};
use crate::stopwatch::Moment;

/// What a task of the pipeline came back with.
#[derive(Debug)]
enum Report {
    /// A group stands at this seq.
    Put(u64, Result<u64>),
    /// Nobody had taken over at this moment.
    Checked(Moment, Result<()>),
}

/// Runs until the store is closed and nothing is under way, or a write failed.
pub(crate) async fn run(core: Arc<Core>) {
    let _guard = FailAll(&core);
    let (sender, mut reports) = unbounded_channel();
    loop {
        let next = launch(&core, &sender);
        if core.is_finished() {
            return;
        }
        tokio::select! {
            Some(report) = reports.recv() => land(&core, report, &sender),
            () = core.wake.notified() => {}
            () = until(next) => {}
        }
        while let Some(report) = ready(&mut reports) {
            land(&core, report, &sender);
        }
    }
}

fn ready(reports: &mut UnboundedReceiver<Report>) -> Option<Report> {
    reports.try_recv().ok()
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Sends what may be sent now; answers when there may be more without anything else happening.
fn launch(core: &Arc<Core>, sender: &UnboundedSender<Report>) -> Option<Instant> {
    let mut state = core.lock();
    if state.failure.is_some() || state.gather.is_empty() {
        return None;
    }
    match may_send(&state, core) {
        Decision::Wait => return None,
        Decision::WaitUntil(at) => return Some(at),
        Decision::Send => {}
    }
    let gather = std::mem::take(&mut state.gather);
    state.sent += 1;
    let (group, seq) = (state.sent, state.next_seq);
    state.next_seq += 1;
    state.sent_at = Some(Instant::now());
    let proposer = Proposer { epoch: state.epoch, serial_until: state.serial_until };
    check_in_time(core, &mut state, sender);
    drop(state);
    let gathered_bytes = gather.bytes;
    let batches: Vec<_> = gather.batches.into_iter().collect();
    let commit = Arc::new(Commit::new(&batches, gather.events));
    let sent_at = core.stopwatch.now();
    let slot = Slot { group, commit: commit.clone(), seq, sent_at, gathered_bytes, landed: false };
    core.lock().window.push_back(slot);
    let (bucket, sender) = (core.bucket.clone(), sender.clone());
    tokio::spawn(async move {
        let outcome = propose::commit(&bucket, &commit, seq, proposer).await;
        // The store may be gone; then nobody waits.
        let _ = sender.send(Report::Put(group, outcome));
    });
    None
}

#[derive(Debug)]
enum Decision {
    Send,
    Wait,
    WaitUntil(Instant),
}

fn may_send(state: &State, core: &Core) -> Decision {
    let options = &core.options;
    let full = state.gather.bytes >= options.flush_bytes;
    let unasked = state.gather.since.map(|since| since + options.flush_interval);
    let unasked_due = unasked.filter(|at| *at <= Instant::now());
    let wanted = state.gather.wanted_since.or(full.then(Instant::now)).or(unasked_due);
    let Some(since) = wanted else {
        return unasked.map_or(Decision::Wait, Decision::WaitUntil);
    };
    if let (Some(rate), Some(sent_at)) = (options.commits_per_second_max, state.sent_at) {
        let at = sent_at + Duration::from_secs_f64(1.0 / rate);
        if at > Instant::now() {
            return Decision::WaitUntil(at);
        }
    }
    let Some(oldest) = state.window.front() else { return Decision::Send };
    // Where a dead object may stand, a commit may have to move: nothing may be behind it.
    let serial = oldest.seq <= state.serial_until || state.next_seq <= state.serial_until;
    if serial || state.window.len() >= options.pipeline_depth {
        return Decision::Wait;
    }
    let at = since + options.linger;
    if full || at <= Instant::now() { Decision::Send } else { Decision::WaitUntil(at) }
}

/// Proves the ownership anew before an ack would be too late to be believed.
fn check_in_time(core: &Arc<Core>, state: &mut State, sender: &UnboundedSender<Report>) {
    if state.checking || core.stopwatch.since(state.proof) <= core.options.stall_limit / 2 {
        return;
    }
    state.checking = true;
    let (core, sender) = (core.clone(), sender.clone());
    tokio::spawn(async move {
        let started = core.stopwatch.now();
        let outcome = check_ownership(&core).await;
        // The store may be gone; then nobody waits.
        let _ = sender.send(Report::Checked(started, outcome));
    });
}

/// Looks whether any commit object tells of another writer.
///
/// # Errors
///
/// `Fenced` when one does, `Unavailable` when nobody answers.
pub(crate) async fn check_ownership(core: &Core) -> Result<()> {
    let (durable, epoch) = {
        let state = core.lock();
        (state.catalogue.seq, state.epoch)
    };
    let found = list_after(&core.bucket, durable).await?;
    // What is not the own pipeline is a successor's: its first objects tell, and its newest one.
    let newest = found.last().into_iter();
    let suspects = found.iter().take(2 * PIPELINE_DEPTH_MAX).chain(newest);
    for (seq, meta) in suspects {
        let Some((header, _)) = head_of(&core.bucket, &core.cache, *seq, meta.size).await? else {
            continue;
        };
        if header.epoch > epoch {
            return Err(fenced(epoch, header.epoch));
        }
    }
    Ok(())
}

/// Takes a report in, and acks what it completes.
fn land(core: &Arc<Core>, report: Report, sender: &UnboundedSender<Report>) {
    let mut state = core.lock();
    match report {
        Report::Put(group, Ok(seq)) => {
            if let Some(slot) = state.window.iter_mut().find(|slot| slot.group == group) {
                slot.seq = seq;
                slot.landed = true;
                state.next_seq = state.next_seq.max(seq + 1);
            }
        }
        Report::Checked(started, Ok(())) => {
            state.checking = false;
            state.proof = state.proof.later(started);
        }
        // Nobody answered; it matters only when an ack waits for it.
        Report::Checked(_, Err(error)) if error.is_transient() && !ack_waits(core, &state) => {
            state.checking = false;
        }
        Report::Put(_, Err(error)) | Report::Checked(_, Err(error)) => {
            return core.fail(&mut state, error.with_unknown_effect());
        }
    }
    let mut acked = None;
    while state.window.front().is_some_and(|slot| slot.landed) {
        if core.stopwatch.since(state.proof) > core.options.stall_limit {
            check_in_time(core, &mut state, sender);
            break;
        }
        let Some(slot) = state.window.pop_front() else { break };
        if let Err(error) = state.settle(&slot, core.options.tail_bytes) {
            return core.fail(&mut state, error.with_unknown_effect());
        }
        state.proof = state.proof.later(slot.sent_at);
        acked = Some(slot.group);
    }
    let due = state.commits_since_checkpoint >= core.options.checkpoint_commits;
    drop(state);
    if let Some(acked) = acked {
        core.progress.send_modify(|progress| progress.acked = acked);
    }
    if due {
        core.maintenance_due.notify_one();
    }
}

/// Whether the oldest group is stored, and cannot be acked without a proof of ownership.
fn ack_waits(core: &Core, state: &State) -> bool {
    state.window.front().is_some_and(|slot| slot.landed)
        && core.stopwatch.since(state.proof) > core.options.stall_limit
}

/// Answers everybody who waits when the pipeline ends, however it ends.
struct FailAll<'a>(&'a Core);

impl Drop for FailAll<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.failure.is_none() {
            let why = "the store was let go";
            let error = Error::new(ErrorKind::Closed, why).with_unknown_effect();
            self.0.fail(&mut state, error);
        }
    }
}
