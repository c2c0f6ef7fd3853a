//! cargo run --release -p msglog-cli --example hot_paths -- batch-encode 100 /tmp/hot
//!
//! What `scripts/hot_paths.py` counts the instructions of: one path, so many times, on one thread as
//! far as it goes. `prepare FOLDER` makes the log that is opened and read, `list` names the paths.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;

use bytes::Bytes;
use msglog::batch::{BatchBuilder, BatchOptions, DecodeLimits, RecordBatch};
use msglog::blocking::{self, Topic};
use msglog::{
    AppendOptions, Durability, Error, ErrorKind, Log, Message, MsgLog, Msn, ReadLimit, Result,
    Timestamp, TopicConfig,
};

const TOPIC: &str = "hot";
/// Records of a batch, and of a page that is read.
const RECORDS: usize = 100;
/// Bytes of a payload.
const PAYLOAD_BYTES: usize = 100;
/// Batches of the log that is opened and read: 1.1 MB.
const BATCHES: u64 = 100;

type Path = fn(u64, &str) -> Result<()>;

/// Every path by name, and what one round of it is.
const PATHS: &[(&str, Path)] = &[
    ("batch-encode", batch_encode),
    ("batch-check", batch_check),
    ("batch-decode", batch_decode),
    ("batch-records", batch_records),
    ("engine-append", engine_append),
    ("fs-append-os", |count, folder| fs_append(count, folder, Durability::Os)),
    ("fs-append-sync", |count, folder| fs_append(count, folder, Durability::Sync)),
    ("fs-append-batch", fs_append_batch),
    ("fs-record", fs_record),
    ("fs-record-part", fs_record_part),
    ("fs-page", fs_page),
    ("fs-replay", fs_replay),
    ("fs-find", fs_find),
    ("fs-open", |count, folder| fs_open(count, folder, "")),
    ("fs-scan", |count, folder| fs_open(count, folder, "?full_scan=true")),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let invalid = |what: &str| Err(Error::new(ErrorKind::Invalid, what));
    match args.as_slice() {
        ["list"] => {
            PATHS.iter().for_each(|(name, _)| println!("{name}"));
            Ok(())
        }
        ["prepare", folder] => prepare(folder),
        [name, count, folder] => {
            let Some((_, path)) = PATHS.iter().find(|(known, _)| known == name) else {
                return invalid("no such path: see `list`");
            };
            let Ok(count) = count.parse() else { return invalid("the count is no number") };
            path(count, folder)
        }
        _ => invalid("give a path, a count and a folder"),
    }
}

fn messages() -> Vec<Message> {
    let message =
        |number: usize| Message::new(vec![u8::try_from(number).unwrap_or(0); PAYLOAD_BYTES]);
    (0..RECORDS).map(message).collect()
}

fn encoded(messages: &[Message]) -> Result<RecordBatch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for message in messages {
        builder.push(message, Timestamp::from_millis(1_763_632_800_000))?;
    }
    builder.build()
}

/// A batch of 100 records is built, its checksum with it.
fn batch_encode(count: u64, _: &str) -> Result<()> {
    let messages = messages();
    for _ in 0..count {
        black_box(encoded(&messages)?);
    }
    Ok(())
}

/// The checksum of a batch of 100 records is checked.
fn batch_check(count: u64, _: &str) -> Result<()> {
    let bytes: Bytes = encoded(&messages())?.to_bytes();
    for _ in 0..count {
        black_box(RecordBatch::decode(bytes.clone())?);
    }
    Ok(())
}

/// The records of a batch of 100 are looked at by reference.
fn batch_decode(count: u64, _: &str) -> Result<()> {
    let batch = encoded(&messages())?;
    for _ in 0..count {
        for record in &batch.decoded(DecodeLimits::default())? {
            black_box(record?);
        }
    }
    Ok(())
}

/// The records of a batch of 100 become owned ones.
fn batch_records(count: u64, _: &str) -> Result<()> {
    let batch = encoded(&messages())?;
    for _ in 0..count {
        for record in batch.records(DecodeLimits::default())? {
            black_box(record?);
        }
    }
    Ok(())
}

/// One append over the memory store, awaited: the engine without a device.
fn engine_append(count: u64, _: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| Error::from_io("start the runtime", cause))?.block_on(async {
        let log = msglog::open("memory:").await?;
        let topic = log.topic(TOPIC).await?;
        let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
        for _ in 0..count {
            topic.append(payload.clone()).await?.ack().await?;
        }
        log.close().await
    })
}

/// A log of its own below the folder, with an empty topic.
fn fresh(folder: &str, durability: Durability) -> Result<(blocking::Log, Topic)> {
    let log = blocking::open(&format!("fs://{folder}"))?;
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_durability(durability))?;
    let topic = log.topic(TOPIC)?;
    Ok((log, topic))
}

/// One append of blocking code that waits for its ack.
fn fs_append(count: u64, folder: &str, durability: Durability) -> Result<()> {
    let (log, topic) = fresh(&format!("{folder}/append"), durability)?;
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    for _ in 0..count {
        topic.append_and_wait(payload.clone(), AppendOptions::default())?;
    }
    log.close()
}

/// A batch of 100 records is appended, and its ack at `Os` awaited.
fn fs_append_batch(count: u64, folder: &str) -> Result<()> {
    let (log, topic) = fresh(&format!("{folder}/append"), Durability::Os)?;
    let messages = messages();
    for _ in 0..count {
        topic.append_batch(&messages, AppendOptions::default())?.wait()?;
    }
    log.close()
}

/// Makes the log that is opened and read.
fn prepare(folder: &str) -> Result<()> {
    let (log, topic) = fresh(&format!("{folder}/read"), Durability::Sync)?;
    for number in 0..BATCHES {
        // A batch a millisecond, so that there is something to find.
        let at = Timestamp::from_millis(1_763_632_800_000 + i64::try_from(number).unwrap_or(0));
        let batch: Vec<_> = messages().into_iter().map(|one| one.with_timestamp(at)).collect();
        topic.append_batch(&batch, AppendOptions::default())?.wait()?;
    }
    log.close()
}

fn prepared(folder: &str, query: &str) -> Result<(blocking::Log, Topic)> {
    prepared_with(folder, query, 0)
}

fn prepared_with(folder: &str, query: &str, cache_bytes: usize) -> Result<(blocking::Log, Topic)> {
    let builder = Log::builder().cache_bytes(cache_bytes).create_topics(false);
    let log = blocking::open_with(&format!("fs://{folder}/read{query}"), builder)?;
    let topic = log.topic(TOPIC)?;
    Ok((log, topic))
}

/// MSNs all over the log, the same ones each time.
fn places(count: u64) -> impl Iterator<Item = Msn> {
    let end = BATCHES * RECORDS as u64;
    (0..count).map(move |number| Msn::new(number.wrapping_mul(0x9E37_79B9) % end))
}

/// One record: the index says where, the batch is read and checked.
fn fs_record(count: u64, folder: &str) -> Result<()> {
    let (log, topic) = prepared(folder, "")?;
    for msn in places(count) {
        black_box(topic.record(0, msn)?);
    }
    log.close()
}

/// One record out of a batch that was read before: a part of it is read and checked.
fn fs_record_part(count: u64, folder: &str) -> Result<()> {
    // Room for all outlines, but not for the batches.
    let (log, topic) = prepared_with(folder, "", 100_000)?;
    for msn in places(count) {
        black_box(topic.record(0, msn)?);
    }
    log.close()
}

/// A page of about 64 KiB.
fn fs_page(count: u64, folder: &str) -> Result<()> {
    let (log, topic) = prepared(folder, "")?;
    for msn in places(count) {
        black_box(topic.read(0, msn, ReadLimit::bytes(64 << 10))?);
    }
    log.close()
}

/// The whole log, 10,000 records, through a subscription to its batches.
fn fs_replay(count: u64, folder: &str) -> Result<()> {
    let (log, topic) = prepared(folder, "")?;
    for _ in 0..count {
        for batch in topic.subscribe_batches(0, Msn::ZERO)? {
            let batch = batch?;
            for record in &batch.decoded(DecodeLimits::default())? {
                black_box(record?);
            }
            if batch.next_msn().get() == BATCHES * RECORDS as u64 {
                break;
            }
        }
    }
    log.close()
}

/// The first record at or after a time.
fn fs_find(count: u64, folder: &str) -> Result<()> {
    let (log, topic) = prepared(folder, "")?;
    for msn in places(count) {
        let after = i64::try_from(msn.get() % BATCHES).unwrap_or(0);
        black_box(topic.find(0, Timestamp::from_millis(1_763_632_800_000 + after))?);
    }
    log.close()
}

/// The log is opened and closed; with `full_scan` every byte is read and checked.
fn fs_open(count: u64, folder: &str, query: &str) -> Result<()> {
    for _ in 0..count {
        let (log, topic) = prepared(folder, query)?;
        black_box(topic.bounds(0)?);
        log.close()?;
    }
    Ok(())
}
