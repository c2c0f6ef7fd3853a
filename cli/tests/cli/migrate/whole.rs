//! A migration that nothing disturbs.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use msglog::{Access, Log, Msn};
use serde_json::json;

use super::places::{migrate, records, rich, thousand};
use crate::run::Place;

async fn check_commits(url: &str) {
    let log = msglog::open_with(url, Log::builder().access(Access::Read)).await.unwrap();
    let orders = log.topic("orders").await.unwrap();
    assert_eq!(orders.partition_count(), 3);
    assert_eq!(orders.config().compression.codec, msglog::Compression::Lz4);
    let billing = orders.consumer("billing").unwrap();
    assert_eq!(billing.committed(1).await.unwrap(), Some(Msn::new(5)));
    assert_eq!(billing.committed(0).await.unwrap(), None);
    let empty = log.topic("empty").await.unwrap();
    assert_eq!(empty.bounds(1).await.unwrap().next_msn, Msn::ZERO);
    msglog::MsgLog::close(&log).await.unwrap();
}

#[tokio::test]
async fn records_bounds_configurations_and_commits_are_the_same() {
    let (source, destination) = (rich().await, Place::new());
    let summary = migrate(&source.url(), &destination.url(), &["--verify", "-o", "json"]);
    let summary = summary.success().json();
    assert_eq!((&summary["verified"], &summary["documents"]), (&json!(true), &json!(5)));
    assert_eq!(records(&source.url()), records(&destination.url()));
    check_commits(&destination.url()).await;
    for topic in ["orders", "trimmed", "empty"] {
        let describe = |place: &Place| {
            let about = place.run("describe", &[topic, "-o", "json"]).success().json();
            let partitions = about["partitions"].as_array().unwrap().clone();
            let bounds = |one: &serde_json::Value| {
                (one["first_msn"].clone(), one["next_msn"].clone(), one["bytes"].clone())
            };
            (about["config"].clone(), partitions.iter().map(bounds).collect::<Vec<_>>())
        };
        assert_eq!(describe(&source), describe(&destination), "{topic}");
    }
    // The log goes on where it was.
    let acks = destination.produce(&["trimmed", "--print-acks"], b"next\n").stdout;
    assert_eq!(acks, b"300\n");
}

#[test]
fn compacted_topic_keeps_its_msns_and_what_is_not_there_is_not_lost() {
    let (source, destination) = (Place::new(), Place::new());
    source.produce(&["lines", "--key-separator", "="], b"a=0\n");
    let shown = source.run("configure", &["lines", "--compact", "--tombstone-grace", "1h"]);
    assert!(String::from_utf8(shown.success().stdout).unwrap().contains("tombstones stay 3600s"));
    let updates: String = (0..300).map(|n| format!("{}={n}\n", ["a", "b", "c"][n % 3])).collect();
    source.produce(&["lines", "--key-separator", "="], updates.as_bytes());
    source.run("compact", &["lines"]).success();
    let kept = records(&source.url());
    migrate(&source.url(), &destination.url(), &["--verify"]).success();
    assert_eq!(records(&destination.url()), kept);
    let lines = kept["lines"].iter().filter(|byte| **byte == b'\n').count();
    assert!((3..300).contains(&lines), "{lines} records are left");
    migrate(&source.url(), &destination.url(), &["--verify"]).success();
    let acks = destination.produce(&["lines", "--key-separator", "=", "--print-acks"], b"a=1\n");
    assert_eq!(acks.stdout, b"301\n");
}

#[tokio::test]
async fn second_run_finds_nothing_to_do() {
    let (source, destination) = (rich().await, Place::new());
    migrate(&source.url(), &destination.url(), &[]).success();
    let again = migrate(&source.url(), &destination.url(), &["-o", "json"]).success().json();
    assert_eq!((&again["records"], &again["documents"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn chosen_topics_go_and_others_stay_as_they_are() {
    let (source, destination) = (rich().await, Place::new());
    destination.produce(&["other"], b"there before\n");
    migrate(&source.url(), &destination.url(), &[]).fails_with(6, "other");
    let arguments = ["--topic", "trimmed", "--topic", "empty", "--verify"];
    migrate(&source.url(), &destination.url(), &arguments).success();
    let (ours, theirs) = (records(&source.url()), records(&destination.url()));
    let names: Vec<_> = theirs.keys().map(String::as_str).collect();
    assert_eq!(names, ["empty", "other", "trimmed"]);
    assert_eq!(ours["trimmed"], theirs["trimmed"]);
    migrate(&source.url(), &destination.url(), &["--topic", "nosuch"]).fails_with(3, "nosuch");
}

#[test]
fn piped_run_prints_a_table_and_no_bar() {
    let (source, destination) = (thousand(), Place::new());
    let ran = migrate(&source.url(), &destination.url(), &["--verify"]).success();
    assert_eq!(ran.stderr, "");
    let table = String::from_utf8(ran.stdout).unwrap();
    assert!(table.starts_with("PARTITION  FIRST_MSN  NEXT_MSN  COPIED"), "{table}");
    assert!(table.contains("lines-0    0          1000      1000"), "{table}");
}

#[test]
fn running_writer_goes_on_and_a_later_run_copies_the_rest() {
    let (source, destination) = (Place::new(), Place::new());
    let mut writer = source
        .command("produce", &["lines", "--print-acks"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    let mut acks = BufReader::new(writer.stdout.take().unwrap());
    for n in 0..3 {
        writeln!(stdin, "line {n}").unwrap();
        acks.read_line(&mut String::new()).unwrap();
        migrate(&source.url(), &destination.url(), &["--verify"]).success();
        assert_eq!(records(&source.url()), records(&destination.url()));
    }
    drop(stdin);
    assert!(writer.wait().unwrap().success());
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn way_over_sled_and_back_changes_nothing() {
    way_over("sled").await;
}

#[cfg(feature = "object-store")]
#[tokio::test]
async fn way_over_objects_and_back_changes_nothing() {
    way_over("file+object").await;
}

#[cfg(feature = "rocksdb")]
#[tokio::test]
async fn way_over_rocksdb_and_back_changes_nothing() {
    way_over("rocksdb").await;
}

#[cfg(any(feature = "sled", feature = "object-store", feature = "rocksdb"))]
async fn way_over(scheme: &str) {
    let (source, between, destination) = (rich().await, Place::new(), Place::new());
    let url = format!("{scheme}://{}", between.path().display());
    let arguments = ["--verify", "-o", "json"];
    let out = migrate(&source.url(), &url, &arguments).success().json();
    // Again, so that what is there is compared, too.
    migrate(&source.url(), &url, &arguments).success();
    let back = migrate(&url, &destination.url(), &arguments).success().json();
    let digests = |summary: &serde_json::Value| -> Vec<_> {
        let partitions = summary["partitions"].as_array().unwrap();
        partitions.iter().map(|partition| partition["verified"].clone()).collect()
    };
    assert_eq!(digests(&out), digests(&back));
    assert_eq!(records(&source.url()), records(&destination.url()));
    check_commits(&destination.url()).await;
}
