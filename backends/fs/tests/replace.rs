//! Replacing segments: whatever fails or is lost in the middle, there is the old or the new, whole;
//! readers in this and in other processes go on.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use msglog_core::batch::{BatchBuilder, BatchOptions, DecodeLimits};
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore, ReadLimit};
use msglog_core::{Effect, ErrorKind, Message, Msn, RecordBatch, Timestamp};
use msglog_fs::FsStore;
use msglog_fs::io::{Fault, FaultFs, FileSystem, OpenMode, SimFs};

/// Records at the start, each in a batch of its own.
const RECORDS: u64 = 60;
/// What is replaced: it begins and ends inside of segments.
const RANGE: std::ops::Range<u64> = 7..41;

/// A batch that covers a range and holds every tenth of its records.
fn thinned(start: u64, end: u64) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for msn in (start..end).filter(|msn| msn % 10 == 0) {
        let delta = u32::try_from(msn - start).unwrap();
        let message = Message::new(format!("record {msn} "));
        builder.push_at(delta, &message, Timestamp::from_millis(1)).unwrap();
    }
    builder.cover(u32::try_from(end - start - 1).unwrap()).unwrap();
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(start), -1);
    batch
}

fn old() -> Vec<u64> {
    (0..RECORDS).collect()
}

fn new() -> Vec<u64> {
    let kept = |msn: &u64| !RANGE.contains(msn) || [10, 20, 30].contains(msn);
    (0..RECORDS).filter(kept).collect()
}

async fn replace(partition: &Arc<dyn PartitionStore>) -> msglog_core::Result<()> {
    let batches = vec![thinned(RANGE.start, 20), thinned(20, 35)];
    partition.replace(Msn::new(RANGE.start)..Msn::new(RANGE.end), batches).await
}

/// A store with several segments; the last records are not synced.
async fn filled(disk: &SimFs) -> (FsStore, Arc<dyn PartitionStore>) {
    let (store, partition) = open_sim(disk, small(1024)).await.unwrap();
    append_synced(&partition, RECORDS - 2).await;
    append(&partition, 1).await;
    append(&partition, 1).await;
    (store, partition)
}

/// What a reader in another process sees.
async fn followed(disk: &SimFs) -> Vec<u64> {
    let fs = Arc::new(disk.clone());
    let store = FsStore::open_on(fs, "/store", reading(small(1024))).await.unwrap();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    let seen = msns(&partition).await;
    assert!(partition.holes().is_empty(), "a reader reports {:?}", partition.holes());
    seen
}

/// Opens it, answers what it holds, and checks that it takes appends and leaves nothing behind.
async fn recovered(disk: &SimFs) -> Vec<u64> {
    let (store, partition) = open_sim(disk, small(1024)).await.unwrap();
    let seen = msns(&partition).await;
    assert!(partition.holes().is_empty(), "recovery reports {:?}", partition.holes());
    let report = store.recovery_report(&name()).unwrap();
    assert!(report.holes.is_empty(), "{report:?}");
    for entry in disk.list(Path::new("/store/orders-0")).unwrap() {
        assert!(!entry.name.contains("cleaned") && !entry.name.contains("swap"), "{entry:?}");
        if let Some(base) = entry.name.strip_suffix(".log") {
            let base: u64 = base.parse().unwrap();
            let before = Msn::new(base.saturating_sub(1));
            let begins = base == 0 || partition.unit_end(before) == Some(Msn::new(base));
            assert!(begins, "{entry:?} is no segment any more");
        }
    }
    append_synced(&partition, 1).await;
    seen
}

/// The MSNs from `from` on, page by page, as the log reads them: what a batch holds below is left.
async fn msns_from(partition: &Arc<dyn PartitionStore>, from: u64, limit: usize) -> Vec<u64> {
    let (mut all, mut from) = (Vec::new(), Msn::new(from));
    loop {
        let batches = partition.read(from, ReadLimit::bytes(limit)).await.unwrap();
        let Some(last) = batches.last() else { return all };
        all.extend(msns_of(&batches).into_iter().filter(|msn| *msn >= from.get()));
        from = last.next_msn();
    }
}

fn is_prefix(seen: &[u64], of: &[u64]) -> bool {
    seen.len() + 2 >= of.len() && of.starts_with(seen)
}

#[tokio::test]
async fn power_cut_at_every_change_of_a_replace_leaves_the_old_or_the_new() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    let (mut was_old, mut was_new) = (0, 0);
    for cut in 0.. {
        let (fork, mut done) = (disk.fork(), false);
        {
            let (_store, partition) = open_sim(&fork, small(1024)).await.unwrap();
            fork.cut_power_after(cut);
            if replace(&partition).await.is_ok() {
                done = true;
            }
        }
        for seed in 0..6 {
            let fork = fork.fork();
            fork.crash(seed);
            let (follower, crashed) = (followed(&fork).await, fork.fork());
            let seen = recovered(&fork).await;
            let (is_old, is_new) = (is_prefix(&seen, &old()), is_prefix(&seen, &new()));
            assert!(is_old || is_new, "cut {cut}, seed {seed}: {seen:?}");
            assert!(is_new || !done, "cut {cut}, seed {seed}: it was replaced");
            assert!(
                is_prefix(&follower, &seen) || is_prefix(&seen, &follower),
                "cut {cut}, seed {seed}: a reader saw {follower:?}"
            );
            (was_old, was_new) = (was_old + u32::from(is_old), was_new + u32::from(is_new));
            assert_eq!(recovered(&fork).await.len(), seen.len() + 1, "opened again");
            // Also where the recovery is cut short in its turn, at different changes each time.
            for again in (seed..30).step_by(6) {
                let fork = crashed.fork();
                fork.cut_power_after(again);
                drop(open_sim(&fork, small(1024)).await);
                fork.crash(seed + again);
                let later = recovered(&fork).await;
                let expected = if is_new { new() } else { old() };
                assert!(is_prefix(&later, &expected), "cut {cut}, {again}, seed {seed}: {later:?}");
            }
        }
        if done {
            break;
        }
    }
    assert!(was_old > 20 && was_new > 20, "{was_old} times the old, {was_new} times the new");
}

#[tokio::test]
async fn any_call_of_a_replace_may_fail() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    let calls = {
        let fs = FaultFs::new(disk.fork());
        let first = run(&fs).await;
        assert!(first.is_ok());
        fs.calls()
    };
    let mut tried = 0_u64;
    for (at, call) in calls.iter().copied().enumerate() {
        for failure in call.failures().iter().copied() {
            for (after, sticky) in [(false, false), (true, false), (false, true)] {
                if after && !call.has_effect() {
                    continue;
                }
                let fork = disk.fork();
                let fs = FaultFs::new(fork.clone());
                fs.set_fault(Fault { at, failure, after, sticky });
                let answer = run(&fs).await;
                tried += 1;
                let what = format!("{failure:?} of call {at} {call:?}, {after} {sticky}");
                for crash in [None, Some(1), Some(2)] {
                    let fork = fork.fork();
                    if let Some(seed) = crash {
                        fork.crash(seed);
                    }
                    let seen = recovered(&fork).await;
                    let (is_old, is_new) = (is_prefix(&seen, &old()), is_prefix(&seen, &new()));
                    match &answer {
                        Ok(true) => assert!(is_new, "{what}: replaced, and {seen:?}"),
                        Ok(false) => assert!(is_old, "{what}: refused, and {seen:?}"),
                        Err(_) => assert!(is_old || is_new, "{what}: {seen:?}"),
                    }
                }
            }
        }
    }
    println!("{} calls, {tried} faults", calls.len());
    assert!(tried > 100);
}

/// Opens, replaces, reads: whether it was replaced, or that it is not known.
async fn run(fs: &FaultFs) -> Result<bool, ()> {
    let fs = Arc::new(fs.clone());
    let Ok(store) = FsStore::open_on(fs, "/store", small(1024)).await else { return Ok(false) };
    let Ok(partition) = store.open(&name(), OpenOptions::existing()).await else {
        return Ok(false);
    };
    match replace(&partition).await {
        Ok(()) => Ok(true),
        Err(error) if error.effect() == Effect::NotApplied => Ok(false),
        Err(_) => {
            let late = partition.append(vec![batch(RECORDS, 1)]).await.unwrap_err();
            assert_eq!(late.kind(), ErrorKind::Poisoned);
            Err(())
        }
    }
}

#[tokio::test]
async fn readers_elsewhere_go_on_across_replacements() {
    let disk = SimFs::new();
    let (_store, partition) = filled(&disk).await;
    let mut options = reading(small(1024));
    options.open_files_max = 4;
    let fs = Arc::new(disk.clone());
    let elsewhere = FsStore::open_on(fs, "/store", options).await.unwrap();
    let reader = elsewhere.open(&name(), OpenOptions::existing()).await.unwrap();
    let first = reader.read(Msn::ZERO, ReadLimit::bytes(600)).await.unwrap();
    let behind = first.last().unwrap().next_msn();
    replace(&partition).await.unwrap();
    let rest = msns_from(&reader, behind.get(), 600).await;
    let expected: Vec<_> = new().into_iter().filter(|msn| *msn >= behind.get()).collect();
    let kept: Vec<_> = rest.iter().copied().filter(|msn| expected.contains(msn)).collect();
    assert_eq!(kept, expected, "of {rest:?}");
    append_synced(&partition, 40).await;
    let end = Msn::new(RECORDS + 40);
    partition.replace(Msn::ZERO..end, vec![thinned(0, end.get())]).await.unwrap();
    append_synced(&partition, 1).await;
    let thin: Vec<_> = (0..end.get()).filter(|msn| msn % 10 == 0).chain([end.get()]).collect();
    // What was compacted away may be seen until the reader opens a file anew.
    let seen = msns_from(&reader, 0, 600).await;
    // The first replacement had dropped MSN 40, and the reader may still see that one.
    let without = |msns: &[u64]| -> Vec<u64> {
        msns.iter().copied().filter(|msn| thin.contains(msn) && *msn != 40).collect()
    };
    assert_eq!(without(&seen), without(&thin), "of {seen:?}");
    let fs = Arc::new(disk.clone());
    let anew = FsStore::open_on(fs, "/store", reading(small(1024))).await.unwrap();
    let anew = anew.open(&name(), OpenOptions::existing()).await.unwrap();
    assert_eq!(msns(&anew).await, thin);
    assert!(reader.holes().is_empty(), "{:?}", reader.holes());
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_here_see_every_kept_record_while_segments_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = small(4096);
    options.open_files_max = 4;
    let (_store, partition) = open(folder.path(), options).await;
    append(&partition, 1).await;
    for _ in 0..40 {
        append_synced(&partition, 10).await;
    }
    let end = partition.bounds().next_msn.get();
    let reading = tokio::spawn({
        let partition = partition.clone();
        async move {
            for round in 0..60_u64 {
                let seen = msns_from(&partition, round % 7, 700).await;
                let kept = seen
                    .iter()
                    .filter(|msn| **msn % 10 == 0 && (round % 7..end).contains(*msn))
                    .count();
                let expected = (round % 7..end).filter(|msn| msn % 10 == 0).count();
                assert_eq!(kept, expected, "round {round}: {seen:?}");
                assert!(seen.is_sorted_by(|one, other| one < other), "round {round}: {seen:?}");
            }
        }
    });
    for start in (0..end - 40).step_by(20) {
        let range = Msn::new(start)..Msn::new(start + 20);
        partition.replace(range, vec![thinned(start, start + 20)]).await.unwrap();
        append(&partition, 1).await;
    }
    reading.await.unwrap();
    assert!(partition.holes().is_empty(), "{:?}", partition.holes());
}

#[tokio::test]
async fn reader_that_comes_to_a_segment_just_when_it_is_replaced_reads_the_old_one() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    let fs = FaultFs::new(disk.clone());
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", small(1024)).await.unwrap();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    let (late, runtime) = (Arc::clone(&partition), tokio::runtime::Handle::current());
    fs.before_open_of("00000000000000000000.log", move || {
        let replaced = tokio::time::timeout(Duration::from_secs(5), replace(&late));
        let _ = runtime.block_on(replaced);
    });
    let seen = msns_of(&partition.read(Msn::ZERO, ReadLimit::bytes(1 << 20)).await.unwrap());
    assert!(seen.len() > 8 && old().starts_with(&seen), "{seen:?}");
    assert_eq!(msns(&partition).await, new(), "it was replaced");
}

#[tokio::test]
async fn what_is_appended_while_the_swap_is_decided_stays() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    let fs = FaultFs::new(disk.clone());
    let mut options = small(1024);
    options.background = true;
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", options).await.unwrap();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    let (late, runtime) = (Arc::clone(&partition), tokio::runtime::Handle::current());
    fs.before_open_of("swap.tmp", move || {
        runtime.block_on(async {
            for _ in 0..30 {
                append(&late, 1).await;
            }
        });
    });
    replace(&partition).await.unwrap();
    partition.sync().await.unwrap();
    drop((store, partition));
    let expected: Vec<_> = new().into_iter().chain(RECORDS..RECORDS + 30).collect();
    assert_eq!(recovered(&disk.fork()).await, expected);
}

#[tokio::test]
async fn damaged_segment_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (store, partition) = open(folder.path(), small(1024)).await;
    append_synced(&partition, RECORDS).await;
    store.close().await.unwrap();
    drop(partition);
    let path = segments(folder.path()).remove(1);
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.len() / 2;
    *bytes.get_mut(place).unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (_store, partition) = open(folder.path(), small(1024)).await;
    let base = path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
    assert!(msns(&partition).await.len() < usize::try_from(RECORDS).unwrap());
    let range = Msn::new(base)..Msn::new(RECORDS);
    let error = partition.replace(range, Vec::new()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Corrupt, Effect::NotApplied));
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "the damaged file was touched");
}

#[tokio::test]
async fn damaged_swap_decides_nothing_and_what_it_was_for_is_kept() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    put_damaged_swap(&disk);
    assert!(is_prefix(&recovered(&disk).await, &old()));
    assert!(keeps_cleaned(&disk));
}

fn put_damaged_swap(disk: &SimFs) {
    for (name, bytes) in [("swap", b"nonsense".as_slice()), ("00000000000000000000.cleaned", b"x")]
    {
        let path = Path::new("/store/orders-0").join(name);
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&[std::io::IoSlice::new(bytes)], 0).unwrap();
    }
}

fn keeps_cleaned(disk: &SimFs) -> bool {
    let kept = disk.list(Path::new("/store/orders-0/quarantine")).unwrap();
    kept.iter().any(|entry| entry.name.ends_with(".cleaned"))
}

#[tokio::test]
async fn what_a_damaged_swap_was_for_survives_a_kill_at_every_change_and_then_a_power_cut() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    put_damaged_swap(&disk);
    disk.sync_everything();
    for cut in 0.. {
        let fork = disk.fork();
        fork.cut_power_after(cut);
        let opened = open_sim(&fork, small(1024)).await.is_ok();
        // Only the process dies: everything is as it was left.
        let killed = fork.fork();
        assert!(is_prefix(&recovered(&killed).await, &old()), "cut {cut}");
        assert!(keeps_cleaned(&killed), "cut {cut}: it is gone");
        if opened {
            for seed in 0..16 {
                let fork = fork.fork();
                fork.crash(seed);
                assert!(is_prefix(&recovered(&fork).await, &old()), "seed {seed}");
                assert!(keeps_cleaned(&fork), "seed {seed}: it is gone");
            }
            break;
        }
    }
}

#[tokio::test]
async fn new_segments_prove_that_what_lies_before_them_was_synced() {
    let disk = SimFs::new();
    let (store, partition) = filled(&disk).await;
    // All from there on is new; in front of it one batch is damaged, and no checkpoint is there.
    let range = Msn::new(30)..Msn::new(RECORDS);
    let cut = partition.unit_end(Msn::new(20)).unwrap();
    partition.replace(cut..range.end, vec![thinned(30, RECORDS)]).await.unwrap();
    drop((store, partition));
    let mut image = Image::of(&disk).without(&["checkpoint"]);
    let path = image.segments().into_iter().rfind(|path| base_of(path) < cut.get()).unwrap();
    let (bytes, msns) = image.batches(&path).pop().unwrap();
    image.bytes(&path)[bytes.end - 1] ^= 1;
    let (_store, partition) = open_sim(&image.restore(), small(1024)).await.unwrap();
    assert_eq!(partition.holes(), [Msn::new(msns.start)..Msn::new(msns.end)]);
    assert_eq!(partition.bounds().next_msn, range.end, "nothing was cut");
}

fn base_of(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_was_truncated_and_appended_meanwhile_is_not_replaced() {
    let disk = SimFs::new();
    drop(filled(&disk).await);
    let fs = FaultFs::new(disk.clone());
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", small(1024)).await.unwrap();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    // What the opening has found is synced, so that the next sync is that of the replacing.
    partition.sync().await.unwrap();
    // In the last of the segments that are replaced, behind the range.
    let last = partition.unit_end(Msn::new(RANGE.end - 1)).unwrap().get() - 1;
    let (late, runtime) = (Arc::clone(&partition), tokio::runtime::Handle::current());
    fs.during_next_sync(move || {
        // Not for ever, should a later sync be the next one: it may run under a lock.
        let _ = runtime.block_on(tokio::time::timeout(Duration::from_secs(5), async {
            late.truncate(Msn::new(last)).await.unwrap();
            late.append(vec![other(last)]).await.unwrap();
            for _ in 1..20 {
                append(&late, 1).await;
            }
        }));
    });
    let error = replace(&partition).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Conflict, Effect::NotApplied));
    assert_eq!(msns(&partition).await, (0..last + 20).collect::<Vec<_>>());
    append_synced(&partition, 1).await;
    drop((store, partition));
    assert_eq!(recovered(&disk).await, (0..last + 21).collect::<Vec<_>>());
    let (_store, partition) = open_sim(&disk, small(1024)).await.unwrap();
    let found = partition.read(Msn::new(last), ReadLimit::bytes(1)).await.unwrap();
    assert_eq!(found[0].encoded_len(), batch(last, 1).encoded_len());
    let payload = found[0].records(DecodeLimits::default()).unwrap().next().unwrap().unwrap();
    assert!(payload.payload.unwrap().ends_with(b"y"), "the truncated record is back");
}

/// As `batch(msn, 1)`, of the same length, with another payload.
fn other(msn: u64) -> RecordBatch {
    let mut payload = format!("record {msn} ").into_bytes();
    payload.resize(20, b'y');
    let time = Timestamp::from_millis(1_000 + i64::try_from(msn).unwrap() * 10);
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(Message::new(payload), time).unwrap();
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(msn), -1);
    batch
}
