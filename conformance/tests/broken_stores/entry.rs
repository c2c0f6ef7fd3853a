//! The suite's own `main`, run as an author would run it: this executable, started again.

use std::path::Path;
use std::process::{Command, ExitCode, Output};

use libtest_mimic::{Failed, Trial};
use msglog_conformance::{Setup, cases, run};
use tempfile::TempDir;

use crate::backends::named;

/// The variable that names the store which this executable then runs the suite on.
const STORE_VARIABLE: &str = "MSGLOG_BROKEN_STORE";
/// The variable that names its marker file.
const MARKERS_VARIABLE: &str = "MSGLOG_BROKEN_MARKERS";

const BROKEN: &str = "trim-keeps-all";
const CASE: &str = "trim/exact_trim_keeps_only_the_batch_that_holds_it";
const AUDIT: &str = "power/sync_reaches_the_device";

/// Runs the suite's `main` if this process was started for that.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let backend = named(&std::env::var(STORE_VARIABLE).ok()?)?;
    let setup = Setup::of_package(env!("CARGO_MANIFEST_DIR"));
    let setup = match std::env::var_os(MARKERS_VARIABLE) {
        Some(path) => setup.with_markers(path),
        None => setup,
    };
    Some(run(backend, &setup))
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("entry/list_names_every_case", list_names_every_case),
        Trial::test("entry/blessed_marker_is_red_until_explained", blessed_until_explained),
        Trial::test("entry/bad_marker_file_is_red", bad_marker_file_is_red),
        Trial::test("entry/unavailable_is_red_only_where_required", unavailable_where_required),
        Trial::test("entry/each_case_leaves_a_record", each_case_leaves_a_record),
    ]
}

/// An author's run: the store, a folder for records and the marker file, the arguments.
fn author(store: &str, at: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(STORE_VARIABLE, store).env("MSGLOG_CONFORMANCE_RECORDS", at.join("records"));
    for variable in ["CI", "NEXTEST", "MSGLOG_CONFORMANCE_REQUIRE"] {
        command.env_remove(variable);
    }
    command.args(arguments);
    command
}

fn with_markers(at: &Path, arguments: &[&str]) -> Output {
    let mut command = author(BROKEN, at, arguments);
    command.env(MARKERS_VARIABLE, at.join("markers.toml")).output().unwrap()
}

fn check(condition: bool, what: &str, output: &Output) -> Result<(), Failed> {
    if condition {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    Err(Failed::from(format!("{what}:\n{said}\n{complained}")))
}

fn list_names_every_case() -> Result<(), Failed> {
    let at = TempDir::new()?;
    let output = author(BROKEN, at.path(), &["--list", "--format", "terse"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let listed: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let known: Vec<String> = cases().iter().map(|case| case.id()).collect();
    check(listed == known, "the list differs from the cases", &output)
}

fn blessed_until_explained() -> Result<(), Failed> {
    let at = TempDir::new()?;
    let path = at.path().join("markers.toml");
    let one = ["--exact", CASE];
    let output = with_markers(at.path(), &["--bless", "--exact", CASE]);
    check(!output.status.success(), "a blessing run is green", &output)?;
    let text = std::fs::read_to_string(&path)?;
    check(text.contains(CASE) && text.contains("\"TODO\""), "no marker was written", &output)?;
    let output = with_markers(at.path(), &one);
    check(!output.status.success(), "an unexplained marker is green", &output)?;
    let output = with_markers(at.path(), &["--exact", "markers/all_are_known_and_explained"]);
    check(!output.status.success(), "an unexplained marker is no problem", &output)?;
    std::fs::write(&path, text.replace("\"TODO\"", "\"trims are not implemented yet\""))?;
    let output = with_markers(at.path(), &one);
    check(output.status.success(), "an explained marker is red", &output)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = said.contains("expected failure: trims are not implemented yet");
    check(shown, "the reason is not shown", &output)?;
    let output = with_markers(at.path(), &["--ignore-markers", "--exact", CASE]);
    check(!output.status.success(), "a failure is green without markers", &output)
}

fn bad_marker_file_is_red() -> Result<(), Failed> {
    let at = TempDir::new()?;
    let one = ["--exact", "trim/trim_back_changes_nothing"];
    let output = with_markers(at.path(), &one);
    check(!output.status.success(), "a missing marker file is green", &output)?;
    std::fs::write(at.path().join("markers.toml"), "[[expected-failure]]\ncase = \"x\"\n")?;
    let output = with_markers(at.path(), &["--exact", "markers/all_are_known_and_explained"]);
    check(!output.status.success(), "an incomplete marker is green", &output)
}

fn unavailable_where_required() -> Result<(), Failed> {
    let at = TempDir::new()?;
    // Without a search path there is no tool to trace system calls with.
    let without_tools = |arguments: &[&str]| {
        let mut command = author("journal", at.path(), arguments);
        command.env("PATH", at.path());
        command
    };
    let output = without_tools(&["--exact", AUDIT]).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    check(said.contains("UNAVAILABLE: the sync audit needs"), "it is not shown", &output)?;
    check(output.status.success(), "it is red though nothing requires it", &output)?;
    let output = without_tools(&["--require", "--exact", AUDIT]).output()?;
    check(!output.status.success(), "it is green under --require", &output)?;
    for variable in ["CI", "NEXTEST", "MSGLOG_CONFORMANCE_REQUIRE"] {
        let output = without_tools(&["--exact", AUDIT]).env(variable, "1").output()?;
        check(!output.status.success(), &format!("it is green under {variable}"), &output)?;
    }
    Ok(())
}

fn each_case_leaves_a_record() -> Result<(), Failed> {
    let at = TempDir::new()?;
    let output = author(BROKEN, at.path(), &["trim/"]).output()?;
    let records = msglog_conformance::report::read_records(&at.path().join("records"))?;
    let count = records.get(BROKEN).map_or(0, std::collections::BTreeMap::len);
    let trims = cases().iter().filter(|case| case.group == "trim").count();
    check(count == trims, &format!("{count} records of {trims} cases"), &output)?;
    let matrix = msglog_conformance::report::matrix(&records);
    check(matrix.contains("not conformant"), &matrix, &output)?;
    check(matrix.contains(CASE), "the matrix does not name the failure", &output)
}
