//! Damage in the manifest that RocksDB takes for the end of it.
//!
//! The manifest lists the files of the database. A record there whose length is damaged so that it
//! reaches beyond the file looks like one that a crash has cut off: RocksDB drops it and all after
//! it without a word, and then deletes the files that only these name. The format is RocksDB's
//! log format: blocks of 32 KiB, in each records of a masked CRC-32C, a length and a type, and of
//! their payload (<https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format>).

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use msglog_core::{Error, Result};
use msglog_kv::corrupt;

const BLOCK_BYTES: u64 = 32 << 10;
const HEADER_BYTES: usize = 7;
/// The file that names the manifest.
const CURRENT: &str = "CURRENT";

/// Refuses a database of whose manifest RocksDB would drop records that are there.
///
/// What else may be wrong with a manifest is left to RocksDB, which checks each record.
///
/// # Errors
///
/// `Corrupt` for a record whose damaged length hides it; errors of reading.
pub(crate) fn check(folder: &Path) -> Result<()> {
    let Some(current) = read(&folder.join(CURRENT))? else { return Ok(()) };
    let Some(name) = named(&current) else { return Ok(()) };
    let Some((start, block)) = last_block(&folder.join(name))? else { return Ok(()) };
    match hidden_record(&block) {
        Some(at) => {
            let at = start + at as u64;
            let why = format!("{name}: the length of the record at byte {at} is damaged");
            Err(corrupt(why))
        }
        None => Ok(()),
    }
}

/// The manifest that `CURRENT` names; `None` for what RocksDB will refuse.
fn named(current: &[u8]) -> Option<&str> {
    let name = str::from_utf8(current).ok()?.strip_suffix('\n')?;
    let number = name.strip_prefix("MANIFEST-")?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}

/// The file's bytes; `None` where there is none, as while another process replaces it.
fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    there(file, fs::read(file))
}

/// Where the last block of a file begins, and its bytes: in every other one RocksDB takes a record
/// that reaches too far for damage itself.
fn last_block(file: &Path) -> Result<Option<(u64, Vec<u8>)>> {
    let read = || {
        let mut opened = File::open(file)?;
        let start = opened.metadata()?.len().saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES;
        opened.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        opened.take(BLOCK_BYTES).read_to_end(&mut block)?;
        Ok((start, block))
    };
    there(file, read())
}

fn there<T>(file: &Path, read: io::Result<T>) -> Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from_io(format!("read {}", file.display()), error)),
    }
}

/// Where in a block a record lies that its own length hides: with another one it is whole, and so
/// is what follows it. Of a record that a crash has cut off no length is right.
fn hidden_record(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = block.get(at..)?;
        let record = Record::at(rest)?;
        if record.is_whole(record.length) {
            at += HEADER_BYTES + record.length;
            continue;
        }
        let reaches_beyond = record.length > record.payload_max();
        let hidden = reaches_beyond
            && (0..=record.payload_max()).any(|length| {
                let next = rest.get(HEADER_BYTES + length..).unwrap_or_default();
                record.is_whole(length) && starts_well(next)
            });
        return hidden.then_some(at);
    }
}

/// Whether nothing but the padding of a block is here, or a whole record.
fn starts_well(rest: &[u8]) -> bool {
    match Record::at(rest) {
        Some(record) => record.is_whole(record.length),
        None => rest.iter().all(|byte| *byte == 0),
    }
}

/// A record's header, with what follows it in the block.
struct Record<'a> {
    checksum: u32,
    length: usize,
    /// The type and all that follows: what the checksum covers, and more.
    covered: &'a [u8],
}

impl<'a> Record<'a> {
    fn at(rest: &'a [u8]) -> Option<Self> {
        let (checksum, after) = rest.split_first_chunk::<4>()?;
        let (length, covered) = after.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length));
        let checksum = u32::from_le_bytes(*checksum);
        (!covered.is_empty()).then_some(Self { checksum, length, covered })
    }

    fn payload_max(&self) -> usize {
        self.covered.len() - 1
    }

    fn is_whole(&self, length: usize) -> bool {
        let covered = self.covered.get(..=length);
        covered.is_some_and(|covered| masked(crc_fast::crc32_iscsi(covered)) == self.checksum)
    }
}

/// RocksDB stores checksums masked, for a checksum over bytes that hold their own says little.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xA282_EAD8)
}

#[cfg(test)]
mod tests {
    use rocksdb::{DB, Options};

    use super::*;

    /// A folder with a manifest of several records, and the manifest's bytes.
    fn database() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.create_if_missing(true);
        let database = DB::open(&options, folder.path()).unwrap();
        for number in 0..4 {
            database.put([number], [number; 100]).unwrap();
            database.flush().unwrap();
        }
        drop(database);
        let current = fs::read_to_string(folder.path().join(CURRENT)).unwrap();
        let manifest = folder.path().join(current.trim());
        let bytes = fs::read(&manifest).unwrap();
        (folder, manifest, bytes)
    }

    /// Where each record begins.
    fn records(block: &[u8]) -> Vec<usize> {
        let mut at = 0;
        std::iter::from_fn(|| {
            let record = Record::at(&block[at..])?;
            assert!(record.is_whole(record.length), "at {at}");
            let start = at;
            at += HEADER_BYTES + record.length;
            Some(start)
        })
        .collect()
    }

    #[test]
    fn any_damaged_length_is_refused_here_or_by_rocksdb() {
        let (folder, manifest, whole) = database();
        let starts = records(&whole);
        assert!(starts.len() > 4, "{starts:?}");
        for start in starts {
            for at in [start + 4, start + 5] {
                for mask in [0xFF, 0x80, 0x40, 0x01] {
                    let mut damaged = whole.clone();
                    damaged[at] ^= mask;
                    fs::write(&manifest, damaged).unwrap();
                    let refused = check(folder.path()).is_err()
                        || DB::open_for_read_only(&Options::default(), folder.path(), false)
                            .is_err();
                    assert!(refused, "byte {at} changed by {mask:#x}");
                }
            }
        }
    }

    #[test]
    fn last_block_of_a_long_manifest_is_looked_at() {
        let (folder, manifest, whole) = database();
        let start = usize::try_from(2 * BLOCK_BYTES).unwrap();
        let mut long = vec![0; start];
        long.extend_from_slice(&whole);
        fs::write(&manifest, &long).unwrap();
        check(folder.path()).unwrap();
        let last = *records(&whole).last().unwrap();
        long[start + last + 5] ^= 0xFF;
        fs::write(&manifest, &long).unwrap();
        let error = check(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("byte {} is", start + last)), "{error}");
    }

    #[test]
    fn manifest_that_a_crash_has_cut_is_left_to_rocksdb() {
        let (folder, manifest, whole) = database();
        check(folder.path()).unwrap();
        for end in 0..whole.len() {
            fs::write(&manifest, &whole[..end]).unwrap();
            check(folder.path()).unwrap();
        }
    }

    #[test]
    fn folder_without_a_database_has_nothing_to_refuse() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        for current in ["\n", "MANIFEST-9\n", "MANIFEST-9\0", "MANIFEST-/..\n", "..\n", "\u{1}"] {
            fs::write(folder.path().join(CURRENT), current).unwrap();
            check(folder.path()).unwrap();
        }
    }
}
