//! One segment of a partition: its file, how far it is filled, and its index.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use msglog_core::batch::BatchHeader;
use msglog_core::store::Access;
use msglog_core::{Msn, RecordBatch};

use crate::blocking::lock;
pub(crate) use crate::index::Start;
use crate::index::{Index, IndexSums};
use crate::io::{File, FileSystem, OpenMode, read_small};
use crate::layout::{index_path, segment_name, timeindex_path};
use crate::options::FsOptions;
use crate::read_buffers::ReadBuffers;
use crate::scan::{Found, Scanner};

/// The largest index file that is read: far more than the smallest interval makes.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// How far a segment is filled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extent {
    /// Bytes up to the end of the last valid batch.
    pub(crate) end: u64,
    /// The MSN after that batch.
    pub(crate) next_msn: Msn,
    /// The newest timestamp; `i64::MIN` without any.
    pub(crate) max_timestamp: i64,
}

impl Extent {
    /// A segment without batches.
    pub(crate) fn empty(base: Msn) -> Self {
        Self { end: 0, next_msn: base, max_timestamp: i64::MIN }
    }

    /// The extent once `batch` lies at `offset`.
    pub(crate) fn with(self, batch: &BatchHeader, offset: u64) -> Self {
        Self {
            end: offset.saturating_add(batch.encoded_len() as u64),
            next_msn: batch.next_msn(),
            max_timestamp: self.max_timestamp.max(batch.max_timestamp().as_millis()),
        }
    }
}

/// Gives every segment value a number of its own.
static SEGMENTS: AtomicU64 = AtomicU64::new(0);

/// One segment.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Tells it apart from another one of the same first MSN that has replaced it.
    pub(crate) id: u64,
    pub(crate) base: Msn,
    pub(crate) path: PathBuf,
    extent: Mutex<Extent>,
    /// How often its end was cut, to be written anew from there.
    cuts: AtomicU64,
    sealed: AtomicBool,
    file: Mutex<Option<Arc<dyn File>>>,
    /// Its file, once its name is another one's.
    retired: OnceLock<Arc<dyn File>>,
    index: Mutex<Index>,
    sums: Mutex<IndexSums>,
    used: AtomicU64,
}

impl Segment {
    /// The segment of this folder whose first MSN is `base`, filled so far.
    pub(crate) fn new(dir: &Path, base: Msn, extent: Extent, index: Index) -> Self {
        Self::at(dir.join(segment_name(base)), base, extent, index)
    }

    /// The same in another file.
    pub(crate) fn at(path: PathBuf, base: Msn, extent: Extent, index: Index) -> Self {
        Self {
            id: SEGMENTS.fetch_add(1, Ordering::Relaxed),
            base,
            path,
            extent: Mutex::new(extent),
            cuts: AtomicU64::new(0),
            sealed: AtomicBool::new(false),
            file: Mutex::new(None),
            retired: OnceLock::new(),
            index: Mutex::new(index),
            sums: Mutex::default(),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        *lock(&self.extent)
    }

    pub(crate) fn set_extent(&self, extent: Extent) {
        *lock(&self.extent) = extent;
    }

    /// Takes over what a follower has found behind the end.
    pub(crate) fn extend_to(&self, extent: Extent, found: Index) {
        let mut index = lock(&self.index);
        *index = std::mem::take(&mut *index).followed_by(found);
        self.set_extent(extent);
    }

    pub(crate) fn sums(&self) -> IndexSums {
        *lock(&self.sums)
    }

    pub(crate) fn set_sums(&self, sums: IndexSums) {
        *lock(&self.sums) = sums;
    }

    /// Marks it complete: its index may leave memory from now on.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
    }

    /// Keeps its file for those who still read it: its name will be another one's.
    pub(crate) fn retire(&self, file: Arc<dyn File>) {
        let _ = self.retired.set(file);
    }

    /// Tells it apart from itself before its end was cut: what came then may be as long.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// Makes it the segment that is being written again, filled so far.
    pub(crate) fn reopen(&self, extent: Extent, index: Index) {
        self.cuts.fetch_add(1, Ordering::AcqRel);
        self.sealed.store(false, Ordering::Release);
        *lock(&self.index) = index;
        self.set_extent(extent);
    }

    /// Takes note of the batch at `offset`.
    pub(crate) fn note(&self, batch: &RecordBatch, offset: u64, options: &FsOptions) {
        lock(&self.index).push(batch.header(), offset, options.index_interval_bytes);
    }

    pub(crate) fn index_bytes(&self) -> u64 {
        lock(&self.index).encoded_len()
    }

    /// The whole index: what is in memory, completed by the files or, failing these, by the log.
    pub(crate) fn index(&self, files: &OpenFiles, this: &Arc<Self>) -> io::Result<Index> {
        {
            let index = lock(&self.index);
            if index.is_complete() {
                return Ok(index.clone());
            }
        }
        let earlier = match self.load_index(files.fs.as_ref())? {
            Some(earlier) => earlier,
            None => self.rebuild_index(files, this)?,
        };
        let mut index = lock(&self.index);
        if !index.is_complete() {
            index.complete_with(earlier);
        }
        Ok(index.clone())
    }

    /// The index in memory, completed from its files or the log where it does not cover all.
    fn whole_index(
        &self,
        files: &OpenFiles,
        this: &Arc<Self>,
    ) -> io::Result<MutexGuard<'_, Index>> {
        if !lock(&self.index).is_complete() {
            self.index(files, this)?;
        }
        Ok(lock(&self.index))
    }

    /// As [`offset_for`](Self::offset_for), if that needs no file.
    pub(crate) fn known_offset_for(&self, msn: Msn) -> Option<u64> {
        let index = lock(&self.index);
        index.is_complete().then(|| index.offset_for(msn))
    }

    /// As [`start_of`](Self::start_of), if that needs no file.
    pub(crate) fn known_start_of(&self, batch: &Range<Msn>) -> Option<Start> {
        let index = lock(&self.index);
        index.is_complete().then(|| index.start_of(batch))
    }

    /// Where the batch of these MSNs begins, or where to start looking for it.
    pub(crate) fn start_of(
        &self,
        batch: &Range<Msn>,
        files: &OpenFiles,
        this: &Arc<Self>,
    ) -> io::Result<Start> {
        Ok(self.whole_index(files, this)?.start_of(batch))
    }

    /// Where to start looking for `msn`.
    pub(crate) fn offset_for(
        &self,
        msn: Msn,
        files: &OpenFiles,
        this: &Arc<Self>,
    ) -> io::Result<u64> {
        Ok(self.whole_index(files, this)?.offset_for(msn))
    }

    /// An MSN before which every timestamp is older than `timestamp`.
    pub(crate) fn msn_for(
        &self,
        timestamp: i64,
        files: &OpenFiles,
        this: &Arc<Self>,
    ) -> io::Result<Msn> {
        Ok(self.whole_index(files, this)?.msn_for(timestamp))
    }

    fn load_index(&self, fs: &dyn FileSystem) -> io::Result<Option<Index>> {
        let sums = self.sums();
        let offsets = read_small(fs, &index_path(&self.path), INDEX_BYTES_MAX);
        let times = read_small(fs, &timeindex_path(&self.path), INDEX_BYTES_MAX);
        let (Ok(Some(offsets)), Ok(Some(times))) = (offsets, times) else { return Ok(None) };
        Ok(Index::decode(self.base, (&offsets, &times), sums))
    }

    fn rebuild_index(&self, files: &OpenFiles, this: &Arc<Self>) -> io::Result<Index> {
        tracing::debug!(segment = %self.path.display(), "index is rebuilt from the log");
        let file = files.file(this)?;
        let mut scanner =
            Scanner::new(file.as_ref(), self.extent().end, files.options.batch_bytes_max());
        let mut index = Index::new(self.base);
        let (mut at, mut expected) = (0, self.base);
        while at < scanner.end() {
            let found = match scanner.at(at)? {
                Found::Batch(batch) if batch.base_msn() == expected => Some((at, batch)),
                Found::End => None,
                _ => scanner.next_valid(at, &(expected..self.extent().next_msn))?,
            };
            let Some((place, batch)) = found else { break };
            index.push(batch.header(), place, files.options.index_interval_bytes);
            (at, expected) = (place + batch.encoded_len() as u64, batch.next_msn());
        }
        Ok(index)
    }

    /// Lets the file go, and the index where it can be had again.
    fn close(&self) {
        *lock(&self.file) = None;
        if self.sealed.load(Ordering::Acquire) {
            *lock(&self.index) = Index::behind(self.base, self.extent());
        }
    }
}

/// The segment files that are held open: at most so many, the longest unused goes first.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) options: FsOptions,
    pub(crate) buffers: ReadBuffers,
    uses: AtomicU64,
    /// `None` once the store is closed: from then on no file is kept.
    open: Mutex<Option<Vec<Weak<Segment>>>>,
}

impl OpenFiles {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, options: FsOptions) -> Self {
        let (uses, open) = (AtomicU64::new(0), Mutex::new(Some(Vec::new())));
        Self { fs, options, buffers: ReadBuffers::default(), uses, open }
    }

    /// The open file of a segment.
    pub(crate) fn file(&self, segment: &Arc<Segment>) -> io::Result<Arc<dyn File>> {
        if let Some(file) = self.open_file(segment) {
            return Ok(file);
        }
        let mode = match self.options.access {
            Access::Read => OpenMode::Read,
            Access::Write => OpenMode::ReadWrite,
        };
        let opened = self.fs.open(&segment.path, mode);
        if let Some(file) = segment.retired.get() {
            // What has just been opened may be what replaced it.
            return Ok(Arc::clone(file));
        }
        let file = opened?;
        self.keep(segment, &file);
        Ok(file)
    }

    /// The file of a segment, if it is open.
    pub(crate) fn open_file(&self, segment: &Segment) -> Option<Arc<dyn File>> {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        segment.used.store(now, Ordering::Relaxed);
        if let Some(file) = segment.retired.get() {
            return Some(Arc::clone(file));
        }
        lock(&segment.file).clone()
    }

    /// Whether the file of a segment is open; does not count as a use.
    pub(crate) fn is_open(&self, segment: &Segment) -> bool {
        lock(&segment.file).is_some()
    }

    /// Takes an open file into the set.
    pub(crate) fn keep(&self, segment: &Arc<Segment>, file: &Arc<dyn File>) {
        let evicted = {
            let mut open = lock(&self.open);
            let Some(open) = open.as_mut() else { return };
            open.retain(|segment| segment.strong_count() > 0);
            let evicted =
                if open.len() >= self.options.open_files_max { take_oldest(open) } else { None };
            open.push(Arc::downgrade(segment));
            evicted
        };
        if let Some(evicted) = evicted {
            evicted.close();
        }
        let open = lock(&self.open);
        if open.is_some() {
            *lock(&segment.file) = Some(Arc::clone(file));
        }
    }

    /// Closes every file, also of partitions whose handles live on, and keeps none any more.
    pub(crate) fn close(&self) {
        let open = lock(&self.open).take();
        for segment in open.iter().flatten().filter_map(Weak::upgrade) {
            segment.close();
        }
    }

    /// How many files are held open.
    pub(crate) fn count(&self) -> usize {
        let open = lock(&self.open);
        open.iter().flatten().filter(|segment| segment.strong_count() > 0).count()
    }
}

fn take_oldest(open: &mut Vec<Weak<Segment>>) -> Option<Arc<Segment>> {
    let used = |segment: &Weak<Segment>| {
        segment.upgrade().map_or(0, |segment| segment.used.load(Ordering::Relaxed))
    };
    let oldest = open.iter().enumerate().min_by_key(|(_, segment)| used(segment))?.0;
    open.swap_remove(oldest).upgrade()
}
