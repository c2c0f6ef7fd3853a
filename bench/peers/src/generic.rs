//! The workloads as every peer runs them: blocking calls, a thread a producer.

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::measure::{Meter, Outcome, peak_mib, reset_peak};
use crate::msglog::touch;
use crate::peers::{self, Peer};
use crate::records::{Random, Records};

/// One producer, `count` records a call.
pub fn produce(
    name: &str,
    dir: &Path,
    records: &mut Records,
    (count, sync): (usize, bool),
    limit: Duration,
) -> Outcome {
    let peer = peers::open(name, dir, sync);
    let bytes = (count * records.size()) as u64;
    // The first append may create and prepare files.
    peer.append(&records.batch(count), sync);
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let began = Instant::now();
        let batch = records.batch(count);
        peer.append(&batch, sync);
        meter.latency(began);
        meter.add(count as u64, bytes);
    }
    let outcome = meter.finish();
    drop(peer);
    outcome
}

/// Many threads, each appending and syncing one record at a time.
pub fn threads(
    name: &str,
    dir: &Path,
    records: &Records,
    count: usize,
    limit: Duration,
) -> Outcome {
    let peer = peers::open(name, dir, true);
    let latencies = Mutex::new(Vec::new());
    // The first append may create and prepare files.
    peer.append(&[&vec![0; records.size()]], true);
    let mut meter = Meter::start();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for place in 0..count {
            let (peer, latencies) = (&peer, &latencies);
            let mut records = records.from_place(place);
            scope.spawn(move || {
                let mut own = Vec::new();
                while started.elapsed() < limit {
                    let began = Instant::now();
                    peer.append(&[records.next_ref()], true);
                    own.push(began.elapsed().as_secs_f64() * 1e6);
                }
                latencies.lock().expect("lock").extend(own);
            });
        }
    });
    let all = latencies.into_inner().expect("lock");
    meter.add(all.len() as u64, (all.len() * records.size()) as u64);
    meter.latencies(all);
    meter.finish()
}

/// Fills a log with `bytes` of payload, or as far as some seconds reach.
pub fn fill(name: &str, dir: &Path, records: &mut Records, count: usize, bytes: u64) -> Outcome {
    let peer = peers::open(name, dir, false);
    let outcome = filled(peer.as_ref(), records, count, bytes);
    drop(peer);
    outcome
}

/// As [`fill`], and ends the process without closing the log.
pub fn fill_and_die(name: &str, dir: &Path, records: &mut Records, count: usize, bytes: u64) -> ! {
    let peer = peers::open(name, dir, false);
    filled(peer.as_ref(), records, count, bytes);
    // SAFETY: ends this process at once, as a kill would.
    unsafe { libc::_exit(0) }
}

fn filled(peer: &dyn Peer, records: &mut Records, count: usize, bytes: u64) -> Outcome {
    let mut meter = Meter::start();
    let mut done = 0;
    while done < bytes && !meter.lasted(Duration::from_secs(15)) {
        let batch = records.batch(count);
        peer.append(&batch, false);
        done += (count * records.size()) as u64;
        meter.add(count as u64, (count * records.size()) as u64);
    }
    meter.finish().with("peak_mib", peak_mib()).with("filled", done as f64)
}

fn replayed(peer: &dyn Peer) -> Outcome {
    let mut meter = Meter::start();
    let (mut count, mut bytes, mut sum) = (0, 0, 0);
    peer.replay(&mut |record| {
        sum += touch(record);
        count += 1;
        bytes += record.len() as u64;
    });
    std::hint::black_box(sum);
    meter.add(count, bytes);
    meter.finish()
}

/// Reads all records in order.
pub fn replay(name: &str, dir: &Path) -> Outcome {
    let peer = peers::open(name, dir, false);
    reset_peak();
    replayed(peer.as_ref()).with("peak_mib", peak_mib())
}

/// Reads single records at random places.
pub fn random(name: &str, dir: &Path, limit: Duration) -> Outcome {
    let peer = peers::open(name, dir, false);
    let count = peer.count();
    let mut random = Random::default();
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let began = Instant::now();
        let record = peer.get(random.below(count)).expect("a record");
        std::hint::black_box(touch(&record));
        meter.latency(began);
        meter.add(1, record.len() as u64);
    }
    meter.finish()
}

/// How long it takes until an existing log can be appended to.
pub fn reopen(name: &str, dir: &Path) -> Outcome {
    let began = Instant::now();
    let peer = peers::open(name, dir, false);
    let count = peer.count();
    let ms = began.elapsed().as_secs_f64() * 1e3;
    Outcome::default().with("open_ms", ms).with("records", count as f64)
}

/// Fills a log and reads it, in one process: for engines in memory too.
pub fn fill_and_replay(
    name: &str,
    dir: &Path,
    records: &mut Records,
    count: usize,
    bytes: u64,
) -> Outcome {
    let peer = peers::open(name, dir, false);
    filled(peer.as_ref(), records, count, bytes);
    replayed(peer.as_ref())
}
