//! Counts what passes through the seam, for tests and for the curious.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Entry, File, FileSystem, Lock, Metadata, OpenMode, Space};

/// How many file calls were made, by kind, and how many bytes they moved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct IoCounts {
    /// Reads of files.
    pub reads: u64,
    /// Bytes that these reads answered.
    pub bytes_read: u64,
    /// Writes to files.
    pub writes: u64,
    /// Bytes that these writes took.
    pub bytes_written: u64,
    /// How often it was asked to begin to write out.
    pub write_outs: u64,
    /// The bytes that were named then.
    pub bytes_written_out: u64,
    /// `fdatasync`s.
    pub sync_data: u64,
    /// `fsync`s of files.
    pub sync_all: u64,
    /// `fsync`s of folders.
    pub sync_dir: u64,
    /// Files opened.
    pub opens: u64,
}

#[derive(Debug, Default)]
struct Counters {
    reads: AtomicU64,
    bytes_read: AtomicU64,
    writes: AtomicU64,
    bytes_written: AtomicU64,
    write_outs: AtomicU64,
    bytes_written_out: AtomicU64,
    sync_data: AtomicU64,
    sync_all: AtomicU64,
    sync_dir: AtomicU64,
    opens: AtomicU64,
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// A file system that counts the calls to another one.
#[derive(Clone, Debug)]
pub struct CountedFs {
    inner: Arc<dyn FileSystem>,
    counters: Arc<Counters>,
}

impl CountedFs {
    /// Counts the calls to `inner`.
    pub fn new(inner: Arc<dyn FileSystem>) -> Self {
        Self { inner, counters: Arc::default() }
    }

    /// The counts so far.
    pub fn counts(&self) -> IoCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IoCounts {
            reads: get(&self.counters.reads),
            bytes_read: get(&self.counters.bytes_read),
            writes: get(&self.counters.writes),
            bytes_written: get(&self.counters.bytes_written),
            write_outs: get(&self.counters.write_outs),
            bytes_written_out: get(&self.counters.bytes_written_out),
            sync_data: get(&self.counters.sync_data),
            sync_all: get(&self.counters.sync_all),
            sync_dir: get(&self.counters.sync_dir),
            opens: get(&self.counters.opens),
        }
    }
}

impl FileSystem for CountedFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        add(&self.counters.opens, 1);
        Ok(Arc::new(CountedFile { inner, counters: Arc::clone(&self.counters) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.inner.metadata(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        add(&self.counters.sync_dir, 1);
        self.inner.sync_dir(path)
    }

    fn lock(&self, path: &Path, wait: bool) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(path, wait)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }
}

#[derive(Debug)]
struct CountedFile {
    inner: Arc<dyn File>,
    counters: Arc<Counters>,
}

impl File for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.inner.read_at(buffer, offset)?;
        add(&self.counters.reads, 1);
        add(&self.counters.bytes_read, count as u64);
        Ok(count)
    }

    fn read_cached_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = self.inner.read_cached_at(buffer, offset)?;
        add(&self.counters.reads, 1);
        add(&self.counters.bytes_read, count as u64);
        Ok(count)
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let count = self.inner.write_at(parts, offset)?;
        add(&self.counters.writes, 1);
        add(&self.counters.bytes_written, count as u64);
        Ok(count)
    }

    fn begin_write_out(&self, offset: u64, len: u64) {
        add(&self.counters.write_outs, 1);
        add(&self.counters.bytes_written_out, len);
        self.inner.begin_write_out(offset, len);
    }

    fn sync_data(&self) -> io::Result<()> {
        add(&self.counters.sync_data, 1);
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        add(&self.counters.sync_all, 1);
        self.inner.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }
}
