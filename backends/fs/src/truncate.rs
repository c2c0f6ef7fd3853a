//! Dropping the end of a partition: a checkpoint that does not reach beyond it first, so that a
//! crash on the way leaves more, but never a hole.

use std::io;
use std::sync::Arc;

use msglog_core::{Msn, Result};

use crate::blocking::lock;
use crate::index::IndexSums;
use crate::opening::{Opening, remove_segment};
use crate::scan::{Found, Scanner};
use crate::segment::{Extent, Segment};
use crate::survey::{Place, Start, Surveyed};
use crate::writer::Writer;

impl Writer {
    /// Drops every batch that holds or follows `from`.
    pub(crate) fn truncate(&self, from: Msn) -> Result<Msn> {
        let _hold = self.usable()?;
        let _chores = lock(&self.chores);
        self.sync_now()?;
        let _syncing = lock(&self.syncing);
        let bounds = self.log.bounds();
        let from = from.max(bounds.first_msn);
        if from >= bounds.next_msn {
            return Ok(bounds.next_msn);
        }
        let failed = |cause| self.log.failed("truncate", cause);
        let segments = self.log.segments();
        let count = segments.partition_point(|segment| segment.base <= from).max(1);
        let Some(segment) = segments.get(count - 1) else { return Ok(bounds.next_msn) };
        let offset = self.cut_place(segment, from).map_err(failed)?;
        let kept = self.kept(segment, offset).map_err(failed)?;
        // The index files may name what will be gone.
        segment.set_sums(IndexSums::default());
        let checkpoint = self.checkpoint(&(Arc::clone(segment), kept.extent), false);
        self.store_checkpoint(&checkpoint)?;
        self.enter_cut(segment, kept, count);
        let cut = self.cut_files(segments.get(count..).unwrap_or_default(), segment);
        cut.map_err(|cause| self.poison("truncate", cause))?;
        Ok(self.log.bounds().next_msn)
    }

    /// Where the first batch that holds or follows `from` begins; a hole in front of it goes too.
    fn cut_place(&self, segment: &Arc<Segment>, from: Msn) -> io::Result<u64> {
        let extent = segment.extent();
        let file = self.log.files.file(segment)?;
        let bytes_max = self.log.files.options.batch_bytes_max();
        let mut scanner = Scanner::new(file.as_ref(), extent.end, bytes_max);
        let (mut at, mut expected) = (0, segment.base);
        while at < extent.end {
            let (place, batch) = match scanner.at(at)? {
                Found::Batch(batch) => (at, batch),
                _ => match scanner.next_valid(at, &(expected..extent.next_msn))? {
                    Some(found) => found,
                    None => break,
                },
            };
            if batch.next_msn() > from {
                return Ok(place);
            }
            (at, expected) = (place + batch.encoded_len() as u64, batch.next_msn());
        }
        Ok(extent.end)
    }

    /// What the segment holds up to `offset`.
    fn kept(&self, segment: &Segment, offset: u64) -> io::Result<Surveyed> {
        let opening = Opening {
            fs: self.fs(),
            dir: &self.log.dir,
            options: &self.log.files.options,
            files: &self.log.files,
            epoch: self.epoch,
            trusts_zeros: false,
        };
        let place = Place { segment: 0, offset: 0 };
        let (extent, sums) = (Extent::empty(segment.base), IndexSums::default());
        let (expected, floor) = (segment.base, Msn::ZERO);
        let start = Start { place, expected, extent, sums, floor };
        let stop = Some(Place { segment: 0, offset });
        let survey = opening.survey_until(&[segment.base], start, stop)?;
        survey.segments.into_iter().next().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Shows readers what is left.
    fn enter_cut(&self, segment: &Arc<Segment>, kept: Surveyed, count: usize) {
        let mut state = lock(&self.state);
        let extent = kept.extent;
        let next_msn = extent.next_msn;
        self.log.change_bounds(|bounds| bounds.next_msn = next_msn);
        self.log.change_segments(|segments| segments.truncate(count));
        self.log.forget_hints();
        self.log.drop_holes(next_msn);
        segment.reopen(extent, kept.index);
        state.to_seal.retain(|sealed| sealed.base < segment.base);
        state.unsynced.clear();
        state.active = Arc::clone(segment);
        (state.zeroed_end, state.allocated_end) = (extent.end, 0);
        state.synced = (Arc::clone(segment), extent);
        state.touched = true;
    }

    /// The newest first: what is left is at any time the beginning of what was there.
    fn cut_files(&self, gone: &[Arc<Segment>], last: &Arc<Segment>) -> io::Result<()> {
        for segment in gone.iter().rev() {
            remove_segment(self.fs(), &segment.path)?;
            self.fs().sync_dir(&self.log.dir)?;
        }
        let file = self.log.files.file(last)?;
        file.set_len(last.extent().end)?;
        file.sync_all()
    }
}
