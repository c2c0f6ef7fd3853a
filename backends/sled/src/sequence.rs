//! The batches of one partition in its tree of sled, and every question about them.
//!
//! Keys are big-endian base MSNs, values the batches as they are. One more key, above all MSNs,
//! holds where the sequence ends and how many bytes it has; it changes in the same atomic batch of
//! sled as the batches do.

use std::ops::Range;
use std::sync::{Mutex, PoisonError, RwLock};

use bytes::Bytes;
use msglog_core::batch::BatchHeader;
use msglog_core::store::{Bounds, ReadLimit};
use msglog_core::{Effect, Error, ErrorKind, Msn, RecordBatch, Result};
use sled::{Batch, IVec, Tree};

use crate::error::{corrupt, failed, failed_change, lock};

/// Above the keys of all batches, whose first bit is 0.
const END_KEY: [u8; 1] = [0xFF];
/// How many batches one change of sled drops.
const DROPS_MAX: usize = 1024;

/// What is known of a partition without asking sled.
#[derive(Debug)]
pub(crate) struct Sequence {
    /// Held by whoever changes the tree.
    turn: Mutex<()>,
    /// Held alone while batches go, because an iterator of sled is no snapshot: a read beside it
    /// would find some of the batches and miss others.
    content: RwLock<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    bytes: u64,
    holes: Vec<Range<Msn>>,
    poison: Option<Error>,
}

/// Which batches are dropped first.
#[derive(Clone, Copy)]
enum Order {
    OldestFirst,
    NewestFirst,
}

impl Sequence {
    /// Reads what a tree holds; an empty one starts at `first`.
    pub(crate) fn recover(tree: &Tree, first: Msn) -> Result<Self> {
        let reading = |cause| failed("read the bounds of the partition", cause);
        let end = tree.get(END_KEY).map_err(reading)?;
        let (next_msn, bytes) = end.map_or(Ok((first, 0)), |value| decode_end(&value))?;
        let first_msn = first_of(tree, next_msn)?;
        if first_msn > next_msn {
            return Err(corrupt(format!("partition starts at {first_msn} and ends at {next_msn}")));
        }
        let bounds = Bounds { first_msn, next_msn, durable_msn: next_msn };
        let state = State { bounds, bytes, holes: Vec::new(), poison: None };
        let (turn, content) = (Mutex::default(), RwLock::default());
        Ok(Self { turn, content, state: Mutex::new(state) })
    }

    pub(crate) fn bounds(&self) -> Bounds {
        lock(&self.state).bounds
    }

    pub(crate) fn bytes(&self) -> u64 {
        lock(&self.state).bytes
    }

    pub(crate) fn holes(&self) -> Vec<Range<Msn>> {
        lock(&self.state).holes.clone()
    }

    pub(crate) fn append(&self, tree: &Tree, batches: &[RecordBatch]) -> Result<()> {
        self.change(|| {
            let next = check_continues(self.bounds().next_msn, batches)?;
            if batches.is_empty() {
                return Ok(());
            }
            let mut changes = Batch::default();
            let bytes = self.bytes() + insert(&mut changes, batches);
            changes.insert(&END_KEY, &encode_end(next, bytes));
            tree.apply_batch(changes).map_err(|cause| failed_change("append", cause))?;
            let mut state = lock(&self.state);
            state.bounds.next_msn = next;
            state.bytes = bytes;
            Ok(())
        })
    }

    pub(crate) fn sync(&self, tree: &Tree) -> Result<Msn> {
        self.change(|| {
            self.flush_and_note(tree)?;
            Ok(self.bounds().durable_msn)
        })
    }

    pub(crate) fn read(
        &self,
        tree: &Tree,
        from: Msn,
        limit: ReadLimit,
    ) -> Result<Vec<RecordBatch>> {
        let _whole = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let end = self.bounds().next_msn;
        let mut answer = Vec::new();
        let (mut bytes, mut damaged) = (0_usize, None);
        let start = holder_of(tree, from)?;
        if start >= end {
            return Ok(answer);
        }
        for entry in tree.range(key(start)..key(end)) {
            let (key, value) = entry.map_err(|cause| failed("read", cause))?;
            let base = msn_of(&key)?;
            self.note_hole(damaged.take(), base);
            bytes = bytes.saturating_add(value.len());
            if bytes > limit.bytes && !answer.is_empty() {
                return Ok(answer);
            }
            match RecordBatch::decode(Bytes::copy_from_slice(&value)) {
                Ok(batch) if batch.base_msn() == base => answer.push(batch),
                _ => damaged = Some(base),
            }
        }
        self.note_hole(damaged, end);
        Ok(answer)
    }

    pub(crate) fn trim(&self, tree: &Tree, before: Msn) -> Result<Msn> {
        self.change(|| {
            let keep = holder_of(tree, before)?;
            self.drop_all(tree, Msn::ZERO..keep, Order::OldestFirst)?;
            Ok(self.bounds().first_msn)
        })
    }

    pub(crate) fn truncate(&self, tree: &Tree, from: Msn) -> Result<Msn> {
        self.change(|| {
            let cut = holder_of(tree, from)?;
            self.drop_all(tree, cut..Msn::MAX, Order::NewestFirst)?;
            Ok(self.bounds().next_msn)
        })
    }

    pub(crate) fn replace(
        &self,
        tree: &Tree,
        range: &Range<Msn>,
        batches: &[RecordBatch],
    ) -> Result<()> {
        self.change(|| {
            let bounds = self.bounds();
            check_replaces(tree, bounds.next_msn, range, batches)?;
            let (mut changes, mut bytes) = (Batch::default(), self.bytes());
            for entry in tree.range(key(range.start)..key(range.end)) {
                let (key, value) = entry.map_err(|cause| failed("replace", cause))?;
                bytes = bytes.saturating_sub(value.len() as u64);
                changes.remove(key);
            }
            bytes += insert(&mut changes, batches);
            changes.insert(&END_KEY, &encode_end(bounds.next_msn, bytes));
            let alone = self.content.write().unwrap_or_else(PoisonError::into_inner);
            tree.apply_batch(changes).map_err(|cause| failed_change("replace", cause))?;
            drop(alone);
            let first_msn = first_of(tree, bounds.next_msn)?;
            {
                let mut state = lock(&self.state);
                state.bytes = bytes;
                state.bounds.first_msn = first_msn;
                state.bounds.durable_msn = state.bounds.durable_msn.max(first_msn);
            }
            self.flush_and_note(tree)
        })
    }

    /// Drops the batches of `range` bit by bit: a crash leaves a sequence at every step.
    fn drop_all(&self, tree: &Tree, range: Range<Msn>, order: Order) -> Result<()> {
        let mut dropped = false;
        while self.drop_some(tree, range.clone(), order)? {
            dropped = true;
        }
        if dropped { self.flush_and_note(tree) } else { Ok(()) }
    }

    /// Drops up to [`DROPS_MAX`] batches of `range`, oldest or newest first, atomically with the
    /// new end. Answers whether there was any.
    fn drop_some(&self, tree: &Tree, range: Range<Msn>, order: Order) -> Result<bool> {
        if range.start >= range.end {
            return Ok(false);
        }
        let mut entries = tree.range(key(range.start)..key(range.end));
        let (mut changes, mut bytes, mut last) = (Batch::default(), self.bytes(), None);
        for _ in 0..DROPS_MAX {
            let entry = match order {
                Order::OldestFirst => entries.next(),
                Order::NewestFirst => entries.next_back(),
            };
            let Some(entry) = entry else { break };
            let (key, value) = entry.map_err(|cause| failed("drop batches", cause))?;
            last = Some(msn_of(&key)?);
            bytes = bytes.saturating_sub(value.len() as u64);
            changes.remove(key);
        }
        let Some(last) = last else { return Ok(false) };
        let next = match order {
            Order::OldestFirst => self.bounds().next_msn,
            Order::NewestFirst => last,
        };
        changes.insert(&END_KEY, &encode_end(next, bytes));
        let alone = self.content.write().unwrap_or_else(PoisonError::into_inner);
        tree.apply_batch(changes).map_err(|cause| failed_change("drop batches", cause))?;
        drop(alone);
        let first_msn = first_of(tree, next)?;
        let mut state = lock(&self.state);
        state.bytes = bytes;
        let durable_msn = state.bounds.durable_msn.clamp(first_msn, next);
        state.bounds = Bounds { first_msn, next_msn: next, durable_msn };
        Ok(true)
    }

    fn flush_and_note(&self, tree: &Tree) -> Result<()> {
        let next = self.bounds().next_msn;
        flush(tree)?;
        lock(&self.state).bounds.durable_msn = next;
        Ok(())
    }

    fn note_hole(&self, start: Option<Msn>, end: Msn) {
        let Some(start) = start else { return };
        let mut state = lock(&self.state);
        if !state.holes.contains(&(start..end)) {
            state.holes.push(start..end);
            state.holes.sort_by_key(|hole| hole.start);
        }
    }

    /// Runs a change alone; an error of unknown effect, or a panic, lets no further one in.
    fn change<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Ok(_turn) = self.turn.lock() else {
            return Err(Error::new(ErrorKind::Poisoned, "sled gave up in an earlier change"));
        };
        if let Some(error) = &lock(&self.state).poison {
            let why = "an earlier change failed: reopen the store";
            return Err(Error::new(ErrorKind::Poisoned, why).with_source(error.clone()));
        }
        let outcome = work();
        if let Err(error) = &outcome
            && error.effect() == Effect::Unknown
        {
            lock(&self.state).poison = Some(error.clone());
        }
        outcome
    }
}

/// Checks that the batches continue from `next` without a gap, and answers where they end.
fn check_continues(next: Msn, batches: &[RecordBatch]) -> Result<Msn> {
    batches.iter().try_fold(next, |next, batch| {
        if batch.base_msn() == next {
            return Ok(batch.next_msn());
        }
        let why = format!("batch starts at MSN {}, the next one is {next}", batch.base_msn());
        Err(Error::new(ErrorKind::Conflict, why))
    })
}

fn check_replaces(
    tree: &Tree,
    end: Msn,
    range: &Range<Msn>,
    batches: &[RecordBatch],
) -> Result<()> {
    let invalid = |why: &str| {
        let why = format!("cannot replace {}..{}: {why}", range.start, range.end);
        Err(Error::new(ErrorKind::Invalid, why))
    };
    if range.start > range.end || range.end > end {
        return invalid("the partition does not reach that far");
    }
    if holder_of(tree, range.start)? != range.start || holder_of(tree, range.end)? != range.end {
        return invalid("it cuts a batch");
    }
    let mut next = range.start;
    for batch in batches {
        if batch.base_msn() < next || batch.next_msn() > range.end {
            return invalid("the new batches do not lie in it in order");
        }
        next = batch.next_msn();
    }
    Ok(())
}

/// Adds the batches to a change, and answers their bytes.
fn insert(changes: &mut Batch, batches: &[RecordBatch]) -> u64 {
    for batch in batches {
        changes.insert(&key(batch.base_msn()), batch.to_bytes().as_ref());
    }
    batches.iter().map(|batch| batch.encoded_len() as u64).sum()
}

fn flush(tree: &Tree) -> Result<()> {
    tree.flush().map(drop).map_err(|cause| failed_change("sync", cause))
}

/// The base MSN of the oldest batch, or `next` when there is none.
fn first_of(tree: &Tree, next: Msn) -> Result<Msn> {
    let oldest = tree.range(key(Msn::ZERO)..key(Msn::MAX)).next().transpose();
    let oldest = oldest.map_err(|cause| failed("read the oldest batch", cause))?;
    oldest.map_or(Ok(next), |(key, _)| msn_of(&key))
}

/// The base MSN of the batch that holds `msn`, or `msn` itself when none does.
fn holder_of(tree: &Tree, msn: Msn) -> Result<Msn> {
    let last = tree.range(key(Msn::ZERO)..=key(msn)).next_back().transpose();
    let last = last.map_err(|cause| failed("look for a batch", cause))?;
    let Some((key, value)) = last else { return Ok(msn) };
    let base = msn_of(&key)?;
    // A batch whose header is damaged may hold it: whoever reads on finds out.
    let next = BatchHeader::parse(&value).map_or(Msn::MAX, |header| header.next_msn());
    Ok(if next > msn { base } else { msn })
}

fn key(msn: Msn) -> [u8; 8] {
    msn.get().to_be_bytes()
}

fn msn_of(key: &[u8]) -> Result<Msn> {
    let bytes = key.try_into().map_err(|_| corrupt("a key of the partition is no MSN"))?;
    Ok(Msn::new(u64::from_be_bytes(bytes)))
}

fn encode_end(next: Msn, bytes: u64) -> [u8; 16] {
    (u128::from(next.get()) << 64 | u128::from(bytes)).to_be_bytes()
}

fn decode_end(value: &IVec) -> Result<(Msn, u64)> {
    let broken = || corrupt("the end of the partition cannot be read");
    let (next, bytes) = value.split_first_chunk::<8>().ok_or_else(broken)?;
    let bytes = bytes.try_into().map_err(|_| broken())?;
    Ok((Msn::new(u64::from_be_bytes(*next)), u64::from_be_bytes(bytes)))
}
