//! The checkpoint of a partition: how far it is known synced, so that opening scans only the rest.
//!
//! Layout, numbers big-endian: magic `MSGLCKP1` (8 bytes), CRC-32C of all that follows (u32), flags
//! (u32, bit 0 = closed cleanly), writer epoch (i32), segment count (u32), hole count (u32), first
//! MSN (u64); per segment base MSN, bytes, next MSN (u64 each), newest timestamp (i64), CRC-32C of
//! the `.index` and of the `.timeindex` file (u32 each); per hole its first and its next MSN (u64).
//! The last segment is the one that was being written; its bytes are those known synced.

use std::io;
use std::ops::Range;
use std::path::Path;

use msglog_core::Msn;

use crate::index::IndexSums;
use crate::io::{FileSystem, read_small, rename_temporary, replace_file, write_temporary};
use crate::layout::{CHECKPOINT, CHECKPOINT_TEMPORARY};
use crate::segment::{Extent, Segment};

const MAGIC: &[u8; 8] = b"MSGLCKP1";
const FLAG_CLEAN: u32 = 1;
/// The largest checkpoint that is read.
const CHECKPOINT_BYTES_MAX: u64 = 256 << 20;

/// What is known of one segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct SegmentEntry {
    pub(crate) base: Msn,
    pub(crate) extent: Extent,
    pub(crate) sums: IndexSums,
}

impl SegmentEntry {
    pub(crate) fn of(segment: &Segment) -> Self {
        Self { base: segment.base, extent: segment.extent(), sums: segment.sums() }
    }
}

/// The content of a checkpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) clean: bool,
    pub(crate) writer_epoch: i32,
    pub(crate) first_msn: Msn,
    /// At least one; the last is filled and synced at least so far.
    pub(crate) segments: Vec<SegmentEntry>,
    pub(crate) holes: Vec<Range<Msn>>,
}

impl Checkpoint {
    /// The MSN below which all was synced.
    pub(crate) fn next_msn(&self) -> Msn {
        self.segments.last().map_or(self.first_msn, |last| last.extent.next_msn)
    }

    /// Reads the checkpoint of a partition; `None` when there is none or it is damaged.
    pub(crate) fn load(fs: &dyn FileSystem, dir: &Path) -> io::Result<Option<Self>> {
        Self::load_from(fs, &dir.join(CHECKPOINT))
    }

    /// The same from another file.
    pub(crate) fn load_from(fs: &dyn FileSystem, path: &Path) -> io::Result<Option<Self>> {
        let bytes = match read_small(fs, path, CHECKPOINT_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
            Err(cause) => return Err(cause),
        };
        let checkpoint = Self::decode(&bytes);
        if checkpoint.is_none() {
            tracing::warn!(path = %path.display(), "checkpoint is damaged and not used");
        }
        Ok(checkpoint)
    }

    /// Replaces the checkpoint of a partition; durable when it returns.
    pub(crate) fn store(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        self.write(fs, dir)?;
        fs.sync_dir(dir)
    }

    /// The same without making the name durable.
    fn write(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        self.prepare(fs, dir)?;
        Self::take_effect(fs, dir)
    }

    /// The same into another file, through the name `temporary`.
    pub(crate) fn write_as(
        &self,
        fs: &dyn FileSystem,
        path: &Path,
        temporary: &Path,
    ) -> io::Result<()> {
        replace_file(fs, path, temporary, &self.encode())
    }

    /// Writes and syncs it beside the one that holds; after an error nothing has changed.
    pub(crate) fn prepare(&self, fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        write_temporary(fs, &dir.join(CHECKPOINT_TEMPORARY), &self.encode())
    }

    /// Puts the prepared one in place; after an error it may be there.
    pub(crate) fn take_effect(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
        rename_temporary(fs, &dir.join(CHECKPOINT_TEMPORARY), &dir.join(CHECKPOINT))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let mut body = Vec::new();
        body.extend_from_slice(&(if self.clean { FLAG_CLEAN } else { 0 }).to_be_bytes());
        body.extend_from_slice(&self.writer_epoch.to_be_bytes());
        body.extend_from_slice(&count(self.segments.len()));
        body.extend_from_slice(&count(self.holes.len()));
        body.extend_from_slice(&self.first_msn.get().to_be_bytes());
        for SegmentEntry { base, extent, sums } in &self.segments {
            for number in [base.get(), extent.end, extent.next_msn.get()] {
                body.extend_from_slice(&number.to_be_bytes());
            }
            body.extend_from_slice(&extent.max_timestamp.to_be_bytes());
            body.extend_from_slice(&sums.offsets.to_be_bytes());
            body.extend_from_slice(&sums.times.to_be_bytes());
        }
        for hole in &self.holes {
            body.extend_from_slice(&hole.start.get().to_be_bytes());
            body.extend_from_slice(&hole.end.get().to_be_bytes());
        }
        Self::framed(&body)
    }

    /// A body behind its magic and CRC.
    pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&crc_fast::crc32_iscsi(body).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if &fields.take::<8>()? != MAGIC {
            return None;
        }
        if fields.u32()? != crc_fast::crc32_iscsi(fields.0) {
            return None;
        }
        let clean = fields.u32()? & FLAG_CLEAN != 0;
        let writer_epoch = i32::from_be_bytes(fields.take()?);
        let (segment_count, hole_count) = (fields.u32()?, fields.u32()?);
        let first_msn = fields.msn()?;
        let mut segments = Vec::new();
        for _ in 0..segment_count {
            let (base, end, next_msn) = (fields.msn()?, fields.u64()?, fields.msn()?);
            let max_timestamp = i64::from_be_bytes(fields.take()?);
            let sums = IndexSums { offsets: fields.u32()?, times: fields.u32()? };
            let extent = Extent { end, next_msn, max_timestamp };
            segments.push(SegmentEntry { base, extent, sums });
        }
        let mut holes = Vec::new();
        for _ in 0..hole_count {
            holes.push(fields.msn()?..fields.msn()?);
        }
        let sane = fields.0.is_empty()
            && segments.first().is_some_and(|first| first.base >= first_msn)
            && segments.iter().all(|entry| entry.base <= entry.extent.next_msn)
            && segments.is_sorted_by(|a, b| a.base < b.base && a.extent.next_msn <= b.base);
        sane.then_some(Self { clean, writer_epoch, first_msn, segments, holes })
    }
}

/// Takes fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn msn(&mut self) -> Option<Msn> {
        self.u64().filter(|number| *number <= Msn::MAX.get()).map(Msn::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::RealFs;

    fn sample() -> Checkpoint {
        let entry = |base, end, next| SegmentEntry {
            base: Msn::new(base),
            extent: Extent { end, next_msn: Msn::new(next), max_timestamp: 77 },
            sums: IndexSums { offsets: 1, times: 2 },
        };
        Checkpoint {
            clean: true,
            writer_epoch: 3,
            first_msn: Msn::new(5),
            segments: vec![entry(5, 100, 9), entry(9, 50, 11)],
            holes: vec![Msn::new(6)..Msn::new(7)],
        }
    }

    #[test]
    fn checkpoint_is_read_back_and_any_flipped_or_missing_byte_is_noticed() {
        let bytes = sample().encode();
        assert_eq!(Checkpoint::decode(&bytes), Some(sample()));
        for place in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[place] ^= 1;
            assert_eq!(Checkpoint::decode(&bad), None, "flipped at {place}");
            assert_eq!(Checkpoint::decode(&bytes[..place]), None, "cut at {place}");
        }
    }

    #[test]
    fn checkpoint_that_contradicts_itself_is_not_believed_whatever_its_checksum_says() {
        let changed = |change: fn(&mut Checkpoint)| {
            let mut checkpoint = sample();
            change(&mut checkpoint);
            checkpoint.encode()
        };
        let mut longer = sample().encode().split_off(MAGIC.len() + 4);
        longer.push(0);
        for (bytes, what) in [
            (changed(|checkpoint| checkpoint.segments.clear()), "no segment"),
            (
                changed(|checkpoint| checkpoint.first_msn = Msn::new(6)),
                "begins below its first MSN",
            ),
            (
                changed(|checkpoint| checkpoint.segments[1].base = Msn::new(12)),
                "ends before it begins",
            ),
            (changed(|checkpoint| checkpoint.segments[1].base = Msn::new(8)), "segments overlap"),
            (changed(|checkpoint| checkpoint.segments.reverse()), "segments out of order"),
            (changed(|checkpoint| checkpoint.segments[1] = checkpoint.segments[0]), "one twice"),
            (
                changed(|checkpoint| {
                    checkpoint.segments[0].extent.next_msn = Msn::new(5);
                    checkpoint.segments[1] = checkpoint.segments[0];
                }),
                "an empty one twice",
            ),
            (Checkpoint::framed(&longer), "bytes behind its end"),
        ] {
            assert_eq!(Checkpoint::decode(&bytes), None, "{what}");
        }
        // Trimmed to within its first segment, and holding none but an empty one.
        for bytes in [
            changed(|checkpoint| checkpoint.first_msn = Msn::new(5)),
            changed(|checkpoint| {
                checkpoint.segments.truncate(1);
                checkpoint.segments[0].extent.next_msn = Msn::new(5);
            }),
        ] {
            assert!(Checkpoint::decode(&bytes).is_some());
        }
    }
    #[test]
    fn checkpoint_too_large_is_damaged_and_one_that_cannot_be_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CHECKPOINT);
        assert_eq!(Checkpoint::load(&RealFs, dir.path()).unwrap(), None, "there is none");
        std::fs::File::create(&path).unwrap().set_len(CHECKPOINT_BYTES_MAX + 1).unwrap();
        assert_eq!(Checkpoint::load(&RealFs, dir.path()).unwrap(), None);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        Checkpoint::load(&RealFs, dir.path()).unwrap_err();
    }
}
