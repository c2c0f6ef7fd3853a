//! Constraints: rules that every message of a topic keeps, stored with its configuration.

mod gate;
mod rate;
mod rules;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) use self::gate::{Gate, Permit};
use self::rate::UNITS_MAX;
pub(super) use self::rules::Rules;
use crate::{Error, ErrorKind, Result};

/// The most rules that a topic may have.
const RULES_MAX: usize = 100;

/// The rules of a topic, and how often they were changed.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Constraints {
    /// Raised by the log whenever the rules change, whatever it is set to; 0 when there never were
    /// any.
    pub version: u64,
    /// What every message must keep; at most 100.
    pub rules: Vec<Rule>,
}

/// What every message of a topic must keep.
///
/// Rules about a payload let a message without one pass, which with a key is a tombstone; see
/// [`PayloadRequired`](Self::PayloadRequired).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Rule {
    /// The payload has this many bytes.
    PayloadBytes(ByteRange),
    /// There is a payload: no tombstones.
    PayloadRequired,
    /// There is a key.
    KeyRequired,
    /// The key, where there is one, has this many bytes.
    KeyBytes(ByteRange),
    /// There is a header of this name, and all of this name have such a value.
    Header {
        /// The header's name.
        name: String,
        /// What its value is.
        value: HeaderValue,
    },
    /// The header `content-type` is one of these; parameters behind `;` and case do not matter.
    ContentType(Vec<String>),
    /// The payload is JSON (RFC 8259).
    Json,
    /// The payload is JSON that this JSON Schema accepts; needs the cargo feature `json-schema`.
    JsonSchema(Value),
    /// No more than this is appended, by the log's clock; what is over it is
    /// [`Refused`](ErrorKind::Refused). At most one rule of a topic.
    Rate(Rate),
}

/// How many bytes there may be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByteRange {
    /// At least so many.
    pub min: u64,
    /// At most so many; any number when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// What the value of a header is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum HeaderValue {
    /// Anything, also null.
    Any,
    /// One of these.
    OneOf(Vec<String>),
    /// Something that begins with this.
    Prefix(String),
}

/// How much may be appended to a topic in a second, over all partitions and producers of a log.
///
/// What was not used is kept for `burst_seconds`: in any span of s seconds at most
/// `per second * (s + burst_seconds)` are accepted. Kept in memory: full after opening.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_per_second: Option<u64>,
    /// ByteRange of keys, payloads and headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// For how many seconds unused rate is kept, 1 to 3,600; 1 when not said.
    #[serde(default = "one")]
    pub burst_seconds: u32,
}

fn one() -> u32 {
    1
}

impl ByteRange {
    /// At least `min`.
    pub fn at_least(min: u64) -> Self {
        Self { min, max: None }
    }

    /// At most `max`.
    pub fn at_most(max: u64) -> Self {
        Self { min: 0, max: Some(max) }
    }
}

impl Rate {
    /// So many messages a second.
    pub fn messages(per_second: u64) -> Self {
        Self { messages_per_second: Some(per_second), bytes_per_second: None, burst_seconds: 1 }
    }

    /// So many bytes a second.
    pub fn bytes(per_second: u64) -> Self {
        Self { messages_per_second: None, bytes_per_second: Some(per_second), burst_seconds: 1 }
    }

    /// The same rate, with unused rate kept for so many seconds.
    #[must_use]
    pub fn with_burst_seconds(mut self, seconds: u32) -> Self {
        self.burst_seconds = seconds;
        self
    }
}

impl Rule {
    /// A header of this name is there.
    pub fn header(name: impl Into<String>) -> Self {
        Self::Header { name: name.into(), value: HeaderValue::Any }
    }

    /// A header of this name is there, and is one of these.
    pub fn header_one_of<V: Into<String>>(
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        Self::Header { name: name.into(), value: HeaderValue::OneOf(values) }
    }

    /// What the rule is called in errors and in the stored configuration, e.g. `payload-bytes`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::PayloadBytes(_) => "payload-bytes",
            Self::PayloadRequired => "payload-required",
            Self::KeyRequired => "key-required",
            Self::KeyBytes(_) => "key-bytes",
            Self::Header { .. } => "header",
            Self::ContentType(_) => "content-type",
            Self::Json => "json",
            Self::JsonSchema(_) => "json-schema",
            Self::Rate(_) => "rate",
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::PayloadBytes(bytes) | Self::KeyBytes(bytes) => bytes.check(),
            Self::Header { name, .. } if name.is_empty() => Err("a header without name".to_owned()),
            Self::Header { value: HeaderValue::OneOf(values), .. } | Self::ContentType(values)
                if values.is_empty() =>
            {
                Err("one of nothing can never be kept".to_owned())
            }
            Self::Rate(rate) => rate.check(),
            _ => Ok(()),
        }
    }
}

impl ByteRange {
    fn check(self) -> Result<(), String> {
        match self.max {
            Some(max) if max < self.min => Err(format!("no size is within {self}")),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Display for ByteRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.max {
            Some(max) => write!(f, "{} to {max} bytes", self.min),
            None => write!(f, "{} bytes or more", self.min),
        }
    }
}

impl Rate {
    fn check(self) -> Result<(), String> {
        let rates = [self.messages_per_second, self.bytes_per_second];
        if rates == [None, None] {
            return Err("neither messages nor bytes a second".to_owned());
        }
        let seconds = u64::from(self.burst_seconds);
        if !(1..=3600).contains(&seconds) {
            return Err(format!("burst_seconds of {seconds} is not within 1 to 3600"));
        }
        for rate in rates.into_iter().flatten() {
            if rate == 0 || rate > UNITS_MAX {
                return Err(format!("{rate} a second is not within 1 to {UNITS_MAX}"));
            }
        }
        Ok(())
    }
}

impl Constraints {
    /// Whether nothing was ever asked for, so that nothing needs to be stored.
    pub(super) fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// Takes the version that these rules have after `present`.
    pub(super) fn follow(&mut self, present: &Self) {
        self.version = present.version + u64::from(self.rules != present.rules);
    }

    pub(super) fn check(&self) -> Result<()> {
        let invalid = |why: String| Err(Error::new(ErrorKind::Invalid, why));
        if self.rules.len() > RULES_MAX {
            return invalid(format!("{} rules are more than {RULES_MAX}", self.rules.len()));
        }
        for rule in &self.rules {
            if let Err(why) = rule.check() {
                return invalid(format!("rule `{}`: {why}", rule.name()));
            }
        }
        if self.rules.iter().filter(|rule| matches!(rule, Rule::Rate(_))).count() > 1 {
            return invalid("rule `rate`: there is more than one".to_owned());
        }
        Ok(())
    }
}
