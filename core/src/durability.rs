//! The durability levels: what a record survives once it is acked.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// What an acked record survives.
///
/// Its text is `memory`, `os`, `interval:<milliseconds>ms` or `sync`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Durability {
    /// Acked when accepted; lost with the process.
    Memory,
    /// Acked when the store has taken it; survives the process, not a power cut.
    Os,
    /// Acked as `Os`, and synced at least this often.
    Interval(Duration),
    /// Acked after the sync that covers it; survives what the store's `sync` survives.
    #[default]
    Sync,
}

impl Durability {
    /// How soon what is stored must be synced; `None` where nobody was promised that.
    pub(crate) fn sync_within(self) -> Option<Duration> {
        match self {
            Self::Memory | Self::Os => None,
            Self::Interval(every) => Some(every),
            Self::Sync => Some(Duration::ZERO),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Os => f.write_str("os"),
            Self::Interval(every) => write!(f, "interval:{}ms", every.as_millis()),
            Self::Sync => f.write_str("sync"),
        }
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            let hint = "memory, os, interval:<n>ms or sync";
            Error::new(ErrorKind::Invalid, format!("durability `{text}` is none of {hint}"))
        };
        match text {
            "memory" => return Ok(Self::Memory),
            "os" => return Ok(Self::Os),
            "sync" => return Ok(Self::Sync),
            _ => {}
        }
        let every = text.strip_prefix("interval:").and_then(|rest| rest.strip_suffix("ms"));
        let millis: u64 = every.ok_or_else(invalid)?.parse().map_err(|_| invalid())?;
        if millis == 0 {
            return Err(invalid());
        }
        Ok(Self::Interval(Duration::from_millis(millis)))
    }
}

impl TryFrom<String> for Durability {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Durability> for String {
    fn from(level: Durability) -> Self {
        level.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_back() {
        for text in ["memory", "os", "interval:250ms", "sync"] {
            assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
        }
        for text in ["", "fsync", "interval:0ms", "interval:5", "interval:-1ms"] {
            assert_eq!(text.parse::<Durability>().unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
