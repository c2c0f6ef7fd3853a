//! Single records by MSN: one, or many at a time, each with its record or why there is none.

use std::fmt;

use super::cache::Known;
use super::partition::Partition;
use crate::batch::{DecodeLimits, DecodedBatch, Part};
use crate::store::ReadLimit;
use crate::{Error, ErrorKind, Msn, Record, RecordBatch, Result};

/// The most records that one call of `read_many` asks for.
pub(super) const READ_MANY_MAX: usize = 100_000;

/// Parts of a batch are read one by one while they are less than one part in so many of it: each
/// costs as much as reading and checking so many times its bytes at once.
const PARTS_BYTES_SHARE: usize = 8;

/// A read of a single batch, whatever its size.
const ONE_BATCH: ReadLimit = ReadLimit::bytes(0);

/// Why there is no record at an MSN.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Missing {
    /// It was trimmed.
    Trimmed,
    /// It was lost to damage: it lies in a hole.
    Lost,
    /// It was removed where it stood, as compaction does.
    Removed,
    /// Readers do not see it yet, or it was never appended.
    NotYet,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trimmed => "the record was trimmed",
            Self::Lost => "the record is lost to damage",
            Self::Removed => "the record was removed by compaction",
            Self::NotYet => "there is no such record yet",
        })
    }
}

impl std::error::Error for Missing {}

/// A record asked for, or why there is none.
type Answer = std::result::Result<Record, Missing>;

impl Partition {
    /// The record at `msn`; `None` when there is none that readers see.
    pub(super) async fn record(&self, msn: Msn) -> Result<Option<Record>> {
        let (first, end) = self.readable();
        if msn < first || msn >= end {
            return Ok(None);
        }
        match self.cache.record(msn, end)? {
            Known::Record(record) => {
                self.counters.read(1, 0);
                return Ok(record);
            }
            Known::Part(part) => {
                if let Some(records) = self.read_part(&part).await? {
                    return records.record(msn);
                }
            }
            Known::Nothing => {}
        }
        let Some(batch) = self.batch_from(msn, end).await? else { return Ok(None) };
        batch.decoded(DecodeLimits::default())?.record(msn)
    }

    /// A record for each MSN, in the order asked, or why there is none. Each batch is read once.
    pub(super) async fn read_many(&self, msns: &[Msn]) -> Result<Vec<Answer>> {
        if msns.len() > READ_MANY_MAX {
            let why = format!("{} records are more than {READ_MANY_MAX} at a time", msns.len());
            return Err(Error::new(ErrorKind::TooLarge, why));
        }
        let mut asked: Vec<(Msn, usize)> = msns.iter().copied().zip(0..).collect();
        asked.sort_unstable();
        let mut found: Vec<Option<Record>> = vec![None; msns.len()];
        let (first, end) = self.readable();
        let mut rest = asked.as_slice();
        rest = rest.get(rest.partition_point(|(msn, _)| *msn < first)..).unwrap_or_default();
        while let [(msn, place), after @ ..] = rest {
            if *msn >= end {
                break;
            }
            match self.cache.record(*msn, end)? {
                Known::Record(record) => {
                    self.counters.read(1, 0);
                    put(&mut found, *place, record);
                    rest = after;
                    continue;
                }
                Known::Part(part) if pays(&part, rest) => {
                    if let Some(records) = self.read_part(&part).await? {
                        let (here, after) = split_below(rest, part.msns().end);
                        take(&records, here, &mut found)?;
                        rest = after;
                        continue;
                    }
                }
                _ => {}
            }
            let Some(batch) = self.batch_from(*msn, end).await? else { break };
            let (here, after) = split_below(rest, batch.next_msn());
            take(&batch.decoded(DecodeLimits::default())?, here, &mut found)?;
            rest = after;
        }
        let why = self.reasons().await?;
        let answers = msns.iter().zip(found);
        Ok(answers.map(|(msn, record)| record.ok_or_else(|| why.of(*msn))).collect())
    }

    /// The records of a part of a batch; `None` where the store does not answer it, or it is not
    /// what was checked: then only the whole batch can tell.
    async fn read_part(&self, part: &Part) -> Result<Option<DecodedBatch>> {
        let read = self.store.read_part(part.header().msns(), part.bytes()).await?;
        let Some(records) = read.and_then(|bytes| part.decoded(bytes)) else { return Ok(None) };
        self.counters.read(u64::from(part.record_count()), part.bytes().len() as u64);
        self.cache.part_answered();
        Ok(Some(records))
    }

    /// The batch that holds `msn`, or the next one, below `end`; offered to the cache.
    async fn batch_from(&self, msn: Msn, end: Msn) -> Result<Option<RecordBatch>> {
        let since = self.cache.unchanged();
        let batch = self.store.read(msn, ONE_BATCH).await?.into_iter().next();
        let Some(batch) = batch.filter(|batch| batch.next_msn() <= end) else { return Ok(None) };
        self.counters.read(u64::from(batch.record_count()), batch.encoded_len() as u64);
        self.cache.offer_indexed(&batch, since)?;
        Ok(Some(batch))
    }

    async fn reasons(&self) -> Result<Reasons> {
        let bounds = self.fresh_bounds().await?;
        let (first, end) = (bounds.first_msn, bounds.next_msn);
        Ok(Reasons { first, end, holes: self.store.holes() })
    }
}

/// What tells why there is no record.
struct Reasons {
    first: Msn,
    end: Msn,
    holes: Vec<std::ops::Range<Msn>>,
}

impl Reasons {
    fn of(&self, msn: Msn) -> Missing {
        // A hole stays one, also when what follows it was trimmed.
        match msn {
            msn if msn >= self.end => Missing::NotYet,
            msn if self.holes.iter().any(|hole| hole.contains(&msn)) => Missing::Lost,
            msn if msn < self.first => Missing::Trimmed,
            _ => Missing::Removed,
        }
    }
}

/// An MSN that is asked for, and the place of its answer.
type Asked = (Msn, usize);

/// Whether so few records of a batch are asked for that reading parts of it costs less than all of
/// it; `asked` is sorted and begins in the part.
fn pays(part: &Part, asked: &[Asked]) -> bool {
    let (here, _) = split_below(asked, part.header().next_msn());
    let (beyond, parts) = (split_below(here, part.msns().end).1, PARTS_BYTES_SHARE);
    let bytes = part.bytes().len().saturating_mul(beyond.len().saturating_mul(parts));
    bytes <= part.header().encoded_len()
}

/// Those below the MSN, and the rest.
fn split_below(asked: &[Asked], end: Msn) -> (&[Asked], &[Asked]) {
    asked.split_at(asked.partition_point(|(msn, _)| *msn < end))
}

/// Takes those of the records that are asked for; `asked` is sorted.
fn take(decoded: &DecodedBatch, mut asked: &[Asked], found: &mut [Option<Record>]) -> Result<()> {
    for view in decoded {
        let view = view?;
        while let [(msn, place), after @ ..] = asked {
            if *msn > view.msn {
                break;
            }
            if *msn == view.msn {
                put(found, *place, Some(decoded.own(&view)?));
            }
            asked = after;
        }
        if asked.is_empty() {
            break;
        }
    }
    Ok(())
}

fn put(found: &mut [Option<Record>], place: usize, record: Option<Record>) {
    if let Some(answer) = found.get_mut(place) {
        *answer = record;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_that_of_the_place() {
        let hole = |range: std::ops::Range<u64>| Msn::new(range.start)..Msn::new(range.end);
        let (first, end) = (Msn::new(10), Msn::new(30));
        let why = Reasons { first, end, holes: vec![hole(5..7), hole(20..25)] };
        for (msns, wanted) in [
            (0..5, Missing::Trimmed),
            (5..7, Missing::Lost),
            (7..10, Missing::Trimmed),
            (10..20, Missing::Removed),
            (20..25, Missing::Lost),
            (25..30, Missing::Removed),
            (30..40, Missing::NotYet),
        ] {
            for msn in msns {
                assert_eq!(why.of(Msn::new(msn)), wanted, "{msn}");
            }
        }
    }
}
