//! Damage to the disk of a store that nobody has open: a flipped bit, or a lost file.

use std::io::IoSlice;
use std::ops::Range;
use std::path::Path;

use msglog_core::batch::BatchHeader;
use msglog_fs::io::{FileSystem, OpenMode, SimFs};

use super::folder;

/// How the store was left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    /// By a clean close: a checkpoint covers all there is.
    Closed,
    /// By the end of the process.
    Killed,
}

/// What damage was done.
#[derive(Clone, Debug)]
pub(crate) struct Harm {
    /// The MSNs that it may cost.
    pub(crate) msns: Range<u64>,
    /// Whether it may be taken for a torn tail, unless something behind it proves the opposite.
    pub(crate) may_be_torn: bool,
    /// Whether the store was opened since.
    pub(crate) is_found: bool,
    /// For the reader of a failure.
    #[expect(dead_code, reason = "it is printed")]
    what: String,
}

/// Answers a number below another one.
type Roll<'a> = dyn FnMut(u64) -> u64 + 'a;

impl Harm {
    /// Damages one file of the partition; `None` where there is none.
    pub(crate) fn to(disk: &SimFs, mode: Mode, roll: &mut Roll<'_>) -> Option<Self> {
        let dir = folder(Path::new("/store"));
        let names: Vec<_> =
            disk.list(&dir).ok()?.into_iter().filter(|entry| !entry.is_dir).collect();
        // What the log consists of, and now and then what is derived from it.
        let derived = roll(3) == 0;
        let is_wanted = |name: &str| name.ends_with(".log") != derived && !name.ends_with(".tmp");
        let names: Vec<_> = names.iter().filter(|entry| is_wanted(&entry.name)).collect();
        let path = dir.join(&names.get(index(roll, names.len())?)?.name);
        let bytes = read(disk, &path);
        let loses = roll(4) == 0 && (derived || mode == Mode::Closed);
        let harm = if loses {
            disk.remove(&path).unwrap();
            let msns = if derived { 0..0 } else { all(&bytes) };
            Self::new(msns, mode, format!("lost {}", path.display()))
        } else {
            let place = index(roll, bytes.len())?;
            let msns = if derived { 0..0 } else { around(&bytes, place) };
            flip(disk, &path, place, bytes[place] ^ (1 << roll(8)));
            Self::new(msns, mode, format!("a flipped bit in byte {place} of {}", path.display()))
        };
        disk.sync_everything();
        Some(harm)
    }

    fn new(msns: Range<u64>, mode: Mode, what: String) -> Self {
        Self { msns, may_be_torn: mode == Mode::Killed, is_found: false, what }
    }
}

fn index(roll: &mut Roll<'_>, len: usize) -> Option<usize> {
    let sides = u64::try_from(len).ok().filter(|sides| *sides > 0)?;
    usize::try_from(roll(sides)).ok()
}

fn read(disk: &SimFs, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
    bytes
}

fn flip(disk: &SimFs, path: &Path, place: usize, byte: u8) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    file.write_at(&[IoSlice::new(&[byte])], u64::try_from(place).unwrap()).unwrap();
}

/// Each batch of a segment: its bytes and its MSNs.
fn batches(bytes: &[u8]) -> Vec<(Range<usize>, Range<u64>)> {
    let (mut at, mut batches) = (0, Vec::new());
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let end = at + header.encoded_len();
        if end > bytes.len() {
            break;
        }
        batches.push((at..end, header.base_msn().get()..header.next_msn().get()));
        at = end;
    }
    batches
}

/// The MSNs of the batch around a byte; none behind the last one.
fn around(bytes: &[u8], place: usize) -> Range<u64> {
    let batches = batches(bytes);
    let hit = batches.into_iter().find(|(bytes, _)| bytes.contains(&place));
    hit.map_or(0..0, |(_, msns)| msns)
}

/// The MSNs of a whole segment.
fn all(bytes: &[u8]) -> Range<u64> {
    let batches = batches(bytes);
    match (batches.first(), batches.last()) {
        (Some((_, first)), Some((_, last))) => first.start..last.end,
        _ => 0..0,
    }
}
