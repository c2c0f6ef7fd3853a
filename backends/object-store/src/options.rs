//! How a store on object storage behaves; every default is usable as it is.

use std::sync::Arc;
use std::time::Duration;

use msglog_core::store::Survives;
use msglog_core::{Clock, Error, ErrorKind, Result, SystemClock};

/// The most requests that a writer may have in flight; part of the format.
///
/// A newcomer commits one by one until it is this far beyond its fence, because objects of the
/// writer before it may still arrive there.
pub const PIPELINE_DEPTH_MAX: usize = 16;

/// How a [`BucketStore`](crate::BucketStore) behaves. Start from [`BucketOptions::default`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BucketOptions {
    /// The URL scheme that the store names itself by.
    pub scheme: &'static str,
    /// Where it is, for people, without secrets.
    pub location: String,
    /// The path below which all objects are; empty for the whole bucket.
    pub root: String,
    /// What an object survives once the storage has answered.
    pub survives: Survives,
    /// How long a sync waits for company while another request is in flight (20 ms).
    pub linger: Duration,
    /// How long appended batches wait when nobody syncs them, so that readers elsewhere see them
    /// (500 ms).
    pub flush_interval: Duration,
    /// How many bytes are sent without lingering (8 MiB).
    pub flush_bytes: usize,
    /// How many commit objects may be under way, at most [`PIPELINE_DEPTH_MAX`] (8).
    pub pipeline_depth: usize,
    /// At most this many commits a second, so that a month has a price; `None` for no limit.
    pub commits_per_second_max: Option<f64>,
    /// Appended and not yet durable, in bytes; `append` waits while it is exceeded (256 MiB).
    pub unsynced_bytes_max: usize,
    /// Newest batches kept for readers, in bytes (64 MiB).
    pub tail_bytes: usize,
    /// Fetched chunks kept for readers, in bytes (64 MiB).
    pub cache_bytes: usize,
    /// How much one cold read fetches, in bytes (4 MiB).
    pub chunk_bytes: usize,
    /// An ack later than this after the last proof of ownership is verified first (60 s).
    pub stall_limit: Duration,
    /// Objects are deleted this long after they were replaced, at least twice the stall limit (20 min).
    pub grace: Duration,
    /// How long one request may take (30 s).
    pub request_timeout: Duration,
    /// How long a request is tried again before the store gives up (90 s).
    pub give_up_after: Duration,
    /// How often a store open for reading lists what is new, at most (200 ms).
    pub follow_interval: Duration,
    /// A checkpoint is written after this many commits (256).
    pub checkpoint_commits: u64,
    /// Batches in commit objects are merged when a partition has this many bytes there (8 MiB).
    pub merge_bytes: u64,
    /// Or when its batches lie in this many commit objects (256).
    pub merge_commits: usize,
    /// How large a merged segment becomes, in bytes (64 MiB).
    pub segment_bytes: u64,
    /// How often merging, checkpoints and deletion are looked after; `None` leaves it to
    /// [`BucketStore::maintain`](crate::BucketStore::maintain) (10 s).
    pub maintenance_interval: Option<Duration>,
    /// Where the time of day comes from; it notices a machine that slept.
    pub clock: Arc<dyn Clock>,
}

impl Default for BucketOptions {
    fn default() -> Self {
        Self {
            scheme: "object",
            location: String::new(),
            root: String::new(),
            survives: Survives::None,
            linger: Duration::from_millis(20),
            flush_interval: Duration::from_millis(500),
            flush_bytes: 8 << 20,
            pipeline_depth: 8,
            commits_per_second_max: None,
            unsynced_bytes_max: 256 << 20,
            tail_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            chunk_bytes: 4 << 20,
            stall_limit: Duration::from_secs(60),
            grace: Duration::from_secs(20 * 60),
            request_timeout: Duration::from_secs(30),
            give_up_after: Duration::from_secs(90),
            follow_interval: Duration::from_millis(200),
            checkpoint_commits: 256,
            merge_bytes: 8 << 20,
            merge_commits: 256,
            segment_bytes: 64 << 20,
            maintenance_interval: Some(Duration::from_secs(10)),
            clock: Arc::new(SystemClock),
        }
    }
}

impl BucketOptions {
    /// Refuses what cannot work, and what would break the rule of forgetting.
    pub(crate) fn check(&self) -> Result<()> {
        let depth = 1..=PIPELINE_DEPTH_MAX;
        let rate = self.commits_per_second_max.unwrap_or(1.0);
        let why = if !depth.contains(&self.pipeline_depth) {
            format!(
                "pipeline_depth of {} is not within 1 to {PIPELINE_DEPTH_MAX}",
                self.pipeline_depth
            )
        } else if self.grace < self.stall_limit.saturating_mul(2) {
            format!("grace of {:?} is less than twice the stall limit", self.grace)
        } else if self.chunk_bytes == 0 || self.flush_bytes == 0 || self.unsynced_bytes_max == 0 {
            "a size of 0 bytes".to_owned()
        } else if !rate.is_finite() || rate <= 0.0 {
            format!("commits_per_second_max of {rate} is no rate")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Invalid, why))
    }
}
