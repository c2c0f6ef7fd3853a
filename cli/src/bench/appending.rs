//! Appends: one by one, behind a window of acks, in batches, by many producers, to a subscriber.

use std::collections::VecDeque;
use std::time::Instant;

use futures::StreamExt;
use msglog::{Ack, Error, ErrorKind, Msn};
use tokio::task::JoinSet;

use super::meter::{Meter, Outcome};
use super::setup::Setup;
use crate::failure::Failure;

/// Records that a pipelining producer leaves without an ack.
const WINDOW_RECORDS: usize = 1024;
/// Payload bytes that it leaves so.
const WINDOW_BYTES: usize = 4 << 20;

/// One producer that awaits each ack before the next append.
pub(super) async fn one_by_one(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let mut payloads = setup.payloads();
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        session.topic.append(payloads.next()).await?.ack().await?;
        meter.call(began, 1, payloads.size());
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// One producer that awaits acks behind a window.
pub(super) async fn pipelined(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let mut payloads = setup.payloads();
    let window = WINDOW_RECORDS.min(WINDOW_BYTES / setup.payload_bytes).max(2);
    let mut acks: VecDeque<Ack> = VecDeque::with_capacity(window + 1);
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        for _ in 0..16 {
            acks.push_back(session.topic.append(payloads.next()).await?.ack());
            if acks.len() > window
                && let Some(oldest) = acks.pop_front()
            {
                oldest.await?;
            }
        }
        meter.add(16, 16 * payloads.size());
    }
    for ack in acks {
        ack.await?;
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// One producer that awaits each batch.
pub(super) async fn in_batches(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let mut payloads = setup.payloads();
    let count = setup.batch_records();
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let batch = payloads.messages(count);
        let began = Instant::now();
        session.topic.append_batch(batch).await?.ack().await?;
        meter.call(began, count as u64, count as u64 * payloads.size());
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// Many producers, each awaiting its ack before its next append.
pub(super) async fn by_many(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let payloads = setup.payloads();
    let mut producers = JoinSet::new();
    let mut meter = Meter::start(setup.limit);
    for (number, _) in (0..setup.producers).enumerate() {
        let (topic, mut payloads) = (session.topic.clone(), payloads.elsewhere(number));
        let limit = setup.limit;
        producers.spawn(async move {
            let mut meter = Meter::start(limit);
            while meter.goes_on() {
                let began = Instant::now();
                topic.append(payloads.next()).await?.ack().await?;
                meter.call(began, 1, payloads.size());
            }
            Ok::<_, Error>(meter)
        });
    }
    while let Some(ended) = producers.join_next().await {
        let own = ended.map_err(|cause| Failure::io("run a producer", cause.into()))??;
        meter.merge(own);
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// From an append to its delivery in a subscriber, one record at a time.
pub(super) async fn to_subscriber(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let mut payloads = setup.payloads();
    let mut subscription = session.topic.subscribe(0, Msn::ZERO)?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        let msn = session.topic.append(payloads.next()).await?.msn();
        let delivered = subscription.next().await.transpose()?.map(|record| record.msn);
        if delivered != Some(msn) {
            let why = format!("MSN {msn} was appended, and {delivered:?} delivered");
            return Err(Error::new(ErrorKind::Corrupt, why).into());
        }
        meter.call(began, 1, payloads.size());
    }
    let outcome = meter.finish();
    drop(subscription);
    session.close().await?;
    Ok(outcome)
}
