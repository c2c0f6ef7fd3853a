//! Where consume starts and ends, and how it prints.

use std::io::Read;

use crate::run::Place;

fn ten() -> Place {
    let place = Place::new();
    let lines: String = (0..10).map(|n| format!("{n}\n")).collect();
    place.produce(&["lines", "--batch-lines", "3"], lines.as_bytes());
    place
}

#[test]
fn from_to_and_count_choose_the_records() {
    let place = ten();
    let cases: [(&[&str], &[u8]); 9] = [
        (&["--from", "start", "--to", "3"], b"0\n1\n2\n"),
        (&["--from", "4", "--to", "6"], b"4\n5\n"),
        (&["--from", "8"], b"8\n9\n"),
        (&["--from", "end"], b""),
        (&["--from", "10"], b""),
        (&["--from", "5", "-n", "2"], b"5\n6\n"),
        (&["-n", "0"], b""),
        (&["--from", "6", "--to", "4"], b""),
        (&["--from", "9", "--to", "999"], b"9\n"),
    ];
    for (arguments, expected) in cases {
        let arguments = [&["lines"], arguments].concat();
        assert_eq!(place.consume(&arguments), expected, "{arguments:?}");
    }
}

#[test]
fn msn_beyond_the_end_is_not_found() {
    let place = ten();
    place.run("consume", &["lines", "--from", "11"]).fails_with(3, "beyond the end");
    place.run("consume", &["lines", "--from", "-1"]).fails_with(64, "--from");
}

#[test]
fn since_starts_at_the_first_record_of_that_time_or_later() {
    let place = Place::new();
    let lines: String = (0..100)
        .map(|n| format!("{{\"payload\":\"{n}\",\"timestamp\":{}}}\n", 1_000_000 + n * 1_000))
        .collect();
    place.produce(&["lines", "--json", "--batch-lines", "7"], lines.as_bytes());
    for (since, first) in [
        ("0", "0"),
        ("1042500", "43"),
        ("1970-01-01T00:17:30Z", "50"),
        ("1970-01-01T01:17:30.001+01:00", "51"),
    ] {
        let printed = place.consume(&["lines", "--since", since, "-n", "1"]);
        assert_eq!(printed, format!("{first}\n").as_bytes(), "{since}");
    }
    assert_eq!(place.consume(&["lines", "--since", "10m"]), b"");
    place.produce(&["lines"], b"now");
    assert_eq!(place.consume(&["lines", "--since", "1h"]), b"now\n");
    place.run("consume", &["lines", "--since", "soon"]).fails_with(64, "soon");
}

#[test]
fn last_starts_at_the_newest_records_of_each_partition() {
    let place = Place::new();
    place.produce(&["lines", "--partitions", "2", "--partition", "0"], b"a\nb\nc\n");
    place.produce(&["lines", "--partition", "1"], b"d\n");
    assert_eq!(place.consume(&["lines", "--last", "2"]), b"b\nc\nd\n");
    assert_eq!(place.consume(&["lines", "--last", "9"]), b"a\nb\nc\nd\n");
    assert_eq!(place.consume(&["lines", "--last", "0"]), b"");
    place.run("consume", &["lines", "--last", "1", "--from", "0"]).fails_with(64, "--from");
}

#[test]
fn partitions_are_printed_one_after_the_other_or_one_alone() {
    let place = Place::new();
    place.produce(&["lines", "--partitions", "2", "--partition", "1"], b"c\nd\n");
    place.produce(&["lines", "--partition", "0"], b"a\nb\n");
    assert_eq!(place.consume(&["lines"]), b"a\nb\nc\nd\n");
    assert_eq!(place.consume(&["lines", "--partition", "1"]), b"c\nd\n");
    place.run("consume", &["lines", "--partition", "2"]).fails_with(3, "no partition 2");
}

#[test]
fn template_prints_what_it_names() {
    let place = Place::new();
    place.produce(&["lines", "--key-separator", "="], b"k=v\n");
    let printed = place.consume(&["lines", "--format", r"%t %p %m %k %s %%\n"]);
    assert_eq!(printed, b"lines 0 0 k v %\n");
    place.run("consume", &["lines", "--format", "%q"]).fails_with(64, "%q");
}

#[test]
fn reader_that_goes_away_ends_it_quietly() {
    let place = Place::new();
    place.produce(&["lines"], &b"a line of some length\n".repeat(200_000));
    let mut child = place.command("consume", &["lines"]).spawn().unwrap();
    let mut first = [0; 22];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
}

#[test]
fn reading_changes_no_file() {
    let place = ten();
    let names = || {
        let mut files = Vec::new();
        for folder in [place.path(), place.path().join("lines-0")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let modified = entry.metadata().unwrap().modified().unwrap();
                files.push((entry.path(), modified));
            }
        }
        files.sort();
        files
    };
    let before = names();
    place.consume(&["lines"]);
    place.run("describe", &["lines"]).success();
    place.run("topics", &[]).success();
    assert_eq!(names(), before);
}
