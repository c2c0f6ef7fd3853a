//! What cannot be done is said clearly, with its exit code, and changes nothing.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::run::{Place, Ran, exists, finish, msglog};

fn run(arguments: &[&str]) -> Ran {
    finish(msglog(arguments), b"line\n")
}

#[test]
fn command_that_cannot_be_understood_is_usage() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["consume", "fs:///tmp/x"],
        &["consume", "fs:///tmp/x", "t", "--from", "x"],
        &["produce", "/tmp/x", "t"],
        &["produce", "fs:///tmp/x", "t", "--durability", "maybe"],
        &["produce", "fs:///tmp/x", "t", "--key-separator", ""],
        &["produce", "fs:///tmp/x", "t", "--batch-lines", "0"],
    ] {
        assert_eq!(run(arguments).code, 64, "{arguments:?}");
    }
    let help = run(&["--help"]).success();
    assert!(String::from_utf8(help.stdout).unwrap().contains("Exit codes:"));
}

#[test]
fn unknown_scheme_or_key_of_the_url_is_named() {
    let place = Place::new();
    run(&["produce", "nosuch:///x", "t"]).fails_with(64, "unknown scheme `nosuch`");
    let url = format!("{}?colour=red", place.url());
    run(&["produce", &url, "t"]).fails_with(64, "colour");
    assert!(!exists(&place.path()));
}

#[test]
fn topic_name_that_is_a_path_is_refused() {
    let place = Place::new();
    for name in ["../x", "a/b", ".hidden", ""] {
        for command in ["produce", "consume", "describe"] {
            let ran = finish(place.command(command, &[name]), b"line\n");
            ran.fails_with(64, "topic name");
        }
    }
    assert!(!exists(&place.path()));
}

#[test]
fn store_or_topic_that_is_not_there_is_not_found_and_not_created() {
    let place = Place::new();
    for (command, topic) in [("consume", &["t"][..]), ("describe", &["t"]), ("topics", &[])] {
        place.run(command, topic).fails_with(3, "");
    }
    place.run("consume", &["t", "--follow"]).fails_with(3, "");
    assert!(!exists(&place.path()));
    place.produce(&["lines"], b"a\n");
    place.run("consume", &["other"]).fails_with(3, "other");
    place.run("describe", &["other"]).fails_with(3, "other");
    let topics = place.run("topics", &["-o", "json"]).success().json();
    assert_eq!(topics.as_array().unwrap().len(), 1);
}

#[test]
fn path_that_is_no_store_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let file = place.file("file", b"precious");
    let url = format!("fs://{}", file.display());
    for command in ["produce", "consume"] {
        let ran = run(&[command, &url, "t"]);
        assert_ne!(ran.code, 0, "{command}");
        assert!(ran.stderr.starts_with("msglog: "), "{}", ran.stderr);
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");

    let folder = place.path();
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("photo.jpg"), b"precious").unwrap();
    for command in ["produce", "consume", "topics"] {
        let arguments = if command == "topics" { &[][..] } else { &["t"] };
        let ran = finish(place.command(command, arguments), b"line\n");
        assert_ne!(ran.code, 0, "{command}");
    }
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["photo.jpg"]);
}

#[test]
fn store_of_a_newer_format_is_refused() {
    let place = Place::new();
    place.produce(&["lines"], b"a\n");
    let path = place.path().join("msglog.json");
    let mut about: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let version = about.as_object_mut().unwrap().values_mut().find(|value| value.is_u64());
    *version.unwrap() = 999.into();
    fs::write(&path, about.to_string()).unwrap();
    for command in ["produce", "consume"] {
        let ran = finish(place.command(command, &["lines"]), b"b\n");
        ran.fails_with(1, "999");
    }
}

#[test]
fn second_writer_is_locked_out_while_readers_are_not() {
    let place = Place::new();
    place.produce(&["lines"], b"a\n");
    let mut first =
        place.command("produce", &["lines", "--print-acks"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"b\n").unwrap();
    let mut ack = [0; 2];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut ack).unwrap();
    finish(place.command("produce", &["lines"]), b"c\n").fails_with(4, "lock");
    assert_eq!(place.consume(&["lines"]), b"a\nb\n");
    drop(stdin);
    assert!(first.wait().unwrap().success());
    place.produce(&["lines"], b"d\n");
    assert_eq!(place.consume(&["lines"]), b"a\nb\nd\n");
}

#[test]
fn oversized_message_names_its_line_and_keeps_those_before() {
    let place = Place::new();
    let input = [b"one\ntwo\n".to_vec(), vec![b'x'; 9 << 20], b"\nthree\n".to_vec()].concat();
    let ran = finish(place.command("produce", &["lines", "--print-acks"]), &input);
    ran.fails_with(1, "line 3");
    assert_eq!(ran.stdout, b"0\n1\n");
    assert_eq!(place.consume(&["lines"]), b"one\ntwo\n");
    // Far beyond every limit: not even read whole.
    let ran = finish(place.command("produce", &["lines"]), &vec![b'x'; 80 << 20]);
    ran.fails_with(1, "line 1");
}

#[test]
fn level_and_header_that_cannot_be_are_refused() {
    let place = Place::new();
    for (option, why) in [
        (["--compression", "lzma"], "none of none"),
        (["--compression", "zstd:99"], "level 99 of zstd is not -7 to 22"),
        (["--compression", "lz4:1"], "lz4 has no levels"),
        (["--header", "novalue"], "is not a name"),
        (["--header", "=x"], "is not a name"),
    ] {
        let arguments = [&["lines"][..], &option].concat();
        finish(place.command("produce", &arguments), b"a\n").fails_with(64, why);
    }
}

#[test]
fn options_that_an_existing_topic_does_not_match_are_refused() {
    let place = Place::new();
    place.produce(&["lines", "--partitions", "2", "--compression", "lz4"], b"a\n");
    for option in [["--partitions", "3"], ["--compression", "zstd"]] {
        let arguments = [&["lines"][..], &option].concat();
        finish(place.command("produce", &arguments), b"a\n").fails_with(64, option[0]);
    }
    place.produce(&["lines", "--partitions", "2", "--compression", "lz4"], b"b\n");
    finish(place.command("produce", &["new", "--partition", "1"]), b"a\n")
        .fails_with(3, "no partition 1");
    place.run("describe", &["new"]).fails_with(3, "new");
}

#[test]
fn input_that_cannot_be_read_creates_no_store() {
    let place = Place::new();
    place.run("produce", &["lines", "/nonexistent/file"]).fails_with(1, "/nonexistent/file");
    place.run("produce", &["lines", "/"]).fails_with(1, "folder");
    assert!(!exists(&place.path()));
}

/// A store of 1000 lines in batches of ten, after a clean close.
fn thousand() -> Place {
    let place = Place::new();
    let lines: String = (0..1000).map(|n| format!("{n}\n")).collect();
    place.produce(&["lines", "--batch-lines", "10"], lines.as_bytes());
    place
}

/// Asserts that consume prints these lines, names what is lost, and that appending goes on.
fn check_damaged(place: &Place, kept: impl Iterator<Item = u32>, lost: &str) {
    let kept: String = kept.map(|n| format!("{n}\n")).collect();
    let ran = place.run("consume", &["lines"]);
    ran.fails_with(2, lost);
    assert!(ran.stdout == kept.as_bytes(), "{lost}");
    let acks = place.produce(&["lines", "--print-acks"], b"new\n").stdout;
    assert_eq!(acks, b"1000\n", "no MSN is given twice");
    let ran = place.run("consume", &["lines"]);
    ran.fails_with(2, lost);
    assert!(ran.stdout == (kept + "new\n").as_bytes(), "{lost}");
}

#[test]
fn garbage_in_a_segment_loses_the_batch_it_hit_and_nothing_else() {
    let place = thousand();
    let segment = place.segment("lines");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8].copy_from_slice(b"garbage!");
    fs::write(&segment, bytes).unwrap();
    check_damaged(&place, (0..500).chain(510..1000), "MSNs 500..510 of partition 0 are lost");
}

#[test]
fn truncated_segment_loses_what_was_cut_and_nothing_else() {
    let place = thousand();
    let segment = place.segment("lines");
    let bytes = fs::read(&segment).unwrap();
    fs::write(&segment, &bytes[..bytes.len() / 2]).unwrap();
    check_damaged(&place, 0..500, "MSNs 500..1000 of partition 0 are lost");
}

#[test]
fn segment_of_nothing_but_garbage_is_lost_as_a_whole() {
    let place = thousand();
    let segment = place.segment("lines");
    let length = fs::read(&segment).unwrap().len();
    fs::write(&segment, crate::run::random_bytes(3, length)).unwrap();
    check_damaged(&place, 0..0, "MSNs 0..1000 of partition 0 are lost");
}
