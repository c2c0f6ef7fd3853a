//! What a commit promises: acked means stored, in order, whatever the storage answers.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::faulty::{Fault, Faulty};
use common::{append, commit, options, orders, read_all, reader, writer};
use msglog_core::store::{Access, DocumentKey, Expected, MessageStore, OpenOptions, Survives};
use msglog_core::{Effect, ErrorKind, Msn};
use msglog_object_store::BucketStore;
use object_store::memory::InMemory;

fn storage() -> Arc<Faulty<InMemory>> {
    Arc::new(Faulty::new(InMemory::new()))
}

#[tokio::test]
async fn acked_records_and_documents_are_there_after_reopening() {
    let storage = storage();
    let store = writer(&storage, options()).await;
    let partition = orders(&store).await;
    for number in 0..20 {
        commit(&partition, &format!("r{number}")).await.unwrap();
    }
    let key = DocumentKey::parse("topics/orders").unwrap();
    let version = store.save(&key, "first".into(), Expected::Absent).await.unwrap();
    append(&partition, "not synced").await.unwrap();
    drop(store);
    drop(partition);
    let store = writer(&storage, options()).await;
    let texts: Vec<_> = (0..20).map(|number| format!("r{number}")).collect();
    assert_eq!(read_all(&orders(&store).await).await, texts);
    let document = store.load(&key).await.unwrap().unwrap();
    assert_eq!((document.value.as_ref(), document.version), (b"first".as_slice(), version));
}

#[tokio::test]
async fn closing_makes_what_was_appended_durable() {
    let storage = storage();
    let store = writer(&storage, options()).await;
    let partition = orders(&store).await;
    append(&partition, "not synced").await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(append(&partition, "x").await.unwrap_err().kind(), ErrorKind::Closed);
    let store = reader(&storage, options()).await;
    assert_eq!(read_all(&orders(&store).await).await, ["not synced"]);
}

#[tokio::test]
async fn wrong_answers_neither_lose_nor_repeat_a_record() {
    use Fault::{LosesAnswer, Refuses, RefusesAsExisting, SaysExists};
    for faults in [
        vec![LosesAnswer],
        vec![SaysExists],
        vec![RefusesAsExisting],
        vec![Refuses],
        vec![Refuses, LosesAnswer],
        vec![RefusesAsExisting, Refuses, SaysExists],
    ] {
        let storage = storage();
        let store = writer(&storage, options()).await;
        let partition = orders(&store).await;
        commit(&partition, "before").await.unwrap();
        storage.next_puts(faults.clone());
        commit(&partition, "during").await.unwrap();
        commit(&partition, "after").await.unwrap();
        let store = writer(&storage, options()).await;
        let texts = read_all(&orders(&store).await).await;
        assert_eq!(texts, ["before", "during", "after"], "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn storm_of_faults_neither_loses_nor_repeats_an_acked_record() {
    for seed in 0..20 {
        let storage = storage();
        let mut options = options();
        options.flush_bytes = 300;
        options.give_up_after = Duration::from_secs(600);
        let store = writer(&storage, options.clone()).await;
        let partition = orders(&store).await;
        storage.storm(seed);
        storage.latency(Duration::from_millis(5));
        let mut texts = Vec::new();
        for number in 0..100 {
            let text = format!("r{number}");
            append(&partition, &text).await.unwrap();
            texts.push(text);
            if number % 7 == 0 {
                partition.sync().await.unwrap();
            }
        }
        partition.sync().await.unwrap();
        storage.calm();
        let store = writer(&storage, options).await;
        assert_eq!(read_all(&orders(&store).await).await, texts, "seed {seed}");
    }
}

#[tokio::test]
async fn storage_that_stays_silent_poisons_and_does_not_ack() {
    let storage = storage();
    let mut short = options();
    short.give_up_after = Duration::from_millis(300);
    let store = writer(&storage, short).await;
    let partition = orders(&store).await;
    commit(&partition, "acked").await.unwrap();
    storage.next_puts([Fault::Refuses; 50]);
    let error = commit(&partition, "lost").await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Unavailable, Effect::Unknown));
    assert_eq!(append(&partition, "x").await.unwrap_err().kind(), ErrorKind::Poisoned);
    storage.calm();
    let store = writer(&storage, options()).await;
    assert_eq!(read_all(&orders(&store).await).await, ["acked"]);
}

#[tokio::test]
async fn dropped_callers_leave_no_gap() {
    let storage = storage();
    storage.latency(Duration::from_millis(2));
    let store = writer(&storage, options()).await;
    let partition = orders(&store).await;
    for number in 0..30_u64 {
        append(&partition, &format!("r{number}")).await.unwrap();
        let impatient = Duration::from_micros(number * 150);
        let _ = tokio::time::timeout(impatient, partition.sync()).await;
    }
    partition.sync().await.unwrap();
    let store = writer(&storage, options()).await;
    assert_eq!(read_all(&orders(&store).await).await.len(), 30);
}

#[tokio::test]
async fn crash_at_any_put_keeps_a_prefix_with_all_that_was_acked() {
    for puts in 0..25 {
        let storage = storage();
        let shared = Arc::new(InMemory::new());
        drop(storage);
        let faulty = Arc::new(Faulty::new(shared.clone()));
        let mut options = options();
        options.flush_bytes = 200;
        let store = writer(&faulty, options.clone()).await;
        let partition = orders(&store).await;
        faulty.crash_after(puts);
        let mut acked = Msn::ZERO;
        for number in 0..20 {
            append(&partition, &format!("r{number}")).await.unwrap();
            let sync = tokio::time::timeout(Duration::from_millis(20), partition.sync()).await;
            let Ok(durable) = sync else { break };
            acked = durable.unwrap();
        }
        drop((store, partition));
        let store = BucketStore::open(shared, options, Access::Write).await.unwrap();
        let texts = read_all(&orders(&store).await).await;
        assert!(texts.len() as u64 >= acked.get(), "{puts}: {} of {acked}", texts.len());
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(*text, format!("r{number}"));
        }
    }
}

#[tokio::test]
async fn documents_are_compared_with_changes_that_are_under_way() {
    let storage = storage();
    let store = Arc::new(writer(&storage, options()).await);
    storage.latency(Duration::from_millis(5));
    let key = DocumentKey::parse("lease").unwrap();
    let saves = (0..8).map(|number| {
        let (store, key) = (store.clone(), key.clone());
        async move { store.save(&key, format!("{number}").into(), Expected::Absent).await }
    });
    let answers = futures::future::join_all(saves).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    let version = answers.into_iter().find_map(Result::ok).unwrap();
    assert!(store.discard(&key, Expected::Version(version)).await.unwrap());
    assert_eq!(store.load(&key).await.unwrap(), None);
    let again = store.save(&key, "again".into(), Expected::Absent).await.unwrap();
    assert_ne!(again, version, "a version never comes back");
}

#[tokio::test]
async fn storage_that_overwrites_is_refused() {
    let storage = storage();
    storage.overwrites();
    let mut remote = options();
    remote.survives = Survives::Remote;
    let error = BucketStore::open(storage, remote, Access::Write).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("overwrote"), "{error}");
}

#[tokio::test]
async fn removed_partition_starts_empty_when_created_again() {
    let storage = storage();
    let store = writer(&storage, options()).await;
    let name = "orders-0".parse().unwrap();
    let partition = orders(&store).await;
    commit(&partition, "old").await.unwrap();
    assert!(store.remove(&name).await.unwrap());
    assert!(!store.remove(&name).await.unwrap());
    assert_eq!(append(&partition, "x").await.unwrap_err().kind(), ErrorKind::Closed);
    let again = store.open(&name, OpenOptions::or_create_at(Msn::new(7))).await.unwrap();
    assert_eq!(again.bounds().next_msn, Msn::new(7));
    commit(&again, "new").await.unwrap();
    let store = writer(&storage, options()).await;
    assert_eq!(read_all(&orders(&store).await).await, ["new"]);
}

#[tokio::test]
async fn unsynced_batches_leave_by_themselves() {
    let storage = storage();
    let mut quick = options();
    quick.flush_interval = Duration::from_millis(20);
    let store = writer(&storage, quick).await;
    let partition = orders(&store).await;
    append(&partition, "not synced").await.unwrap();
    assert_eq!(partition.bounds().durable_msn, Msn::ZERO);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(partition.bounds().durable_msn, Msn::new(1));
    let store = reader(&storage, options()).await;
    assert_eq!(read_all(&orders(&store).await).await, ["not synced"]);
}

#[tokio::test]
async fn append_waits_while_too_much_is_not_durable() {
    let storage = storage();
    let mut narrow = options();
    narrow.unsynced_bytes_max = 1_000;
    let store = writer(&storage, narrow).await;
    let partition = orders(&store).await;
    storage.freeze();
    let mut taken = 0;
    let waited = loop {
        let append = append(&partition, "some text that fills a batch");
        match tokio::time::timeout(Duration::from_millis(50), append).await {
            Ok(appended) => appended.unwrap(),
            Err(_) => break true,
        };
        taken += 1;
        assert!(taken < 100, "nothing bounds what waits");
    };
    assert!(waited && taken > 3, "{taken} batches were taken");
    storage.thaw();
    append(&partition, "goes on").await.unwrap();
    partition.sync().await.unwrap();
    assert_eq!(read_all(&partition).await.len(), taken + 1);
}
