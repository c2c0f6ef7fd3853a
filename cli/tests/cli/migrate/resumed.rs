//! A migration that is interrupted, and goes on.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::places::{migrate, records, thousand};
use crate::run::{Place, exists, finish, msglog};

/// How many records a store has; none when there is no such store yet.
fn count(place: &Place) -> u64 {
    if !exists(&place.path()) {
        return 0;
    }
    let topics = finish(msglog(&["topics", &place.url(), "-o", "json"]), b"");
    if topics.code != 0 { 0 } else { topics.json()[0]["records"].as_u64().unwrap_or(0) }
}

#[test]
fn killed_run_is_gone_on_with_where_it_was() {
    let (source, destination) = (Place::new(), Place::new());
    let lines: Vec<u8> = (0..30_000).flat_map(|n| format!("{n:01000}\n").into_bytes()).collect();
    source.produce(&["lines", "--batch-lines", "10"], &lines);
    let mut partial = Vec::new();
    // From too early for anything to the end, in steps that meet every stage.
    for step in 0..40 {
        let mut child = msglog(&["migrate", &source.url(), &destination.url()]).spawn().unwrap();
        thread::sleep(Duration::from_millis(10).mul_f64(1.3_f64.powi(step)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let copied = count(&destination);
        assert!(copied >= partial.last().copied().unwrap_or(0), "records went away");
        partial.push(copied);
    }
    eprintln!("records after each kill: {partial:?}");
    assert!(!partial.is_empty(), "no run was killed in time");
    let arguments = ["--verify", "-o", "json"];
    let summary = migrate(&source.url(), &destination.url(), &arguments).success().json();
    assert_eq!(summary["partitions"][0]["verified"]["records"], 30_000);
    assert!(records(&source.url()) == records(&destination.url()));
}

#[tokio::test]
async fn run_goes_on_behind_what_is_there() {
    let source = thousand();
    let beginning = Place::new();
    migrate(&source.url(), &beginning.url(), &[]).success();
    source.produce(&["lines"], b"new\n");
    let summary = migrate(&source.url(), &beginning.url(), &["-o", "json"]).success().json();
    assert_eq!(summary["partitions"][0]["resumed_at"], 1000);
    assert_eq!(summary["records"], 1);
    assert_eq!(records(&source.url()), records(&beginning.url()));
}

#[tokio::test]
async fn commits_that_moved_on_are_brought_up_to_date_and_never_back() {
    let (source, destination) = (thousand(), Place::new());
    let commit = async |place: &Place, msn| {
        let log = msglog::open(&place.url()).await.unwrap();
        let consumer = log.topic("lines").await.unwrap().consumer("c").unwrap();
        consumer.commit(0, msglog::Msn::new(msn)).await.unwrap();
        msglog::MsgLog::close(&log).await.unwrap();
    };
    commit(&source, 10).await;
    migrate(&source.url(), &destination.url(), &[]).success();
    commit(&source, 20).await;
    let summary = migrate(&source.url(), &destination.url(), &["-o", "json"]).success().json();
    assert_eq!(summary["documents"], json!(1));
    commit(&destination, 30).await;
    migrate(&source.url(), &destination.url(), &[]).fails_with(6, "commits/c/lines");
}
