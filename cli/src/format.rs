//! How records are printed: raw, as JSON, or by a template.

use std::io;

use msglog::{Record, TopicName};

use crate::failure::Failure;
use crate::json;

/// How each record is printed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum RecordFormat {
    /// The payload and a newline.
    Raw,
    /// One JSON value a line.
    Json,
    /// As these parts say.
    Template(Vec<Part>),
}

/// A piece of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Topic,
    Partition,
    Msn,
    Timestamp,
    Key,
    Payload,
}

impl RecordFormat {
    /// Reads `raw`, `json` or a template with at least one `%`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            "json" => Ok(Self::Json),
            template if template.contains('%') => parse_template(template).map(Self::Template),
            other => Err(format!("`{other}` is neither raw nor json nor a template with %")),
        }
    }
}

fn parse_template(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = template.chars();
    while let Some(c) = chars.next() {
        let part = match c {
            '%' => match chars.next() {
                Some('%') => {
                    text.push('%');
                    continue;
                }
                Some('t') => Part::Topic,
                Some('p') => Part::Partition,
                Some('m') => Part::Msn,
                Some('T') => Part::Timestamp,
                Some('k') => Part::Key,
                Some('s') => Part::Payload,
                Some(other) => return Err(format!("unknown %{other} in the template")),
                None => return Err("the template ends with a single %".to_owned()),
            },
            '\\' => {
                text.push(unescape(chars.next())?);
                continue;
            }
            other => {
                text.push(other);
                continue;
            }
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text)));
        }
        parts.push(part);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

fn unescape(c: Option<char>) -> Result<char, String> {
    match c {
        Some('n') => Ok('\n'),
        Some('r') => Ok('\r'),
        Some('t') => Ok('\t'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        Some(other) => Err(format!("unknown \\{other} in the template")),
        None => Err("the template ends with a single \\".to_owned()),
    }
}

/// Prints records of one topic.
#[derive(Debug)]
pub(crate) struct Formatter {
    pub(crate) topic: TopicName,
    pub(crate) format: RecordFormat,
    /// Between key and payload of a raw record.
    pub(crate) key_separator: Option<String>,
}

impl Formatter {
    /// Adds a record to `out`.
    pub(crate) fn write(
        &self,
        partition: u32,
        record: &Record,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match &self.format {
            RecordFormat::Raw => self.write_raw(record, out),
            RecordFormat::Json => {
                json::write_record(partition, record, out)
                    .map_err(|cause| Failure::Output(io::Error::other(cause)))?;
                out.push(b'\n');
            }
            RecordFormat::Template(parts) => self.write_parts(parts, partition, record, out),
        }
        Ok(())
    }

    fn write_raw(&self, record: &Record, out: &mut Vec<u8>) {
        if let (Some(separator), Some(key)) = (&self.key_separator, &record.key) {
            out.extend_from_slice(key);
            out.extend_from_slice(separator.as_bytes());
        }
        out.extend_from_slice(record.payload.as_deref().unwrap_or_default());
        out.push(b'\n');
    }

    fn write_parts(&self, parts: &[Part], partition: u32, record: &Record, out: &mut Vec<u8>) {
        for part in parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Topic => out.extend_from_slice(self.topic.as_str().as_bytes()),
                Part::Partition => out.extend_from_slice(partition.to_string().as_bytes()),
                Part::Msn => out.extend_from_slice(record.msn.to_string().as_bytes()),
                Part::Timestamp => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Part::Key => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
                Part::Payload => {
                    out.extend_from_slice(record.payload.as_deref().unwrap_or_default());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use msglog::{Msn, Timestamp};

    fn record() -> Record {
        Record {
            msn: Msn::new(7),
            timestamp: Timestamp::from_millis(-3),
            key: Some(Bytes::from_static(b"k\xff")),
            payload: Some(Bytes::from_static(b"pay\xfe")),
            headers: Vec::new(),
        }
    }

    fn printed(format: &str, key_separator: Option<&str>) -> Vec<u8> {
        let formatter = Formatter {
            topic: TopicName::parse("orders").unwrap(),
            format: RecordFormat::parse(format).unwrap(),
            key_separator: key_separator.map(str::to_owned),
        };
        let mut out = Vec::new();
        formatter.write(2, &record(), &mut out).unwrap();
        out
    }

    #[test]
    fn template_prints_each_part_and_bytes_as_they_are() {
        let out = printed(r"%t-%p@%m %T %k=%s %%\t\\\n", None);
        assert_eq!(out, b"orders-2@7 -3 k\xff=pay\xfe %\t\\\n");
    }

    #[test]
    fn raw_prints_the_key_only_with_a_separator() {
        assert_eq!(printed("raw", None), b"pay\xfe\n");
        assert_eq!(printed("raw", Some(" => ")), b"k\xff => pay\xfe\n");
    }

    #[test]
    fn format_that_is_none_is_refused() {
        for text in ["", "xml", "%", "%x", r"%m\", r"%m\q"] {
            assert!(RecordFormat::parse(text).is_err(), "{text}");
        }
    }
}
