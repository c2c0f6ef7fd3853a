//! Power cuts, failed syncs and a full disk, on the simulated disk.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use common::*;
use msglog_core::store::{MessageStore, OpenOptions, ReadLimit};
use msglog_core::{Effect, ErrorKind, Msn};
use msglog_fs::io::{Failure, Fault, FaultFs, FileSystem, SimFs};
use msglog_fs::{CHECKPOINT_BYTES_MIN, FsStore};

/// A seeded sequence of choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What must and may be there after a crash.
#[derive(Clone, Copy, Debug, Default)]
struct Promise {
    /// Everything below was synced.
    synced: u64,
    /// Everything below was handed to an append.
    attempted: u64,
    /// Nothing below this need be there: it was handed to a trim.
    trimmed: u64,
}

/// Appends, syncs, trims and closes at random until the power goes.
async fn work(fs: &SimFs, dice: &mut Dice, background: bool, promise: &mut Promise) -> Option<()> {
    let mut options = small(2048);
    options.background = background;
    options.checkpoint_bytes = 4096;
    let (store, partition) = open_sim(fs, options).await.ok()?;
    check(fs, &partition, promise).await?;
    for _ in 0..dice.roll(60) {
        let next = partition.bounds().next_msn.get();
        match dice.roll(16) {
            0 => {
                let before = dice.roll(next + 1);
                promise.trimmed = promise.trimmed.max(before);
                partition.trim(Msn::new(before)).await.ok()?;
            }
            1 => {
                let from = dice.roll(next + 1);
                promise.synced = promise.synced.min(from.saturating_sub(3));
                promise.synced = partition.truncate(Msn::new(from)).await.ok()?.get();
            }
            2..6 => promise.synced = partition.sync().await.ok()?.get(),
            _ => {
                let sizes: Vec<_> = (0..1 + dice.roll(4)).map(|_| 1 + dice.roll(3)).collect();
                let mut base = next;
                let mut batches = Vec::new();
                for count in sizes {
                    let payload = usize::try_from(dice.roll(300)).unwrap();
                    batches.push(batch_of(base, count, payload));
                    base += count;
                }
                promise.attempted = promise.attempted.max(base);
                partition.append(batches).await.ok()?;
            }
        }
    }
    if dice.roll(4) == 0 {
        store.close().await.ok()?;
        promise.synced = partition.bounds().next_msn.get();
    }
    Some(())
}

/// What is there is a prefix of what was appended, holds everything synced, and has no hole; `None`
/// when the power goes meanwhile.
async fn check(
    fs: &SimFs,
    partition: &std::sync::Arc<dyn msglog_core::store::PartitionStore>,
    promise: &mut Promise,
) -> Option<()> {
    let bounds = partition.bounds();
    let (mut found, mut from) = (Vec::new(), Msn::ZERO);
    loop {
        let page = partition.read(from, ReadLimit::bytes(1 << 20)).await;
        if page.is_err() && fs.list(Path::new("/")).is_err() {
            return None;
        }
        let page = page.unwrap();
        let Some(last) = page.last() else { break };
        from = last.next_msn();
        found.extend(msns_of(&page));
    }
    let expected: Vec<_> = (bounds.first_msn.get()..bounds.next_msn.get()).collect();
    assert_eq!(found, expected, "{promise:?}");
    assert!(bounds.next_msn.get() >= promise.synced, "{bounds:?} {promise:?}");
    assert!(bounds.next_msn.get() <= promise.attempted, "{bounds:?} {promise:?}");
    assert!(bounds.first_msn.get() <= promise.trimmed, "{bounds:?} {promise:?}");
    assert!(partition.holes().is_empty(), "{:?} {promise:?}", partition.holes());
    assert!(bounds.durable_msn <= bounds.next_msn, "{bounds:?}");
    promise.synced = promise.synced.max(bounds.durable_msn.get());
    promise.attempted = bounds.next_msn.get();
    Some(())
}

async fn survive(seed: u64, background: bool) {
    let fs = SimFs::new();
    let mut dice = Dice(seed);
    let mut promise = Promise::default();
    for life in 0..6 {
        let cut = match dice.roll(4) {
            0 => dice.roll(30),
            // Not the power but the process ends: the next life begins with what is not synced.
            1 => u64::MAX,
            _ => dice.roll(400),
        };
        fs.cut_power_after(cut);
        let _ = work(&fs, &mut dice, background, &mut promise).await;
        if cut < u64::MAX {
            fs.crash(seed.wrapping_mul(31).wrapping_add(life));
        }
    }
    let (_store, partition) = open_sim(&fs, small(2048)).await.unwrap();
    check(&fs, &partition, &mut promise).await.unwrap();
}

/// Prints the seed when the test of it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with seed {}", self.0);
        }
    }
}

/// How many seeds; `MSGLOG_SEEDS` makes it more.
fn seeds(default: u64) -> std::ops::Range<u64> {
    0..std::env::var("MSGLOG_SEEDS").map_or(default, |text| text.parse().unwrap())
}

#[tokio::test]
async fn what_was_synced_survives_any_power_cut_and_what_survives_is_a_prefix() {
    for seed in seeds(400) {
        let _seed = Seed(seed);
        survive(seed, false).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_with_housekeeping_on_its_own_thread() {
    for seed in seeds(100) {
        let _seed = Seed(seed);
        survive(seed, true).await;
    }
}

#[tokio::test]
async fn failed_sync_poisons_until_reopened_and_reads_go_on() {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, options()).await.unwrap();
    append_synced(&partition, 3).await;
    append(&partition, 1).await;
    fs.fail_sync_after(0);
    let error = partition.sync().await.unwrap_err();
    assert_eq!((error.effect(), error.is_transient()), (Effect::Unknown, false));
    for _ in 0..2 {
        assert_eq!(partition.sync().await.unwrap_err().kind(), ErrorKind::Poisoned);
    }
    let error = partition.append(vec![batch(4, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert_eq!(partition.trim(Msn::new(1)).await.unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(msns(&partition).await, [0, 1, 2, 3]);
    assert_eq!(partition.bounds().durable_msn, Msn::new(3));
    assert_eq!(store.close().await.unwrap_err().kind(), ErrorKind::Poisoned);
    // What the failed sync has not written is shown by the system, and durable with the next sync.
    let (store, partition) = open_sim(&fs, options()).await.unwrap();
    assert_eq!(msns(&partition).await, [0, 1, 2, 3]);
    assert!(partition.bounds().durable_msn < Msn::new(4), "{:?}", partition.bounds());
    append_synced(&partition, 1).await;
    drop((store, partition));
    fs.crash(0);
    let (_store, partition) = open_sim(&fs, options()).await.unwrap();
    assert_eq!(msns(&partition).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn append_that_comes_while_a_sync_runs_is_not_covered_by_it() {
    let disk = SimFs::new();
    let fs = FaultFs::new(disk.clone());
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", options()).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    append_synced(&partition, 2).await;
    append(&partition, 1).await;
    let (late, runtime) = (Arc::clone(&partition), tokio::runtime::Handle::current());
    fs.during_next_sync(move || runtime.block_on(append(&late, 1)));
    assert_eq!(partition.sync().await.unwrap(), Msn::new(3));
    assert_eq!(
        (partition.bounds().durable_msn, partition.bounds().next_msn),
        (Msn::new(3), Msn::new(4))
    );
    assert_eq!(partition.sync().await.unwrap(), Msn::new(4));
    drop((store, partition));
    disk.crash(0);
    let (_store, partition) = open_sim(&disk, options()).await.unwrap();
    assert_eq!(msns(&partition).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn sync_beside_an_append_that_cannot_be_taken_back_acks_nothing() {
    let fs = FaultFs::new(SimFs::new());
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", options()).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    append_synced(&partition, 2).await;
    append(&partition, 1).await;
    let (late, runtime) = (Arc::clone(&partition), tokio::runtime::Handle::current());
    let failing = fs.clone();
    fs.during_next_sync(move || {
        // The disk is full, and then fails: the append is told, by the descriptor of the sync.
        let failure = Failure::Full;
        failing.set_fault(Fault { at: 0, failure, after: false, sticky: true });
        let appended = runtime.block_on(late.append(vec![batch(3, 1)]));
        assert_eq!(appended.unwrap_err().effect(), Effect::Unknown);
    });
    assert_eq!(partition.sync().await.unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(partition.bounds().durable_msn, Msn::new(2));
}

#[tokio::test]
async fn checkpoint_names_nothing_that_came_while_its_sync_ran() {
    let disk = SimFs::new();
    let fs = FaultFs::new(disk.clone());
    let mut due = options();
    due.checkpoint_bytes = CHECKPOINT_BYTES_MIN;
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", due).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    let (late, runtime) = (Arc::clone(&partition), tokio::runtime::Handle::current());
    fs.during_next_sync(move || runtime.block_on(append(&late, 1)));
    // More than lies between two checkpoints, so that the housekeeping syncs and writes one.
    let large = batch_of(0, 30, 100);
    assert!(large.encoded_len() as u64 > CHECKPOINT_BYTES_MIN);
    partition.append(vec![large]).await.unwrap();
    let bounds = partition.bounds();
    assert_eq!((bounds.durable_msn, bounds.next_msn), (Msn::new(30), Msn::new(31)));
    drop((store, partition));
    let mut ends = BTreeSet::new();
    for seed in 0..40 {
        let disk = disk.fork();
        disk.crash(seed);
        let (_store, partition) = open_sim(&disk, due).await.unwrap();
        let there = msns(&partition).await;
        assert_eq!(partition.holes(), [], "seed {seed}: what was never synced is no loss");
        assert_eq!(there, (0..there.len() as u64).collect::<Vec<_>>(), "seed {seed}");
        ends.insert(there.len());
    }
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), [30, 31], "it may be there or not");
}

#[tokio::test]
async fn failed_sync_of_the_housekeeping_poisons_too() {
    let fs = SimFs::new();
    let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
    // The first sync is that of the next segment's file, without which it goes as well.
    fs.fail_sync_after(1);
    let mut next = 0;
    while partition.append(vec![batch(next, 1)]).await.is_ok() {
        next += 1;
        assert!(next < 1000, "nobody noticed");
    }
    let error = partition.append(vec![batch(next, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned);
    assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>());
}

#[tokio::test]
async fn full_disk_tears_nothing_and_appends_resume_when_there_is_room() {
    for segment_bytes in [1024, 1 << 20] {
        for spare in 0..400 {
            let fs = SimFs::new();
            let (store, partition) = open_sim(&fs, small(segment_bytes)).await.unwrap();
            append_synced(&partition, 5).await;
            fs.set_room(Some(fs.used() + spare));
            let group = || (5..25).map(|msn| batch(msn, 1)).collect::<Vec<_>>();
            let error = partition.append(group()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{spare}: {error}");
            assert_eq!(error.effect(), Effect::NotApplied);
            assert_eq!(msns(&partition).await, [0, 1, 2, 3, 4]);
            fs.set_room(None);
            partition.append(group()).await.unwrap();
            partition.sync().await.unwrap();
            drop(store);
            fs.crash(spare);
            let (_store, partition) = open_sim(&fs, small(segment_bytes)).await.unwrap();
            assert_eq!(msns(&partition).await, (0..25).collect::<Vec<_>>(), "{spare}");
        }
    }
}

#[tokio::test]
async fn append_refused_by_a_full_disk_is_not_there_after_a_power_cut() {
    for seed in 0..200 {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, options()).await.unwrap();
        append_synced(&partition, 5).await;
        fs.set_room(Some(fs.used() + 250));
        let group = (5..25).map(|msn| batch(msn, 1)).collect::<Vec<_>>();
        partition.append(group).await.unwrap_err();
        drop(store);
        fs.crash(seed);
        let (_store, partition) = open_sim(&fs, options()).await.unwrap();
        assert_eq!(msns(&partition).await, [0, 1, 2, 3, 4], "seed {seed}");
    }
}

#[tokio::test]
async fn lost_power_during_an_append_leaves_it_whole_or_not_at_all_per_batch() {
    for cut in 0..60 {
        let fs = SimFs::new();
        let (store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        append_synced(&partition, 2).await;
        fs.cut_power_after(cut);
        let group = (2..40).map(|msn| batch(msn, 1)).collect::<Vec<_>>();
        let _ = partition.append(group).await;
        drop(store);
        fs.crash(cut);
        let (_store, partition) = open_sim(&fs, small(1024)).await.unwrap();
        let found = partition.read(Msn::ZERO, ReadLimit::bytes(1 << 20)).await.unwrap();
        assert_eq!(found[0].base_msn(), Msn::ZERO);
        let next = partition.bounds().next_msn.get();
        assert_eq!(msns(&partition).await, (0..next).collect::<Vec<_>>());
        assert!(next >= 2, "cut {cut}");
    }
}
