//! Stores as images of a simulated disk: built by the store, then changed byte by byte.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use msglog_core::batch::{BatchHeader, HEADER_BYTES};
use msglog_core::store::{MessageStore, OpenOptions, PartitionStore};
use msglog_core::{Msn, Result, TopicPartition};
use msglog_fs::io::{FileSystem, OpenMode, SimFs};
use msglog_fs::{FsOptions, FsStore};
use tokio::runtime::{Builder, Runtime};

use crate::sample::batch;
use crate::script::Script;

/// Where the store lies.
pub const ROOT: &str = "/store";
/// Its partition.
pub const FOLDER: &str = "/store/orders-0";
/// Names that a file may get: what the store knows, and what it does not.
const NAMES: [&str; 8] = [
    "checkpoint",
    "checkpoint.tmp",
    "prepared.log.tmp",
    "00000000000000000000.log",
    "00000000000000000009.log",
    "09223372036854775807.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
];

/// The partition that all images have.
pub fn name() -> TopicPartition {
    "orders-0".parse().expect("a name of a partition")
}

/// Small segments, and everything done in the call that causes it.
pub fn options() -> FsOptions {
    let mut options = FsOptions::default();
    (options.segment_bytes, options.index_interval_bytes) = (1024, 64);
    (options.checkpoint_bytes, options.background) = (1024, false);
    options
}

/// Waits for a store's calls.
pub fn wait<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime")
    });
    runtime.block_on(future)
}

/// Opens the store of a disk, and its partition.
pub async fn open(fs: &SimFs, options: FsOptions) -> Result<(FsStore, Arc<dyn PartitionStore>)> {
    let store = FsStore::open_on(Arc::new(fs.clone()), ROOT, options).await?;
    let partition = store.open(&name(), OpenOptions::existing()).await?;
    Ok((store, partition))
}

/// Puts the right CRC, and the right length, over the bytes of a batch.
pub fn with_crc(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEADER_BYTES {
        let length = u32::try_from(bytes.len() - 12).unwrap_or(u32::MAX);
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

/// All files of a disk.
#[derive(Clone, Debug, Default)]
pub struct Image(pub BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    /// What a disk holds.
    pub fn of(fs: &SimFs) -> Self {
        let mut image = Self::default();
        image.add(fs, Path::new("/"));
        image
    }

    fn add(&mut self, fs: &SimFs, folder: &Path) {
        for entry in fs.list(folder).expect("a folder") {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                self.add(fs, &path);
                continue;
            }
            let file = fs.open(&path, OpenMode::Read).expect("a file");
            let len = file.len().expect("its length");
            let mut bytes = vec![0; usize::try_from(len).expect("a small file")];
            file.read_at(&mut bytes, 0).expect("its bytes");
            self.0.insert(path, bytes);
        }
    }

    /// A disk that holds this, all of it synced.
    pub fn restore(&self) -> SimFs {
        let fs = SimFs::new();
        for (path, bytes) in &self.0 {
            let mut folders: Vec<_> = path.ancestors().skip(1).collect();
            folders.reverse();
            for folder in folders {
                let _ = fs.create_dir(folder);
            }
            let file = fs.open(path, OpenMode::CreateNew).expect("a new file");
            file.write_at(&[IoSlice::new(bytes)], 0).expect("it is written");
        }
        fs.sync_everything();
        fs
    }

    /// The content of the files of this ending, in order.
    pub fn files_ending(&self, ending: &str) -> Vec<Vec<u8>> {
        let files = self.0.iter().filter(|(path, _)| path.to_string_lossy().ends_with(ending));
        files.map(|(_, bytes)| bytes.clone()).collect()
    }

    /// Where the batches of a file begin, as far as they follow each other.
    fn batches(bytes: &[u8]) -> Vec<(usize, usize)> {
        let (mut at, mut all) = (0, Vec::new());
        while let Ok(header) = BatchHeader::parse(bytes.get(at..).unwrap_or_default()) {
            let end = at.saturating_add(header.encoded_len());
            if end > bytes.len() {
                break;
            }
            all.push((at, end));
            at = end;
        }
        all
    }

    /// Makes one change as the script says.
    pub fn change(&mut self, script: &mut Script<'_>) {
        let act = script.byte();
        let paths: Vec<_> = self.0.keys().cloned().collect();
        let Some(path) = paths.get(script.below(paths.len())) else { return };
        let other = Path::new(FOLDER).join(NAMES[usize::from(act >> 4) % NAMES.len()]);
        let Some(bytes) = self.0.get_mut(path) else { return };
        let at = script.below(bytes.len() + 1);
        match act % 12 {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (act >> 5)),
            1 => bytes.truncate(at),
            2 => {
                let count = usize::from(script.byte());
                let with = script.bytes(count);
                bytes.iter_mut().skip(at).zip(with).for_each(|(byte, with)| *byte = *with);
            }
            3 => {
                let count = usize::from(script.byte());
                bytes.splice(at..at, script.bytes(count).iter().copied());
            }
            4 => {
                let end = (at + script.below(512)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let count = script.below(512);
                bytes.iter_mut().skip(at).take(count).for_each(|byte| *byte = 0);
            }
            6 => drop(self.0.remove(path)),
            7 => {
                let copy = bytes.clone();
                self.0.insert(other, copy);
            }
            8 => {
                let moved = self.0.remove(path).unwrap_or_default();
                self.0.insert(other, moved);
            }
            9 => {
                // The bytes of one file amid those of another one.
                let end = (at + script.below(512)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let target = self.0.entry(other).or_default();
                let at = script.below(target.len() + 1);
                target.splice(at..at, piece);
            }
            10 => stamp(bytes, script),
            _ => mend(path, bytes, script),
        }
    }
}

/// Sets a field of a batch, and the CRC to fit.
fn stamp(bytes: &mut [u8], script: &mut Script<'_>) {
    const FIELDS: [(usize, usize); 6] = [(0, 8), (12, 4), (23, 4), (57, 4), (21, 2), (35, 8)];
    let batches = Image::batches(bytes);
    let Some((start, end)) = batches.get(script.below(batches.len())).copied() else { return };
    let (place, len) = FIELDS[usize::from(script.byte()) % FIELDS.len()];
    let mut value = [0; 8];
    // Small numbers are the interesting ones, now and then a large one.
    let number = u64::from(script.short());
    let number = if number > 60_000 { script.long() } else { number };
    value.copy_from_slice(&number.to_be_bytes());
    bytes[start + place..start + place + len].copy_from_slice(&value[8 - len..]);
    let mended = with_crc(&bytes[start..end]);
    bytes[start..end].copy_from_slice(&mended);
}

/// Makes the checksum of a checkpoint or of a batch right.
fn mend(path: &Path, bytes: &mut Vec<u8>, script: &mut Script<'_>) {
    if path.ends_with("checkpoint") {
        *bytes = msglog_fs::fuzzing::checkpoint_of(bytes.get(12..).unwrap_or_default());
        return;
    }
    let batches = Image::batches(bytes);
    let Some((start, end)) = batches.get(script.below(batches.len())).copied() else { return };
    let mended = with_crc(&bytes[start..end]);
    bytes[start..end].copy_from_slice(&mended);
}

/// Stores to start from, each with something of its own.
pub fn bases() -> &'static [Image] {
    static BASES: OnceLock<Vec<Image>> = OnceLock::new();
    BASES.get_or_init(|| {
        let mut bases = Vec::new();
        for closes in [false, true] {
            bases.push(wait(build(&[(1, 20, true); 24], closes)));
            bases.push(wait(build(&[(2, 150, true), (1, 20, false), (3, 90, false)], closes)));
            bases.push(wait(build(&[(1, 300, true), (1, 300, false)].repeat(4), closes)));
        }
        // One with damage that was found, so that its checkpoint has a hole, and one trimmed.
        let mut holed = bases[0].clone();
        let first = Path::new(FOLDER).join("00000000000000000000.log");
        holed.0.entry(first).or_default()[100] ^= 1;
        bases.push(wait(reopened(&holed, 0)));
        bases.push(wait(reopened(&bases[3], 15)));
        bases
    })
}

/// A store with these batches: records, payload bytes, and whether they are synced at once.
async fn build(batches: &[(u64, usize, bool)], closes: bool) -> Image {
    let fs = SimFs::new();
    let store = FsStore::open_on(Arc::new(fs.clone()), ROOT, options()).await.expect("a store");
    let partition = store.open(&name(), OpenOptions::or_create()).await.expect("a partition");
    for (count, payload_bytes, syncs) in batches {
        let next = partition.bounds().next_msn;
        let made = batch(next.get(), *count, *payload_bytes);
        partition.append(vec![made]).await.expect("appends");
        if *syncs {
            partition.sync().await.expect("syncs");
        }
    }
    if closes {
        store.close().await.expect("closes");
    }
    Image::of(&fs)
}

async fn reopened(image: &Image, trim: u64) -> Image {
    let fs = image.restore();
    let mut options = options();
    options.full_scan = true;
    let (store, partition) = open(&fs, options).await.expect("opens");
    partition.trim(Msn::new(trim)).await.expect("trims");
    let next = partition.bounds().next_msn.get();
    partition.append(vec![batch(next, 1, 20)]).await.expect("appends");
    store.close().await.expect("closes");
    Image::of(&fs)
}
