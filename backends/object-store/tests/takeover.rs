//! What a takeover promises: the old writer is fenced however long it was away, nothing acked is
//! lost, and forgetting old objects changes neither.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test: its helpers fail by panic"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::faulty::Faulty;
use common::{append, commit, options, orders, read_all, reader, writer};
use msglog_core::store::{Access, DocumentKey, Expected, MessageStore, OpenOptions};
use msglog_core::{ErrorKind, ManualClock, Timestamp};
use msglog_object_store::{BucketOptions, BucketStore};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

async fn names(storage: &impl ObjectStore, prefix: &str) -> Vec<String> {
    use futures::TryStreamExt;
    let found: Vec<_> = storage.list(Some(&Path::from(prefix))).try_collect().await.unwrap();
    let mut names: Vec<_> = found.into_iter().map(|meta| meta.location.to_string()).collect();
    names.sort();
    names
}

/// Short waits, so that a test sees objects deleted.
fn forgetful() -> BucketOptions {
    let mut options = options();
    options.stall_limit = Duration::from_millis(20);
    options.grace = Duration::from_millis(40);
    options.merge_bytes = 1;
    options
}

/// Merges, writes a checkpoint, notes, waits, deletes.
async fn forget(store: &BucketStore) -> usize {
    store.maintain().await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.maintain().await.unwrap().deleted
}

#[tokio::test]
async fn old_writer_is_fenced_and_nothing_of_it_is_there() {
    let storage = Arc::new(InMemory::new());
    let old = writer(&storage, options()).await;
    let before = orders(&old).await;
    commit(&before, "old").await.unwrap();
    let new = writer(&storage, options()).await;
    let after = orders(&new).await;
    let error = commit(&before, "zombie").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert_eq!(append(&before, "again").await.unwrap_err().kind(), ErrorKind::Fenced);
    let key = DocumentKey::parse("lease").unwrap();
    let saved = old.save(&key, "mine".into(), Expected::Any).await;
    assert_eq!(saved.unwrap_err().kind(), ErrorKind::Fenced);
    commit(&after, "new").await.unwrap();
    assert_eq!(read_all(&after).await, ["old", "new"]);
}

#[tokio::test]
async fn writer_frozen_in_the_middle_of_its_pipeline_is_fenced() {
    for frozen_after in 0..12 {
        let shared = Arc::new(InMemory::new());
        let faulty = Arc::new(Faulty::new(shared.clone()));
        let mut small = options();
        small.flush_bytes = 100;
        let old = writer(&faulty, small.clone()).await;
        let before = orders(&old).await;
        for number in 0..20 {
            commit(&before, &format!("r{number}")).await.unwrap();
        }
        for number in 20..20 + frozen_after {
            append(&before, &format!("r{number}")).await.unwrap();
            tokio::task::yield_now().await;
        }
        faulty.freeze();
        for number in 20 + frozen_after..32 {
            append(&before, &format!("r{number}")).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        let new = BucketStore::open(shared.clone(), small, Access::Write).await.unwrap();
        let after = orders(&new).await;
        let recovered = after.bounds().next_msn;
        faulty.thaw();
        let error = before.sync().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "frozen after {frozen_after}");
        for number in 0..30 {
            commit(&after, &format!("n{number}")).await.unwrap();
        }
        let texts = read_all(&after).await;
        let again = BucketStore::open(shared, options(), Access::Write).await.unwrap();
        assert_eq!(read_all(&orders(&again).await).await, texts);
        assert_eq!(texts.len() as u64, recovered.get() + 30);
    }
}

#[tokio::test]
async fn stalled_writer_is_fenced_though_the_seq_of_its_successor_was_forgotten() {
    let shared = Arc::new(InMemory::new());
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let mut stalling = forgetful();
    stalling.stall_limit = Duration::from_secs(60);
    stalling.grace = Duration::from_secs(120);
    stalling.clock = clock.clone();
    let old = writer(&shared, stalling).await;
    let before = orders(&old).await;
    commit(&before, "old").await.unwrap();
    let next = names(&*shared, "log").await.len() as u64 + 1;
    let new = writer(&shared, forgetful()).await;
    let after = orders(&new).await;
    for number in 0..5 {
        commit(&after, &format!("new{number}")).await.unwrap();
    }
    assert!(forget(&new).await > 0);
    let taken = Path::from(format!("log/{next:020}"));
    let gone = shared.head(&taken).await;
    assert!(gone.is_err(), "the fence was not deleted: the test shows nothing");
    clock.set(Timestamp::from_millis(3_600_000));
    let error = commit(&before, "zombie").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(shared.head(&taken).await.is_ok(), "its object was stored, and yet not acked");
    drop((new, after));
    let again = writer(&shared, options()).await;
    let texts = read_all(&orders(&again).await).await;
    assert_eq!(texts, ["old", "new0", "new1", "new2", "new3", "new4"]);
}

#[tokio::test]
async fn writer_that_was_idle_for_long_goes_on_when_nobody_took_over() {
    let shared = Arc::new(InMemory::new());
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
    let mut stalling = options();
    stalling.clock = clock.clone();
    let store = writer(&shared, stalling).await;
    let partition = orders(&store).await;
    for number in 1..5 {
        clock.set(Timestamp::from_millis(number * 3_600_000));
        commit(&partition, "after an hour").await.unwrap();
    }
    assert_eq!(read_all(&partition).await.len(), 4);
}

#[tokio::test]
async fn merged_and_forgotten_batches_are_read_from_segments() {
    let shared = Arc::new(InMemory::new());
    let mut small = forgetful();
    small.tail_bytes = 0;
    let store = writer(&shared, small.clone()).await;
    let partition = orders(&store).await;
    let other = store.open(&"other-3".parse().unwrap(), OpenOptions::or_create()).await.unwrap();
    let behind = reader(&shared, small.clone()).await;
    let left_behind =
        behind.open(&"orders-0".parse().unwrap(), OpenOptions::existing()).await.unwrap();
    let mut texts = Vec::new();
    for number in 0..50 {
        let text = format!("r{number}");
        commit(&partition, &text).await.unwrap();
        commit(&other, &text).await.unwrap();
        texts.push(text);
        if number == 20 {
            assert!(forget(&store).await > 20);
        }
    }
    partition.trim(partition.bounds().first_msn.plus(7)).await.unwrap();
    assert!(forget(&store).await > 40);
    assert!(names(&*shared, "log").await.len() < 6, "{:?}", names(&*shared, "log").await);
    assert_eq!(names(&*shared, "ckpt").await.len(), 1);
    assert_eq!(read_all(&partition).await, texts[7..]);
    assert_eq!(read_all(&other).await, texts);
    left_behind.refresh().await.unwrap();
    assert_eq!(read_all(&left_behind).await, texts[7..]);
    drop(store);
    let store = writer(&shared, small).await;
    assert_eq!(read_all(&orders(&store).await).await, texts[7..]);
}

#[tokio::test]
async fn removed_partitions_leave_no_objects() {
    let shared = Arc::new(InMemory::new());
    let store = writer(&shared, forgetful()).await;
    let partition = orders(&store).await;
    for number in 0..10 {
        commit(&partition, &format!("r{number}")).await.unwrap();
    }
    store.maintain().await.unwrap();
    assert_eq!(names(&*shared, "seg").await.len(), 1);
    store.remove(&"orders-0".parse().unwrap()).await.unwrap();
    forget(&store).await;
    assert_eq!(names(&*shared, "seg").await, [""; 0]);
}

#[tokio::test]
async fn reader_goes_on_over_takeovers_and_dead_objects() {
    let shared = Arc::new(InMemory::new());
    let first = writer(&shared, options()).await;
    commit(&orders(&first).await, "one").await.unwrap();
    let follower = reader(&shared, options()).await;
    let there = orders(&follower).await;
    // What an old writer's pipeline leaves beyond the fence of the next one: a copy of its newest.
    let newest = names(&*shared, "log").await.pop().unwrap();
    let stale = shared.get(&Path::from(newest)).await.unwrap().bytes().await.unwrap();
    let second = writer(&shared, options()).await;
    let seq = names(&*shared, "log").await.len() + 1;
    let mut dead = stale.to_vec();
    reseq(&mut dead, seq as u64);
    shared.put(&Path::from(format!("log/{seq:020}")), dead.into()).await.unwrap();
    commit(&orders(&second).await, "two").await.unwrap();
    there.refresh().await.unwrap();
    assert_eq!(read_all(&there).await, ["one", "two"]);
    let third = writer(&shared, options()).await;
    assert_eq!(read_all(&orders(&third).await).await, ["one", "two"]);
}

/// Gives a commit object another seq: bytes 20..28, under the CRC of the first 60.
fn reseq(object: &mut [u8], seq: u64) {
    object[20..28].copy_from_slice(&seq.to_be_bytes());
    let crc = crc_fast::crc32_iscsi(&object[..60]);
    object[60..64].copy_from_slice(&crc.to_be_bytes());
}

#[tokio::test]
async fn damaged_commit_object_is_refused_at_every_byte_of_its_directory() {
    let shared = Arc::new(InMemory::new());
    let store = writer(&shared, options()).await;
    commit(&orders(&store).await, "one").await.unwrap();
    drop(store);
    let newest = Path::from(names(&*shared, "log").await.pop().unwrap());
    let whole = shared.get(&newest).await.unwrap().bytes().await.unwrap();
    for at in 0..64 + 4 + 48 + 4 {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0x20;
        shared.put(&newest, damaged.into()).await.unwrap();
        let error = BucketStore::open(shared.clone(), options(), Access::Read).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}");
    }
}
