//! Every file call of scripted runs fails in turn, with each error that it can answer, before and
//! after its effect, once and from then on: no panic, no silent loss, the right error, reads go on,
//! and reopening recovers.
//!
//! `MSGLOG_SWEEP_STRIDE=1` tries every one of them; by default it is every seventh.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io;
use std::sync::Arc;

use common::auditor::Auditor;
use common::damaged::{flip, log_of};
use common::*;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore, ReadLimit};
use msglog_core::{Effect, Error, ErrorKind, Msn, Result};
use msglog_fs::io::{Call, Failure, Fault, FaultFs, SimFs};
use msglog_fs::{FsOptions, FsStore};

fn golden() -> FsOptions {
    let mut options = small(1024);
    options.checkpoint_bytes = 1024;
    options.open_files_max = 4;
    options
}

/// One run of a script: what fails in it, and the answers it got.
struct Run {
    fs: FaultFs,
    auditor: Auditor,
    fault: Option<Fault>,
    errors: u64,
}

impl Run {
    /// Judges an answer; `None` when the step failed.
    fn judge<T>(&mut self, step: &str, answer: Result<T>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                self.judge_error(step, &error);
                None
            }
        }
    }

    fn judge_error(&mut self, step: &str, error: &Error) {
        self.errors += 1;
        let fault = self.fault.unwrap_or_else(|| panic!("{step}: {error:?} without a fault"));
        assert!(!fault.failure.is_retried(), "{step}: {error:?} is not tried again");
        if error.kind() == ErrorKind::Poisoned {
            assert!(self.fs.hits() > 0, "{step}: {error:?} without an earlier failure");
            assert!(!error.is_transient());
            return;
        }
        let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        let cause = cause.unwrap_or_else(|| panic!("{step}: {error:?} names no cause"));
        assert!(cause.raw_os_error().is_some(), "{step}: {error:?} is not the failure");
        let expected = match fault.failure {
            Failure::Full | Failure::Quota | Failure::TooBig => ErrorKind::StorageFull,
            _ => ErrorKind::Unavailable,
        };
        assert_eq!(error.kind(), expected, "{step}: {error:?}");
        if error.effect() == Effect::Unknown && !step.starts_with("document") {
            assert!(!error.is_transient(), "{step}: {error:?}");
        }
    }

    /// Opens the partition, at the second attempt where the first one fails.
    async fn open(&mut self, store: &FsStore) -> Option<Arc<dyn PartitionStore>> {
        for _ in 0..2 {
            let opened = store.open(&name(), OpenOptions::or_create()).await;
            if let Some(partition) = self.judge("open partition", opened) {
                return Some(partition);
            }
        }
        None
    }

    /// Every kind of work on an open store; what fails is passed over.
    async fn work(&mut self, store: &FsStore, partition: &Arc<dyn PartitionStore>) {
        let sizes: [&[(u64, usize)]; 4] = [
            &[(1, 20)],
            &[(2, 200), (1, 300), (3, 100), (1, 300), (1, 200)],
            &[(1, 600)],
            &[(2, 90)],
        ];
        for (number, sizes) in sizes.into_iter().enumerate() {
            let answer = self.auditor.append(partition, sizes).await;
            self.judge("append", answer);
            if number < 3 {
                let answer = self.auditor.sync(partition).await;
                self.judge("sync", answer);
            }
        }
        for (key, value) in [("commits/a", 1), ("b", 2), ("commits/a", 3)] {
            let answer = self.auditor.save(store, key, value).await;
            self.judge("document save", answer);
        }
        let answer = self.auditor.discard(store, "b").await;
        self.judge("document discard", answer);
        let answer = self.auditor.trim(partition, 4).await;
        self.judge("trim", answer);
        let answer = partition.read(Msn::new(2), ReadLimit::bytes(300)).await;
        self.judge("read", answer);
        let end = partition.bounds().next_msn.get().saturating_sub(1);
        let answer = self.auditor.truncate(partition, end).await;
        self.judge("truncate", answer);
        for sizes in [[(1, 50)], [(1, 700)]] {
            let answer = self.auditor.append(partition, &sizes).await;
            self.judge("append", answer);
        }
        let answer = self.auditor.sync(partition).await;
        self.judge("sync", answer);
    }

    /// A reader in another process; what it sees was written.
    async fn follow(&mut self) {
        let store = FsStore::open_on(Arc::new(self.fs.clone()), "/store", reading(golden())).await;
        // Where the writer could not even begin there is nothing to read.
        let Ok(store) = store else { return };
        let Ok(partition) = store.open(&name(), OpenOptions::existing()).await else { return };
        for from in [0, 5] {
            if let Ok(batches) = partition.read(Msn::new(from), ReadLimit::bytes(1 << 20)).await {
                self.auditor.check_records(&batches);
            }
        }
    }

    /// Opens, works, closes, opens again, works, and lets everything drop.
    async fn script(&mut self) {
        for life in 0..2 {
            let store = FsStore::open_on(Arc::new(self.fs.clone()), "/store", golden()).await;
            let Some(store) = self.judge("open store", store) else { continue };
            let Some(partition) = self.open(&store).await else { continue };
            self.auditor.check_bounds(&partition);
            self.work(&store, &partition).await;
            self.follow().await;
            self.fs.heal();
            self.auditor.check_served(&partition).await;
            self.go_on(&partition).await;
            self.fs.resume();
            if life == 0 {
                let answer = store.close().await;
                if self.judge("close", answer).is_some() {
                    self.auditor.synced = partition.bounds().next_msn.get();
                }
            }
        }
    }

    /// Where nothing fails any more, a partition that is not poisoned takes appends.
    async fn go_on(&mut self, partition: &Arc<dyn PartitionStore>) {
        match self.auditor.append(partition, &[(1, 30)]).await {
            Ok(()) => self.auditor.sync(partition).await.unwrap(),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Poisoned, "{error:?} when nothing fails");
                assert!(self.errors > 0, "poisoned, and nobody was told");
            }
        }
    }
}

/// Runs a script on a copy of `disk`; answers the calls that it made and whether the fault was met.
async fn run(disk: &SimFs, auditor: &Auditor, fault: Option<Fault>) -> (Vec<Call>, u64) {
    let disk = disk.fork();
    let fs = FaultFs::new(disk.clone());
    if let Some(fault) = fault {
        fs.set_fault(fault);
    }
    let auditor = auditor.clone();
    let mut run = Run { fs, auditor, fault, errors: 0 };
    run.script().await;
    let (calls, hits) = (run.fs.calls(), run.fs.hits());
    for seed in 0..2 {
        let (disk, mut auditor) = (disk.fork(), run.auditor.clone());
        disk.crash(seed);
        recovers(&disk, &mut auditor).await;
    }
    // The process has ended, and the power goes only later: what was served must be there then.
    recovers(&disk, &mut run.auditor).await;
    disk.crash(0);
    recovers(&disk, &mut run.auditor).await;
    (calls, hits)
}

/// A store opened on this disk has kept every promise and takes appends.
async fn recovers(disk: &SimFs, auditor: &mut Auditor) {
    let (store, partition) = open_sim(disk, golden()).await.unwrap();
    auditor.check_recovered(&store, &partition).await;
    let (fork, mut later) = (disk.fork(), auditor.clone());
    auditor.append(&partition, &[(1, 30)]).await.unwrap();
    auditor.sync(&partition).await.unwrap();
    drop((store, partition));
    // What was recovered was served, and so must survive from then on.
    fork.crash(0);
    let (store, partition) = open_sim(&fork, golden()).await.unwrap();
    later.check_recovered(&store, &partition).await;
}

fn stride() -> usize {
    std::env::var("MSGLOG_SWEEP_STRIDE").map_or(7, |text| text.parse().unwrap())
}

/// Prints what was being tried when a test fails.
struct Trying(Fault, Call);

impl Drop for Trying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with {:?} in {:?}", self.0, self.1);
        }
    }
}

async fn sweep(what: &str, disk: &SimFs, auditor: &Auditor) {
    let (calls, _) = run(disk, auditor, None).await;
    let mut faults = Vec::new();
    for (at, call) in calls.iter().copied().enumerate() {
        for failure in call.failures().iter().copied() {
            for after in [false, true] {
                for sticky in [false, true] {
                    if !after || (call.has_effect() && failure != Failure::Short) {
                        faults.push((Fault { at, failure, after, sticky }, call));
                    }
                }
            }
        }
    }
    let mut tried = BTreeSet::new();
    let (mut count, mut met) = (0_u64, 0_u64);
    for (fault, call) in faults.iter().copied().step_by(stride()) {
        let _trying = Trying(fault, call);
        let (_, hits) = run(disk, auditor, Some(fault)).await;
        assert!(hits > 0, "the call of the fault is never made");
        (count, met) = (count + 1, met + hits);
        tried.insert((fault.at, format!("{:?}", fault.failure)));
    }
    let sites = faults.iter().map(|(fault, _)| (fault.at, format!("{:?}", fault.failure)));
    let sites: BTreeSet<_> = sites.collect();
    println!(
        "{what}: {} calls, {} of {} pairs of call and errno tried, {count} of {} faults, {met} \
         failed calls",
        calls.len(),
        tried.len(),
        sites.len(),
        faults.len(),
    );
}

#[tokio::test]
async fn any_call_of_a_fresh_store_may_fail() {
    let disk = SimFs::new();
    sweep("fresh store", &disk, &Auditor::default()).await;
}

#[tokio::test]
async fn any_call_of_a_recovery_that_cuts_may_fail() {
    let mut syncs = vec![true; 12];
    syncs.extend([false; 3]);
    let mut image = log_of(&syncs, 1024).await;
    let path = image.segments().last().unwrap().clone();
    let last = image.batches(&path).len();
    flip(&mut image, &path, last - 2);
    let disk = image.restore();
    disk.sync_everything();
    sweep("torn tail", &disk, &Auditor::of_synced(13)).await;
}

#[tokio::test]
async fn any_call_of_a_recovery_around_damage_may_fail() {
    let mut image = log_of(&[true; 14], 1024).await.without(&["checkpoint"]);
    let path = image.segments()[1].clone();
    let lost = image.batches(&path)[0].1.clone();
    flip(&mut image, &path, 0);
    let disk = image.restore();
    disk.sync_everything();
    let mut auditor = Auditor::of_synced(14);
    auditor.hole = Some(lost);
    sweep("damage", &disk, &auditor).await;
}
