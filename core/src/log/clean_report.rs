//! What a run of the cleaner came to.

use std::ops::Range;

use crate::{ConsumerName, Error, Msn, TopicName, TopicPartition};

/// What a run of the cleaner came to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CleanReport {
    /// What was trimmed, by partition.
    pub trimmed: Vec<Trimmed>,
    /// What a limit no longer keeps and is there still, and why.
    pub held_back: Vec<HeldBack>,
    /// Consumers that were forgotten.
    pub expired_consumers: Vec<(TopicName, ConsumerName)>,
    /// Topics that had been empty for long enough and were deleted.
    pub expired_topics: Vec<TopicName>,
    /// Topics that could not be cleaned, or not whole.
    pub failures: Vec<(TopicName, Error)>,
}

/// Records that are gone.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Trimmed {
    /// The partition.
    pub partition: TopicPartition,
    /// Their MSNs.
    pub msns: Range<Msn>,
}

/// Records that would go, and why they are there still.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HeldBack {
    /// The partition.
    pub partition: TopicPartition,
    /// Their MSNs.
    pub msns: Range<Msn>,
    /// Why.
    pub by: HeldBy,
}

/// Why records are there still that a limit no longer keeps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HeldBy {
    /// This consumer has committed least.
    Consumer(ConsumerName),
    /// The topic has no consumer, and only what all have committed may go.
    NoConsumer,
    /// A delete hook failed, was too slow, or the store did.
    Failure(Error),
    /// The store trims in larger units.
    StoreUnit,
}

impl CleanReport {
    pub(super) fn add(&mut self, other: Self) {
        self.trimmed.extend(other.trimmed);
        self.held_back.extend(other.held_back);
        self.expired_consumers.extend(other.expired_consumers);
        self.expired_topics.extend(other.expired_topics);
        self.failures.extend(other.failures);
    }
}
