//! The conformance suite on a folder in which every object is a file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use msglog_conformance::{Backend, Case, Instance, Provision};
use msglog_core::store::{Access, MessageStore};
use msglog_core::{Error, Result};
use msglog_object_store::{BucketOptions, BucketStore};
use tempfile::TempDir;

struct Folders;

/// A folder; requests under way when a store is dropped may still write to it for a moment.
struct Place {
    folder: PathBuf,
    own: Option<TempDir>,
}

#[async_trait]
impl Backend for Folders {
    fn name(&self) -> &str {
        "object-store-folder"
    }

    async fn provision(&self, _: &Case) -> Provision {
        match TempDir::new() {
            Ok(own) => {
                let folder = own.path().to_owned();
                Provision::Ready(Box::new(Place { folder, own: Some(own) }))
            }
            Err(cause) => Provision::Unavailable { reason: format!("no folder: {cause}") },
        }
    }

    async fn attach(&self, address: &str) -> Result<Box<dyn Instance>> {
        Ok(Box::new(Place { folder: address.into(), own: None }))
    }
}

#[async_trait]
impl Instance for Place {
    async fn open(&self, access: Access) -> Result<Arc<dyn MessageStore>> {
        let mut options = BucketOptions::default();
        options.follow_interval = Duration::ZERO;
        options.flush_interval = Duration::from_millis(20);
        Ok(Arc::new(BucketStore::open_folder(&self.folder, options, access).await?))
    }

    async fn destroy(&self) -> Result<()> {
        if self.own.is_none() {
            return Ok(());
        }
        for _ in 0..100 {
            if std::fs::remove_dir_all(&self.folder).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let there = self.folder.exists();
        if there {
            Err(Error::from_io("remove the folder", std::io::Error::other("it is still there")))
        } else {
            Ok(())
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.folder.clone())
    }

    fn address(&self) -> Option<String> {
        self.folder.to_str().map(str::to_owned)
    }
}

msglog_conformance::main! {
    backend: Folders,
}
