//! What would lose or mix something is refused, and the destination left as it is.

use std::fs;
use std::process::Stdio;

use msglog::batch::{BatchBuilder, BatchOptions, DecodeLimits, RecordBatch};
use msglog::{Message, Msn};

use super::places::{copy_changed, files, migrate, records, thousand};
use crate::run::{Place, exists};

/// The batch that holds MSN 505 with another payload there, its checksum right.
fn planted(batch: RecordBatch) -> RecordBatch {
    if !(batch.base_msn()..batch.next_msn()).contains(&Msn::new(505)) {
        return batch;
    }
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in batch.records(DecodeLimits::default()).unwrap() {
        let record = record.unwrap();
        let is_planted = record.msn == Msn::new(505);
        let payload = if is_planted { "xxx".into() } else { record.payload.unwrap() };
        builder.push(Message::new(payload), record.timestamp).unwrap();
    }
    let mut planted = builder.build().unwrap();
    planted.stamp(batch.base_msn(), batch.leader_epoch());
    planted
}

/// Asserts that a migration is refused and changes no byte of the destination.
fn check_refused(source: &Place, destination: &Place, arguments: &[&str], code: i32, why: &str) {
    let before = files(&destination.path());
    migrate(&source.url(), &destination.url(), arguments).fails_with(code, why);
    assert_eq!(files(&destination.path()), before, "{why}");
}

#[test]
fn destination_that_holds_something_else_is_left_untouched() {
    let source = thousand();
    let other_records = Place::new();
    other_records.produce(&["lines"], b"not\nthe\nsame\n");
    check_refused(&source, &other_records, &[], 6, "lines-0 differs from MSN 0");
    let longer = thousand();
    longer.produce(&["lines"], b"one more\n");
    check_refused(&source, &longer, &[], 6, "0..1001");
    let other_topic = Place::new();
    other_topic.produce(&["else"], b"a\n");
    check_refused(&source, &other_topic, &[], 6, "else-0, which the source has not");
    let other_config = Place::new();
    other_config.produce(&["lines", "--compression", "lz4"], b"");
    check_refused(&source, &other_config, &[], 6, "topics/lines");
}

#[tokio::test]
async fn verify_finds_a_planted_difference_before_anything_is_written() {
    let (source, destination) = (thousand(), Place::new());
    copy_changed(&source, &destination, planted).await;
    source.produce(&["lines"], b"one more\n");
    check_refused(&source, &destination, &["--verify"], 6, "lines-0 differs from MSN 505");
    let same = Place::new();
    copy_changed(&source, &same, |batch| batch).await;
    migrate(&source.url(), &same.url(), &["--verify"]).success();
}

#[test]
fn lost_msns_are_named_and_kept_as_a_hole_only_when_asked_for() {
    let source = thousand();
    let segment = source.segment("lines");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].copy_from_slice(b"garbage!");
    fs::write(&segment, bytes).unwrap();

    let destination = Place::new();
    let ran = migrate(&source.url(), &destination.url(), &["--verify"]);
    ran.fails_with(2, "the source has lost MSNs 500..510 of lines-0");
    let topics = destination.run("topics", &["-o", "json"]).success().json();
    assert_eq!(topics[0]["records"].as_u64().map_or(0, |records| records % 500), 0);

    let arguments = ["--verify", "--holes", "keep", "-o", "json"];
    for copied in [990, 0] {
        let summary = migrate(&source.url(), &destination.url(), &arguments).success().json();
        let partition = &summary["partitions"][0];
        assert_eq!(partition["verified"]["records"], 990);
        assert!(partition["records"].as_u64().unwrap() <= copied);
    }
    let kept: String = (0..500).chain(510..1000).map(|n| format!("{n}\n")).collect();
    assert!(destination.consume(&["lines"]) == kept.as_bytes());
    let msn = destination.consume(&["lines", "--from", "505", "-n", "1", "--format", "%m"]);
    assert_eq!(msn, b"510");
}

#[test]
fn batch_that_the_destination_does_not_take_is_named() {
    let (source, destination) = (Place::new(), Place::new());
    source.produce(&["lines"], &[b"small\n".to_vec(), vec![b'x'; 5000]].concat());
    let url = format!("{}?segment_bytes=1024", destination.url());
    migrate(&source.url(), &url, &[]).fails_with(1, "takes at most");
    migrate(&source.url(), &destination.url(), &["--verify"]).success();
    assert_eq!(records(&source.url()), records(&destination.url()));
}

#[test]
fn places_that_cannot_be_used_are_told_apart() {
    let (source, destination) = (thousand(), Place::new());
    migrate(&source.url(), &source.url(), &[]).fails_with(64, "same place");
    migrate(&destination.url(), &source.url(), &[]).fails_with(3, "source fs://");
    assert!(!exists(&destination.path()));
    migrate(&source.url(), "nosuch:///x", &[]).fails_with(64, "unknown scheme `nosuch`");
    migrate(&source.url(), &destination.url(), &[]).success();
    let mut writer = destination
        .command("produce", &["other", "--print-acks"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // Until it has the place.
    let mut stdin = writer.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"x\n").unwrap();
    std::io::Read::read_exact(writer.stdout.as_mut().unwrap(), &mut [0; 2]).unwrap();
    source.produce(&["lines"], b"y\nz\n");
    let ran = migrate(&source.url(), &destination.url(), &["--topic", "lines"]);
    ran.fails_with(4, "destination fs://");
    drop(stdin);
    writer.wait().unwrap();
}

#[cfg(not(feature = "sled"))]
#[test]
fn store_that_is_not_built_names_its_feature() {
    let ran = migrate(&thousand().url(), "sled:///x", &[]);
    ran.fails_with(64, "needs the cargo feature `sled`");
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn store_that_opens_once_says_so_when_it_is_open() {
    let place = Place::new();
    let url = format!("sled://{}", place.path().display());
    let open = msglog::registry().open(&url, msglog::Access::Write).await.unwrap();
    migrate(&url, &Place::new().url(), &[]).fails_with(4, "opens once at a time");
    open.close().await.unwrap();
}
