//! What the tests of this crate share.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "of tests, each of which uses its own part of it"
)]

pub(crate) mod faulty;

use std::sync::Arc;
use std::time::Duration;

use msglog_core::batch::{BatchBuilder, BatchOptions, DecodeLimits};
use msglog_core::store::{Access, MessageStore, OpenOptions, PartitionStore, ReadLimit, Survives};
use msglog_core::{Message, Msn, RecordBatch, Timestamp};
use msglog_object_store::{BucketOptions, BucketStore};
use object_store::ObjectStore;

/// Options for a test: another opening sees what this one wrote, and nothing runs by itself.
pub(crate) fn options() -> BucketOptions {
    let mut options = BucketOptions::default();
    options.survives = Survives::Process;
    options.maintenance_interval = None;
    options.follow_interval = Duration::ZERO;
    options.linger = Duration::from_millis(1);
    options.give_up_after = Duration::from_secs(20);
    options
}

pub(crate) async fn writer(storage: &Arc<impl ObjectStore>, options: BucketOptions) -> BucketStore {
    BucketStore::open(storage.clone(), options, Access::Write).await.unwrap()
}

pub(crate) async fn reader(storage: &Arc<impl ObjectStore>, options: BucketOptions) -> BucketStore {
    BucketStore::open(storage.clone(), options, Access::Read).await.unwrap()
}

pub(crate) async fn orders(store: &BucketStore) -> Arc<dyn PartitionStore> {
    store.open(&"orders-0".parse().unwrap(), OpenOptions::or_create()).await.unwrap()
}

/// A batch of one record at `base` that says who wrote it.
pub(crate) fn batch(base: Msn, text: &str) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let now = Timestamp::from_millis(i64::try_from(base.get()).unwrap() * 10);
    builder.push(Message::new(text.to_owned()), now).unwrap();
    let mut batch = builder.build().unwrap();
    batch.stamp(base, -1);
    batch
}

/// Appends one record and answers its MSN; not yet durable.
pub(crate) async fn append(
    partition: &Arc<dyn PartitionStore>,
    text: &str,
) -> msglog_core::Result<Msn> {
    let base = partition.bounds().next_msn;
    partition.append(vec![batch(base, text)]).await?;
    Ok(base)
}

/// Appends one record and waits until it is durable.
pub(crate) async fn commit(
    partition: &Arc<dyn PartitionStore>,
    text: &str,
) -> msglog_core::Result<Msn> {
    let base = append(partition, text).await?;
    let durable = partition.sync().await?;
    assert!(durable > base, "durable up to {durable}, appended {base}");
    Ok(base)
}

/// The payloads of all records, and that their MSNs have no gap.
pub(crate) async fn read_all(partition: &Arc<dyn PartitionStore>) -> Vec<String> {
    let mut next = partition.bounds().first_msn;
    let mut texts = Vec::new();
    loop {
        let page = partition.read(next, ReadLimit::default()).await.unwrap();
        if page.is_empty() {
            return texts;
        }
        for batch in page {
            assert_eq!(batch.base_msn(), next, "a gap or a repeat");
            next = batch.next_msn();
            for record in batch.records(DecodeLimits::default()).unwrap() {
                let payload = record.unwrap().payload.unwrap_or_default();
                texts.push(String::from_utf8(payload.to_vec()).unwrap());
            }
        }
    }
}
