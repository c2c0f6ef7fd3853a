//! An independent implementation of Kafka's record batch reads what the command wrote.

use bytes::{Buf, Bytes};
use kafka_protocol::records::{Record, RecordBatchDecoder};
use serde_json::{Value, json};

use crate::run::Place;

/// Every record of a segment file, as the `kafka-protocol` crate reads it.
fn records_of(file: Vec<u8>) -> Vec<Record> {
    let mut bytes = Bytes::from(file);
    let mut records = Vec::new();
    // Zeros up to the end of the file are space prepared ahead.
    while bytes.iter().take(61).any(|byte| *byte != 0) {
        let length = 12 + usize::try_from((&bytes[8..12]).get_i32()).unwrap();
        let mut batch = bytes.split_to(length);
        records.extend(RecordBatchDecoder::decode(&mut batch).unwrap().records);
    }
    records
}

fn text(field: Option<&Bytes>) -> Value {
    field.map_or(Value::Null, |bytes| json!(std::str::from_utf8(bytes).unwrap()))
}

fn as_json(record: &Record) -> Value {
    let headers = record.headers.iter().map(|(name, value)| {
        let name: &str = name;
        json!({"name": name, "value": text(value.as_ref())})
    });
    json!({
        "partition": 0,
        "msn": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key.as_ref()),
        "payload": text(record.value.as_ref()),
        "headers": headers.collect::<Vec<_>>(),
    })
}

#[test]
fn segment_of_every_codec_is_read_by_another_implementation() {
    let place = Place::new();
    let line = |n: u32| {
        let key = if n.is_multiple_of(3) { Value::Null } else { json!(format!("key {n}")) };
        let payload =
            if n.is_multiple_of(7) { Value::Null } else { json!("payload ".repeat(n as usize)) };
        let headers = json!([{"name": "a", "value": "1"}, {"name": "b", "value": null}]);
        json!({"timestamp": 1_000 + n, "key": key, "payload": payload, "headers": headers})
    };
    let input: Vec<u8> = (0..500).flat_map(|n| format!("{}\n", line(n)).into_bytes()).collect();
    for codec in ["none", "lz4", "zstd", "snappy", "gzip"] {
        let arguments = [codec, "--compression", codec, "--json", "--batch-lines", "64"];
        place.produce(&arguments, &input);
        let ours = place.consume(&[codec, "-o", "json"]);
        let ours = std::str::from_utf8(&ours).unwrap().lines();
        let ours: Vec<Value> = ours.map(|line| serde_json::from_str(line).unwrap()).collect();
        let theirs = records_of(std::fs::read(place.segment(codec)).unwrap());
        let theirs: Vec<Value> = theirs.iter().map(as_json).collect();
        assert_eq!(ours.len(), 500, "{codec}");
        assert!(ours == theirs, "{codec}");
    }
}
