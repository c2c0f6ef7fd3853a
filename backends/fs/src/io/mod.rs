//! The seam to files: every call that the store makes to an operating system goes through here.
//!
//! [`RealFs`] is the operating system. [`SimFs`] is a disk in memory that loses, reorders and tears
//! what was not synced when its power is cut, runs full, and fails on demand. [`FaultFs`] lets any one
//! of its calls fail. [`CountedFs`] counts.

mod counted;
mod fault;
mod real;
mod sim;
mod sim_disk;
mod sim_file;
mod write_out;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use self::counted::{CountedFs, IoCounts};
pub use self::fault::{Call, Failure, Fault, FaultFs};
pub use self::real::RealFs;
pub use self::sim::SimFs;

/// How a file is opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpenMode {
    /// Only for reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; it must not exist, and only its owner may use it (mode 0600).
    CreateNew,
}

/// What a folder holds under one name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The name; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// What a path names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// The length of the file, in bytes.
    pub len: u64,
    /// Whether it is a folder.
    pub is_dir: bool,
}

/// Room on the device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// Bytes that this process may still use.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The names: files, folders and locks.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// Opens a file; a symbolic link in the last part of the path is refused.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// Creates a folder that only its owner may use (mode 0700); its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Gives a file or folder another name, atomically replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// What a folder holds, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// What a path names; `NotFound` when nothing.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;

    /// Makes the names in a folder survive a power cut.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Locks a file against every other holder, creating it when there is none.
    ///
    /// Without `wait`, `WouldBlock` when another holds it. The lock is on the file that the path
    /// names when this returns.
    fn lock(&self, path: &Path, wait: bool) -> io::Result<Box<dyn Lock>>;

    /// Room on the device that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// An open file.
pub trait File: Debug + Send + Sync {
    /// Reads at an offset; may be short, and answers 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// As [`read_at`](Self::read_at), but only what is in memory already: `WouldBlock` where the
    /// device would have to be waited for, and where that cannot be told.
    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _ = (buffer, offset);
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes at an offset; may be short.
    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Begins to bring written bytes to the device and does not wait: what a sync then waits for is
    /// under way. A hint, which promises nothing; a failure is what the next sync answers.
    fn begin_write_out(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Makes the bytes and the length survive a power cut (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the bytes and all metadata survive a power cut (`fsync`).
    fn sync_all(&self) -> io::Result<()>;

    /// Cuts the file, or extends it by zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reserves room without changing the length; `Unsupported` where that is not possible.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// A held lock; dropping it lets go.
pub trait Lock: Debug + Send + Sync {}

/// Reads from `offset` until the buffer is full or the file ends; answers how much was read.
pub(crate) fn read_full(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(done as u64)) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(done)
}

/// The most parts that one vectored write takes (`IOV_MAX`).
const WRITE_PARTS_MAX: usize = 1024;

/// Writes all parts at `offset`, however short the single writes are.
pub(crate) fn write_full(
    file: &dyn File,
    mut parts: &mut [io::IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    io::IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let now = parts.get(..WRITE_PARTS_MAX).unwrap_or(parts);
        match file.write_at(now, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                io::IoSlice::advance_slices(&mut parts, count);
                offset = offset.saturating_add(count as u64);
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// Reads a whole small file; `None` when there is none, `FileTooLarge` beyond `len_max`.
pub(crate) fn read_small(
    fs: &dyn FileSystem,
    path: &Path,
    len_max: u64,
) -> io::Result<Option<Vec<u8>>> {
    let file = match fs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause),
    };
    let len = file.len()?;
    if len > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let count = read_full(file.as_ref(), &mut bytes, 0)?;
    bytes.truncate(count);
    Ok(Some(bytes))
}

/// Replaces `path` by `bytes` through the name `temporary`; the content is synced, the name not.
pub(crate) fn replace_file(
    fs: &dyn FileSystem,
    path: &Path,
    temporary: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    write_temporary(fs, temporary, bytes)?;
    rename_temporary(fs, temporary, path)
}

/// Writes and syncs a file that will be renamed; after an error it is gone.
pub(crate) fn write_temporary(
    fs: &dyn FileSystem,
    temporary: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    remove_if_there(fs, temporary)?;
    let file = fs.open(temporary, OpenMode::CreateNew)?;
    let written = write_full(file.as_ref(), &mut [io::IoSlice::new(bytes)], 0)
        .and_then(|()| file.sync_data());
    if written.is_err() {
        // The answer is the first error; a leftover is removed by the next attempt.
        let _ = fs.remove(temporary);
    }
    written
}

/// Gives a temporary file its final name; after an error it may have that.
pub(crate) fn rename_temporary(
    fs: &dyn FileSystem,
    temporary: &Path,
    path: &Path,
) -> io::Result<()> {
    let renamed = fs.rename(temporary, path);
    if renamed.is_err() {
        let _ = fs.remove(temporary);
    }
    renamed
}

/// Removes a file that may be absent; answers whether it was there.
pub(crate) fn remove_if_there(fs: &dyn FileSystem, path: &Path) -> io::Result<bool> {
    match fs.remove(path) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(cause),
    }
}
