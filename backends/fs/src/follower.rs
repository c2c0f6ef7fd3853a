//! The reading side of a partition whose writer is elsewhere: follows it by its files alone.
//!
//! At the end, bytes that are no batch mean "end for now": they are being written. Only a later
//! batch with an epoch of this log proves that they had been synced and are damaged.

use std::io;
use std::sync::{Arc, Mutex};

use msglog_core::batch::HEADER_BYTES;
use msglog_core::store::{Bounds, ReadLimit};
use msglog_core::{Error, Msn, RecordBatch, Result};

use crate::blocking::lock;
use crate::io::{OpenMode, read_full};
use crate::layout::segment_name;
use crate::log::Log;
use crate::manifest::Manifest;
use crate::opening::{Opened, Opening, Plan, segment_bases};
use crate::recovery::{Judgement, judge};
use crate::segment::Segment;
use crate::survey::{Place, Start, Survey};

/// How often a look is repeated because the writer has changed files meanwhile.
const LOOKS_MAX: usize = 20;

/// The reading side of one partition.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) log: Arc<Log>,
    root: std::path::PathBuf,
    /// The last batch seen: its segment, its offset and its first bytes.
    last: Mutex<Option<Last>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Last {
    base: Msn,
    offset: u64,
    head: Vec<u8>,
}

/// What one look has found.
struct Look {
    survey: Survey,
    judged: Judgement,
}

fn vanished(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

impl Follower {
    /// Looks at a partition for the first time.
    pub(crate) fn open(opening: &Opening<'_>, root: &std::path::Path) -> Result<Self> {
        let (opened, last) = first_look(opening)?;
        let log = Log::new(opening.dir.to_owned(), Arc::clone(opening.files), opened);
        Ok(Self { log: Arc::new(log), root: root.to_owned(), last: Mutex::new(last) })
    }

    /// Looks what the writer has done since.
    pub(crate) fn refresh(&self) -> Result<Bounds> {
        self.log.usable()?;
        let mut last = lock(&self.last);
        let manifest = Manifest::load(self.log.files.fs.as_ref(), &self.root)?;
        let opening = Opening {
            fs: self.log.files.fs.as_ref(),
            dir: &self.log.dir,
            options: &self.log.files.options,
            files: &self.log.files,
            epoch: manifest.map_or(0, |manifest| manifest.writer_epoch),
        };
        for _ in 0..LOOKS_MAX {
            match self.look(&opening, &mut last) {
                Err(cause) if vanished(&cause) => self.dir_exists(&opening)?,
                Err(cause) => return Err(self.log.failed("refresh", cause)),
                Ok(true) => return Ok(self.log.bounds()),
                Ok(false) => self.start_over(&opening, &mut last)?,
            }
        }
        let busy = io::Error::from(io::ErrorKind::ResourceBusy);
        Err(self.log.failed("refresh", busy))
    }

    fn dir_exists(&self, opening: &Opening<'_>) -> Result<()> {
        let there = opening.fs.metadata(opening.dir);
        there.map(drop).map_err(|cause| self.log.failed("refresh", cause))
    }

    /// One look from the tail on; `false` when what was seen before is no longer there.
    fn look(&self, opening: &Opening<'_>, last: &mut Option<Last>) -> io::Result<bool> {
        let listed = segment_bases(opening.fs, opening.dir)?;
        let segments = self.log.segments();
        let Some(tail) = segments.last() else { return Ok(listed.is_empty()) };
        if !listed.contains(&tail.base) {
            return Ok(false);
        }
        let extent = tail.extent();
        let mut bases: Vec<_> = segments.iter().map(|segment| segment.base).collect();
        bases.extend(listed.iter().filter(|base| **base > tail.base));
        let place = Place { segment: segments.len() - 1, offset: extent.end };
        let expected = self.log.bounds().next_msn;
        let start = Start { place, expected, extent, sums: tail.sums() };
        let look = look_from(opening, &bases, start, Msn::ZERO)?;
        let disturbed = look.survey.gaps.iter().any(|gap| gap.at == place)
            || look.judged.cut.is_some_and(|(at, _)| at == place);
        if disturbed && !is_there(opening, last.as_ref())? {
            return Ok(false);
        }
        self.advance(opening, tail, look, last);
        let first = listed.first().copied().unwrap_or_default();
        self.forget_trimmed(first);
        Ok(true)
    }

    fn advance(
        &self,
        opening: &Opening<'_>,
        tail: &Arc<Segment>,
        look: Look,
        last: &mut Option<Last>,
    ) {
        let Look { survey, judged } = look;
        if let Some(seen) = last_of(&survey) {
            *last = Some(seen);
        }
        let strays = survey.strays;
        let first = self.log.segments().len() - 1;
        let mut fresh = Vec::new();
        for (place, surveyed) in (first..).zip(survey.segments) {
            if place == first {
                tail.extend_to(surveyed.extent, surveyed.index);
            } else if !strays.contains(&place) {
                let (base, extent) = (surveyed.base, surveyed.extent);
                let segment = Segment::new(opening.dir, base, extent, surveyed.index);
                fresh.push(Arc::new(segment));
            }
        }
        self.log.change_segments(|segments| segments.append(&mut fresh));
        for hole in judged.holes {
            self.log.add_hole(hole);
        }
        self.log.change_bounds(|bounds| {
            bounds.next_msn = judged.next_msn;
            bounds.durable_msn = judged.next_msn;
        });
    }

    fn forget_trimmed(&self, first: Msn) {
        self.log.change_segments(|segments| {
            let keep = segments.len().saturating_sub(1);
            let gone = segments.iter().take(keep).take_while(|segment| segment.base < first);
            let gone = gone.count();
            segments.drain(..gone);
        });
        let first = self.log.segments().first().map(|segment| segment.base);
        self.log.change_bounds(|bounds| {
            bounds.first_msn = bounds.first_msn.max(first.unwrap_or_default());
        });
    }

    /// The writer has taken back what was read, or dropped all there was: look at everything again.
    fn start_over(&self, opening: &Opening<'_>, last: &mut Option<Last>) -> Result<()> {
        let (opened, seen) = first_look(opening)?;
        *last = seen;
        self.log.forget_hints();
        self.log.change_segments(|segments| *segments = opened.segments);
        self.log.change_bounds(|bounds| {
            bounds.first_msn = opened.first_msn;
            bounds.next_msn = opened.next_msn;
            bounds.durable_msn = opened.next_msn;
        });
        for hole in opened.holes {
            self.log.add_hole(hole);
        }
        Ok(())
    }

    /// Reads, looking for more at the end, and again where files have vanished.
    pub(crate) fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        if from >= self.log.bounds().next_msn {
            self.refresh()?;
        }
        for _ in 0..LOOKS_MAX {
            match self.log.read(from, limit) {
                Err(error) if is_vanished(&error) => self.refresh().map(drop)?,
                answer => return answer,
            }
        }
        self.log.read(from, limit)
    }
}

fn is_vanished(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.and_then(|cause| cause.downcast_ref::<io::Error>()).is_some_and(vanished)
}

/// Looks at all there is: by the checkpoint where that is consistent.
fn first_look(opening: &Opening<'_>) -> Result<(Opened, Option<Last>)> {
    let failed = |cause| Error::from_io(format!("open partition {}", opening.dir.display()), cause);
    let mut attempt = 0;
    loop {
        attempt += 1;
        match try_first_look(opening) {
            Err(cause) if vanished(&cause) && attempt < LOOKS_MAX => {
                opening.fs.metadata(opening.dir).map_err(failed)?;
            }
            answer => return answer.map_err(failed),
        }
    }
}

fn try_first_look(opening: &Opening<'_>) -> io::Result<(Opened, Option<Last>)> {
    let plan: Plan = opening.plan()?;
    let look = look_from(opening, &plan.bases, plan.start, plan.floor)?;
    let last = last_of(&look.survey);
    Ok((opening.assemble(plan, look.survey, &look.judged), last))
}

/// Surveys from `start` up to the first bytes that may still be being written.
fn look_from(opening: &Opening<'_>, bases: &[Msn], start: Start, floor: Msn) -> io::Result<Look> {
    let mut survey = opening.survey_until(bases, start, None)?;
    if !survey.gaps.is_empty() {
        // What was half written at the first look is whole by now if anything proves it synced.
        survey = opening.survey_until(bases, start, None)?;
    }
    let judged = judge(&survey, floor, false);
    let Some((stop, _)) = judged.cut else { return Ok(Look { survey, judged }) };
    let survey = opening.survey_until(bases, start, Some(stop))?;
    Ok(Look { survey, judged })
}

fn last_of(survey: &Survey) -> Option<Last> {
    let (place, batch) = survey.last.as_ref()?;
    let segment = survey.segments.iter().rev().find(|segment| segment.base <= batch.base_msn())?;
    let bytes = batch.to_bytes();
    let head = bytes.get(..HEADER_BYTES).unwrap_or_default().to_vec();
    Some(Last { base: segment.base, offset: place.offset, head })
}

/// Whether the last batch seen still lies where it lay.
fn is_there(opening: &Opening<'_>, last: Option<&Last>) -> io::Result<bool> {
    let Some(last) = last else { return Ok(true) };
    let file = opening.fs.open(&opening.dir.join(segment_name(last.base)), OpenMode::Read)?;
    let mut head = vec![0; last.head.len()];
    let count = read_full(file.as_ref(), &mut head, last.offset)?;
    Ok(count == head.len() && head == last.head)
}
