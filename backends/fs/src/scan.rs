//! Walks the bytes of one segment: which batch lies where.

use std::io;

use bytes::Bytes;
use msglog_core::RecordBatch;
use msglog_core::batch::{BatchHeader, HEADER_BYTES};

use crate::io::{File, read_full};

/// Bytes of the first read; each further one takes twice as many.
const WINDOW_BYTES_MIN: u64 = 16 << 10;
/// The most bytes read at a time.
pub(crate) const WINDOW_BYTES: u64 = 512 << 10;

/// What lies at an offset.
#[derive(Debug)]
pub(crate) enum Found {
    /// A batch whose CRC was checked.
    Batch(RecordBatch),
    /// Nothing, or only zeros from here to the end.
    End,
    /// Bytes that are no valid batch.
    Bad,
}

/// Reads one segment file from front to back in large steps.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    file: &'a dyn File,
    /// Bytes from here on do not exist for this scanner.
    end: u64,
    batch_bytes_max: u64,
    window: Bytes,
    window_start: u64,
    window_bytes: u64,
    /// Take a header of zeros for the end without reading what is behind.
    pub(crate) trusts_zeros: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(file: &'a dyn File, end: u64, batch_bytes_max: u64) -> Self {
        Self {
            file,
            end,
            batch_bytes_max,
            window: Bytes::new(),
            window_start: 0,
            window_bytes: WINDOW_BYTES_MIN,
            trusts_zeros: false,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The bytes at `at`: `len` of them, or fewer at the end.
    pub(crate) fn bytes(&mut self, at: u64, len: u64) -> io::Result<Bytes> {
        let len = len.min(self.end.saturating_sub(at));
        if let Some(bytes) = self.in_window(at, len) {
            return Ok(bytes);
        }
        let wanted = len.max(self.window_bytes).min(self.end.saturating_sub(at));
        let mut buffer = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
        let count = read_full(self.file, &mut buffer, at)?;
        buffer.truncate(count);
        if (count as u64) < wanted {
            // The file was cut behind our back.
            self.end = at.saturating_add(count as u64);
        }
        self.window_bytes = self.window_bytes.saturating_mul(2).min(WINDOW_BYTES);
        self.window = buffer.into();
        self.window_start = at;
        let len = len.min(count as u64);
        Ok(self.in_window(at, len).unwrap_or_default())
    }

    fn in_window(&self, at: u64, len: u64) -> Option<Bytes> {
        let from = usize::try_from(at.checked_sub(self.window_start)?).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        (to <= self.window.len()).then(|| self.window.slice(from..to))
    }

    /// What lies at `at`.
    pub(crate) fn at(&mut self, at: u64) -> io::Result<Found> {
        let head = self.bytes(at, HEADER_BYTES as u64)?;
        if head.iter().all(|byte| *byte == 0) {
            let rest = if self.trusts_zeros { None } else { self.first_nonzero(at)? };
            return Ok(if rest.is_none() { Found::End } else { Found::Bad });
        }
        Ok(self.batch(at, &head)?.map_or(Found::Bad, Found::Batch))
    }

    pub(crate) fn batch_bytes_max(&self) -> u64 {
        self.batch_bytes_max
    }

    /// The valid batch at `at`, whose first bytes are `head`.
    pub(crate) fn batch(&mut self, at: u64, head: &[u8]) -> io::Result<Option<RecordBatch>> {
        let Ok(header) = BatchHeader::parse(head) else { return Ok(None) };
        let len = header.encoded_len() as u64;
        if len > self.batch_bytes_max || len > self.end.saturating_sub(at) {
            return Ok(None);
        }
        Ok(RecordBatch::decode(self.bytes(at, len)?).ok())
    }

    /// The first byte from `from` on that is not zero.
    pub(crate) fn first_nonzero(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at < self.end {
            let bytes = self.bytes(at, WINDOW_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            if let Some(place) = bytes.iter().position(|byte| *byte != 0) {
                return Ok(Some(at + place as u64));
            }
            at += bytes.len() as u64;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use msglog_core::batch::{BatchBuilder, BatchOptions};
    use msglog_core::{Message, Timestamp};

    use super::*;
    use crate::io::{FileSystem, OpenMode, SimFs};

    #[test]
    fn file_that_is_shorter_than_it_was_ends_where_it_does() {
        let file = SimFs::new().open(Path::new("/segment"), OpenMode::CreateNew).unwrap();
        file.write_at(&[io::IoSlice::new(&[7; 100])], 0).unwrap();
        let mut scanner = Scanner::new(file.as_ref(), 1000, 1000);
        assert_eq!(scanner.bytes(90, 50).unwrap(), [7; 10].as_slice());
        assert_eq!(scanner.end(), 100);
    }
    #[test]
    fn batch_that_is_longer_than_the_limit_is_bad() {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        builder.push(Message::new("x"), Timestamp::from_millis(1)).unwrap();
        let bytes = builder.build().unwrap().to_bytes();
        let len = bytes.len() as u64;
        let file = SimFs::new().open(Path::new("/segment"), OpenMode::CreateNew).unwrap();
        file.write_at(&[io::IoSlice::new(&bytes)], 0).unwrap();
        for (bytes_max, taken) in [(len, true), (len - 1, false)] {
            let found = Scanner::new(file.as_ref(), len, bytes_max).at(0).unwrap();
            assert_eq!(matches!(found, Found::Batch(_)), taken, "{found:?}");
        }
    }
}
