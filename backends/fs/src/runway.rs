//! The runway: zeros ahead of what is written, so that a sync overwrites blocks that exist, which
//! costs half of one that has to note new ones.
//!
//! Zeros are written outside the lock of appends. What is being filled is reserved in the state; an
//! append that would reach into it waits until it is filled, every other one goes on.

use std::io;
use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};

use msglog_core::Result;

use crate::blocking::lock;
use crate::io::{File, write_full};
use crate::segment::Segment;
use crate::writer::{State, Writer};

/// A segment smaller than this gets no zeros ahead, so that small partitions stay small.
const RUNWAY_FROM_BYTES: u64 = 16 << 10;
/// A sync of so much costs more with the zeros that it takes than in fresh blocks: then the device is
/// what bounds it, and would get everything twice.
const ZEROS_PAY_BELOW_BYTES: u64 = 512 << 10;
/// Zeros written at a time: the file system lets nobody else write to the file meanwhile.
const STEP_BYTES: usize = 64 << 10;
/// Zeros synced at a time: a sync of records that comes meanwhile waits for them too.
const SYNC_BYTES: u64 = 1 << 20;

static ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// Bytes of the active segment that are being filled; given back when dropped.
struct Reserved<'a> {
    writer: &'a Writer,
    range: Range<u64>,
    /// Whether they hold zeros now.
    filled: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.writer.state);
        // It is gone when another segment became the active one, and the zeros with it where an
        // append was taken back meanwhile.
        if state.filling.take().is_some() && self.filled && state.zeroed_end == self.range.start {
            state.zeroed_end = self.range.end;
        }
        drop(state);
        self.writer.filled.notify_all();
    }
}

impl Writer {
    /// How many zeros the active segment should have ahead: as many as it is filled, within limits.
    fn runway_bytes(&self, end: u64) -> u64 {
        end.max(RUNWAY_FROM_BYTES).min(self.log.files.options.zeros_ahead_bytes)
    }

    pub(crate) fn lacks_runway(&self, state: &State) -> bool {
        let end = state.active.extent().end;
        let ahead = state.zeroed_end.saturating_sub(end);
        state.zeros_pay()
            && !state.no_room_ahead
            && end >= RUNWAY_FROM_BYTES
            && ahead < self.runway_bytes(end) / 2
            && state.zeroed_end < self.log.files.options.segment_bytes
    }

    /// Locks the state for an append of so many bytes, which meets no zeros that are being written.
    pub(crate) fn lock_clear_of_zeros(&self, bytes: u64) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        while state.fills_within(bytes) {
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Fills the active segment with zeros ahead of what is written, in steps, and syncs them.
    pub(crate) fn extend_runway(&self) -> Result<()> {
        let (segment, end) = {
            let state = lock(&self.state);
            (Arc::clone(&state.active), state.active.extent().end)
        };
        let segment_bytes = self.log.files.options.segment_bytes;
        let target = end.saturating_add(self.runway_bytes(end)).min(segment_bytes);
        let file = self.log.files.file(&segment).map_err(|cause| self.log.failed("fill", cause))?;
        let mut unsynced = 0;
        while let Some(mut reserved) = self.reserve(&segment, target) {
            let Range { start, end } = reserved.range;
            if let Err(cause) = fill(file.as_ref(), start, end - start) {
                drop(reserved);
                // No room is no failure: what was filled are zeros, and appends go on.
                lock(&self.state).no_room_ahead = true;
                let partition = self.log.dir.display();
                tracing::warn!(%partition, %cause, "active segment is not filled ahead");
                return Ok(());
            }
            reserved.filled = true;
            drop(reserved);
            unsynced += end - start;
            if unsynced >= SYNC_BYTES {
                self.sync_zeros(file.as_ref())?;
                unsynced = 0;
            }
        }
        if unsynced == 0 {
            return Ok(());
        }
        self.sync_zeros(file.as_ref())
    }

    /// Not while a sync of appends runs: of two syncs of one descriptor at a time the system tells
    /// one of a failure, and if that were this one, the other would ack what the device lacks.
    fn sync_zeros(&self, file: &dyn File) -> Result<()> {
        let _one = lock(&self.syncing);
        self.healthy()?;
        file.sync_data().map_err(|cause| self.poison("sync", cause))
    }

    /// Reserves the next step up to `target`, as long as this is the active segment.
    fn reserve(&self, segment: &Segment, target: u64) -> Option<Reserved<'_>> {
        let mut state = lock(&self.state);
        let start = state.zeroed_end.max(state.active.extent().end);
        if state.active.id != segment.id || start >= target {
            return None;
        }
        let end = target.min(start.saturating_add(STEP_BYTES as u64));
        state.zeroed_end = start;
        state.filling = Some(start..end);
        Some(Reserved { writer: self, range: start..end, filled: false })
    }
}

impl State {
    /// Whether somebody syncs this partition, and so little at a time that zeros ahead pay.
    pub(crate) fn zeros_pay(&self) -> bool {
        self.syncs && self.bytes_a_sync < ZEROS_PAY_BELOW_BYTES
    }

    /// Whether an append of so many bytes would reach into what is being filled.
    fn fills_within(&self, bytes: u64) -> bool {
        self.filling
            .as_ref()
            .is_some_and(|filling| self.active.extent().end.saturating_add(bytes) > filling.start)
    }
}

/// Writes zeros.
pub(crate) fn fill(file: &dyn File, from: u64, len: u64) -> io::Result<()> {
    let (mut at, end) = (from, from.saturating_add(len));
    while at < end {
        let step = usize::try_from(end - at).unwrap_or(usize::MAX).min(STEP_BYTES);
        let zeros = ZEROS.get(..step).unwrap_or(&ZEROS);
        write_full(file, &mut [io::IoSlice::new(zeros)], at)?;
        at += step as u64;
    }
    Ok(())
}
