//! Reads batches from a partition: one read of a file, sliced into batches without copying.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use msglog_core::batch::{BatchHeader, HEADER_BYTES};
use msglog_core::store::ReadLimit;
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp};

use crate::filler::is_filler;
use crate::io::{File, read_full};
use crate::log::{Hint, Log, holding};
use crate::scan::Scanner;
use crate::segment::Segment;

/// The most bytes that one read of a file takes, unless a single batch is larger.
const READ_BYTES_MAX: u64 = 8 << 20;
/// The fewest bytes that one read of a file takes.
const READ_BYTES_MIN: u64 = 4 << 10;

/// The most bytes that are read and checked where nothing may block: a batch of 1 MiB, which takes
/// less than 100 us.
pub(crate) const AT_ONCE_BYTES_MAX: u64 = 1100 << 10;

/// What a reader does next.
enum Step {
    /// These batches, the last of which ends at this offset.
    Batches(Vec<RecordBatch>, u64),
    /// The segment holds nothing more at or after the MSN.
    Exhausted,
}

/// One read: where it is, and what it looks for.
struct Cursor<'a> {
    log: &'a Log,
    segment: &'a Arc<Segment>,
    file: Arc<dyn File>,
    /// Whether only what is in memory is read.
    cached: bool,
    /// Whether bad bytes may come from another process that has replaced the segment.
    doubts: bool,
    from: Msn,
    offset: u64,
    /// The MSN at `offset` where it is known.
    expected: Option<Msn>,
    /// The end of what may be read.
    end: u64,
    /// How long the batch at the offset probably is; 0 when nothing is known.
    guess: u64,
}

impl Log {
    /// Whole batches from the one that holds `from`, or the next one there is.
    pub(crate) fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        self.read_doubting(from, limit, false)
    }

    /// As [`read`](Self::read); with `doubts`, bytes that are no batch are no damage yet, but a
    /// segment that is not found.
    pub(crate) fn read_doubting(
        &self,
        from: Msn,
        limit: ReadLimit,
        doubts: bool,
    ) -> Result<Vec<RecordBatch>> {
        self.usable()?;
        let bounds = self.bounds();
        let from = from.max(bounds.first_msn);
        if from >= bounds.next_msn {
            return Ok(Vec::new());
        }
        let segments = self.segments();
        for segment in holding(&segments, from) {
            let step = self.read_segment(segment, from, limit, doubts)?;
            if let Step::Batches(batches, end) = step {
                if let Some(last) = batches.last() {
                    self.set_hint(from, Hint::behind(last, segment, end));
                }
                return Ok(batches);
            }
        }
        Ok(Vec::new())
    }

    /// As [`read`](Self::read), if that takes little and no device has to be waited for; so it may
    /// be called where nothing may block.
    pub(crate) fn read_at_once(
        &self,
        from: Msn,
        limit: ReadLimit,
    ) -> Result<Option<Vec<RecordBatch>>> {
        self.usable()?;
        let bounds = self.bounds();
        let from = from.max(bounds.first_msn);
        if from >= bounds.next_msn {
            return Ok(Some(Vec::new()));
        }
        let segments = self.segments();
        let Some(segment) = holding(&segments, from).next() else { return Ok(None) };
        let Some(mut cursor) = self.cached_cursor(segment, from) else { return Ok(None) };
        // Whatever is wrong here is found again, and said, where it may be waited for.
        let batches = cursor.take(limit).unwrap_or_default();
        let Some(last) = batches.last() else { return Ok(None) };
        self.set_hint(from, Hint::behind(last, segment, cursor.offset));
        Ok(Some(batches))
    }

    /// A cursor at `from` that reads only what is in memory.
    fn cached_cursor<'a>(&'a self, segment: &'a Arc<Segment>, from: Msn) -> Option<Cursor<'a>> {
        let file = self.files.open_file(segment)?;
        let hint = self.hint(from, segment);
        let offset =
            hint.map_or_else(|| segment.known_offset_for(from), |hint| Some(hint.offset))?;
        let mut cursor = Cursor::new(self, segment, file, (from, offset), hint);
        cursor.cached = true;
        Some(cursor)
    }

    fn read_segment(
        &self,
        segment: &Arc<Segment>,
        from: Msn,
        limit: ReadLimit,
        doubts: bool,
    ) -> Result<Step> {
        let failed = |cause| self.failed("read", cause);
        let file = self.files.file(segment).map_err(failed)?;
        let hint = self.hint(from, segment);
        let offset = match hint {
            Some(hint) => hint.offset,
            None => segment.offset_for(from, &self.files, segment).map_err(failed)?,
        };
        let mut cursor = Cursor::new(self, segment, file, (from, offset), hint);
        cursor.doubts = doubts;
        while cursor.offset < cursor.end {
            let batches = cursor.take(limit).map_err(failed)?;
            if !batches.is_empty() {
                return Ok(Step::Batches(batches, cursor.offset));
            }
            cursor.pass_damage()?;
        }
        Ok(Step::Exhausted)
    }

    /// The MSN of the first batch whose newest record is at or after `timestamp`, or the end.
    pub(crate) fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        self.usable()?;
        let bounds = self.bounds();
        let segments = self.segments();
        let newest = timestamp.as_millis();
        let Some(segment) =
            segments.iter().find(|segment| segment.extent().max_timestamp >= newest)
        else {
            return Ok(bounds.next_msn);
        };
        let start = segment.msn_for(newest, &self.files, segment);
        let mut from = start.map_err(|cause| self.failed("search", cause))?;
        loop {
            let batches = self.read(from, ReadLimit::default())?;
            let Some(last) = batches.last() else { return Ok(bounds.next_msn) };
            from = last.next_msn();
            if let Some(batch) = batches.iter().find(|batch| batch.max_timestamp() >= timestamp) {
                return Ok(batch.base_msn());
            }
        }
    }
}

impl<'a> Cursor<'a> {
    fn new(
        log: &'a Log,
        segment: &'a Arc<Segment>,
        file: Arc<dyn File>,
        (from, offset): (Msn, u64),
        hint: Option<Hint>,
    ) -> Self {
        let expected = if offset == 0 { Some(segment.base) } else { hint.map(|_| from) };
        let (end, guess) = (segment.extent().end, hint.map_or(0, |hint| hint.batch_bytes));
        let (cached, doubts) = (false, false);
        Self { log, segment, file, cached, doubts, from, offset, expected, end, guess }
    }

    /// The batches at the offset, up to the limit or to bad bytes; moves behind what it has looked
    /// at. Empty only at the end or in front of bad bytes.
    fn take(&mut self, limit: ReadLimit) -> io::Result<Vec<RecordBatch>> {
        let wanted =
            (limit.bytes as u64).saturating_add(self.log.files.options.index_interval_bytes);
        let wanted = wanted.clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        let mut want = wanted.max(self.guess);
        let (start, mut hops) = ((self.offset, self.expected), true);
        let mut batches = Vec::new();
        while batches.is_empty() && self.offset < self.end {
            let chunk = self.chunk(want)?;
            match self.take_from(&chunk, limit, &mut batches) {
                Split::Cut(len, msns) if batches.is_empty() && self.fits(len) => {
                    // A large batch in front of the one looked for is not worth its reading.
                    match msns.filter(|msns| hops && msns.end <= self.from && self.follows(msns)) {
                        Some(msns) => {
                            self.offset = self.offset.saturating_add(len);
                            self.expected = Some(msns.end);
                            want = wanted.max(len.saturating_add(HEADER_BYTES as u64));
                        }
                        None => want = want.max(len),
                    }
                }
                Split::Cut(..) | Split::Bad if batches.is_empty() => {
                    if !hops || (self.offset, self.expected) == start {
                        break;
                    }
                    // Nobody has checked what was hopped over: look again from the start.
                    ((self.offset, self.expected), hops) = (start, false);
                }
                _ => {}
            }
        }
        Ok(batches)
    }

    /// Adds the batches of a chunk; moves behind what it has looked at; answers what stopped it.
    fn take_from(
        &mut self,
        chunk: &Bytes,
        limit: ReadLimit,
        batches: &mut Vec<RecordBatch>,
    ) -> Split {
        let (mut at, before, mut taken) = (0, self.offset, 0_usize);
        loop {
            let (batch, len) = match split(chunk, at) {
                Split::Batch(batch, len) => (batch, len),
                other => return other,
            };
            let msns = batch.base_msn()..batch.next_msn();
            if !self.follows(&msns) {
                return Split::Bad;
            }
            if msns.end > self.from && !is_filler(&batch) {
                if !batches.is_empty() && taken.saturating_add(len) > limit.bytes {
                    return Split::Enough;
                }
                taken = taken.saturating_add(len);
                batches.push(batch);
            }
            self.expected = Some(msns.end);
            at += len;
            self.offset = before.saturating_add(at as u64);
        }
    }

    /// Whether these can be the MSNs of the batch at the offset.
    fn follows(&self, msns: &Range<Msn>) -> bool {
        // An index leads in front of what is looked for, or is that of another segment.
        self.expected.map_or(msns.start <= self.from, |expected| expected == msns.start)
    }

    /// Whether a batch of this length can lie at the offset.
    fn fits(&self, len: u64) -> bool {
        len <= self.log.files.options.batch_bytes_max()
            && len <= self.end.saturating_sub(self.offset)
    }

    fn chunk(&self, want: u64) -> io::Result<Bytes> {
        let len = want.min(self.end.saturating_sub(self.offset));
        if self.cached && len > AT_ONCE_BYTES_MAX {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = |buffer: &mut [u8]| match self.cached {
            true => self.file.read_cached_at(buffer, self.offset),
            false => read_full(self.file.as_ref(), buffer, self.offset),
        };
        let chunk =
            self.log.files.buffers.fill(usize::try_from(len).unwrap_or(usize::MAX), read)?;
        if (chunk.len() as u64) < len {
            // A follower looks again at what its writer has taken back.
            let why = "the segment is shorter than what was known of it";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(chunk)
    }

    /// Goes on behind bad bytes: at the next valid batch, or at the end of the segment.
    fn pass_damage(&mut self) -> Result<()> {
        if self.offset >= self.end {
            return Ok(());
        }
        let (id, bad) = (self.segment.id, self.offset);
        if let Some((target, resumes)) = self.log.skip(id, bad) {
            (self.offset, self.expected) = (target, Some(resumes));
            return Ok(());
        }
        let Some(expected) = self.expected else {
            // The index led here, and it is no evidence: look again from the front.
            (self.offset, self.expected) = (0, Some(self.segment.base));
            return Ok(());
        };
        if self.doubts {
            let why = "the segment holds something else than what was known of it";
            let cause = io::Error::new(io::ErrorKind::NotFound, why);
            return Err(self.log.failed("read", cause));
        }
        let next_msn = self.segment.extent().next_msn;
        let mut scanner =
            Scanner::new(self.file.as_ref(), self.end, self.log.files.options.batch_bytes_max());
        let found = scanner.next_valid(bad, &(expected..next_msn));
        let found = found.map_err(|cause| self.log.failed("read", cause))?;
        let (target, resumes) = match &found {
            Some((offset, batch)) => (*offset, batch.base_msn()),
            None => (self.end, next_msn),
        };
        if self.log.add_hole(expected..resumes) {
            let (start, end) = (expected.get(), resumes.get());
            let segment = self.segment.path.display();
            tracing::error!(%segment, offset = bad, start, end, "stored records are damaged");
        }
        if self.log.files.options.strict {
            let path = self.segment.path.display();
            let why = format!("{path} is damaged at offset {bad}: MSNs {expected}..{resumes}");
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        self.log.set_skip(id, bad, (target, resumes));
        (self.offset, self.expected) = (target, Some(resumes));
        Ok(())
    }
}

/// What lies in a chunk at some place.
enum Split {
    /// A checked batch and its length.
    Batch(RecordBatch, usize),
    /// The beginning of a batch of this length and these MSNs, as far as can be told.
    Cut(u64, Option<Range<Msn>>),
    /// No batch.
    Bad,
    /// The limit is reached.
    Enough,
}

fn split(chunk: &Bytes, at: usize) -> Split {
    let rest = chunk.get(at..).unwrap_or_default();
    if rest.len() < HEADER_BYTES {
        return Split::Cut(HEADER_BYTES as u64, None);
    }
    let Ok(header) = BatchHeader::parse(rest) else { return Split::Bad };
    let len = header.encoded_len();
    if len > rest.len() {
        return Split::Cut(len as u64, Some(header.base_msn()..header.next_msn()));
    }
    match RecordBatch::decode(chunk.slice(at..at + len)) {
        Ok(batch) => Split::Batch(batch, len),
        Err(_) => Split::Bad,
    }
}
