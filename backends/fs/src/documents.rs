//! Documents: one file per key, replaced whole, changed under a lock that readers may take too.
//!
//! The parts of a key but the last are folders with a `+` at the end of their names, so that `a`
//! and `a/b` can both exist. Layout of a file, numbers big-endian: magic `MLD1`, version (8 bytes),
//! CRC-32C of version and value (4 bytes), value.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use msglog_core::store::{Document, DocumentKey, Expected, Version, check};
use msglog_core::{Error, ErrorKind, Result};

use crate::io::{FileSystem, Lock, read_small, remove_if_there, rename_temporary, write_temporary};
use crate::options::DOCUMENT_BYTES_MAX;

const MAGIC: &[u8; 4] = b"MLD1";
/// Bytes before the value.
const HEAD_BYTES: usize = 16;
/// The file that everyone who changes documents holds locked.
const LOCK: &str = ".lock";
/// The document that remembers the newest version ever discarded, so that none comes back.
const FLOOR: &str = ".floor";

/// The documents of a store.
#[derive(Clone, Debug)]
pub(crate) struct Documents {
    fs: Arc<dyn FileSystem>,
    root: PathBuf,
}

impl Documents {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, root: PathBuf) -> Self {
        Self { fs, root }
    }

    /// Creates the folder when there is none.
    pub(crate) fn create(&self) -> Result<()> {
        self.create_folder(&self.root).map_err(|cause| failed("create", &self.root, cause))
    }

    /// Makes durable what an earlier life has changed and not synced, before anyone reads it.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let listed = self.fs.list(&folder);
            let entries = listed.map_err(|cause| failed("list", &folder, cause))?;
            self.fs.sync_dir(&folder).map_err(|cause| failed("sync", &folder, cause))?;
            let inner = entries.iter().filter(|entry| entry.is_dir && entry.name.ends_with('+'));
            folders.extend(inner.map(|entry| folder.join(&entry.name)));
        }
        Ok(())
    }

    pub(crate) fn load(&self, key: &DocumentKey) -> Result<Option<Document>> {
        self.load_at(&self.path(key))
    }

    pub(crate) fn save(
        &self,
        key: &DocumentKey,
        value: &[u8],
        expected: Expected,
    ) -> Result<Version> {
        check::document_size(value, DOCUMENT_BYTES_MAX)?;
        self.create()?;
        let _lock = self.lock()?;
        let path = self.path(key);
        let current = self.load_at(&path)?.map(|document| document.version);
        check::expected(key, expected, current)?;
        let last = match current {
            Some(version) => version.get(),
            None => self.floor()?,
        };
        let version = Version::new(last.saturating_add(1));
        self.store(&path, version, value)?;
        Ok(version)
    }

    pub(crate) fn discard(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        self.create()?;
        let _lock = self.lock()?;
        let path = self.path(key);
        let current = self.load_at(&path)?.map(|document| document.version);
        check::expected(key, expected, current)?;
        let Some(version) = current else { return Ok(false) };
        if self.floor()? < version.get() {
            self.store(&self.root.join(FLOOR), version, &[])?;
        }
        let removed = remove_if_there(self.fs.as_ref(), &path);
        let removed =
            removed.map_err(|cause| failed("remove", &path, cause).with_unknown_effect())?;
        self.sync_parent(&path)?;
        Ok(removed)
    }

    /// The keys that start with `prefix`, sorted.
    pub(crate) fn keys(&self, prefix: &str) -> Result<Vec<DocumentKey>> {
        let mut keys = Vec::new();
        let mut folders = vec![(self.root.clone(), String::new())];
        while let Some((folder, parts)) = folders.pop() {
            let entries = match self.fs.list(&folder) {
                Ok(entries) => entries,
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
                Err(cause) => return Err(failed("list", &folder, cause)),
            };
            for entry in entries {
                if let (true, Some(part)) = (entry.is_dir, entry.name.strip_suffix('+')) {
                    folders.push((folder.join(&entry.name), format!("{parts}{part}/")));
                } else if let Ok(key) = DocumentKey::parse(format!("{parts}{}", entry.name)) {
                    keys.push(key);
                }
            }
        }
        keys.retain(|key| key.as_str().starts_with(prefix));
        keys.sort_unstable();
        Ok(keys)
    }

    fn path(&self, key: &DocumentKey) -> PathBuf {
        let mut path = self.root.clone();
        let mut parts = key.as_str().split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_some() {
                path.push(format!("{part}+"));
            } else {
                path.push(part);
            }
        }
        path
    }

    fn lock(&self) -> Result<Box<dyn Lock>> {
        let path = self.root.join(LOCK);
        self.fs.lock(&path, true).map_err(|cause| failed("lock", &path, cause))
    }

    fn floor(&self) -> Result<u64> {
        let floor = self.load_at(&self.root.join(FLOOR))?;
        Ok(floor.map_or(0, |document| document.version.get()))
    }

    fn load_at(&self, path: &Path) -> Result<Option<Document>> {
        let bytes_max = (HEAD_BYTES + DOCUMENT_BYTES_MAX) as u64;
        match read_small(self.fs.as_ref(), path, bytes_max) {
            Ok(None) => Ok(None),
            Ok(Some(bytes)) => decode(bytes).map(Some).ok_or_else(|| damaged(path)),
            Err(cause) if cause.kind() == io::ErrorKind::FileTooLarge => Err(damaged(path)),
            Err(cause) => Err(failed("read", path, cause)),
        }
    }

    fn store(&self, path: &Path, version: Version, value: &[u8]) -> Result<()> {
        if let Some(folder) = path.parent() {
            self.create_folder(folder).map_err(|cause| failed("create", folder, cause))?;
        }
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push("~");
        let (temporary, bytes) = (path.with_file_name(name), encode(version, value));
        write_temporary(self.fs.as_ref(), &temporary, &bytes)
            .map_err(|cause| failed("write", path, cause))?;
        rename_temporary(self.fs.as_ref(), &temporary, path)
            .map_err(|cause| failed("replace", path, cause).with_unknown_effect())?;
        self.sync_parent(path)
    }

    /// After a failure here the new names are visible, but may not survive.
    fn sync_parent(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(&self.root);
        let synced = self.fs.sync_dir(folder);
        synced.map_err(|cause| failed("sync", folder, cause).with_unknown_effect())
    }

    /// Creates a folder and those above it up to the store, each durable.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = folder;
        while let Err(cause) = self.fs.metadata(at) {
            if cause.kind() != io::ErrorKind::NotFound {
                return Err(cause);
            }
            missing.push(at);
            match at.parent() {
                Some(parent) if at != self.root => at = parent,
                _ => break,
            }
        }
        for folder in missing.into_iter().rev() {
            match self.fs.create_dir(folder) {
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
                _ => {}
            }
            if let Some(parent) = folder.parent() {
                self.fs.sync_dir(parent)?;
            }
        }
        Ok(())
    }
}

fn encode(version: Version, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + value.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&version.get().to_be_bytes());
    bytes.extend_from_slice(&checksum(version, value).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

fn decode(bytes: Vec<u8>) -> Option<Document> {
    let head = bytes.get(..HEAD_BYTES)?;
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (stored, _) = rest.split_first_chunk::<4>()?;
    let version = Version::new(u64::from_be_bytes(*version));
    let stored = u32::from_be_bytes(*stored);
    if magic != MAGIC {
        return None;
    }
    let value = Bytes::from(bytes).slice(HEAD_BYTES..);
    (checksum(version, &value) == stored).then_some(Document { value, version })
}

fn checksum(version: Version, value: &[u8]) -> u32 {
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&version.get().to_be_bytes());
    digest.update(value);
    u32::try_from(digest.finalize()).unwrap_or(u32::MAX)
}

fn damaged(path: &Path) -> Error {
    Error::new(ErrorKind::Corrupt, format!("document {} fails its checksum", path.display()))
}

fn failed(verb: &str, path: &Path, cause: io::Error) -> Error {
    Error::from_io(format!("{verb} {}", path.display()), cause)
}
