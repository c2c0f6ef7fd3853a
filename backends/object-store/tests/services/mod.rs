//! Places on services that the environment names: a path of its own for each case.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    dead_code,
    reason = "of tests, each of which uses its own part of it"
)]

use std::sync::Arc;
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

/// The URL of a service; without one the test says so and ends, or fails where it is required.
pub(crate) fn url(variable: &str) -> Option<String> {
    if let Ok(url) = std::env::var(variable) {
        return Some(url);
    }
    let why = format!("UNAVAILABLE: {variable} is not set; scripts/services.sh sets it");
    let required = std::env::var("MSGLOG_TEST_REQUIRE").is_ok_and(|value| value == "1");
    assert!(!required, "{why}");
    eprintln!("{why}");
    None
}

/// A service whose URL stands in an environment variable; unset, it is unavailable.
pub(crate) struct ByUrl {
    pub(crate) name: &'static str,
    pub(crate) variable: &'static str,
}

struct Place(String);

#[async_trait]
impl Backend for ByUrl {
    fn name(&self) -> &str {
        self.name
    }

    async fn provision(&self, case: &Case) -> Provision {
        match std::env::var(self.variable) {
            Ok(url) => Provision::Ready(Box::new(Place(below(&url, &unique(&case.id()))))),
            Err(_) => {
                // Red when it is required.
                url(self.variable);
                let reason = format!("{} is not set; scripts/services.sh sets it", self.variable);
                Provision::Unavailable { reason }
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
