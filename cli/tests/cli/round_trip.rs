//! What goes in comes out, byte for byte.

use crate::run::{Place, finish, random_bytes};

/// What consume prints for an input: a last line without newline gets one.
fn lines_of(input: &[u8]) -> Vec<u8> {
    let mut lines = input.to_vec();
    if lines.last().is_some_and(|last| *last != b'\n') {
        lines.push(b'\n');
    }
    lines
}

#[test]
fn lines_of_any_bytes_come_back() {
    for (name, input) in [
        ("empty", b"".to_vec()),
        ("newline", b"\n".to_vec()),
        ("no-newline", b"a".to_vec()),
        ("carriage-returns", b"a\r\n\r\n\r\nb\r".to_vec()),
        ("not-utf8", b"\xff\xfe\n\x00\n\n\xc3\n".to_vec()),
        ("random", random_bytes(7, 3_000_000)),
        ("long-line", [random_bytes(8, 2_000_000), vec![b'x'; 5_000_000]].concat()),
    ] {
        let place = Place::new();
        place.produce(&[name], &input);
        assert!(place.consume(&[name]) == lines_of(&input), "{name}");
    }
}

#[test]
fn file_is_read_as_standard_input_is() {
    let place = Place::new();
    let file = place.file("input", b"one\ntwo");
    place.produce(&["lines", file.to_str().unwrap()], b"");
    assert_eq!(place.consume(&["lines"]), b"one\ntwo\n");
}

#[test]
fn every_level_and_batch_size_keeps_the_order() {
    let place = Place::new();
    let input: Vec<u8> = (0..5_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
    for level in ["memory", "os", "interval:5ms", "sync"] {
        for lines in ["1", "7", "1000000"] {
            let topic = format!("{}-{lines}", level.replace(':', "-"));
            place.produce(&[&topic, "--durability", level, "--batch-lines", lines], &input);
            assert_eq!(place.consume(&[&topic]), input, "{topic}");
        }
    }
}

#[test]
fn second_run_continues_after_the_first() {
    let place = Place::new();
    place.produce(&["lines"], b"one\n");
    place.produce(&["lines"], b"two\n");
    assert_eq!(place.consume(&["lines"]), b"one\ntwo\n");
}

#[test]
fn keys_go_in_and_out_with_a_separator_of_any_length() {
    let place = Place::new();
    let input = b"k => v => w\n => empty key\nno key\nempty payload => \n";
    place.produce(&["lines", "--key-separator", " => "], input);
    assert_eq!(place.consume(&["lines", "--key-separator", " => "]), input);
    let keys = place.consume(&["lines", "--format", r"%k\n"]);
    assert_eq!(keys, b"k\n\n\nempty payload\n");
}

#[test]
fn every_compression_gives_the_same_lines() {
    let place = Place::new();
    let input = b"the same line again and again\n".repeat(10_000);
    for codec in ["none", "lz4", "zstd", "snappy", "gzip"] {
        place.produce(&[codec, "--compression", codec], &input);
        assert!(place.consume(&[codec]) == input, "{codec}");
        let bytes = place.run("describe", &[codec, "-o", "json"]).success().json();
        let bytes = bytes["partitions"][0]["bytes"].as_u64().unwrap();
        assert_eq!(bytes < input.len() as u64, codec != "none", "{codec}: {bytes}");
    }
}

#[test]
fn level_of_a_compression_is_kept_and_used() {
    let place = Place::new();
    let words = |n: u64| (0..9).map(move |k| (n * n + k * 7) % 991);
    let line = |n| format!("{:?}\n", words(n).collect::<Vec<_>>());
    let input: String = (0..20_000).map(line).collect();
    let bytes = |topic, compression| {
        place.produce(&[topic, "--compression", compression], input.as_bytes());
        let described = place.run("describe", &[topic]).success();
        let text = String::from_utf8(described.stdout).unwrap();
        assert!(text.contains(&format!("compression  {compression}\n")), "{text}");
        let json = place.run("describe", &[topic, "-o", "json"]).success().json();
        json["partitions"][0]["bytes"].as_u64().unwrap()
    };
    let (low, high) = (bytes("low", "gzip:1"), bytes("high", "gzip:9"));
    assert!(high < low, "{high} at level 9, {low} at level 1");
}

#[test]
fn headers_ride_with_every_line() {
    let place = Place::new();
    let options = ["lines", "--header", "a=1=2", "--content-type", "text/plain"];
    place.produce(&options, b"one\ntwo\n");
    let read = place.consume(&["lines", "--format", "json"]);
    let lines: Vec<serde_json::Value> = read
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let headers = line["headers"].to_string();
        assert!(headers.contains("1=2") && headers.contains("text/plain"), "{headers}");
    }
}

#[test]
fn partitions_keep_the_order_of_each_key() {
    let place = Place::new();
    let input: Vec<u8> =
        (0..3_000).flat_map(|n| format!("{}:{n}\n", n % 17).into_bytes()).collect();
    place.produce(&["keyed", "--partitions", "4", "--key-separator", ":"], &input);
    let output = place.consume(&["keyed", "--key-separator", ":"]);
    let of_key = |bytes: &[u8], key: usize| -> Vec<String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let prefix = format!("{key}:");
        text.lines().filter(|line| line.starts_with(&prefix)).map(str::to_owned).collect()
    };
    for key in 0..17 {
        assert_eq!(of_key(&output, key), of_key(&input, key), "key {key}");
    }
    assert_eq!(output.len(), input.len());
}

#[test]
fn piped_run_is_silent() {
    let place = Place::new();
    let file = place.file("input", b"one\ntwo\n");
    let ran = place.produce(&["lines", file.to_str().unwrap()], b"");
    assert_eq!((ran.stdout.as_slice(), ran.stderr.as_str()), (b"".as_slice(), ""));
    assert_eq!(place.run("consume", &["lines"]).success().stderr, "");
}

#[test]
fn summary_is_one_json_value() {
    let place = Place::new();
    let ran = place.produce(&["lines", "-o", "json"], b"one\ntwo");
    let summary = ran.json();
    assert_eq!(summary["topic"], "lines");
    assert_eq!(summary["records"], 2);
    assert_eq!(summary["interrupted"], false);
    assert!(summary["milliseconds"].is_u64());
}

#[test]
fn topics_and_describe_say_what_is_there() {
    let place = Place::new();
    place.produce(&["b", "--partitions", "2", "--partition", "1"], b"1\n2\n3\n");
    place.produce(&["a"], b"1\n");
    let topics = place.run("topics", &["-o", "json"]).success().json();
    assert_eq!(topics[0]["topic"], "a");
    assert_eq!(topics[1]["topic"], "b");
    assert_eq!((&topics[1]["partitions"], &topics[1]["records"]), (&2.into(), &3.into()));
    let about = place.run("describe", &["b", "-o", "json"]).success().json();
    assert_eq!(about["config"]["partitions"], 2);
    let partition = &about["partitions"][1];
    for (field, value) in [("partition", 1), ("first_msn", 0), ("next_msn", 3)] {
        assert_eq!(partition[field], value, "{field}");
    }
    assert_eq!(partition["durable_msn"], 3);
    assert_eq!(partition["holes"], serde_json::json!([]));
    let table = place.run("describe", &["b"]).success().stdout;
    assert!(String::from_utf8(table).unwrap().contains("PARTITION"));
}

#[test]
fn memory_store_takes_lines_and_forgets_them() {
    let ran = finish(crate::run::msglog(&["produce", "memory:", "lines", "--print-acks"]), b"a\n");
    assert_eq!(ran.success().stdout, b"0\n");
    let ran = finish(crate::run::msglog(&["consume", "memory:", "lines"]), b"");
    ran.fails_with(3, "memory");
}
