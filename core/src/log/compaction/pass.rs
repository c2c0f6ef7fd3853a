//! One run of compaction over a partition, on a thread of its own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::runtime::Handle;

use super::key_map::KeyMap;
use super::rewrite::{Chunk, Rewriter, Rules};
use super::state::State;
use super::throttle::{Stop, Throttle};
use super::{Compacted, Compaction};
use crate::batch::DecodeLimits;
use crate::log::partition::Partition;
use crate::store::{MessageStore, ReadLimit, wait_for};
use crate::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Where any range can be replaced: about so many bytes of new batches at a time.
const CHUNK_BYTES: u64 = 4 << 20;
/// Where any range can be replaced: about so many bytes of old batches at a time.
const CHUNK_BYTES_BEFORE: u64 = 32 << 20;
/// Where segments are replaced: several, until their new batches have so many bytes.
const SEGMENT_BYTES_ENOUGH: u64 = 16 << 20;
/// The size of a batch that is put together.
const BATCH_BYTES: usize = 256 << 10;

/// A partition that is to be compacted.
#[derive(Clone, Debug)]
pub(in crate::log) struct Job {
    pub(in crate::log) partition: Arc<Partition>,
    pub(in crate::log) store: Arc<dyn MessageStore>,
    pub(in crate::log) compaction: Compaction,
    /// Whether it is done however little is new.
    pub(in crate::log) forced: bool,
}

impl Job {
    /// Runs it; one run a partition at a time. Dropping the future ends the run at the next chunk.
    pub(in crate::log) async fn run(self) -> Result<Compacted> {
        let stop = Stop::default();
        let (flag, runtime) = (stop.flag(), Handle::current());
        let running = tokio::task::spawn_blocking(move || {
            let turn = self.partition.compacting.clone();
            wait_for(&runtime, async {
                let _turn = turn.lock().await;
                Run::begin(&self, flag).await?.finish().await
            })
        });
        let done = running.await.unwrap_or_else(|cause| {
            Err(Error::new(ErrorKind::Unavailable, "the compaction ended early").with_source(cause))
        });
        drop(stop);
        done
    }
}

/// A run under way.
struct Run<'a> {
    job: &'a Job,
    throttle: Throttle,
    state: State,
    now: Timestamp,
    /// The bytes that there were when it began.
    bytes: u64,
    /// Where the present pass begins to be new, and where the run ends.
    dirty: Range<Msn>,
    memory_bytes: usize,
    done: Compacted,
}

impl<'a> Run<'a> {
    async fn begin(job: &'a Job, stop: Arc<AtomicBool>) -> Result<Self> {
        let (partition, options) = (&job.partition, &job.partition.options);
        let state = State::load(&job.store, &partition.name).await?;
        // In this order: what comes in between is no part of these bytes.
        let bytes = partition.store.usage().await?.bytes;
        let bounds = partition.bounds();
        // A state beyond the end is that of another log.
        let clean = if state.clean_msn > bounds.next_msn { Msn::ZERO } else { state.clean_msn };
        let stops = [stop, partition.stopping.clone()];
        Ok(Self {
            job,
            throttle: Throttle::new(options.compaction_bytes_per_second, stops),
            state,
            now: options.clock.now(),
            bytes,
            dirty: clean.max(bounds.first_msn)..bounds.durable_msn.max(bounds.first_msn),
            memory_bytes: options.compaction_memory_bytes,
            done: Compacted { partition: partition.name.partition, ..Compacted::default() },
        })
    }

    async fn finish(mut self) -> Result<Compacted> {
        if !self.is_due() {
            return Ok(self.done);
        }
        // What is rewritten says no more who has produced it.
        self.job.partition.keep_producers().await?;
        let (mut records_gone, mut bytes_gone) = (0, 0);
        loop {
            let (keys, end) = self.note_keys().await?;
            let horizon = self.rewrite(keys, end).await?;
            // A further pass goes over what an earlier one has left.
            let done = &mut self.done;
            records_gone += done.records_before - done.records_after;
            bytes_gone += done.bytes_before.saturating_sub(done.bytes_after);
            done.records_before = done.records_after + records_gone;
            done.bytes_before = done.bytes_after + bytes_gone;
            done.passes += 1;
            self.dirty.start = end;
            self.job.partition.sync().await?;
            // What was appended meanwhile is new, and what was trimmed is gone.
            let usage = self.job.partition.store.usage().await?;
            let clean_bytes = self.bytes.saturating_sub(bytes_gone).min(usage.bytes);
            // What could not be rewritten is looked at again: a tombstone that it needs stays.
            let clean_msn = self.done.skipped.first().map_or(end, |skipped| skipped.start);
            self.state = State { clean_msn, clean_bytes, horizon };
            self.state.save(&self.job.store, &self.job.partition.name).await?;
            if end >= self.dirty.end {
                return Ok(self.done);
            }
        }
    }

    /// Whether enough is new, or a tombstone may go.
    fn is_due(&self) -> bool {
        let is_new = self.dirty.start < self.dirty.end;
        if self.state.horizon.is_some_and(|horizon| horizon <= self.now)
            || self.job.forced && is_new
        {
            return true;
        }
        let dirty = self.bytes.saturating_sub(self.state.clean_bytes);
        let percent = u128::from(self.job.compaction.min_dirty_percent);
        is_new && u128::from(dirty) * 100 >= u128::from(self.bytes) * percent
    }

    /// The newest MSNs of the keys from the start of what is new on, and how far they all fitted.
    async fn note_keys(&mut self) -> Result<(KeyMap, Msn)> {
        let count = self.dirty.end.distance_from(self.dirty.start);
        let mut keys = KeyMap::with_budget(self.memory_bytes / 2, count);
        let mut from = self.dirty.start;
        while from < self.dirty.end {
            let batches = self.read(from).await?;
            if batches.is_empty() {
                break;
            }
            for batch in &batches {
                self.throttle.pass(batch.encoded_len() as u64)?;
                if batch.base_msn() >= self.dirty.end {
                    return Ok((keys, self.dirty.end));
                }
                if !note_batch(&mut keys, batch)? {
                    // At least one batch a pass, so that there is an end.
                    let first = from == self.dirty.start && batch.base_msn() <= from;
                    return Ok((keys, if first { batch.next_msn() } else { batch.base_msn() }));
                }
                from = batch.next_msn();
            }
        }
        Ok((keys, self.dirty.end))
    }

    /// Rewrites all up to `end`; answers when the next tombstone may go.
    async fn rewrite(&mut self, keys: KeyMap, end: Msn) -> Result<Option<Timestamp>> {
        let first = self.job.partition.bounds().first_msn;
        let mut rewriter = Rewriter::new(self.rules(keys), first);
        self.done.msns = first..end;
        (self.done.records_before, self.done.bytes_before) = (0, 0);
        (self.done.records_after, self.done.bytes_after) = (0, 0);
        let (mut from, mut horizon) = (first, None);
        'reading: while from < end {
            let batches = self.read(from).await?;
            if batches.is_empty() {
                break;
            }
            for batch in &batches {
                if batch.base_msn() >= end {
                    break 'reading;
                }
                if self.is_damaged(from..batch.base_msn()) {
                    self.put(&mut rewriter, batch.base_msn(), &mut horizon).await?;
                }
                self.throttle.pass(batch.encoded_len() as u64)?;
                rewriter.push(batch)?;
                from = batch.next_msn();
                if self.is_enough(&rewriter) {
                    self.put(&mut rewriter, from, &mut horizon).await?;
                }
            }
        }
        self.put(&mut rewriter, end, &mut horizon).await?;
        Ok(horizon)
    }

    fn rules(&self, keys: KeyMap) -> Rules {
        let grace = i64::try_from(self.job.compaction.tombstone_grace_ms).unwrap_or(i64::MAX);
        Rules {
            keys,
            now: self.now,
            horizon: Timestamp::from_millis(self.now.as_millis().saturating_add(grace)),
            drops_tombstones: true,
            batch_bytes: BATCH_BYTES.min(self.job.partition.batch_bytes_max()),
        }
    }

    /// Whether the chunk is to be replaced now: before it takes too much memory, else where that
    /// costs least.
    fn is_enough(&self, rewriter: &Rewriter) -> bool {
        let held = rewriter.held_bytes();
        if held >= (self.memory_bytes / 2) as u64 {
            return true;
        }
        let last = Msn::new(rewriter.end().get().saturating_sub(1)).max(rewriter.start());
        match self.job.partition.store.unit_end(last) {
            None => held >= CHUNK_BYTES || rewriter.read_bytes() >= CHUNK_BYTES_BEFORE,
            Some(unit_end) => held >= SEGMENT_BYTES_ENOUGH && unit_end <= rewriter.end(),
        }
    }

    /// Replaces the present chunk by what was made of it; the next one begins at `next`.
    async fn put(
        &mut self,
        rewriter: &mut Rewriter,
        next: Msn,
        horizon: &mut Option<Timestamp>,
    ) -> Result<()> {
        let chunk = rewriter.take(next)?;
        let msns = chunk.msns.clone();
        let (records, bytes) = (chunk.records_before, chunk.bytes_before);
        let (records_after, bytes_after) = (chunk.records_after, chunk.bytes_after);
        let chunk_horizon = chunk.horizon;
        self.done.records_before += records;
        self.done.bytes_before += bytes;
        let worth = !msns.is_empty() && chunk.is_worth_it();
        if worth && !self.replace(chunk).await? {
            // Older records of a key may be left in it: its tombstone must stay.
            rewriter.rules.drops_tombstones = false;
            self.done.skipped.push(msns);
            (self.done.records_after, self.done.bytes_after) =
                (self.done.records_after + records, self.done.bytes_after + bytes);
            return Ok(());
        }
        *horizon = [*horizon, chunk_horizon].into_iter().flatten().min();
        self.done.records_after += if worth { records_after } else { records };
        self.done.bytes_after += if worth { bytes_after } else { bytes };
        Ok(())
    }

    /// Replaces a chunk; `false` where the store leaves it as it is because it is damaged.
    async fn replace(&mut self, chunk: Chunk) -> Result<bool> {
        self.throttle.pass(chunk.bytes_after)?;
        let partition = &self.job.partition;
        // Not while the same records are trimmed: they must not come back.
        let _turn = partition.rewriting.lock().await;
        let msns = chunk.msns;
        if partition.store.bounds().first_msn > msns.start {
            return Ok(true);
        }
        match partition.store.replace(msns.clone(), chunk.batches).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let (start, end) = (msns.start.get(), msns.end.get());
                tracing::warn!(partition = %partition.name, start, end, %error, "not compacted");
                Ok(false)
            }
            Err(error) => Err(error.within(format_args!("compact `{}`", partition.name))),
        }
    }

    fn is_damaged(&self, gap: Range<Msn>) -> bool {
        let holes = || self.job.partition.store.holes();
        !gap.is_empty() && holes().iter().any(|hole| hole.start < gap.end && gap.start < hole.end)
    }

    async fn read(&self, from: Msn) -> Result<Vec<RecordBatch>> {
        self.job.partition.store.read(from, ReadLimit::bytes(READ_BYTES)).await
    }
}

/// Notes all keys of a batch; `false` when they do not fit.
fn note_batch(keys: &mut KeyMap, batch: &RecordBatch) -> Result<bool> {
    if batch.header().is_control() {
        return Ok(true);
    }
    let decoded = batch.decoded(DecodeLimits::default())?;
    for view in &decoded {
        let view = view?;
        if view.key.is_some_and(|key| !keys.note(key, view.msn)) {
            return Ok(false);
        }
    }
    Ok(true)
}
