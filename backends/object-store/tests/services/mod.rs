//! Services that tests run on: named by the environment, or else in containers, or else missing.
//!
//! A place on them has a path of its own for each case.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    dead_code,
    reason = "of tests, each of which uses its own part of it"
)]

#[cfg(feature = "containers")]
mod containers;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use msglog_conformance::{Backend, Case, Instance, Provision};
use msglog_core::Result;
use msglog_core::store::{Access, MessageStore, StoreRegistry};

/// Opens the store that a URL names.
pub(crate) async fn open(url: &str, access: Access) -> Result<Arc<dyn MessageStore>> {
    let mut registry = StoreRegistry::new();
    msglog_object_store::register(&mut registry);
    registry.open(url, access).await
}

/// The URL of a service, which runs at least as long as this lives.
pub(crate) struct Service {
    url: String,
    #[cfg(feature = "containers")]
    running: Option<Arc<msglog_conformance::containers::Running>>,
}

impl Deref for Service {
    type Target = str;

    fn deref(&self) -> &str {
        &self.url
    }
}

/// The service that an environment variable names; with the feature `containers` one in a
/// container where it is not set; or why there is none.
fn service(variable: &str) -> Result<Service, String> {
    if let Ok(url) = std::env::var(variable) {
        return Ok(Service {
            url,
            #[cfg(feature = "containers")]
            running: None,
        });
    }
    let missing = format!("{variable} is not set; scripts/services.sh sets it");
    stand_in(variable).map_err(|why| format!("{missing}{why}"))
}

#[cfg(feature = "containers")]
fn stand_in(variable: &str) -> Result<Service, String> {
    let (url, running) = containers::start(variable).map_err(|why| format!("; {why}"))?;
    Ok(Service { url, running: Some(running) })
}

#[cfg(not(feature = "containers"))]
fn stand_in(_variable: &str) -> Result<Service, String> {
    Err(String::new())
}

/// The URL of a service; without one the test says so and ends, or fails where it is required.
pub(crate) fn url(variable: &str) -> Option<Service> {
    service(variable).map_err(|why| missing(&why)).ok()
}

/// Says that a service is missing; red when it is required.
fn missing(why: &str) {
    let required = std::env::var("MSGLOG_TEST_REQUIRE").is_ok_and(|value| value == "1");
    assert!(!required, "UNAVAILABLE: {why}");
    eprintln!("UNAVAILABLE: {why}");
}

/// A service whose URL stands in an environment variable; without one it is unavailable.
pub(crate) struct ByUrl {
    name: &'static str,
    variable: &'static str,
    service: OnceLock<Result<Service, String>>,
}

impl ByUrl {
    pub(crate) fn new(name: &'static str, variable: &'static str) -> Self {
        Self { name, variable, service: OnceLock::new() }
    }
}

struct Place(String);

#[async_trait]
impl Backend for ByUrl {
    fn name(&self) -> &str {
        self.name
    }

    async fn provision(&self, case: &Case) -> Provision {
        match self.service.get_or_init(|| service(self.variable)) {
            Ok(url) => Provision::Ready(Box::new(Place(below(url, &unique(&case.id()))))),
            Err(why) => {
                missing(why);
                Provision::Unavailable { reason: why.clone() }
            }
        }
    }

    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        Ok(Box::new(Place(address.to_owned())))
    }
}

#[async_trait]
impl Instance for Place {
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>> {
        open(&self.0, access).await
    }

    fn address(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

/// The URL of a path below another URL, with the same query and quick following.
pub(crate) fn below(url: &str, path: &str) -> String {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let follow = if query.is_empty() { "" } else { "&" };
    format!(
        "{}/{path}?{query}{follow}follow_interval_ms=0&flush_interval_ms=20",
        place.trim_end_matches('/')
    )
}

/// A path that nobody has used.
pub(crate) fn unique(name: &str) -> String {
    let since = UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    format!("{}-{}-{}", name.replace('/', "-"), std::process::id(), since.as_nanos())
}
