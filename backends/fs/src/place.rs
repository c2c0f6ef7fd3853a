//! The folder of a store: created, checked, locked, and its writer epoch raised.

use std::io;
use std::path::Path;
use std::sync::Arc;

use msglog_core::{Error, ErrorKind, Result};

use crate::hold::Hold;
use crate::io::{Entry, FileSystem};
use crate::layout::{CREATING, LOCK, MANIFEST, MANIFEST_TEMPORARY, REMOVED};
use crate::manifest::Manifest;

fn failed(verb: &str, path: &Path, cause: io::Error) -> Error {
    Error::from_io(format!("{verb} {}", path.display()), cause)
}

/// What a folder is to a store.
enum Found {
    /// Nothing is there.
    Absent,
    /// A folder without anything but what an interrupted creation leaves.
    Empty,
    /// A store.
    Store(Manifest),
}

fn look(fs: &dyn FileSystem, root: &Path) -> Result<Found> {
    let no_store = |what: &str| {
        let why = format!("no msglog store: {} {what}", root.display());
        Err(Error::new(ErrorKind::Invalid, why))
    };
    match fs.metadata(root) {
        Ok(metadata) if !metadata.is_dir => return no_store("is a file"),
        Ok(_) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        Err(cause) => return Err(failed("open", root, cause)),
    }
    if let Some(manifest) = Manifest::load(fs, root)? {
        return Ok(Found::Store(manifest));
    }
    let ours = |entry: &Entry| [LOCK, MANIFEST_TEMPORARY].contains(&entry.name.as_str());
    let entries = fs.list(root).map_err(|cause| failed("list", root, cause))?;
    if !entries.iter().all(ours) {
        return no_store(&format!("is not empty and has no {MANIFEST}"));
    }
    Ok(Found::Empty)
}

/// Finds a store for reading; changes nothing.
pub(crate) fn find(fs: &dyn FileSystem, root: &Path) -> Result<Manifest> {
    match look(fs, root)? {
        Found::Store(manifest) => Ok(manifest),
        Found::Absent | Found::Empty => {
            let why = format!("there is no store at {}", root.display());
            Err(Error::new(ErrorKind::NotFound, why))
        }
    }
}

/// Takes a place over for writing, creating the store when there is none.
pub(crate) fn take_over(fs: &dyn FileSystem, root: &Path) -> Result<(Manifest, Arc<Hold>)> {
    let found = look(fs, root)?;
    if matches!(found, Found::Absent) {
        create_folders(fs, root).map_err(|cause| failed("create", root, cause))?;
    }
    if !matches!(found, Found::Store(_)) {
        // Also what an interrupted creation has made and not synced.
        sync_ancestors(fs, root).map_err(|cause| failed("create", root, cause))?;
    }
    let path = root.join(LOCK);
    let lock = fs.lock(&path, false).map_err(|cause| match cause.kind() {
        io::ErrorKind::WouldBlock => {
            let why = format!("another writer holds {}", path.display());
            Error::new(ErrorKind::Locked, why)
        }
        _ => failed("lock", &path, cause),
    })?;
    let hold = Arc::new(Hold::new(lock));
    let manifest = match look(fs, root)? {
        Found::Store(manifest) => manifest,
        Found::Absent | Found::Empty => Manifest::fresh(),
    };
    let manifest = manifest.raise_epoch(fs, root)?;
    remove_leftovers(fs, root).map_err(|cause| failed("clean", root, cause))?;
    Ok((manifest, hold))
}

/// Creates a folder and those above it.
fn create_folders(fs: &dyn FileSystem, root: &Path) -> io::Result<()> {
    let Some(parent) = root.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if let Err(cause) = fs.metadata(parent) {
        if cause.kind() != io::ErrorKind::NotFound {
            return Err(cause);
        }
        create_folders(fs, parent)?;
    }
    match fs.create_dir(root) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(cause),
        _ => Ok(()),
    }
}

/// Makes the names of a folder and of those above it durable.
fn sync_ancestors(fs: &dyn FileSystem, root: &Path) -> io::Result<()> {
    for parent in root.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match fs.sync_dir(parent) {
            // Whose names we may not even list, in that we have created nothing.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Removes what an interrupted creation or removal of a partition has left.
fn remove_leftovers(fs: &dyn FileSystem, root: &Path) -> io::Result<()> {
    for entry in fs.list(root)? {
        if entry.is_dir && [CREATING, REMOVED].iter().any(|mark| entry.name.starts_with(mark)) {
            remove_tree(fs, &root.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Removes a folder and all that it holds.
pub(crate) fn remove_tree(fs: &dyn FileSystem, folder: &Path) -> io::Result<()> {
    for entry in fs.list(folder)? {
        let path = folder.join(&entry.name);
        if entry.is_dir {
            remove_tree(fs, &path)?;
        } else {
            fs.remove(&path)?;
        }
    }
    fs.remove_dir(folder)
}
