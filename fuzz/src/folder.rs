//! A whole store whose files were changed, opened by `fs` over a simulated disk: it opens or says
//! why not, reads only checked batches in order, and comes to the same verdict when opened again.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use msglog_core::batch::DecodeLimits;
use msglog_core::store::{Access, Bounds, PartitionStore, ReadLimit};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch};
use msglog_fs::io::{FileSystem, SimFs};
use msglog_fs::{BATCH_BYTES_MAX, FsOptions, FsStore, inspect_on};

use crate::image::{FOLDER, Image, ROOT, bases, name, open, options, wait};
use crate::sample::batch;
use crate::script::Script;

/// Changes of one input.
const CHANGES_MAX: usize = 24;
/// More reads than an image has bytes would be a reader that stands still.
const READS_MAX: usize = 10_000;

/// The first byte chooses the store, the second its options, the rest changes it; where the
/// highest bit of the first is set the rest is a segment instead.
pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let (base, flags) = (script.byte(), script.byte());
    let mut image = bases()[usize::from(base) % bases().len()].clone();
    if base & 0x80 != 0 {
        let path = Path::new(FOLDER).join("00000000000000000000.log");
        image.0.retain(|path, _| !path.starts_with(FOLDER));
        image.0.insert(path, script.0.to_vec());
    } else {
        for _ in 0..CHANGES_MAX {
            if script.is_empty() {
                break;
            }
            image.change(&mut script);
        }
    }
    let mut with = options();
    (with.full_scan, with.strict) = (flags & 1 != 0, flags & 2 != 0);
    let crash = (flags & 4 != 0).then_some(u64::from(flags) * 0x9E37_79B9);
    wait(check(&image, with, crash));
}

/// What is seen of a partition.
#[derive(Debug, PartialEq)]
struct Seen {
    bounds: Bounds,
    batches: Vec<RecordBatch>,
    holes: Vec<Range<Msn>>,
}

async fn check(image: &Image, with: FsOptions, crash: Option<u64>) {
    let untouched = image.restore();
    check_inspected(&untouched).await;
    check_reader(&untouched, with).await;
    assert_eq!(Image::of(&untouched).0, image.0, "who only reads changes nothing");
    let fs = image.restore();
    let (store, partition) = match open(&fs, with).await {
        Ok(opened) => opened,
        Err(error) => return check_refused(&fs, with, &error).await,
    };
    let seen = look(&partition, with.strict).await;
    drop((store, partition));
    if let Some(seed) = crash {
        // What was served is durable.
        fs.crash(seed);
    }
    let Some((store, partition)) = open_again(&fs, with).await else { return };
    let again = look(&partition, with.strict).await;
    assert_eq!(again.bounds, seen.bounds, "another verdict");
    assert_eq!(again.batches, seen.batches, "other batches");
    goes_on(&partition, &again).await;
    drop((store, partition));
    let Some((_store, partition)) = open_again(&fs, with).await else { return };
    let after = look(&partition, with.strict).await;
    assert!(after.batches.starts_with(&again.batches), "appending costs records");
}

/// What was opened opens again, unless it is strict and reading has found damage meanwhile.
async fn open_again(fs: &SimFs, with: FsOptions) -> Option<(FsStore, Arc<dyn PartitionStore>)> {
    match open(fs, with).await {
        Ok(opened) => Some(opened),
        Err(error) => {
            assert!(with.strict && error.kind() == ErrorKind::Corrupt, "it does not open: {error}");
            None
        }
    }
}

/// What could not be opened is not opened the next time either.
async fn check_refused(fs: &SimFs, with: FsOptions, error: &Error) {
    let before = Image::of(fs);
    let again = open(fs, with).await.err();
    assert_eq!(again.as_ref().map(Error::kind), Some(error.kind()), "{error}; then {again:?}");
    if with.strict {
        let unchanged = |image: &Image| -> Vec<_> {
            image
                .0
                .iter()
                .filter(|(path, _)| path.ends_with(".log"))
                .map(|(_, b)| b.len())
                .collect()
        };
        assert_eq!(unchanged(&before), unchanged(&Image::of(fs)));
    }
}

/// An inspection comes to the verdict of a full recovery, where both take batches of one size.
async fn check_inspected(fs: &SimFs) {
    let disk = Arc::new(fs.clone()) as Arc<dyn FileSystem>;
    let Ok(inspected) = inspect_on(&disk, ROOT) else { return };
    let found = inspected.partitions.iter().find(|found| found.partition == name());
    let mut with = options();
    (with.full_scan, with.segment_bytes) = (true, BATCH_BYTES_MAX);
    let Ok((_store, partition)) = open(&fs.fork(), with).await else { return };
    let (found, bounds) = (found.expect("it is inspected"), partition.bounds());
    assert_eq!(found.first_msn, bounds.first_msn);
    assert_eq!(found.next_msn, bounds.next_msn, "an inspection finds another end");
    assert_eq!(found.lost, partition.holes(), "an inspection finds other holes");
}

/// A store that is opened for reading never panics.
async fn check_reader(fs: &SimFs, mut with: FsOptions) {
    with.access = Access::Read;
    let Ok((_store, partition)) = open(fs, with).await else { return };
    look(&partition, true).await;
    let _ = partition.refresh().await;
    look(&partition, true).await;
}

/// Reads all there is; `lenient` where damage may be an error.
async fn look(partition: &Arc<dyn PartitionStore>, lenient: bool) -> Seen {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut from = Msn::ZERO;
    for turn in 0.. {
        assert!(turn < READS_MAX, "reading does not end");
        let read = match partition.read(from, ReadLimit::bytes(600)).await {
            Ok(read) => read,
            Err(error) => {
                assert!(lenient, "reading fails: {error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                break;
            }
        };
        let Some(last) = read.last() else { break };
        assert!(last.next_msn() > from, "reading stands still at {from}");
        from = last.next_msn();
        batches.extend(read);
    }
    let (bounds, holes) = (partition.bounds(), partition.holes());
    assert!(bounds.first_msn <= bounds.next_msn, "{bounds:?}");
    assert!(bounds.durable_msn <= bounds.next_msn, "{bounds:?}");
    assert!(batches.is_sorted_by(|a, b| a.next_msn() <= b.base_msn()), "out of order");
    for batch in &batches {
        let again = RecordBatch::decode(batch.to_bytes());
        assert_eq!(again.as_ref().ok(), Some(batch), "a batch that was not checked");
        assert!(batch.next_msn() > bounds.first_msn && batch.next_msn() <= bounds.next_msn);
        // Its records may be broken, but not more than that.
        if let Ok(records) = batch.records(DecodeLimits { records_bytes_max: 1 << 20 }) {
            records.for_each(drop);
        }
        let lost = holes.iter().any(|hole| hole.contains(&batch.base_msn()));
        assert!(!lost, "{} is reported lost: {holes:?}", batch.base_msn());
    }
    assert!(holes.is_sorted_by(|a, b| a.end <= b.start), "holes out of order: {holes:?}");
    Seen { bounds, batches, holes }
}

/// A partition that is open takes appends where there are MSNs left.
async fn goes_on(partition: &Arc<dyn PartitionStore>, seen: &Seen) {
    let next = seen.bounds.next_msn;
    if Msn::MAX.distance_from(next) < 10 {
        return;
    }
    let appended = partition.append(vec![batch(next.get(), 2, 30)]).await;
    assert!(appended.is_ok(), "it does not go on: {appended:?}");
    assert_eq!(partition.sync().await.ok(), Some(next.plus(2)));
    let read = partition.read(next, ReadLimit::default()).await;
    assert!(read.is_ok_and(|read| read.len() == 1), "what was appended is not read");
}

/// Each store as it is, with one change of each kind, and a segment alone.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for base in 0..u8::try_from(bases().len()).unwrap_or_default() {
        seeds.push(vec![base, base % 8]);
        for act in 0..12 {
            seeds.push(vec![base, act % 8, act, 0, 3, 0, 90, 0, 16, 7, 7, 7, 7, 7, 7, 7, 7, 7]);
        }
    }
    let segments = bases().iter().flat_map(|image| image.files_ending(".log"));
    seeds.extend(segments.take(4).map(|bytes| [&[0x80, 1], &bytes[..]].concat()));
    seeds
}
