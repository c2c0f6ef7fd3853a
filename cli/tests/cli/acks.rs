//! What is printed as acked is there, whatever ends the command.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::run::{Place, finish, ran, send_signal};

#[test]
fn every_msn_is_printed_once_in_order() {
    let place = Place::new();
    let input = b"line\n".repeat(12_345);
    let printed = place.produce(&["lines", "--durability", "sync", "--print-acks"], &input).stdout;
    let expected: String = (0..12_345).map(|msn| format!("{msn}\n")).collect();
    assert!(printed == expected.as_bytes());
    let printed = place.produce(&["lines", "--print-acks"], b"more").stdout;
    assert_eq!(printed, b"12345\n");
}

#[test]
fn msns_of_several_partitions_are_printed_with_theirs() {
    let place = Place::new();
    let arguments = ["lines", "--partitions", "2", "--print-acks", "--key-separator", ":"];
    let printed = place.produce(&arguments, b"a:1\nb:2\nc:3\nd:4\n").stdout;
    let mut lines: Vec<_> = std::str::from_utf8(&printed).unwrap().lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = Vec::new();
    for line in place.consume(&["lines", "--format", r"%p:%m\n"]).lines() {
        expected.push(line.unwrap());
    }
    expected.sort_unstable();
    assert_eq!(lines, expected);
    let arguments = ["lines", "--partition", "1", "--print-acks"];
    assert!(!place.produce(&arguments, b"x\n").stdout.contains(&b':'));
}

#[test]
fn line_is_acked_while_the_input_stays_open() {
    let place = Place::new();
    let mut child =
        place.command("produce", &["lines", "--print-acks"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut acks = BufReader::new(child.stdout.take().unwrap());
    for msn in 0..3 {
        writeln!(stdin, "line {msn}").unwrap();
        let mut ack = String::new();
        acks.read_line(&mut ack).unwrap();
        assert_eq!(ack, format!("{msn}\n"));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn killed_command_leaves_every_printed_msn() {
    let place = Place::new();
    let mut child =
        place.command("produce", &["lines", "--print-acks"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::spawn(move || {
        for n in 0.. {
            if writeln!(stdin, "line {n}").is_err() {
                return;
            }
        }
    });
    thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    child.wait().unwrap();
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    let acked = whole.lines().count();
    assert!(acked > 0, "nothing was acked in time");
    let kept = place.consume(&["lines"]);
    let kept: Vec<_> = std::str::from_utf8(&kept).unwrap().lines().collect();
    assert!(kept.len() >= acked, "{acked} acked, {} kept", kept.len());
    for (n, line) in kept.iter().enumerate() {
        assert_eq!(*line, format!("line {n}"));
    }
}

#[test]
fn signal_ends_it_with_all_that_was_read_acked() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let place = Place::new();
        let mut child = place
            .command("produce", &["lines", "--print-acks"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"one\ntwo\n").unwrap();
        let mut acks = BufReader::new(child.stdout.take().unwrap());
        let mut ack = String::new();
        acks.read_line(&mut ack).unwrap();
        send_signal(&child, signal);
        acks.read_to_string(&mut ack).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let kept = place.consume(&["lines"]);
        let kept = std::str::from_utf8(&kept).unwrap().lines().count();
        assert_eq!(ack.lines().count(), kept);
    }
}

#[test]
fn acks_that_nobody_reads_are_an_error() {
    let place = Place::new();
    let mut child =
        place.command("produce", &["lines", "--print-acks"]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(b"one\ntwo\n");
    drop(stdin);
    ran(child.wait_with_output().unwrap()).fails_with(1, "print acks");
}

#[test]
fn acks_and_a_summary_do_not_share_an_output() {
    let place = Place::new();
    let arguments = ["lines", "--print-acks", "-o", "json"];
    finish(place.command("produce", &arguments), b"a\n").fails_with(64, "--print-acks");
    assert!(!crate::run::exists(&place.path()));
}
