//! Surveys segments from some place to their end: what is valid, where bytes are bad, and the last
//! proof that everything before it had been synced.

use std::io;

use msglog_core::{Msn, RecordBatch};

use crate::index::{Index, IndexSums};
use crate::io::File;
use crate::options::FsOptions;
use crate::scan::{Found, Scanner};
use crate::segment::Extent;

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
    /// The last valid batch.
    pub(crate) last: Option<(Place, RecordBatch)>,
    open: Option<(Place, Msn)>,
}

/// Answers the open file of a segment by its first MSN.
pub(crate) type Opener<'a> = dyn Fn(Msn) -> io::Result<std::sync::Arc<dyn File>> + 'a;

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
        for (segment, base) in self.bases.iter().copied().enumerate().skip(start.place.segment) {
            if self.stop.is_some_and(|stop| stop.segment < segment) {
                break;
            }
            let first = segment == start.place.segment;
            let offset = if first { start.place.offset } else { 0 };
            if base < survey.next_msn && !first {
                survey.strays.push(segment);
                let (extent, index) = (Extent::empty(base), Index::new(base));
                survey.segments.push(Surveyed { base, extent, index });
                continue;
            }
            if offset == 0 && base != survey.next_msn && survey.open.is_none() {
                survey.open = Some((if first { start.place } else { end }, survey.next_msn));
            }
            let extent = if first { start.extent } else { Extent::empty(base) };
            let index = Index::behind(base, extent);
            let surveyed = Surveyed { base, extent, index };
            let place = Place { segment, offset };
            let surveyed = self.segment(&mut survey, (place, start.floor), surveyed)?;
            end = Place { segment, offset: surveyed.extent.end };
            survey.segments.push(surveyed);
        }
        if let Some((at, expected)) = survey.open.take() {
            survey.gaps.push(Gap { at, expected, resumes: None });
        }
        Ok(survey)
    }

    fn segment(
        &self,
        survey: &mut Survey,
        (mut place, floor): (Place, Msn),
        mut surveyed: Surveyed,
    ) -> io::Result<Surveyed> {
        let file = (self.open)(surveyed.base)?;
        let len = match self.stop {
            Some(stop) if stop.segment == place.segment => stop.offset,
            _ => file.len()?,
        };
        let mut scanner = Scanner::new(file.as_ref(), len, self.options.batch_bytes_max());
        scanner.trusts_zeros = self.trusts_zeros;
        let limit = self.bases.get(place.segment + 1).copied().unwrap_or(Msn::MAX);
        loop {
            // Behind a gap a segment begins with its own first MSN.
            let range = survey.next_msn.max(surveyed.base)..limit;
            let found = match scanner.at(place.offset)? {
                Found::End => return Ok(surveyed),
                Found::Batch(batch) if batch.base_msn() == range.start => {
                    Some((place.offset, batch))
                }
                _ => {
                    survey.open.get_or_insert((place, survey.next_msn));
                    scanner.next_valid(place.offset, &range)?
                }
            };
            let Some((offset, batch)) = found else { return Ok(surveyed) };
            place.offset = offset;
            let before = surveyed.extent;
            surveyed.extent = surveyed.extent.with(&batch, offset);
            let segment = place.segment;
            if (0..=self.epoch_max).contains(&batch.leader_epoch()) {
                survey.proof = Some(place);
                survey.proven = Some(Proven { segment, extent: before });
            }
            if batch.next_msn() <= floor {
                survey.proven = Some(Proven { segment, extent: surveyed.extent });
            }
            surveyed.index.push(&batch, offset, self.options.index_interval_bytes);
            place = survey.take(batch, place);
        }
    }
}

impl Survey {
    fn take(&mut self, batch: RecordBatch, place: Place) -> Place {
        if let Some((at, expected)) = self.open.take() {
            self.gaps.push(Gap { at, expected, resumes: Some((place, batch.base_msn())) });
        }
        self.next_msn = batch.next_msn();
        let behind = place.offset.saturating_add(batch.encoded_len() as u64);
        self.last = Some((place, batch));
        Place { segment: place.segment, offset: behind }
    }
}
