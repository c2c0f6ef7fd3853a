//! Documents: compare-and-swap, also between stores; damage; names that contain each other.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::*;
use msglog_core::ErrorKind;
use msglog_core::store::{Access, DocumentKey, Expected, MessageStore};
use msglog_fs::io::SimFs;
use msglog_fs::{DOCUMENT_BYTES_MAX, FsOptions, FsStore};

fn key(text: &str) -> DocumentKey {
    DocumentKey::parse(text).unwrap()
}

#[tokio::test]
async fn document_is_changed_only_from_the_expected_version() {
    let root = tempfile::tempdir().unwrap();
    let store = FsStore::open(root.path(), options()).await.unwrap();
    assert_eq!(store.load(&key("a")).await.unwrap(), None);
    let first = store.save(&key("a"), "1".into(), Expected::Absent).await.unwrap();
    let error = store.save(&key("a"), "2".into(), Expected::Absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let second = store.save(&key("a"), "2".into(), Expected::Version(first)).await.unwrap();
    for expected in [Expected::Absent, Expected::Version(first)] {
        let error = store.discard(&key("a"), expected).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
    assert!(store.discard(&key("a"), Expected::Version(second)).await.unwrap());
    assert!(!store.discard(&key("a"), Expected::Any).await.unwrap());
    let third = store.save(&key("a"), "".into(), Expected::Absent).await.unwrap();
    assert!(third != first && third != second, "a version came back");
    let document = store.load(&key("a")).await.unwrap().unwrap();
    assert_eq!((document.value.len(), document.version), (0, third));
}

#[tokio::test]
async fn keys_within_keys_are_told_apart_and_listed_by_prefix() {
    let root = tempfile::tempdir().unwrap();
    let store = FsStore::open(root.path(), options()).await.unwrap();
    let keys = ["a", "a/b", "a/b/c", "ab", "b/a"];
    for text in keys {
        store.save(&key(text), text.into(), Expected::Absent).await.unwrap();
    }
    drop(store);
    let store = FsStore::open(root.path(), FsOptions::new(Access::Read)).await.unwrap();
    for text in keys {
        assert_eq!(store.load(&key(text)).await.unwrap().unwrap().value, text);
    }
    let list = |prefix: &'static str| store.documents(prefix);
    assert_eq!(list("").await.unwrap(), keys.map(key));
    assert_eq!(list("a/").await.unwrap(), ["a/b", "a/b/c"].map(key));
    assert_eq!(list("ab").await.unwrap(), [key("ab")]);
}

#[tokio::test]
async fn readers_and_the_writer_count_together_without_loss() {
    let root = tempfile::tempdir().unwrap();
    let mut stores = vec![FsStore::open(root.path(), options()).await.unwrap()];
    for _ in 0..3 {
        stores.push(FsStore::open(root.path(), FsOptions::new(Access::Read)).await.unwrap());
    }
    let counting = stores.into_iter().map(|store| {
        tokio::spawn(async move {
            for _ in 0..10 {
                loop {
                    let seen = store.load(&key("count")).await.unwrap();
                    let count: u64 = seen.as_ref().map_or(0, |seen| {
                        String::from_utf8(seen.value.to_vec()).unwrap().parse().unwrap()
                    });
                    let expected = Expected::from(seen.map(|seen| seen.version));
                    let value = (count + 1).to_string();
                    match store.save(&key("count"), value.into(), expected).await {
                        Ok(_) => break,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                    }
                }
            }
        })
    });
    for task in counting.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let store = FsStore::open(root.path(), FsOptions::new(Access::Read)).await.unwrap();
    assert_eq!(store.load(&key("count")).await.unwrap().unwrap().value, "40");
}

#[tokio::test]
async fn document_beyond_the_limit_is_too_large_and_a_damaged_one_corrupt() {
    let root = tempfile::tempdir().unwrap();
    let store = FsStore::open(root.path(), options()).await.unwrap();
    let at_limit = vec![7; DOCUMENT_BYTES_MAX];
    store.save(&key("big"), at_limit.clone().into(), Expected::Any).await.unwrap();
    let beyond = vec![7; DOCUMENT_BYTES_MAX + 1];
    let error = store.save(&key("big"), beyond.into(), Expected::Any).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(store.load(&key("big")).await.unwrap().unwrap().value, at_limit);

    store.save(&key("small"), "value".into(), Expected::Any).await.unwrap();
    let path = root.path().join("documents/small");
    let whole = std::fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        for bytes in [&flipped, &whole[..place]] {
            std::fs::write(&path, bytes).unwrap();
            let error = store.load(&key("small")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "at {place}");
        }
    }
}

#[tokio::test]
async fn saved_document_survives_any_power_cut_whole() {
    for seed in 0..300 {
        let fs = SimFs::new();
        let mut saved = 0_u64;
        let (store, _) = open_sim(&fs, options()).await.unwrap();
        fs.cut_power_after(seed % 40);
        for count in 1..20_u64 {
            let value = vec![u8::try_from(count).unwrap(); 2000];
            if store.save(&key("t/a"), value.into(), Expected::Any).await.is_err() {
                break;
            }
            saved = count;
        }
        drop(store);
        fs.crash(seed);
        let (store, _) = open_sim(&fs, options()).await.unwrap();
        let found = store.load(&key("t/a")).await.unwrap();
        let found = found.map_or(0, |document| {
            let first = document.value[0];
            assert!(document.value.iter().all(|byte| *byte == first), "seed {seed}: torn");
            u64::from(first)
        });
        assert!(found == saved || found == saved + 1, "seed {seed}: {found}, saved {saved}");
    }
}
