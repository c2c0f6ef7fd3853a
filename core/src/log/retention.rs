//! What a topic keeps, and for how long: stored with it, applied by the cleaner.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// What a topic keeps. By default everything, for ever.
///
/// [`age`](Self::age) and [`bytes`](Self::bytes) are limits: records that either of them no longer
/// keeps may go. [`committed`](Self::committed) is a condition: with it only those go that every
/// consumer of the topic has committed. Alone it is limit and condition in one: records go once
/// every consumer has committed them. A partition of a topic without consumers then keeps all.
///
/// What is trimmed is whole record batches, and on some stores whole segments: more may stay than
/// the rule asks for, never less. What is not yet acked or not yet durable never goes.
///
/// ```
/// use std::time::Duration;
/// use msglog_core::{TopicConfig, log::Retention};
///
/// let week = Duration::from_secs(7 * 24 * 3600);
/// let retention = Retention::keep_forever().with_age(week).with_committed();
/// let config = TopicConfig::default().with_retention(retention);
/// ```
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Retention {
    /// Batches whose newest record is older may go; by the records' timestamps and the log's clock.
    #[serde(rename = "age_ms", with = "millis", skip_serializing_if = "Option::is_none")]
    pub age: Option<Duration>,
    /// The oldest batches of a partition may go as long as at least this many bytes stay in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Only what every consumer of the topic has committed may go.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub committed: bool,
    /// A consumer that has not committed, nor been touched, for longer is forgotten.
    #[serde(rename = "consumers_expire_ms", with = "millis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers_expire: Option<Duration>,
    /// The topic is deleted once it has been empty for longer, with nothing appended.
    #[serde(rename = "topic_expires_ms", with = "millis")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_expires: Option<Duration>,
}

impl Retention {
    /// Keeps everything; the start of every other rule.
    pub const fn keep_forever() -> Self {
        Self {
            age: None,
            bytes: None,
            committed: false,
            consumers_expire: None,
            topic_expires: None,
        }
    }

    /// The same, but records older than this may go.
    #[must_use]
    pub const fn with_age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// The same, but the oldest records may go as long as so many bytes stay in the partition.
    #[must_use]
    pub const fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// The same, but only what every consumer has committed goes; without a limit, as soon as that.
    #[must_use]
    pub const fn with_committed(mut self) -> Self {
        self.committed = true;
        self
    }

    /// The same, with consumers forgotten that say nothing for so long.
    #[must_use]
    pub const fn with_consumers_expire(mut self, after: Duration) -> Self {
        self.consumers_expire = Some(after);
        self
    }

    /// The same, with the topic deleted once it has been empty for so long.
    #[must_use]
    pub const fn with_topic_expires(mut self, after: Duration) -> Self {
        self.topic_expires = Some(after);
        self
    }

    /// Whether there is nothing for the cleaner to do.
    pub fn is_forever(&self) -> bool {
        *self == Self::keep_forever()
    }

    /// Whether records may go at all.
    pub(super) fn trims(&self) -> bool {
        self.age.is_some() || self.bytes.is_some() || self.committed
    }

    pub(super) fn check(&self) -> Result<()> {
        let times = [
            ("age", self.age),
            ("consumers_expire", self.consumers_expire),
            ("topic_expires", self.topic_expires),
        ];
        for (name, time) in times {
            if time.is_some_and(|time| time < Duration::from_millis(1)) {
                let why = format!("retention `{name}` of less than a millisecond");
                return Err(Error::new(ErrorKind::Invalid, why));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Retention {
    /// For people, e.g. `at most 604800s old, only what every consumer has committed goes`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.age.map(|age| format!("at most {age:?} old")));
        parts.extend(
            self.bytes.map(|bytes| format!("at least the newest {bytes} bytes a partition")),
        );
        if self.committed {
            parts.push("only what every consumer has committed goes".to_owned());
        }
        if parts.is_empty() {
            parts.push("for ever".to_owned());
        }
        parts
            .extend(self.consumers_expire.map(|after| format!("consumers expire after {after:?}")));
        parts
            .extend(self.topic_expires.map(|after| format!("expires {after:?} after it is empty")));
        f.write_str(&parts.join(", "))
    }
}

/// Durations as whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let millis = duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        millis.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicConfig;

    #[test]
    fn configuration_without_retention_is_stored_as_it_always_was() {
        let json = serde_json::to_string(&TopicConfig::default()).unwrap();
        assert!(!json.contains("retention"), "{json}");
        assert!(serde_json::from_str::<TopicConfig>(&json).unwrap().retention.is_forever());
    }

    #[test]
    fn every_field_is_read_back() {
        let time = Duration::from_millis(1234);
        let all = Retention::keep_forever()
            .with_age(time)
            .with_bytes(7)
            .with_committed()
            .with_consumers_expire(time * 2)
            .with_topic_expires(time * 3);
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Retention>(&json).unwrap(), all, "{json}");
        assert!(serde_json::from_str::<Retention>(r#"{"days":3}"#).is_err());
    }

    #[test]
    fn time_of_nothing_is_invalid() {
        for retention in [
            Retention::keep_forever().with_age(Duration::ZERO),
            Retention::keep_forever().with_consumers_expire(Duration::from_micros(999)),
            Retention::keep_forever().with_topic_expires(Duration::ZERO),
        ] {
            assert_eq!(retention.check().unwrap_err().kind(), ErrorKind::Invalid);
        }
    }
}
