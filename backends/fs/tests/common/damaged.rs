//! Logs as images of a disk, to be damaged and opened.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use msglog_core::Msn;
use msglog_core::store::{MessageStore, PartitionStore};
use msglog_fs::io::SimFs;
use msglog_fs::{FsOptions, FsStore, RecoveryReport};

use super::*;

pub(crate) const SEGMENT_BYTES: u64 = 1024;

/// A log of one record a batch; `true` syncs after the batch.
pub(crate) async fn log_of(syncs: &[bool], segment_bytes: u64) -> Image {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(segment_bytes)).await.unwrap();
    for sync in syncs {
        append(&partition, 1).await;
        if *sync {
            partition.sync().await.unwrap();
        }
    }
    drop(store);
    Image::of(&fs)
}

/// The same of batches that are all synced, as a clean close leaves it.
pub(crate) async fn closed_log(count: u64) -> Image {
    let fs = SimFs::new();
    let (store, partition) = open_sim(&fs, small(SEGMENT_BYTES)).await.unwrap();
    append_synced(&partition, count).await;
    store.close().await.unwrap();
    Image::of(&fs)
}

pub(crate) struct Opened {
    pub(crate) fs: SimFs,
    pub(crate) store: FsStore,
    pub(crate) partition: Arc<dyn PartitionStore>,
}

impl Opened {
    pub(crate) async fn from(image: &Image) -> Self {
        Self::with(image, small(SEGMENT_BYTES)).await
    }

    pub(crate) async fn with(image: &Image, options: FsOptions) -> Self {
        let fs = image.restore();
        let (store, partition) = open_sim(&fs, options).await.unwrap();
        Self { fs, store, partition }
    }

    pub(crate) fn report(&self) -> RecoveryReport {
        self.store.recovery_report(&name()).unwrap()
    }

    pub(crate) async fn reopened(self) -> Self {
        drop(self.partition);
        drop(self.store);
        Self::from(&Image::of(&self.fs)).await
    }

    pub(crate) async fn check(&self, found: impl IntoIterator<Item = u64>, holes: &[Range<u64>]) {
        assert_eq!(msns(&self.partition).await, found.into_iter().collect::<Vec<_>>());
        let holes: Vec<_> =
            holes.iter().map(|hole| Msn::new(hole.start)..Msn::new(hole.end)).collect();
        assert_eq!(self.partition.holes(), holes);
    }

    /// Quarantined bytes are there, and appending goes on and is there after another opening.
    pub(crate) async fn check_goes_on(self, found: Vec<u64>, holes: &[Range<u64>]) {
        let next = self.partition.bounds().next_msn.get();
        append_synced(&self.partition, 2).await;
        let found: Vec<_> = found.into_iter().chain([next, next + 1]).collect();
        self.check(found.clone(), holes).await;
        let again = self.reopened().await;
        again.check(found, holes).await;
        assert_eq!(again.report().cut_at, None, "a second opening cuts nothing");
    }
}

pub(crate) fn flip(image: &mut Image, path: &Path, batch: usize) {
    let place = image.batches(path)[batch].0.clone();
    image.bytes(path)[place.start + 70] ^= 0x10;
}
