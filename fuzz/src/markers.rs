//! Marker files of the conformance suite: read strictly, and never a panic.

use msglog_conformance::marker::Markers;
use msglog_conformance::{Status, cases};

/// A marker file; what has a problem covers nothing by mistake.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let known = cases();
    let markers = Markers::parse(text, &known);
    assert!(!markers.suite_level().is_empty() || !markers.problems().is_empty());
    for case in &known {
        let Some(marker) = markers.of(case) else { continue };
        assert_eq!(marker.case, case.id());
        assert!(!marker.covers(Status::Passed, &marker.matches), "a pass is never expected");
        if markers.problems().is_empty() {
            assert!(marker.is_explained() && !marker.matches.trim().is_empty());
        }
    }
}

/// A file with one of everything.
pub fn seeds() -> Vec<Vec<u8>> {
    let case = cases().first().map(|case| case.id()).unwrap_or_default();
    let plain = format!(
        "[[expected-failure]]\ncase = \"{case}\"\nmatch = \"lost\"\nreason = \"it does not sync\"\n"
    );
    let full = format!(
        "{plain}issue = \"none\"\noutcome = \"timeout\"\nwhen = {{ os = \"linux\", arch = \"x86_64\" }}\n"
    );
    let level = format!("suite-level = \"1\"\n{full}");
    [plain, full, level].map(String::into_bytes).to_vec()
}
