//! `CONFORMANCE.md`: backends by groups with counts, known failures with reasons, and a verdict.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Record, Records};
use crate::verdict::Verdict;

/// What the records of one backend come to, in words, and whether they let it pass.
pub fn verdict_of(records: &BTreeMap<String, Record>) -> (String, bool) {
    let count = |what: Verdict| records.values().filter(|r| r.verdict == what).count();
    let all = crate::cases();
    let missing = all.iter().filter(|case| !records.contains_key(&case.id())).count();
    let red = count(Verdict::Fail) + count(Verdict::UnexpectedPass);
    let unavailable = count(Verdict::Unavailable);
    let known = count(Verdict::ExpectedFailure);
    if red > 0 {
        (format!("**not conformant** ({red} failing)"), false)
    } else if missing > 0 {
        (format!("**incomplete** ({missing} not run)"), false)
    } else if unavailable > 0 {
        (format!("**incomplete** ({unavailable} unavailable)"), false)
    } else if known == 1 {
        ("conformant with 1 known failure".into(), true)
    } else if known > 1 {
        (format!("conformant with {known} known failures"), true)
    } else {
        ("conformant".into(), true)
    }
}

/// The whole report in Markdown; the same records always give the same text.
pub fn matrix(records: &Records) -> String {
    let mut text = String::from(
        "# Conformance\n\n\
         Which store keeps which promises: made by `msglog-conformance report` from the records of \
         the runs, checked in CI.\n\
         A cell counts the cases that pass of those that apply; `–` means that no case of the \
         group applies.\n\n",
    );
    add_table(&mut text, records);
    add_list(&mut text, records, "Known failures", Verdict::ExpectedFailure);
    add_list(&mut text, records, "Failures", Verdict::Fail);
    add_list(&mut text, records, "Passes that are marked as failures", Verdict::UnexpectedPass);
    add_list(&mut text, records, "Failures of provisional cases", Verdict::Provisional);
    add_list(&mut text, records, "Unavailable", Verdict::Unavailable);
    add_not_applicable(&mut text, records);
    text
}

/// The names of the groups, in the order of the suite.
fn groups() -> impl Iterator<Item = &'static str> {
    crate::groups().filter_map(|cases| cases.first().map(|case| case.group))
}

// Writing to a string cannot fail, so the answers of `writeln!` are dropped in this file.
fn add_table(text: &mut String, records: &Records) {
    let names: Vec<&str> = records.keys().map(String::as_str).collect();
    let _ = writeln!(text, "| group | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
    for group in groups() {
        let cells: Vec<String> = records.values().map(|all| cell(all, group)).collect();
        let _ = writeln!(text, "| {group} | {} |", cells.join(" | "));
    }
    let totals: Vec<String> = records.values().map(|all| cell(all, "")).collect();
    let _ = writeln!(text, "| **all** | {} |", totals.join(" | "));
    let claims: Vec<&str> = records.values().map(claims_of).collect();
    let _ = writeln!(text, "| append, sync survive | {} |", claims.join(" | "));
    let verdicts: Vec<String> = records.values().map(|all| verdict_of(all).0).collect();
    let _ = writeln!(text, "| verdict | {} |", verdicts.join(" | "));
}

fn claims_of(records: &BTreeMap<String, Record>) -> &str {
    let mut claims = records.values().map(|record| record.claims.as_str());
    claims.find(|claims| !claims.is_empty()).unwrap_or("?")
}

/// The counts of a group, or of all groups for an empty name.
fn cell(records: &BTreeMap<String, Record>, group: &str) -> String {
    let inside = |name: &str| group.is_empty() || name == group;
    let here: Vec<&Record> = records.values().filter(|r| inside(&r.group)).collect();
    let count = |what: Verdict| here.iter().filter(|r| r.verdict == what).count();
    let all = crate::cases();
    let not_run = all.iter().filter(|c| inside(c.group) && !records.contains_key(&c.id())).count();
    let applies = here.len() - count(Verdict::NotApplicable);
    if applies == 0 && not_run == 0 {
        return "–".into();
    }
    let mut cell = format!("{}/{applies}", count(Verdict::Pass));
    for (what, number) in [
        ("known", count(Verdict::ExpectedFailure)),
        ("failing", count(Verdict::Fail) + count(Verdict::UnexpectedPass)),
        ("provisional", count(Verdict::Provisional)),
        ("unavailable", count(Verdict::Unavailable)),
        ("not run", not_run),
    ] {
        if number > 0 {
            let _ = write!(cell, ", {number} {what}");
        }
    }
    cell
}

fn add_list(text: &mut String, records: &Records, title: &str, what: Verdict) {
    let all = records.values().flat_map(BTreeMap::values);
    let listed: Vec<&Record> = all.filter(|record| record.verdict == what).collect();
    if listed.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n## {title}\n");
    for record in listed {
        let why = record.why.replace('\n', " ");
        let _ = writeln!(text, "- **{}**, `{}`: {why}", record.backend, record.id());
    }
}

fn add_not_applicable(text: &mut String, records: &Records) {
    let _ = writeln!(text, "\n## Not applicable\n");
    let _ = writeln!(
        text,
        "What a store does not claim. Where a claim can be tested from the other side, a case of \
         group `capabilities` does so.\n"
    );
    for (backend, records) in records {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for record in records.values().filter(|r| r.verdict == Verdict::NotApplicable) {
            *reasons.entry(&record.why).or_default() += 1;
        }
        let reasons: Vec<_> =
            reasons.iter().map(|(why, count)| format!("{why} ({count})")).collect();
        let listed = if reasons.is_empty() { "nothing".to_owned() } else { reasons.join("; ") };
        let _ = writeln!(text, "- **{backend}**: {listed}");
    }
}

/// A badge in the form of shields.io's endpoint.
pub fn badge(records: &BTreeMap<String, Record>) -> String {
    let (verdict, green) = verdict_of(records);
    let message = verdict.replace("**", "");
    let color = match (green, message.as_str()) {
        (true, "conformant") => "brightgreen",
        (true, _) => "yellow",
        (false, _) => "red",
    };
    let label = "msglog conformance";
    let badge = serde_json::json!(
        { "schemaVersion": 1, "label": label, "message": message, "color": color }
    );
    badge.to_string()
}
