//! `bench`: the same measurements on any store, in an empty place that is left as it was found.

use std::collections::BTreeSet;
use std::fs;

use crate::run::{Place, Ran, exists, finish, msglog};

/// So short that all of them take a few seconds.
const SHORT: [&str; 8] =
    ["--json", "--seconds", "0.005", "--log-bytes", "20000", "--producers", "3", "--sizes"];

fn bench(url: &str, arguments: &[&str]) -> Ran {
    let mut command = msglog(&["bench", url]);
    command.args(SHORT).arg("100,2000").args(arguments);
    finish(command, b"")
}

fn lines(ran: &Ran) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&ran.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(lines: &[serde_json::Value]) -> BTreeSet<&str> {
    lines.iter().map(|line| line["name"].as_str().unwrap()).collect()
}

/// Every line has figures that fit together, or says why it has none.
fn check(line: &serde_json::Value) {
    let figure = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
    if let Some(why) = line["skipped"].as_str() {
        assert!(!why.is_empty() && line.get("operations").is_none(), "{line}");
        return;
    }
    let (count, seconds) = (figure("operations"), figure("seconds"));
    assert!(count >= 1.0 && seconds > 0.0, "{line}");
    let rate = figure("operations_per_second");
    assert!((rate - count / seconds).abs() <= rate * 1e-6, "{line}");
    let carries = ["append/", "producers/", "tail/", "replay", "read", "record", "document-save"];
    let name = line["name"].as_str().unwrap();
    if carries.iter().any(|prefix| name.starts_with(prefix)) && name != "reopen" {
        let bytes = figure("payload_bytes");
        let moved = figure("bytes_per_second");
        assert!((moved - rate * bytes).abs() <= moved * 1e-6, "{line}");
    }
    if !name.starts_with("append-window") && !name.starts_with("replay") {
        assert!(0.0 < figure("p50_us") && figure("p50_us") <= figure("p99_us"), "{line}");
    }
    assert!(figure("cpu_us_per_operation") > 0.0, "{line}");
}

#[test]
fn bench_measures_the_same_on_every_store_and_leaves_no_trace() {
    let place = Place::new();
    let list = finish(msglog(&["bench", "--list", "--json", "--sizes", "100,2000"]), b"").success();
    let list = lines(&list);
    let fs = lines(&bench(&place.url(), &[]).success());
    let memory = lines(&bench("memory:", &[]).success());
    for of_store in [&fs, &memory] {
        of_store.iter().for_each(check);
        assert_eq!(names(of_store), names(&list));
    }
    assert!(fs.iter().all(|line| line["store"] == "fs" && line.get("skipped").is_none()));
    let skipped = |line: &&serde_json::Value| line.get("skipped").is_some();
    let skipped: Vec<_> = memory.iter().filter(skipped).cloned().collect();
    let skipped = names(&skipped);
    assert!(skipped.contains("reopen") && skipped.contains("append/os/100"), "{skipped:?}");
    assert!(!skipped.contains("append/sync/100") && !skipped.contains("replay/100"));
    assert!(!exists(&place.path()));
}

#[test]
fn bench_leaves_an_empty_folder_and_an_empty_store_as_they_were() {
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    bench(&place.url(), &["--filter", "append/sync,commit"]).success();
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);

    // A store with its identity, and nothing in it any more.
    place.produce(&["lines"], b"");
    fs::remove_dir_all(place.path().join("documents")).unwrap();
    fs::remove_dir_all(place.path().join("lines-0")).unwrap();
    let identity = || {
        let manifest = fs::read(place.path().join("msglog.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&manifest).unwrap()["uuid"].clone()
    };
    let before = identity();
    bench(&place.url(), &["--filter", "append/sync,commit"]).success();
    assert!(before.is_string());
    assert_eq!(identity(), before);
    assert_eq!(place.run("topics", &["-o", "json"]).success().json(), serde_json::json!([]));
}

#[test]
fn bench_refuses_a_place_that_holds_something_and_changes_nothing() {
    let place = Place::new();
    place.produce(&["lines"], b"a\nb\n");
    bench(&place.url(), &[]).fails_with(6, "not empty, it holds partition lines-0");
    assert_eq!(place.consume(&["lines"]), b"a\nb\n");

    let folder = place.file("note", b"mine").parent().unwrap().to_owned();
    let ran = bench(&format!("fs://{}", folder.display()), &[]);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(fs::read(folder.join("note")).unwrap(), b"mine");
}

#[test]
fn bench_that_is_stopped_by_a_signal_leaves_no_trace() {
    use std::time::{Duration, Instant};
    let place = Place::new();
    let mut command = place.command("bench", &["--seconds", "60", "--filter", "append/sync/100"]);
    let child = command.spawn().unwrap();
    let started = Instant::now();
    while !exists(&place.path().join("bench-0")) {
        assert!(started.elapsed() < Duration::from_secs(60), "it never began");
        std::thread::sleep(Duration::from_millis(5));
    }
    crate::run::send_signal(&child, "INT");
    let ran = crate::run::ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(!exists(&place.path()));
}

#[test]
fn bench_prints_a_table_for_people() {
    let ran = finish(
        msglog(&["bench", "memory:", "--seconds", "0.01", "--filter", "append/sync/100,reopen"]),
        b"",
    )
    .success();
    let text = String::from_utf8(ran.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap().split_whitespace().next().unwrap(), "MEASUREMENT", "{text}");
    assert!(lines.next().unwrap().starts_with("append/sync/100 "), "{text}");
    assert_eq!(
        lines.next().unwrap(),
        "reopen: not measured: nothing survives a close of this store"
    );
}

#[test]
fn bench_that_cannot_be_understood_is_refused() {
    let run = |arguments: &[&str]| finish(msglog(arguments), b"");
    run(&["bench"]).fails_with(64, "URL");
    run(&["bench", "memory:", "--filter", "nothing"]).fails_with(64, "no measurement has");
    run(&["bench", "memory:", "--seconds", "0"]).fails_with(64, "0.001 to 3600");
    run(&["bench", "memory:", "--sizes", "0"]).fails_with(64, "0 is not in");
    run(&["bench", "nowhere:"]).fails_with(64, "nowhere");
}
