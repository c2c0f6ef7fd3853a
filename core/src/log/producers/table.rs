//! What a partition knows of its producers: their epochs, and which sequences are stored where.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::batch::{BatchHeader, Producer};
use crate::{Error, ErrorKind, Msn, Result, Timestamp};

/// How many stretches of a producer's records are remembered with their MSNs.
const RUNS_MAX: usize = 16;
/// A batch names a sequence modulo this, as Kafka does.
const SEQUENCES: u64 = 1 << 31;

/// Records of one producer that are to be appended.
#[derive(Clone, Copy, Debug)]
pub(in crate::log) struct Sequenced {
    pub(in crate::log) id: i64,
    pub(in crate::log) epoch: i16,
    /// The sequence of the first record.
    pub(in crate::log) sequence: u64,
    pub(in crate::log) count: u64,
}

impl Sequenced {
    /// What the header of their batch says.
    pub(super) fn header(&self) -> Producer {
        let sequence = i32::try_from(self.sequence % SEQUENCES).unwrap_or(0);
        Producer { id: self.id, epoch: self.epoch, sequence }
    }

    fn end(&self) -> u64 {
        self.sequence.saturating_add(self.count)
    }
}

/// What becomes of records that are to be appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::log) enum Verdict {
    /// They are the next ones.
    Next,
    /// They are stored already, from this MSN on.
    Stored(Msn),
}

/// The producers of a partition, by id.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub(in crate::log) struct Table {
    entries: BTreeMap<i64, Entry>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Entry {
    epoch: i16,
    /// The sequence of the next record.
    next: u64,
    /// The last records; oldest first, each followed by the next one.
    runs: VecDeque<Run>,
    /// When something was appended last.
    seen: Timestamp,
}

/// Records whose sequences and MSNs both follow each other.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Run {
    sequence: u64,
    msn: Msn,
    count: u64,
}

impl Entry {
    fn new(epoch: i16) -> Self {
        Self { epoch, next: 0, runs: VecDeque::new(), seen: Timestamp::default() }
    }

    fn note(&mut self, sequence: u64, msn: Msn, count: u64) {
        match self.runs.back_mut() {
            Some(last)
                if last.sequence + last.count == sequence && last.msn.plus(last.count) == msn =>
            {
                last.count += count;
            }
            _ => self.runs.push_back(Run { sequence, msn, count }),
        }
        if self.runs.len() > RUNS_MAX {
            self.runs.pop_front();
        }
        self.next = sequence.saturating_add(count);
    }
}

impl Table {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What becomes of these records.
    ///
    /// # Errors
    ///
    /// `Fenced` for an older epoch; `Conflict` when records in front of them are missing or only
    /// some of them are stored; `AlreadyExists` when they were stored too long ago to say where.
    pub(in crate::log) fn check(&self, records: &Sequenced) -> Result<Verdict> {
        let Some(entry) = self.entries.get(&records.id) else {
            return Err(Error::new(ErrorKind::Fenced, "the producer has expired: open it again"));
        };
        if records.epoch < entry.epoch {
            let why = format!(
                "producer epoch {} was followed by epoch {}: another one of the same name was opened",
                records.epoch, entry.epoch
            );
            return Err(Error::new(ErrorKind::Fenced, why));
        }
        let (sequence, end, next) = (records.sequence, records.end(), entry.next);
        if sequence == next {
            return Ok(Verdict::Next);
        }
        if sequence > next || end > next {
            let why = format!("sequences {sequence}..{end} do not follow: the next one is {next}");
            return Err(Error::new(ErrorKind::Conflict, why));
        }
        let holds = |run: &&Run| run.sequence <= sequence && end <= run.sequence + run.count;
        match entry.runs.iter().find(holds) {
            Some(run) => Ok(Verdict::Stored(run.msn.plus(sequence - run.sequence))),
            None => {
                let why = format!("sequences {sequence}..{end} are stored; it is not known where");
                Err(Error::new(ErrorKind::AlreadyExists, why))
            }
        }
    }

    /// Takes note of records that get the MSNs from `msn` on.
    pub(in crate::log) fn note(&mut self, records: &Sequenced, msn: Msn, now: Timestamp) {
        let entry = self.entries.entry(records.id).or_insert_with(|| Entry::new(records.epoch));
        entry.seen = now;
        entry.note(records.sequence, msn, records.count);
    }

    /// Takes note of a stored batch.
    pub(super) fn replay(&mut self, header: &BatchHeader) {
        let producer = header.producer();
        let Ok(sequence) = u64::try_from(producer.sequence) else { return };
        if producer.id < 0 {
            return;
        }
        let entry = self.entries.entry(producer.id).or_insert_with(|| Entry::new(producer.epoch));
        entry.epoch = entry.epoch.max(producer.epoch);
        entry.seen = header.max_timestamp();
        // The batch says it modulo 2^31; nothing is stored that does not follow.
        let ahead = (sequence + SEQUENCES - entry.next % SEQUENCES) % SEQUENCES;
        entry.note(entry.next + ahead, header.base_msn(), header.msn_count());
    }

    /// From now on older epochs are refused; answers the next sequence.
    pub(in crate::log) fn fence(&mut self, id: i64, epoch: i16) -> u64 {
        let entry = self.entries.entry(id).or_insert_with(|| Entry::new(epoch));
        entry.epoch = entry.epoch.max(epoch);
        entry.next
    }

    pub(in crate::log) fn next(&self, id: i64) -> u64 {
        self.entries.get(&id).map_or(0, |entry| entry.next)
    }

    /// When a producer has appended last.
    pub(in crate::log) fn seen(&self, id: i64) -> Option<Timestamp> {
        self.entries.get(&id).map(|entry| entry.seen)
    }

    pub(in crate::log) fn forget(&mut self, id: i64) {
        self.entries.remove(&id);
    }

    /// Forgets what was to be stored from `end` on: it was not.
    pub(in crate::log) fn truncate(&mut self, end: Msn) {
        for entry in self.entries.values_mut() {
            while let Some(last) = entry.runs.back_mut() {
                if last.msn.plus(last.count) <= end {
                    break;
                }
                if last.msn >= end {
                    entry.next = last.sequence;
                    entry.runs.pop_back();
                } else {
                    last.count = end.distance_from(last.msn);
                    entry.next = last.sequence + last.count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(sequence: u64, count: u64) -> Sequenced {
        Sequenced { id: 7, epoch: 3, sequence, count }
    }

    fn noted(runs: &[(u64, u64, u64)]) -> Table {
        let mut table = Table::default();
        table.fence(7, 3);
        for (sequence, msn, count) in runs {
            table.note(&records(*sequence, *count), Msn::new(*msn), Timestamp::default());
        }
        table
    }

    #[test]
    fn stored_records_answer_their_msns_however_they_are_cut_this_time() {
        let table = noted(&[(0, 10, 3), (3, 13, 2), (5, 20, 4)]);
        for (sequence, count, msn) in [(0, 5, 10), (1, 1, 11), (3, 2, 13), (6, 3, 21)] {
            let verdict = table.check(&records(sequence, count)).unwrap();
            assert_eq!(verdict, Verdict::Stored(Msn::new(msn)), "{sequence}, {count}");
        }
        assert_eq!(table.check(&records(9, 1)).unwrap(), Verdict::Next);
    }

    #[test]
    fn what_does_not_follow_is_refused_and_an_older_epoch_fenced() {
        let mut table = noted(&[(0, 10, 3)]);
        for (sequence, count) in [(4, 1), (2, 2)] {
            let error = table.check(&records(sequence, count)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict, "{sequence}, {count}");
        }
        table.fence(7, 4);
        assert_eq!(table.check(&records(3, 1)).unwrap_err().kind(), ErrorKind::Fenced);
        table.forget(7);
        assert_eq!(table.check(&records(3, 1)).unwrap_err().kind(), ErrorKind::Fenced);
    }

    #[test]
    fn memory_of_a_producer_is_bounded() {
        let runs: Vec<_> = (0..40).map(|run| (run, run * 2, 1)).collect();
        let table = noted(&runs);
        assert_eq!(table.entries[&7].runs.len(), RUNS_MAX);
        assert_eq!(table.check(&records(0, 1)).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(table.check(&records(39, 1)).unwrap(), Verdict::Stored(Msn::new(78)));
    }

    #[test]
    fn what_was_not_stored_after_all_is_the_next_again() {
        for (end, next) in [(30, 9), (22, 7), (20, 5), (13, 3), (10, 0)] {
            let mut table = noted(&[(0, 10, 3), (3, 13, 2), (5, 20, 4)]);
            table.truncate(Msn::new(end));
            assert_eq!(table.next(7), next, "cut at {end}");
        }
    }

    #[test]
    fn sequences_go_on_beyond_what_a_batch_can_name() {
        let mut table = noted(&[]);
        let start = SEQUENCES * 3 - 2;
        table.note(&records(start, 1), Msn::ZERO, Timestamp::default());
        let mut builder = crate::batch::BatchBuilder::new(
            crate::batch::BatchOptions::default().with_producer(records(start + 1, 3).header()),
        );
        for _ in 0..3 {
            builder.push("x", Timestamp::default()).unwrap();
        }
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(1), -1);
        table.replay(batch.header());
        assert_eq!(table.next(7), start + 4);
    }
}
