//! Finds out what a partition holds when it is opened: by its checkpoint where that is consistent
//! with the files, and by reading the rest.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use msglog_core::Msn;
use msglog_core::store::Access;

use crate::checkpoint::{Checkpoint, SegmentEntry};
use crate::index::Index;
use crate::io::{FileSystem, OpenMode, remove_if_there};
use crate::layout::{
    CHECKPOINT_TEMPORARY, PREPARED, SWAP, cleaned_path, index_path, segment_base, segment_name,
    timeindex_path,
};
use crate::loose_end::LooseEnd;
use crate::options::FsOptions;
use crate::recovery::Judgement;
use crate::segment::{Extent, OpenFiles, Segment};
use crate::survey::{Place, Proven, Start, Survey, Surveyor};
use crate::swap;
use crate::unproven::Unproven;

/// What opening works with.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    pub(crate) fs: &'a dyn FileSystem,
    pub(crate) dir: &'a Path,
    pub(crate) options: &'a FsOptions,
    pub(crate) files: &'a Arc<OpenFiles>,
    /// The highest epoch that this log has had.
    pub(crate) epoch: i32,
    /// Take a header of zeros for the end without reading what is behind.
    pub(crate) trusts_zeros: bool,
}

/// Where to look, and what need not be looked at.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The first MSNs of all segments.
    pub(crate) bases: Vec<Msn>,
    /// The segments before the one at which the survey starts, as the checkpoint has them.
    pub(crate) known: Vec<SegmentEntry>,
    pub(crate) start: Start,
    pub(crate) first_msn: Msn,
    /// Holes below the start.
    pub(crate) holes: Vec<Range<Msn>>,
    /// Segments that a trim has left.
    pub(crate) leftovers: Vec<Msn>,
    /// Whether every name in the folder is known to be durable.
    pub(crate) clean: bool,
}

/// A partition that was looked at.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) first_msn: Msn,
    pub(crate) next_msn: Msn,
    pub(crate) holes: Vec<Range<Msn>>,
    /// How far everything is proven to be synced; `None` where there is no segment.
    pub(crate) proven: Option<(Arc<Segment>, Extent)>,
    /// What lies behind that, in order.
    pub(crate) unproven: Vec<Unproven>,
    pub(crate) leftovers: Vec<Msn>,
    /// The end, where nothing proves that it is durable.
    pub(crate) loose_end: Option<LooseEnd>,
}

impl Opened {
    /// The MSN below which everything is proven to be synced.
    pub(crate) fn durable_msn(&self) -> Msn {
        let proven = self.proven.as_ref().map_or(self.next_msn, |(_, extent)| extent.next_msn);
        let durable = if self.unproven.is_empty() { self.next_msn } else { proven };
        durable.min(self.next_msn).max(self.first_msn)
    }

    /// Takes note that all of it is synced.
    pub(crate) fn set_synced(&mut self) {
        self.unproven.clear();
        self.proven = self.segments.last().map(|last| (Arc::clone(last), last.extent()));
    }

    /// A checkpoint of all that there is.
    pub(crate) fn checkpoint(&self, writer_epoch: i32) -> Checkpoint {
        Checkpoint {
            clean: false,
            writer_epoch,
            first_msn: self.first_msn,
            segments: self.segments.iter().map(|segment| SegmentEntry::of(segment)).collect(),
            holes: self.holes.clone(),
        }
    }
}

/// The first MSNs of the segments in a folder, rising.
pub(crate) fn segment_bases(fs: &dyn FileSystem, dir: &Path) -> io::Result<Vec<Msn>> {
    let entries = fs.list(dir)?;
    let files = entries.iter().filter(|entry| !entry.is_dir);
    let mut bases: Vec<_> = files.filter_map(|entry| segment_base(&entry.name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

impl Opening<'_> {
    /// Decides what has to be read.
    pub(crate) fn plan(&self) -> io::Result<Plan> {
        let swap = swap::pending(self.fs, self.dir)?;
        let listed = self.bases(swap.as_ref())?;
        let checkpoint = match swap {
            Some(swap) => Some(swap),
            None => Checkpoint::load(self.fs, self.dir)?,
        };
        let checkpoint = checkpoint.filter(|checkpoint| checkpoint.writer_epoch <= self.epoch);
        let Some(checkpoint) = checkpoint else { return Ok(Plan::from_files(listed)) };
        let (leftovers, bases): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|base| *base < checkpoint.first_msn);
        if !self.options.full_scan {
            if self.is_consistent(&checkpoint)? {
                return Ok(Plan::from_checkpoint(checkpoint, &bases, leftovers));
            }
            let dir = self.dir.display();
            tracing::error!(partition = %dir, "segments below the checkpoint are missing or short");
        }
        let mut plan = Plan::whole(bases, checkpoint.first_msn);
        plan.start.floor = checkpoint.next_msn();
        plan.leftovers = leftovers;
        Ok(plan)
    }

    /// The first MSNs of the segments there are, or will be once `swap` is done.
    pub(crate) fn bases(&self, swap: Option<&Checkpoint>) -> io::Result<Vec<Msn>> {
        let mut bases = segment_bases(self.fs, self.dir)?;
        if let Some(swap) = swap {
            let last = swap.segments.last().map(|last| last.base).unwrap_or_default();
            bases.retain(|base| *base >= last || *base < swap.first_msn);
            bases.extend(swap.segments.iter().map(|entry| entry.base).filter(|base| *base < last));
            bases.sort_unstable();
        }
        Ok(bases)
    }

    /// The file of a segment: for a reader beside a swap that which replaces it, if that has not
    /// its name yet.
    pub(crate) fn path_of(&self, base: Msn) -> PathBuf {
        let path = self.dir.join(segment_name(base));
        let cleaned = cleaned_path(&path);
        let is_there = |path: &Path| self.fs.metadata(path).is_ok();
        let swaps = self.options.access == Access::Read
            && is_there(&cleaned)
            && is_there(&self.dir.join(SWAP));
        if swaps { cleaned } else { path }
    }

    /// Whether every segment of the checkpoint is there and long enough.
    fn is_consistent(&self, checkpoint: &Checkpoint) -> io::Result<bool> {
        for entry in &checkpoint.segments {
            match self.fs.metadata(&self.path_of(entry.base)) {
                Ok(metadata) if metadata.len < entry.extent.end => return Ok(false),
                Ok(_) => {}
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(cause) => return Err(cause),
            }
        }
        Ok(true)
    }

    /// Reads what the plan says has to be read.
    pub(crate) fn survey(&self, plan: &Plan) -> io::Result<Survey> {
        self.survey_until(&plan.bases, plan.start, None)
    }

    /// Reads from `start` to `stop`, or to the end.
    pub(crate) fn survey_until(
        &self,
        bases: &[Msn],
        start: Start,
        stop: Option<Place>,
    ) -> io::Result<Survey> {
        let open = |base| self.fs.open(&self.path_of(base), OpenMode::Read);
        let surveyor = Surveyor {
            bases,
            open: &open,
            options: self.options,
            epoch_max: self.epoch,
            stop,
            trusts_zeros: self.trusts_zeros,
        };
        surveyor.run(start)
    }

    /// Puts together what is known and what was read; `judged` must not ask for a cut any more.
    pub(crate) fn assemble(&self, plan: Plan, survey: Survey, judged: &Judgement) -> Opened {
        let mut segments = Vec::new();
        for entry in &plan.known {
            let index = Index::behind(entry.base, entry.extent);
            let segment = Segment::at(self.path_of(entry.base), entry.base, entry.extent, index);
            segment.set_sums(entry.sums);
            segment.seal();
            segments.push(Arc::new(segment));
        }
        let from = plan.start.place;
        let start = Proven { segment: from.segment, extent: plan.start.extent };
        let reached = survey.proven.unwrap_or(start);
        let (mut proven, mut unproven) = (None, Vec::new());
        for (place, surveyed) in (from.segment..).zip(survey.segments) {
            if survey.strays.contains(&place) {
                continue;
            }
            let path = self.path_of(surveyed.base);
            let (base, found) = (surveyed.base, surveyed.extent);
            let segment = Segment::at(path, base, found, surveyed.index);
            if place == from.segment {
                segment.set_sums(plan.start.sums);
            }
            let segment = Arc::new(segment);
            let synced = if place == reached.segment {
                proven = Some((Arc::clone(&segment), reached.extent));
                reached.extent
            } else {
                Extent::empty(base)
            };
            if place >= reached.segment && found.end > synced.end {
                unproven.push(Unproven { segment: Arc::clone(&segment), synced, found });
            }
            segments.push(segment);
        }
        let mut holes = plan.holes;
        holes.extend(judged.holes.iter().cloned());
        Opened {
            segments,
            first_msn: plan.first_msn,
            next_msn: judged.next_msn,
            holes,
            proven,
            unproven,
            leftovers: plan.leftovers,
            loose_end: None,
        }
    }

    /// Adds an empty segment at the end where there is none to go on in.
    pub(crate) fn add_active(&self, opened: &mut Opened, roll: bool) -> io::Result<()> {
        let base = opened.next_msn;
        let last = opened.segments.last();
        if last.is_some_and(|last| !roll || last.base == base) {
            return Ok(());
        }
        let segment = Arc::new(Segment::new(self.dir, base, Extent::empty(base), Index::new(base)));
        let file = self.fs.open(&segment.path, OpenMode::CreateNew)?;
        self.files.keep(&segment, &file);
        opened.segments.push(segment);
        Ok(())
    }

    /// Removes what an interrupted trim or roll has left.
    pub(crate) fn remove_leftovers(&self, leftovers: &[Msn]) -> io::Result<()> {
        for base in leftovers {
            remove_segment(self.fs, &self.dir.join(segment_name(*base)))?;
        }
        for name in [PREPARED, CHECKPOINT_TEMPORARY] {
            remove_if_there(self.fs, &self.dir.join(name))?;
        }
        Ok(())
    }
}

/// Removes a segment and what is derived from it.
pub(crate) fn remove_segment(fs: &dyn FileSystem, log: &Path) -> io::Result<()> {
    remove_if_there(fs, log)?;
    remove_if_there(fs, &index_path(log))?;
    remove_if_there(fs, &timeindex_path(log))?;
    Ok(())
}

impl Plan {
    /// Without a checkpoint everything is read.
    fn from_files(bases: Vec<Msn>) -> Self {
        let first = bases.first().copied().unwrap_or_default();
        Self::whole(bases, first)
    }

    fn whole(bases: Vec<Msn>, first_msn: Msn) -> Self {
        let extent = Extent::empty(bases.first().copied().unwrap_or(first_msn));
        let place = Place { segment: 0, offset: 0 };
        let sums = crate::index::IndexSums::default();
        let start = Start { place, expected: first_msn, extent, sums, floor: Msn::ZERO };
        Self {
            bases,
            known: Vec::new(),
            start,
            first_msn,
            holes: Vec::new(),
            leftovers: Vec::new(),
            clean: false,
        }
    }

    fn from_checkpoint(checkpoint: Checkpoint, listed: &[Msn], leftovers: Vec<Msn>) -> Self {
        let (floor, first_msn) = (checkpoint.next_msn(), checkpoint.first_msn);
        let mut known = checkpoint.segments;
        let mut bases: Vec<_> = known.iter().map(|entry| entry.base).collect();
        let Some(last) = known.pop() else { return Self::whole(listed.to_vec(), first_msn) };
        bases.extend(listed.iter().filter(|base| **base > last.base));
        let place = Place { segment: known.len(), offset: last.extent.end };
        let (extent, sums) = (last.extent, last.sums);
        let start = Start { place, expected: floor, extent, sums, floor };
        // A segment behind the checkpoint may have a name that only the next sync makes durable.
        let clean = checkpoint.clean && bases.len() == known.len() + 1;
        let holes = checkpoint.holes;
        Self { bases, known, start, first_msn, holes, leftovers, clean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::IndexSums;
    use crate::io::{Failure, Fault, FaultFs, SimFs};

    fn entry(base: u64) -> SegmentEntry {
        let base = Msn::new(base);
        SegmentEntry { base, extent: Extent::empty(base), sums: IndexSums::default() }
    }

    /// A partition trimmed to 10, of which 30 was being written.
    fn checkpoint() -> Checkpoint {
        Checkpoint {
            clean: false,
            writer_epoch: 1,
            first_msn: Msn::new(10),
            segments: vec![entry(10), entry(30)],
            holes: Vec::new(),
        }
    }

    /// Looks at a folder with these segments.
    fn with_opening(segments: &[u64], look: impl FnOnce(&Opening<'_>, &FaultFs)) {
        let (disk, dir) = (SimFs::new(), Path::new("/orders-0"));
        disk.create_dir(dir).unwrap();
        for base in segments {
            disk.open(&dir.join(segment_name(Msn::new(*base))), OpenMode::CreateNew).unwrap();
        }
        let (fs, options) = (Arc::new(FaultFs::new(disk)), FsOptions::default());
        let files = &Arc::new(OpenFiles::new(fs.clone(), options));
        let (options, trusts_zeros) = (&options, false);
        look(&Opening { fs: fs.as_ref(), dir, options, files, epoch: 1, trusts_zeros }, &fs);
    }

    #[test]
    fn pending_swap_names_the_segments_that_there_will_be() {
        // Of 10 and 20 one was made, 40 came after.
        with_opening(&[0, 10, 20, 30, 40], |opening, _| {
            let swap = checkpoint();
            let bases = |swap| opening.bases(swap).unwrap().into_iter().map(Msn::get);
            assert_eq!(bases(Some(&swap)).collect::<Vec<_>>(), [0, 10, 30, 40]);
            assert_eq!(bases(None).collect::<Vec<_>>(), [0, 10, 20, 30, 40]);
        });
    }

    #[test]
    fn segment_that_cannot_be_looked_at_is_an_error_and_not_a_missing_one() {
        with_opening(&[10, 30], |opening, fs| {
            assert!(opening.is_consistent(&checkpoint()).unwrap());
            fs.set_fault(Fault { at: 0, failure: Failure::Io, after: false, sticky: true });
            opening.is_consistent(&checkpoint()).unwrap_err();
        });
        with_opening(&[30], |opening, _| assert!(!opening.is_consistent(&checkpoint()).unwrap()));
    }
}
