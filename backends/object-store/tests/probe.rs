//! Real servers at the first look: those that keep put-if-absent are taken, others refused.

#![cfg(feature = "aws")]

#[path = "services/mod.rs"]
mod services;

use msglog_core::ErrorKind;
use msglog_core::store::{Access, Survives};

#[tokio::test]
async fn server_that_overwrites_is_refused() {
    let Some(url) = services::url("MSGLOG_TEST_S3_OVERWRITING_URL") else { return };
    let url = services::below(&url, &services::unique("probe"));
    let error = services::open(&url, Access::Write).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("overwrote"), "{error}");
}

#[tokio::test]
async fn server_that_keeps_put_if_absent_is_taken_as_remote() {
    let Some(url) = services::url("MSGLOG_TEST_S3_URL") else { return };
    let url = services::below(&url, &services::unique("probe"));
    let store = services::open(&url, Access::Write).await.unwrap();
    assert_eq!(store.capabilities().sync_survives, Survives::Remote);
    let shown = format!("{store:?} {:?}", store.info()).to_lowercase();
    assert!(!shown.contains("secret") && !shown.contains("credential"), "{shown}");
}

#[tokio::test]
async fn reading_where_nothing_is_answers_not_found() {
    let Some(url) = services::url("MSGLOG_TEST_S3_URL") else { return };
    let url = services::below(&url, &services::unique("nothing"));
    let error = services::open(&url, Access::Read).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}
