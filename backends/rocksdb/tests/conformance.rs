//! The conformance suite on a database of RocksDB in a folder.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use msglog_conformance::{Backend, Case, Instance, Provision};
use msglog_core::store::{Access, MessageStore};
use msglog_core::{Error, Result};
use msglog_rocksdb::{RocksDbOptions, RocksDbStore};
use tempfile::TempDir;

msglog_conformance::main! { backend: RocksDb }

struct RocksDb;

#[async_trait]
impl Backend for RocksDb {
    fn name(&self) -> &str {
        "rocksdb"
    }

    async fn provision(&self, _case: &Case) -> Provision {
        match tempfile::Builder::new().prefix("msglog-").tempdir() {
            Ok(own) => {
                let path = own.path().to_owned();
                Provision::Ready(Box::new(Folder { path, own: Mutex::new(Some(own)) }))
            }
            Err(cause) => {
                Provision::Unavailable { reason: format!("no temporary folder: {cause}") }
            }
        }
    }

    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        Ok(Box::new(Folder { path: address.into(), own: Mutex::default() }))
    }
}

struct Folder {
    path: PathBuf,
    own: Mutex<Option<TempDir>>,
}

#[async_trait]
impl Instance for Folder {
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>> {
        Ok(Arc::new(RocksDbStore::open(&self.path, RocksDbOptions::new(access)).await?))
    }

    /// A log that is dropped lets its store go a moment later, and RocksDB deletes files then.
    async fn destroy(&self) -> Result<()> {
        let Some(own) = self.own.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return Ok(());
        };
        let path = own.keep();
        let mut removed = Ok(());
        for _ in 0..100 {
            removed = std::fs::remove_dir_all(&path);
            if removed.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        removed.map_err(|cause| Error::from_io("remove the case's folder", cause))
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }

    fn address(&self) -> Option<String> {
        self.path.to_str().map(str::to_owned)
    }
}
