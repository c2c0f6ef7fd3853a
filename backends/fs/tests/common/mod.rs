//! What the tests of the store share: stores, batches, and ways to look at both.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod auditor;
pub(crate) mod damaged;
pub(crate) mod dice;
pub(crate) mod harm;
pub(crate) mod promises;
pub(crate) mod seen;
pub(crate) mod shrink;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use msglog_core::batch::{BatchBuilder, BatchHeader, BatchOptions, DecodeLimits};
use msglog_core::store::{Access, MessageStore, OpenOptions, PartitionStore, ReadLimit};
use msglog_core::{Message, Msn, RecordBatch, Result, Timestamp, TopicPartition};
use msglog_fs::io::{FileSystem, OpenMode, SimFs};
use msglog_fs::{FsOptions, FsStore};

pub(crate) fn name() -> TopicPartition {
    "orders-0".parse().unwrap()
}

/// Options that do everything in the calls that cause it, so that tests are the same every time.
pub(crate) fn options() -> FsOptions {
    let mut options = FsOptions::default();
    options.background = false;
    options
}

pub(crate) fn small(segment_bytes: u64) -> FsOptions {
    let mut options = options();
    options.segment_bytes = segment_bytes;
    options.index_interval_bytes = 64;
    options
}

pub(crate) fn reading(mut options: FsOptions) -> FsOptions {
    options.access = Access::Read;
    options
}

/// A batch of `count` records from `base` on, each with its MSN in the payload; `time` in it too.
pub(crate) fn batch(base: u64, count: u64) -> RecordBatch {
    batch_of(base, count, 20)
}

pub(crate) fn batch_of(base: u64, count: u64, payload_bytes: usize) -> RecordBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for msn in base..base + count {
        let mut payload = format!("record {msn} ").into_bytes();
        payload.resize(payload_bytes.max(payload.len()), b'x');
        let time = Timestamp::from_millis(1_000 + i64::try_from(msn).unwrap() * 10);
        builder.push(Message::new(payload), time).unwrap();
    }
    let mut batch = builder.build().unwrap();
    batch.stamp(Msn::new(base), -1);
    batch
}

pub(crate) async fn open(path: &Path, options: FsOptions) -> (FsStore, Arc<dyn PartitionStore>) {
    let store = FsStore::open(path, options).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    (store, partition)
}

pub(crate) async fn open_sim(
    fs: &SimFs,
    options: FsOptions,
) -> Result<(FsStore, Arc<dyn PartitionStore>)> {
    let store = FsStore::open_on(Arc::new(fs.clone()), "/store", options).await?;
    let partition = store.open(&name(), OpenOptions::or_create()).await?;
    Ok((store, partition))
}

/// Appends `count` batches of one record each, and syncs after each.
pub(crate) async fn append_synced(partition: &Arc<dyn PartitionStore>, count: u64) {
    for _ in 0..count {
        append(partition, 1).await;
        partition.sync().await.unwrap();
    }
}

pub(crate) async fn append(partition: &Arc<dyn PartitionStore>, records: u64) {
    let next = partition.bounds().next_msn.get();
    partition.append(vec![batch(next, records)]).await.unwrap();
}

/// Every batch from `from` on, read with this limit.
pub(crate) async fn read_from(
    partition: &Arc<dyn PartitionStore>,
    from: u64,
    limit: usize,
) -> Vec<RecordBatch> {
    let mut all = Vec::new();
    let mut from = Msn::new(from);
    loop {
        let batches = partition.read(from, ReadLimit::bytes(limit)).await.unwrap();
        let Some(last) = batches.last() else { return all };
        assert!(last.next_msn() > from, "reading stands still at {from}");
        from = last.next_msn();
        all.extend(batches);
    }
}

/// The MSNs of all records; checks that each record is the one that was appended under its MSN.
pub(crate) async fn msns(partition: &Arc<dyn PartitionStore>) -> Vec<u64> {
    msns_of(&read_from(partition, 0, 1 << 20).await)
}

pub(crate) fn msns_of(batches: &[RecordBatch]) -> Vec<u64> {
    let mut msns = Vec::new();
    for batch in batches {
        for record in batch.records(DecodeLimits::default()).unwrap() {
            let record = record.unwrap();
            let payload = record.payload.unwrap();
            let text = format!("record {} ", record.msn.get());
            assert!(payload.starts_with(text.as_bytes()), "{payload:?} at {}", record.msn);
            msns.push(record.msn.get());
        }
    }
    msns
}

pub(crate) fn folder(root: &Path) -> PathBuf {
    root.join("orders-0")
}

/// The segment files, in order.
pub(crate) fn segments(root: &Path) -> Vec<PathBuf> {
    files(root, "log")
}

pub(crate) fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(root)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn remove_checkpoints(root: &Path) {
    let _ = std::fs::remove_file(folder(root).join("checkpoint"));
}

pub(crate) fn remove_indexes(root: &Path) {
    for path in files(root, "index").into_iter().chain(files(root, "timeindex")) {
        std::fs::remove_file(path).unwrap();
    }
}

/// All files of a simulated disk, to be damaged and brought back.
#[derive(Clone)]
pub(crate) struct Image(pub(crate) BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    pub(crate) fn of(fs: &SimFs) -> Self {
        let mut image = Self(BTreeMap::new());
        image.add(fs, Path::new("/"));
        image
    }

    fn add(&mut self, fs: &SimFs, folder: &Path) {
        for entry in fs.list(folder).unwrap() {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                self.add(fs, &path);
                continue;
            }
            let file = fs.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
            self.0.insert(path, bytes);
        }
    }

    pub(crate) fn restore(&self) -> SimFs {
        let fs = SimFs::new();
        for (path, bytes) in &self.0 {
            let mut folders: Vec<_> = path.ancestors().skip(1).collect();
            folders.reverse();
            for folder in folders {
                let _ = fs.create_dir(folder);
            }
            let file = fs.open(path, OpenMode::CreateNew).unwrap();
            file.write_at(&[std::io::IoSlice::new(bytes)], 0).unwrap();
        }
        fs
    }

    /// The segment files, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let logs = self.0.keys().filter(|path| {
            path.extension().is_some_and(|extension| extension == "log")
                && path.parent() == Some(Path::new("/store/orders-0"))
        });
        logs.cloned().collect()
    }

    pub(crate) fn bytes(&mut self, path: &Path) -> &mut Vec<u8> {
        self.0.get_mut(path).unwrap()
    }

    pub(crate) fn without(mut self, extensions: &[&str]) -> Self {
        self.0.retain(|path, _| {
            let name = path.file_name().unwrap().to_str().unwrap();
            !extensions.iter().any(|extension| name.ends_with(extension))
        });
        self
    }

    /// Where each batch of a segment lies, and its MSNs.
    pub(crate) fn batches(&self, path: &Path) -> Vec<(Range<usize>, Range<u64>)> {
        let bytes = &self.0[path];
        let (mut at, mut batches) = (0, Vec::new());
        while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
            let end = at + header.encoded_len();
            batches.push((at..end, header.base_msn().get()..header.next_msn().get()));
            at = end;
        }
        batches
    }
}
