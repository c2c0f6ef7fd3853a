//! The delete hook that is shipped: copies records to another store before they go.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::hooks::{DeleteHook, Deletion};
use crate::batch::{BatchBuilder, BatchOptions, DecodeLimits, NO_EPOCH, empty_batches};
use crate::store::{MessageStore, OpenOptions, PartitionStore};
use crate::{Error, ErrorKind, Msn, RecordBatch, Result, TopicName, TopicPartition};

/// A [`DeleteHook`] that copies every batch to another store before it goes, under the same topic,
/// partition and MSNs, durable there before it goes here.
///
/// A copy that is repeated, after an error or a crash, stores nothing twice: it goes on where the
/// archive ends. MSNs that are missing in the log are missing in the archive, as a batch without
/// records. The archive is a store like any other: open a [`Log`](super::Log) over it for reading,
/// or migrate it. Nothing else may write to these partitions of it, and it stays open until the log
/// is closed; close it then.
///
/// ```
/// # use std::sync::Arc;
/// # use msglog_core::log::{ArchiveHook, Log};
/// # async fn open(orders: Arc<dyn msglog_core::store::MessageStore>,
/// #               archive: Arc<dyn msglog_core::store::MessageStore>) -> msglog_core::Result<Log> {
/// Log::builder().delete_hook(ArchiveHook::to(archive)).open(orders).await
/// # }
/// ```
#[derive(Debug)]
pub struct ArchiveHook {
    store: Arc<dyn MessageStore>,
    topics: Option<BTreeSet<TopicName>>,
    /// The partitions of the archive that were opened; held while one is written.
    open: Mutex<HashMap<TopicPartition, Arc<dyn PartitionStore>>>,
}

impl ArchiveHook {
    /// Copies to `store`, which was opened for writing.
    pub fn to(store: Arc<dyn MessageStore>) -> Self {
        Self { store, topics: None, open: Mutex::default() }
    }

    /// Copies only these topics; others go without.
    #[must_use]
    pub fn only(mut self, topics: impl IntoIterator<Item = TopicName>) -> Self {
        self.topics = Some(topics.into_iter().collect());
        self
    }
}

#[async_trait]
impl DeleteHook for ArchiveHook {
    fn name(&self) -> &'static str {
        "archive"
    }

    fn covers(&self, topic: &TopicName) -> bool {
        self.topics.as_ref().is_none_or(|topics| topics.contains(topic))
    }

    async fn before_delete(&self, deletion: &Deletion) -> Result<()> {
        let mut open = self.open.lock().await;
        // Taken out meanwhile: what fails, or is cancelled, is opened anew the next time.
        let there = match open.remove(&deletion.partition) {
            Some(there) => there,
            None => {
                let options = OpenOptions::or_create_at(deletion.msns.start);
                self.store.open(&deletion.partition, options).await?
            }
        };
        copy(there.as_ref(), deletion).await?;
        open.insert(deletion.partition.clone(), there);
        Ok(())
    }
}

/// Appends what the archive has not yet, and makes all of it durable.
async fn copy(there: &dyn PartitionStore, deletion: &Deletion) -> Result<()> {
    let end = deletion.msns.end;
    let next = there.bounds().next_msn;
    if next < deletion.msns.start {
        let (partition, to) = (&deletion.partition, deletion.msns.start);
        tracing::warn!(%partition, from = %next, %to, "went without having been archived");
    }
    let missing = missing(next, deletion)?;
    if !missing.is_empty() {
        there.append(missing).await?;
    }
    if there.bounds().durable_msn >= end {
        return Ok(());
    }
    let durable = there.sync().await?;
    if durable < end {
        let why = format!("the archive's sync covers MSNs below {durable}, copied was up to {end}");
        return Err(Error::new(ErrorKind::Poisoned, why));
    }
    Ok(())
}

/// What follows `next` of the deletion, with batches without records for what is not there.
fn missing(mut next: Msn, deletion: &Deletion) -> Result<Vec<RecordBatch>> {
    let mut missing = Vec::with_capacity(deletion.batches.len());
    let there = next;
    for batch in deletion.batches.iter().filter(|batch| batch.next_msn() > there) {
        if batch.base_msn() < next {
            // Compaction has put it together with what is archived.
            missing.push(tail(batch, next)?);
        } else {
            missing.extend(empty_batches(next..batch.base_msn()).collect::<Result<Vec<_>>>()?);
            missing.push(batch.clone());
        }
        next = batch.next_msn();
    }
    missing.extend(empty_batches(next..deletion.msns.end).collect::<Result<Vec<_>>>()?);
    Ok(missing)
}

/// The records of a batch from `from` on, which lies within it.
fn tail(batch: &RecordBatch, from: Msn) -> Result<RecordBatch> {
    let options = BatchOptions::default().with_compression(batch.header().compression()?);
    let mut builder = BatchBuilder::new(options);
    let delta = |msn: Msn| u32::try_from(msn.distance_from(from)).unwrap_or(u32::MAX);
    for record in batch.records(DecodeLimits::default())? {
        let record = record?;
        if record.msn >= from {
            let (delta, timestamp) = (delta(record.msn), record.timestamp);
            builder.push_at(delta, &record, timestamp)?;
        }
    }
    // It ends behind `from`, so this is at least 0.
    builder.cover(delta(batch.next_msn()) - 1)?;
    let mut tail = builder.build()?;
    tail.stamp(from, NO_EPOCH);
    Ok(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn batch(base: u64, count: u64) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for _ in 0..count {
            builder.push("x", Timestamp::default()).unwrap();
        }
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(base), NO_EPOCH);
        batch
    }

    fn ranges(batches: &[RecordBatch]) -> Vec<(u64, u64, u32)> {
        let range = |b: &RecordBatch| (b.base_msn().get(), b.next_msn().get(), b.record_count());
        batches.iter().map(range).collect()
    }

    #[test]
    fn only_what_follows_the_end_of_the_archive_is_copied_and_gaps_are_bridged() {
        let batches = vec![batch(10, 5), batch(15, 5), batch(30, 2)];
        let name: TopicPartition = "orders-0".parse().unwrap();
        let deletion = Deletion::of(name, Msn::new(10)..Msn::new(40), batches);
        let of = |next| missing(Msn::new(next), &deletion).map(|batches| ranges(&batches));
        let tail = [(20, 30, 0), (30, 32, 2), (32, 40, 0)];
        assert_eq!(of(20).unwrap(), tail);
        assert_eq!(of(15).unwrap(), [[(15, 20, 5)].as_slice(), &tail].concat());
        assert_eq!(of(10).unwrap(), [[(10, 15, 5), (15, 20, 5)].as_slice(), &tail].concat());
        assert_eq!(of(4).unwrap().first(), Some(&(4, 10, 0)));
        assert_eq!(of(35).unwrap(), [(35, 40, 0)]);
        assert!(of(40).unwrap().is_empty() && of(99).unwrap().is_empty());
        // Within a batch only the rest of its records follows.
        assert_eq!(of(12).unwrap(), [[(12, 15, 3), (15, 20, 5)].as_slice(), &tail].concat());
    }
}
