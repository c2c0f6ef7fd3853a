//! The stores of the table as backends: the file ones have a seam for faults.

use std::sync::Arc;

use msglog_conformance::{Backend, Fixture, from_fn, from_fn_with_faults};
use msglog_core::store::Access;

use crate::file_store::{FileStore, Switches};
use crate::memory_store::BrokenStore;
use crate::table::{CORRECT, Store, rows};

/// The backend of a store.
pub(crate) fn backend(store: Store) -> Arc<dyn Backend> {
    match store {
        Store::Memory(fault) => {
            let open = move |at: Fixture, access: Access| async move {
                BrokenStore::open(&at, access, fault)
            };
            Arc::new(from_fn(store.name(), open))
        }
        Store::File(fault, ownership) => {
            let switches =
                move |at: &Fixture| at.shared(|| Switches::new(fault, ownership, at.folder()));
            let open = move |at: Fixture, access: Access| async move {
                FileStore::open(at.folder(), access, switches(&at))
            };
            Arc::new(from_fn_with_faults(store.name(), open, move |at| switches(&at)))
        }
    }
}

/// The backend with this name, for a child process.
pub(crate) fn named(name: &str) -> Option<Arc<dyn Backend>> {
    let all = rows().into_iter().map(|row| row.store).chain(CORRECT.iter().copied());
    all.into_iter().find(|store| store.name() == name).map(backend)
}
