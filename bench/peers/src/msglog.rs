//! msglog under test: the log over its fs store, from async code and from blocking code.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use msglog_core::batch::DecodeLimits;
use msglog_core::log::{Log, MsgLog, SubscribeOptions, Topic, TopicConfig};
use msglog_core::{AppendOptions, Durability, Msn, blocking as sync_log};
use tokio::runtime::Runtime;

use crate::measure::{Meter, Outcome, peak_mib, reset_peak};
use crate::records::{Random, Records};
use crate::store;

/// Records that a pipelining producer leaves without an ack, and their bytes.
const WINDOW_RECORDS: usize = 16 << 10;
const WINDOW_BYTES: usize = 4 << 20;

/// The same topic at one durability level.
pub struct Open {
    pub log: Log,
    pub topic: Topic,
}

pub async fn open(dir: &Path, level: Durability) -> Open {
    let log = Log::builder().open(store::open(dir).await).await.expect("open the log");
    let name = "bench".parse().expect("a topic name");
    let _ = log.create_topic(&name, TopicConfig::default().with_durability(level)).await;
    let topic = log.topic("bench").await.expect("the topic");
    Open { log, topic }
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// One producer that awaits acks behind a window, as a pipelining producer does.
pub fn pipelined(dir: &Path, level: Durability, records: &mut Records, limit: Duration) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, level).await;
        let window = WINDOW_RECORDS.min(WINDOW_BYTES / records.size()).max(16);
        let mut acks = VecDeque::with_capacity(window + 1);
        let mut meter = Meter::start();
        loop {
            for _ in 0..64 {
                let appended = topic.append(records.next_ref()).await.expect("append");
                acks.push_back(appended.ack());
                if acks.len() > window {
                    acks.pop_front().expect("an ack").await.expect("ack");
                }
            }
            meter.add(64, 64 * records.size() as u64);
            if meter.lasted(limit) {
                break;
            }
        }
        for ack in acks {
            ack.await.expect("ack");
        }
        let outcome = meter.finish();
        log.close().await.expect("close");
        outcome
    })
}

/// One producer that awaits each ack before the next append.
pub fn awaited(dir: &Path, level: Durability, records: &mut Records, limit: Duration) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, level).await;
        let size = records.size() as u64;
        let mut meter = Meter::start();
        while !meter.lasted(limit) {
            let started = Instant::now();
            topic.append(records.next_ref()).await.expect("append").ack().await.expect("ack");
            meter.latency(started);
            meter.add(1, size);
        }
        let outcome = meter.finish();
        log.close().await.expect("close");
        outcome
    })
}

/// One producer of blocking code that waits for each ack.
pub fn blocking(dir: &Path, level: Durability, records: &mut Records, limit: Duration) -> Outcome {
    let (log, topic) = open_blocking(dir, level);
    let size = records.size() as u64;
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let started = Instant::now();
        topic.append_and_wait(records.next_ref(), AppendOptions::default()).expect("append");
        meter.latency(started);
        meter.add(1, size);
    }
    let outcome = meter.finish();
    log.close().expect("close");
    outcome
}

/// Many async tasks, each awaiting its ack before its next append.
pub fn tasks(
    dir: &Path,
    level: Durability,
    records: &Records,
    count: usize,
    limit: Duration,
) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, level).await;
        let outcome = tasks_of(&topic, records, count, limit).await;
        let syncs: u64 = log.stats().partitions.iter().map(|p| p.syncs).sum();
        let outcome = outcome.with("syncs", syncs as f64);
        log.close().await.expect("close");
        outcome
    })
}

/// As [`tasks`], on a topic that is open.
pub async fn tasks_of(topic: &Topic, records: &Records, count: usize, limit: Duration) -> Outcome {
    let mut meter = Meter::start();
    let started = Instant::now();
    let size = records.size();
    let tasks: Vec<_> = (0..count)
        .map(|place| {
            let topic = topic.clone();
            let mut records = records.from_place(place);
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while started.elapsed() < limit {
                    let began = Instant::now();
                    let appended = topic.append(records.next_ref()).await.expect("append");
                    appended.ack().await.expect("ack");
                    latencies.push(began.elapsed().as_secs_f64() * 1e6);
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a producer"));
    }
    meter.add(all.len() as u64, (all.len() * size) as u64);
    meter.latencies(all);
    meter.finish()
}

/// One producer that appends batches, awaiting acks behind a window of `window` batches.
pub fn batches(
    dir: &Path,
    level: Durability,
    records: &mut Records,
    count: usize,
    window: usize,
    limit: Duration,
) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, level).await;
        let size = records.size() as u64;
        let mut acks = VecDeque::new();
        let mut meter = Meter::start();
        while !meter.lasted(limit) {
            let messages = records.batch(count);
            let options = AppendOptions::default();
            let appended = topic.append_batch_with(&messages, options).await.expect("append");
            acks.push_back(appended.ack());
            if acks.len() > window {
                acks.pop_front().expect("an ack").await.expect("ack");
            }
            meter.add(count as u64, count as u64 * size);
        }
        for ack in acks {
            ack.await.expect("ack");
        }
        let outcome = meter.finish();
        log.close().await.expect("close");
        outcome
    })
}

/// One producer of blocking code that appends batches and waits for each.
pub fn blocking_batches(
    dir: &Path,
    level: Durability,
    records: &mut Records,
    count: usize,
    limit: Duration,
) -> Outcome {
    let (log, topic) = open_blocking(dir, level);
    let size = records.size() as u64;
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let started = Instant::now();
        let messages = records.batch(count);
        topic.append_batch_and_wait(&messages, AppendOptions::default()).expect("append");
        meter.latency(started);
        meter.add(count as u64, count as u64 * size);
    }
    let outcome = meter.finish();
    log.close().expect("close");
    outcome
}

fn open_blocking(dir: &Path, level: Durability) -> (sync_log::Log, sync_log::Topic) {
    let path = dir.to_owned();
    let log = sync_log::Log::start(async move { Ok(open(&path, level).await.log) });
    let log = log.expect("open the log");
    let topic = log.topic("bench").expect("the topic");
    (log, topic)
}

/// Fills a log with `bytes` of payload in batches of `count`.
pub fn fill(dir: &Path, records: &mut Records, count: usize, bytes: u64, close: bool) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, Durability::Os).await;
        let outcome = filled(&topic, records, count, bytes).await;
        if !close {
            // SAFETY: ends this process at once, as a kill would.
            unsafe { libc::_exit(0) }
        }
        log.close().await.expect("close");
        outcome
    })
}

async fn filled(topic: &Topic, records: &mut Records, count: usize, bytes: u64) -> Outcome {
    let mut done = 0;
    let mut acks = VecDeque::new();
    let mut meter = Meter::start();
    while done < bytes {
        let messages = records.batch(count);
        let options = AppendOptions::default();
        let appended = topic.append_batch_with(&messages, options).await.expect("append");
        acks.push_back(appended.ack());
        if acks.len() > 4 {
            acks.pop_front().expect("an ack").await.expect("ack");
        }
        done += (count * records.size()) as u64;
        meter.add(count as u64, (count * records.size()) as u64);
    }
    for ack in acks {
        ack.await.expect("ack");
    }
    meter.finish().with("peak_mib", peak_mib()).with("filled", done as f64)
}

/// Reads the whole log through a subscription, one owned record at a time.
pub fn subscribed(dir: &Path) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, Durability::Os).await;
        let end = topic.bounds(0).await.expect("bounds").next_msn;
        reset_peak();
        let mut subscription = topic.subscribe(0, Msn::ZERO).expect("subscribe");
        let mut meter = Meter::start();
        let (mut count, mut bytes, mut sum) = (0, 0, 0_u64);
        while subscription.next_msn() < end {
            let record = subscription.next().await.expect("a record").expect("a record");
            let payload = record.payload.expect("a payload");
            sum += touch(&payload);
            count += 1;
            bytes += payload.len() as u64;
        }
        std::hint::black_box(sum);
        meter.add(count, bytes);
        let outcome = meter.finish().with("peak_mib", peak_mib());
        log.close().await.expect("close");
        outcome
    })
}

/// Reads the whole log through a subscription to its batches, records by reference.
pub fn replayed(dir: &Path) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, Durability::Os).await;
        let outcome = replay(&topic).await;
        log.close().await.expect("close");
        outcome
    })
}

async fn replay(topic: &Topic) -> Outcome {
    let end = topic.bounds(0).await.expect("bounds").next_msn;
    reset_peak();
    let mut subscription = topic.subscribe_batches(0, Msn::ZERO).expect("subscribe");
    let mut meter = Meter::start();
    let (mut count, mut bytes, mut sum) = (0, 0, 0_u64);
    while subscription.next_msn() < end {
        let batch = subscription.next().await.expect("a batch").expect("a batch");
        for record in &batch.decoded(DecodeLimits::default()).expect("records") {
            let payload = record.expect("a record").payload.expect("a payload");
            sum += touch(payload);
            count += 1;
            bytes += payload.len() as u64;
        }
    }
    std::hint::black_box(sum);
    meter.add(count, bytes);
    meter.finish().with("peak_mib", peak_mib())
}

/// Fills a log and reads it, in one process: for stores in memory too.
pub fn fill_and_replay(dir: &Path, records: &mut Records, count: usize, bytes: u64) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, Durability::Sync).await;
        filled(&topic, records, count, bytes).await;
        let outcome = replay(&topic).await;
        log.close().await.expect("close");
        outcome
    })
}

/// Looks at one byte of each cache line, as a consumer at least does.
#[inline]
pub fn touch(payload: &[u8]) -> u64 {
    payload.iter().step_by(64).map(|byte| u64::from(*byte)).sum()
}

/// Reads single records at random places.
pub fn random_reads(dir: &Path, limit: Duration) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, Durability::Os).await;
        let end = topic.bounds(0).await.expect("bounds").next_msn.get();
        let mut random = Random::default();
        let mut meter = Meter::start();
        while !meter.lasted(limit) {
            let msn = Msn::new(random.below(end));
            let started = Instant::now();
            let record = topic.record(0, msn).await.expect("read").expect("a record");
            assert_eq!(record.msn, msn);
            std::hint::black_box(touch(record.payload.as_deref().expect("a payload")));
            meter.latency(started);
            meter.add(1, record.payload.as_ref().map_or(0, Bytes::len) as u64);
        }
        let outcome = meter.finish();
        log.close().await.expect("close");
        outcome
    })
}

fn spinning(spin: Duration) -> SubscribeOptions {
    SubscribeOptions::default().with_spin(spin)
}

/// From the append at `Os` to the delivery in a subscriber of the same process.
pub fn tail(dir: &Path, size: usize, pause: Duration, spin: Duration, limit: Duration) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let Open { log, topic } = open(dir, Durability::Os).await;
        let (sent, mut received) = tokio::sync::mpsc::unbounded_channel::<Instant>();
        let mut subscription =
            topic.subscribe_with(0, Msn::ZERO, spinning(spin)).expect("subscribe");
        let reader = tokio::spawn(async move {
            let mut latencies = Vec::new();
            while let Some(record) = subscription.next().await {
                record.expect("a record");
                let now = Instant::now();
                let Some(began) = received.recv().await else { break };
                latencies.push((now - began).as_secs_f64() * 1e6);
            }
            latencies
        });
        let mut meter = Meter::start();
        let mut records = Records::new(size);
        while !meter.lasted(limit) {
            let began = Instant::now();
            let appended = topic.append(records.next_ref()).await.expect("append");
            sent.send(began).expect("the reader lives");
            appended.ack().await.expect("ack");
            meter.add(1, size as u64);
            while began.elapsed() < pause {
                tokio::task::yield_now().await;
            }
        }
        drop(sent);
        topic.append(records.next_ref()).await.expect("append").ack().await.expect("ack");
        meter.latencies(reader.await.expect("the reader"));
        let outcome = meter.finish();
        log.close().await.expect("close");
        outcome
    })
}

/// As [`tail`], the producer being a thread of blocking code.
pub fn tail_blocking(
    dir: &Path,
    size: usize,
    pause: Duration,
    spin: Duration,
    limit: Duration,
) -> Outcome {
    let path = dir.to_owned();
    let start = async move { Ok(open(&path, Durability::Os).await.log) };
    let log = msglog_core::blocking::Log::start(start).expect("open the log");
    let topic = log.topic("bench").expect("the topic");
    let (sent, received) = std::sync::mpsc::channel::<Instant>();
    let mut subscription = topic.subscribe_with(0, Msn::ZERO, spinning(spin)).expect("subscribe");
    let reader = std::thread::spawn(move || {
        let mut latencies = Vec::new();
        while let Some(record) = subscription.next() {
            record.expect("a record");
            let now = Instant::now();
            let Ok(began) = received.recv() else { break };
            latencies.push((now - began).as_secs_f64() * 1e6);
        }
        latencies
    });
    let mut meter = Meter::start();
    let mut records = Records::new(size);
    while !meter.lasted(limit) {
        let began = Instant::now();
        topic.append_and_wait(records.next_ref(), AppendOptions::default()).expect("append");
        sent.send(began).expect("the reader lives");
        meter.add(1, size as u64);
        while began.elapsed() < pause {
            std::thread::yield_now();
        }
    }
    drop(sent);
    topic.append_and_wait(records.next_ref(), AppendOptions::default()).expect("append");
    meter.latencies(reader.join().expect("the reader"));
    let outcome = meter.finish();
    log.close().expect("close");
    outcome
}

/// How long it takes until an existing log can be appended to.
pub fn reopen(dir: &Path) -> Outcome {
    let runtime = runtime();
    runtime.block_on(async {
        let started = Instant::now();
        let Open { log, topic } = open(dir, Durability::Os).await;
        let bounds = topic.bounds(0).await.expect("bounds");
        let ms = started.elapsed().as_secs_f64() * 1e3;
        log.close().await.expect("close");
        Outcome::default().with("open_ms", ms).with("records", bounds.next_msn.get() as f64)
    })
}
