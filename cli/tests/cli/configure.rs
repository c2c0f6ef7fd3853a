//! What `configure` promises: what is named changes, the rest stays, and mistakes change nothing.

use serde_json::json;

use crate::run::{Place, finish};

#[test]
fn configuration_changes_where_it_is_named_and_stays_elsewhere() {
    let place = Place::new();
    place.produce(&["lines", "--compression", "zstd:3"], b"a\n");
    let rules = json!(["key-required", {"payload-bytes": {"min": 1, "max": 5}}]);
    let file = place.file("rules.json", rules.to_string().as_bytes());
    let file = file.to_str().unwrap();
    let options =
        ["lines", "--partitions", "2", "--linger-us", "500", "--rules", file, "-o", "json"];
    let config = place.run("configure", &options).success().json()["config"].clone();
    assert_eq!(config["partitions"], 2);
    assert_eq!(config["linger_us"], 500);
    assert_eq!(config["compression"], json!({"codec": "zstd", "level": 3, "bytes_min": 0}));
    assert_eq!(config["constraints"], json!({"version": 1, "rules": rules}));

    let options = ["lines", "--compression-bytes-min", "100", "--batch-bytes-max", "4096"];
    place.run("configure", &options).success();
    let text = String::from_utf8(place.run("describe", &["lines"]).success().stdout).unwrap();
    for line in [
        "compression  zstd:3\n             from 100 bytes on",
        "linger       500µs",
        "batch bytes  4096",
        "rules        version 1\n             \"key-required\"",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn line_that_breaks_a_rule_is_named_and_those_before_it_are_kept() {
    let place = Place::new();
    place.produce(&["lines"], b"");
    let file = place.file("rules.json", br#"[{"payload-bytes": {"max": 5}}]"#);
    place.run("configure", &["lines", "--rules", file.to_str().unwrap()]).success();
    let ran = finish(place.command("produce", &["lines"]), b"one\ntwo\nthirteen\nfour\n");
    ran.fails_with(1, "line 3: topic `lines`: rule `payload-bytes`");
    assert_eq!(place.consume(&["lines"]), b"one\ntwo\n");
    let file = place.file("none.json", b"[]");
    place.run("configure", &["lines", "--rules", file.to_str().unwrap()]).success();
    place.produce(&["lines"], b"thirteen\n");
}

#[test]
fn configuration_that_cannot_be_changes_nothing() {
    let place = Place::new();
    place.run("configure", &["lines", "--partitions", "2"]).fails_with(3, "");
    assert!(!place.path().join("msglog.json").exists(), "a store was created");
    place.produce(&["lines", "--partitions", "2"], b"a\n");
    place.run("configure", &["other", "--partitions", "2"]).fails_with(3, "other");
    place.run("configure", &["lines", "--partitions", "1"]).fails_with(64, "only grows");
    place.run("configure", &["lines", "--compression", "gzip:0"]).fails_with(64, "level 0");
    place.run("configure", &["lines"]).fails_with(64, "required");
    for (name, text) in [("a", "[\"keyrequired\"]"), ("b", "{}"), ("c", "nonsense")] {
        let file = place.file(name, text.as_bytes());
        let options = ["lines", "--rules", file.to_str().unwrap()];
        place.run("configure", &options).fails_with(1, "no JSON array of rules");
    }
    let config = place.run("describe", &["lines", "-o", "json"]).success().json()["config"].clone();
    assert_eq!(config["partitions"], 2);
    assert_eq!(config.get("constraints"), None);
}
