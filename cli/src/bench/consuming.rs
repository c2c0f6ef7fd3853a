//! Consumers' commits, and trimming.

use std::time::Instant;

use msglog::{Log, Msn};

use super::meter::{Meter, Outcome};
use super::setup::Setup;
use crate::failure::Failure;

/// Commits for later between two flushes.
const COMMITS_A_FLUSH: u64 = 100;

/// A consumer that awaits each commit, as far as the log reaches and then again.
pub(super) async fn commit(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn.get();
    let consumer = session.topic.consumer("bench")?;
    let mut meter = Meter::start(setup.limit);
    for number in (1..=end).cycle() {
        if !meter.goes_on() {
            break;
        }
        let began = Instant::now();
        consumer.commit(0, Msn::new(number)).await?;
        meter.call(began, 1, 0);
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// A consumer that leaves commits for later, and flushes every hundred of them.
pub(super) async fn commit_later(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn.get();
    let consumer = session.topic.consumer("bench")?;
    let mut meter = Meter::start(setup.limit);
    let mut numbers = (1..=end).cycle();
    while meter.goes_on() {
        let began = Instant::now();
        for number in numbers.by_ref().take(100) {
            consumer.commit_later(0, Msn::new(number)).await?;
        }
        consumer.flush().await?;
        meter.call(began, COMMITS_A_FLUSH, 0);
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// Trims a filled log, a batch's records at a time, until nothing is left.
pub(super) async fn trim(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn.get();
    let mut meter = Meter::start(setup.limit);
    for before in (0..=end).step_by(setup.batch_records()).skip(1) {
        if !meter.goes_on() {
            break;
        }
        let began = Instant::now();
        session.topic.trim(0, Msn::new(before)).await?;
        meter.call(began, 1, 0);
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}
