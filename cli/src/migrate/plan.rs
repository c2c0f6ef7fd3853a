//! What is to be copied, as seen once at the start: partitions with their ends, documents.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use msglog::store::{DocumentKey, MessageStore, OpenOptions, PartitionStore};
use msglog::{Msn, ReadLimit, TopicName, TopicPartition};

use super::documents;
use super::gap::holes_failure;
use crate::args::Holes;
use crate::failure::Failure;

/// What is to be copied.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) chosen: Chosen,
    pub(crate) partitions: Vec<Part>,
    pub(crate) documents: Vec<(DocumentKey, Bytes)>,
    pub(crate) holes: Holes,
}

/// A partition of the source, and how much of it was there at the start.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: TopicPartition,
    pub(crate) store: Arc<dyn PartitionStore>,
    pub(crate) range: Range<Msn>,
}

/// The topics that were asked for; none means all.
#[derive(Clone, Debug)]
pub(crate) struct Chosen(Vec<TopicName>);

impl Chosen {
    pub(crate) fn has_topic(&self, topic: &TopicName) -> bool {
        self.0.is_empty() || self.0.contains(topic)
    }

    /// Whether a document is one of the topics', or all are chosen.
    pub(crate) fn has_document(&self, key: &DocumentKey) -> bool {
        let topic = documents::topic_of(key.as_str());
        self.0.is_empty() || topic.is_some_and(|topic| self.0.iter().any(|t| t.as_str() == topic))
    }
}

impl Plan {
    /// Looks at the source: documents first, so that no commit lies beyond the ends seen after.
    pub(crate) async fn survey(
        source: &dyn MessageStore,
        topics: &[TopicName],
        holes: Holes,
    ) -> Result<Self, Failure> {
        let chosen = Chosen(topics.to_vec());
        let documents = documents::load(source, &chosen).await?;
        let mut partitions = Vec::new();
        for name in source.partitions().await? {
            if chosen.has_topic(&name.topic) {
                partitions.push(Part::survey(source, name).await?);
            }
        }
        for topic in topics {
            let has_document =
                documents.iter().any(|(key, _)| documents::is_topic(key.as_str(), topic));
            if !has_document && !partitions.iter().any(|part| part.name.topic == *topic) {
                return Err(Failure::NotFound(format!("the source has no topic `{topic}`")));
            }
        }
        let plan = Self { chosen, partitions, documents, holes };
        plan.check_holes()?;
        Ok(plan)
    }

    /// Refuses the damage that is known already; copying finds the rest.
    fn check_holes(&self) -> Result<(), Failure> {
        let damaged: Vec<_> =
            self.partitions.iter().filter(|part| !part.store.holes().is_empty()).collect();
        if self.holes == Holes::Keep || damaged.is_empty() {
            return Ok(());
        }
        let ranges = damaged.iter().map(|part| (&part.name, part.store.holes()));
        Err(holes_failure("source", ranges))
    }

    /// MSNs between the ends of all partitions.
    pub(crate) fn msn_count(&self) -> u64 {
        self.partitions.iter().map(|part| part.range.end.distance_from(part.range.start)).sum()
    }
}

impl Part {
    async fn survey(source: &dyn MessageStore, name: TopicPartition) -> Result<Self, Failure> {
        let store = source.open(&name, OpenOptions::existing()).await?;
        let bounds = store.refresh().await?;
        // A store may count only part of its first batch as readable; the batch goes over whole.
        let first = store.read(bounds.first_msn, ReadLimit::bytes(1)).await?;
        let base = first.first().map_or(bounds.first_msn, |batch| batch.base_msn());
        let start = bounds.first_msn.min(base);
        Ok(Self { name, store, range: start..bounds.next_msn })
    }
}
