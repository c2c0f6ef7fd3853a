//! The suite is tested: each broken store is caught by the case that the table names, for the
//! reason that it names, and in the correct stores nothing is red.
//!
//! `BLESS=1` rewrites `BROKEN.md`, which otherwise must be what the table says.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test, though one without the harness that the lints know"
)]

mod backends;
mod contents;
mod entry;
mod file_partition;
mod file_store;
mod journal;
mod memory_fault;
mod memory_partition;
mod memory_store;
mod page;
mod rows_of_calls;
mod rows_of_claims;
mod table;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use msglog_conformance::marker::Markers;
use msglog_conformance::store_suite::GROUPS;
use msglog_conformance::verdict::{Verdict, judge};
use msglog_conformance::{Case, Status, Suite, cases, find_case, process};
use msglog_core::store::Ownership;

use crate::backends::backend;
use crate::file_store::FileFault;
use crate::table::{ALSO, CORRECT, Row, Store, rows};

fn main() -> ExitCode {
    if let Some(code) = process::serve_if_asked(backends::named) {
        return code;
    }
    if let Some(code) = entry::run_if_asked() {
        return code;
    }
    // What the broken stores panic with is in the outcomes; here it would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let mut trials: Vec<Trial> = rows().into_iter().map(caught).collect();
    trials.extend(ALSO.iter().map(|(store, case)| also_caught(store, case)));
    for store in CORRECT {
        let suite = Arc::new(Suite::new(backend(*store)));
        trials.extend(cases().into_iter().map(|case| correct(&suite, case)));
    }
    let suite = Arc::new(Suite::new(backend(NO_SYNC)));
    let others = cases().into_iter().filter(|case| !SYNC_CASES.contains(&case.id().as_str()));
    trials.extend(others.map(|case| correct(&suite, case)));
    trials.extend(marked());
    trials.extend(entry::trials());
    trials.push(Trial::test("table/page_is_what_the_table_says", page::check));
    trials.push(Trial::test(
        "table/each_row_is_a_store_of_its_own_and_each_case_can_fail",
        rows_are_distinct,
    ));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

const NO_SYNC: Store = Store::File(FileFault::NoSync, Ownership::Exclusive);
const SYNC_CASE: &str = "power/sync_reaches_the_device";
/// What a store without sync fails: where nothing is synced, nobody is seen to wait for it either.
const SYNC_CASES: &[&str] = &[
    SYNC_CASE,
    "concurrency/bounds_do_not_wait_for_the_device",
    "concurrency/calls_do_not_block_their_thread",
];

/// The case of a row fails on the store of the row, for the row's reason.
fn caught(row: Row) -> Trial {
    Trial::ignorable_test(format!("broken/{}/{}", row.name(), row.case), move || {
        let case = find_case(row.case).ok_or_else(|| format!("there is no case {}", row.case))?;
        let case = Case { seconds_max: if row.ends == Status::TimedOut { 2 } else { 60 }, ..*case };
        let suite = Suite::new(backend(row.store));
        let outcome = match row.says {
            "ended its process" => suite.run_in_child(&case),
            _ => suite.run(&case),
        };
        if outcome.status == Status::Unavailable {
            return unavailable(&outcome.message);
        }
        if outcome.status != row.ends || !outcome.message.contains(row.says) {
            let wanted = format!("{:?} with `{}`", row.ends, row.says);
            let got = format!("{:?} with `{}`", outcome.status, outcome.message);
            return Err(Failed::from(format!(
                "{} got through: {got}, expected {wanted}",
                row.wrong
            )));
        }
        Ok(Completion::Completed)
    })
}

/// Each case can fail: one that no row is about fails on a store of another row.
fn also_caught(store: &'static str, id: &'static str) -> Trial {
    Trial::test(format!("also/{store}/{id}"), move || {
        let case = find_case(id).ok_or_else(|| format!("there is no case {id}"))?;
        let backend = backends::named(store).ok_or_else(|| format!("there is no store {store}"))?;
        let outcome = Suite::new(backend).run(case);
        match outcome.status {
            Status::Failed => Ok(()),
            other => Err(Failed::from(format!("{other:?} `{}`", outcome.message))),
        }
    })
}

/// What cannot be run here is shown, and red where everything must run.
fn unavailable(why: &str) -> Result<Completion, Failed> {
    if std::env::var_os("CI").is_some() {
        return Err(Failed::from(format!("unavailable, but required: {why}")));
    }
    Ok(Completion::ignored_with(format!("UNAVAILABLE: {why}")))
}

/// A case passes on a correct store, or does not apply.
fn correct(suite: &Arc<Suite>, case: &'static Case) -> Trial {
    let suite = Arc::clone(suite);
    let name = format!("correct/{}/{}", suite.backend().name(), case.id());
    Trial::ignorable_test(name, move || {
        let outcome = suite.run(case);
        match outcome.status {
            Status::Passed => Ok(Completion::Completed),
            Status::NotApplicable => Ok(Completion::ignored_with(outcome.message)),
            Status::Unavailable => unavailable(&outcome.message),
            _ => {
                let (message, place, seed) = (outcome.message, outcome.place, outcome.seed);
                Err(Failed::from(format!("{message}\n  at {place}, seed {seed}")))
            }
        }
    })
}

/// The store without sync under markers: one that fits, one that does not, one too many.
fn marked() -> Vec<Trial> {
    let marker = |case: &str, words: &str| {
        format!("[[expected-failure]]\ncase = \"{case}\"\nmatch = \"{words}\"\nreason = \"r\"\n")
    };
    let fits = marker(SYNC_CASE, "not synced between");
    let does_not = marker(SYNC_CASE, "torn batch");
    let stale = marker("trim/trim_back_changes_nothing", "anything");
    let rows = [
        ("marker_that_matches_is_an_expected_failure", SYNC_CASE, fits, Verdict::ExpectedFailure),
        ("marker_that_does_not_match_is_red", SYNC_CASE, does_not, Verdict::Fail),
        (
            "marker_of_what_passes_is_red",
            "trim/trim_back_changes_nothing",
            stale,
            Verdict::UnexpectedPass,
        ),
    ];
    rows.into_iter()
        .map(|(name, id, markers, wanted)| {
            Trial::ignorable_test(format!("markers/{name}"), move || {
                let case = find_case(id).ok_or("no such case")?;
                let outcome = Suite::new(backend(NO_SYNC)).run(case);
                if outcome.status == Status::Unavailable {
                    return unavailable(&outcome.message);
                }
                let markers = Markers::parse(&markers, &cases());
                let judged = judge(case, &outcome, &markers);
                if judged.verdict != wanted || !markers.problems().is_empty() {
                    return Err(Failed::from(format!("{judged:?}, {:?}", markers.problems())));
                }
                Ok(Completion::Completed)
            })
        })
        .collect()
}

fn rows_are_distinct() -> Result<(), Failed> {
    let mut names: Vec<String> = rows().iter().map(Row::name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    if names.len() != count || count < 30 {
        return Err(Failed::from(format!("{count} rows, {} stores", names.len())));
    }
    let rows = rows();
    let caught: Vec<&str> =
        rows.iter().map(|row| row.case).chain(ALSO.iter().map(|a| a.1)).collect();
    // The cases of the log are about the engine, which no broken store stands for.
    let own = GROUPS.iter().flat_map(|group| group.iter());
    let never: Vec<String> =
        own.map(Case::id).filter(|id| !caught.contains(&id.as_str())).collect();
    if !never.is_empty() {
        return Err(Failed::from(format!("no broken store shows that these can fail: {never:?}")));
    }
    Ok(())
}
