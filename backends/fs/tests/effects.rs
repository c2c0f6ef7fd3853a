//! What an error says of its effect is true: after `NotApplied` nothing has changed, whichever file
//! call has failed, before or after its effect.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::sync::Arc;

use common::damaged::{flip, log_of};
use common::*;
use msglog_core::store::{Bounds, MessageStore, OpenOptions, PartitionStore};
use msglog_core::{Effect, Error, Msn, Result};
use msglog_fs::FsStore;
use msglog_fs::io::{Call, Failure, Fault, FaultFs, SimFs};

/// A store of three segments, the last of them nearly full, on a disk whose calls can fail.
async fn store() -> (FaultFs, SimFs, FsStore, Arc<dyn PartitionStore>) {
    let disk = SimFs::new();
    let fs = FaultFs::new(disk.clone());
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", small(1024)).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    for msn in 0..9 {
        partition.append(vec![batch_of(msn, 1, 200)]).await.unwrap();
    }
    partition.sync().await.unwrap();
    (fs, disk, store, partition)
}

/// Three batches, of which each needs a segment of its own.
async fn append_three(partition: Arc<dyn PartitionStore>) -> Result<()> {
    let next = partition.bounds().next_msn.get();
    partition.append((next..next + 3).map(|msn| batch_of(msn, 1, 800)).collect()).await
}

async fn trim(partition: Arc<dyn PartitionStore>) -> Result<()> {
    partition.trim(Msn::new(8)).await.map(drop)
}

/// Every call that `act` makes fails in turn; answers how many errors said `NotApplied`.
async fn sweep<F: Future<Output = Result<()>>>(act: impl Fn(Arc<dyn PartitionStore>) -> F) -> u64 {
    let (fs, _disk, _store, partition) = store().await;
    fs.set_fault(Fault { at: usize::MAX, failure: Failure::Io, after: false, sticky: false });
    act(partition).await.unwrap();
    let (calls, mut refused) = (fs.calls(), 0);
    for (at, call) in calls.iter().enumerate() {
        for failure in call.failures().iter().copied() {
            for after in [false, true] {
                let (fs, disk, store, partition) = store().await;
                let before = partition.bounds();
                fs.set_fault(Fault { at, failure, after, sticky: false });
                let answer = act(Arc::clone(&partition)).await;
                let what = format!("{call:?} {at} {failure:?} after {after}: {answer:?}");
                drop((store, partition));
                let (_store, partition) = open_sim(&disk, small(1024)).await.unwrap();
                if let Err(error) = answer {
                    refused += check(&error, before, partition.bounds(), &what);
                }
            }
        }
    }
    refused
}

/// After `NotApplied` a store that is opened again is as it was.
fn check(error: &Error, before: Bounds, after: Bounds, what: &str) -> u64 {
    if error.effect() != Effect::NotApplied {
        return 0;
    }
    assert_eq!((after.first_msn, after.next_msn), (before.first_msn, before.next_msn), "{what}");
    1
}

#[tokio::test]
async fn refused_append_is_not_there_after_reopening() {
    assert!(sweep(append_three).await > 0);
}

#[tokio::test]
async fn refused_trim_has_trimmed_nothing_after_reopening() {
    assert!(sweep(trim).await > 0);
}

#[tokio::test]
async fn append_that_runs_out_of_files_in_its_middle_changes_nothing_and_succeeds_later() {
    let (fs, _disk, _store, partition) = store().await;
    fs.set_fault(Fault { at: usize::MAX, failure: Failure::Io, after: false, sticky: false });
    append_three(partition).await.unwrap();
    let creates: Vec<_> =
        fs.calls().iter().enumerate().filter(|call| *call.1 == Call::Create).map(|c| c.0).collect();
    let mut refused = 0;
    for at in creates {
        let (fs, disk, store, partition) = store().await;
        let before = partition.bounds();
        fs.set_fault(Fault { at, failure: Failure::OpenFiles, after: false, sticky: true });
        // Files of the housekeeping behind the append are not missed.
        let Err(error) = append_three(Arc::clone(&partition)).await else { continue };
        refused += 1;
        assert_eq!(error.effect(), Effect::NotApplied, "create {at}: {error:?}");
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(partition.bounds(), before);
        fs.heal();
        append_three(Arc::clone(&partition)).await.unwrap();
        partition.sync().await.unwrap();
        assert_eq!(msns(&partition).await, (0..12).collect::<Vec<_>>());
        drop((store, partition));
        disk.crash(7);
        let (_store, partition) = open_sim(&disk, small(1024)).await.unwrap();
        assert_eq!(msns(&partition).await, (0..12).collect::<Vec<_>>());
    }
    assert!(refused > 1, "the append creates more than one segment");
}

#[tokio::test]
async fn close_after_a_crash_removes_the_doubt_about_the_last_group() {
    // Killed: the last group is there and nothing proves that it was synced.
    let image = log_of(&[true; 3], 1024).await;
    let mut doubted = image.clone();
    let path = image.segments()[0].clone();
    flip(&mut doubted, &path, 2);
    let (_store, partition) = open_sim(&doubted.restore(), small(1024)).await.unwrap();
    assert_eq!(partition.bounds().next_msn, Msn::new(2), "taken for a torn tail");
    // Opened and closed cleanly it was synced for certain: now the same damage is damage.
    let fs = image.restore();
    let (store, _partition) = open_sim(&fs, small(1024)).await.unwrap();
    store.close().await.unwrap();
    let mut closed = Image::of(&fs);
    flip(&mut closed, &path, 2);
    let mut options = small(1024);
    options.full_scan = true;
    let (_store, partition) = open_sim(&closed.restore(), options).await.unwrap();
    assert_eq!(partition.bounds().next_msn, Msn::new(3));
    assert_eq!(partition.holes(), [Msn::new(2)..Msn::new(3)]);
}
