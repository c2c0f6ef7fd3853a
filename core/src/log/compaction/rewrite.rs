//! What compaction makes of record batches: those of their records that are kept, in batches that
//! cover the same MSNs.

use std::ops::Range;

use super::key_map::KeyMap;
use crate::batch::{BatchBuilder, BatchOptions, Compression, DecodeLimits, NO_EPOCH, RecordView};
use crate::{Message, Msn, Record, RecordBatch, Result, Timestamp};

/// Batches smaller than this are put together.
const MERGE_BELOW_BYTES: usize = 64 << 10;
/// The most MSNs that one batch covers.
const MSNS_MAX: u64 = 1 << 31;

/// What is kept, and how.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) keys: KeyMap,
    pub(super) now: Timestamp,
    /// When the tombstones that are met for the first time may go.
    pub(super) horizon: Timestamp,
    /// Whether tombstones whose time has come go; not behind records that could not be rewritten.
    pub(super) drops_tombstones: bool,
    /// The size of a batch that is put together.
    pub(super) batch_bytes: usize,
}

/// A range that was looked at, and what it becomes.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) msns: Range<Msn>,
    pub(super) batches: Vec<RecordBatch>,
    pub(super) bytes_before: u64,
    pub(super) bytes_after: u64,
    pub(super) records_before: u64,
    pub(super) records_after: u64,
    /// When the next tombstone of it may go.
    pub(super) horizon: Option<Timestamp>,
    /// Whether a tombstone got its horizon here.
    marks: bool,
}

impl Chunk {
    fn starting_at(start: Msn) -> Self {
        Self {
            msns: start..start,
            batches: Vec::new(),
            bytes_before: 0,
            bytes_after: 0,
            records_before: 0,
            records_after: 0,
            horizon: None,
            marks: false,
        }
    }

    /// Whether replacing pays: something goes, or much less room is taken.
    pub(super) fn is_worth_it(&self) -> bool {
        self.records_after < self.records_before
            || self.marks
            || self.bytes_after < self.bytes_before - self.bytes_before / 8
    }
}

/// Rewrites batch after batch into chunks.
#[derive(Debug)]
pub(super) struct Rewriter {
    pub(super) rules: Rules,
    chunk: Chunk,
    open: Option<Open>,
    kept: Vec<bool>,
}

/// A batch that is being put together.
#[derive(Debug)]
struct Open {
    base: Msn,
    builder: BatchBuilder,
    compression: Compression,
    horizon: Option<Timestamp>,
}

/// What a look at a batch has found.
struct Look {
    kept: usize,
    /// Whether tombstones are kept.
    tombstones: bool,
}

impl Rewriter {
    pub(super) fn new(rules: Rules, start: Msn) -> Self {
        let chunk = Chunk::starting_at(start);
        Self { rules, chunk, open: None, kept: Vec::new() }
    }

    /// The MSN behind the last batch.
    pub(super) fn end(&self) -> Msn {
        self.chunk.msns.end
    }

    /// Where the present chunk begins.
    pub(super) fn start(&self) -> Msn {
        self.chunk.msns.start
    }

    /// Bytes that the present chunk holds in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        let open = self.open.as_ref().map_or(0, |open| open.builder.encoded_len() as u64);
        self.chunk.bytes_after + open
    }

    /// Bytes that went into the present chunk.
    pub(super) fn read_bytes(&self) -> u64 {
        self.chunk.bytes_before
    }

    /// Ends the present chunk; the next one begins at `next`.
    pub(super) fn take(&mut self, next: Msn) -> Result<Chunk> {
        self.close()?;
        Ok(std::mem::replace(&mut self.chunk, Chunk::starting_at(next)))
    }

    /// Takes the next batch.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.chunk.bytes_before += batch.encoded_len() as u64;
        self.chunk.records_before += u64::from(batch.record_count());
        self.chunk.msns.end = batch.next_msn();
        let header = batch.header();
        if header.is_control() || header.is_transactional() {
            return self.keep_whole(batch);
        }
        let horizon = header.has_delete_horizon().then(|| header.base_timestamp());
        let decoded = batch.decoded(DecodeLimits::default())?;
        let mut kept = std::mem::take(&mut self.kept);
        kept.clear();
        let mut look = Look { kept: 0, tombstones: false };
        for view in &decoded {
            let view = view?;
            let keeps = self.keeps(&view, horizon);
            look.kept += usize::from(keeps);
            look.tombstones |= keeps && is_tombstone(&view);
            kept.push(keeps);
        }
        let horizon = look.tombstones.then(|| horizon.unwrap_or(self.rules.horizon));
        self.chunk.marks |= look.tombstones && !header.has_delete_horizon();
        self.chunk.horizon = [self.chunk.horizon, horizon].into_iter().flatten().min();
        let untouched = look.kept == kept.len() && look.kept > 0;
        let marked = horizon.is_none() || header.has_delete_horizon();
        if untouched && marked && batch.encoded_len() >= MERGE_BELOW_BYTES {
            self.kept = kept;
            return self.keep_whole(batch);
        }
        let compression = header.compression()?;
        self.ready(batch.base_msn(), compression, horizon)?;
        for (record, _) in decoded.into_records().zip(&kept).filter(|(_, keeps)| **keeps) {
            self.add(record?, (compression, horizon))?;
        }
        self.kept = kept;
        self.cover(batch, compression)
    }

    fn keeps(&self, view: &RecordView<'_>, horizon: Option<Timestamp>) -> bool {
        let Some(key) = view.key else { return true };
        if self.rules.keys.newest(key).is_some_and(|newest| newest > view.msn) {
            return false;
        }
        let is_due = horizon.is_some_and(|horizon| horizon <= self.rules.now);
        !(is_tombstone(view) && is_due && self.rules.drops_tombstones)
    }

    fn keep_whole(&mut self, batch: &RecordBatch) -> Result<()> {
        self.close()?;
        let mut batch = batch.clone();
        batch.stamp(batch.base_msn(), NO_EPOCH);
        self.enter(batch);
        Ok(())
    }

    /// Makes sure that the open batch can take records of this kind from `base` on.
    fn ready(
        &mut self,
        base: Msn,
        compression: Compression,
        horizon: Option<Timestamp>,
    ) -> Result<()> {
        let fits = self.open.as_ref().is_some_and(|open| {
            open.compression == compression
                && (horizon.is_none() || open.horizon == horizon)
                && base.distance_from(open.base) < MSNS_MAX
        });
        if fits {
            return Ok(());
        }
        self.close()?;
        self.begin(base, compression, horizon);
        Ok(())
    }

    fn begin(&mut self, base: Msn, compression: Compression, horizon: Option<Timestamp>) {
        let mut options = BatchOptions::default().with_compression(compression);
        options.delete_horizon = horizon;
        let builder = BatchBuilder::new(options);
        self.open = Some(Open { base, builder, compression, horizon });
    }

    fn add(
        &mut self,
        record: Record,
        (compression, horizon): (Compression, Option<Timestamp>),
    ) -> Result<()> {
        let (msn, time) = (record.msn, record.timestamp);
        let message = Message::from(record);
        let bound = BatchBuilder::record_bytes_bound(&message);
        let is_full = |open: &Open| {
            let bytes = open.builder.encoded_len() + bound;
            open.builder.record_count() > 0 && bytes > self.rules.batch_bytes
                || msn.distance_from(open.base) >= MSNS_MAX
        };
        if self.open.as_ref().is_none_or(is_full) {
            self.close_before(msn)?;
            self.begin(msn, compression, horizon);
        }
        if let Some(open) = &mut self.open {
            open.builder.push_at(delta(open.base, msn), &message, time)?;
        }
        Ok(())
    }

    /// Makes the open batch cover all of `batch`.
    fn cover(&mut self, batch: &RecordBatch, compression: Compression) -> Result<()> {
        let last = Msn::new(batch.next_msn().get() - 1);
        let is_far = |open: &Open| last.distance_from(open.base) >= MSNS_MAX;
        if self.open.as_ref().is_none_or(is_far) {
            self.close()?;
            self.begin(batch.base_msn(), compression, None);
        }
        match &mut self.open {
            Some(open) => open.builder.cover(delta(open.base, last)),
            None => Ok(()),
        }
    }

    /// Ends the open batch, which covers all that lies in front of `msn`.
    fn close_before(&mut self, msn: Msn) -> Result<()> {
        if let Some(open) = &mut self.open
            && msn > open.base
            && msn.distance_from(open.base) <= MSNS_MAX
        {
            open.builder.cover(delta(open.base, Msn::new(msn.get() - 1)))?;
        }
        self.close()
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = self.open.take() {
            let mut batch = open.builder.build()?;
            batch.stamp(open.base, NO_EPOCH);
            self.enter(batch);
        }
        Ok(())
    }

    fn enter(&mut self, batch: RecordBatch) {
        self.chunk.bytes_after += batch.encoded_len() as u64;
        self.chunk.records_after += u64::from(batch.record_count());
        self.chunk.batches.push(batch);
    }
}

fn is_tombstone(view: &RecordView<'_>) -> bool {
    view.key.is_some() && view.payload.is_none()
}

/// How far `msn` lies behind `base`; the caller has checked that a batch can name it.
fn delta(base: Msn, msn: Msn) -> u32 {
    u32::try_from(msn.distance_from(base)).unwrap_or(u32::MAX)
}
