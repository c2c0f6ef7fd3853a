//! The writing side of a partition: append, sync, and what both leave to the housekeeping.
//!
//! Appends write under one lock, syncs run outside it, so that the next group gathers meanwhile.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::Instant;

use msglog_core::batch::NO_EPOCH;
use msglog_core::store::{SegmentRoom, Usage, check};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result};
use rustix::io::Errno;

use crate::blocking::lock;
use crate::hold::Hold;
use crate::housekeeper::Tending;
use crate::io::{File, FileSystem};
use crate::log::Log;
use crate::loose_end::LooseEnd;
use crate::recovery::RecoveryReport;
use crate::segment::{Extent, Segment};
use crate::unproven::Unproven;
use crate::write::{self, Part};

/// The writing side of one partition.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) log: Arc<Log>,
    pub(crate) epoch: i32,
    pub(crate) report: Mutex<RecoveryReport>,
    pub(crate) hold: Weak<Hold>,
    pub(crate) tending: Tending,
    pub(crate) state: Mutex<State>,
    /// Told when zeros that appends keep off are written.
    pub(crate) filled: Condvar,
    /// Held by the one sync that runs; taken before `state`.
    pub(crate) syncing: Mutex<()>,
    /// Held by housekeeping, trim and close; taken before `syncing`.
    pub(crate) chores: Mutex<()>,
    /// Held by the one replacing that runs; taken before `chores`.
    pub(crate) replacing: Mutex<()>,
    poison: OnceLock<String>,
}

/// A segment with bytes that no sync has covered, kept open so that no error of it is lost.
#[derive(Clone, Debug)]
pub(crate) struct Unsynced {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn File>,
}

/// A segment that waits for its name.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) file: Arc<dyn File>,
    pub(crate) ahead: Ahead,
}

/// What a file has ahead of what is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ahead {
    /// It holds zeros up to here.
    pub(crate) zeroed_end: u64,
    /// The device has room for it up to here; 0 where none was allocated.
    pub(crate) allocated_end: u64,
}

/// What appending changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) active: Arc<Segment>,
    /// The file of the active segment holds zeros from its extent up to here.
    pub(crate) zeroed_end: u64,
    /// The device has room for the active segment up to here; 0 where none was allocated.
    pub(crate) allocated_end: u64,
    /// Whether allocating failed; tried again after the next roll.
    pub(crate) allocates_no_more: bool,
    /// Bytes behind that to which housekeeping writes zeros at this moment: nobody else may.
    pub(crate) filling: Option<Range<u64>>,
    pub(crate) prepared: Option<Prepared>,
    /// In order.
    pub(crate) unsynced: Vec<Unsynced>,
    pub(crate) unsynced_bytes: u64,
    /// What the next sync writes again, in order.
    pub(crate) unproven: Vec<Unproven>,
    /// The end that the opening has found, as long as it may not last.
    pub(crate) loose_end: Option<LooseEnd>,
    /// Names in the folder that no sync has covered.
    pub(crate) folder_unsynced: bool,
    /// How far everything is synced.
    pub(crate) synced: (Arc<Segment>, Extent),
    pub(crate) to_seal: Vec<Arc<Segment>>,
    pub(crate) synced_since_checkpoint: u64,
    /// When housekeeping has last synced, or the partition was opened.
    pub(crate) last_chore_sync: Instant,
    /// Housekeeping comes again to sync.
    pub(crate) sync_is_put_off: bool,
    /// Whether anything was appended or trimmed since the last clean checkpoint.
    pub(crate) touched: bool,
    /// Whether somebody syncs this partition.
    pub(crate) syncs: bool,
    /// How much a sync covers of late.
    pub(crate) bytes_a_sync: u64,
    /// Whether preparing or zero-filling failed; tried again after the next roll.
    pub(crate) no_room_ahead: bool,
}

impl State {
    pub(crate) fn new(active: Arc<Segment>, zeroed_end: u64) -> Self {
        let extent = active.extent();
        Self {
            synced: (Arc::clone(&active), extent),
            active,
            zeroed_end,
            allocated_end: 0,
            allocates_no_more: false,
            filling: None,
            prepared: None,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            unproven: Vec::new(),
            loose_end: None,
            folder_unsynced: false,
            to_seal: Vec::new(),
            synced_since_checkpoint: 0,
            last_chore_sync: Instant::now(),
            sync_is_put_off: false,
            touched: false,
            syncs: false,
            bytes_a_sync: 0,
            no_room_ahead: false,
        }
    }

    /// Whether of late everything was synced, or was being synced, when the next append came.
    fn syncs_each_append(&self) -> bool {
        self.syncs && self.unsynced_bytes == 0
    }
}

impl Writer {
    pub(crate) fn new(
        log: Arc<Log>,
        state: State,
        report: RecoveryReport,
        owner: (Weak<Hold>, i32),
        tending: Tending,
    ) -> Self {
        let (hold, epoch) = owner;
        Self {
            log,
            epoch,
            report: Mutex::new(report),
            hold,
            tending,
            state: Mutex::new(state),
            filled: Condvar::new(),
            syncing: Mutex::default(),
            chores: Mutex::default(),
            replacing: Mutex::default(),
            poison: OnceLock::new(),
        }
    }

    pub(crate) fn fs(&self) -> &dyn FileSystem {
        self.log.files.fs.as_ref()
    }

    /// Answers what keeps the place ours while the call runs.
    pub(crate) fn usable(&self) -> Result<Arc<Hold>> {
        self.log.usable()?;
        self.healthy()?;
        self.hold.upgrade().ok_or_else(|| Error::new(ErrorKind::Closed, "the store is closed"))
    }

    /// # Errors
    ///
    /// `Poisoned` after a failed write or sync.
    pub(crate) fn healthy(&self) -> Result<()> {
        match self.poison.get() {
            Some(why) => Err(Error::new(ErrorKind::Poisoned, why.clone())),
            None => Ok(()),
        }
    }

    /// Refuses all further writing, because it is unknown what is on the device.
    pub(crate) fn poison(&self, verb: &str, cause: io::Error) -> Error {
        let partition = self.log.dir.display();
        tracing::error!(%partition, verb, %cause, "partition is poisoned until it is reopened");
        let error = self.log.failed(verb, cause).with_unknown_effect();
        let _ = self.poison.set(format!("an earlier attempt failed to {}", error.context()));
        error
    }

    pub(crate) fn append(self: &Arc<Self>, mut batches: Vec<RecordBatch>) -> Result<()> {
        let _hold = self.usable()?;
        let bytes = batches.iter().map(|batch| batch.encoded_len() as u64).sum();
        let mut state = self.lock_clear_of_zeros(bytes);
        if state.loose_end.is_some() {
            drop(state);
            self.fix_end()?;
            state = self.lock_clear_of_zeros(bytes);
        }
        self.usable()?;
        let bounds = self.log.bounds();
        self.check(&batches, bounds.next_msn)?;
        stamp(&mut batches, bounds.durable_msn, self.epoch);
        self.allocate_ahead(&mut state, bytes);
        let mut parts = Vec::new();
        if let Err(cause) = self.write(&mut state, &batches, &mut parts) {
            return Err(self.undo(&mut state, &parts, cause));
        }
        self.publish(&mut state, &batches, parts);
        let due = self.is_due(&state);
        drop(state);
        if due {
            self.tending.ask(self);
        }
        Ok(())
    }

    fn check(&self, batches: &[RecordBatch], next_msn: Msn) -> Result<()> {
        check::continues(next_msn, batches)?;
        self.log.files.options.check_batch_sizes(batches)
    }

    /// Writes every batch to its segment; what was begun is in `parts` also after an error.
    fn write(
        &self,
        state: &mut State,
        batches: &[RecordBatch],
        parts: &mut Vec<Part>,
    ) -> io::Result<()> {
        let segment_bytes = self.log.files.options.segment_bytes;
        let sync_follows = state.syncs_each_append();
        let mut rest = batches;
        while let Some(first) = rest.first() {
            let active = state.active.extent();
            let stay = parts.is_empty() && write::stays(&state.active, rest, segment_bytes);
            let mut part = if stay {
                let segment = Arc::clone(&state.active);
                let file = self.log.files.file(&segment)?;
                Part { segment, file, start: active.end, count: 0, fresh: None }
            } else {
                self.fresh_part(state, first.base_msn())?
            };
            part.count = write::fitting(rest, segment_bytes.saturating_sub(part.start));
            let (now, later) = rest.split_at_checked(part.count).unwrap_or((rest, &[]));
            let (file, start) = (Arc::clone(&part.file), part.start);
            parts.push(part);
            write::write_batches(file.as_ref(), now, start, sync_follows)?;
            rest = later;
        }
        Ok(())
    }

    /// A new segment, from the prepared file where there is one.
    pub(crate) fn fresh_part(&self, state: &mut State, base: Msn) -> io::Result<Part> {
        let (segment, file, mut ahead) =
            write::fresh_segment(&self.log, state.prepared.take(), base)?;
        state.folder_unsynced = true;
        // The one before it was filled, unless this begins anew behind what was trimmed.
        let segment_bytes = self.log.files.options.segment_bytes;
        if ahead.allocated_end == 0
            && state.active.extent().end > segment_bytes / 2
            && self.allocate(file.as_ref(), segment_bytes).is_ok()
        {
            ahead.allocated_end = segment_bytes;
        }
        Ok(Part { segment, file, start: 0, count: 0, fresh: Some(ahead) })
    }

    /// Takes back what a failed append has written, if the disk was merely full or no more files
    /// could be opened: then nothing that was written is in doubt.
    fn undo(&self, state: &mut State, parts: &[Part], cause: io::Error) -> Error {
        let full = matches!(
            cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        let files = matches!(Errno::from_io_error(&cause), Some(Errno::MFILE | Errno::NFILE));
        if !full && !files && !parts.is_empty() {
            return self.poison("append to", cause);
        }
        for part in parts.iter().rev() {
            if let Err(failure) = part.take_back(self.fs()) {
                return self.poison("take back an append to", failure);
            }
            if part.fresh.is_none() {
                (state.zeroed_end, state.allocated_end) = (part.start, 0);
            }
        }
        self.log.failed("append to", cause)
    }

    /// Makes what was written visible.
    fn publish(&self, state: &mut State, batches: &[RecordBatch], parts: Vec<Part>) {
        let options = &self.log.files.options;
        let mut rest = batches;
        for part in parts {
            let (now, later) = rest.split_at_checked(part.count).unwrap_or((rest, &[]));
            let mut extent = part.segment.extent();
            let start = extent.end;
            for batch in now {
                part.segment.note(batch, extent.end, options);
                extent = extent.with(batch.header(), extent.end);
            }
            part.segment.set_extent(extent);
            if let Some(ahead) = part.fresh {
                self.enter(state, &part, ahead);
            }
            state.zeroed_end = state.zeroed_end.max(extent.end);
            state.unsynced_bytes += extent.end - start;
            if state.unsynced.last().is_none_or(|last| last.segment.base != part.segment.base) {
                state.unsynced.push(Unsynced { segment: part.segment, file: part.file });
            }
            rest = later;
        }
        state.touched = true;
        if let Some(last) = batches.last() {
            self.log.change_bounds(|bounds| bounds.next_msn = last.next_msn());
        }
    }

    /// Makes a fresh segment the active one.
    pub(crate) fn enter(&self, state: &mut State, part: &Part, ahead: Ahead) {
        let sealed = std::mem::replace(&mut state.active, Arc::clone(&part.segment));
        state.to_seal.push(sealed);
        state.zeroed_end = ahead.zeroed_end;
        state.allocated_end = ahead.allocated_end;
        state.filling = None;
        state.no_room_ahead = false;
        state.allocates_no_more = false;
        self.log.files.keep(&part.segment, &part.file);
        self.log.change_segments(|segments| segments.push(Arc::clone(&part.segment)));
    }

    /// Syncs everything appended before the call.
    pub(crate) fn sync(self: &Arc<Self>) -> Result<Msn> {
        let _hold = self.usable()?;
        let durable = self.sync_now()?;
        let mut state = lock(&self.state);
        state.syncs = true;
        let due = self.is_due(&state);
        drop(state);
        if due {
            self.tending.ask(self);
        }
        Ok(durable)
    }

    pub(crate) fn sync_now(&self) -> Result<Msn> {
        let _one = lock(&self.syncing);
        self.healthy()?;
        self.cut_torn_end()?;
        let (unsynced, unproven, folder, bytes, target, synced) = {
            let mut state = lock(&self.state);
            let folder = std::mem::take(&mut state.folder_unsynced);
            let bytes = std::mem::take(&mut state.unsynced_bytes);
            let synced = (Arc::clone(&state.active), state.active.extent());
            let (unsynced, unproven) = (state.unsynced.clone(), state.unproven.clone());
            (unsynced, unproven, folder, bytes, self.log.bounds().next_msn, synced)
        };
        let found: u64 = unproven.iter().map(Unproven::bytes).sum();
        self.sync_found(&unproven).map_err(|cause| self.poison("sync", cause))?;
        if folder {
            self.fs().sync_dir(&self.log.dir).map_err(|cause| self.poison("sync", cause))?;
        }
        for Unsynced { file, .. } in &unsynced {
            file.sync_data().map_err(|cause| self.poison("sync", cause))?;
        }
        let mut state = lock(&self.state);
        // A failed append takes back what it wrote with a sync of its own, by the same descriptor and
        // under this lock: were it told of a failure of the device, then this sync was not.
        self.healthy()?;
        (state.unproven, state.loose_end) = (Vec::new(), None);
        // Of the last segment more may have been written meanwhile.
        let (segment, extent) = &synced;
        state.unsynced.retain(|entry| {
            entry.segment.base > segment.base
                || (entry.segment.base == segment.base && entry.segment.extent().end > extent.end)
        });
        state.synced_since_checkpoint += bytes;
        state.bytes_a_sync =
            (3 * state.bytes_a_sync).saturating_add(bytes.saturating_sub(found)) / 4;
        state.synced = synced;
        let bounds = self.log.change_bounds(|bounds| bounds.durable_msn = target);
        Ok(bounds.durable_msn)
    }

    /// The active segment, and what still goes to it.
    pub(crate) fn segment(&self) -> SegmentRoom {
        let active = Arc::clone(&lock(&self.state).active);
        let end = active.extent().end;
        SegmentRoom::new(active.base, self.log.files.options.segment_bytes.saturating_sub(end))
    }

    pub(crate) fn usage(&self) -> Usage {
        let state = lock(&self.state);
        let taken = state.zeroed_end.max(state.allocated_end);
        let ahead = taken.saturating_sub(state.active.extent().end);
        let of_prepared =
            |prepared: &Prepared| prepared.ahead.zeroed_end.max(prepared.ahead.allocated_end);
        self.log.usage(ahead + state.prepared.as_ref().map_or(0, of_prepared))
    }
}

/// Stamps the writer epoch on the first batch if everything before it is synced, and no epoch on
/// every other one: so a valid batch with an epoch proves that all before it was synced.
fn stamp(batches: &mut [RecordBatch], durable_msn: Msn, writer_epoch: i32) {
    for batch in batches {
        let base = batch.base_msn();
        batch.stamp(base, if base == durable_msn { writer_epoch } else { NO_EPOCH });
    }
}
