//! What a partition is to its readers: segments, bounds, holes. Shared by the writer and followers.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use msglog_core::store::{Bounds, Usage};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result};

use crate::blocking::lock;
use crate::opening::Opened;
use crate::segment::{OpenFiles, Segment};

/// How many read positions are remembered.
const HINTS_MAX: usize = 16;

/// The segments of a partition, rising.
pub(crate) type Segments = Arc<Vec<Arc<Segment>>>;

/// A place where a reader will go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hint {
    next_msn: Msn,
    /// Which segment value.
    segment: u64,
    pub(crate) offset: u64,
    /// The length of the batch in front: the next one is often as long.
    pub(crate) batch_bytes: u64,
}

impl Hint {
    /// The place behind this batch.
    pub(crate) fn behind(last: &RecordBatch, segment: &Segment, offset: u64) -> Self {
        let batch_bytes = last.encoded_len() as u64;
        Self { next_msn: last.next_msn(), segment: segment.id, offset, batch_bytes }
    }
}

/// One partition as readers see it.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) dir: PathBuf,
    pub(crate) files: Arc<OpenFiles>,
    segments: RwLock<Segments>,
    bounds: Mutex<Bounds>,
    holes: Mutex<Vec<Range<Msn>>>,
    /// Where to go on behind bad bytes: by segment value and offset, the next batch and its MSN.
    skips: Mutex<BTreeMap<(u64, u64), (u64, Msn)>>,
    hints: Mutex<Vec<Hint>>,
    closed: AtomicBool,
}

impl Log {
    pub(crate) fn new(dir: PathBuf, files: Arc<OpenFiles>, opened: Opened) -> Self {
        let (first_msn, next_msn) = (opened.first_msn, opened.next_msn);
        let durable_msn = opened.durable_msn();
        Self {
            dir,
            files,
            segments: RwLock::new(Arc::new(opened.segments)),
            bounds: Mutex::new(Bounds { first_msn, next_msn, durable_msn }),
            holes: Mutex::new(opened.holes),
            skips: Mutex::default(),
            hints: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// # Errors
    ///
    /// `Closed` once the store or this partition is closed.
    pub(crate) fn usable(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            let why = format!("partition {} is closed", self.dir.display());
            return Err(Error::new(ErrorKind::Closed, why));
        }
        Ok(())
    }

    pub(crate) fn failed(&self, verb: &str, cause: io::Error) -> Error {
        Error::from_io(format!("{verb} partition {}", self.dir.display()), cause)
    }

    pub(crate) fn segments(&self) -> Segments {
        Arc::clone(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the list of segments.
    pub(crate) fn change_segments(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut segments));
    }

    pub(crate) fn bounds(&self) -> Bounds {
        *lock(&self.bounds)
    }

    /// Changes the bounds; the durable MSN is kept between the other two.
    pub(crate) fn change_bounds(&self, change: impl FnOnce(&mut Bounds)) -> Bounds {
        let mut bounds = lock(&self.bounds);
        change(&mut bounds);
        bounds.next_msn = bounds.next_msn.max(bounds.first_msn);
        bounds.durable_msn = bounds.durable_msn.clamp(bounds.first_msn, bounds.next_msn);
        *bounds
    }

    /// The holes that are not trimmed.
    pub(crate) fn holes(&self) -> Vec<Range<Msn>> {
        let first = self.bounds().first_msn;
        lock(&self.holes).iter().filter(|hole| hole.end > first).cloned().collect()
    }

    /// Adds a hole; answers whether it is news.
    pub(crate) fn add_hole(&self, hole: Range<Msn>) -> bool {
        let mut holes = lock(&self.holes);
        if hole.is_empty() || holes.iter().any(|h| h.start <= hole.start && hole.end <= h.end) {
            return false;
        }
        holes.push(hole);
        holes.sort_unstable_by_key(|hole| hole.start);
        true
    }

    /// Forgets the holes from `next_msn` on: they are truncated.
    pub(crate) fn drop_holes(&self, next_msn: Msn) {
        lock(&self.holes).retain(|hole| hole.start < next_msn);
    }

    pub(crate) fn skip(&self, segment: u64, offset: u64) -> Option<(u64, Msn)> {
        lock(&self.skips).get(&(segment, offset)).copied()
    }

    pub(crate) fn set_skip(&self, segment: u64, offset: u64, target: (u64, Msn)) {
        lock(&self.skips).insert((segment, offset), target);
    }

    /// Where the batch of `from` begins, if a read has just ended there.
    pub(crate) fn hint(&self, from: Msn, segment: &Segment) -> Option<Hint> {
        let hints = lock(&self.hints);
        let fits = |hint: &&Hint| hint.next_msn == from && hint.segment == segment.id;
        hints.iter().find(fits).copied()
    }

    /// Remembers where a read that began at `from` has ended.
    pub(crate) fn set_hint(&self, from: Msn, hint: Hint) {
        let mut hints = lock(&self.hints);
        hints.retain(|old| old.next_msn != from && old.next_msn != hint.next_msn);
        if hints.len() >= HINTS_MAX {
            hints.remove(0);
        }
        hints.push(hint);
    }

    /// Forgets positions: the files were changed by another.
    pub(crate) fn forget_hints(&self) {
        lock(&self.hints).clear();
        lock(&self.skips).clear();
    }

    /// What the partition takes up, with `prepared` bytes beyond the batches.
    pub(crate) fn usage(&self, prepared_bytes: u64) -> Usage {
        let segments = self.segments();
        let bytes: u64 = segments.iter().map(|segment| segment.extent().end).sum();
        let index_bytes: u64 = segments.iter().map(|segment| segment.index_bytes()).sum();
        let open = segments.iter().filter(|segment| self.files.is_open(segment));
        Usage::new(bytes, bytes + index_bytes + prepared_bytes, segments.len() as u64)
            .with_open_files(open.count() as u64)
    }
}

/// The segments that may hold `from` or what follows it.
pub(crate) fn holding(segments: &[Arc<Segment>], from: Msn) -> impl Iterator<Item = &Arc<Segment>> {
    let behind = segments.partition_point(|segment| segment.base <= from);
    let rest = segments.iter().skip(behind.saturating_sub(1));
    rest.filter(move |segment| segment.extent().next_msn > from)
}
