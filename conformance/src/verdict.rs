//! What an outcome means once the marker file has been asked: the table of verdicts.

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::marker::Markers;
use crate::suite::{Outcome, Status};

/// What a case says about a store.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The promise holds.
    Pass,
    /// The promise is broken, and not as a marker says.
    Fail,
    /// The promise is broken exactly as a marker says.
    ExpectedFailure,
    /// A marker says that it is broken, but it holds: the marker must go.
    UnexpectedPass,
    /// The store does not claim what the case is about.
    NotApplicable,
    /// The case could not be run.
    Unavailable,
    /// The promise is broken, but the case is newer than the level that the store is held to.
    Provisional,
}

/// A verdict with the words for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people; empty for a pass.
    pub why: String,
}

impl Verdict {
    /// Whether it makes the run fail; `required` says that whatever is unavailable does.
    pub fn is_red(self, required: bool) -> bool {
        match self {
            Self::Fail | Self::UnexpectedPass => true,
            Self::Unavailable => required,
            Self::Pass | Self::ExpectedFailure | Self::NotApplicable | Self::Provisional => false,
        }
    }
}

/// Judges an outcome by the markers.
pub fn judge(case: &Case, outcome: &Outcome, markers: &Markers) -> Judgement {
    let said = |verdict, why: String| Judgement { verdict, why };
    let message = &outcome.message;
    let Some(marker) = markers.of(case) else {
        return match outcome.status {
            Status::Passed => said(Verdict::Pass, String::new()),
            Status::NotApplicable => said(Verdict::NotApplicable, message.clone()),
            Status::Unavailable => said(Verdict::Unavailable, message.clone()),
            Status::Failed | Status::TimedOut | Status::Crashed
                if case.is_provisional_at(markers.suite_level()) =>
            {
                said(Verdict::Provisional, message.clone())
            }
            Status::Failed | Status::TimedOut | Status::Crashed => {
                said(Verdict::Fail, message.clone())
            }
        };
    };
    match outcome.status {
        Status::Passed => {
            let why = "it passes, but is marked as an expected failure: remove the marker";
            said(Verdict::UnexpectedPass, why.into())
        }
        Status::Unavailable => said(Verdict::Unavailable, message.clone()),
        Status::NotApplicable => {
            let why = format!("it is marked, but does not apply ({message}): remove the marker");
            said(Verdict::Fail, why)
        }
        _ if !marker.is_explained() => {
            said(Verdict::Fail, format!("its marker does not explain the failure: {message}"))
        }
        status if marker.covers(status, message) => {
            said(Verdict::ExpectedFailure, marker.reason.clone())
        }
        _ => {
            let marked = format!("{:?} with `{}`", marker.outcome, marker.matches);
            said(Verdict::Fail, format!("it fails otherwise than marked ({marked}): {message}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cases, find_case};

    const CASE: &str = "power/sync_reaches_the_device";

    fn verdict(id: &str, markers: &str, status: Status, message: &str) -> Verdict {
        let case = find_case(id).unwrap();
        let (message, place) = (message.to_owned(), String::new());
        let outcome = Outcome { status, message, place, millis: 0, seed: 0 };
        judge(case, &outcome, &Markers::parse(markers, &cases())).verdict
    }

    #[test]
    fn each_row_of_the_table_is_as_documented() {
        let marker = format!(
            "[[expected-failure]]\ncase = \"{CASE}\"\nmatch = \"not synced\"\nreason = \"r\"\n"
        );
        let hang = format!("{marker}outcome = \"timeout\"");
        let unexplained = marker.replace("\"r\"", "\"TODO\"");
        let rows = [
            ("", Status::Passed, "", Verdict::Pass),
            ("", Status::Failed, "not synced", Verdict::Fail),
            ("", Status::TimedOut, "", Verdict::Fail),
            ("", Status::Crashed, "", Verdict::Fail),
            ("", Status::NotApplicable, "", Verdict::NotApplicable),
            ("", Status::Unavailable, "", Verdict::Unavailable),
            (&marker, Status::Passed, "", Verdict::UnexpectedPass),
            (&marker, Status::Failed, "it was not synced", Verdict::ExpectedFailure),
            (&marker, Status::Failed, "torn", Verdict::Fail),
            (&marker, Status::TimedOut, "not synced", Verdict::Fail),
            (&marker, Status::Crashed, "not synced", Verdict::Fail),
            (&marker, Status::NotApplicable, "", Verdict::Fail),
            (&marker, Status::Unavailable, "", Verdict::Unavailable),
            (&hang, Status::TimedOut, "not synced", Verdict::ExpectedFailure),
            (&hang, Status::Failed, "not synced", Verdict::Fail),
            (&unexplained, Status::Failed, "not synced", Verdict::Fail),
        ];
        for (markers, status, message, wanted) in rows {
            let got = verdict(CASE, markers, status, message);
            assert_eq!(got, wanted, "{status:?} `{message}` with {markers:?}");
        }
    }

    #[test]
    fn case_newer_than_the_level_is_provisional() {
        let newer = "power/folder_of_a_new_file_is_synced";
        assert_eq!(verdict(newer, "", Status::Failed, ""), Verdict::Provisional);
        assert!(!Verdict::Provisional.is_red(true));
    }

    #[test]
    fn unavailable_is_red_only_where_required() {
        assert!(Verdict::Unavailable.is_red(true) && !Verdict::Unavailable.is_red(false));
        assert!(Verdict::Fail.is_red(false) && Verdict::UnexpectedPass.is_red(false));
    }
}
