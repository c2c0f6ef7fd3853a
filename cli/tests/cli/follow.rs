//! Following a writer in another process.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use crate::run::{Place, send_signal};

#[test]
fn follower_sees_what_a_running_writer_appends() {
    let place = Place::new();
    place.produce(&["lines"], b"history\n");
    let mut follower =
        place.command("consume", &["lines", "--follow", "--format", r"%m %s\n"]).spawn().unwrap();
    let mut seen = BufReader::new(follower.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        seen.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(next(), "0 history\n");
    let mut writer = place.command("produce", &["lines"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = writer.stdin.take().unwrap();
    for msn in 1..50 {
        writeln!(stdin, "live {msn}").unwrap();
        assert_eq!(next(), format!("{msn} live {msn}\n"));
    }
    drop(stdin);
    assert!(writer.wait().unwrap().success());
    place.produce(&["lines"], b"again\n");
    assert_eq!(next(), "50 again\n");
    send_signal(&follower, "TERM");
    assert_eq!(follower.wait().unwrap().code(), Some(0));
}

#[test]
fn count_and_to_end_a_follower() {
    let place = Place::new();
    place.produce(&["lines"], b"a\nb\nc\n");
    assert_eq!(place.consume(&["lines", "--follow", "-n", "2"]), b"a\nb\n");
    assert_eq!(place.consume(&["lines", "--follow", "--to", "3"]), b"a\nb\nc\n");
    assert_eq!(place.consume(&["lines", "--follow", "--from", "1", "--to", "1"]), b"");
    assert_eq!(place.consume(&["lines", "--follow", "-n", "0"]), b"");
}

#[test]
fn follower_from_beyond_the_end_waits_for_that_msn() {
    let place = Place::new();
    place.produce(&["lines"], b"a\n");
    let arguments = ["lines", "--follow", "--from", "2", "-n", "1"];
    let mut follower = place.command("consume", &arguments).spawn().unwrap();
    place.produce(&["lines"], b"b\nc\n");
    let mut seen = String::new();
    follower.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "c\n");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn all_partitions_are_followed_together() {
    let place = Place::new();
    place.produce(&["lines", "--partitions", "3", "--partition", "2"], b"two\n");
    let mut follower =
        place.command("consume", &["lines", "-f", "-n", "3", "--format", r"%p\n"]).spawn().unwrap();
    place.produce(&["lines", "--partition", "0"], b"zero\n");
    place.produce(&["lines", "--partition", "1"], b"one\n");
    let mut seen = String::new();
    follower.stdout.take().unwrap().read_to_string(&mut seen).unwrap();
    let mut partitions: Vec<_> = seen.lines().collect();
    partitions.sort_unstable();
    assert_eq!(partitions, ["0", "1", "2"]);
    assert!(follower.wait().unwrap().success());
}
