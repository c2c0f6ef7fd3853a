//! The bytes of an append: which batches go to which segment, and one vectored write for each.

use std::io;
use std::path::Path;
use std::sync::Arc;

use msglog_core::{Msn, RecordBatch};

use crate::index::Index;
use crate::io::{File, FileSystem, OpenMode, remove_if_there, write_full};
use crate::layout::PREPARED;
use crate::log::Log;
use crate::segment::{Extent, Segment};
use crate::writer::{Ahead, Prepared};

/// The most MSNs that one segment spans: what the relative MSN of an index can name in Kafka.
pub(crate) const SEGMENT_MSNS_MAX: u64 = (1 << 31) - 1;

/// What one append writes to one segment.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn File>,
    /// Where it begins.
    pub(crate) start: u64,
    /// How many batches.
    pub(crate) count: usize,
    /// For a segment that this append has created, what its file has ahead.
    pub(crate) fresh: Option<Ahead>,
}

impl Part {
    /// Makes the file what it was before, also on the device.
    pub(crate) fn take_back(&self, fs: &dyn FileSystem) -> io::Result<()> {
        if self.fresh.is_some() {
            return fs.remove(&self.segment.path);
        }
        self.file.set_len(self.start)?;
        self.file.sync_all()
    }
}

/// Whether an append goes to the active segment: it is empty, or all of it fits.
pub(crate) fn stays(active: &Segment, batches: &[RecordBatch], segment_bytes: u64) -> bool {
    let end = active.extent().end;
    let len: u64 = batches.iter().map(|batch| batch.encoded_len() as u64).sum();
    let last = batches.last().map_or(active.base, RecordBatch::next_msn);
    let spans = last.distance_from(active.base) > SEGMENT_MSNS_MAX;
    end == 0 || (end.saturating_add(len) <= segment_bytes && !spans)
}

/// How many batches fit; at least one, because a batch is never larger than a segment.
pub(crate) fn fitting(batches: &[RecordBatch], bytes: u64) -> usize {
    let base = batches.first().map_or(Msn::ZERO, RecordBatch::base_msn);
    let mut left = bytes;
    let fits = |batch: &&RecordBatch| {
        let spans = batch.next_msn().distance_from(base) > SEGMENT_MSNS_MAX;
        let room = left.checked_sub(batch.encoded_len() as u64).filter(|_| !spans);
        left = room.unwrap_or(left);
        room.is_some()
    };
    batches.iter().take_while(fits).count().max(1)
}

/// Writes of less are on their way to the device before beginning early would have paid.
const WRITE_OUT_FROM_BYTES: u64 = 512 << 10;
/// After so many bytes the device begins with them, while the next ones are written.
const WRITE_OUT_BYTES: u64 = 256 << 10;

/// Writes the batches one behind the other. Where a sync `follows`, the device begins with the first
/// bytes of many while the last ones are still copied.
pub(crate) fn write_batches(
    file: &dyn File,
    batches: &[RecordBatch],
    start: u64,
    sync_follows: bool,
) -> io::Result<()> {
    let len: u64 = batches.iter().map(|batch| batch.encoded_len() as u64).sum();
    let prefixes: Vec<_> = batches.iter().map(RecordBatch::prefix).collect();
    let mut parts = Vec::with_capacity(batches.len() * 2);
    for (batch, prefix) in batches.iter().zip(&prefixes) {
        parts.push(io::IoSlice::new(prefix));
        parts.push(io::IoSlice::new(batch.rest()));
    }
    if !sync_follows || len < WRITE_OUT_FROM_BYTES {
        return write_full(file, &mut parts, start);
    }
    let (mut parts, mut at, end) = (parts.as_mut_slice(), start, start.saturating_add(len));
    while at < end {
        let piece = (WRITE_OUT_BYTES - at % WRITE_OUT_BYTES).min(end - at);
        write_front(file, &mut parts, at, piece)?;
        // What is left for the sync to begin with is the last piece.
        if at + piece < end {
            file.begin_write_out(at, piece);
        }
        at += piece;
    }
    Ok(())
}

/// Writes the first `len` bytes of the parts at `offset`, and advances the parts behind them.
fn write_front(
    file: &dyn File,
    parts: &mut &mut [io::IoSlice<'_>],
    offset: u64,
    len: u64,
) -> io::Result<()> {
    let mut left = usize::try_from(len).unwrap_or(usize::MAX);
    let mut front = Vec::with_capacity(parts.len());
    for part in parts.iter() {
        let taken = part.get(..left).unwrap_or(part);
        front.push(io::IoSlice::new(taken));
        left -= taken.len();
        if left == 0 {
            break;
        }
    }
    write_full(file, &mut front, offset)?;
    io::IoSlice::advance_slices(parts, usize::try_from(len).unwrap_or(usize::MAX) - left);
    Ok(())
}

/// A new segment: the prepared file under its final name, or else a new file. Answers also what it
/// has ahead. The name is not durable yet.
pub(crate) fn fresh_segment(
    log: &Log,
    prepared: Option<Prepared>,
    base: Msn,
) -> io::Result<(Arc<Segment>, Arc<dyn File>, Ahead)> {
    let fs = log.files.fs.as_ref();
    let segment = Segment::new(&log.dir, base, Extent::empty(base), Index::new(base));
    let opened = match prepared {
        Some(prepared) => {
            let renamed = fs.rename(&log.dir.join(PREPARED), &segment.path);
            renamed.map(|()| (prepared.file, prepared.ahead))
        }
        None => create(fs, &segment.path).map(|file| (file, Ahead::default())),
    };
    if opened.is_err() {
        // A call that fails may have had its effect; what cannot be removed now, goes later.
        let _ = remove_if_there(fs, &segment.path);
    }
    let (file, ahead) = opened?;
    Ok((Arc::new(segment), file, ahead))
}

/// Creates the file of a segment; what is there under its name was left by a failed roll.
fn create(fs: &dyn FileSystem, path: &Path) -> io::Result<Arc<dyn File>> {
    match fs.open(path, OpenMode::CreateNew) {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            fs.remove(path)?;
            fs.open(path, OpenMode::CreateNew)
        }
        opened => opened,
    }
}
