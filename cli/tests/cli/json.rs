//! What consume prints as JSON, produce takes back without loss.

use serde_json::{Value, json};

use crate::run::{Place, finish};

fn records() -> Vec<Value> {
    vec![
        json!({"timestamp": 5, "key": null, "payload": "text", "headers": []}),
        json!({"timestamp": -1, "key": "", "payload": "", "headers": []}),
        json!({"timestamp": 0, "key": "k", "payload": null, "headers": []}),
        json!({"timestamp": 7, "key": null, "payload": null, "headers": []}),
        json!({"timestamp": 8, "key_base64": "/wA=", "payload_base64": "wyg=", "headers": []}),
        json!({"timestamp": 9, "key": "é\u{0}\n\"\\", "payload": "\r\n\t", "headers": [
            {"name": "b", "value": "1"}, {"name": "a", "value": null}, {"name": "b", "value": ""},
            {"name": "", "value_base64": "/w=="},
        ]}),
    ]
}

fn lines_of(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(|value| format!("{value}\n").into_bytes()).collect()
}

fn without_place(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    let fields = value.as_object_mut().unwrap();
    assert!(fields.remove("msn").unwrap().is_u64());
    assert!(fields.remove("partition").unwrap().is_u64());
    value
}

#[test]
fn records_of_every_kind_come_back_the_same() {
    let place = Place::new();
    place.produce(&["first", "--json"], &lines_of(&records()));
    let printed = place.consume(&["first", "-o", "json"]);
    let values: Vec<_> =
        std::str::from_utf8(&printed).unwrap().lines().map(without_place).collect();
    assert_eq!(values, records());

    place.produce(&["second", "--format", "json"], &printed);
    assert_eq!(place.consume(&["second", "--format", "json"]), printed);
}

#[test]
fn partition_is_kept_on_request_only() {
    let place = Place::new();
    let lines = lines_of(&[json!({"partition": 2, "msn": 99, "payload": "a"})]);
    place.produce(&["kept", "--partitions", "3", "--json", "--keep-partition"], &lines);
    assert_eq!(place.consume(&["kept", "--format", "%p@%m"]), b"2@0");
    let keyed = lines_of(&[json!({"partition": 2, "key": "21", "payload": "a"})]);
    place.produce(&["chosen", "--partitions", "1", "--json"], &keyed);
    assert_eq!(place.consume(&["chosen", "--format", "%p@%m"]), b"0@0");
    let outside = lines_of(&[json!({"partition": 3, "payload": "a"})]);
    let command = place.command("produce", &["kept", "--json", "--keep-partition"]);
    finish(command, &outside).fails_with(3, "no partition 3");
}

#[test]
fn line_that_is_no_record_ends_it_after_those_before() {
    let place = Place::new();
    let ran = finish(
        place.command("produce", &["lines", "--json", "--print-acks"]),
        b"{\"payload\":\"a\"}\nnonsense\n{\"payload\":\"b\"}\n",
    );
    ran.fails_with(1, "line 2 is no record");
    assert_eq!(ran.stdout, b"0\n");
    assert_eq!(place.consume(&["lines"]), b"a\n");
}
