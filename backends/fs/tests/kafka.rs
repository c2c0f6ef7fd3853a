//! What a Kafka tool checks of a log folder: names, batches back to back, and index entries.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use common::*;
use msglog_core::batch::BatchHeader;
use msglog_core::store::MessageStore;

#[tokio::test]
async fn closed_partition_is_a_kafka_log_folder() {
    let root = tempfile::tempdir().unwrap();
    let (store, partition) = open(root.path(), small(4096)).await;
    for round in 0..100 {
        append(&partition, 1 + round % 3).await;
    }
    partition.sync().await.unwrap();
    store.close().await.unwrap();
    let mut expected = 0;
    for path in segments(root.path()) {
        let base: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(base, expected);
        let log = std::fs::read(&path).unwrap();
        let mut at = 0;
        while at < log.len() {
            let header = BatchHeader::parse(&log[at..]).unwrap();
            assert_eq!(header.base_msn().get(), expected);
            expected = header.next_msn().get();
            at += header.encoded_len();
        }
        assert_eq!(at, log.len(), "nothing is behind the last batch");

        let index = std::fs::read(path.with_extension("index")).unwrap();
        assert!(!index.is_empty() && index.len().is_multiple_of(8));
        for entry in index.chunks(8) {
            let relative = u32::from_be_bytes(entry[..4].try_into().unwrap());
            let offset = u32::from_be_bytes(entry[4..].try_into().unwrap());
            let header = BatchHeader::parse(&log[offset as usize..]).unwrap();
            assert_eq!(header.next_msn().get() - 1, base + u64::from(relative));
        }
        let times = std::fs::read(path.with_extension("timeindex")).unwrap();
        assert!(!times.is_empty() && times.len().is_multiple_of(12));
        for entry in times.chunks(12) {
            let time = i64::from_be_bytes(entry[..8].try_into().unwrap());
            let relative = u32::from_be_bytes(entry[8..].try_into().unwrap());
            assert_eq!(time, 1_000 + (base + u64::from(relative)) as i64 * 10);
        }
        let last = &times[times.len() - 12..];
        let newest = i64::from_be_bytes(last[..8].try_into().unwrap());
        assert_eq!(newest, 1_000 + (expected as i64 - 1) * 10, "the last entry is the newest time");
    }
    assert_eq!(expected, partition.bounds().next_msn.get());
}
