//! Room on the device that is allocated ahead of what is written, so that the kernel need not look for
//! blocks when it takes the bytes of an append, nor when it writes them out.
//!
//! Allocated room is behind the end of the file: nobody reads it, and the format knows nothing of
//! it. It is given back when the segment is sealed or the partition closed, and kept over a crash.
//! Where none is to be had, appends go on without.

use std::io;

use crate::io::File;
use crate::writer::{State, Writer};

/// The first room is allocated once a segment holds this share of what it may hold, so that small
/// partitions stay small.
const ALLOCATE_FROM_SHARE: u64 = 64;
/// A segment gets so many times as much room as it holds: seldom, because the call waits for a sync
/// of the same file that is under way.
const GROWTH: u64 = 4;
/// Only where the device has so many times as much room.
const FREE_MIN_TIMES: u64 = 8;

impl Writer {
    /// Allocates four times what the active segment holds after an append of so many bytes, if that
    /// reaches behind what is allocated.
    pub(crate) fn allocate_ahead(&self, state: &mut State, bytes: u64) {
        let segment_bytes = self.log.files.options.segment_bytes;
        let end = state.active.extent().end.saturating_add(bytes);
        let may_grow = (segment_bytes / ALLOCATE_FROM_SHARE..=segment_bytes).contains(&end);
        if end <= state.allocated_end || !may_grow || state.allocates_no_more {
            return;
        }
        let room = end.saturating_mul(GROWTH).min(segment_bytes);
        let file = self.log.files.file(&state.active);
        match file.and_then(|file| self.allocate(file.as_ref(), room)) {
            Ok(()) => state.allocated_end = room,
            Err(_) => state.allocates_no_more = true,
        }
    }

    /// Allocates the first `len` bytes of a file, if that leaves room enough for others.
    pub(crate) fn allocate(&self, file: &dyn File, len: u64) -> io::Result<()> {
        if self.fs().space(&self.log.dir)?.free_bytes / FREE_MIN_TIMES < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.allocate(0, len)
    }
}
