//! The stores of the table as backends: the memory ones by a closure, the file ones in full form.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use msglog_conformance::{Backend, Case, Faults, Fixture, Instance, Provision, from_fn};
use msglog_core::Result;
use msglog_core::store::{Access, MessageStore};
use tempfile::TempDir;

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
        Store::File(..) => Arc::new(FileBackend { name: store.name(), store }),
    }
}

/// The backend with this name, for a child process.
pub(crate) fn named(name: &str) -> Option<Arc<dyn Backend>> {
    let all = rows().into_iter().map(|row| row.store).chain(CORRECT.iter().copied());
    all.into_iter().find(|store| store.name() == name).map(backend)
}

struct FileBackend {
    name: String,
    store: Store,
}

impl FileBackend {
    fn instance(&self, folder: PathBuf, own: Option<TempDir>) -> Box<dyn Instance> {
        let Store::File(fault, ownership) = self.store else { unreachable!("a file store") };
        let switches = Arc::new(Switches::new(fault, ownership, &folder));
        Box::new(FileInstance { folder, switches, own: Mutex::new(own) })
    }
}

#[async_trait]
impl Backend for FileBackend {
    fn name(&self) -> &str {
        &self.name
    }

    async fn provision(&self, _case: &Case) -> Provision {
        match TempDir::new() {
            Ok(own) => Provision::Ready(self.instance(own.path().into(), Some(own))),
            Err(cause) => Provision::Unavailable { reason: cause.to_string() },
        }
    }

    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        Ok(self.instance(address.into(), None))
    }
}

struct FileInstance {
    folder: PathBuf,
    switches: Arc<Switches>,
    own: Mutex<Option<TempDir>>,
}

#[async_trait]
impl Instance for FileInstance {
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>> {
        Ok(Arc::new(FileStore::open(&self.folder, access, Arc::clone(&self.switches))?))
    }

    async fn destroy(&self) -> Result<()> {
        drop(self.own.lock().unwrap().take());
        Ok(())
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }

    fn address(&self) -> Option<String> {
        self.folder.to_str().map(str::to_owned)
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self.switches.as_ref())
    }
}
