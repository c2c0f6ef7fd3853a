//! Surveys segments from some place to their end: what is valid, where bytes are bad, and the last
//! proof that everything before it had been synced.

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use msglog_core::batch::{BatchHeader, HEADER_BYTES};
use msglog_core::{Msn, RecordBatch};

use crate::blocking::lock;
use crate::index::{Index, IndexSums};
use crate::io::File;
use crate::options::FsOptions;
use crate::scan::{Found, Scanner};
use crate::segment::Extent;
use crate::walk::walk;

/// Segments that may be larger than this are worth a thread.
const AHEAD_FROM_BYTES: u64 = 8 << 20;
/// The most threads of a survey: as many saturate the memory.
const AHEAD_THREADS_MAX: usize = 4;

/// A place in a list of segments.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    /// Which segment of the list.
    pub(crate) segment: usize,
    /// Where in it.
    pub(crate) offset: u64,
}

/// Bytes or whole segments in which no batch was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Gap {
    /// Where the batch of MSN `expected` should have been.
    pub(crate) at: Place,
    /// The MSN looked for.
    pub(crate) expected: Msn,
    /// The next valid batch: its place and first MSN.
    pub(crate) resumes: Option<(Place, Msn)>,
}

/// Where a survey starts, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) place: Place,
    /// The MSN of the first batch there.
    pub(crate) expected: Msn,
    /// How far the segment there is filled before it.
    pub(crate) extent: Extent,
    /// The checksums of its index files.
    pub(crate) sums: IndexSums,
    /// Everything below this MSN was synced.
    pub(crate) floor: Msn,
}

/// How far everything is proven to be synced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proven {
    /// Which segment of the list.
    pub(crate) segment: usize,
    /// How far it is filled with what was synced.
    pub(crate) extent: Extent,
}

/// What was found in one segment.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    pub(crate) base: Msn,
    pub(crate) extent: Extent,
    pub(crate) index: Index,
    /// Where the last batch with an epoch of this log lies.
    proof: Option<u64>,
    /// How far all of it is proven to be synced.
    proven: Option<Extent>,
    /// Where the last batch lies, and how it begins.
    last: Option<(u64, Head)>,
}

/// The first bytes of a batch.
pub(crate) type Head = [u8; HEADER_BYTES];

/// What a survey goes by, in every segment.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) options: &'a FsOptions,
    /// The highest epoch that this log has had.
    pub(crate) epoch_max: i32,
    /// Everything below this MSN was synced.
    pub(crate) floor: Msn,
}

impl Surveyed {
    /// A segment of which nothing is known behind `extent`.
    pub(crate) fn behind(base: Msn, extent: Extent) -> Self {
        let index = Index::behind(base, extent);
        Self { base, extent, index, proof: None, proven: None, last: None }
    }

    /// Takes note of the valid batch at `offset`.
    pub(crate) fn take(&mut self, batch: &BatchHeader, head: Head, offset: u64, rules: Rules<'_>) {
        let before = self.extent;
        self.extent = before.with(batch, offset);
        self.index.push(batch, offset, rules.options.index_interval_bytes);
        if (0..=rules.epoch_max).contains(&batch.leader_epoch()) {
            (self.proof, self.proven) = (Some(offset), Some(before));
        }
        if batch.next_msn() <= rules.floor {
            self.proven = Some(self.extent);
        }
        self.last = Some((offset, head));
    }
}

/// What was found in all.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// By place in the list, from the one at which the survey started.
    pub(crate) segments: Vec<Surveyed>,
    /// In order.
    pub(crate) gaps: Vec<Gap>,
    /// Segments whose first MSN lies within an earlier one: no file of this log.
    pub(crate) strays: Vec<usize>,
    /// The last batch with an epoch of this log.
    pub(crate) proof: Option<Place>,
    /// How far this proof and the floor reach; `None` where that is the start.
    pub(crate) proven: Option<Proven>,
    /// The MSN after the last valid batch.
    pub(crate) next_msn: Msn,
    /// The last valid batch: where it lies, and how it begins.
    pub(crate) last: Option<(Place, Head)>,
    open: Option<(Place, Msn)>,
}

/// Answers the open file of a segment by its first MSN.
pub(crate) type Opener<'a> = dyn Fn(Msn) -> io::Result<std::sync::Arc<dyn File>> + Sync + 'a;

/// What a survey works with.
pub(crate) struct Surveyor<'a> {
    /// The first MSNs of all segments, rising.
    pub(crate) bases: &'a [Msn],
    pub(crate) open: &'a Opener<'a>,
    pub(crate) options: &'a FsOptions,
    /// The highest epoch that this log has had.
    pub(crate) epoch_max: i32,
    /// Where to stop before the end.
    pub(crate) stop: Option<Place>,
    /// Take a header of zeros for the end without reading what is behind.
    pub(crate) trusts_zeros: bool,
}

impl Surveyor<'_> {
    /// Surveys from `start` to the end of the last segment.
    pub(crate) fn run(&self, start: Start) -> io::Result<Survey> {
        let mut survey = Survey { next_msn: start.expected, ..Survey::default() };
        let mut end = start.place;
        let Self { options, epoch_max, .. } = *self;
        let rules = Rules { options, epoch_max, floor: start.floor };
        let mut ahead = self.walk_ahead(start, rules);
        for (segment, base) in self.bases.iter().copied().enumerate().skip(start.place.segment) {
            if self.stop.is_some_and(|stop| stop.segment < segment) {
                break;
            }
            let walked = ahead.pop_front().flatten();
            let first = segment == start.place.segment;
            let offset = if first { start.place.offset } else { 0 };
            if base < survey.next_msn && !first {
                survey.strays.push(segment);
                survey.segments.push(Surveyed::behind(base, Extent::empty(base)));
                continue;
            }
            if offset == 0 && base != survey.next_msn && survey.open.is_none() {
                survey.open = Some((if first { start.place } else { end }, survey.next_msn));
            }
            let begun = match walked {
                Some(walked) if survey.open.is_none() => walked,
                _ => {
                    let extent = if first { start.extent } else { Extent::empty(base) };
                    (offset, Surveyed::behind(base, extent))
                }
            };
            let surveyed = self.segment(&mut survey, segment, begun, rules)?;
            end = Place { segment, offset: surveyed.extent.end };
            survey.take(segment, surveyed);
        }
        if let Some((at, expected)) = survey.open.take() {
            survey.gaps.push(Gap { at, expected, resumes: None });
        }
        Ok(survey)
    }

    /// Walks over the segments at once that there are: what reading one of them takes is mostly
    /// waiting for memory. Where that ends, or fails, the survey goes on by itself.
    fn walk_ahead(&self, start: Start, rules: Rules<'_>) -> VecDeque<Option<(u64, Surveyed)>> {
        let from = start.place.segment;
        let count = self.bases.len().saturating_sub(from);
        let large = self.options.segment_bytes >= AHEAD_FROM_BYTES;
        if count < 2 || !large || !self.options.background || self.stop.is_some() {
            return VecDeque::new();
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicUsize::new(0);
        let walked = Mutex::new(VecDeque::from(vec![None; count]));
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(base) = self.bases.get(from + number) else { return };
                let extent = if number == 0 { start.extent } else { Extent::empty(*base) };
                let expected = if number == 0 { start.expected } else { *base };
                let offset = if number == 0 { start.place.offset } else { 0 };
                let mut surveyed = Surveyed::behind(*base, extent);
                let walk = (self.open)(*base).and_then(|file| {
                    let range = (offset, file.len()?);
                    walk(file.as_ref(), range, expected, &mut surveyed, rules)
                });
                let found = walk.ok().map(|offset| (offset, surveyed));
                if let Some(slot) = lock(&walked).get_mut(number) {
                    *slot = found;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(count).min(AHEAD_THREADS_MAX) {
                scope.spawn(work);
            }
            work();
        });
        walked.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment(
        &self,
        survey: &mut Survey,
        segment: usize,
        (mut offset, mut surveyed): (u64, Surveyed),
        rules: Rules<'_>,
    ) -> io::Result<Surveyed> {
        let file = (self.open)(surveyed.base)?;
        let len = match self.stop {
            Some(stop) if stop.segment == segment => stop.offset,
            _ => file.len()?,
        };
        let mut scanner = Scanner::new(file.as_ref(), len, self.options.batch_bytes_max());
        scanner.trusts_zeros = self.trusts_zeros;
        let limit = self.bases.get(segment + 1).copied().unwrap_or(Msn::MAX);
        loop {
            if survey.open.is_none() {
                survey.next_msn = survey.next_msn.max(surveyed.extent.next_msn);
                offset = walk(file.as_ref(), (offset, len), survey.next_msn, &mut surveyed, rules)?;
                survey.next_msn = survey.next_msn.max(surveyed.extent.next_msn);
            }
            let place = Place { segment, offset };
            // Behind a gap a segment begins with its own first MSN.
            let range = survey.next_msn.max(surveyed.base)..limit;
            let found = match scanner.at(offset)? {
                Found::End => return Ok(surveyed),
                Found::Batch(batch) if batch.base_msn() == range.start => Some((offset, batch)),
                _ => {
                    survey.open.get_or_insert((place, survey.next_msn));
                    scanner.next_valid(offset, &range)?
                }
            };
            let Some((at, batch)) = found else { return Ok(surveyed) };
            survey.resume(Place { segment, offset: at }, &batch);
            surveyed.take(batch.header(), head_of(&batch), at, rules);
            offset = surveyed.extent.end;
        }
    }
}

impl Survey {
    /// A valid batch follows, maybe behind a gap.
    fn resume(&mut self, place: Place, batch: &RecordBatch) {
        if let Some((at, expected)) = self.open.take() {
            self.gaps.push(Gap { at, expected, resumes: Some((place, batch.base_msn())) });
        }
        self.next_msn = batch.next_msn();
    }

    /// Takes over what was found in a segment.
    fn take(&mut self, segment: usize, surveyed: Surveyed) {
        let place = |offset| Place { segment, offset };
        self.proof = surveyed.proof.map(place).or(self.proof);
        self.proven = surveyed.proven.map(|extent| Proven { segment, extent }).or(self.proven);
        self.last = surveyed.last.map(|(offset, head)| (place(offset), head)).or(self.last);
        self.segments.push(surveyed);
    }
}

fn head_of(batch: &RecordBatch) -> Head {
    let mut head = [0; HEADER_BYTES];
    let bytes = batch.prefix().into_iter().chain(batch.rest().iter().copied());
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    head
}
