//! `configure`, `clean` and `consumers`, as their users run them.

use serde_json::Value;

use crate::run::{Place, Ran, finish, msglog};

fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap()
}

fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| format!("line {number}\n")).collect()
}

#[test]
fn clean_trims_what_retention_no_longer_keeps_and_the_archive_has_it() {
    let place = Place::new();
    place.produce(&["lines"], lines(0..50).as_bytes());
    let nothing = json(&place.run("clean", &["-o", "json"]).success());
    assert_eq!(nothing["trimmed"], serde_json::json!([]));
    let config = place.run("configure", &["lines", "--max-age", "1ms", "-o", "json"]).success();
    assert_eq!(json(&config)["config"]["retention"]["age_ms"], 1);
    std::thread::sleep(std::time::Duration::from_millis(20));
    let archive = format!("fs://{}", place.path().with_file_name("archive").display());
    let report = place.run("clean", &["--archive", &archive, "-o", "json"]).success();
    assert_eq!(json(&report)["trimmed"][0]["to"], 50);
    assert!(place.run("consume", &["lines"]).success().stdout.is_empty());
    let kept = finish(msglog(&["consume", &archive, "lines"]), b"").success();
    assert_eq!(kept.stdout, lines(0..50).as_bytes());
}

#[test]
fn refused_topic_ends_produce_with_its_own_code_until_it_accepts() {
    let place = Place::new();
    place.produce(&["lines"], lines(0..3).as_bytes());
    place.run("configure", &["lines", "--refuse-at", "0:5"]).success();
    let refused = finish(place.command("produce", &["lines"]), lines(3..9).as_bytes());
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains("MSN 5"), "{}", refused.stderr);
    let text = place.run("describe", &["lines"]).success();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("admission    partition 0 refuses at MSN 5"), "{text}");
    place.run("configure", &["lines", "--accept"]).success();
    place.produce(&["lines"], lines(3..9).as_bytes());
    assert_eq!(place.run("consume", &["lines"]).success().stdout, lines(0..9).as_bytes());
}

#[test]
fn consumers_are_listed_reset_and_deleted() {
    let place = Place::new();
    place.produce(&["lines"], lines(0..10).as_bytes());
    let none = json(&place.run("describe", &["lines", "-o", "json"]).success());
    assert_eq!(none["consumers"], serde_json::json!([]));
    let consumers = |arguments: &[&str]| {
        let url = place.url();
        let all = ["consumers", arguments[0], &url];
        finish(msglog(&[&all, &arguments[1..]].concat()), b"")
    };
    consumers(&["reset", "lines", "billing", "--to", "7"]).success();
    let listed = json(&consumers(&["list", "-o", "json"]).success());
    assert_eq!(listed[0]["consumer"], "billing");
    assert_eq!(listed[0]["lag"], 3);
    assert_eq!(listed[0]["partitions"][0]["committed"], 7);
    let back = consumers(&["reset", "lines", "billing", "--since", "1h", "-o", "json"]).success();
    assert_eq!(json(&back), serde_json::json!([{ "partition": 0, "committed": 0 }]));
    assert_eq!(consumers(&["reset", "lines", "billing", "--to", "11"]).code, 64);
    consumers(&["delete", "lines", "billing"]).success();
    assert_eq!(consumers(&["delete", "lines", "billing"]).code, 3);
    assert_eq!(json(&consumers(&["list", "-o", "json"]).success()), serde_json::json!([]));
}

#[test]
fn store_that_is_not_there_is_not_made() {
    let place = Place::new();
    assert_eq!(place.run("clean", &[]).code, 3);
    assert_eq!(place.run("configure", &["lines", "--refuse"]).code, 3);
    assert!(!place.path().exists());
}
