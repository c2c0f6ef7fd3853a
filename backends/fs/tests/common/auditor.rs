//! What a store has promised so far, and whether what it holds keeps that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use msglog_core::batch::{BatchBuilder, BatchOptions, DecodeLimits};
use msglog_core::store::{DocumentKey, Expected, MessageStore, PartitionStore};
use msglog_core::{Effect, Error, Message, Msn, RecordBatch, Result, Timestamp};

use super::*;

/// The most records of one batch that the auditor makes.
pub(crate) const BATCH_RECORDS_MAX: u64 = 3;

/// Remembers every answer of a partition and of a few documents.
///
/// A record's payload names its MSN and the attempt that made it, so that one of a refused attempt
/// is told from the one that was accepted later under the same MSN.
#[derive(Clone, Debug, Default)]
pub(crate) struct Auditor {
    /// By MSN, the attempts whose record may be there.
    records: BTreeMap<u64, BTreeSet<u64>>,
    /// Everything below was accepted or is unknown to be there.
    pub(crate) next: u64,
    /// Everything below is durable.
    pub(crate) synced: u64,
    /// Nothing below this need be there.
    pub(crate) trimmed: u64,
    /// What damage has cost.
    pub(crate) hole: Option<Range<u64>>,
    /// What replacements have taken away.
    gone: BTreeSet<u64>,
    /// What a replacement of unknown effect has taken away all together, or not at all.
    doubtful: BTreeSet<u64>,
    /// What a document may hold.
    documents: BTreeMap<&'static str, BTreeSet<Option<u64>>>,
    attempts: u64,
}

impl Auditor {
    /// Everything that the tests' own batches put below `next` is there and durable.
    pub(crate) fn of_synced(next: u64) -> Self {
        let records = (0..next).map(|msn| (msn, BTreeSet::from([0])));
        Self { records: records.collect(), next, synced: next, ..Self::default() }
    }

    /// Batches of so many records each.
    fn batches(&mut self, base: u64, sizes: &[(u64, usize)]) -> Vec<RecordBatch> {
        self.attempts += 1;
        let (mut base, mut batches) = (base, Vec::new());
        for (count, bytes) in sizes {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            for msn in base..base + count {
                let mut payload = format!("record {msn} try {} ", self.attempts).into_bytes();
                payload.resize((*bytes).max(payload.len()), b'x');
                let time = Timestamp::from_millis(i64::try_from(msn).unwrap());
                builder.push(Message::new(payload), time).unwrap();
            }
            let mut batch = builder.build().unwrap();
            batch.stamp(Msn::new(base), -1);
            batches.push(batch);
            base += count;
        }
        batches
    }

    /// Appends batches of so many records and payload bytes each.
    pub(crate) async fn append(
        &mut self,
        partition: &Arc<dyn PartitionStore>,
        sizes: &[(u64, usize)],
    ) -> Result<()> {
        let base = partition.bounds().next_msn.get();
        let batches = self.batches(base, sizes);
        let end = batches.last().map_or(base, |batch| batch.next_msn().get());
        let appended = partition.append(batches).await;
        match &appended {
            Ok(()) => {
                for msn in base..end {
                    self.records.insert(msn, BTreeSet::from([self.attempts]));
                    self.gone.remove(&msn);
                }
                self.next = end;
                assert_eq!(partition.bounds().next_msn.get(), end);
            }
            Err(error) => {
                assert_eq!(partition.bounds().next_msn.get(), base, "{error} shows nothing");
                if error.effect() == Effect::Unknown {
                    for msn in base..end {
                        self.records.entry(msn).or_default().insert(self.attempts);
                    }
                    self.next = self.next.max(end);
                }
            }
        }
        appended
    }

    pub(crate) async fn sync(&mut self, partition: &Arc<dyn PartitionStore>) -> Result<()> {
        let visible = partition.bounds().next_msn;
        let synced = partition.sync().await?;
        assert_eq!(synced, visible);
        self.synced = synced.get();
        Ok(())
    }

    pub(crate) async fn trim(
        &mut self,
        partition: &Arc<dyn PartitionStore>,
        before: u64,
    ) -> Result<()> {
        self.trimmed = self.trimmed.max(before);
        let first = partition.trim(Msn::new(before)).await?;
        assert!(first.get() <= self.trimmed);
        Ok(())
    }

    pub(crate) async fn truncate(
        &mut self,
        partition: &Arc<dyn PartitionStore>,
        from: u64,
    ) -> Result<()> {
        let durable = self.synced;
        self.synced = durable.min(from.saturating_sub(BATCH_RECORDS_MAX));
        let truncated = partition.truncate(Msn::new(from)).await;
        match &truncated {
            Ok(next) => {
                self.synced = next.get();
                self.next = self.synced;
                self.drop_from(next.get());
            }
            Err(error) if error.effect() == Effect::NotApplied => self.synced = durable,
            Err(_) => {}
        }
        truncated.map(drop)
    }

    /// Replaces what lies in `range`, so that only even MSNs keep their records; each batch of the
    /// partition is of one record.
    pub(crate) async fn thin(
        &mut self,
        partition: &Arc<dyn PartitionStore>,
        range: Range<u64>,
    ) -> Result<()> {
        let (mut kept, mut from) = (Vec::new(), Msn::new(range.start));
        while from.get() < range.end {
            let batches = partition.read(from, ReadLimit::bytes(1 << 20)).await?;
            let Some(last) = batches.last() else { break };
            from = last.next_msn();
            kept.extend(batches.into_iter().filter(|batch| {
                let base = batch.base_msn().get();
                batch.record_count() > 0 && base.is_multiple_of(2) && range.contains(&base)
            }));
        }
        let odd = range.clone().filter(|msn| !msn.is_multiple_of(2)).collect();
        let replaced = partition.replace(Msn::new(range.start)..Msn::new(range.end), kept).await;
        match &replaced {
            Ok(()) => {
                self.take_away(odd);
                self.synced = self.synced.max(range.end);
            }
            Err(error) if error.effect() == Effect::Unknown => self.doubtful = odd,
            Err(_) => {}
        }
        replaced
    }

    fn take_away(&mut self, mut msns: BTreeSet<u64>) {
        self.records.retain(|msn, _| !msns.contains(msn));
        self.gone.append(&mut msns);
    }

    fn document(&mut self, key: &'static str) -> &mut BTreeSet<Option<u64>> {
        self.documents.entry(key).or_insert_with(|| BTreeSet::from([None]))
    }

    pub(crate) async fn save(
        &mut self,
        store: &impl MessageStore,
        key: &'static str,
        value: u64,
    ) -> Result<()> {
        let bytes = Bytes::from(value.to_string());
        let saved = store.save(&key_of(key), bytes, Expected::Any).await.map(drop);
        self.changed(key, Some(value), saved.as_ref());
        saved
    }

    pub(crate) async fn discard(
        &mut self,
        store: &impl MessageStore,
        key: &'static str,
    ) -> Result<()> {
        let discarded = store.discard(&key_of(key), Expected::Any).await.map(drop);
        self.changed(key, None, discarded.as_ref());
        discarded
    }

    fn changed(&mut self, key: &'static str, value: Option<u64>, answer: Result<&(), &Error>) {
        match answer {
            Ok(()) => *self.document(key) = BTreeSet::from([value]),
            Err(error) if error.effect() == Effect::Unknown => {
                self.document(key).insert(value);
            }
            Err(_) => drop(self.document(key)),
        }
    }

    /// A store that was just opened holds at least what is durable, and calls no more so than is.
    pub(crate) fn check_bounds(&mut self, partition: &Arc<dyn PartitionStore>) {
        let next = partition.bounds().next_msn.get();
        assert!(next >= self.synced, "next MSN {next} is below what was synced: {self:?}");
        assert!(next <= self.next.max(self.synced), "next MSN {next} was never given: {self:?}");
        self.next = next;
        self.take_durable(partition);
        self.drop_from(next);
    }

    /// What a store calls durable is there for good.
    fn take_durable(&mut self, partition: &Arc<dyn PartitionStore>) {
        let bounds = partition.bounds();
        assert!(bounds.durable_msn <= bounds.next_msn, "{bounds:?}");
        self.synced = self.synced.max(bounds.durable_msn.get());
    }

    fn drop_from(&mut self, next: u64) {
        self.records.retain(|msn, _| *msn < next);
        self.gone.retain(|msn| *msn < next);
    }

    /// What an open partition serves is what was accepted.
    pub(crate) async fn check_served(&self, partition: &Arc<dyn PartitionStore>) {
        let bounds = partition.bounds();
        let found = read_from(partition, 0, 1 << 20).await;
        let found = self.check_records(&found);
        self.check_whole(bounds.first_msn.get()..bounds.next_msn.get(), &found);
        assert!(bounds.durable_msn.get() <= bounds.next_msn.get());
    }

    /// What was found by reading is what may be there.
    pub(crate) fn check_records(&self, batches: &[RecordBatch]) -> BTreeMap<u64, u64> {
        let mut found = BTreeMap::new();
        for batch in batches {
            for record in batch.records(DecodeLimits::default()).unwrap() {
                let record = record.unwrap();
                let (msn, payload) = (record.msn.get(), record.payload.unwrap());
                let text = String::from_utf8(payload.to_vec()).unwrap();
                let mut words = text.split(' ');
                assert_eq!((words.next(), words.next()), (Some("record"), Some(&*msn.to_string())));
                let attempt = match words.next() {
                    Some("try") => words.next().unwrap().parse().unwrap(),
                    _ => 0,
                };
                let allowed = self.records.get(&msn).is_some_and(|all| all.contains(&attempt));
                assert!(allowed, "MSN {msn} holds attempt {attempt}, not one of {self:?}");
                assert!(found.insert(msn, attempt).is_none(), "MSN {msn} twice");
            }
        }
        found
    }

    fn check_whole(&self, bounds: Range<u64>, found: &BTreeMap<u64, u64>) {
        let lost = self.hole.clone().unwrap_or(0..0);
        let is_old = self.doubtful.iter().any(|msn| found.contains_key(msn));
        let is_missing = |msn: &u64| {
            lost.contains(msn)
                || self.gone.contains(msn)
                || (!is_old && self.doubtful.contains(msn))
        };
        let expected: Vec<_> = bounds.clone().filter(|msn| !is_missing(msn)).collect();
        let found: Vec<_> = found.keys().copied().collect();
        assert_eq!(found, expected, "bounds {bounds:?} {self:?}");
    }

    /// What a store opened after a crash holds keeps every promise; what it calls durable is so.
    pub(crate) async fn check_recovered(
        &mut self,
        store: &impl MessageStore,
        partition: &Arc<dyn PartitionStore>,
    ) {
        let bounds = partition.bounds();
        let (first, next) = (bounds.first_msn.get(), bounds.next_msn.get());
        let found = self.check_records(&read_from(partition, 0, 1 << 20).await);
        self.check_whole(first..next, &found);
        assert!(next >= self.synced, "next MSN {next} is below what was synced: {self:?}");
        assert!(next <= self.next.max(self.synced), "next MSN {next} was never given: {self:?}");
        assert!(first <= self.trimmed, "first MSN {first} was never trimmed to: {self:?}");
        let holes: Vec<_> =
            self.hole.iter().map(|hole| Msn::new(hole.start)..Msn::new(hole.end)).collect();
        assert!(partition.holes().is_empty() || partition.holes() == holes, "{self:?}");
        (self.next, self.trimmed) = (next, first.max(self.trimmed));
        self.take_durable(partition);
        let doubtful = std::mem::take(&mut self.doubtful);
        if doubtful.iter().all(|msn| !found.contains_key(msn)) {
            self.take_away(doubtful);
        }
        self.drop_from(next);
        self.records =
            found.into_iter().map(|(msn, attempt)| (msn, BTreeSet::from([attempt]))).collect();
        for (key, values) in &mut self.documents {
            let document = store.load(&key_of(key)).await.unwrap();
            let value = document.map(|document| {
                std::str::from_utf8(&document.value).unwrap().parse::<u64>().unwrap()
            });
            assert!(values.contains(&value), "document {key} is {value:?}, not {values:?}");
            *values = BTreeSet::from([value]);
        }
    }
}

fn key_of(key: &str) -> DocumentKey {
    DocumentKey::parse(key).unwrap()
}
