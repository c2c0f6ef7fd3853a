//! Readers beside a writer: across rolls, trims, restarts, and damage.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use msglog_core::batch::{BatchBuilder, BatchOptions};
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore, ReadLimit};
use msglog_core::{Message, Msn, RecordBatch, Timestamp};
use msglog_fs::io::SimFs;
use msglog_fs::{FsOptions, FsStore};

async fn follow(root: &std::path::Path, options: FsOptions) -> (FsStore, Arc<dyn PartitionStore>) {
    let store = FsStore::open(root, reading(options)).await.unwrap();
    let partition = store.open(&name(), OpenOptions::existing()).await.unwrap();
    (store, partition)
}

#[tokio::test]
async fn reader_sees_what_the_writer_has_appended_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (_store, writer) = open(root.path(), small(1024)).await;
    append_synced(&writer, 3).await;
    let before = std::fs::read_dir(root.path()).unwrap().count();
    let (_reading, reader) = follow(root.path(), small(1024)).await;
    assert_eq!(msns(&reader).await, [0, 1, 2]);
    for _ in 0..40 {
        append(&writer, 2).await;
        assert_eq!(reader.refresh().await.unwrap().next_msn, writer.bounds().next_msn);
        assert_eq!(reader.bounds().durable_msn, reader.bounds().next_msn);
    }
    assert_eq!(msns(&reader).await, (0..83).collect::<Vec<_>>());
    assert_eq!(reader.bounds().first_msn, Msn::ZERO);
    writer.trim(Msn::new(40)).await.unwrap();
    let bounds = reader.refresh().await.unwrap();
    assert_eq!(bounds, msglog_core::store::Bounds { durable_msn: Msn::new(83), ..writer.bounds() });
    assert_eq!(msns(&reader).await, msns(&writer).await);
    writer.trim(Msn::MAX).await.unwrap();
    assert!(reader.refresh().await.unwrap().first_msn == Msn::new(83));
    append(&writer, 1).await;
    assert_eq!(msns(&reader).await, [83]);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), before);
    let error = reader.append(vec![batch(84, 1)]).await.unwrap_err();
    assert_eq!(error.kind(), msglog_core::ErrorKind::ReadOnly);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_beside_a_busy_writer_sees_no_gap_and_no_repeat() {
    let root = tempfile::tempdir().unwrap();
    let mut options = small(32 << 10);
    options.background = true;
    options.checkpoint_bytes = 16 << 10;
    let (store, writer) = open(root.path(), options).await;
    append_synced(&writer, 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (path, done) = (root.path().to_owned(), Arc::clone(&done));
            tokio::spawn(async move {
                let (_store, reader) = follow(&path, options).await;
                let (mut from, mut count) = (Msn::ZERO, 0_u64);
                loop {
                    let last = done.load(Ordering::Acquire);
                    let batches = reader.read(from, ReadLimit::bytes(5000)).await.unwrap();
                    for batch in &batches {
                        assert_eq!(batch.base_msn(), from, "gap or repeat");
                        from = batch.next_msn();
                        count += u64::from(batch.record_count());
                    }
                    msns_of(&batches);
                    if last && batches.is_empty() {
                        assert!(reader.holes().is_empty());
                        return (from, count);
                    }
                }
            })
        })
        .collect();
    for round in 0..1500 {
        append(&writer, 1 + round % 7).await;
        if round % 3 == 0 {
            writer.sync().await.unwrap();
        }
    }
    let end = writer.bounds().next_msn;
    store.close().await.unwrap();
    done.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (end, end.get()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_beside_a_writer_that_trims_goes_on_at_what_is_left() {
    let root = tempfile::tempdir().unwrap();
    let (store, writer) = open(root.path(), small(2048)).await;
    append_synced(&writer, 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (path, done) = (root.path().to_owned(), Arc::clone(&done));
        tokio::spawn(async move {
            let (_store, reader) = follow(&path, small(2048)).await;
            let mut from = Msn::ZERO;
            loop {
                let last = done.load(Ordering::Acquire);
                let batches = reader.read(from, ReadLimit::bytes(500)).await.unwrap();
                for batch in &batches {
                    assert!(batch.base_msn() >= from, "repeat");
                    from = batch.next_msn();
                }
                msns_of(&batches);
                if last && batches.is_empty() {
                    assert!(reader.holes().is_empty(), "{:?}", reader.holes());
                    return from;
                }
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        })
    };
    for round in 0..600_u64 {
        append(&writer, 1 + round % 4).await;
        if round % 20 == 0 {
            let next = writer.bounds().next_msn.get();
            let before = if round % 100 == 0 { next } else { next.saturating_sub(30) };
            writer.trim(Msn::new(before)).await.unwrap();
        }
    }
    let end = writer.bounds().next_msn;
    store.close().await.unwrap();
    done.store(true, Ordering::Release);
    assert_eq!(reader.await.unwrap(), end);
}

#[tokio::test]
async fn bytes_that_are_being_written_are_the_end_for_now() {
    let root = tempfile::tempdir().unwrap();
    let (store, writer) = open(root.path(), options()).await;
    append_synced(&writer, 3).await;
    let (_reading, reader) = follow(root.path(), options()).await;
    append(&writer, 1).await;
    append(&writer, 1).await;
    store.close().await.unwrap();
    let path = segments(root.path())[0].clone();
    let whole = std::fs::read(&path).unwrap();
    let seen = reader.refresh().await.unwrap();
    assert_eq!(seen.next_msn, Msn::new(5));
    let (_reading, reader) = follow(root.path(), options()).await;
    remove_checkpoints(root.path());
    drop(reader);
    let len = whole.len();
    // Any beginning of the last batches is no batch, whatever follows it.
    for cut in len - 80..len - 1 {
        let mut half = whole.clone();
        half[cut..].fill(0);
        std::fs::write(&path, &half).unwrap();
        let (_reading, reader) = follow(root.path(), options()).await;
        assert_eq!(reader.bounds().next_msn, Msn::new(4), "{cut}");
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(reader.refresh().await.unwrap().next_msn, Msn::new(5), "{cut}");
        assert!(reader.holes().is_empty());
        assert_eq!(msns(&reader).await, [0, 1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn damage_that_a_later_epoch_proves_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    let (_store, writer) = open(root.path(), options()).await;
    append_synced(&writer, 1).await;
    let (_reading, reader) = follow(root.path(), options()).await;
    append_synced(&writer, 3).await;
    let path = segments(root.path())[0].clone();
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.len() / 4;
    bytes[second + 70] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(reader.refresh().await.unwrap().next_msn, Msn::new(4));
    assert_eq!(reader.holes(), [Msn::new(1)..Msn::new(2)]);
    assert_eq!(msns(&reader).await, [0, 2, 3]);
}

#[tokio::test]
async fn reader_follows_a_writer_that_restarts_and_cuts_what_was_seen() {
    let fs = SimFs::new();
    let read = || FsStore::open_on(Arc::new(fs.clone()), "/store", reading(options()));
    let (store, writer) = open_sim(&fs, options()).await.unwrap();
    append_synced(&writer, 2).await;
    for msn in 2..6 {
        writer.append(vec![batch_of(msn, 1, 200)]).await.unwrap();
    }
    let reading = read().await.unwrap();
    let reader = reading.open(&name(), OpenOptions::existing()).await.unwrap();
    assert_eq!(reader.bounds().next_msn, Msn::new(6));
    // A disk that is shared loses what was not synced, and the reader lives on.
    let path = std::path::PathBuf::from("/store/orders-0/00000000000000000000.log");
    let at = Image::of(&fs).batches(&path)[2].0.start;
    drop((store, writer));
    let file = msglog_fs::io::FileSystem::open(&fs, &path, msglog_fs::io::OpenMode::ReadWrite);
    file.unwrap().set_len(at as u64).unwrap();
    let (_store, writer) = open_sim(&fs, options()).await.unwrap();
    assert_eq!(writer.bounds().next_msn, Msn::new(2));
    append_synced(&writer, 30).await;
    assert_eq!(reader.refresh().await.unwrap().next_msn, Msn::new(32));
    assert_eq!(msns(&reader).await, (0..32).collect::<Vec<_>>());
    assert!(reader.holes().is_empty());
}

#[tokio::test]
async fn reader_of_a_removed_partition_is_told() {
    let root = tempfile::tempdir().unwrap();
    let (store, writer) = open(root.path(), options()).await;
    append_synced(&writer, 2).await;
    let (_reading, reader) = follow(root.path(), options()).await;
    store.remove(&name()).await.unwrap();
    let error = reader.refresh().await.unwrap_err();
    assert_eq!(error.kind(), msglog_core::ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_the_writing_store_see_no_gap_while_it_rolls_and_trims() {
    let fs = SimFs::new();
    let mut options = small(2048);
    options.background = true;
    options.open_files_max = 4;
    let (store, writer) = open_sim(&fs, options).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (partition, done) = (Arc::clone(&writer), Arc::clone(&done));
        tokio::spawn(async move {
            let mut from = Msn::ZERO;
            loop {
                let last = done.load(Ordering::Acquire);
                let first = partition.bounds().first_msn;
                let batches = partition.read(from, ReadLimit::bytes(700)).await.unwrap();
                for batch in &batches {
                    let trimmed = batch.base_msn() <= partition.bounds().first_msn;
                    assert!(
                        batch.base_msn() == from || (trimmed && from < first.max(batch.base_msn()))
                    );
                    from = batch.next_msn();
                }
                msns_of(&batches);
                if last && batches.is_empty() {
                    return from;
                }
            }
        })
    };
    for round in 0..3000_u64 {
        append(&writer, 1 + round % 4).await;
        match round % 40 {
            0 => drop(writer.trim(Msn::new(writer.bounds().next_msn.get() / 2)).await.unwrap()),
            n if n % 5 == 0 => drop(writer.sync().await.unwrap()),
            _ => {}
        }
    }
    done.store(true, Ordering::Release);
    assert_eq!(reader.await.unwrap(), writer.bounds().next_msn);
    assert!(writer.holes().is_empty());
    assert!(store.open_files() <= 4);
}

#[tokio::test]
async fn reader_reports_a_lost_first_segment_as_a_hole_and_not_as_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, partition) = open(dir.path(), small(4096)).await;
    append_synced(&partition, 300).await;
    store.close().await.unwrap();
    let files = segments(dir.path());
    assert!(files.len() > 2, "{} segments", files.len());
    std::fs::remove_file(&files[0]).unwrap();
    let (_reader, followed) = open(dir.path(), reading(small(4096))).await;
    let lost = followed.holes();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].start, Msn::ZERO);
    for _ in 0..3 {
        let bounds = followed.refresh().await.unwrap();
        assert_eq!(bounds.first_msn, Msn::ZERO, "nothing was trimmed");
        assert_eq!(followed.holes(), lost);
    }
    let (store, partition) = open(dir.path(), small(4096)).await;
    append_synced(&partition, 1).await;
    followed.refresh().await.unwrap();
    assert_eq!((followed.holes(), partition.holes()), (lost.clone(), lost));
    store.close().await.unwrap();
}

/// A batch of one record with this time.
fn at_time(msn: u64, millis: i64) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(Message::new("x"), Timestamp::from_millis(millis)).unwrap();
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(msn), -1);
    batch
}

#[tokio::test]
async fn search_by_time_finds_the_first_record_also_where_times_fall_while_a_reader_follows() {
    let root = tempfile::tempdir().unwrap();
    let (_store, writer) = open(root.path(), small(1 << 20)).await;
    writer.append(vec![at_time(0, 900)]).await.unwrap();
    let (_reading, reader) = follow(root.path(), small(1 << 20)).await;
    assert_eq!(reader.refresh().await.unwrap().next_msn, Msn::new(1));
    for msn in 1..20 {
        writer.append(vec![at_time(msn, 500)]).await.unwrap();
    }
    reader.refresh().await.unwrap();
    for partition in [&writer, &reader] {
        assert_eq!(partition.find(Timestamp::from_millis(600)).await.unwrap(), Msn::ZERO);
    }
}
