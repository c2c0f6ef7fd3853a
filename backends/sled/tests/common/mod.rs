//! A store in a folder, and batches whose every byte follows from their base MSN.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::sync::Arc;

use msglog_core::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
use msglog_core::store::{Access, MessageStore, OpenOptions, PartitionStore, ReadLimit};
use msglog_core::{Message, Msn, RecordBatch, Result, Timestamp};
use msglog_sled::{SledOptions, SledStore};

pub(crate) async fn open(folder: &Path, access: Access) -> Result<Arc<dyn MessageStore>> {
    Ok(Arc::new(SledStore::open(folder, SledOptions::new(access)).await?))
}

pub(crate) async fn open_writer(folder: &Path) -> Arc<dyn MessageStore> {
    open(folder, Access::Write).await.unwrap()
}

pub(crate) async fn partition(
    store: &Arc<dyn MessageStore>,
    name: &str,
) -> Arc<dyn PartitionStore> {
    store.open(&name.parse().unwrap(), OpenOptions::or_create()).await.unwrap()
}

/// A batch at `base` of 1 to 3 records; one in 16 is larger than a page of any store.
pub(crate) fn batch(base: Msn) -> RecordBatch {
    let dice = scramble(base.get());
    let length = if dice.is_multiple_of(16) { 700_000 } else { below(9_000, dice) };
    batch_of(base, 1 + below(3, dice), length)
}

/// A batch at `base` of `records` records whose payloads have `length` bytes.
pub(crate) fn batch_of(base: Msn, records: usize, length: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for record in 0..records {
        let seed = scramble(base.get() * 8 + record as u64).to_be_bytes();
        let payload: Vec<u8> = seed.iter().copied().cycle().take(length).collect();
        let millis = i64::try_from(base.get() * 10).unwrap();
        builder.push(&Message::new(payload), Timestamp::from_millis(millis)).unwrap();
    }
    let mut batch = builder.build().unwrap();
    batch.stamp(base, NO_EPOCH);
    batch
}

/// `count` batches, one after the other from `base` on.
pub(crate) fn run(mut base: Msn, count: usize) -> Vec<RecordBatch> {
    let next = |_| {
        let batch = batch(base);
        base = batch.next_msn();
        batch
    };
    (0..count).map(next).collect()
}

pub(crate) async fn read_all(there: &Arc<dyn PartitionStore>) -> Vec<RecordBatch> {
    let (mut all, mut from) = (Vec::new(), Msn::ZERO);
    loop {
        let page = there.read(from, ReadLimit::bytes(100_000)).await.unwrap();
        let Some(last) = page.last() else { return all };
        from = last.next_msn();
        all.extend(page);
    }
}

pub(crate) fn below(end: usize, dice: u64) -> usize {
    usize::try_from(dice % end as u64).unwrap()
}

pub(crate) fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
