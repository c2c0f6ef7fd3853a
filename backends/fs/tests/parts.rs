//! Parts of batches: the bytes that a read of the whole batch answers, wherever the batch lies; and
//! records that are read by them, also where the file was damaged behind the log's back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use common::*;
use msglog_core::log::Missing;
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore};
use msglog_core::{Log, Message, Msn, RecordBatch, Topic};
use msglog_fs::io::{CountedFs, RealFs};
use msglog_fs::{FsOptions, FsStore};

/// Records of one batch after the other: large ones in front of which there is an entry of the
/// index, and large and small ones that have none.
const COUNTS: &[u64] = &[1, 40, 1, 1, 300, 3, 100, 100, 1, 1, 1, 20, 2, 250, 1, 60];

fn segments_of(bytes: u64) -> FsOptions {
    let mut options = options();
    options.segment_bytes = bytes;
    options.open_files_max = 4;
    options
}

async fn fill(partition: &Arc<dyn PartitionStore>, rounds: usize) {
    for (number, count) in COUNTS.iter().cycle().take(COUNTS.len() * rounds).enumerate() {
        let next = partition.bounds().next_msn.get();
        partition.append(vec![batch_of(next, *count, 120)]).await.unwrap();
        if number % 7 == 0 {
            partition.sync().await.unwrap();
        }
    }
    partition.sync().await.unwrap();
}

fn ranges(len: usize) -> Vec<Range<usize>> {
    vec![0..len, 0..61, 61..len, len - 1..len, len / 3..len / 2]
}

/// Checks parts of every batch that is there; answers how many batches there are.
async fn check(partition: &Arc<dyn PartitionStore>) -> usize {
    let batches = read_from(partition, 0, 1 << 20).await;
    for batch in &batches {
        let msns = batch.base_msn()..batch.next_msn();
        let bytes = batch.to_bytes();
        for range in ranges(bytes.len()) {
            let part = partition.read_part(msns.clone(), range.clone()).await.unwrap();
            assert!(part.as_deref() == Some(&bytes[range.clone()]), "{range:?} of {msns:?}");
        }
    }
    batches.len()
}

#[tokio::test]
async fn parts_are_those_of_the_batches_across_rolls_and_openings() {
    for segment_bytes in [40 << 10, 100 << 10, 1 << 30] {
        let root = tempfile::tempdir().unwrap();
        let (store, partition) = open(root.path(), segments_of(segment_bytes)).await;
        fill(&partition, 3).await;
        assert_eq!(check(&partition).await, COUNTS.len() * 3);
        let reader = FsStore::open(root.path(), reading(segments_of(segment_bytes))).await.unwrap();
        let followed = reader.open(&name(), OpenOptions::existing()).await.unwrap();
        assert_eq!(check(&followed).await, COUNTS.len() * 3, "a reader");
        store.close().await.unwrap();
        for keeps_indexes in [true, false] {
            if !keeps_indexes {
                remove_indexes(root.path());
            }
            let (store, partition) = open(root.path(), segments_of(segment_bytes)).await;
            assert_eq!(check(&partition).await, COUNTS.len() * 3, "indexes: {keeps_indexes}");
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn parts_are_those_of_the_batches_after_trim_replace_and_truncate() {
    let root = tempfile::tempdir().unwrap();
    let (_store, partition) = open(root.path(), segments_of(40 << 10)).await;
    fill(&partition, 3).await;
    let all = read_from(&partition, 0, 1 << 20).await;
    let gone = partition.trim(all[10].next_msn()).await.unwrap();
    assert!(gone > Msn::ZERO);
    check(&partition).await;
    // The same MSNs, in one batch and with other payloads.
    let (start, end) = (all[21].base_msn(), all[23].next_msn());
    let fresh = batch_of(start.get(), end.distance_from(start), 77);
    partition.replace(start..end, vec![fresh.clone()]).await.unwrap();
    check(&partition).await;
    let part = partition.read_part(start..end, 0..fresh.encoded_len()).await.unwrap().unwrap();
    assert_eq!(RecordBatch::decode(part).unwrap().rest(), fresh.rest());
    let cut = partition.truncate(all[30].base_msn()).await.unwrap();
    assert_eq!(cut, all[30].base_msn());
    check(&partition).await;
    fill(&partition, 1).await;
    check(&partition).await;
}

async fn log_at(root: &std::path::Path) -> (Log, Topic) {
    let store = FsStore::open(root, FsOptions::default()).await.unwrap();
    let log = Log::builder().open(Arc::new(store) as Arc<dyn MessageStore>).await.unwrap();
    let topic = log.topic("orders").await.unwrap();
    (log, topic)
}

fn message(number: u64) -> Message {
    let fill = u8::try_from(number % 251).unwrap();
    Message::new([number.to_string().into_bytes(), vec![fill; 500]].concat())
}

/// The records are served as they were, or, where their batch is lost, not at all.
async fn looked_up(topic: &Topic, msns: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut found = Vec::new();
    for msn in msns {
        if let Some(record) = topic.record(0, Msn::new(msn)).await.unwrap() {
            assert_eq!(record.payload, message(msn).payload, "MSN {msn}");
            found.push(msn);
        }
    }
    found
}

#[tokio::test]
async fn byte_flipped_in_a_known_batch_is_not_served_and_ends_as_without_an_outline() {
    let root = tempfile::tempdir().unwrap();
    let (log, topic) = log_at(root.path()).await;
    for batch in 0..2 {
        let messages = (batch * 200..(batch + 1) * 200).map(message);
        topic.append_batch(messages).await.unwrap().ack().await.unwrap();
    }
    assert_eq!(looked_up(&topic, [5, 205].into_iter()).await, [5, 205]);
    let cache = log.stats().cache;
    assert_eq!((cache.outlines, cache.batches), (2, 0));

    let text = message(100).payload.unwrap();
    let path = segments(root.path()).remove(0);
    let place = find(&std::fs::read(&path).unwrap(), &text[..50]);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"!", place as u64 + 10).unwrap();

    // What lies in other groups of the batch is as it was, and so answered until the batch is read.
    assert_eq!(looked_up(&topic, [20, 205].into_iter()).await, [20, 205]);
    assert!(log.stats().cache.parts >= 2);
    assert_eq!(looked_up(&topic, 100..101).await, [0; 0], "a record of a damaged group");
    let answers = topic.read_many(0, &[Msn::new(100), Msn::new(300)]).await.unwrap();
    assert_eq!(answers[0], Err(Missing::Lost), "the whole batch was read, and is a hole");
    assert!(answers[1].is_ok());
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

#[tokio::test]
async fn part_costs_its_bytes_and_one_look_at_headers_where_the_index_has_no_entry() {
    let root = tempfile::tempdir().unwrap();
    let counted = CountedFs::new(Arc::new(RealFs));
    let fs = Arc::new(counted.clone());
    let store = FsStore::open_on(fs, root.path().join("store"), options()).await.unwrap();
    let partition = store.open(&name(), OpenOptions::or_create()).await.unwrap();
    fill(&partition, 3).await;
    let (mut exact, mut walked) = (0, 0);
    let batches = read_from(&partition, 0, 1 << 20).await;
    for batch in batches.iter().filter(|batch| batch.encoded_len() > 10_000) {
        let (msns, before) = (batch.base_msn()..batch.next_msn(), counted.counts());
        partition.read_part(msns, 5_000..9_000).await.unwrap().unwrap();
        let after = counted.counts();
        match (after.reads - before.reads, after.bytes_read - before.bytes_read) {
            (1, 4_000) => exact += 1,
            (2, bytes) if bytes <= 8_096 => walked += 1,
            other => panic!("{other:?} reads and bytes for 4,000"),
        }
    }
    assert!(exact >= 3 && walked >= 3, "{exact} by the index, {walked} by headers");
}
