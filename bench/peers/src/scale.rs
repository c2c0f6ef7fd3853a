//! Curves: what an append, a read and an opening cost as a log, its topics, producers or tailers grow.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use msglog_core::log::{Log, MsgLog, Topic, TopicConfig};
use msglog_core::{AppendOptions, Durability, Message, Msn, TopicName};

use crate::measure::{Meter, Outcome, cpu_time, quantile};
use crate::msglog::{self, runtime};
use crate::records::{Random, Records};
use crate::store;

/// The curves: name, the points, and the columns of the table.
const CURVES: &[(&str, &[u64], &[&str])] = &[
    (
        "log-gib",
        &[1, 4, 16, 64],
        &[
            "open_ms",
            "append_os_us",
            "append_sync_us",
            "read_us",
            "rss_mib",
            "descriptors",
            "disk_mib",
        ],
    ),
    (
        "topics",
        &[1, 10, 100, 1000, 10_000],
        &[
            "create_us",
            "open_ms",
            "first_us",
            "append_us",
            "append_cpu_us",
            "rss_mib",
            "descriptors",
        ],
    ),
    (
        "producers",
        &[1, 4, 16, 64, 256, 1024],
        &[
            "os_k_s",
            "os_p99_us",
            "os_cpu_us",
            "sync_k_s",
            "sync_p50_us",
            "sync_p99_us",
            "sync_cpu_us",
            "rss_mib",
        ],
    ),
    (
        "tailers",
        &[1, 4, 16, 64, 256],
        &["delivered_k_s", "delivery_cpu_us", "p50_us", "p99_us", "rss_mib", "descriptors"],
    ),
];
/// Bytes of a payload; those of large logs are zeros, so that they can be holes in a file.
const PAYLOAD: usize = 1024;
const HOLE_PAYLOAD: usize = 256 << 10;
const HOLE_BATCH: usize = 4;
/// What can be a hole.
const PAGE: usize = 4096;

/// Runs the chosen curves, each point in a process of its own, and prints a table for each.
pub fn run(only: &[&str], dir: &Path, seconds: &str) {
    for (curve, points, columns) in CURVES {
        let chosen = only.iter().find_map(|one| match one.split_once('=') {
            Some((name, points)) if name == *curve => Some(points.to_owned()),
            None if one == curve => Some(String::new()),
            _ => None,
        });
        let given = chosen.clone().unwrap_or_default();
        let given: Vec<u64> = given.split(',').filter_map(|point| point.parse().ok()).collect();
        if chosen.is_none() && !only.is_empty() {
            continue;
        }
        println!("| {curve} | {} |", columns.join(" | "));
        println!("|{}", "---|".repeat(columns.len() + 1));
        for point in if given.is_empty() { points } else { given.as_slice() } {
            let place = dir.join("scale");
            let _ = fs::remove_dir_all(&place);
            let output = Command::new(std::env::current_exe().expect("this program"))
                .args(["scale-point", curve, &point.to_string()])
                .arg(&place)
                .arg(seconds)
                .output()
                .expect("start a point");
            let outcome: Option<Outcome> = serde_json::from_slice(&output.stdout).ok();
            let _ = fs::remove_dir_all(&place);
            let Some(outcome) = outcome else {
                println!(
                    "| {point} | failed: {} |",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                continue;
            };
            let cells = columns.iter().map(|column| match outcome.figures.get(*column) {
                Some(value) if *value < 100.0 => format!("{value:.1}"),
                Some(value) => format!("{value:.0}"),
                None => "-".to_owned(),
            });
            println!("| {point} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        println!();
    }
}

/// One point of a curve.
pub fn point(curve: &str, count: u64, dir: &Path, limit: Duration) -> Outcome {
    let runtime = runtime();
    match curve {
        "log-gib" => {
            runtime.block_on(fill_with_holes(dir, count << 30));
            runtime.block_on(large_log(dir, limit))
        }
        "topics" => runtime.block_on(topics(dir, count, limit)),
        "producers" => runtime.block_on(producers(dir, count, limit)),
        "tailers" => runtime.block_on(tailers(dir, count, limit)),
        _ => panic!("no curve {curve}"),
    }
}

/// Memory of this process that is its own, in MiB: without pages of files.
fn rss_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or("RssAnon: 0");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn descriptors() -> f64 {
    fs::read_dir("/proc/self/fd").map_or(f64::NAN, |all| all.count() as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    quantile(&values, 0.5)
}

fn us(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}

/// Fills a log with zeros, and makes holes of them segment by segment: large, and small on the disk.
async fn fill_with_holes(dir: &Path, bytes: u64) {
    let msglog::Open { log, topic } = msglog::open(dir, Durability::Os).await;
    let payload = Bytes::from(vec![0; HOLE_PAYLOAD]);
    let batch: Vec<Message> = (0..HOLE_BATCH).map(|_| Message::new(payload.clone())).collect();
    let (mut done, mut dug) = (0, 0);
    while done < bytes {
        let options = AppendOptions::default();
        let appended = topic.append_batch_with(&batch, options).await.expect("append");
        appended.ack().await.expect("ack");
        done += (HOLE_BATCH * HOLE_PAYLOAD) as u64;
        if done - dug >= 2 << 30 {
            dig(dir);
            dug = done;
        }
    }
    log.close().await.expect("close");
    dig(dir);
}

/// Makes holes of the zeros in all segment files but the newest.
fn dig(dir: &Path) {
    let mut paths: Vec<_> = fs::read_dir(dir.join("bench-0"))
        .expect("the partition")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "log"))
        .collect();
    paths.sort();
    paths.pop();
    for path in paths {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("a segment");
        // Dug before: hardly anything of it is on the disk.
        let meta = file.metadata().expect("metadata");
        if std::os::unix::fs::MetadataExt::blocks(&meta) * 512 < meta.len() / 2 {
            continue;
        }
        let mut chunk = vec![0; 1 << 20];
        let mut at = 0;
        while at < meta.len() {
            let count = std::os::unix::fs::FileExt::read_at(&file, &mut chunk, at).expect("read");
            for (place, page) in chunk[..count].chunks(PAGE).enumerate() {
                if page.iter().all(|byte| *byte == 0) {
                    punch(&file, at + (place * PAGE) as u64, page.len() as u64);
                }
            }
            at += count as u64;
        }
        file.sync_all().expect("sync");
    }
}

fn punch(file: &fs::File, from: u64, count: u64) {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a hole in an open file of this log, where zeros were.
    unsafe { libc::fallocate(file.as_raw_fd(), mode, from as i64, count as i64) };
}

async fn large_log(dir: &Path, limit: Duration) -> Outcome {
    let mut opened = Vec::new();
    for _ in 0..5 {
        let began = Instant::now();
        let msglog::Open { log, topic } = msglog::open(dir, Durability::Os).await;
        topic.bounds(0).await.expect("bounds");
        opened.push(us(began) / 1e3);
        log.close().await.expect("close");
    }
    let msglog::Open { log, topic } = msglog::open(dir, Durability::Os).await;
    let end = topic.bounds(0).await.expect("bounds").next_msn.get();
    let os = appends(&topic, Durability::Os, limit).await;
    let sync = appends(&topic, Durability::Sync, limit).await;
    let (mut random, mut reads, started) = (Random::default(), Vec::new(), Instant::now());
    while started.elapsed() < limit {
        let began = Instant::now();
        let msn = Msn::new(random.below(end));
        assert_eq!(topic.record(0, msn).await.expect("read").expect("a record").msn, msn);
        reads.push(us(began));
    }
    let outcome = Outcome::default()
        .with("open_ms", median(opened))
        .with("append_os_us", os)
        .with("append_sync_us", sync)
        .with("read_us", median(reads))
        .with("rss_mib", rss_mib())
        .with("descriptors", descriptors())
        .with("disk_mib", crate::plan::disk_bytes(dir) / f64::from(1 << 20));
    log.close().await.expect("close");
    outcome
}

/// The median of appends that are awaited one by one, in microseconds.
async fn appends(topic: &Topic, level: Durability, limit: Duration) -> f64 {
    let mut records = Records::new(PAYLOAD);
    let options = AppendOptions::default().with_durability(level);
    let (mut times, started) = (Vec::new(), Instant::now());
    while started.elapsed() < limit {
        let began = Instant::now();
        let appended = topic.append_with(records.next_ref(), options).await.expect("append");
        appended.ack().await.expect("ack");
        times.push(us(began));
    }
    median(times)
}

async fn topics(dir: &Path, count: u64, limit: Duration) -> Outcome {
    let names: Vec<TopicName> =
        (0..count).map(|number| format!("topic-{number}").parse().expect("a name")).collect();
    let log = Log::builder().open(store::open(dir).await).await.expect("open");
    let began = Instant::now();
    for name in &names {
        let config = TopicConfig::default().with_durability(Durability::Os);
        log.create_topic(name, config).await.expect("create");
    }
    let create_us = us(began) / count as f64;
    log.close().await.expect("close");
    let began = Instant::now();
    let log = Log::builder().open(store::open(dir).await).await.expect("open");
    let listed = log.topics().await.expect("topics").len() as u64;
    let open_ms = us(began) / 1e3;
    assert_eq!(listed, count);
    let mut records = Records::new(PAYLOAD);
    let (mut topics, began) = (Vec::new(), Instant::now());
    for name in &names {
        let topic = log.topic(name.as_str()).await.expect("open a topic");
        topic.append(records.next_ref()).await.expect("append").ack().await.expect("ack");
        topics.push(topic);
    }
    let first_us = us(began) / count as f64;
    let (mut done, cpu, began) = (0_u64, cpu_time(), Instant::now());
    for topic in topics.iter().cycle() {
        if began.elapsed() >= limit {
            break;
        }
        topic.append(records.next_ref()).await.expect("append").ack().await.expect("ack");
        done += 1;
    }
    let outcome = Outcome::default()
        .with("create_us", create_us)
        .with("open_ms", open_ms)
        .with("first_us", first_us)
        .with("append_us", us(began) / done as f64)
        .with("append_cpu_us", (cpu_time() - cpu).as_secs_f64() * 1e6 / done as f64)
        .with("rss_mib", rss_mib())
        .with("descriptors", descriptors());
    log.close().await.expect("close");
    outcome
}

async fn producers(dir: &Path, count: u64, limit: Duration) -> Outcome {
    let mut outcome = Outcome::default();
    for (level, name) in [(Durability::Os, "os"), (Durability::Sync, "sync")] {
        let place = dir.join(name);
        let msglog::Open { log, topic } = msglog::open(&place, level).await;
        let records = Records::new(PAYLOAD);
        let done = msglog::tasks_of(&topic, &records, count as usize, limit).await;
        let figure = |name: &str| done.figures.get(name).copied().unwrap_or(f64::NAN);
        outcome = outcome
            .with(&format!("{name}_k_s"), figure("msgs_s") / 1e3)
            .with(&format!("{name}_p50_us"), figure("p50_us"))
            .with(&format!("{name}_p99_us"), figure("p99_us"))
            .with(&format!("{name}_cpu_us"), figure("cpu_ns_msg") / 1e3);
        outcome = outcome.with("rss_mib", rss_mib());
        log.close().await.expect("close");
    }
    outcome
}

/// One producer at `Os` that waits a little after each append, and tailers that all get each record.
async fn tailers(dir: &Path, count: u64, limit: Duration) -> Outcome {
    let msglog::Open { log, topic } = msglog::open(dir, Durability::Os).await;
    let base = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        let mut subscription = topic.subscribe(0, Msn::ZERO).expect("subscribe");
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while let Some(record) = subscription.next().await {
                let payload = record.expect("a record").payload.expect("a payload");
                let sent = payload.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
                match sent.expect("a time") {
                    0 => break,
                    sent => times.push(base.elapsed().as_secs_f64() * 1e6 - sent as f64 / 1e3),
                }
            }
            times
        }));
    }
    let payload = |nanos: u64| {
        let mut payload = nanos.to_le_bytes().to_vec();
        payload.resize(PAYLOAD, 7);
        payload
    };
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let now = u64::try_from(base.elapsed().as_nanos()).expect("a time").max(1);
        topic.append(payload(now)).await.expect("append").ack().await.expect("ack");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    topic.append(payload(0)).await.expect("append").ack().await.expect("ack");
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("a tailer"));
    }
    meter.add(all.len() as u64, (all.len() * PAYLOAD) as u64);
    meter.latencies(all);
    let done = meter.finish();
    let figure = |name: &str| done.figures.get(name).copied().unwrap_or(f64::NAN);
    let outcome = Outcome::default()
        .with("delivered_k_s", figure("msgs_s") / 1e3)
        .with("delivery_cpu_us", figure("cpu_ns_msg") / 1e3)
        .with("p50_us", figure("p50_us"))
        .with("p99_us", figure("p99_us"))
        .with("rss_mib", rss_mib())
        .with("descriptors", descriptors());
    log.close().await.expect("close");
    outcome
}
