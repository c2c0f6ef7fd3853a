//! What the machine itself can do: raw calls on a raw file, with no format and no promise beyond.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::measure::{Meter, Outcome};
use crate::msglog::touch;
use crate::records::Records;

/// Bytes of zeros that a synced workload overwrites.
const ZEROED_BYTES: u64 = 256 << 20;

fn create(dir: &Path) -> File {
    std::fs::create_dir_all(dir).expect("the folder");
    let path = dir.join("raw");
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).expect("open")
}

/// One `pwrite` for `count` records, to a file that grows.
pub fn write(dir: &Path, records: &mut Records, count: usize, limit: Duration) -> Outcome {
    let file = create(dir);
    let bytes = count * records.size();
    let mut at = 0;
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let buffer = gathered(records, count);
        file.write_all_at(&buffer, at).expect("write");
        at += bytes as u64;
        meter.add(count as u64, bytes as u64);
    }
    meter.finish().noted("no format, no checksum")
}

/// One `pwrite` over zeros and one `fdatasync` for `count` records.
pub fn write_sync(dir: &Path, records: &mut Records, count: usize, limit: Duration) -> Outcome {
    let file = create(dir);
    let zeros = vec![0; 1 << 20];
    (0..ZEROED_BYTES >> 20).for_each(|mib| file.write_all_at(&zeros, mib << 20).expect("zeros"));
    file.sync_all().expect("sync");
    // Whole pages, as a log that shares no page between two syncs would write.
    let bytes = (count * records.size()).next_multiple_of(4096) as u64;
    let mut at = 0;
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let began = Instant::now();
        let buffer = gathered(records, count);
        file.write_all_at(&buffer, at).expect("write");
        file.sync_data().expect("sync");
        meter.latency(began);
        at = if at + 2 * bytes > ZEROED_BYTES { 0 } else { at + bytes };
        meter.add(count as u64, (count * records.size()) as u64);
    }
    meter.finish().noted("no format, zeros written before")
}

fn gathered(records: &mut Records, count: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(count * records.size());
    (0..count).for_each(|_| buffer.extend_from_slice(records.next_ref()));
    buffer
}

/// Fills the file that the reads below read.
pub fn fill(dir: &Path, records: &mut Records, bytes: u64) {
    let file = create(dir);
    let count = ((1 << 20) / records.size()).max(1);
    let mut at = 0;
    while at < bytes {
        let buffer = gathered(records, count);
        file.write_all_at(&buffer, at).expect("write");
        at += buffer.len() as u64;
    }
}

/// `pread` from the front, 1 MiB at a time.
pub fn read(dir: &Path, size: usize) -> Outcome {
    let file = create(dir);
    let mut buffer = vec![0; 1 << 20];
    let (mut at, mut sum) = (0, 0);
    let mut meter = Meter::start();
    loop {
        let count = file.read_at(&mut buffer, at).expect("read");
        if count == 0 {
            break;
        }
        sum += touch(&buffer[..count]);
        at += count as u64;
        meter.add((count / size) as u64, count as u64);
    }
    std::hint::black_box(sum);
    meter.finish().noted("no format, no checksum")
}

/// `pread` of single records at random places.
pub fn read_random(dir: &Path, size: usize, limit: Duration) -> Outcome {
    let file = create(dir);
    let count = file.metadata().expect("metadata").len() / size as u64;
    let mut buffer = vec![0; size];
    let mut random = crate::records::Random::default();
    let mut meter = Meter::start();
    while !meter.lasted(limit) {
        let began = Instant::now();
        file.read_exact_at(&mut buffer, random.below(count) * size as u64).expect("read");
        std::hint::black_box(touch(&buffer));
        meter.latency(began);
        meter.add(1, size as u64);
    }
    meter.finish().noted("no format, no checksum")
}
