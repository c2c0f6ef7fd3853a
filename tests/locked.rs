//! Who opens a log that another holds, or has just dropped.

#![cfg(feature = "fs")]

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use msglog::{ErrorKind, Log, LogBuilder, MsgLog, Msn, Result, open, open_with};

fn url_in(folder: &tempfile::TempDir) -> String {
    format!("fs://{}/log", folder.path().display())
}

fn waiting(wait: Duration) -> LogBuilder {
    Log::builder().lock_wait(wait)
}

/// The thread that has written the last record may still be at the end of its turn: the more often,
/// the busier the machine is.
#[tokio::test(flavor = "multi_thread")]
async fn log_dropped_right_after_a_record_opens_again() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let busy = Arc::new(());
    for _ in 0..4 {
        let busy = Arc::downgrade(&busy);
        std::thread::spawn(move || while busy.strong_count() > 0 {});
    }
    for already in 0..300 {
        let log = open(&url_in(&folder)).await?;
        let orders = log.topic("orders").await?;
        let mut tail = orders.subscribe(0, Msn::new(already))?;
        let appended = orders.append("an order").await?;
        assert_eq!(appended.msn().get(), already);
        assert_eq!(tail.next().await.unwrap()?.msn.get(), already);
    }
    Ok(())
}

#[tokio::test]
async fn second_writer_waits_for_as_long_as_it_is_told() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let url = url_in(&folder);
    let first = open(&url).await?;
    for wait in [Duration::ZERO, Duration::from_millis(50)] {
        let refused = open_with(&url, waiting(wait)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Locked, "after {wait:?}");
    }
    let second = tokio::spawn(async move { open_with(&url, waiting(Duration::MAX)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished());
    first.close().await?;
    second.await.unwrap()?.close().await
}
