//! How records of a partition go: what a rule no longer keeps, past the delete hooks, in order.

use std::ops::Range;

use tracing::Instrument;

use super::hooks::Deletion;
use super::partition::Partition;
use super::retention::Retention;
use crate::store::{Bounds, ReadLimit};
use crate::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp};

/// How much a hook is shown at a time; a batch that is larger is shown whole.
const SHOWN_AT_A_TIME: ReadLimit = ReadLimit::bytes(4 << 20);

/// How much is read at a time where only the sizes and times of batches matter.
const LOOKED_AT_A_TIME: ReadLimit = ReadLimit::bytes(256 << 10);

/// What a partition remembers between trims; all of it can be found out again.
#[derive(Debug, Default)]
pub(super) struct Going {
    /// By hook: everything below has passed it.
    passed: Vec<Msn>,
    /// The batches from the start on that were looked at, so that each is read once.
    aged: Aged,
    /// The batches from the start on that were added up, so that each is read once.
    counted: Counted,
}

/// Batches from `first` to `end`, none newer than `newest`.
#[derive(Clone, Copy, Debug, Default)]
struct Aged {
    first: Msn,
    end: Msn,
    newest: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    first: Msn,
    end: Msn,
    bytes: u64,
}

/// A trim that stopped early: where the partition starts now, and what holds the rest.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) first_msn: Msn,
    pub(super) error: Error,
}

impl Partition {
    /// Drops records below `before`, past the delete hooks, as far as the store's units allow.
    pub(super) async fn trim(&self, before: Msn) -> Result<Msn> {
        self.check_writable()?;
        let before = before.min(self.bounds().next_msn);
        let mut going = self.going.lock().await;
        self.let_go(&mut going, before).await.map_err(|stopped| stopped.error)
    }

    /// The MSN below which `age` and `bytes` keep nothing; the end when neither is set.
    pub(super) async fn limit(
        &self,
        rule: &Retention,
        now: Timestamp,
        going: &mut Going,
    ) -> Result<Msn> {
        let bounds = self.bounds();
        if rule.age.is_none() && rule.bytes.is_none() {
            return Ok(bounds.next_msn);
        }
        let mut limit = bounds.first_msn;
        if let Some(age) = rule.age {
            let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            let cutoff = Timestamp::from_millis(now.as_millis().saturating_sub(millis));
            limit = limit.max(self.older_than(cutoff, bounds, &mut going.aged).await?);
        }
        if let Some(bytes) = rule.bytes {
            limit = limit.max(self.beyond(bytes, bounds, &mut going.counted).await?);
        }
        Ok(limit.min(bounds.next_msn))
    }

    /// The MSN below which every batch is older than `cutoff`, as far as the store's search leads.
    ///
    /// The search only says how far it is worth looking: an index is no evidence, and what is young
    /// must not go. So each batch that goes is looked at, once.
    async fn older_than(&self, cutoff: Timestamp, bounds: Bounds, aged: &mut Aged) -> Result<Msn> {
        let end = match self.store.find(cutoff).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => bounds.next_msn,
            found => found?.min(bounds.next_msn),
        };
        if aged.first != bounds.first_msn || aged.newest.is_some_and(|newest| newest >= cutoff) {
            *aged = Aged { first: bounds.first_msn, end: bounds.first_msn, newest: None };
        }
        while aged.end < end {
            let batches = self.store.read(aged.end, LOOKED_AT_A_TIME).await?;
            if batches.first().is_none_or(|batch| batch.base_msn() >= end) {
                // There is nothing up to there.
                aged.end = end;
            }
            for batch in batches.iter().take_while(|batch| batch.base_msn() < end) {
                if batch.max_timestamp() >= cutoff || batch.next_msn() > bounds.next_msn {
                    return Ok(aged.end);
                }
                aged.newest = aged.newest.max(Some(batch.max_timestamp()));
                aged.end = batch.next_msn();
            }
        }
        Ok(aged.end)
    }

    /// The MSN below which batches can go so that at least `keep` bytes stay.
    async fn beyond(&self, keep: u64, bounds: Bounds, counted: &mut Counted) -> Result<Msn> {
        let total = self.store.usage().await?.bytes;
        let left = |counted: &Counted| total.saturating_sub(counted.bytes);
        if counted.first != bounds.first_msn || left(counted) < keep {
            let first = bounds.first_msn;
            *counted = Counted { first, end: first, bytes: 0 };
        }
        while left(counted) > keep {
            let batches = self.store.read(counted.end, LOOKED_AT_A_TIME).await?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                let bytes = batch.encoded_len() as u64;
                if left(counted) < keep + bytes || batch.next_msn() > bounds.next_msn {
                    return Ok(counted.end);
                }
                counted.bytes += bytes;
                counted.end = batch.next_msn();
            }
        }
        Ok(counted.end)
    }

    /// Shows the hooks everything below `before` and trims what has passed them all.
    pub(super) async fn let_go(
        &self,
        going: &mut Going,
        before: Msn,
    ) -> std::result::Result<Msn, Stopped> {
        let stopped = |error| Stopped { first_msn: self.store.bounds().first_msn, error };
        let hooks = self.hooks.covering(&self.name.topic);
        let first = self.store.bounds().first_msn;
        let Some(places) = hooks.last().map(|(place, _)| place + 1) else {
            return self.trim_store(before).await.map_err(stopped);
        };
        going.passed.resize(places, first);
        going.passed.iter_mut().for_each(|passed| *passed = first.max(*passed));
        loop {
            let passed_now = going.passed.clone();
            let passed = |place: usize| passed_now.get(place).copied().unwrap_or(first);
            let from = hooks.iter().map(|(place, _)| passed(*place)).min().unwrap_or(before);
            if from >= before {
                return self.trim_store(before).await.map_err(stopped);
            }
            // Where another hook is further, this piece ends where that one is.
            let others = hooks.iter().map(|(place, _)| passed(*place)).filter(|msn| *msn > from);
            let to = others.min().unwrap_or(before).min(before);
            let mut deletion = self.piece(from..to).await.map_err(stopped)?;
            if deletion.msns.is_empty() && to < before {
                // What the other one has passed was rewritten to larger batches since.
                deletion = self.piece(from..before).await.map_err(stopped)?;
            }
            let end = deletion.msns.end;
            if end == from {
                // The batch that `before` lies in stays whole.
                return self.trim_store(from).await.map_err(stopped);
            }
            for (place, hook) in &hooks {
                if passed(*place) == from {
                    let shown = self.hooks.show(hook, &deletion).await;
                    shown.map_err(stopped)?;
                    if let Some(passed) = going.passed.get_mut(*place) {
                        *passed = end;
                    }
                }
            }
            self.trim_store(end).await.map_err(stopped)?;
        }
    }

    /// What goes next of `range`: whole batches, and all MSNs where there are none.
    async fn piece(&self, range: Range<Msn>) -> Result<Deletion> {
        let mut batches = self.store.read(range.start, SHOWN_AT_A_TIME).await?;
        let straddling = batches.iter().find(|batch| batch.next_msn() > range.end);
        let cut = straddling.map(|batch| batch.base_msn().max(range.start));
        batches.truncate(batches.partition_point(|batch| batch.next_msn() <= range.end));
        let end = match cut {
            // Beyond the range, or in the middle of it.
            Some(base) => base.min(range.end),
            None => batches.last().map_or(range.end, RecordBatch::next_msn),
        };
        Ok(Deletion::of(self.name.clone(), range.start..end, batches))
    }

    async fn trim_store(&self, before: Msn) -> Result<Msn> {
        self.keep_producers().await?;
        let _rewriting = self.rewriting.lock().await;
        let _lane = self.lane.lock().await;
        let span = tracing::debug_span!("trim", partition = %self.name, %before);
        self.store.trim(before).instrument(span).await
    }
}
