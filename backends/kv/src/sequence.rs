//! The batches of one partition, and every question about them.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use msglog_core::store::{Bounds, ReadLimit, Usage, check};
use msglog_core::{Effect, Error, ErrorKind, Msn, RecordBatch, Result, Timestamp};

use crate::{Change, Database, End, closed, lock};

/// What is known of a partition without asking the database.
#[derive(Debug)]
pub(crate) struct Sequence<D: Database> {
    rows: D::Rows,
    /// Held by whoever changes the partition.
    turn: Mutex<()>,
    /// Held alone while batches go: a read beside it would find some of them and miss others.
    content: RwLock<()>,
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

impl<D: Database> Sequence<D> {
    /// The partition with these rows; all that is there is durable already.
    pub(crate) fn recover(database: &D, rows: D::Rows) -> Result<Self> {
        let (bounds, bytes, holes) = (Bounds::default(), 0, Vec::new());
        let state = State { bounds, bytes, holes, is_removed: false, poison: None };
        let (turn, content) = (Mutex::default(), RwLock::default());
        let sequence = Self { rows, turn, content, state: Mutex::new(state) };
        sequence.look(database)?;
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
            return Err(removed());
        }
        Ok(())
    }

    /// Looks at what a writer elsewhere has done; for followers only.
    pub(crate) fn refresh(&self, database: &D) -> Result<Bounds> {
        let _turn = lock(&self.turn);
        self.check_there()?;
        database.catch_up()?;
        self.look(database)
    }

    pub(crate) fn append(&self, database: &D, batches: &[RecordBatch]) -> Result<()> {
        self.change(|| {
            let next = check::continues(self.bounds().next_msn, batches)?;
            if batches.is_empty() {
                return Ok(());
            }
            let change = self.asked("append", Msn::ZERO..Msn::ZERO, batches, next);
            let step = database.change(&self.rows, &change)?;
            let mut state = lock(&self.state);
            state.bounds.next_msn = next;
            state.bytes = step.end.bytes;
            Ok(())
        })
    }

    pub(crate) fn sync(&self, database: &D) -> Result<Msn> {
        self.change(|| {
            let next = self.bounds().next_msn;
            database.sync(&self.rows)?;
            lock(&self.state).bounds.durable_msn = next;
            Ok(next)
        })
    }

    pub(crate) fn read(
        &self,
        database: &D,
        from: Msn,
        limit: ReadLimit,
    ) -> Result<Vec<RecordBatch>> {
        let whole = self.content.read().unwrap_or_else(PoisonError::into_inner);
        let end = self.bounds().next_msn;
        if from >= end {
            return Ok(Vec::new());
        }
        let start = database.holder_of(&self.rows, from)?;
        let (mut answer, mut bytes, mut damaged) = (Vec::new(), 0_usize, None);
        database.scan(&self.rows, start..end, &mut |base, value| {
            self.note_hole(damaged.take(), base);
            bytes = bytes.saturating_add(value.len());
            if bytes > limit.bytes && !answer.is_empty() {
                return Ok(false);
            }
            match RecordBatch::decode(value) {
                Ok(batch) if batch.base_msn() == base => answer.push(batch),
                _ => damaged = Some(base),
            }
            // What goes beyond the limit is not even looked at: it may be large. A hole ends where
            // the next batch begins.
            Ok(bytes < limit.bytes || damaged.is_some())
        })?;
        self.note_hole(damaged, end);
        drop(whole);
        self.check_there()?;
        Ok(answer)
    }

    pub(crate) fn trim(&self, database: &D, before: Msn) -> Result<Msn> {
        self.change(|| {
            let bounds = self.bounds();
            let keep = database.holder_of(&self.rows, before)?.min(bounds.next_msn);
            if keep <= bounds.first_msn {
                return Ok(bounds.first_msn);
            }
            self.drop_some(database, "trim", Msn::ZERO..keep, bounds.next_msn)?;
            database.free(&self.rows, keep);
            Ok(self.bounds().first_msn)
        })
    }

    pub(crate) fn truncate(&self, database: &D, from: Msn) -> Result<Msn> {
        self.change(|| {
            let next = self.bounds().next_msn;
            let cut = database.holder_of(&self.rows, from)?;
            match database.first_from(&self.rows, cut)? {
                Some(first) if cut < next => {
                    self.drop_some(database, "truncate", first..Msn::MAX, first)?;
                    Ok(first)
                }
                _ => Ok(next),
            }
        })
    }

    pub(crate) fn find(&self, database: &D, timestamp: Timestamp) -> Result<Msn> {
        let bounds = self.bounds();
        database.find(&self.rows, bounds.first_msn..bounds.next_msn, timestamp)
    }

    pub(crate) fn replace(
        &self,
        database: &D,
        range: &Range<Msn>,
        batches: &[RecordBatch],
    ) -> Result<()> {
        self.change(|| {
            self.check_replaces(database, range, batches)?;
            let next = self.bounds().next_msn;
            self.alter(database, self.asked("replace", range.clone(), batches, next))
        })
    }

    pub(crate) fn usage(&self, database: &D) -> Result<Usage> {
        let bytes = lock(&self.state).bytes;
        database.usage(&self.rows, bytes)
    }

    fn asked<'a>(
        &self,
        what: &'static str,
        drop: Range<Msn>,
        put: &'a [RecordBatch],
        next: Msn,
    ) -> Change<'a> {
        let state = lock(&self.state);
        let end = End { next: state.bounds.next_msn, bytes: state.bytes };
        Change { what, drop, put, end, next, in_steps: false }
    }

    /// Drops the oldest or the newest batches, durably, after which the partition ends at `next`.
    fn drop_some(
        &self,
        database: &D,
        what: &'static str,
        range: Range<Msn>,
        next: Msn,
    ) -> Result<()> {
        let change = self.asked(what, range, &[], next);
        self.alter(database, Change { in_steps: true, ..change })
    }

    /// Applies a change that drops batches, durably.
    fn alter(&self, database: &D, mut change: Change<'_>) -> Result<()> {
        loop {
            let alone = self.content.write().unwrap_or_else(PoisonError::into_inner);
            let step = database.change(&self.rows, &change)?;
            // The change is done: whoever cannot see where it led must not go on.
            self.note(database, step.end).map_err(Error::with_unknown_effect)?;
            drop(alone);
            if step.is_last {
                break;
            }
            change.end = step.end;
        }
        database.sync(&self.rows)?;
        lock(&self.state).bounds.durable_msn = change.next;
        Ok(())
    }

    /// Takes over what the database says, all of which is durable.
    fn look(&self, database: &D) -> Result<Bounds> {
        let Some(end) = database.end(&self.rows)? else {
            lock(&self.state).is_removed = true;
            return Err(removed());
        };
        self.note(database, end)?;
        let mut state = lock(&self.state);
        state.bounds.durable_msn = state.bounds.next_msn;
        Ok(state.bounds)
    }

    fn note(&self, database: &D, end: End) -> Result<()> {
        let first = database.first_from(&self.rows, Msn::ZERO)?;
        let first_msn = first.map_or(end.next, |first| first.min(end.next));
        let mut state = lock(&self.state);
        let durable_msn = state.bounds.durable_msn.clamp(first_msn, end.next);
        state.bounds = Bounds { first_msn, next_msn: end.next, durable_msn };
        state.bytes = end.bytes;
        Ok(())
    }

    fn check_replaces(
        &self,
        database: &D,
        range: &Range<Msn>,
        batches: &[RecordBatch],
    ) -> Result<()> {
        check::replacement(range, batches, self.bounds().next_msn)?;
        for edge in [range.start, range.end] {
            if database.holder_of(&self.rows, edge)? != edge {
                return Err(check::not_replaceable(range, "it cuts a batch"));
            }
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

fn removed() -> Error {
    closed("the partition was removed")
}
