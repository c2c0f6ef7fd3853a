//! What nobody waits for: sealing, preparing the next segment, checkpoints; and the two calls that
//! wait for all of that, trim and close.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use msglog_core::{Error, Msn, Result};

use crate::blocking::lock;
use crate::checkpoint::{Checkpoint, SegmentEntry};
use crate::index::IndexSums;
use crate::io::{OpenMode, remove_if_there, replace_file};
use crate::layout::{PREPARED, index_path, temporary_path, timeindex_path};
use crate::opening::remove_segment;
use crate::runway::fill;
use crate::segment::{Extent, Segment};
use crate::writer::{Ahead, Prepared, State, Writer};

/// The least time between two syncs for which nobody has asked.
const CHORE_SYNC_PAUSE: Duration = Duration::from_secs(1);

impl State {
    /// Whether a segment is complete and synced.
    fn can_seal(&self) -> bool {
        self.to_seal.iter().any(|segment| segment.base < self.synced.0.base)
    }

    /// Whether a segment is complete and not synced, or as much is not as is scanned after a crash.
    fn wants_sync(&self, checkpoint_bytes: u64) -> bool {
        self.to_seal.iter().any(|segment| segment.base >= self.synced.0.base)
            || self.unsynced_bytes >= checkpoint_bytes
    }
}

impl Writer {
    /// Whether there is something to do for the housekeeping.
    pub(crate) fn is_due(&self, state: &State) -> bool {
        let checkpoint_bytes = self.log.files.options.checkpoint_bytes;
        state.can_seal()
            || (state.wants_sync(checkpoint_bytes) && !state.sync_is_put_off)
            || state.synced_since_checkpoint >= checkpoint_bytes
            || self.lacks_next(state)
            || self.lacks_runway(state)
    }

    /// Lets the thread come for what the opening has left to it; without one, the calls that cause
    /// it do it.
    pub(crate) fn tend_later(self: &Arc<Self>) {
        let due = self.is_due(&lock(&self.state));
        if due && self.tending.has_thread() {
            self.tending.ask(self);
        }
    }

    fn lacks_next(&self, state: &State) -> bool {
        let half = self.log.files.options.segment_bytes / 2;
        state.prepared.is_none() && !state.no_room_ahead && state.active.extent().end > half
    }

    /// Does everything that is due, and answers when to come again for what is put off; errors that
    /// matter have poisoned the partition.
    pub(crate) fn tend(&self) -> Option<Instant> {
        let Ok(_hold) = self.usable() else { return None };
        let _chores = lock(&self.chores);
        self.tend_now().unwrap_or_else(|error| {
            tracing::warn!(partition = %self.log.dir.display(), %error, "housekeeping failed");
            lock(&self.state).sync_is_put_off = false;
            None
        })
    }

    fn tend_now(&self) -> Result<Option<Instant>> {
        let checkpoint_bytes = self.log.files.options.checkpoint_bytes;
        if self.runway_is_due() {
            self.extend_runway()?;
        }
        if self.next_is_due() {
            self.prepare_next();
        }
        let put_off = self.sync_in_time(checkpoint_bytes)?;
        let sealed = self.seal();
        let synced = lock(&self.state).synced_since_checkpoint;
        if sealed || synced >= checkpoint_bytes {
            self.write_checkpoint(false)?;
        }
        Ok(put_off)
    }

    /// Syncs what nobody has asked to be synced, but not so soon after the last time: appends are
    /// slow meanwhile. Answers until when it is put off.
    fn sync_in_time(&self, checkpoint_bytes: u64) -> Result<Option<Instant>> {
        {
            let mut state = lock(&self.state);
            state.sync_is_put_off = false;
            if !state.wants_sync(checkpoint_bytes) {
                return Ok(None);
            }
            let from = state.last_chore_sync + CHORE_SYNC_PAUSE;
            if self.log.files.options.background && Instant::now() < from {
                state.sync_is_put_off = true;
                return Ok(Some(from));
            }
        }
        self.sync_now()?;
        lock(&self.state).last_chore_sync = Instant::now();
        Ok(None)
    }

    fn runway_is_due(&self) -> bool {
        self.lacks_runway(&lock(&self.state))
    }

    fn next_is_due(&self) -> bool {
        self.lacks_next(&lock(&self.state))
    }

    /// Writes the derived files of segments that are complete and synced, and cuts their unused
    /// end; answers whether there were any.
    fn seal(&self) -> bool {
        let ready: Vec<_> = {
            let mut state = lock(&self.state);
            let synced = state.synced.0.base;
            let ready = state.to_seal.extract_if(.., |segment| segment.base < synced);
            ready.collect()
        };
        for segment in &ready {
            self.write_index(segment);
            self.cut_unused(segment);
            segment.seal();
        }
        !ready.is_empty()
    }

    /// The index files are hints: without them they are made again from the log.
    pub(crate) fn write_index(&self, segment: &Arc<Segment>) {
        let written = segment.index(&self.log.files, segment).and_then(|index| {
            let (offsets, times) = index.encode();
            for (path, bytes) in
                [(index_path(&segment.path), &offsets), (timeindex_path(&segment.path), &times)]
            {
                replace_file(self.fs(), &path, &temporary_path(&path), bytes)?;
            }
            segment.set_sums(IndexSums::of(&offsets, &times));
            Ok(())
        });
        if let Err(cause) = written {
            let segment = segment.path.display();
            tracing::warn!(%segment, %cause, "index is not written");
        }
    }

    fn cut_unused(&self, segment: &Arc<Segment>) {
        let file = self.log.files.file(segment);
        if let Err(cause) = file.and_then(|file| file.set_len(segment.extent().end)) {
            let segment = segment.path.display();
            tracing::warn!(%segment, %cause, "unused end is not cut");
        }
    }

    /// Creates the file of the next segment, so that a roll costs a rename.
    fn prepare_next(&self) {
        let path = self.log.dir.join(PREPARED);
        let options = &self.log.files.options;
        let zeros = lock(&self.state).zeros_pay();
        let len = if zeros { options.segment_bytes.min(options.zeros_ahead_bytes) } else { 0 };
        let prepared = remove_if_there(self.fs(), &path).and_then(|_| {
            let file = self.fs().open(&path, OpenMode::CreateNew)?;
            let room = options.segment_bytes;
            let allocated = self.allocate(file.as_ref(), room);
            fill(file.as_ref(), 0, len)?;
            file.sync_all()?;
            let allocated_end = allocated.map_or(0, |()| room);
            Ok(Prepared { file, ahead: Ahead { zeroed_end: len, allocated_end } })
        });
        let mut state = lock(&self.state);
        match prepared {
            Ok(prepared) => state.prepared = Some(prepared),
            Err(cause) => {
                state.no_room_ahead = true;
                let _ = remove_if_there(self.fs(), &path);
                let partition = self.log.dir.display();
                tracing::warn!(%partition, %cause, "next segment is not prepared");
            }
        }
    }

    /// Remembers how far everything is synced.
    fn write_checkpoint(&self, clean: bool) -> Result<()> {
        let active = Arc::clone(&lock(&self.state).active);
        self.write_index(&active);
        let checkpoint = {
            let mut state = lock(&self.state);
            state.synced_since_checkpoint = 0;
            self.checkpoint(&state.synced, clean)
        };
        self.store_checkpoint(&checkpoint)
    }

    pub(crate) fn checkpoint(&self, synced: &(Arc<Segment>, Extent), clean: bool) -> Checkpoint {
        self.checkpoint_of(&self.log.segments(), synced, clean)
    }

    /// The same with these segments.
    pub(crate) fn checkpoint_of(
        &self,
        segments: &[Arc<Segment>],
        synced: &(Arc<Segment>, Extent),
        clean: bool,
    ) -> Checkpoint {
        let (last, extent) = synced;
        let before = segments.iter().take_while(|segment| segment.base < last.base);
        let mut entries: Vec<_> = before.map(|segment| SegmentEntry::of(segment)).collect();
        entries.push(SegmentEntry { extent: *extent, ..SegmentEntry::of(last) });
        Checkpoint {
            clean,
            writer_epoch: self.epoch,
            first_msn: self.log.bounds().first_msn,
            segments: entries,
            holes: self.log.holes(),
        }
    }

    pub(crate) fn store_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        let (fs, dir) = (self.fs(), &self.log.dir);
        checkpoint.prepare(fs, dir).map_err(|cause| self.log.failed("checkpoint", cause))?;
        let placed = Checkpoint::take_effect(fs, dir);
        placed.map_err(|cause| self.half_done("checkpoint", cause))?;
        fs.sync_dir(dir).map_err(|cause| self.poison("sync", cause))
    }

    /// An error of a call that may have changed what the next opening finds.
    fn half_done(&self, verb: &str, cause: io::Error) -> Error {
        self.log.failed(verb, cause).with_unknown_effect().with_transient(false)
    }

    /// Drops whole segments below `before`.
    pub(crate) fn trim(&self, before: Msn) -> Result<Msn> {
        let _hold = self.usable()?;
        let _chores = lock(&self.chores);
        let _syncing = lock(&self.syncing);
        let bounds = self.log.bounds();
        if before >= bounds.next_msn {
            self.roll_empty().map_err(|cause| self.log.failed("trim", cause))?;
            self.fs().sync_dir(&self.log.dir).map_err(|cause| self.poison("sync", cause))?;
        }
        let segments = self.log.segments();
        let count = segments.iter().skip(1).take_while(|segment| segment.base <= before).count();
        let (Some(first), true) = (segments.get(count), count > 0) else {
            return Ok(bounds.first_msn);
        };
        let checkpoint = {
            let mut state = lock(&self.state);
            state.touched = true;
            if state.synced.0.base < first.base {
                state.synced = (Arc::clone(first), Extent::empty(first.base));
            }
            let mut checkpoint = self.checkpoint(&state.synced, false);
            checkpoint.first_msn = first.base;
            checkpoint.segments.retain(|entry| entry.base >= first.base);
            checkpoint
        };
        self.store_checkpoint(&checkpoint)?;
        self.log.change_bounds(|bounds| bounds.first_msn = first.base);
        self.log.change_segments(|segments| drop(segments.drain(..count)));
        {
            let mut state = lock(&self.state);
            state.unsynced.retain(|entry| entry.segment.base >= first.base);
            state.unproven.retain(|found| found.segment.base >= first.base);
            state.loose_end.take_if(|end| end.segment.base < first.base);
            state.to_seal.retain(|segment| segment.base >= first.base);
        }
        for segment in segments.iter().take(count) {
            // Trimmed they are; what is left of them goes when the partition is opened.
            remove_segment(self.fs(), &segment.path)
                .map_err(|cause| self.half_done("trim", cause))?;
        }
        self.fs().sync_dir(&self.log.dir).map_err(|cause| self.poison("sync", cause))?;
        Ok(first.base)
    }

    /// Begins an empty segment at the end unless the active one is empty; its name is durable
    /// after the next sync.
    pub(crate) fn roll_empty(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.active.extent().end == 0 {
            return Ok(());
        }
        let part = self.fresh_part(&mut state, self.log.bounds().next_msn)?;
        self.enter(&mut state, &part, part.fresh.unwrap_or_default());
        Ok(())
    }

    /// Makes everything durable and tidy; the caller has refused further calls before.
    pub(crate) fn close(&self) -> Result<()> {
        let _chores = lock(&self.chores);
        self.healthy()?;
        self.sync_now()?;
        self.seal();
        let (touched, active, prepared) = {
            let mut state = lock(&self.state);
            let touched = std::mem::take(&mut state.touched);
            (touched, Arc::clone(&state.active), state.prepared.take())
        };
        if prepared.is_some() {
            let _ = remove_if_there(self.fs(), &self.log.dir.join(PREPARED));
        }
        if !touched {
            return Ok(());
        }
        self.cut_unused(&active);
        {
            let mut state = lock(&self.state);
            (state.zeroed_end, state.allocated_end) = (active.extent().end, 0);
        }
        self.write_checkpoint(true)
    }
}
