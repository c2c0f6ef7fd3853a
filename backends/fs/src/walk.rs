//! Walks over stored batches that continue each other, as fast as the page cache gives their bytes:
//! each is checked where it lies in one small buffer, and none is held.

use std::io;

use msglog_core::Msn;
use msglog_core::batch::{BatchCheck, BatchHeader, HEADER_BYTES};

use crate::io::{File, read_full};
use crate::survey::{Rules, Surveyed};

/// Bytes read at a time: they stay in the cache of one core until they are checked.
const CHUNK_BYTES: usize = 512 << 10;
/// Bytes of the first read; a segment may hold little.
const CHUNK_BYTES_MIN: usize = 16 << 10;

/// Takes note of all valid batches from an offset on, the first of which has the MSN `expected`, up
/// to the first bytes that are something else. Answers where these begin.
pub(crate) fn walk(
    file: &dyn File,
    (from, end): (u64, u64),
    mut expected: Msn,
    surveyed: &mut Surveyed,
    rules: Rules<'_>,
) -> io::Result<u64> {
    let mut chunks = Chunks { file, end, buffer: Vec::new(), start: from, filled: 0 };
    let mut at = from;
    loop {
        let Some(head) = chunks.from(at, HEADER_BYTES)?.first_chunk::<HEADER_BYTES>().copied()
        else {
            return Ok(at);
        };
        let Ok(header) = BatchHeader::parse(&head) else { return Ok(at) };
        let len = header.encoded_len() as u64;
        let fits = len <= rules.options.batch_bytes_max() && len <= end.saturating_sub(at);
        if header.base_msn() != expected || !fits {
            return Ok(at);
        }
        let mut check = BatchCheck::of(header);
        while check.left() > 0 {
            let piece = chunks.from(at + len - check.left() as u64, 1)?;
            if piece.is_empty() {
                return Ok(at);
            }
            check.push(piece);
        }
        if !check.is_passed() {
            return Ok(at);
        }
        surveyed.take(&header, head, at, rules);
        (at, expected) = (at + len, header.next_msn());
    }
}

/// The bytes of a file, one chunk at a time in the same buffer.
struct Chunks<'a> {
    file: &'a dyn File,
    /// Bytes from here on do not exist.
    end: u64,
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

impl Chunks<'_> {
    /// The bytes from `at` on: at least `wanted`, or all there are.
    fn from(&mut self, at: u64, wanted: usize) -> io::Result<&[u8]> {
        let behind = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        if behind.saturating_add(wanted) <= self.filled {
            return Ok(self.buffer.get(behind..self.filled).unwrap_or_default());
        }
        let len = if self.buffer.is_empty() { CHUNK_BYTES_MIN } else { CHUNK_BYTES };
        if self.buffer.len() < len {
            self.buffer = vec![0; len];
        }
        let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let room = self.buffer.get_mut(..len.min(left)).unwrap_or_default();
        self.filled = read_full(self.file, room, at)?;
        self.start = at;
        Ok(self.buffer.get(..self.filled).unwrap_or_default())
    }
}
