//! Finds the next real batch behind bad bytes.
//!
//! A payload may itself be a valid record batch, of this very partition even. What tells a stored
//! batch from one inside a payload is what follows it: stored batches continue each other up to the
//! end of the segment or to the next damage, while behind a payload comes the rest of its record.

use std::io;
use std::ops::Range;

use msglog_core::batch::{HEADER_BYTES, NO_EPOCH};
use msglog_core::{Msn, RecordBatch};

use crate::scan::{Found, Scanner, WINDOW_BYTES};

/// Bytes of a batch up to and with its magic: what the search looks at first.
const PREFIX_BYTES: usize = 17;
/// Bytes that the length field of a batch does not count.
const LENGTH_START: u64 = 12;
/// Where the length field of a batch lies.
const LENGTH_FIELD: Range<usize> = 8..12;
/// How many MSNs damage can cost at most; a candidate further ahead is chance.
const LOST_MSNS_MAX: u64 = 1 << 40;
/// A batch ends in fewer zeros than this that are its own: the end of a record has few.
const ZEROS_OF_BATCH_MAX: u64 = 16;

/// The fields of what may be a damaged header.
#[derive(Clone, Copy, Debug)]
struct Remains {
    len: u64,
    next: u64,
    /// How many fields cannot be those of a batch of this log that begins at the expected MSN.
    wrong: u32,
}

impl Remains {
    fn of(head: &[u8], expected: Msn, len_max: u64) -> Option<Self> {
        let head = head.first_chunk::<HEADER_BYTES>()?;
        let (base, rest) = head.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let ([magic], rest) = rest.split_first_chunk::<1>()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let ([attributes, _], rest) = rest.split_first_chunk::<2>()?;
        let (delta, _) = rest.split_first_chunk::<4>()?;
        let (base, delta) = (u64::from_be_bytes(*base), u32::from_be_bytes(*delta));
        let len = u64::from(u32::from_be_bytes(*length)).saturating_add(LENGTH_START);
        let wrong = [
            base != expected.get(),
            len < HEADER_BYTES as u64 || len > len_max,
            i32::from_be_bytes(*epoch) < NO_EPOCH,
            *magic != 2,
            *attributes != 0,
            delta > i32::MAX.cast_unsigned(),
        ];
        let wrong = wrong.into_iter().map(u32::from).sum();
        let next = expected.get().saturating_add(u64::from(delta)).saturating_add(1);
        Some(Self { len, next, wrong })
    }

    /// Whether a batch that begins at the expected MSN was here: damage has changed one field.
    fn is_header(&self) -> bool {
        self.wrong <= 1
    }
}

/// Valid batches, each of which continues the one before.
#[derive(Clone, Copy, Debug)]
struct Chain {
    end: u64,
    batches: u64,
    /// Behind it comes what comes behind stored batches: the end, or the remains of the next one.
    joins: bool,
}

impl Scanner<'_> {
    /// The next valid batch behind bad bytes at `bad`, whose MSNs lie in `range`.
    ///
    /// A batch of the first MSN of `range` is not looked for: the bad bytes were at least one.
    pub(crate) fn next_valid(
        &mut self,
        bad: u64,
        range: &Range<Msn>,
    ) -> io::Result<Option<(u64, RecordBatch)>> {
        let range = range.start.plus(1)..range.end;
        let head = self.bytes(bad, HEADER_BYTES as u64)?;
        let expected = Msn::new(range.start.get() - 1);
        let remains = Remains::of(&head, expected, self.batch_bytes_max());
        let remains = remains.filter(Remains::is_header);
        if let Some(remains) = remains {
            let behind = bad.saturating_add(remains.len);
            if let Some(batch) = self.candidate(behind, &range)? {
                let continues = batch.base_msn().get() == remains.next;
                if continues || self.is_stored(behind, &batch, range.end)? {
                    return Ok(Some((behind, batch)));
                }
            }
            if self.ends_at(behind)? || self.is_last(bad)? {
                return Ok(None);
            }
        }
        self.search(bad, &range, remains)
    }

    /// Whether what follows a batch speaks for it, at the place where the damage should end.
    fn is_stored(&mut self, place: u64, batch: &RecordBatch, limit: Msn) -> io::Result<bool> {
        let chain = self.chain(place, batch, limit)?;
        Ok(chain.joins || chain.batches > 1)
    }

    /// Looks at every offset behind `bad` for a batch that is not one inside a payload.
    fn search(
        &mut self,
        bad: u64,
        range: &Range<Msn>,
        remains: Option<Remains>,
    ) -> io::Result<Option<(u64, RecordBatch)>> {
        let mut longest: Option<(u64, u64, RecordBatch)> = None;
        let mut at = bad.saturating_add(1);
        while let Some((place, batch)) = self.next_candidate(at, range)? {
            let chain = self.chain(place, &batch, range.end)?;
            at = chain.end;
            if let Some(remains) = remains {
                let continues = batch.base_msn().get() == remains.next;
                if continues && self.is_whole(bad, place - bad)? {
                    return Ok(Some((place, batch)));
                }
                let is_length = remains.len <= self.batch_bytes_max();
                if is_length && place < bad.saturating_add(remains.len) {
                    continue;
                }
            }
            if chain.joins {
                return Ok(Some((place, batch)));
            }
            let len = chain.end - place;
            // No batch fits behind it: that is the rest of a record.
            let ends = self.end().saturating_sub(chain.end) < HEADER_BYTES as u64;
            if chain.batches > 1
                && !ends
                && longest.as_ref().is_none_or(|(_, longest, _)| *longest < len)
            {
                longest = Some((place, len, batch));
            }
        }
        Ok(longest.map(|(place, _, batch)| (place, batch)))
    }

    /// Whether the batch at `bad` is whole but for its length field, which should say `len`.
    fn is_whole(&mut self, bad: u64, len: u64) -> io::Result<bool> {
        let fits = len >= HEADER_BYTES as u64 && len <= self.batch_bytes_max();
        let Ok(length) = u32::try_from(len.saturating_sub(LENGTH_START)) else { return Ok(false) };
        if !fits {
            return Ok(false);
        }
        let mut bytes = self.bytes(bad, len)?.to_vec();
        if let Some(field) = bytes.get_mut(LENGTH_FIELD) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        Ok(RecordBatch::decode(bytes.into()).is_ok())
    }

    /// Whether the batch at `bad` is whole but for its length field, and the last one.
    fn is_last(&mut self, bad: u64) -> io::Result<bool> {
        let Some(end) = self.last_nonzero(bad)? else { return Ok(false) };
        for end in end..end.saturating_add(ZEROS_OF_BATCH_MAX).min(self.end()) {
            if self.is_whole(bad, end + 1 - bad)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The last byte from `from` on that is not zero, unless it is further than a batch reaches.
    fn last_nonzero(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut last = None;
        let mut at = from;
        while let Some(place) = self.first_nonzero(at)? {
            if place.saturating_sub(from) >= self.batch_bytes_max() {
                return Ok(None);
            }
            let bytes = self.bytes(place, WINDOW_BYTES)?;
            let rest = bytes.iter().rposition(|byte| *byte != 0).unwrap_or_default() as u64;
            last = Some(place + rest);
            at = place + bytes.len().max(1) as u64;
        }
        Ok(last)
    }

    /// Whether what was written ends where the damaged batch says that it does itself.
    fn ends_at(&mut self, behind: u64) -> io::Result<bool> {
        if behind > self.end() || self.first_nonzero(behind)?.is_some() {
            return Ok(false);
        }
        let last = behind.saturating_sub(ZEROS_OF_BATCH_MAX);
        let last = self.bytes(last, ZEROS_OF_BATCH_MAX)?;
        Ok(last.iter().any(|byte| *byte != 0))
    }

    /// Follows the batches from a candidate on, as long as each continues the one before.
    fn chain(&mut self, place: u64, first: &RecordBatch, limit: Msn) -> io::Result<Chain> {
        let mut end = place.saturating_add(first.encoded_len() as u64);
        let (mut next, mut batches) = (first.next_msn(), 1);
        loop {
            match self.at(end)? {
                Found::Batch(batch) if batch.base_msn() == next && batch.next_msn() <= limit => {
                    end = end.saturating_add(batch.encoded_len() as u64);
                    (next, batches) = (batch.next_msn(), batches + 1);
                }
                Found::End => {
                    // One zero is how the record of a payload ends; a runway has more of them.
                    let joins = self.end().saturating_sub(end) != 1;
                    return Ok(Chain { end, batches, joins });
                }
                // One of the two has another MSN than it was given; more than one are believed.
                Found::Batch(_) => return Ok(Chain { end, batches, joins: batches > 1 }),
                Found::Bad => {
                    let head = self.bytes(end, HEADER_BYTES as u64)?;
                    let remains = Remains::of(&head, next, self.batch_bytes_max());
                    let joins = remains.is_some_and(|remains| remains.is_header());
                    return Ok(Chain { end, batches, joins });
                }
            }
        }
    }

    /// The first valid batch at or behind `from` whose MSNs lie in `range`.
    fn next_candidate(
        &mut self,
        from: u64,
        range: &Range<Msn>,
    ) -> io::Result<Option<(u64, RecordBatch)>> {
        let mut at = from;
        while at.saturating_add(HEADER_BYTES as u64) <= self.end() {
            let window = self.bytes(at, WINDOW_BYTES)?;
            let starts = window.len().saturating_sub(PREFIX_BYTES - 1);
            for start in 0..starts {
                // The magic first: it rules out nearly every offset at the cost of one byte.
                if window.get(start + PREFIX_BYTES - 1) != Some(&2) {
                    continue;
                }
                let place = at + start as u64;
                let head = window.get(start..).unwrap_or_default();
                if self.plausible(place, head, range)
                    && let Some(batch) = self.candidate(place, range)?
                {
                    return Ok(Some((place, batch)));
                }
            }
            if starts == 0 {
                break;
            }
            at += starts as u64;
        }
        Ok(None)
    }

    /// Whether the first bytes can begin a batch that the caller waits for.
    fn plausible(&self, place: u64, head: &[u8], range: &Range<Msn>) -> bool {
        let Some((base, rest)) = head.split_first_chunk::<8>() else { return false };
        let Some((length, _)) = rest.split_first_chunk::<4>() else { return false };
        let (base, length) = (u64::from_be_bytes(*base), u64::from(u32::from_be_bytes(*length)));
        let len = length.saturating_add(LENGTH_START);
        base >= range.start.get()
            && base < range.end.get()
            && len >= HEADER_BYTES as u64
            && len <= self.batch_bytes_max()
            && len <= self.end().saturating_sub(place)
    }

    fn candidate(&mut self, place: u64, range: &Range<Msn>) -> io::Result<Option<RecordBatch>> {
        let head = self.bytes(place, HEADER_BYTES as u64)?;
        let far = range.start.plus(LOST_MSNS_MAX);
        Ok(self.batch(place, &head)?.filter(|batch| {
            let base = batch.base_msn();
            base >= range.start && batch.next_msn() <= range.end && base <= far
        }))
    }
}

#[cfg(test)]
mod tests;
