//! cargo run --release -p msglog-cli --example compaction_load -- measure fs:///tmp/x 1000000 100000
//!
//! What `scripts/compaction.py` runs: fills a keyed topic, compacts it beside appends and measures
//! both, compacts and appends until it is killed, and checks what is there.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use msglog::log::Compaction;
use msglog::{AppendOptions, Durability, Log, Message, MsgLog, Msn, Result, Topic, TopicConfig};

const TOPIC: &str = "prices";
/// Messages of one batch while filling.
const BATCH: u64 = 500;
/// Bytes of a payload.
const PAYLOAD: usize = 100;

/// The message of this number, which is its MSN too; keys come in an order of their own.
fn message(number: u64, keys: u64) -> Message {
    let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % keys;
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(PAYLOAD, b'x');
    Message::new(payload).with_key(format!("key-{key:08}"))
}

async fn open(url: &str) -> Result<(Log, Topic)> {
    let builder = Log::builder().compaction_interval(Duration::ZERO);
    let log = msglog::open_with(url, builder).await?;
    let config = TopicConfig::default().with_compaction(Compaction::default());
    match log.create_topic(&TOPIC.parse()?, config).await {
        Err(error) if error.kind() != msglog::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let topic = log.topic(TOPIC).await?;
    Ok((log, topic))
}

async fn fill(topic: &Topic, records: u64, keys: u64) -> Result<()> {
    let started = Instant::now();
    let mut next = topic.bounds(0).await?.next_msn.get();
    let os = AppendOptions::default().with_durability(Durability::Memory);
    while next < records {
        let end = (next + BATCH).min(records);
        let messages: Vec<_> = (next..end).map(|number| message(number, keys)).collect();
        topic.append_batch_with(&messages, os).await?.ack().await?;
        next = end;
    }
    topic.append(message(next, keys)).await?.ack().await?;
    println!("filled {records} records of {keys} keys in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Appends one message after the other, each acked at `Sync`, until `done`; answers how long each
/// took.
async fn append_until(topic: &Topic, keys: u64, done: impl Fn() -> bool) -> Result<Vec<Duration>> {
    let (mut times, mut next) = (Vec::new(), topic.bounds(0).await?.next_msn.get());
    while !done() {
        let started = Instant::now();
        topic.append(message(next, keys)).await?.ack().await?;
        times.push(started.elapsed());
        next += 1;
    }
    Ok(times)
}

fn say_latency(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 1000).copied().unwrap_or_default();
    let (median, most) = (at(500), times.last().copied().unwrap_or_default());
    println!("{what}: {} appends, p50 {median:?}, p99 {:?}, max {most:?}", times.len(), at(990));
}

/// The most memory of this process so far, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

async fn measure(topic: &Topic, keys: u64) -> Result<()> {
    let started = Instant::now();
    let quiet = append_until(topic, keys, || started.elapsed() > Duration::from_secs(5)).await?;
    say_latency("without compaction", quiet);
    let before = topic.describe().await?;
    let peak = peak_kib();
    let started = Instant::now();
    let compacting = tokio::spawn({
        let topic = topic.clone();
        async move { topic.compact().await.map(|done| (done, started.elapsed())) }
    });
    let during = append_until(topic, keys, || compacting.is_finished()).await?;
    let (done, took) = match compacting.await {
        Ok(done) => done?,
        Err(cause) => std::panic::resume_unwind(cause.into_panic()),
    };
    say_latency("during compaction", during);
    let after = topic.describe().await?;
    for (before, after) in before.partitions.iter().zip(&after.partitions) {
        let (was, is) = (before.usage, after.usage);
        println!(
            "bytes {} -> {}, of the storage {} -> {}",
            was.bytes, is.bytes, was.allocated_bytes, is.allocated_bytes
        );
    }
    println!("{done:?}");
    println!(
        "took {:.1} s; peak memory {peak} KiB before, {} KiB after",
        took.as_secs_f64(),
        peak_kib()
    );
    Ok(())
}

/// Appends, saying the MSN of each ack, and compacts, until it is killed.
async fn churn(topic: &Topic, keys: u64) -> Result<()> {
    let compacting = async {
        loop {
            topic.compact().await?;
        }
    };
    let appending = async {
        let mut next = topic.bounds(0).await?.next_msn.get();
        loop {
            let messages: Vec<_> = (next..next + 20).map(|number| message(number, keys)).collect();
            println!("{}", topic.append_batch(messages).await?.ack().await?.plus(19));
            next += 20;
        }
    };
    futures::future::try_join(compacting, appending).await.map(|((), ())| ())
}

/// Every record is what was appended under its MSN, in order, and each key has its newest one.
async fn check(topic: &Topic, keys: u64) -> Result<()> {
    let bounds = topic.bounds(0).await?;
    let end = bounds.next_msn.get();
    let (mut newest, mut count, mut next) = (HashMap::new(), 0_u64, Msn::ZERO);
    let mut records = topic.subscribe(0, Msn::ZERO)?;
    while next.get() < end {
        let Some(record) = records.next().await else { break };
        let record = record?;
        assert!(record.msn >= next, "MSN {} comes late", record.msn);
        next = record.msn.plus(1);
        let wanted = message(record.msn.get(), keys);
        assert_eq!((&record.key, &record.payload), (&wanted.key, &wanted.payload));
        newest.insert(record.key, record.msn.get());
        count += 1;
    }
    let mut last = HashMap::new();
    for number in 0..end {
        last.insert(message(number, keys).key, number);
    }
    assert!(newest == last, "{} keys are there, {} were appended", newest.len(), last.len());
    let holes: usize =
        topic.describe().await?.partitions.iter().map(|found| found.holes.len()).sum();
    assert_eq!(holes, 0, "holes");
    println!("checked {end} {count}");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, url, records, keys] = arguments.as_slice() else {
        println!("usage: fill|measure|churn|check URL RECORDS KEYS");
        return Ok(());
    };
    let number = |text: &String| text.parse::<u64>().unwrap_or(0);
    let (records, keys) = (number(records), number(keys).max(1));
    let (log, topic) = open(url).await?;
    match what.as_str() {
        "fill" => fill(&topic, records, keys).await?,
        "measure" => measure(&topic, keys).await?,
        "churn" => churn(&topic, keys).await?,
        _ => check(&topic, keys).await?,
    }
    log.close().await
}
