//! Calls that are answered an error: what a refusal costs, and that it is the right one.

use std::fmt::Debug;
use std::time::Instant;

use bytes::Bytes;
use msglog::{Error, ErrorKind, Log, Msn, Result, Topic};

use super::meter::{Meter, Outcome};
use super::setup::{Setup, TOPIC};
use crate::failure::Failure;

/// The largest message of a log that refuses a larger one.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Appends to a topic that refuses them.
pub(super) async fn append_refused(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    session.log.configure(TOPIC, |config| config.admission.refuse = true).await?;
    let outcome = appends(&session.topic, &setup, 1, ErrorKind::Refused).await?;
    session.close().await?;
    Ok(outcome)
}

/// Appends of messages that are larger than the log takes.
pub(super) async fn append_too_large(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session_with(Log::builder().message_bytes_max(MESSAGE_BYTES_MAX)).await?;
    let outcome =
        appends(&session.topic, &setup, MESSAGE_BYTES_MAX + 1, ErrorKind::TooLarge).await?;
    session.close().await?;
    Ok(outcome)
}

/// Appends to a log that was closed.
pub(super) async fn append_closed(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let topic = session.topic.clone();
    session.close().await?;
    appends(&topic, &setup, 1, ErrorKind::Closed).await
}

/// Commits beyond the end of the log.
pub(super) async fn commit_beyond(setup: Setup) -> Result<Outcome, Failure> {
    let session = setup.session().await?;
    let consumer = session.topic.consumer("bench")?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        let answer = consumer.commit(0, Msn::new(1)).await;
        meter.call(began, 1, 0);
        check(answer, ErrorKind::Invalid)?;
    }
    let outcome = meter.finish();
    session.close().await?;
    Ok(outcome)
}

/// Asks for a topic that is not there.
pub(super) async fn topic_missing(setup: Setup) -> Result<Outcome, Failure> {
    let log = setup.place.log(Log::builder()).await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        let answer = log.topic("missing").await;
        meter.call(began, 1, 0);
        check(answer, ErrorKind::NotFound)?;
    }
    let outcome = meter.finish();
    msglog::MsgLog::close(&log).await?;
    Ok(outcome)
}

async fn appends(
    topic: &Topic,
    setup: &Setup,
    payload_bytes: usize,
    kind: ErrorKind,
) -> Result<Outcome, Failure> {
    let payload = Bytes::from(vec![0; payload_bytes]);
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        let answer = topic.append(payload.clone()).await;
        meter.call(began, 1, 0);
        check(answer, kind)?;
    }
    Ok(meter.finish())
}

fn check<T: Debug>(answer: Result<T>, kind: ErrorKind) -> Result<(), Failure> {
    match answer {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(error.into()),
        Ok(answer) => {
            let why = format!("an error `{kind}` was due, and {answer:?} answered");
            Err(Error::new(ErrorKind::Corrupt, why).into())
        }
    }
}
