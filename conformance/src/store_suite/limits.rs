//! The numbers that a store names, and those that the types allow: at the limit and one beyond.

use bytes::Bytes;
use msglog_core::store::{DocumentKey, Expected, ReadLimit};
use msglog_core::{ErrorKind, Msn};

use crate::case::{MULTI, Need, cases};
use crate::cx::{check_refused, key, read_all};
use crate::sample::check_same;
use crate::{CaseResult, Cx, ensure, ensure_eq};

cases! { "limits":
    largest_batch_is_taken [Need::ReachableLimits] { runtimes: MULTI };
    batch_beyond_the_limit_is_refused [Need::ReachableLimits] { runtimes: MULTI };
    largest_document_is_taken [Need::ReachableLimits] { runtimes: MULTI };
    document_beyond_the_limit_is_refused [Need::ReachableLimits] { runtimes: MULTI };
    longest_document_keys_are_kept_apart;
    extreme_arguments_of_read_and_trim_are_harmless;
}

/// A batch of exactly `batch_bytes_max` bytes is taken and comes back.
pub async fn largest_batch_is_taken(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let bytes_max = cx.capabilities().batch_bytes_max;
    let batch = cx.samples().batch_of_bytes(Msn::ZERO, bytes_max)?;
    opened.append_each(std::slice::from_ref(&batch)).await?;
    opened.append_each(&cx.samples().run(Msn::new(1), 1)?).await?;
    let found = opened.partition.read(Msn::ZERO, ReadLimit::bytes(1)).await?;
    check_same(&found, &[batch], "the largest batch")
}

/// A batch one byte larger is `TooLarge`, and no batch of its call is applied.
pub async fn batch_beyond_the_limit_is_refused(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let bytes_max = cx.capabilities().batch_bytes_max;
    let small = cx.samples().batch(Msn::ZERO, 1)?;
    let large = cx.samples().batch_of_bytes(Msn::new(1), bytes_max + 1)?;
    let answer = opened.partition.append(vec![small.clone(), large]).await;
    check_refused(answer, ErrorKind::TooLarge, "append of one byte beyond batch_bytes_max")?;
    ensure_eq!(opened.partition.bounds().next_msn, Msn::ZERO, "next_msn");
    ensure!(read_all(&opened.partition, Msn::ZERO).await?.is_empty(), "a part was applied");
    opened.append_each(&[small]).await
}

/// A document of exactly `document_bytes_max` bytes is taken and comes back.
pub async fn largest_document_is_taken(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let value = Bytes::from(vec![b'd'; cx.capabilities().document_bytes_max]);
    store.save(&key("large")?, value.clone(), Expected::Absent).await?;
    let found = store.load(&key("large")?).await?.map(|document| document.value);
    ensure!(found == Some(value), "the largest document came back otherwise");
    Ok(())
}

/// A document one byte larger is `TooLarge`, and what was there stays.
pub async fn document_beyond_the_limit_is_refused(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let name = key("large")?;
    store.save(&name, "small".into(), Expected::Absent).await?;
    let value = Bytes::from(vec![b'd'; cx.capabilities().document_bytes_max + 1]);
    let answer = store.save(&name, value, Expected::Any).await;
    check_refused(answer, ErrorKind::TooLarge, "save of one byte beyond document_bytes_max")?;
    let found = store.load(&name).await?.map(|document| document.value);
    ensure_eq!(found, Some(Bytes::from("small")), "value");
    Ok(())
}

/// Keys of 700 bytes and parts of 200 bytes work and do not collide.
pub async fn longest_document_keys_are_kept_apart(cx: Cx) -> CaseResult {
    let store = cx.open().await?;
    let part = "k".repeat(200);
    let whole = format!("{part}/{part}/{part}/{}", "k".repeat(700 - 3 * 201));
    let other = format!("{}x", whole.get(..699).unwrap_or_default());
    let deep = vec!["a"; 350].join("/");
    for name in [&part, &whole, &other, &deep] {
        store.save(&key(name)?, name.clone().into(), Expected::Absent).await?;
    }
    for name in [&part, &whole, &other, &deep] {
        let found = store.load(&key(name)?).await?.map(|document| document.value);
        ensure!(found == Some(name.clone().into()), "a key of {} bytes is lost", name.len());
    }
    let all: Vec<DocumentKey> = store.documents("").await?;
    ensure_eq!(all.len(), 4, "number of documents");
    Ok(())
}

/// The largest MSN and the largest byte limit are arguments like any other.
pub async fn extreme_arguments_of_read_and_trim_are_harmless(cx: Cx) -> CaseResult {
    let opened = cx.open_partition().await?;
    let batches = cx.samples().run(Msn::ZERO, 5)?;
    opened.append_each(&batches).await?;
    let found = opened.partition.read(Msn::ZERO, ReadLimit::bytes(usize::MAX)).await?;
    ensure!(!found.is_empty(), "a read without limit answered nothing");
    let found = opened.partition.read(Msn::MAX, ReadLimit::bytes(usize::MAX)).await?;
    ensure!(found.is_empty(), "a read from the largest MSN answered something");
    let next = opened.partition.bounds().next_msn;
    ensure_eq!(opened.partition.trim(Msn::MAX).await?, next, "trim before the largest MSN");
    opened.append_each(&cx.samples().run(next, 1)?).await
}
