//! The `main` of a conformance test: arguments, one trial per case, records, markers to bless.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::backend::Backend;
use crate::marker::{MarkedOutcome, Markers, blessed};
use crate::process::serve_if_asked;
use crate::report::{Record, records_folder};
use crate::suite::{Outcome, SEED_VARIABLE};
use crate::verdict::{Verdict, judge};
use crate::{Case, Suite, cases};

/// The variable that, like `--require`, makes whatever is unavailable red; so does `CI`.
pub const REQUIRE_VARIABLE: &str = "MSGLOG_CONFORMANCE_REQUIRE";

/// Where a conformance test finds its marker file.
#[derive(Clone, Debug)]
pub struct Setup {
    package: PathBuf,
    markers: Option<PathBuf>,
}

impl Setup {
    /// The package in this folder, without a marker file.
    pub fn of_package(folder: impl Into<PathBuf>) -> Self {
        Self { package: folder.into(), markers: None }
    }

    /// The same with the marker file of this name in the package's folder `tests`.
    #[must_use]
    pub fn with_markers(mut self, name: impl AsRef<Path>) -> Self {
        self.markers = Some(self.package.join("tests").join(name));
        self
    }
}

/// Runs the suite on a backend as the arguments of the process say: what `main!` calls.
///
/// Beside those of `libtest-mimic` (`--list`, a filter, `--exact` ...) there are `--require`,
/// `--ignore-markers` and `--bless`.
pub fn run(backend: impl Backend, setup: &Setup) -> ExitCode {
    let backend: Arc<dyn Backend> = Arc::new(backend);
    if let Some(code) = serve_if_asked(|name| (name == backend.name()).then(|| backend.clone())) {
        return code;
    }
    let (own, rest) = split_arguments(std::env::args());
    let markers = match read_markers(setup, own) {
        Ok(markers) => Arc::new(markers),
        Err(why) => return complain(&why),
    };
    let run = Arc::new(Run {
        suite: Suite::new(backend),
        markers,
        required: own.require || is_required(),
        to_bless: Mutex::default(),
    });
    let mut trials: Vec<Trial> = cases().into_iter().map(|case| trial(&run, case)).collect();
    if !own.ignore_markers && setup.markers.is_some() {
        let markers = Arc::clone(&run.markers);
        trials.push(Trial::test("markers/all_are_known_and_explained", move || check(&markers)));
    }
    let conclusion = libtest_mimic::run(&Arguments::from_iter(rest), trials);
    if own.bless
        && let Err(why) = run.bless(setup)
    {
        return complain(&why);
    }
    conclusion.exit_code()
}

#[derive(Clone, Copy, Default)]
struct OwnArguments {
    require: bool,
    ignore_markers: bool,
    bless: bool,
}

fn split_arguments(all: impl Iterator<Item = String>) -> (OwnArguments, Vec<String>) {
    let mut own = OwnArguments::default();
    let rest = all.filter(|argument| {
        match argument.as_str() {
            "--require" => own.require = true,
            "--ignore-markers" => own.ignore_markers = true,
            "--bless" => own.bless = true,
            _ => return true,
        }
        false
    });
    let rest = rest.collect();
    (own, rest)
}

/// `CI` as most services set it; nextest cannot show a test as anything but passed or failed.
fn is_required() -> bool {
    let set = |name| std::env::var(name).is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    set("CI") || set(REQUIRE_VARIABLE) || set("NEXTEST")
}

fn read_markers(setup: &Setup, own: OwnArguments) -> Result<Markers, String> {
    let Some(path) = setup.markers.as_ref().filter(|_| !own.ignore_markers) else {
        return Ok(Markers::default());
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Markers::parse(&text, &cases())),
        Err(cause) if own.bless && cause.kind() == std::io::ErrorKind::NotFound => {
            Ok(Markers::default())
        }
        Err(cause) => Err(format!("marker file {}: {cause}", path.display())),
    }
}

fn check(markers: &Markers) -> Result<(), Failed> {
    match markers.problems() {
        [] => Ok(()),
        problems => Err(Failed::from(problems.join("\n"))),
    }
}

fn complain(why: &str) -> ExitCode {
    // Nothing can be done when not even the complaint can be written.
    let _ = writeln!(std::io::stderr(), "msglog-conformance: {why}");
    ExitCode::FAILURE
}

struct Run {
    suite: Suite,
    markers: Arc<Markers>,
    required: bool,
    to_bless: Mutex<BTreeMap<String, Outcome>>,
}

fn trial(run: &Arc<Run>, case: &'static Case) -> Trial {
    let run = Arc::clone(run);
    Trial::ignorable_test(case.id(), move || run.one(case))
}

impl Run {
    fn one(&self, case: &Case) -> Result<Completion, Failed> {
        let marker = self.markers.of(case);
        let outcome = match marker.map(|marker| marker.outcome) {
            Some(MarkedOutcome::Timeout | MarkedOutcome::Crash) => self.suite.run_in_child(case),
            Some(MarkedOutcome::Fail) | None => self.suite.run(case),
        };
        let judged = judge(case, &outcome, &self.markers);
        let name = self.suite.backend().name();
        let level = self.markers.suite_level();
        let mut record = Record::new(name, case, &outcome, &judged, level);
        record.claims = self.suite.claims().unwrap_or_default();
        let folder = records_folder().join(record.backend_folder());
        record.save(&folder).map_err(|why| Failed::from(format!("no record: {why}")))?;
        if judged.verdict == Verdict::Fail && marker.is_none() {
            let mut to_bless = self.to_bless.lock().unwrap_or_else(PoisonError::into_inner);
            to_bless.insert(case.id(), outcome.clone());
        }
        self.completion(&judged.why, judged.verdict, &outcome)
    }

    fn completion(
        &self,
        why: &str,
        verdict: Verdict,
        outcome: &Outcome,
    ) -> Result<Completion, Failed> {
        if verdict.is_red(self.required) {
            let mut text = why.to_owned();
            if verdict == Verdict::Unavailable {
                text = format!("unavailable, but required: {text}");
            }
            if !outcome.place.is_empty() {
                text = format!("{text}\n  at {}", outcome.place);
            }
            let seed = outcome.seed;
            return Err(Failed::from(format!("{text}\n  replay with {SEED_VARIABLE}={seed}")));
        }
        Ok(match verdict {
            Verdict::NotApplicable => Completion::ignored_with(format!("not applicable: {why}")),
            Verdict::Unavailable => Completion::ignored_with(format!("UNAVAILABLE: {why}")),
            Verdict::ExpectedFailure => {
                Completion::ignored_with(format!("expected failure: {why}"))
            }
            Verdict::Provisional => Completion::ignored_with(format!("PROVISIONAL FAILURE: {why}")),
            Verdict::Pass | Verdict::Fail | Verdict::UnexpectedPass => Completion::Completed,
        })
    }

    fn bless(&self, setup: &Setup) -> Result<(), String> {
        let Some(path) = &setup.markers else {
            return Err("--bless needs `markers` to be named in main!".into());
        };
        let to_bless = self.to_bless.lock().unwrap_or_else(PoisonError::into_inner);
        let new =
            to_bless.iter().map(|(id, outcome)| blessed(id, outcome.status, &outcome.message));
        let new: String = new.collect();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let written = file.as_mut().map(|file| file.write_all(new.as_bytes()));
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(format!("{}: {cause}", path.display())),
            Err(cause) => Err(format!("{}: {cause}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_arguments_are_kept_from_the_test_library() {
        let all = ["exe", "--bless", "trim/", "--exact", "--require"];
        let (own, rest) = split_arguments(all.into_iter().map(str::to_owned));
        assert!(own.bless && own.require && !own.ignore_markers);
        assert_eq!(rest, ["exe", "trim/", "--exact"]);
    }
}
