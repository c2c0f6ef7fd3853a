//! Logs and topics that come and go.

use std::time::Instant;

use msglog::{Error, ErrorKind, Log, MsgLog, TopicConfig, TopicName};

use super::meter::{Meter, Outcome};
use super::setup::{Setup, TOPIC};
use crate::failure::Failure;

/// Opens and closes a log that holds nothing.
pub(super) async fn open_empty(setup: Setup) -> Result<Outcome, Failure> {
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        setup.place.log(Log::builder()).await?.close().await?;
        meter.call(began, 1, 0);
    }
    Ok(meter.finish())
}

/// Opens a log that was filled, looks at the end of its partition, and closes it.
pub(super) async fn open_filled(setup: Setup) -> Result<Outcome, Failure> {
    setup.place.check_survives_close()?;
    let session = setup.filled(Log::builder()).await?;
    let end = session.topic.bounds(0).await?.next_msn;
    session.close().await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        let log = setup.place.log(Log::builder()).await?;
        let found = log.topic(TOPIC).await?.bounds(0).await?.next_msn;
        log.close().await?;
        if found != end {
            let why = format!("the log ended at MSN {end}, and at {found} when it was reopened");
            return Err(Error::new(ErrorKind::Corrupt, why).into());
        }
        meter.call(began, 1, 0);
    }
    Ok(meter.finish())
}

/// Creates a topic, opens it, and deletes it.
pub(super) async fn topic(setup: Setup) -> Result<Outcome, Failure> {
    let log = setup.place.log(Log::builder()).await?;
    let name = TopicName::parse(TOPIC)?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        log.create_topic(&name, TopicConfig::default()).await?;
        log.topic(TOPIC).await?;
        log.delete_topic(&name).await?;
        meter.call(began, 1, 0);
    }
    let outcome = meter.finish();
    log.close().await?;
    Ok(outcome)
}
