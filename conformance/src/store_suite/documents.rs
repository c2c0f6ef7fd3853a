//! Documents: small values under names, changed by compare-and-swap, durable when saved.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use msglog_core::store::{DocumentKey, Expected, MessageStore, Survives, Version};
use msglog_core::{Effect, ErrorKind};

use crate::case::{Need, cases};
use crate::cx::{check_refused, create, key};
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "documents":
    missing_document_loads_as_none;
    saved_document_loads_as_it_was_saved;
    absent_is_refused_once_it_is_there;
    stale_version_is_refused_and_changes_nothing;
    any_replaces_whatever_is_there;
    version_of_a_missing_document_is_refused;
    every_save_has_a_version_of_its_own;
    discard_answers_whether_it_was_there;
    discard_of_a_stale_version_changes_nothing;
    documents_are_listed_in_order_by_prefix;
    keys_that_extend_each_other_are_kept_apart;
    empty_and_binary_values_come_back;
    documents_and_partitions_do_not_mix;
    racing_creators_have_one_winner;
    racing_counters_lose_no_step;
    documents_survive_drop_and_reopen [REOPENS];
    discards_survive_drop_and_reopen [REOPENS];
    versions_do_not_come_back_after_reopen [REOPENS];
}

async fn value(store: &Arc<dyn MessageStore>, name: &DocumentKey) -> CaseResult<Option<Bytes>> {
    Ok(store.load(name).await?.map(|document| document.value))
}

/// What was never saved loads as `None`.
pub async fn missing_document_loads_as_none(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    ensure_eq!(store.load(&key("topics/orders")?).await?, None, "a missing document");
    ensure_eq!(store.documents("").await?, Vec::new(), "documents of a fresh store");
    Ok(())
}

/// A load after a save answers the value and the version that the save answered.
pub async fn saved_document_loads_as_it_was_saved(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("topics/orders")?;
    let mut expected = Expected::Absent;
    for text in ["one", "two, which is longer", "3"] {
        let version = store.save(&name, text.into(), expected).await?;
        let Some(found) = store.load(&name).await? else {
            return Err(Failure::new("a saved document is missing"));
        };
        ensure_eq!(found.value, Bytes::from(text), "value");
        ensure_eq!(found.version, version, "version");
        expected = Expected::Version(version);
    }
    Ok(())
}

/// `Expected::Absent` is a `Conflict` where there is a document, which stays.
pub async fn absent_is_refused_once_it_is_there(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("leases/writer")?;
    store.save(&name, "first".into(), Expected::Absent).await?;
    let answer = store.save(&name, "second".into(), Expected::Absent).await;
    check_refused(answer, ErrorKind::Conflict, "save of what is there as absent")?;
    ensure_eq!(value(&store, &name).await?, Some("first".into()), "value");
    Ok(())
}

/// A save that expects an older version is a `Conflict` and changes nothing.
pub async fn stale_version_is_refused_and_changes_nothing(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("topics/orders")?;
    let first = store.save(&name, "first".into(), Expected::Absent).await?;
    let second = store.save(&name, "second".into(), Expected::Version(first)).await?;
    let answer = store.save(&name, "stale".into(), Expected::Version(first)).await;
    check_refused(answer, ErrorKind::Conflict, "save over a stale version")?;
    let found = store.load(&name).await?;
    ensure_eq!(found.as_ref().map(|d| d.version), Some(second), "version after a refused save");
    ensure_eq!(found.map(|d| d.value), Some("second".into()), "value after a refused save");
    Ok(())
}

/// `Expected::Any` creates and replaces.
pub async fn any_replaces_whatever_is_there(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    for text in ["1", "22", ""] {
        store.save(&name, text.into(), Expected::Any).await?;
        ensure_eq!(value(&store, &name).await?, Some(text.into()), "value");
    }
    Ok(())
}

/// Expecting a version of a document that is not there is a `Conflict`, for save and discard.
pub async fn version_of_a_missing_document_is_refused(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    let version = store.save(&name, "x".into(), Expected::Any).await?;
    store.discard(&name, Expected::Any).await?;
    let expected = Expected::Version(version);
    let answer = store.save(&name, "y".into(), expected).await;
    check_refused(answer, ErrorKind::Conflict, "save over a discarded version")?;
    let answer = store.discard(&name, expected).await;
    check_refused(answer, ErrorKind::Conflict, "discard of a discarded version")?;
    ensure_eq!(store.load(&name).await?, None, "the document");
    Ok(())
}

/// No two states of a document have the same version, also after discard and with equal values.
pub async fn every_save_has_a_version_of_its_own(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    let mut seen: Vec<Version> = Vec::new();
    for round in 0..30 {
        if round % 5 == 4 {
            store.discard(&name, Expected::Any).await?;
        }
        let version = store.save(&name, "same".into(), Expected::Any).await?;
        ensure!(!seen.contains(&version), "save {round} answered the version of an earlier one");
        seen.push(version);
    }
    Ok(())
}

/// `discard` answers whether there was a document, and afterwards there is none.
pub async fn discard_answers_whether_it_was_there(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    ensure!(!store.discard(&name, Expected::Any).await?, "there was nothing to discard");
    ensure!(!store.discard(&name, Expected::Absent).await?, "there was nothing to discard");
    let version = store.save(&name, "x".into(), Expected::Any).await?;
    ensure!(store.discard(&name, Expected::Version(version)).await?, "it was there");
    ensure_eq!(store.load(&name).await?, None, "the document after discard");
    ensure_eq!(store.documents("").await?, Vec::new(), "documents after discard");
    store.save(&name, "again".into(), Expected::Absent).await?;
    Ok(())
}

/// A discard that expects another state is a `Conflict` and changes nothing.
pub async fn discard_of_a_stale_version_changes_nothing(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/a")?;
    let first = store.save(&name, "first".into(), Expected::Any).await?;
    store.save(&name, "second".into(), Expected::Any).await?;
    for expected in [Expected::Version(first), Expected::Absent] {
        let answer = store.discard(&name, expected).await;
        check_refused(answer, ErrorKind::Conflict, "discard of another state")?;
    }
    ensure_eq!(value(&store, &name).await?, Some("second".into()), "value");
    Ok(())
}

/// `documents` lists the keys whose text starts with the prefix, sorted, each once.
pub async fn documents_are_listed_in_order_by_prefix(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let mut names = ["b", "a/b", "a/b-c", "a", "a/b/c", "a.b", "ab", "a/B", "a/10", "a/9"];
    for name in names {
        store.save(&key(name)?, name.into(), Expected::Absent).await?;
        store.save(&key(name)?, "again".into(), Expected::Any).await?;
    }
    names.sort_unstable();
    for prefix in ["", "a", "a/", "a/b", "a/b/", "a/1", "b", "zzz", "/"] {
        let found = store.documents(prefix).await?;
        let found: Vec<_> = found.iter().map(DocumentKey::as_str).collect();
        let wanted: Vec<_> = names.into_iter().filter(|name| name.starts_with(prefix)).collect();
        ensure_eq!(found, wanted, "documents with prefix `{prefix}`");
    }
    Ok(())
}

/// A key may be the beginning of others, folder-like or not.
pub async fn keys_that_extend_each_other_are_kept_apart(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let names = ["a/b/c/d", "a", "a/b", "a/b/c", "a-b", "a.tmp", "A", "a/b.tmp", "LOCK"];
    for name in names {
        store.save(&key(name)?, name.into(), Expected::Absent).await?;
    }
    store.discard(&key("a/b")?, Expected::Any).await?;
    for name in names {
        let wanted = (name != "a/b").then(|| Bytes::from(name));
        ensure_eq!(value(&store, &key(name)?).await?, wanted, "document {name}");
    }
    Ok(())
}

/// An empty value is not a missing one, and every byte comes back.
pub async fn empty_and_binary_values_come_back(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let all: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    for (name, bytes) in [("empty", Vec::new()), ("zeros", vec![0; 4_096]), ("all", all)] {
        let wanted = Bytes::from(bytes);
        store.save(&key(name)?, wanted.clone(), Expected::Absent).await?;
        let found = value(&store, &key(name)?).await?;
        ensure!(found == Some(wanted), "document {name} came back otherwise");
    }
    Ok(())
}

/// A document with the name of a partition is neither listed as one nor in its way.
pub async fn documents_and_partitions_do_not_mix(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    create(&store, "orders-0").await?;
    store.save(&key("orders-0")?, "document".into(), Expected::Absent).await?;
    store.save(&key("stock-0")?, "document".into(), Expected::Absent).await?;
    let partitions: Vec<_> = store.partitions().await?.iter().map(ToString::to_string).collect();
    ensure_eq!(partitions, vec!["orders-0".to_owned()], "partitions");
    ensure_eq!(store.documents("").await?.len(), 2, "number of documents");
    Ok(())
}

/// Of many that create the same document at once, exactly one succeeds.
pub async fn racing_creators_have_one_winner(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    for round in 0..10 {
        let name = key(&format!("leases/{round}"))?;
        let racers = (0..8).map(|racer| {
            let (store, name) = (Arc::clone(&store), name.clone());
            let text = Bytes::from(format!("racer {racer}"));
            tokio::spawn(
                async move { (text.clone(), store.save(&name, text, Expected::Absent).await) },
            )
        });
        let mut winners = Vec::new();
        for answer in join_all(racers).await {
            match answer {
                Ok((text, Ok(_))) => winners.push(text),
                Ok((_, Err(error))) if error.kind() == ErrorKind::Conflict => {
                    ensure_eq!(error.effect(), Effect::NotApplied, "effect of the conflict");
                }
                Ok((_, Err(error))) => return Err(error.into()),
                Err(cause) => return Err(Failure::new(format!("a racing save ended: {cause}"))),
            }
        }
        ensure_eq!(winners.len(), 1, "number of winners");
        ensure_eq!(value(&store, &name).await?, winners.pop(), "the winner's value");
    }
    Ok(())
}

/// Counters that load, add one and save what they loaded lose no step, however they race.
pub async fn racing_counters_lose_no_step(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("commits/counter")?;
    store.save(&name, Bytes::from_static(&[0]), Expected::Absent).await?;
    let racers = (0..6).map(|_| {
        let (store, name) = (Arc::clone(&store), name.clone());
        let task = tokio::spawn(async move {
            for _ in 0..20 {
                count_one(&store, &name).await?;
            }
            Ok::<_, Failure>(())
        });
        async { task.await.map_err(|cause| Failure::new(format!("a counter ended: {cause}")))? }
    });
    try_join_all(racers).await?;
    let last = value(&store, &name).await?.and_then(|bytes| bytes.first().copied());
    ensure_eq!(last, Some(120), "the count after 6 times 20 steps");
    Ok(())
}

async fn count_one(store: &Arc<dyn MessageStore>, name: &DocumentKey) -> CaseResult {
    loop {
        let Some(found) = store.load(name).await? else {
            return Err(Failure::new("the counter is gone"));
        };
        let count = found.value.first().copied().unwrap_or(0).wrapping_add(1);
        tokio::task::yield_now().await;
        let next = Bytes::from(vec![count]);
        match store.save(name, next, Expected::Version(found.version)).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A document is durable when `save` returns: no sync, no close.
pub async fn documents_survive_drop_and_reopen(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("topics/orders")?;
    store.save(&name, "old".into(), Expected::Absent).await?;
    let version = store.save(&name, "new".into(), Expected::Any).await?;
    drop(store);
    let store = cx.open_once_free().await?;
    ensure_eq!(value(&store, &name).await?, Some("new".into()), "value after reopen");
    store.save(&name, "newer".into(), Expected::Version(version)).await?;
    Ok(())
}

/// A discard is durable when it returns.
pub async fn discards_survive_drop_and_reopen(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    for name in ["kept", "gone"] {
        store.save(&key(name)?, name.into(), Expected::Absent).await?;
    }
    store.discard(&key("gone")?, Expected::Any).await?;
    drop(store);
    let store = cx.open_once_free().await?;
    ensure_eq!(store.documents("").await?, vec![key("kept")?], "documents after reopen");
    Ok(())
}

/// A version from before a reopen is never that of a state saved after it, however often that is.
pub async fn versions_do_not_come_back_after_reopen(cx: Cx) -> CaseResult {
    let name = key("commits/a")?;
    let mut seen = Vec::new();
    for opening in 1..=4 {
        let store = cx.open().await?;
        for round in 0..3 {
            let version = store.save(&name, "again".into(), Expected::Any).await?;
            let old = seen.contains(&version);
            ensure!(!old, "save {round} of opening {opening} answered an old version");
            seen.push(version);
        }
        store.discard(&name, Expected::Any).await?;
        store.close().await?;
    }
    Ok(())
}
