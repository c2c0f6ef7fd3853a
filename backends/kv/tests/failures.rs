//! What a store over a database keeps to when the database fails, and its folder.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests end a test by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{DROPS_MAX, Map, Shared};
use msglog_conformance::sample::Samples;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore, ReadLimit};
use msglog_core::{Effect, Error, ErrorKind, Msn, RecordBatch};
use msglog_kv::Store;

fn run(from: Msn, count: usize) -> Vec<RecordBatch> {
    Samples::new(7).run(from, count).unwrap()
}

async fn opened(folder: &Path, content: &Shared) -> (Store<Map>, Arc<dyn PartitionStore>) {
    let store = Store::<Map>::open(folder, content.clone()).await.unwrap();
    let name = "orders-0".parse().unwrap();
    let there = store.open(&name, OpenOptions::or_create()).await.unwrap();
    (store, there)
}

async fn read_all(there: &Arc<dyn PartitionStore>) -> Vec<RecordBatch> {
    there.read(Msn::ZERO, ReadLimit::bytes(usize::MAX)).await.unwrap()
}

fn unknown() -> Error {
    Error::new(ErrorKind::Unavailable, "no answer").with_unknown_effect()
}

/// What every change answers once the partition is poisoned, and that reads go on.
async fn check_poisoned(there: &Arc<dyn PartitionStore>) {
    let next = there.bounds().next_msn;
    let appended = there.append(run(next, 1)).await.unwrap_err();
    let trimmed = there.trim(Msn::MAX).await.unwrap_err();
    let synced = there.sync().await.unwrap_err();
    for error in [appended, trimmed, synced] {
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Poisoned, Effect::NotApplied));
    }
    let next = there.bounds().next_msn;
    assert_eq!(read_all(there).await.last().map(RecordBatch::next_msn), Some(next));
}

#[tokio::test]
async fn append_of_unknown_effect_poisons_until_reopened() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (store, there) = opened(folder.path(), &content).await;
    let batches = run(Msn::ZERO, 5);
    there.append(batches[..4].to_vec()).await.unwrap();
    content.lock().unwrap().fails = Some(unknown());
    let error = there.append(batches[4..].to_vec()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    check_poisoned(&there).await;
    assert_eq!(read_all(&there).await, batches[..4]);
    drop((store, there));
    let (_store, there) = opened(folder.path(), &content).await;
    assert_eq!(read_all(&there).await, batches);
    there.append(run(there.bounds().next_msn, 1)).await.unwrap();
}

#[tokio::test]
async fn append_that_changed_nothing_can_be_tried_again() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (_store, there) = opened(folder.path(), &content).await;
    let batches = run(Msn::ZERO, 2);
    let wrong = there.append(batches[1..].to_vec()).await.unwrap_err();
    assert_eq!((wrong.kind(), wrong.effect()), (ErrorKind::Conflict, Effect::NotApplied));
    there.append(batches.clone()).await.unwrap();
    assert_eq!(read_all(&there).await, batches);
}

#[tokio::test]
async fn read_looks_at_no_batch_beyond_its_limit() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (_store, there) = opened(folder.path(), &content).await;
    let batches = run(Msn::ZERO, 4);
    there.append(batches.clone()).await.unwrap();
    content.lock().unwrap().looked_at = 0;
    assert_eq!(there.read(Msn::ZERO, ReadLimit::bytes(1)).await.unwrap(), batches[..1]);
    assert_eq!(content.lock().unwrap().looked_at, 1);
}

#[tokio::test]
async fn hole_ends_at_the_next_batch_whatever_the_limit() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (_store, there) = opened(folder.path(), &content).await;
    let batches = run(Msn::ZERO, 4);
    there.append(batches.clone()).await.unwrap();
    content.lock().unwrap().damage(batches[1].base_msn());
    let from = batches[1].base_msn();
    assert_eq!(there.read(from, ReadLimit::bytes(1)).await.unwrap(), batches[2..3]);
    assert_eq!(there.holes(), [from..batches[2].base_msn()]);
}

#[tokio::test]
async fn failed_sync_moves_no_bound_and_poisons() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (_store, there) = opened(folder.path(), &content).await;
    there.append(run(Msn::ZERO, 3)).await.unwrap();
    content.lock().unwrap().fails_sync = Some(unknown());
    assert_eq!(there.sync().await.unwrap_err().effect(), Effect::Unknown);
    assert_eq!(there.bounds().durable_msn, Msn::ZERO);
    check_poisoned(&there).await;
}

#[tokio::test]
async fn panic_of_the_database_is_an_error_and_poisons() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (_store, there) = opened(folder.path(), &content).await;
    there.append(run(Msn::ZERO, 3)).await.unwrap();
    content.lock().unwrap().panics = true;
    let error = there.append(run(there.bounds().next_msn, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Corrupt, Effect::Unknown));
    check_poisoned(&there).await;
}

#[tokio::test]
async fn failed_close_is_told_once() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (store, there) = opened(folder.path(), &content).await;
    content.lock().unwrap().fails_sync = Some(unknown());
    assert_eq!(store.close().await.unwrap_err().kind(), ErrorKind::Unavailable);
    store.close().await.unwrap();
    assert_eq!(there.sync().await.unwrap_err().kind(), ErrorKind::Closed);
}

/// Trims or truncates in steps, stopping after the first, and answers what is left.
async fn stopped_between_steps(trims: bool) -> (Vec<RecordBatch>, Vec<RecordBatch>) {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (store, there) = opened(folder.path(), &content).await;
    let batches = run(Msn::ZERO, 3 * DROPS_MAX + 1);
    there.append(batches.clone()).await.unwrap();
    {
        let mut content = content.lock().unwrap();
        (content.steps, content.stops_between_steps) = (0, true);
    }
    let outcome = if trims { there.trim(Msn::MAX).await } else { there.truncate(Msn::ZERO).await };
    assert_eq!(outcome.unwrap_err().effect(), Effect::Unknown);
    check_poisoned(&there).await;
    let seen = read_all(&there).await;
    drop((store, there));
    content.lock().unwrap().stops_between_steps = false;
    let (_store, there) = opened(folder.path(), &content).await;
    assert_eq!(read_all(&there).await, seen);
    let bounds = there.bounds();
    assert_eq!(Some(bounds.first_msn), seen.first().map(RecordBatch::base_msn));
    assert_eq!(bounds.next_msn, seen.last().unwrap().next_msn());
    let bytes: usize = seen.iter().map(RecordBatch::encoded_len).sum();
    assert_eq!(there.usage().await.unwrap().bytes, bytes as u64);
    there.append(run(bounds.next_msn, 1)).await.unwrap();
    (batches, seen)
}

#[tokio::test]
async fn trim_that_stops_midway_has_dropped_the_oldest() {
    let (batches, seen) = stopped_between_steps(true).await;
    assert_eq!(seen, batches[DROPS_MAX..]);
}

#[tokio::test]
async fn truncation_that_stops_midway_has_dropped_the_newest() {
    let (batches, seen) = stopped_between_steps(false).await;
    assert_eq!(seen, batches[..batches.len() - DROPS_MAX]);
}

#[tokio::test]
async fn replace_is_one_step_whatever_it_drops() {
    let (folder, content) = (tempfile::tempdir().unwrap(), Shared::default());
    let (_store, there) = opened(folder.path(), &content).await;
    let batches = run(Msn::ZERO, 4 * DROPS_MAX);
    there.append(batches.clone()).await.unwrap();
    content.lock().unwrap().steps = 0;
    let end = there.bounds().next_msn;
    let last = batches.last().unwrap();
    there.replace(Msn::ZERO..last.base_msn(), Vec::new()).await.unwrap();
    assert_eq!(content.lock().unwrap().steps, 1);
    assert_eq!(read_all(&there).await, std::slice::from_ref(last));
    assert_eq!(there.bounds().next_msn, end);
}

#[tokio::test]
async fn folder_that_is_something_else_is_refused_and_left_alone() {
    for (name, text, kind) in [
        ("photo.jpg", "x", ErrorKind::Invalid),
        ("msglog.json", "{\"format\":1,\"uuid\":\"u\"}", ErrorKind::Invalid),
        ("msglog.json", "{\"store\":\"sled\",\"format\":1}\n", ErrorKind::Invalid),
        ("msglog.json", "{\"store\":\"map\",\"format\":2}\n", ErrorKind::Unsupported),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), text).unwrap();
        let error = Store::<Map>::open(folder.path(), Shared::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let file = folder.path().join(name);
        let error = Store::<Map>::open(&file, Shared::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
}
