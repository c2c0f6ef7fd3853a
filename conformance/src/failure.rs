//! How a case says that a promise was broken: a value with words and a place, never a panic.

use std::fmt;
use std::panic::Location;

/// What a case answers: nothing when the promise holds.
pub type CaseResult<T = ()> = Result<T, Failure>;

/// Why a case did not pass.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    message: String,
    place: String,
    unavailable: bool,
}

impl Failure {
    /// A broken promise, in words that a marker's `match` can name.
    #[track_caller]
    pub fn new(message: impl Into<String>) -> Self {
        let place = Location::caller();
        let place = format!("{}:{}", place.file(), place.line());
        Self { message: message.into(), place, unavailable: false }
    }

    /// The case could not be run: a tool or service is missing.
    #[track_caller]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { unavailable: true, ..Self::new(reason) }
    }

    /// The same failure with what was being done in front.
    #[must_use]
    pub fn during(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether the case could not be run, rather than found something.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }

    /// What was found, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The file and line of the case that found it.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.place)
    }
}

impl From<msglog_core::Error> for Failure {
    #[track_caller]
    fn from(error: msglog_core::Error) -> Self {
        Self::new(format!("a call that must succeed answered {}", in_words(&error)))
    }
}

impl From<std::io::Error> for Failure {
    #[track_caller]
    fn from(error: std::io::Error) -> Self {
        Self::new(format!("the suite's own file work failed: {error}"))
    }
}

/// An error with its causes, on one line.
pub(crate) fn in_words(error: &msglog_core::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Ends the case with a [`Failure`] unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return ::core::result::Result::Err($crate::Failure::new(format!($($message)+)));
        }
    };
}

/// Ends the case with a [`Failure`] that shows both sides unless they are equal.
#[macro_export]
macro_rules! ensure_eq {
    ($left:expr, $right:expr, $($message:tt)+) => {
        match (&$left, &$right) {
            (left, right) => {
                if !(*left == *right) {
                    let what = format!($($message)+);
                    return ::core::result::Result::Err($crate::Failure::new(format!(
                        "{what}: got {left:?}, expected {right:?}"
                    )));
                }
            }
        }
    };
}
