//! Compaction: a keyed topic keeps the newest record of each key.
//!
//! A run reads what was appended since the last one and notes the newest MSN of each key, as many
//! as fit into its memory; then it rewrites everything up to there without the records that a newer
//! one of their key makes superfluous, chunk by chunk from the front through
//! [`PartitionStore::replace`](crate::store::PartitionStore::replace). It goes on until it has come
//! to the end. MSNs never change: the batches that are written cover the MSNs of those that they
//! replace.

mod key_map;
mod pass;
mod rewrite;
mod schedule;
mod state;
mod throttle;

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use self::pass::Job;
pub(super) use self::schedule::Schedule;
pub(super) use self::state::key as state_key;
use crate::{Error, ErrorKind, Msn, Result};

/// How a keyed topic is compacted; part of its configuration.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Compaction {
    /// A partition is compacted once this share of its bytes, in percent, was appended since the
    /// last time; 0 to 100 (50).
    pub min_dirty_percent: u8,
    /// How long a tombstone stays at least after the compaction that first met it, in milliseconds
    /// (a day): readers that are no further behind than that see every deletion.
    pub tombstone_grace_ms: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { min_dirty_percent: 50, tombstone_grace_ms: 24 * 60 * 60 * 1000 }
    }
}

impl Compaction {
    /// The same with this share of new bytes, in percent.
    #[must_use]
    pub fn with_min_dirty_percent(mut self, percent: u8) -> Self {
        self.min_dirty_percent = percent;
        self
    }

    /// The same with tombstones that stay this long.
    #[must_use]
    pub fn with_tombstone_grace(mut self, grace: Duration) -> Self {
        self.tombstone_grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.min_dirty_percent > 100 {
            let why = format!("min_dirty_percent of {} is above 100", self.min_dirty_percent);
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(())
    }
}

/// What one compaction of a partition has done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Compacted {
    /// The partition's number.
    pub partition: u32,
    /// What was looked at; empty when there was nothing to do.
    pub msns: Range<Msn>,
    /// Records in it before.
    pub records_before: u64,
    /// Records in it after.
    pub records_after: u64,
    /// Bytes of its batches before.
    pub bytes_before: u64,
    /// Bytes of its batches after.
    pub bytes_after: u64,
    /// How often it was gone through: once, if all keys fit into the memory.
    pub passes: u32,
    /// MSN ranges that were left as they are because their segments are damaged.
    pub skipped: Vec<Range<Msn>>,
}
