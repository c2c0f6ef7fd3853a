//! The one public error: what went wrong, whether trying again helps, and whether anything happened.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of every fallible call of msglog.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn StdError + Send + Sync>;

/// What went wrong, in words that tell the caller what to do next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The value exists already: use it, or choose another name.
    AlreadyExists,
    /// The log, store or handle was closed: open it again.
    Closed,
    /// Someone else changed the thing first: read it again, then decide.
    Conflict,
    /// Stored bytes fail their checksum: restore them, or read around the hole that the error names.
    Corrupt,
    /// Another writer has taken this place over: stop writing.
    Fenced,
    /// The argument can never succeed: fix the call.
    Invalid,
    /// Another process holds the place for writing: wait for it, or open for reading.
    Locked,
    /// There is no such topic, partition or store: create it first.
    NotFound,
    /// An earlier write or sync failed: reopen, which recovers to the last durable record.
    Poisoned,
    /// The place was opened for reading: open it for writing.
    ReadOnly,
    /// Admission is closed, or a rate is used up: append again when the log accepts.
    Refused,
    /// There is no room: free some; the same call may succeed later.
    StorageFull,
    /// A limit is exceeded: send less, or raise the limit that the error names.
    TooLarge,
    /// The storage did not answer: the same call may succeed later.
    Unavailable,
    /// This store, build or format version cannot do it: choose another, or upgrade.
    Unsupported,
}

impl ErrorKind {
    /// The name of the kind as it appears in text and JSON, e.g. `storage full`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyExists => "already exists",
            Self::Closed => "closed",
            Self::Conflict => "conflict",
            Self::Corrupt => "corrupt",
            Self::Fenced => "fenced",
            Self::Invalid => "invalid",
            Self::Locked => "locked",
            Self::NotFound => "not found",
            Self::Poisoned => "poisoned",
            Self::ReadOnly => "read-only",
            Self::Refused => "refused",
            Self::StorageFull => "storage full",
            Self::TooLarge => "too large",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a failed call may have changed anything.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Effect {
    /// Nothing was changed.
    NotApplied,
    /// The change may or may not have happened; reopen or read to find out.
    Unknown,
}

/// A call that failed: its kind, its effect, what it was doing, and the cause.
///
/// Cheap to clone, because one failed group commit is the answer to many appends; and one pointer
/// large, because every call hands a place for it up to its caller.
#[derive(Clone)]
pub struct Error(Arc<Details>);

#[derive(Clone)]
struct Details {
    kind: ErrorKind,
    effect: Effect,
    transient: bool,
    context: String,
    source: Option<Source>,
}

impl Error {
    /// An error that changed nothing, with what was being done.
    ///
    /// `context` is lower case, without a full stop and without the text of the cause. The error
    /// is transient when its kind is [`Unavailable`](ErrorKind::Unavailable) or
    /// [`StorageFull`](ErrorKind::StorageFull).
    pub fn new(kind: ErrorKind, context: impl Into<String>) -> Self {
        let transient = matches!(kind, ErrorKind::StorageFull | ErrorKind::Unavailable);
        Self(Arc::new(Details {
            kind,
            effect: Effect::NotApplied,
            transient,
            context: context.into(),
            source: None,
        }))
    }

    fn details_mut(&mut self) -> &mut Details {
        Arc::make_mut(&mut self.0)
    }

    /// The error of a failed file or network call, its kind derived from that of the cause.
    ///
    /// It says that nothing was changed. Of a failed write or sync that is not known: add
    /// [`with_unknown_effect`](Self::with_unknown_effect).
    pub fn from_io(context: impl Into<String>, cause: io::Error) -> Self {
        let kind = match cause.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::PermissionDenied => ErrorKind::Invalid,
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => ErrorKind::StorageFull,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, context).with_source(cause)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.details_mut().source = Some(source.into().into());
        self
    }

    /// The same error after which it is unknown whether the change happened: no longer transient,
    /// because the same call again might change it twice.
    #[must_use]
    pub fn with_unknown_effect(mut self) -> Self {
        let details = self.details_mut();
        details.effect = Effect::Unknown;
        details.transient = false;
        self
    }

    /// The same error, told apart as worth trying again or not.
    #[must_use]
    pub fn with_transient(mut self, transient: bool) -> Self {
        self.details_mut().transient = transient;
        self
    }

    /// The same error seen from one level up: `context` is put in front.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        let details = self.details_mut();
        details.context = format!("{context}: {}", details.context);
        self
    }

    /// What went wrong, and so what to do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the failed call may have changed anything.
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// Whether the same call may succeed later without anyone mending anything.
    pub fn is_transient(&self) -> bool {
        self.0.transient
    }

    /// What was being done, without the kind and the cause.
    pub fn context(&self) -> &str {
        &self.0.context
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.context)
    }
}

impl StdError for Error {
    /// The cause itself, so that callers can downcast it.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("effect", &self.0.effect)
            .field("transient", &self.0.transient)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_kind_and_context_but_not_the_cause() {
        let error = Error::from_io("write segment", io::Error::other("device gone"));
        assert_eq!(error.to_string(), "unavailable: write segment");
        assert_eq!(error.source().unwrap().to_string(), "device gone");
    }

    #[test]
    fn result_of_nothing_fits_a_register() {
        assert_eq!(size_of::<Result<()>>(), size_of::<usize>());
    }

    #[test]
    fn clone_stays_as_it_was_when_the_other_changes() {
        let error = Error::from_io("append", io::Error::from(io::ErrorKind::StorageFull));
        let other = error.clone().within("topic `t`").with_unknown_effect();
        assert_eq!((error.context(), error.effect()), ("append", Effect::NotApplied));
        assert_eq!((other.context(), other.effect()), ("topic `t`: append", Effect::Unknown));
        assert!(error.is_transient() && error.source().is_some() && other.source().is_some());
    }

    #[test]
    fn cause_can_be_downcast() {
        let error = Error::from_io("write segment", io::Error::other("device gone"));
        assert!(error.source().unwrap().is::<io::Error>());
    }

    #[test]
    fn unknown_effect_is_not_tried_again() {
        let error = Error::from_io("sync", io::Error::other("device gone"));
        assert!(error.is_transient());
        let error = error.with_unknown_effect();
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(!error.is_transient());
    }

    #[test]
    fn full_disk_is_transient_and_not_applied() {
        let error = Error::from_io("append", io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert_eq!(error.effect(), Effect::NotApplied);
        assert!(error.is_transient());
    }
}
