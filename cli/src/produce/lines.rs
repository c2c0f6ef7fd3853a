//! Lines out of a stream of bytes, many at a time and without copying each.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};

/// How much is asked of the input at once, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Cuts an input into lines: any bytes up to a newline, which is left out.
///
/// Memory is bounded by one read and one line.
#[derive(Debug)]
pub(super) struct Lines<R> {
    input: R,
    buffer: BytesMut,
    /// How far the buffer is known to hold no newline.
    scanned: usize,
    ended: bool,
    limits: LineLimits,
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineLimits {
    /// The most lines of one answer.
    pub(super) lines_max: usize,
    /// An answer ends with the line that reaches this many bytes.
    pub(super) answer_bytes: usize,
    /// The longest line, in bytes.
    pub(super) line_bytes_max: usize,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R, limits: LineLimits) -> Self {
        Self { input, buffer: BytesMut::new(), scanned: 0, ended: false, limits }
    }

    /// The next lines; none at the end of the input.
    ///
    /// Waits only when no whole line is there, so lines that come slowly are not held back. Bytes
    /// after the last newline are a line too.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) for a line beyond the limit.
    pub(super) fn next_lines(&mut self) -> io::Result<Vec<Bytes>> {
        loop {
            let lines = self.take_whole();
            if !lines.is_empty() {
                return Ok(lines);
            }
            if self.buffer.len() > self.limits.line_bytes_max {
                let why = format!("longer than {} bytes", self.limits.line_bytes_max);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if self.ended {
                let rest = std::mem::take(&mut self.buffer).freeze();
                return Ok(if rest.is_empty() { Vec::new() } else { vec![rest] });
            }
            self.fill()?;
        }
    }

    fn take_whole(&mut self) -> Vec<Bytes> {
        let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
        let mut ends = Vec::new();
        for place in memchr::memchr_iter(b'\n', unseen) {
            let end = self.scanned + place;
            ends.push(end);
            if ends.len() >= self.limits.lines_max || end >= self.limits.answer_bytes {
                break;
            }
        }
        let Some(last) = ends.last() else {
            self.scanned = self.buffer.len();
            return Vec::new();
        };
        let whole = self.buffer.split_to(last + 1).freeze();
        self.scanned = 0;
        let mut start = 0;
        let line = |end| whole.slice(std::mem::replace(&mut start, end + 1)..end);
        ends.into_iter().map(line).collect()
    }

    fn fill(&mut self) -> io::Result<()> {
        let kept = self.buffer.len();
        self.buffer.resize(kept + READ_BYTES, 0);
        let read = loop {
            match self.input.read(self.buffer.get_mut(kept..).unwrap_or_default()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        self.ended = read? == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LineLimits =
        LineLimits { lines_max: 3, answer_bytes: 1 << 20, line_bytes_max: 1 << 20 };

    /// Answers a few bytes at a time, as a slow pipe does.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    fn all_lines(input: impl Read, limits: LineLimits) -> io::Result<Vec<Bytes>> {
        let mut lines = Lines::new(input, limits);
        let mut all = Vec::new();
        loop {
            let next = lines.next_lines()?;
            assert!(next.len() <= limits.lines_max);
            if next.is_empty() {
                return Ok(all);
            }
            all.extend(next);
        }
    }

    #[test]
    fn lines_are_the_bytes_between_newlines_however_they_arrive() {
        let input = b"one\n\n\r\ntwo\xff\x00\r\n\n\nlast";
        let expected: [&[u8]; 7] = [b"one", b"", b"\r", b"two\xff\x00\r", b"", b"", b"last"];
        for step in 1..=input.len() {
            assert_eq!(all_lines(Drip(input, step), LIMITS).unwrap(), expected, "step {step}");
        }
    }

    #[test]
    fn newline_at_the_end_starts_no_line() {
        assert_eq!(all_lines(&b"a\n"[..], LIMITS).unwrap(), ["a"]);
        assert_eq!(all_lines(&b"\n"[..], LIMITS).unwrap(), [""]);
        assert!(all_lines(&b""[..], LIMITS).unwrap().is_empty());
    }

    #[test]
    fn line_beyond_the_limit_is_an_error_without_being_read_whole() {
        let limits = LineLimits { line_bytes_max: 1000, ..LIMITS };
        let error = all_lines(io::repeat(b'x'), limits).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn answer_ends_with_the_line_that_reaches_its_bytes() {
        let limits = LineLimits { lines_max: 100, answer_bytes: 4, ..LIMITS };
        let mut lines = Lines::new(&b"aa\nbb\ncc\n"[..], limits);
        assert_eq!(lines.next_lines().unwrap(), ["aa", "bb"]);
        assert_eq!(lines.next_lines().unwrap(), ["cc"]);
    }
}
