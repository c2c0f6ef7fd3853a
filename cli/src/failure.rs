//! What ends a command early, the line that says so, and the exit code.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use msglog::ErrorKind;

/// Whatever none of the other codes names.
const EXIT_ERROR: u8 = 1;
/// Stored bytes are damaged.
pub(crate) const EXIT_CORRUPT: u8 = 2;
/// There is no such store, topic, partition or MSN.
const EXIT_NOT_FOUND: u8 = 3;
/// Another process holds the store or has taken it over, or the log refuses.
const EXIT_REFUSED: u8 = 4;
/// There is something to repair, and nothing was changed.
pub(crate) const EXIT_TO_REPAIR: u8 = 5;
/// What is there is not what was expected: the place of `migrate` or `bench` holds something else.
const EXIT_CONFLICT: u8 = 6;
/// The command cannot be understood.
pub(crate) const EXIT_USAGE: u8 = 64;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command cannot be understood.
    Usage(String),
    /// There is no such thing.
    NotFound(String),
    /// Stored bytes are damaged.
    Corrupt(String),
    /// What is there is something else.
    Conflict(String),
    /// What was read cannot be taken.
    Input(String),
    /// Reading or writing a file or a stream of this process failed.
    Io { context: String, cause: io::Error },
    /// Standard output cannot be written.
    Output(io::Error),
    /// The log answered an error.
    Log(msglog::Error),
}

impl Failure {
    pub(crate) fn io(context: impl Into<String>, cause: io::Error) -> Self {
        Self::Io { context: context.into(), cause }
    }

    /// Whether nobody reads the output any more, as after `| head`.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::NotFound(_) => EXIT_NOT_FOUND,
            Self::Corrupt(_) => EXIT_CORRUPT,
            Self::Conflict(_) => EXIT_CONFLICT,
            Self::Input(_) | Self::Io { .. } | Self::Output(_) => EXIT_ERROR,
            Self::Log(error) => exit_code_of(error),
        }
    }
}

fn exit_code_of(error: &msglog::Error) -> u8 {
    match error.kind() {
        ErrorKind::Conflict => EXIT_CONFLICT,
        ErrorKind::Corrupt => EXIT_CORRUPT,
        ErrorKind::NotFound => EXIT_NOT_FOUND,
        ErrorKind::Fenced | ErrorKind::Locked | ErrorKind::Refused => EXIT_REFUSED,
        // What the operating system refuses is no misuse of the command.
        ErrorKind::Invalid if !has_io_cause(error) => EXIT_USAGE,
        _ => EXIT_ERROR,
    }
}

fn has_io_cause(error: &msglog::Error) -> bool {
    causes(error).any(|cause| cause.is::<io::Error>())
}

fn causes(error: &msglog::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: Option<&(dyn StdError + 'static)> = error.source();
    std::iter::successors(first, |cause| (*cause).source())
}

impl From<msglog::Error> for Failure {
    fn from(error: msglog::Error) -> Self {
        Self::Log(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match self {
            Self::Usage(what) | Self::NotFound(what) | Self::Corrupt(what) | Self::Input(what) => {
                what.clone()
            }
            Self::Conflict(what) => format!("conflict: {what}"),
            Self::Io { context, cause } => format!("{context}: {cause}"),
            Self::Output(cause) => format!("write standard output: {cause}"),
            Self::Log(error) => {
                let mut line = error.to_string();
                for cause in causes(error) {
                    line.push_str(": ");
                    line.push_str(&cause.to_string());
                }
                line
            }
        };
        // One line, whatever a cause says.
        f.write_str(&line.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msglog::Error;

    #[test]
    fn every_kind_has_the_documented_exit_code() {
        let code = |kind| Failure::Log(Error::new(kind, "x")).exit_code();
        assert_eq!(code(ErrorKind::Conflict), 6);
        assert_eq!(code(ErrorKind::Corrupt), 2);
        assert_eq!(code(ErrorKind::NotFound), 3);
        assert_eq!(code(ErrorKind::Locked), 4);
        assert_eq!(code(ErrorKind::Fenced), 4);
        assert_eq!(code(ErrorKind::Refused), 4);
        assert_eq!(code(ErrorKind::Invalid), 64);
        assert_eq!(code(ErrorKind::TooLarge), 1);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(Failure::Log(Error::from_io("open", denied)).exit_code(), 1);
    }

    #[test]
    fn line_names_every_cause_once() {
        let cause = Error::from_io("write segment", io::Error::other("device\ngone"));
        let error = Error::new(ErrorKind::Poisoned, "append").with_source(cause);
        let line = Failure::Log(error).to_string();
        assert_eq!(line, "poisoned: append: unavailable: write segment: device gone");
    }
}
