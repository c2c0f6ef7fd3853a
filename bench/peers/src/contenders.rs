//! Who runs which workload how: the one place that maps names to code.

use std::path::Path;
use std::time::Duration;

use msglog_core::Durability::{Os, Sync};

use crate::measure::Outcome;
use crate::records::Records;
use crate::{limits, msglog};

/// Records of a batch in W1b and W4: 1,000, but no more than 8 MiB.
pub fn batch(size: usize) -> usize {
    1000.min((8 << 20) / size)
}

/// Records of a batch in logs that are read: 1,000, but no more than 1 MiB.
pub fn stored_batch(size: usize) -> usize {
    1000.min((1 << 20) / size)
}

/// How often a producer of W3 syncs at the same time as others.
pub const PRODUCERS: usize = 64;

/// Payload bytes of the logs by which stores are compared with their engines.
const ENGINE_BYTES: u64 = 64 << 20;

/// Memory that is touched before a run that fills the page cache: more than the fastest fills, because
/// the kernel does not take first what was touched last.
const WARM_BYTES: usize = 5 << 30;

/// Between two appends of R3.
const TAIL_PAUSE: Duration = Duration::from_micros(200);
/// How long a subscriber of R3 that spins does so: longer than the pause, so that it never sleeps.
const TAIL_SPIN: Duration = Duration::from_millis(1);

/// One run; the folder is its own, or holds what `fill` has left.
pub fn run(contender: &str, workload: &str, size: usize, dir: &Path, limit: Duration) -> Outcome {
    let mut records = Records::new(size);
    let warm = match workload {
        "w1" | "w1b" => WARM_BYTES,
        "w3" | "w4" if size >= 1024 => WARM_BYTES,
        "fill" | "fillk" | "r1" => 1 << 30,
        _ => 0,
    };
    crate::measure::warm(warm);
    crate::measure::reset_peak();
    let (name, variant) = contender.split_once('/').unwrap_or((contender, ""));
    let name = match name.split_once('+') {
        Some((ours, scheme)) => {
            crate::store::choose(scheme);
            ours
        }
        None => name,
    };
    match (name, variant) {
        ("msglog", variant) => ours(variant, workload, &mut records, dir, limit),
        ("limit", _) => limit_of(workload, &mut records, dir, limit),
        (peer, _) => peer_of(peer, workload, &mut records, dir, limit),
    }
}

fn ours(
    variant: &str,
    workload: &str,
    records: &mut Records,
    dir: &Path,
    limit: Duration,
) -> Outcome {
    let size = records.size();
    match (workload, variant) {
        ("w1", "") => {
            msglog::pipelined(dir, Os, records, limit).noted("acks awaited behind a window")
        }
        ("w1", "await") => {
            msglog::awaited(dir, Os, records, limit).noted("async, each ack awaited")
        }
        ("w1", "wait") => msglog::blocking(dir, Os, records, limit).noted("append_and_wait"),
        ("w1", "sync") => {
            msglog::pipelined(dir, Sync, records, limit).noted("acks at Sync behind a window")
        }
        ("w1b", "") => {
            msglog::batches(dir, Os, records, batch(size), 4, limit).noted("4 batches in flight")
        }
        ("w2", "") => msglog::blocking(dir, Sync, records, limit).noted("append_and_wait"),
        ("w2", "await") => {
            msglog::awaited(dir, Sync, records, limit).noted("async, each ack awaited")
        }
        ("w3", "") => msglog::tasks(dir, Sync, records, PRODUCERS, limit).noted("64 async tasks"),
        ("w4", "") => msglog::blocking_batches(dir, Sync, records, batch(size), limit)
            .noted("append_batch_and_wait"),
        ("w4", "await") => msglog::batches(dir, Sync, records, batch(size), 0, limit)
            .noted("async, each batch awaited"),
        ("w4", "window") => {
            msglog::batches(dir, Sync, records, batch(size), 2, limit).noted("2 batches in flight")
        }
        ("fill", _) => msglog::fill(dir, records, per_batch(variant, size), filled(), true),
        ("fillk", _) => msglog::fill(dir, records, per_batch(variant, size), filled(), false),
        ("er", _) => msglog::fill_and_replay(dir, records, stored_batch(size), ENGINE_BYTES),
        ("r1", "") => msglog::replayed(dir).noted("record batches, records by reference"),
        ("r1", "records") => msglog::subscribed(dir).noted("owned records of a subscription"),
        ("r2", _) => msglog::random_reads(dir, limit).noted("records a batch: see the name"),
        ("r3", "") => msglog::tail_blocking(dir, size, TAIL_PAUSE, Duration::ZERO, limit)
            .noted("append_and_wait, a blocking subscriber"),
        ("r3", "spin") => msglog::tail_blocking(dir, size, TAIL_PAUSE, TAIL_SPIN, limit)
            .noted("the same, the subscriber spins up to 1 ms before it sleeps"),
        ("r3", "await") => msglog::tail(dir, size, TAIL_PAUSE, Duration::ZERO, limit)
            .noted("async producer and subscriber"),
        ("r3", "await-spin") => msglog::tail(dir, size, TAIL_PAUSE, TAIL_SPIN, limit)
            .noted("the same, the subscriber spins up to 1 ms before it sleeps"),
        ("o1" | "o1k", _) => msglog::reopen(dir),
        _ => panic!("msglog/{variant} does not run {workload}"),
    }
}

/// `msglog/10` has batches of 10; without a number they are as large as for all.
fn per_batch(variant: &str, size: usize) -> usize {
    variant.parse().unwrap_or_else(|_| stored_batch(size))
}

fn limit_of(workload: &str, records: &mut Records, dir: &Path, limit: Duration) -> Outcome {
    let size = records.size();
    match workload {
        "w1" => limits::write(dir, records, 1, limit).noted("one pwrite a record"),
        "w1b" => limits::write(dir, records, batch(size), limit),
        "w2" => limits::write_sync(dir, records, 1, limit),
        "w3" => limits::write_sync(dir, records, PRODUCERS, limit).noted("64 records a sync"),
        "w4" => limits::write_sync(dir, records, batch(size), limit),
        "fill" => {
            limits::fill(dir, records, filled());
            Outcome::default()
        }
        "r1" => limits::read(dir, size),
        "r2" => limits::read_random(dir, size, limit),
        _ => panic!("no limit for {workload}"),
    }
}

#[cfg(feature = "peers")]
fn peer_of(
    name: &str,
    workload: &str,
    records: &mut Records,
    dir: &Path,
    limit: Duration,
) -> Outcome {
    use crate::{generic, peers};
    let size = records.size();
    let outcome = match workload {
        "w1" => generic::produce(name, dir, records, (1, false), limit),
        "w1b" => generic::produce(name, dir, records, (batch(size), false), limit),
        "w2" => generic::produce(name, dir, records, (1, true), limit),
        "w3" => generic::threads(name, dir, records, PRODUCERS, limit),
        "w4" => generic::produce(name, dir, records, (batch(size), true), limit),
        "fill" => generic::fill(name, dir, records, stored_batch(size), filled()),
        "fillk" => {
            generic::fill_and_die(name, dir, records, stored_batch(size), filled());
        }
        "er" => generic::fill_and_replay(name, dir, records, stored_batch(size), ENGINE_BYTES),
        "r1" => generic::replay(name, dir),
        "r2" => generic::random(name, dir, limit),
        "o1" | "o1k" => generic::reopen(name, dir),
        _ => panic!("{name} does not run {workload}"),
    };
    outcome.noted(peers::note(name, workload))
}

#[cfg(not(feature = "peers"))]
fn peer_of(name: &str, _: &str, _: &mut Records, _: &Path, _: Duration) -> Outcome {
    panic!("this build has no {name}")
}

/// Payload bytes of a log that is read; MSGLOG_BENCH_MIB says otherwise than 1 GiB.
pub fn filled() -> u64 {
    let mib = std::env::var("MSGLOG_BENCH_MIB").ok().and_then(|mib| mib.parse::<u64>().ok());
    mib.unwrap_or(1024) << 20
}
