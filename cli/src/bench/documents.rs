//! Documents of the store: saved by compare-and-swap, loaded, and refused when they changed.

use std::time::Instant;

use bytes::Bytes;
use msglog::store::{DocumentKey, Expected};
use msglog::{Error, ErrorKind};

use super::meter::{Meter, Outcome};
use super::setup::Setup;
use crate::failure::Failure;

const KEY: &str = "bench/document";

/// Replaces one document again and again, each time the version that was saved last.
pub(super) async fn save(setup: Setup) -> Result<Outcome, Failure> {
    check_size(&setup)?;
    let store = setup.place.store().await?;
    let (key, mut payloads) = (DocumentKey::parse(KEY)?, setup.payloads());
    let mut expected = Expected::Absent;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        expected = Expected::Version(store.save(&key, payloads.next(), expected).await?);
        meter.call(began, 1, payloads.size());
    }
    let outcome = meter.finish();
    store.close().await?;
    Ok(outcome)
}

/// Loads one document again and again.
pub(super) async fn load(setup: Setup) -> Result<Outcome, Failure> {
    check_size(&setup)?;
    let store = setup.place.store().await?;
    let (key, value) = (DocumentKey::parse(KEY)?, setup.payloads().next());
    store.save(&key, value.clone(), Expected::Absent).await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        let loaded = store.load(&key).await?;
        if loaded.is_none_or(|document| document.value != value) {
            return Err(Error::new(ErrorKind::Corrupt, "a document came back altered").into());
        }
        meter.call(began, 1, value.len() as u64);
    }
    let outcome = meter.finish();
    store.close().await?;
    Ok(outcome)
}

/// Saves a document that is there as if it were not: a conflict each time.
pub(super) async fn conflict(setup: Setup) -> Result<Outcome, Failure> {
    let store = setup.place.store().await?;
    let (key, value) = (DocumentKey::parse(KEY)?, Bytes::from_static(b"x"));
    store.save(&key, value.clone(), Expected::Absent).await?;
    let mut meter = Meter::start(setup.limit);
    while meter.goes_on() {
        let began = Instant::now();
        match store.save(&key, value.clone(), Expected::Absent).await {
            Err(error) if error.kind() == ErrorKind::Conflict => meter.call(began, 1, 0),
            Err(error) => return Err(error.into()),
            Ok(_) => {
                let why = "a document that is there was saved as if it were not";
                return Err(Error::new(ErrorKind::Corrupt, why).into());
            }
        }
    }
    let outcome = meter.finish();
    store.close().await?;
    Ok(outcome)
}

fn check_size(setup: &Setup) -> Result<(), Failure> {
    let most = setup.place.capabilities().document_bytes_max;
    if setup.payload_bytes <= most {
        return Ok(());
    }
    let why = format!("documents of this store have at most {most} bytes");
    Err(Error::new(ErrorKind::Unsupported, why).into())
}
