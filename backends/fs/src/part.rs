//! Reads some bytes of one batch: found by the index, and by headers from there on.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use msglog_core::batch::{BatchHeader, HEADER_BYTES};
use msglog_core::{Msn, Result};

use crate::io::{File, read_full};
use crate::log::{Log, holding};
use crate::reader::AT_ONCE_BYTES_MAX;
use crate::segment::{Segment, Start};

/// How many bytes are read at a time to look at headers: batches in front of which there is no
/// entry of the index are small, but for the last one.
const WALK_BYTES: u64 = 4 << 10;

/// A part of a batch that is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The MSNs that the batch covers.
    pub(crate) batch: Range<Msn>,
    /// From its first byte on.
    pub(crate) bytes: Range<usize>,
}

/// An open segment, and whether only what is in memory is read of it.
struct Source<'a> {
    log: &'a Log,
    file: Arc<dyn File>,
    end: u64,
    cached: bool,
}

impl Log {
    /// The bytes, not checked; `None` when the batch is not found, or is shorter.
    pub(crate) fn read_part(&self, wanted: &Wanted) -> Result<Option<Bytes>> {
        self.usable()?;
        let Some(segment) = self.segment_of(wanted) else { return Ok(None) };
        let read = || -> io::Result<Option<Bytes>> {
            let file = self.files.file(&segment)?;
            let start = segment.start_of(&wanted.batch, &self.files, &segment)?;
            self.source(&segment, file, false).part(start, wanted)
        };
        match read() {
            // The segment was trimmed, or a follower's writer has taken it back.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            answer => answer.map_err(|cause| self.failed("read", cause)),
        }
    }

    /// As [`read_part`](Self::read_part), if no device has to be waited for; so it may be called
    /// where nothing may block.
    pub(crate) fn read_part_at_once(&self, wanted: &Wanted) -> Result<Option<Bytes>> {
        self.usable()?;
        let found = || -> Option<Bytes> {
            let segment = self.segment_of(wanted)?;
            let file = self.files.open_file(&segment)?;
            let start = segment.known_start_of(&wanted.batch)?;
            // Whatever is wrong here is found again, and said, where it may be waited for.
            self.source(&segment, file, true).part(start, wanted).ok()?
        };
        Ok(found())
    }

    /// The segment that holds the batch, if that is not trimmed.
    fn segment_of(&self, wanted: &Wanted) -> Option<Arc<Segment>> {
        if wanted.batch.end <= self.bounds().first_msn {
            return None;
        }
        let segments = self.segments();
        let segment = holding(&segments, wanted.batch.start).next()?;
        Some(Arc::clone(segment))
    }

    fn source(&self, segment: &Segment, file: Arc<dyn File>, cached: bool) -> Source<'_> {
        Source { log: self, file, end: segment.extent().end, cached }
    }
}

impl Source<'_> {
    fn part(&self, start: Start, wanted: &Wanted) -> io::Result<Option<Bytes>> {
        let offset = match start {
            Start::Exact(offset) => Some(offset),
            Start::Before(offset) => self.walk(offset, &wanted.batch)?,
        };
        let Some(offset) = offset else { return Ok(None) };
        let [from, to] = [wanted.bytes.start, wanted.bytes.end].map(|at| at as u64);
        let Some(len) = to.checked_sub(from) else { return Ok(None) };
        if offset.saturating_add(to) > self.end {
            return Ok(None);
        }
        let bytes = self.read(offset.saturating_add(from), len)?;
        Ok((bytes.len() as u64 == len).then_some(bytes))
    }

    /// Where the batch begins, by the headers from `offset` on.
    fn walk(&self, mut offset: u64, batch: &Range<Msn>) -> io::Result<Option<u64>> {
        while offset < self.end {
            let chunk = self.read(offset, WALK_BYTES.min(self.end - offset))?;
            let mut at = 0;
            while let Some(head) = chunk.get(at..).filter(|head| head.len() >= HEADER_BYTES) {
                let Ok(header) = BatchHeader::parse(head) else { return Ok(None) };
                if header.base_msn() >= batch.start {
                    let same = (header.base_msn(), header.next_msn()) == (batch.start, batch.end);
                    return Ok(same.then_some(offset + at as u64));
                }
                at = at.saturating_add(header.encoded_len());
            }
            if at == 0 {
                break;
            }
            offset = offset.saturating_add(at as u64);
        }
        Ok(None)
    }

    /// So many bytes, or fewer at the end of the file.
    fn read(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        if self.cached && len > AT_ONCE_BYTES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = |buffer: &mut [u8]| match self.cached {
            true => self.file.read_cached_at(buffer, offset),
            false => read_full(self.file.as_ref(), buffer, offset),
        };
        self.log.files.buffers.fill(usize::try_from(len).unwrap_or(usize::MAX), read)
    }
}
