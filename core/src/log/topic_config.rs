//! How a topic is configured; stored with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Admission, Compaction, Constraints, Retention, Rule};
use crate::batch::{BatchOptions, CompressionPolicy, TimestampKind};
use crate::{Durability, Error, ErrorKind, Result};

/// The most partitions that a topic may have.
pub(super) const PARTITIONS_MAX: u32 = 10_000;

/// The longest that a group of a topic waits for more.
const LINGER_MAX: Duration = Duration::from_secs(60);

/// How a topic behaves; stored with it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicConfig {
    /// How many partitions it has, 1 to 10,000.
    pub partitions: u32,
    /// What an ack promises; the log's default when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How record batches are compressed.
    pub compression: CompressionPolicy,
    /// How long the first append of a group waits for more to gather, at most a minute; the log's
    /// default when `None`. Stored in microseconds.
    #[serde(rename = "linger_us", with = "micros", skip_serializing_if = "Option::is_none")]
    pub linger: Option<Duration>,
    /// The size up to which single appends are gathered into one record batch, in bytes, before
    /// compression, 1 to 1 GiB; the log's default when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_bytes_max: Option<u32>,
    /// What the timestamps say.
    pub timestamps: TimestampKind,
    /// What every message must keep.
    #[serde(skip_serializing_if = "Constraints::is_unset")]
    pub constraints: Constraints,
    /// What it keeps, and for how long.
    #[serde(skip_serializing_if = "Retention::is_forever")]
    pub retention: Retention,
    /// Whether it takes appends.
    #[serde(skip_serializing_if = "Admission::is_open")]
    pub admission: Admission,
    /// Makes it a keyed topic, which keeps the newest record of each key; every message then needs
    /// a key. `None`: it keeps all records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compaction>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: 1,
            durability: None,
            compression: CompressionPolicy::default(),
            linger: None,
            batch_bytes_max: None,
            timestamps: TimestampKind::Create,
            constraints: Constraints::default(),
            retention: Retention::keep_forever(),
            admission: Admission::default(),
            compaction: None,
        }
    }
}

impl TopicConfig {
    /// The same configuration with this many partitions.
    #[must_use]
    pub fn with_partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// The same configuration with this durability level.
    #[must_use]
    pub fn with_durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The same configuration with this compression.
    #[must_use]
    pub fn with_compression(mut self, compression: impl Into<CompressionPolicy>) -> Self {
        self.compression = compression.into();
        self
    }

    /// The same configuration with this linger.
    #[must_use]
    pub fn with_linger(mut self, linger: Duration) -> Self {
        self.linger = Some(linger);
        self
    }

    /// The same configuration with batches of single appends up to this size.
    #[must_use]
    pub fn with_batch_bytes_max(mut self, bytes: u32) -> Self {
        self.batch_bytes_max = Some(bytes);
        self
    }

    /// The same configuration with timestamps of this kind.
    #[must_use]
    pub fn with_timestamps(mut self, timestamps: TimestampKind) -> Self {
        self.timestamps = timestamps;
        self
    }

    /// The same configuration with one more rule that every message must keep.
    #[must_use]
    pub fn with_rule(mut self, rule: Rule) -> Self {
        self.constraints.rules.push(rule);
        self
    }

    /// The same configuration with this retention.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// The same configuration of a keyed topic.
    #[must_use]
    pub fn with_compaction(mut self, compaction: Compaction) -> Self {
        self.compaction = Some(compaction);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        self.constraints.check()?;
        self.compaction.as_ref().map_or(Ok(()), Compaction::check)?;
        if self.partitions == 0 || self.partitions > PARTITIONS_MAX {
            let why =
                format!("{} partitions are not within 1 to {PARTITIONS_MAX}", self.partitions);
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if let Some(linger) = self.linger.filter(|linger| *linger > LINGER_MAX) {
            let why = format!("a linger of {linger:?} is more than {LINGER_MAX:?}");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if let Some(bytes) = self.batch_bytes_max.filter(|bytes| *bytes == 0 || *bytes > 1 << 30) {
            let why = format!("batch_bytes_max of {bytes} is not within 1 to {}", 1 << 30);
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        self.retention.check()?;
        self.admission.check(self.partitions)?;
        // A codec that this build lacks is told now, not at the first append.
        self.compression.check()
    }

    pub(super) fn batch_options(&self) -> BatchOptions {
        BatchOptions::default()
            .with_compression(self.compression)
            .with_timestamp_kind(self.timestamps)
    }
}

/// A duration as whole microseconds.
mod micros {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let micros = duration.map(|it| u64::try_from(it.as_micros()).unwrap_or(u64::MAX));
        micros.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(deserializer).map(|micros| micros.map(Duration::from_micros))
    }
}
