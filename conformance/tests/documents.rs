//! The pages about the suite say what is true: every case they name exists, and none is left out.

#![expect(clippy::unwrap_used, reason = "a test's helper may fail as the test does")]

use std::collections::BTreeSet;
use std::path::Path;

use msglog_conformance::{REQUIRE_VARIABLE, cases, groups};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// What stands between backticks and begins like a case.
fn named(page: &str) -> BTreeSet<String> {
    let groups: Vec<&str> = groups().filter_map(|cases| Some(cases.first()?.group)).collect();
    let quoted = page.split('`').skip(1).step_by(2);
    let cases = quoted.filter(|text| {
        text.split_once('/')
            .is_some_and(|(group, name)| groups.contains(&group) && !name.is_empty())
    });
    cases.map(str::to_owned).collect()
}

#[test]
fn contract_page_names_every_case_and_no_other() {
    let known: BTreeSet<String> = cases().iter().map(|case| case.id()).collect();
    let named = named(&page("writing-a-backend.md"));
    let missing: Vec<_> = known.difference(&named).collect();
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
}

#[test]
fn conformance_page_names_the_variables() {
    let page = page("conformance.md");
    for variable in [
        REQUIRE_VARIABLE,
        msglog_conformance::SEED_VARIABLE,
        msglog_conformance::PATIENCE_VARIABLE,
        msglog_conformance::report::RECORDS_VARIABLE,
    ] {
        assert!(page.contains(variable), "{variable}");
    }
}

#[test]
fn names_of_cases_are_distinct() {
    let all: Vec<String> = cases().iter().map(|case| case.id()).collect();
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
