//! The records in the XML form of JUnit, which test services read.

use std::fmt::Write;

use super::{Record, Records};
use crate::verdict::Verdict;

/// One `testsuite` for each backend.
pub fn junit(records: &Records) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (backend, records) in records {
        let count = |what: fn(&Record) -> bool| records.values().filter(|r| what(r)).count();
        let failures = count(|record| record.verdict.is_red(false));
        let skipped = count(is_skipped);
        let total = records.len();
        // Writing to a string cannot fail.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{total}\" failures=\"{failures}\" \
             skipped=\"{skipped}\">",
            escaped(backend)
        );
        records.values().for_each(|record| add(&mut xml, record));
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn is_skipped(record: &Record) -> bool {
    !record.verdict.is_red(false) && record.verdict != Verdict::Pass
}

fn add(xml: &mut String, record: &Record) {
    let seconds = format!("{}.{:03}", record.millis / 1_000, record.millis % 1_000);
    let (group, case) = (escaped(&record.group), escaped(&record.case));
    let _ = write!(xml, "    <testcase classname=\"{group}\" name=\"{case}\" time=\"{seconds}\"");
    let why = escaped(&record.why);
    let _ = if record.verdict.is_red(false) {
        writeln!(xml, "><failure message=\"{why}\">{}</failure></testcase>", escaped(&record.place))
    } else if is_skipped(record) {
        writeln!(xml, "><skipped message=\"{:?}: {why}\"/></testcase>", record.verdict)
    } else {
        writeln!(xml, "/>")
    };
}

/// Text as XML may hold it: entities for what has a meaning, nothing for what is not allowed.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' => safe.push_str("&#10;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a<b> & \"c\"\n\u{1}"), "a&lt;b&gt; &amp; &quot;c&quot;&#10;\u{fffd}");
    }
}
