//! The place that is measured: empty before, empty between two measurements, and as before at last.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use msglog::backends::fs::FsFactory;
use msglog::store::{Capabilities, Expected, MessageStore, Survives};
use msglog::{Access, Error, ErrorKind, Log, LogBuilder, StoreUrl};

use crate::failure::Failure;

/// Schemes of stores that are a folder of this machine.
const FOLDER_SCHEMES: [&str; 4] = ["file+object", "fs", "rocksdb", "sled"];

/// A place that was empty when it was found.
#[derive(Debug)]
pub(super) struct Place {
    url: String,
    scheme: &'static str,
    capabilities: Capabilities,
    folder: Option<Folder>,
}

/// The folder of a local store, and what it was before.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    was: Was,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Was {
    Absent,
    Empty,
    /// A store without a partition or document.
    Store,
}

impl Place {
    /// Takes a place that holds nothing; one that holds something is a conflict, and stays as it is.
    pub(super) async fn fresh(url: &str) -> Result<Self, Failure> {
        let folder = Folder::of(&StoreUrl::parse(url)?)?;
        if folder.as_ref().is_none_or(|folder| folder.was == Was::Store) {
            match msglog::registry().open(url, Access::Read).await {
                Ok(store) => {
                    let empty = check_empty(&*store).await;
                    store.close().await?;
                    empty?;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let store = msglog::registry().open(url, Access::Write).await?;
        let (scheme, capabilities) = (store.info().scheme, store.capabilities());
        // Once more, now that nobody else writes there.
        let empty = check_empty(&*store).await;
        store.close().await?;
        empty?;
        Ok(Self { url: url.to_owned(), scheme, capabilities, folder })
    }

    /// The URL scheme of the store.
    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// What the store can do.
    pub(super) fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Refuses a store whose contents are gone when it is closed.
    pub(super) fn check_survives_close(&self) -> Result<(), Failure> {
        if self.capabilities.sync_survives >= Survives::Process {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unsupported, "nothing survives a close of this store").into())
    }

    /// Opens the store for writing.
    pub(super) async fn store(&self) -> Result<Arc<dyn MessageStore>, Failure> {
        Ok(msglog::registry().open(&self.url, Access::Write).await?)
    }

    /// Opens the log for writing; it creates no topic by itself.
    pub(super) async fn log(&self, builder: LogBuilder) -> Result<Log, Failure> {
        Ok(builder.create_topics(false).open(self.store().await?).await?)
    }

    /// Removes every partition and document.
    pub(super) async fn clear(&self) -> Result<(), Failure> {
        if self.check_survives_close().is_err() {
            return Ok(());
        }
        let store = self.store().await?;
        for partition in store.partitions().await? {
            store.remove(&partition).await?;
        }
        for key in store.documents("").await? {
            store.discard(&key, Expected::Any).await?;
        }
        Ok(store.close().await?)
    }

    /// Leaves the place as it was found: no folder, an empty one, or a store that holds nothing.
    pub(super) async fn leave(&self) -> Result<(), Failure> {
        match &self.folder {
            Some(folder) if folder.was != Was::Store => folder.restore(),
            _ => self.clear().await,
        }
    }
}

async fn check_empty(store: &dyn MessageStore) -> Result<(), Failure> {
    let partition = store.partitions().await?.first().map(|name| format!("partition {name}"));
    let document = store.documents("").await?.first().map(|key| format!("document {key}"));
    match partition.or(document) {
        None => Ok(()),
        Some(what) => {
            let why = format!("the place is not empty, it holds {what}: name one of its own");
            Err(Failure::Conflict(why))
        }
    }
}

impl Folder {
    fn of(url: &StoreUrl) -> Result<Option<Self>, Failure> {
        if !FOLDER_SCHEMES.contains(&url.scheme()) {
            return Ok(None);
        }
        // The path alone, as the fs store reads it.
        let path = FsFactory::folder(&StoreUrl::parse(&format!("fs://{}", url.as_url().path()))?)?;
        let was = match fs::read_dir(&path).map(|mut entries| entries.next().is_none()) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Was::Absent,
            Ok(true) => Was::Empty,
            Ok(false) => Was::Store,
            Err(cause) => return Err(failed("look into", &path, cause)),
        };
        Ok(Some(Self { path, was }))
    }

    fn restore(&self) -> Result<(), Failure> {
        let remove = || -> io::Result<()> {
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => fs::remove_dir_all(entry.path())?,
                    false => fs::remove_file(entry.path())?,
                }
            }
            if self.was == Was::Absent {
                fs::remove_dir(&self.path)?;
            }
            Ok(())
        };
        remove().map_err(|cause| failed("empty", &self.path, cause))
    }
}

fn failed(what: &str, path: &Path, cause: io::Error) -> Failure {
    Failure::io(format!("{what} folder {}", path.display()), cause)
}
