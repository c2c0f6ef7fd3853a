//! Expected failures: a file in which each has a case, the words it fails with, and a reason.

use serde::Deserialize;

use crate::case::{Case, LEVELS};
use crate::suite::Status;

/// What `--bless` writes as reason; as long as it stands, the run is red.
pub const UNEXPLAINED: &str = "TODO";

/// A marker file, read strictly: anything unknown in it is a problem.
#[derive(Clone, Debug, Default)]
pub struct Markers {
    suite_level: Option<String>,
    markers: Vec<Marker>,
    problems: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MarkerFile {
    suite_level: Option<String>,
    #[serde(default)]
    expected_failure: Vec<Marker>,
}

/// One expected failure.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Marker {
    /// `group/name` of the case.
    pub case: String,
    /// Words that must be part of the failure's message.
    #[serde(rename = "match")]
    pub matches: String,
    /// Why it fails, for the reader of the report.
    pub reason: String,
    /// Where it is followed up.
    pub issue: Option<String>,
    /// Where the marker holds; everywhere when missing.
    pub when: Option<When>,
    /// How the case ends: a hang or crash is never covered by `fail`.
    #[serde(default)]
    pub outcome: MarkedOutcome,
}

/// Where a marker holds.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// As in [`std::env::consts::OS`], e.g. `linux`.
    pub os: Option<String>,
    /// As in [`std::env::consts::ARCH`], e.g. `x86_64`.
    pub arch: Option<String>,
}

/// How a marked case ends.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum MarkedOutcome {
    /// By a failure of the promise.
    #[default]
    Fail,
    /// By running out of time.
    Timeout,
    /// By a panic, or by ending the process.
    Crash,
}

impl Marker {
    /// Whether a run ended as this says.
    pub fn covers(&self, status: Status, message: &str) -> bool {
        let marked = match self.outcome {
            MarkedOutcome::Fail => Status::Failed,
            MarkedOutcome::Timeout => Status::TimedOut,
            MarkedOutcome::Crash => Status::Crashed,
        };
        status == marked && message.contains(&self.matches)
    }

    /// Whether somebody has written why the case fails.
    pub fn is_explained(&self) -> bool {
        !matches!(self.reason.trim(), "" | UNEXPLAINED)
    }

    fn holds_here(&self) -> bool {
        let Some(when) = &self.when else { return true };
        let is = |wanted: &Option<String>, here: &str| wanted.as_deref().is_none_or(|w| w == here);
        is(&when.os, std::env::consts::OS) && is(&when.arch, std::env::consts::ARCH)
    }
}

impl Markers {
    /// Reads a marker file; what is wrong with it is in [`problems`](Self::problems).
    pub fn parse(text: &str, known: &[&Case]) -> Self {
        let file: MarkerFile = match toml::from_str(text) {
            Ok(file) => file,
            Err(cause) => {
                let problems = vec![format!("it cannot be read: {}", cause.message())];
                return Self { problems, ..Self::default() };
            }
        };
        let mut problems = Vec::new();
        if let Some(level) = &file.suite_level
            && !LEVELS.contains(&level.as_str())
        {
            let levels = LEVELS.join(", ");
            problems.push(format!("there is no suite level `{level}` (there are: {levels})"));
        }
        for (index, marker) in file.expected_failure.iter().enumerate() {
            let before = file.expected_failure.iter().take(index);
            if before.clone().any(|other| other.case == marker.case && other.when == marker.when) {
                problems.push(format!("{}: marked twice", marker.case));
            }
            problems.extend(problem_of(marker, known));
        }
        Self { suite_level: file.suite_level, markers: file.expected_failure, problems }
    }

    /// What is wrong with the file; anything makes the run red.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The level that the store is held to: the newest one unless the file names another.
    pub fn suite_level(&self) -> &str {
        self.suite_level.as_deref().or(LEVELS.last().copied()).unwrap_or_default()
    }

    /// The marker of a case that holds on this machine.
    pub fn of(&self, case: &Case) -> Option<&Marker> {
        let id = case.id();
        self.markers.iter().find(|marker| marker.case == id && marker.holds_here())
    }
}

fn problem_of(marker: &Marker, known: &[&Case]) -> Option<String> {
    let case = &marker.case;
    if !known.iter().any(|known| known.id() == *case) {
        let names: Vec<String> = known.iter().map(|known| known.id()).collect();
        let hint = nearest(case, &names).map(|name| format!("; did you mean `{name}`?"));
        return Some(format!("there is no case `{case}`{}", hint.unwrap_or_default()));
    }
    if marker.matches.trim().is_empty() {
        return Some(format!("{case}: `match` is empty, which would cover any failure"));
    }
    if !marker.is_explained() {
        return Some(format!("{case}: `reason` does not explain the failure"));
    }
    None
}

/// The name that takes the fewest edits, if they are few.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a String> {
    let (edits, name) = names.iter().map(|name| (edits(wanted, name), name)).min()?;
    (edits <= wanted.len() / 2).then_some(name)
}

/// Levenshtein distance, row by row.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, a) in left.chars().enumerate() {
        let mut next = vec![above + 1];
        for ((b, diagonal), over) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let before = next.last().copied().unwrap_or(0);
            let change = diagonal + usize::from(a != *b);
            next.push(change.min(over + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// A marker as `--bless` writes it.
pub(crate) fn blessed(case: &str, status: Status, message: &str) -> String {
    let outcome = match status {
        Status::TimedOut => "outcome = \"timeout\"\n",
        Status::Crashed => "outcome = \"crash\"\n",
        _ => "",
    };
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "\n[[expected-failure]]\ncase = {}\nmatch = {}\nreason = \"{UNEXPLAINED}\"\n{outcome}",
        quoted(case),
        quoted(lasting(message))
    )
}

/// The longest part of a message without a number, since numbers change from run to run.
fn lasting(message: &str) -> &str {
    let (message, _) = message.split_once(" [").unwrap_or((message, ""));
    let parts = message.split(|c: char| c.is_ascii_digit());
    parts.map(str::trim).max_by_key(|part| part.len()).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    fn problems(text: &str) -> String {
        Markers::parse(text, &cases()).problems().join("\n")
    }

    fn marked(lines: &str) -> String {
        format!("[[expected-failure]]\n{lines}")
    }

    const GOOD: &str = "case = \"trim/trim_back_changes_nothing\"\nmatch = \"m\"\nreason = \"r\"\n";

    #[test]
    fn whole_marker_is_no_problem() {
        assert_eq!(problems(""), "");
        assert_eq!(problems(&marked(GOOD)), "");
        let full =
            format!("{GOOD}issue = \"i\"\noutcome = \"timeout\"\nwhen = {{ os = \"linux\" }}");
        assert_eq!(problems(&format!("suite-level = \"2026.1\"\n{}", marked(&full))), "");
    }

    #[test]
    fn unknown_case_is_named_with_the_nearest_one() {
        let text = problems(&marked(&GOOD.replace("back_changes", "back_change")));
        assert!(text.contains("did you mean `trim/trim_back_changes_nothing`?"), "{text}");
    }

    #[test]
    fn missing_unknown_or_unexplained_parts_are_problems() {
        for bad in [
            marked(&GOOD.replace("match = \"m\"\n", "")),
            marked(&GOOD.replace("reason = \"r\"\n", "")),
            marked(&GOOD.replace("\"r\"", "\"TODO\"")),
            marked(&GOOD.replace("\"r\"", "\" \"")),
            marked(&GOOD.replace("\"m\"", "\"\"")),
            marked(&format!("{GOOD}colour = \"red\"")),
            marked(&format!("{GOOD}outcome = \"flaky\"")),
            marked(&format!("{GOOD}when = {{ moon = \"full\" }}")),
            format!("{}{}", marked(GOOD), marked(GOOD)),
            "suite-level = \"1999.1\"".to_owned(),
            "skip = [\"all\"]".to_owned(),
            "no toml".to_owned(),
        ] {
            assert_ne!(problems(&bad), "", "{bad}");
        }
    }

    #[test]
    fn marker_for_another_system_does_not_hold() {
        let text = marked(&format!("{GOOD}when = {{ os = \"plan9\" }}"));
        let markers = Markers::parse(&text, &cases());
        let case = crate::find_case("trim/trim_back_changes_nothing").unwrap();
        assert_eq!(markers.problems(), [] as [&str; 0]);
        assert_eq!(markers.of(case), None);
    }

    #[test]
    fn hang_is_not_covered_by_fail() {
        let markers = Markers::parse(&marked(GOOD), &cases());
        let marker = &markers.markers[0];
        assert!(marker.covers(Status::Failed, "some message"));
        assert!(!marker.covers(Status::Failed, "other"));
        assert!(!marker.covers(Status::TimedOut, "some message"));
        assert!(!marker.covers(Status::Crashed, "some message"));
    }

    #[test]
    fn blessed_marker_is_read_back_and_unexplained() {
        let message = "12: a \"quoted\"\nline 7";
        let text = blessed("trim/trim_back_changes_nothing", Status::Crashed, message);
        let markers = Markers::parse(&text, &cases());
        assert!(markers.problems()[0].contains("does not explain"), "{:?}", markers.problems());
        assert!(markers.markers[0].covers(Status::Crashed, "13: a \"quoted\"\nline 8"));
    }
}
