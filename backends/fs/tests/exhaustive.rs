//! Every workload of a few calls, the power cut at every change that its last call makes, and every
//! subset of what was not synced: each resulting disk recovers to what was promised.
//!
//! `MSGLOG_OPS=3` tries workloads of up to three calls; by default it is two.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::sync::Arc;

use common::auditor::Auditor;
use common::*;
use msglog_core::Result;
use msglog_core::store::{MessageStore, PartitionStore};
use msglog_fs::io::SimFs;
use msglog_fs::{FsOptions, FsStore};

/// The most disks that one power cut is tried with; where there are more, the rest is counted.
const STATES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
enum Op {
    Append,
    AppendAndRoll,
    Sync,
    Trim,
    TrimAll,
    Truncate,
    Replace,
    ReplaceEnd,
    Save,
    Discard,
    Reopen,
}

const OPS: [Op; 11] = [
    Op::Append,
    Op::AppendAndRoll,
    Op::Sync,
    Op::Trim,
    Op::TrimAll,
    Op::Truncate,
    Op::Replace,
    Op::ReplaceEnd,
    Op::Save,
    Op::Discard,
    Op::Reopen,
];

fn tiny() -> FsOptions {
    let mut options = small(1024);
    options.checkpoint_bytes = 1024;
    options
}

struct World {
    disk: SimFs,
    auditor: Auditor,
    open: Option<(FsStore, Arc<dyn PartitionStore>)>,
}

impl World {
    async fn reopen(&mut self) -> Result<()> {
        if let Some((store, partition)) = self.open.take() {
            store.close().await?;
            self.auditor.synced = partition.bounds().next_msn.get();
        }
        let opened = open_sim(&self.disk, tiny()).await?;
        self.auditor.check_bounds(&opened.1);
        self.open = Some(opened);
        Ok(())
    }

    async fn apply(&mut self, op: Op) -> Result<()> {
        if let Op::Reopen = op {
            return self.reopen().await;
        }
        let Some((store, partition)) = &self.open else { return Ok(()) };
        let bounds = partition.bounds();
        let (first, end) = (bounds.first_msn.get(), bounds.next_msn.get());
        match op {
            Op::Append => self.auditor.append(partition, &[(1, 150)]).await,
            Op::AppendAndRoll => self.auditor.append(partition, &[(1, 350), (1, 300)]).await,
            Op::Sync => self.auditor.sync(partition).await,
            Op::Trim => self.auditor.trim(partition, end / 2).await,
            Op::TrimAll => self.auditor.trim(partition, end).await,
            Op::Truncate => self.auditor.truncate(partition, end.saturating_sub(1)).await,
            // The first leaves a record behind what it replaces, the second whole segments in front.
            Op::Replace => self.auditor.thin(partition, first..end.max(first + 1) - 1).await,
            Op::ReplaceEnd => {
                self.auditor.thin(partition, first.max(end.saturating_sub(2))..end).await
            }
            Op::Save => self.auditor.save(store, "a", end).await,
            Op::Discard => self.auditor.discard(store, "a").await,
            Op::Reopen => Ok(()),
        }
    }
}

/// A store with a few records, all durable; the first segment is nearly full.
async fn base() -> (SimFs, Auditor) {
    let disk = SimFs::new();
    let mut world = World { disk: disk.clone(), auditor: Auditor::default(), open: None };
    world.reopen().await.unwrap();
    for op in [Op::Append, Op::AppendAndRoll, Op::Sync, Op::Save] {
        world.apply(op).await.unwrap();
    }
    let auditor = world.auditor.clone();
    drop(world);
    disk.sync_everything();
    (disk, auditor)
}

/// Every disk that a power cut can leave, one after another.
struct Crashes<'a> {
    disk: &'a SimFs,
    /// The next choice at each place, and how many there are.
    choices: Option<Vec<(usize, usize)>>,
}

impl Crashes<'_> {
    fn next(&mut self) -> Option<SimFs> {
        let mut choices = self.choices.take()?;
        let fork = self.disk.fork();
        let mut at = 0;
        fork.crash_choosing(|newest| {
            if at == choices.len() {
                choices.push((0, newest));
            }
            let choice = choices.get(at).map_or(0, |(choice, _)| *choice);
            at += 1;
            choice
        });
        // As on an odometer the last place that can go on does.
        while let Some((choice, newest)) = choices.pop() {
            if choice < newest {
                choices.push((choice + 1, newest));
                self.choices = Some(choices);
                break;
            }
        }
        Some(fork)
    }
}

#[derive(Debug, Default)]
struct Count {
    workloads: u64,
    cuts: u64,
    states: u64,
    cut_short: u64,
}

/// Runs a workload up to every change of its last call; every disk that this leaves recovers.
async fn try_all(base: &(SimFs, Auditor), ops: &[Op], count: &mut Count) {
    let Some((last, before)) = ops.split_last() else { return };
    count.workloads += 1;
    for cut in 0.. {
        let disk = base.0.fork();
        let mut world = World { disk: disk.clone(), auditor: base.1.clone(), open: None };
        world.reopen().await.unwrap();
        for op in before {
            world.apply(*op).await.unwrap();
        }
        disk.cut_power_after(cut);
        let done = world.apply(*last).await.is_ok();
        let auditor = world.auditor.clone();
        drop(world);
        count.cuts += 1;
        check_all(&disk, &auditor, (ops, cut), count).await;
        if done {
            break;
        }
    }
}

async fn check_all(disk: &SimFs, auditor: &Auditor, case: (&[Op], u64), count: &mut Count) {
    let mut crashes = Crashes { disk, choices: Some(Vec::new()) };
    let mut states = 0;
    while let Some(crashed) = crashes.next() {
        let _case = Case(case.0, case.1, states);
        let mut auditor = auditor.clone();
        let (store, partition) = open_sim(&crashed, tiny()).await.unwrap();
        auditor.check_recovered(&store, &partition).await;
        auditor.append(&partition, &[(1, 20)]).await.unwrap();
        states += 1;
        if states == STATES_MAX {
            count.cut_short += 1;
            break;
        }
    }
    count.states += states as u64;
}

/// Names the case when its test fails.
struct Case<'a>(&'a [Op], u64, usize);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "failed with {:?}, power cut after {} changes, disk {}",
                self.0, self.1, self.2
            );
        }
    }
}

#[tokio::test]
async fn every_small_workload_recovers_from_every_disk_that_a_power_cut_can_leave() {
    let depth: usize = std::env::var("MSGLOG_OPS").map_or(2, |text| text.parse().unwrap());
    let base = base().await;
    let mut count = Count::default();
    let mut workloads: Vec<Vec<Op>> = vec![Vec::new()];
    for _ in 0..depth {
        let longer = |ops: &Vec<Op>| OPS.map(|op| [ops.clone(), vec![op]].concat());
        workloads = workloads.iter().flat_map(longer).collect();
        for ops in &workloads {
            try_all(&base, ops, &mut count).await;
        }
    }
    println!("up to {depth} calls: {count:?}");
}
