//! The batches of one partition in the database, and every question about them.
//!
//! Besides the batch there is an entry in the index, so that looking for one, dropping many and
//! finding a time read none of the batches; and the entry of the partition says where it ends.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use msglog_core::store::{Bounds, ReadLimit, Usage};
use msglog_core::{Effect, Error, ErrorKind, Msn, RecordBatch, Result, Timestamp, TopicPartition};

use crate::codec::{IndexEntry, PartitionEntry, base_of, batch_key};
use crate::database::{Change, Database, Family};
use crate::error::{closed, lock};

/// What is known of a partition without asking the database.
#[derive(Debug)]
pub(crate) struct Sequence {
    name: String,
    number: u32,
    /// Held by whoever changes the partition.
    turn: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bounds: Bounds,
    bytes: u64,
    holes: Vec<Range<Msn>>,
    is_removed: bool,
    poison: Option<Error>,
}

impl Sequence {
    /// The partition with this entry; all that is there is durable already.
    pub(crate) fn recover(
        database: &Database,
        name: &TopicPartition,
        entry: PartitionEntry,
    ) -> Result<Self> {
        let state = State {
            bounds: Bounds::default(),
            bytes: entry.bytes,
            holes: Vec::new(),
            is_removed: false,
            poison: None,
        };
        let (name, turn) = (name.to_string(), Mutex::default());
        let sequence = Self { name, number: entry.number, turn, state: Mutex::new(state) };
        sequence.note(database, entry)?;
        let mut state = lock(&sequence.state);
        state.bounds.durable_msn = state.bounds.next_msn;
        drop(state);
        Ok(sequence)
    }

    pub(crate) fn bounds(&self) -> Bounds {
        lock(&self.state).bounds
    }

    pub(crate) fn holes(&self) -> Vec<Range<Msn>> {
        lock(&self.state).holes.clone()
    }

    /// Lets no more calls in, and no change while the answer lives: the partition is removed.
    pub(crate) fn end(&self) -> MutexGuard<'_, ()> {
        let turn = lock(&self.turn);
        lock(&self.state).is_removed = true;
        turn
    }

    pub(crate) fn check_there(&self) -> Result<()> {
        if lock(&self.state).is_removed {
            return Err(closed("the partition was removed"));
        }
        Ok(())
    }

    /// Looks at what a writer elsewhere has done; for followers only.
    pub(crate) fn refresh(&self, database: &Database) -> Result<Bounds> {
        let _turn = lock(&self.turn);
        self.check_there()?;
        database.catch_up()?;
        let entry = database.value(Family::Partitions, self.name.as_bytes())?;
        match entry.as_deref().map(PartitionEntry::decode).transpose()? {
            Some(entry) if entry.number == self.number => {
                self.note(database, entry)?;
                let mut state = lock(&self.state);
                state.bounds.durable_msn = state.bounds.next_msn;
                Ok(state.bounds)
            }
            _ => {
                lock(&self.state).is_removed = true;
                Err(closed("the partition was removed"))
            }
        }
    }

    pub(crate) fn append(&self, database: &Database, batches: &[RecordBatch]) -> Result<()> {
        self.change(|| {
            let bounds = self.bounds();
            let next = check_continues(bounds.next_msn, batches)?;
            if batches.is_empty() {
                return Ok(());
            }
            let mut change = Change::of(database);
            let bytes = lock(&self.state).bytes + self.put(&mut change, batches)?;
            let entry = self.entry(next, bytes);
            change.put(Family::Partitions, self.name.as_bytes(), &entry.encode())?;
            database.change("append", change)?;
            let mut state = lock(&self.state);
            state.bounds.next_msn = next;
            state.bytes = bytes;
            Ok(())
        })
    }

    pub(crate) fn sync(&self, database: &Database) -> Result<Msn> {
        self.change(|| {
            let next = self.bounds().next_msn;
            database.sync()?;
            lock(&self.state).bounds.durable_msn = next;
            Ok(next)
        })
    }

    pub(crate) fn read(
        &self,
        database: &Database,
        from: Msn,
        limit: ReadLimit,
    ) -> Result<Vec<RecordBatch>> {
        let end = self.bounds().next_msn;
        if from >= end {
            return Ok(Vec::new());
        }
        let start = self.holder_of(database, from)?;
        let (mut answer, mut bytes, mut damaged) = (Vec::new(), 0_usize, None);
        database.scan(Family::Batches, &self.key(start), &self.key(end), |(key, value)| {
            let base = base_of(&key)?;
            self.note_hole(damaged.take(), base);
            bytes = bytes.saturating_add(value.len());
            if bytes > limit.bytes && !answer.is_empty() {
                return Ok(false);
            }
            match RecordBatch::decode(Bytes::from(value)) {
                Ok(batch) if batch.base_msn() == base => answer.push(batch),
                _ => damaged = Some(base),
            }
            Ok(true)
        })?;
        self.note_hole(damaged, end);
        self.check_there()?;
        Ok(answer)
    }

    pub(crate) fn trim(&self, database: &Database, before: Msn) -> Result<Msn> {
        self.change(|| {
            let bounds = self.bounds();
            let keep = self.holder_of(database, before)?.min(bounds.next_msn);
            if keep <= bounds.first_msn {
                return Ok(bounds.first_msn);
            }
            self.drop_range(database, "trim", Msn::ZERO..keep, bounds.next_msn)?;
            // The end is inclusive: the last MSN that is gone.
            let (start, last) = (self.key(Msn::ZERO), self.key(Msn::new(keep.get() - 1)));
            database.free_files(&start, &last);
            Ok(self.bounds().first_msn)
        })
    }

    pub(crate) fn truncate(&self, database: &Database, from: Msn) -> Result<Msn> {
        self.change(|| {
            let next = self.bounds().next_msn;
            let cut = self.holder_of(database, from)?;
            match self.first_from(database, cut)? {
                Some(first) if cut < next => {
                    self.drop_range(database, "truncate", first..Msn::MAX, first)?;
                    Ok(first)
                }
                _ => Ok(next),
            }
        })
    }

    pub(crate) fn find(&self, database: &Database, timestamp: Timestamp) -> Result<Msn> {
        let bounds = self.bounds();
        let mut found = bounds.next_msn;
        let (start, end) = (self.key(bounds.first_msn), self.key(bounds.next_msn));
        database.scan(Family::Index, &start, &end, |(key, value)| {
            if IndexEntry::decode(&value)?.max_timestamp < timestamp {
                return Ok(true);
            }
            found = base_of(&key)?;
            Ok(false)
        })?;
        Ok(found)
    }

    pub(crate) fn replace(
        &self,
        database: &Database,
        range: &Range<Msn>,
        batches: &[RecordBatch],
    ) -> Result<()> {
        self.change(|| {
            let next = self.bounds().next_msn;
            self.check_replaces(database, range, batches)?;
            let bytes = lock(&self.state).bytes.saturating_sub(self.bytes_in(database, range)?);
            let mut change = Change::of(database);
            let (start, end) = (self.key(range.start), self.key(range.end));
            change.delete_range(Family::Batches, &start, &end)?;
            change.delete_range(Family::Index, &start, &end)?;
            let bytes = bytes + self.put(&mut change, batches)?;
            self.finish(database, "replace", change, self.entry(next, bytes))
        })
    }

    pub(crate) fn usage(&self, database: &Database) -> Result<Usage> {
        let bytes = lock(&self.state).bytes;
        let (start, end) = (self.key(Msn::ZERO), self.key(Msn::MAX));
        let mut allocated = 0;
        for family in [Family::Batches, Family::Index] {
            allocated += database.file_bytes(family, &start, &end)?;
        }
        Ok(Usage::new(bytes, allocated.max(bytes), 0))
    }

    /// Adds to a change what removes every trace of the partition.
    pub(crate) fn remove(number: u32, name: &str, change: &mut Change<'_>) -> Result<()> {
        let (start, end) = (batch_key(number, Msn::ZERO), batch_key(number, Msn::MAX));
        change.delete_range(Family::Batches, &start, &end)?;
        change.delete_range(Family::Index, &start, &end)?;
        change.delete(Family::Partitions, name.as_bytes())
    }

    fn key(&self, base: Msn) -> [u8; 12] {
        batch_key(self.number, base)
    }

    /// Adds batches with their index to a change, and answers their bytes.
    fn put(&self, change: &mut Change<'_>, batches: &[RecordBatch]) -> Result<u64> {
        let mut bytes = 0;
        for batch in batches {
            let key = self.key(batch.base_msn());
            change.put(Family::Batches, &key, &batch.to_bytes())?;
            change.put(Family::Index, &key, &IndexEntry::of(batch).encode())?;
            bytes += batch.encoded_len() as u64;
        }
        Ok(bytes)
    }

    /// Drops the batches with a base in `range`, durably, after which the partition ends at `next`.
    fn drop_range(
        &self,
        database: &Database,
        what: &str,
        range: Range<Msn>,
        next: Msn,
    ) -> Result<()> {
        let bytes = lock(&self.state).bytes.saturating_sub(self.bytes_in(database, &range)?);
        let mut change = Change::of(database);
        let (start, end) = (self.key(range.start), self.key(range.end));
        change.delete_range(Family::Batches, &start, &end)?;
        change.delete_range(Family::Index, &start, &end)?;
        self.finish(database, what, change, self.entry(next, bytes))
    }

    /// Applies a change, durably, after which the partition is as the entry says.
    fn finish(
        &self,
        database: &Database,
        what: &str,
        mut change: Change<'_>,
        entry: PartitionEntry,
    ) -> Result<()> {
        change.put(Family::Partitions, self.name.as_bytes(), &entry.encode())?;
        database.change(what, change)?;
        self.note(database, entry)?;
        database.sync()?;
        lock(&self.state).bounds.durable_msn = entry.next;
        Ok(())
    }

    fn entry(&self, next: Msn, bytes: u64) -> PartitionEntry {
        PartitionEntry { number: self.number, next, bytes }
    }

    /// Takes over what an entry and the index say.
    fn note(&self, database: &Database, entry: PartitionEntry) -> Result<()> {
        let first = self.first_from(database, Msn::ZERO)?;
        let first_msn = first.map_or(entry.next, |first| first.min(entry.next));
        let mut state = lock(&self.state);
        let durable_msn = state.bounds.durable_msn.clamp(first_msn, entry.next);
        state.bounds = Bounds { first_msn, next_msn: entry.next, durable_msn };
        state.bytes = entry.bytes;
        Ok(())
    }

    fn first_from(&self, database: &Database, from: Msn) -> Result<Option<Msn>> {
        let mut first = None;
        database.scan(Family::Index, &self.key(from), &self.key(Msn::MAX), |(key, _)| {
            first = Some(base_of(&key)?);
            Ok(false)
        })?;
        Ok(first)
    }

    fn bytes_in(&self, database: &Database, range: &Range<Msn>) -> Result<u64> {
        let (start, end) = (self.key(range.start), self.key(range.end));
        let mut bytes = 0;
        database.scan(Family::Index, &start, &end, |(_, value)| {
            bytes += u64::from(IndexEntry::decode(&value)?.length);
            Ok(true)
        })?;
        Ok(bytes)
    }

    /// The base MSN of the batch that holds `msn`, or `msn` itself when none does.
    fn holder_of(&self, database: &Database, msn: Msn) -> Result<Msn> {
        let (start, last) = (self.key(Msn::ZERO), self.key(msn));
        let Some((key, value)) = database.last_pair(Family::Index, &start, &last)? else {
            return Ok(msn);
        };
        let holds = IndexEntry::decode(&value)?.next > msn;
        if holds { base_of(&key) } else { Ok(msn) }
    }

    fn check_replaces(
        &self,
        database: &Database,
        range: &Range<Msn>,
        batches: &[RecordBatch],
    ) -> Result<()> {
        let invalid = |why: &str| {
            let why = format!("cannot replace {}..{}: {why}", range.start, range.end);
            Err(Error::new(ErrorKind::Invalid, why))
        };
        if range.start > range.end || range.end > self.bounds().next_msn {
            return invalid("the partition does not reach that far");
        }
        for edge in [range.start, range.end] {
            if self.holder_of(database, edge)? != edge {
                return invalid("it cuts a batch");
            }
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
            return Err(Error::new(ErrorKind::Poisoned, "an earlier change panicked"));
        };
        self.check_there()?;
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
