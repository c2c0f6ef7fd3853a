//! Reads of a log that was filled before: all of it in order, single records, by time, backwards.

use std::time::Instant;

use futures::StreamExt;
use msglog::batch::DecodeLimits;
use msglog::{Error, ErrorKind, Log, Msn, ReadLimit, Record, Timestamp};

use super::meter::{Meter, Outcome};
use super::payloads::Random;
use super::setup::{Session, Setup};
use crate::failure::Failure;

/// Records of a page that is read backwards.
const PAGE_RECORDS: usize = 100;

/// Every record in order, by a subscription, again and again.
pub(super) async fn replay(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let mut subscription = session.topic.subscribe(0, Msn::ZERO)?;
        while subscription.next_msn() < end && meter.goes_on() {
            for _ in 0..setup.batch_records() {
                let record = subscription.next().await.transpose()?.ok_or_else(ended)?;
                meter.add(1, payload_len(&record));
                if subscription.next_msn() >= end {
                    break;
                }
            }
        }
    }
    finish(meter, session).await
}

/// Every record batch in order, its records looked at by reference, again and again.
pub(super) async fn replay_batches(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let mut subscription = session.topic.subscribe_batches(0, Msn::ZERO)?;
        while subscription.next_msn() < end && meter.goes_on() {
            let batch = subscription.next().await.transpose()?.ok_or_else(ended)?;
            for record in &batch.decoded(DecodeLimits::default())? {
                meter.add(1, record?.payload.map_or(0, |payload| payload.len() as u64));
            }
        }
    }
    finish(meter, session).await
}

/// Pages of about 1 MiB that begin at random MSNs.
pub(super) async fn pages(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let mut places = Places::of(&session).await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let (from, began) = (places.any(), Instant::now());
        let page = session.topic.read(0, from, ReadLimit::default()).await?;
        let bytes = page.records.iter().map(payload_len).sum();
        expect(page.records.first(), from)?;
        meter.call(began, page.records.len() as u64, bytes);
    }
    finish(meter, session).await
}

/// Single records at random MSNs, with the batch cache that a log has by default.
pub(super) async fn points(setup: Setup) -> Result<Outcome, Failure> {
    points_of(setup.filled(Log::builder()).await?, &setup).await
}

/// As [`points`], without a batch cache.
pub(super) async fn points_uncached(setup: Setup) -> Result<Outcome, Failure> {
    points_of(setup.filled(Log::builder().cache_bytes(0)).await?, &setup).await
}

async fn points_of(session: Session, setup: &Setup) -> Result<Outcome, Failure> {
    let mut places = Places::of(&session).await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let (msn, began) = (places.any(), Instant::now());
        let record = session.topic.record(0, msn).await?;
        let bytes = payload_len(expect(record.as_ref(), msn)?);
        meter.call(began, 1, bytes);
    }
    finish(meter, session).await
}

/// The newest 100 records below random MSNs.
pub(super) async fn backwards(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let mut places = Places::of(&session).await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let (before, began) = (places.any().plus(1), Instant::now());
        let records =
            session.topic.read_before(0, before, PAGE_RECORDS, ReadLimit::default()).await?;
        let bytes = records.iter().map(payload_len).sum();
        meter.call(began, records.len() as u64, bytes);
    }
    finish(meter, session).await
}

/// The first record at or after random times between the first and the last append.
pub(super) async fn find(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn;
    let first = time_of(&session, Msn::ZERO).await?;
    let last = time_of(&session, Msn::new(end.get().saturating_sub(1))).await?;
    let span = u64::try_from(last - first).unwrap_or_default() + 1;
    let mut random = Random::new(7);
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let after = i64::try_from(random.below(span)).unwrap_or_default();
        let began = Instant::now();
        let found = session.topic.find(0, Timestamp::from_millis(first + after)).await?;
        if found >= end {
            let why = format!("no record is found {after} ms after the first one");
            return Err(Error::new(ErrorKind::Corrupt, why).into());
        }
        meter.call(began, 1, 0);
    }
    finish(meter, session).await
}

async fn time_of(session: &Session, msn: Msn) -> Result<i64, Failure> {
    let record = session.topic.record(0, msn).await?;
    Ok(expect(record.as_ref(), msn)?.timestamp.as_millis())
}

async fn finish(meter: Meter, session: Session) -> Result<Outcome, Failure> {
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// Random MSNs of a log.
struct Places {
    end: u64,
    random: Random,
}

impl Places {
    async fn of(session: &Session) -> Result<Self, Failure> {
        let end = session.topic.bounds(0).await?.next_msn.get();
        Ok(Self { end, random: Random::new(3) })
    }

    fn any(&mut self) -> Msn {
        Msn::new(self.random.below(self.end))
    }
}

/// A read that answers something else than what was asked for is no measurement.
fn expect(record: Option<&Record>, msn: Msn) -> Result<&Record, Failure> {
    match record {
        Some(record) if record.msn == msn => Ok(record),
        other => {
            let why = format!("MSN {msn} was read, and {:?} answered", other.map(|one| one.msn));
            Err(Error::new(ErrorKind::Corrupt, why).into())
        }
    }
}

fn ended() -> Failure {
    Error::new(ErrorKind::Corrupt, "a subscription ended before the end of the log").into()
}

fn payload_len(record: &Record) -> u64 {
    record.payload.as_ref().map_or(0, |payload| payload.len() as u64)
}
