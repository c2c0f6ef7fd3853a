//! The JSON form of a record: what consume prints and produce takes back without loss.
//!
//! ```json
//! {"partition":0,"msn":7,"timestamp":1763632800000,"key":"a","payload":"b","headers":[{"name":"n","value":"v"}]}
//! ```
//!
//! Key, payload and header values are text when they are UTF-8; otherwise the field is named
//! `key_base64`, `payload_base64` or `value_base64`. `null` is distinct from the empty text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use msglog::{Header, Message, Record, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

/// A record on its way out. A field is there either as text (or null) or as base64.
#[derive(Serialize)]
struct RecordOut<'a> {
    partition: u32,
    msn: u64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    headers: Vec<HeaderOut<'a>>,
}

#[derive(Serialize)]
struct HeaderOut<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

/// Writes a record as one line of JSON without the newline.
pub(crate) fn write_record(
    partition: u32,
    record: &Record,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let (key, key_base64) = text_or_base64(record.key.as_deref());
    let (payload, payload_base64) = text_or_base64(record.payload.as_deref());
    let headers = record.headers.iter().map(|header| {
        let (value, value_base64) = text_or_base64(header.value.as_deref());
        HeaderOut { name: &header.name, value, value_base64 }
    });
    let line = RecordOut {
        partition,
        msn: record.msn.get(),
        timestamp: record.timestamp.as_millis(),
        key,
        key_base64,
        payload,
        payload_base64,
        headers: headers.collect(),
    };
    serde_json::to_writer(out, &line)
}

fn text_or_base64(field: Option<&[u8]>) -> (Option<Option<&str>>, Option<String>) {
    match field {
        None => (Some(None), None),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (Some(Some(text)), None),
            Err(_) => (None, Some(STANDARD.encode(bytes))),
        },
    }
}

/// A record on its way in. Where it stood is read, and left behind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordIn {
    partition: Option<u32>,
    #[serde(rename = "msn")]
    _msn: Option<u64>,
    timestamp: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    key: Option<Option<String>>,
    key_base64: Option<String>,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Option<String>>,
    payload_base64: Option<String>,
    #[serde(default)]
    headers: Vec<HeaderIn>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderIn {
    name: String,
    #[serde(default, deserialize_with = "present")]
    value: Option<Option<String>>,
    value_base64: Option<String>,
}

/// Tells a field that is null from one that is not there.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// A message as a line of JSON says it, and the partition that the line names.
///
/// Answers what is wrong with a line that is no record. A key may be left out, which is null; a
/// payload may not, so that a slip of the pen is no tombstone.
pub(crate) fn parse_message(line: &[u8]) -> Result<(Message, Option<u32>), String> {
    let line: RecordIn = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let key = one_of("key", line.key, line.key_base64)?.unwrap_or_default();
    let payload = one_of("payload", line.payload, line.payload_base64)?
        .ok_or("missing field `payload` (or `payload_base64`)")?;
    let mut headers = Vec::with_capacity(line.headers.len());
    for header in line.headers {
        let value = one_of("value", header.value, header.value_base64)?.unwrap_or_default();
        headers.push(Header { name: header.name, value });
    }
    let timestamp = line.timestamp.map(Timestamp::from_millis);
    Ok((Message { key, payload, headers, timestamp }, line.partition))
}

/// The bytes of a field that comes as text, as base64, as null, or (`None`) not at all.
#[expect(clippy::option_option, reason = "not there, null and a value are three things here")]
fn one_of(
    name: &str,
    text: Option<Option<String>>,
    base64: Option<String>,
) -> Result<Option<Option<Bytes>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("both `{name}` and `{name}_base64` are there")),
        (Some(text), None) => Ok(Some(text.map(Bytes::from))),
        (None, None) => Ok(None),
        (None, Some(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(Some(Some(bytes.into()))),
            Err(error) => Err(format!("`{name}_base64`: {error}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msglog::Msn;

    fn round_trip(record: Record) {
        let mut line = Vec::new();
        write_record(3, &record, &mut line).unwrap();
        assert!(!line.contains(&b'\n'));
        let (message, partition) = parse_message(&line).unwrap();
        assert_eq!(partition, Some(3));
        assert_eq!(message, Message::from(record), "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn every_kind_of_field_comes_back() {
        let fields = [
            None,
            Some(Bytes::new()),
            Some(Bytes::from_static(b"text \"\\ \n\r\t\0 \xc3\xa9")),
            Some(Bytes::from_static(b"\xff\x00\xfe")),
            Some(Bytes::from((0..=255).collect::<Vec<u8>>())),
        ];
        for key in &fields {
            for payload in &fields {
                let header = |name: &str, value| Header { name: name.to_owned(), value };
                let headers = fields.iter().cloned().map(|value| header("same", value));
                let headers = headers.chain([header("", None), header("a\u{0}b", None)]);
                round_trip(Record {
                    msn: Msn::new(u64::MAX),
                    timestamp: Timestamp::from_millis(i64::MIN),
                    key: key.clone(),
                    payload: payload.clone(),
                    headers: headers.collect(),
                });
            }
        }
    }

    #[test]
    fn line_that_is_no_record_is_refused_with_a_reason() {
        for (line, why) in [
            ("", "EOF"),
            ("{}", "payload"),
            (r#"{"payload":"a","payload_base64":"YQ=="}"#, "both"),
            (r#"{"payload_base64":"?"}"#, "payload_base64"),
            (r#"{"payload":"a","vlaue":1}"#, "vlaue"),
            (r#"{"payload":1}"#, "invalid type"),
            (r#"{"payload":"a"} x"#, "trailing"),
        ] {
            let error = parse_message(line.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
    }

    #[test]
    fn only_the_payload_is_required() {
        let (message, partition) = parse_message(br#"{"payload":null}"#).unwrap();
        assert_eq!((message, partition), (Message::default(), None));
    }
}
