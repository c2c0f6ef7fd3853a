//! One suite for every msglog store: run it on yours in ten lines.
//!
//! A test without harness is all it takes (`[[test]] name = "conformance" harness = false`):
//!
//! ```no_run
//! use msglog_conformance::Fixture;
//! use msglog_core::store::Access;
//! # async fn open(_: &std::path::Path, _: Access) -> msglog_core::Result<msglog_memory::MemoryStore> {
//! #     Ok(msglog_memory::MemoryStore::new())
//! # }
//!
//! msglog_conformance::main! {
//!     name: "mine",
//!     open: |at: Fixture, access: Access| async move { open(at.folder(), access).await },
//! }
//! ```
//!
//! Each case is one promise of the contract in [`msglog_core::store`], named after it, runs on a
//! fresh place, and is also a function of [`store_suite`] that can be called by itself. What a
//! store does not claim is tested from the other side; what it is known to break stands in a
//! marker file, strictly ([`marker`]). Every run leaves records that [`report`] makes the matrix
//! of. The suite is itself tested by stores that are broken on purpose: see `BROKEN.md`.

pub mod backend;
pub mod case;
#[cfg(feature = "containers")]
pub mod containers;
pub mod cx;
mod entry;
mod failure;
pub mod log_suite;
pub mod marker;
pub mod process;
pub mod report;
pub mod sample;
pub mod snapshot;
pub mod store_suite;
mod suite;
pub mod verdict;
pub mod wrap;

pub use crate::backend::{
    Backend, Fault, Faults, Fixture, Instance, Provision, from_fn, from_fn_with_faults,
};
pub use crate::case::{Case, Need};
pub use crate::cx::Cx;
pub use crate::entry::{REQUIRE_VARIABLE, Setup, run};
pub use crate::failure::{CaseResult, Failure};
pub use crate::suite::{Outcome, PATIENCE_VARIABLE, SEED_VARIABLE, Status, Suite};

/// Every group of the suite, in the order of reports: those of the store, then those of the log.
pub fn groups() -> impl Iterator<Item = &'static [Case]> {
    store_suite::GROUPS.iter().chain(log_suite::GROUPS).copied()
}

/// Every case of the suite, in the order of reports.
pub fn cases() -> Vec<&'static Case> {
    groups().flatten().collect()
}

/// The case with this `group/name`.
pub fn find_case(id: &str) -> Option<&'static Case> {
    cases().into_iter().find(|case| case.id() == id)
}

/// The `main` of a conformance test: a name, how to open a store, and perhaps a marker file.
///
/// `open` is called with a [`Fixture`] and what the store is opened for; with the same fixture
/// again, it reopens the place. `faults`, which may be left out, is called with the same fixture and
/// answers the seam ([`Faults`]) through which the storage of that place fails:
///
/// ```no_run
/// # use std::sync::atomic::{AtomicBool, Ordering};
/// # use msglog_conformance::{Fault, Faults, Fixture};
/// # use msglog_core::store::Access;
/// # use std::{path::Path, sync::Arc};
/// # async fn open(_: &Path, _: Access, _: Arc<Broken>) -> msglog_core::Result<msglog_memory::MemoryStore> {
/// #     Ok(msglog_memory::MemoryStore::new())
/// # }
/// #[derive(Default)]
/// struct Broken {
///     full: AtomicBool,
///     sync_fails: AtomicBool,
/// }
///
/// #[async_trait::async_trait]
/// impl Faults for Broken {
///     async fn inject(&self, fault: Fault) {
///         match fault {
///             Fault::Full => self.full.store(true, Ordering::Release),
///             Fault::SyncFails => self.sync_fails.store(true, Ordering::Release),
///             _ => {}
///         }
///     }
///
///     async fn heal(&self) {
///         self.full.store(false, Ordering::Release);
///         self.sync_fails.store(false, Ordering::Release);
///     }
/// }
///
/// msglog_conformance::main! {
///     name: "mine",
///     open: |at: Fixture, access: Access| async move {
///         open(at.folder(), access, at.shared(Broken::default)).await
///     },
///     faults: |at: Fixture| at.shared(Broken::default),
/// }
/// ```
///
/// Without a seam the cases about a failed sync and a full disk do not apply. `markers` names a file beside the test, in the folder `tests`.
/// A backend that needs more, such as a running service, is given as `backend:`, any [`Backend`].
#[macro_export]
macro_rules! main {
    (name: $name:expr, open: $open:expr $(, markers: $markers:expr)? $(,)?) => {
        $crate::main! { backend: $crate::from_fn($name, $open) $(, markers: $markers)? }
    };
    (
        name: $name:expr, open: $open:expr, faults: $faults:expr
        $(, markers: $markers:expr)? $(,)?
    ) => {
        $crate::main! {
            backend: $crate::from_fn_with_faults($name, $open, $faults) $(, markers: $markers)?
        }
    };
    (backend: $backend:expr $(, markers: $markers:expr)? $(,)?) => {
        fn main() -> ::std::process::ExitCode {
            let setup = $crate::Setup::of_package(env!("CARGO_MANIFEST_DIR"));
            $(let setup = setup.with_markers($markers);)?
            $crate::run($backend, &setup)
        }
    };
}
