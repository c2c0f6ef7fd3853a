//! The reading side of a partition whose writer is elsewhere: follows it by its files alone.
//!
//! At the end, bytes that are no batch mean "end for now": they are being written. Only a later
//! batch with an epoch of this log proves that they had been synced and are damaged.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use msglog_core::batch::{BatchHeader, HEADER_BYTES};
use msglog_core::store::{Bounds, ReadLimit};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result};

use crate::blocking::lock;
use crate::checkpoint::Checkpoint;
use crate::io::{OpenMode, read_full};
use crate::layout::segment_name;
use crate::log::Log;
use crate::manifest::Manifest;
use crate::opening::{Opened, Opening, Plan, segment_bases};
use crate::recovery::{Judgement, judge};
use crate::segment::Segment;
use crate::survey::{Place, Start, Survey};
use crate::swap;

/// Every so many looks the zeros behind the end are read to their end: they can hide damage.
const FULL_LOOK_EVERY: u64 = 256;
/// How often a look is repeated because the writer has changed files meanwhile.
const LOOKS_MAX: usize = 20;

/// The reading side of one partition.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) log: Arc<Log>,
    root: PathBuf,
    /// The last batch seen: its segment, its offset and its first bytes.
    last: Mutex<Option<Last>>,
    /// The checkpoints that the segments were looked at by: another one may mean other files.
    marks: Mutex<Marks>,
    looks: AtomicU64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Last {
    base: Msn,
    offset: u64,
    head: Vec<u8>,
}

/// The checkpoint, and the one of a swap that is not done.
type Marks = (Option<Checkpoint>, Option<Checkpoint>);

fn marks(opening: &Opening<'_>) -> io::Result<Marks> {
    Ok((Checkpoint::load(opening.fs, opening.dir)?, swap::pending(opening.fs, opening.dir)?))
}

/// What one look has found.
struct Look {
    survey: Survey,
    judged: Judgement,
}

fn vanished(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound
}

impl Follower {
    /// Looks at a partition for the first time.
    pub(crate) fn open(opening: &Opening<'_>, root: &Path) -> Result<Self> {
        let (opened, last, marks) = first_look(opening, root)?;
        let log = Log::new(opening.dir.to_owned(), Arc::clone(opening.files), opened);
        Ok(Self {
            log: Arc::new(log),
            root: root.to_owned(),
            last: Mutex::new(last),
            marks: Mutex::new(marks),
            looks: AtomicU64::new(1),
        })
    }

    /// Looks what the writer has done since.
    pub(crate) fn refresh(&self) -> Result<Bounds> {
        self.log.usable()?;
        let mut last = lock(&self.last);
        let opening = self.opening();
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

    fn opening(&self) -> Opening<'_> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        Opening {
            fs: self.log.files.fs.as_ref(),
            dir: &self.log.dir,
            options: &self.log.files.options,
            files: &self.log.files,
            epoch: i32::MAX,
            trusts_zeros: !looks.is_multiple_of(FULL_LOOK_EVERY),
        }
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
        if self.log.files.file(tail)?.len()? < extent.end {
            return Ok(false);
        }
        let first = listed.first().copied().unwrap_or_default();
        if listed.last() == Some(&tail.base) && opening.trusts_zeros && self.is_quiet(tail)? {
            self.forget_trimmed(first);
            return Ok(true);
        }
        let mut bases: Vec<_> = segments.iter().map(|segment| segment.base).collect();
        bases.extend(listed.iter().filter(|base| **base > tail.base));
        let place = Place { segment: segments.len() - 1, offset: extent.end };
        let expected = self.log.bounds().next_msn;
        let (sums, floor) = (tail.sums(), Msn::ZERO);
        let start = Start { place, expected, extent, sums, floor };
        let look = look_from(opening, &self.root, &bases, start)?;
        if !look.survey.gaps.is_empty() && segment_bases(opening.fs, opening.dir)? != listed {
            // The list was made while the writer changed it.
            return Err(io::ErrorKind::NotFound.into());
        }
        let disturbed = look.survey.gaps.iter().any(|gap| gap.at == place)
            || look.judged.cut.is_some_and(|(at, _)| at == place);
        if disturbed
            && (!is_there(opening, last.as_ref())? || *lock(&self.marks) != marks(opening)?)
        {
            return Ok(false);
        }
        self.advance(opening, tail, look, last);
        self.forget_trimmed(first);
        Ok(true)
    }

    /// Whether nothing was written behind the end.
    fn is_quiet(&self, tail: &Arc<Segment>) -> io::Result<bool> {
        let file = self.log.files.file(tail)?;
        let mut head = [0; HEADER_BYTES];
        read_full(file.as_ref(), &mut head, tail.extent().end)?;
        Ok(head.iter().all(|byte| *byte == 0))
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
        let first = self.log.segments().first().map(|segment| segment.base).unwrap_or_default();
        // What is missing in front of it is trimmed, unless it is known to be lost.
        let start = self.log.bounds().first_msn;
        let lost = |hole: &Range<Msn>| hole.start <= start && first <= hole.end;
        if !self.log.holes().iter().any(lost) {
            self.log.change_bounds(|bounds| bounds.first_msn = start.max(first));
        }
    }

    /// The writer has taken back what was read, or dropped all there was: look at everything again.
    fn start_over(&self, opening: &Opening<'_>, last: &mut Option<Last>) -> Result<()> {
        let (opened, seen, marks) = first_look(opening, &self.root)?;
        (*last, *lock(&self.marks)) = (seen, marks);
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
        let (mut looked, mut doubts) = (false, true);
        for _ in 0..LOOKS_MAX {
            match self.log.read_doubting(from, limit, doubts) {
                Err(error) if is_vanished(&error) => doubts = self.look_again()?,
                Ok(batches) if batches.is_empty() && !looked => {}
                answer => return answer,
            }
            self.refresh()?;
            looked = true;
        }
        self.log.read(from, limit)
    }

    /// Looks at all files anew if the writer has replaced some since; answers whether it has.
    fn look_again(&self) -> Result<bool> {
        let opening = self.opening();
        let changed = || -> io::Result<bool> { Ok(*lock(&self.marks) != marks(&opening)?) };
        let changed = changed().map_err(|cause| self.log.failed("refresh", cause))?;
        if changed {
            self.start_over(&opening, &mut lock(&self.last))?;
        }
        Ok(changed)
    }
}

fn is_vanished(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

/// Looks at all there is: by the checkpoint where that is consistent.
fn first_look(opening: &Opening<'_>, root: &Path) -> Result<(Opened, Option<Last>, Marks)> {
    let failed = |cause| Error::from_io(format!("open partition {}", opening.dir.display()), cause);
    let mut attempt = 0;
    loop {
        attempt += 1;
        match try_first_look(opening, root) {
            Err(cause) if vanished(&cause) && attempt < LOOKS_MAX => {
                opening.fs.metadata(opening.dir).map_err(failed)?;
            }
            answer => return answer.map_err(failed),
        }
    }
}

fn try_first_look(opening: &Opening<'_>, root: &Path) -> io::Result<(Opened, Option<Last>, Marks)> {
    let seen = marks(opening)?;
    let plan: Plan = opening.plan()?;
    let look = look_from(opening, root, &plan.bases, plan.start)?;
    let changed = || -> io::Result<bool> {
        let now = marks(opening)?;
        let listed = opening.bases(now.1.as_ref())?;
        let listed = listed.into_iter().filter(|base| *base >= plan.first_msn);
        Ok(now != seen || !listed.eq(plan.bases.clone()))
    };
    let sound = look.survey.gaps.is_empty() && look.judged.holes.is_empty();
    if !sound && changed()? {
        // What is missing may have been trimmed, or listed while it was made.
        return Err(io::ErrorKind::NotFound.into());
    }
    let last = last_of(&look.survey);
    let mut opened = opening.assemble(plan, look.survey, &look.judged);
    // Whoever follows cannot sync, and takes what there is as it is.
    opened.set_synced();
    Ok((opened, last, seen))
}

/// Surveys from `start` up to the first bytes that may still be being written.
fn look_from(opening: &Opening<'_>, root: &Path, bases: &[Msn], start: Start) -> io::Result<Look> {
    let survey = opening.survey_until(bases, start, None)?;
    if survey.gaps.is_empty() {
        let judged = judge(&survey, start.floor, false);
        return Ok(Look { survey, judged });
    }
    // What was half written at the first look is whole by now if anything proves it synced.
    let manifest = Manifest::load(opening.fs, root).map_err(io::Error::other)?;
    let epoch = manifest.map_or(0, |manifest| manifest.writer_epoch);
    let opening = Opening { epoch, trusts_zeros: false, ..*opening };
    let survey = opening.survey_until(bases, start, None)?;
    let judged = judge(&survey, start.floor, false);
    let Some((stop, _)) = judged.cut else { return Ok(Look { survey, judged }) };
    let survey = opening.survey_until(bases, start, Some(stop))?;
    Ok(Look { survey, judged })
}

fn last_of(survey: &Survey) -> Option<Last> {
    let (place, head) = survey.last?;
    let base_msn = BatchHeader::parse(&head).ok()?.base_msn();
    let segment = survey.segments.iter().rev().find(|segment| segment.base <= base_msn)?;
    Some(Last { base: segment.base, offset: place.offset, head: head.to_vec() })
}

/// Whether the last batch seen still lies where it lay.
fn is_there(opening: &Opening<'_>, last: Option<&Last>) -> io::Result<bool> {
    let Some(last) = last else { return Ok(true) };
    let file = opening.fs.open(&opening.dir.join(segment_name(last.base)), OpenMode::Read)?;
    let mut head = vec![0; last.head.len()];
    let count = read_full(file.as_ref(), &mut head, last.offset)?;
    Ok(count == head.len() && head == last.head)
}
