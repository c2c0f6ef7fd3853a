//! The conformance suite on the simulated disk, which can run full and fail to sync.

use std::sync::Arc;

use async_trait::async_trait;
use msglog_conformance::{Backend, Case, Fault, Faults, Instance, Provision};
use msglog_core::Result;
use msglog_core::store::{Access, MessageStore};
use msglog_fs::io::SimFs;
use msglog_fs::{FsOptions, FsStore};

struct Simulated;

struct Place(SimFs);

#[async_trait]
impl Backend for Simulated {
    fn name(&self) -> &'static str {
        "fs-simulated"
    }

    async fn provision(&self, _case: &Case) -> Provision {
        Provision::Ready(Box::new(Place(SimFs::new())))
    }
}

#[async_trait]
impl Instance for Place {
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>> {
        let fs = Arc::new(self.0.clone());
        Ok(Arc::new(FsStore::open_on(fs, "/store", FsOptions::new(access)).await?))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl Faults for Place {
    async fn inject(&self, fault: Fault) {
        match fault {
            Fault::Full => self.0.set_room(Some(self.0.used())),
            Fault::SyncFails => self.0.set_syncs_fail(true),
            _ => {}
        }
    }

    async fn heal(&self) {
        self.0.set_room(None);
        self.0.set_syncs_fail(false);
    }
}

msglog_conformance::main! {
    backend: Simulated,
}
