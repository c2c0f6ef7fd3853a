//! Replacing a range of a partition: new segments are written and synced beside the old ones, then
//! one atomic switch ([`swap`](crate::swap)). Appends, syncs and reads go on meanwhile; readers that
//! are in an old segment finish there.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use msglog_core::batch::{NO_EPOCH, empty_batches};
use msglog_core::store::check;
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result};

use crate::blocking::lock;
use crate::checkpoint::Checkpoint;
use crate::index::{Index, IndexSums};
use crate::io::{File, OpenMode, remove_if_there};
use crate::layout::{SWAP_TEMPORARY, cleaned_path};
use crate::scan::{Found, Scanner};
use crate::segment::{Extent, Segment};
use crate::swap;
use crate::write::{self, SEGMENT_MSNS_MAX};
use crate::writer::Writer;

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 1 << 20;
/// Batches gathered for one write.
const WRITE_BATCHES: usize = 500;

impl Writer {
    /// Replaces the batches of `range` by others within it, atomically also across a crash;
    /// durable when it returns.
    pub(crate) fn replace(&self, range: &Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        let _hold = self.usable()?;
        let _one = lock(&self.replacing);
        self.check_replaces(range, &batches)?;
        if range.is_empty() {
            return Ok(());
        }
        let old = self.segments_of(range)?;
        let mut output = Output::new(self, old.first().map_or(range.start, |first| first.base));
        let written = output.write(&old, range, batches).and_then(|()| {
            let fresh = output.finish().map_err(|cause| self.log.failed("replace", cause))?;
            self.switch(&old, &fresh)
        });
        if written.is_err() {
            // Leftovers are removed at the latest when the partition is opened again.
            output.discard();
        }
        written
    }

    fn check_replaces(&self, range: &Range<Msn>, batches: &[RecordBatch]) -> Result<()> {
        let bounds = self.log.bounds();
        if range.start < bounds.first_msn {
            return Err(check::not_replaceable(range, "what it begins with is gone"));
        }
        check::replacement(range, batches, bounds.next_msn)?;
        self.log.files.options.check_batch_sizes(batches)
    }

    /// The segments that hold a range, none of them written any more, with how far they are filled.
    fn segments_of(&self, range: &Range<Msn>) -> Result<Vec<Old>> {
        if range.end > lock(&self.state).active.base {
            let _chores = lock(&self.chores);
            self.roll_empty().map_err(|cause| self.log.failed("replace", cause))?;
        }
        self.sync_now()?;
        let segments = self.log.segments();
        let behind = segments.partition_point(|segment| segment.base <= range.start);
        let from = segments.iter().skip(behind.saturating_sub(1));
        let old: Vec<_> = from
            .take_while(|segment| segment.base < range.end)
            .map(|segment| Old {
                cuts: segment.cuts(),
                segment: Arc::clone(segment),
                base: segment.base,
                extent: segment.extent(),
            })
            .collect();
        let continues = old
            .iter()
            .zip(old.iter().skip(1))
            .all(|(one, other)| one.extent.next_msn == other.base);
        let (first, last) = (old.first(), old.last());
        let whole = first.is_some_and(|first| first.base <= range.start)
            && last.is_some_and(|last| last.extent.next_msn >= range.end);
        let holes = self.log.holes();
        let is_damaged = holes.iter().any(|hole| {
            first.is_some_and(|first| hole.end > first.base)
                && last.is_some_and(|last| hole.start < last.extent.next_msn)
        });
        if !continues || !whole || is_damaged {
            return Err(damaged(range));
        }
        Ok(old)
    }

    /// Makes the new segments the log.
    fn switch(&self, old: &[Old], fresh: &[Fresh]) -> Result<()> {
        let failed = |cause| self.log.failed("replace", cause);
        let (fs, dir) = (self.fs(), &self.log.dir);
        let _chores = lock(&self.chores);
        self.usable()?;
        let segments = self.log.segments();
        let start = self.place_of(&segments, old)?;
        for Old { segment, .. } in old {
            segment.retire(self.log.files.file(segment).map_err(failed)?);
        }
        let mut list = segments.as_ref().clone();
        list.splice(start..start + old.len(), fresh.iter().map(|fresh| Arc::clone(&fresh.segment)));
        let swap = self.swap_of(&list, old);
        // The names first: what the swap says must be there.
        fs.sync_dir(dir).map_err(|cause| self.poison("sync", cause))?;
        swap::decide(fs, dir, &swap).map_err(|cause| self.undecided(cause))?;
        let unknown = |cause| self.poison("replace segments of", cause);
        fs.sync_dir(dir).map_err(unknown)?;
        swap::apply(fs, dir, &swap).map_err(unknown)?;
        for Fresh { segment, file, .. } in fresh {
            self.log.files.keep(segment, file);
        }
        self.log.change_segments(|segments| {
            let end = start + old.len();
            segments.splice(start..end, fresh.iter().map(|fresh| Arc::clone(&fresh.segment)));
        });
        self.log.forget_hints();
        swap::install(fs, dir).map_err(unknown)?;
        for Fresh { segment, .. } in fresh {
            self.write_index(segment);
            segment.seal();
        }
        Ok(())
    }

    /// Where the old segments are in the list, if they are still what they were.
    fn place_of(&self, segments: &[Arc<Segment>], old: &[Old]) -> Result<usize> {
        let first = old.first().map(|old| old.segment.id);
        let start = segments.iter().position(|segment| Some(segment.id) == first);
        let there = start.is_some_and(|start| {
            let now = segments.iter().skip(start);
            now.clone().count() > old.len()
                && now.zip(old).all(|(segment, old)| {
                    segment.id == old.segment.id && segment.cuts() == old.cuts
                })
        });
        match start {
            Some(start) if there => Ok(start),
            _ => {
                let why = "the range was trimmed or truncated while it was replaced";
                Err(Error::new(ErrorKind::Conflict, why))
            }
        }
    }

    /// The checkpoint of the partition once the new segments are in place. It reaches beyond them:
    /// all that is old, and the segment behind, were synced before anything was replaced.
    fn swap_of(&self, list: &[Arc<Segment>], old: &[Old]) -> Checkpoint {
        let mut state = lock(&self.state);
        let is_old = |id: u64| old.iter().any(|old| old.segment.id == id);
        state.touched = true;
        state.to_seal.retain(|segment| !is_old(segment.id));
        state.unsynced.retain(|entry| !is_old(entry.segment.id));
        self.checkpoint_of(list, &state.synced, false)
    }

    /// A swap that could not be put in place, unless it cannot be taken back either.
    fn undecided(&self, cause: io::Error) -> Error {
        let fs = self.fs();
        let gone = remove_if_there(fs, &self.log.dir.join(crate::layout::SWAP))
            .and_then(|_| fs.sync_dir(&self.log.dir));
        match gone {
            Ok(()) => self.log.failed("replace", cause),
            Err(_) => self.poison("replace segments of", cause),
        }
    }
}

/// A segment that is replaced, as it was when that began.
#[derive(Debug)]
struct Old {
    segment: Arc<Segment>,
    cuts: u64,
    base: Msn,
    extent: Extent,
}

/// A new segment, under the name that it has until the switch.
#[derive(Clone, Debug)]
struct Fresh {
    segment: Arc<Segment>,
    file: Arc<dyn File>,
    cleaned: PathBuf,
}

/// Writes batches one behind the other into new segments.
struct Output<'a> {
    writer: &'a Writer,
    next_msn: Msn,
    fresh: Vec<Fresh>,
    /// Where the gathered batches go in the last segment.
    offset: u64,
    gathered: Vec<RecordBatch>,
    gathered_bytes: usize,
}

impl<'a> Output<'a> {
    fn new(writer: &'a Writer, first: Msn) -> Self {
        let (fresh, gathered) = (Vec::new(), Vec::new());
        Self { writer, next_msn: first, fresh, offset: 0, gathered, gathered_bytes: 0 }
    }

    /// Everything that the old segments hold outside of `range`, and the new batches within.
    fn write(&mut self, old: &[Old], range: &Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        if let Some(first) = old.first() {
            self.copy(first, first.base..range.start, range)?;
        }
        for batch in batches {
            self.push(batch)?;
        }
        self.fill(range.end)?;
        match old.last() {
            Some(last) => self.copy(last, range.end..last.extent.next_msn, range),
            None => Ok(()),
        }
    }

    /// The batches of an old segment that lie in `part`, to whose edges batches must begin.
    fn copy(&mut self, old: &Old, part: Range<Msn>, range: &Range<Msn>) -> Result<()> {
        let failed = |cause| self.writer.log.failed("replace", cause);
        if part.is_empty() && part.start <= old.base || part.start >= old.extent.next_msn {
            return Ok(());
        }
        let (log, segment) = (&self.writer.log, &old.segment);
        let file = log.files.file(segment).map_err(failed)?;
        let mut at = segment.offset_for(part.start, &log.files, segment).map_err(failed)?;
        let bytes_max = log.files.options.batch_bytes_max();
        let mut scanner = Scanner::new(file.as_ref(), old.extent.end, bytes_max);
        while at < old.extent.end {
            let Found::Batch(batch) = scanner.at(at).map_err(failed)? else {
                return Err(damaged(range));
            };
            at += batch.encoded_len() as u64;
            let msns = batch.base_msn()..batch.next_msn();
            let cuts = |edge: Msn| msns.start < edge && edge < msns.end;
            if cuts(part.start) || cuts(part.end) {
                return Err(check::not_replaceable(range, "it cuts a batch"));
            }
            if msns.start >= part.end {
                break;
            }
            if msns.start >= part.start {
                self.push(batch)?;
            }
        }
        if self.next_msn < part.end { Err(damaged(range)) } else { Ok(()) }
    }

    /// Fills up to `end` what no batch covers.
    fn fill(&mut self, end: Msn) -> Result<()> {
        for filler in empty_batches(self.next_msn..end) {
            self.push_next(filler?)?;
        }
        Ok(())
    }

    fn push(&mut self, batch: RecordBatch) -> Result<()> {
        self.fill(batch.base_msn())?;
        self.push_next(batch)
    }

    fn push_next(&mut self, mut batch: RecordBatch) -> Result<()> {
        let base = batch.base_msn();
        let options = self.writer.log.files.options;
        let fits = self.fresh.last().is_some_and(|fresh| {
            let extent = fresh.segment.extent();
            extent.end.saturating_add(batch.encoded_len() as u64) <= options.segment_bytes
                && batch.next_msn().distance_from(fresh.segment.base) <= SEGMENT_MSNS_MAX
        });
        if !fits {
            self.begin(base).map_err(|cause| self.writer.log.failed("replace", cause))?;
        }
        // All that lies in front of a new segment is synced before it is the log.
        batch.stamp(base, if fits { NO_EPOCH } else { self.writer.epoch });
        if let Some(Fresh { segment, .. }) = self.fresh.last() {
            let extent = segment.extent();
            segment.note(&batch, extent.end, &options);
            segment.set_extent(extent.with(batch.header(), extent.end));
        }
        self.next_msn = batch.next_msn();
        self.gathered_bytes += batch.encoded_len();
        self.gathered.push(batch);
        if self.gathered_bytes >= WRITE_BYTES || self.gathered.len() >= WRITE_BATCHES {
            self.flush().map_err(|cause| self.writer.log.failed("replace", cause))?;
        }
        Ok(())
    }

    fn begin(&mut self, base: Msn) -> io::Result<()> {
        self.flush()?;
        let log = &self.writer.log;
        let segment = Segment::new(&log.dir, base, Extent::empty(base), Index::new(base));
        let cleaned = cleaned_path(&segment.path);
        remove_if_there(self.writer.fs(), &cleaned)?;
        let file = self.writer.fs().open(&cleaned, OpenMode::CreateNew)?;
        self.fresh.push(Fresh { segment: Arc::new(segment), file, cleaned });
        self.offset = 0;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(Fresh { file, .. }) = self.fresh.last() else { return Ok(()) };
        write::write_batches(file.as_ref(), &self.gathered, self.offset, false)?;
        self.offset += self.gathered_bytes as u64;
        self.gathered.clear();
        self.gathered_bytes = 0;
        Ok(())
    }

    /// Syncs what was written; answers the new segments.
    fn finish(&mut self) -> io::Result<Vec<Fresh>> {
        self.flush()?;
        let files = &self.writer.log.files;
        for Fresh { segment, file, .. } in &self.fresh {
            file.sync_all()?;
            let (offsets, times) = segment.index(files, segment)?.encode();
            segment.set_sums(IndexSums::of(&offsets, &times));
        }
        Ok(self.fresh.clone())
    }

    /// Removes what is not needed, unless the switch was decided and recovery needs it.
    fn discard(&self) {
        if self.writer.healthy().is_err() {
            return;
        }
        let fs = self.writer.fs();
        for Fresh { cleaned, .. } in &self.fresh {
            let _ = remove_if_there(fs, cleaned);
        }
        let _ = remove_if_there(fs, &self.writer.log.dir.join(SWAP_TEMPORARY));
    }
}

fn damaged(range: &Range<Msn>) -> Error {
    let why = format!("cannot replace {}..{}: its segments are damaged", range.start, range.end);
    Error::new(ErrorKind::Corrupt, why)
}
