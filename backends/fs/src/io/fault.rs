//! Lets one chosen call of a simulated disk fail, so that every call can be tried in turn.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Entry, File, FileSystem, Lock, Metadata, OpenMode, SimFs, Space};

/// How often in a row a call that lasts is interrupted before it succeeds.
const INTERRUPTIONS_MAX: u64 = 3;

/// A call of the seam.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named as the calls of `FileSystem` and `File` are")]
pub enum Call {
    Open,
    Create,
    CreateDir,
    Rename,
    Remove,
    RemoveDir,
    List,
    Metadata,
    SyncDir,
    Lock,
    Space,
    Read,
    Write,
    SyncData,
    SyncAll,
    SetLen,
    Len,
    Allocate,
}

/// What a call answers instead of success.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The device failed (`EIO`).
    Io,
    /// The device is full (`ENOSPC`).
    Full,
    /// The quota is used up (`EDQUOT`).
    Quota,
    /// The file is as large as files may be (`EFBIG`).
    TooBig,
    /// Too many files are open (`EMFILE`).
    OpenFiles,
    /// A signal came (`EINTR`).
    Interrupted,
    /// It is done by half, and says so.
    Short,
}

impl Failure {
    /// The error of this failure; a short call has none.
    fn error(self) -> Option<io::Error> {
        let errno = match self {
            Self::Io => Errno::IO,
            Self::Full => Errno::NOSPC,
            Self::Quota => Errno::DQUOT,
            Self::TooBig => Errno::FBIG,
            Self::OpenFiles => Errno::MFILE,
            Self::Interrupted => Errno::INTR,
            Self::Short => return None,
        };
        Some(errno.into())
    }

    /// Whether whoever calls must just call again.
    pub fn is_retried(self) -> bool {
        matches!(self, Self::Interrupted | Self::Short)
    }
}

impl Call {
    /// Every failure that an operating system can answer to this call.
    ///
    /// What the standard library retries by itself when interrupted (`fsync`, `ftruncate`, `open`)
    /// is never seen as such here.
    pub fn failures(self) -> &'static [Failure] {
        use Failure::{Full, Interrupted, Io, OpenFiles, Quota, Short, TooBig};
        match self {
            Self::Open | Self::List => &[Io, OpenFiles],
            Self::Create | Self::Lock => &[Io, OpenFiles, Full, Quota],
            Self::CreateDir | Self::Rename => &[Io, Full, Quota],
            Self::SyncDir => &[Io, OpenFiles, Full, Quota],
            Self::Remove | Self::RemoveDir | Self::Metadata | Self::Space | Self::Len => &[Io],
            Self::Read => &[Io, Interrupted, Short],
            Self::Write => &[Io, Full, Quota, TooBig, Interrupted, Short],
            Self::SyncData | Self::SyncAll => &[Io, Full, Quota],
            Self::SetLen => &[Io, Full, Quota, TooBig],
            Self::Allocate => &[Io, Full, Quota, TooBig, Interrupted],
        }
    }

    /// Whether the call can have had its effect and fail all the same.
    pub fn has_effect(self) -> bool {
        !matches!(
            self,
            Self::Open
                | Self::List
                | Self::Metadata
                | Self::Space
                | Self::Len
                | Self::Read
                | Self::Lock
                | Self::Allocate
        )
    }
}

/// Which call fails, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The number of the call, from 0.
    pub at: usize,
    /// What it answers.
    pub failure: Failure,
    /// Its effect happens all the same.
    pub after: bool,
    /// Every later call that can fail so fails too, until [`FaultFs::heal`].
    pub sticky: bool,
}

/// What happens once in the middle of a call.
struct Meanwhile(Box<dyn FnOnce() + Send>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

#[derive(Debug, Default)]
struct Plan {
    fault: Option<Fault>,
    healed: bool,
    meanwhile: Option<Meanwhile>,
    before_open: Option<(String, Meanwhile)>,
    calls: Vec<Call>,
    hits: u64,
}

/// A simulated disk of which one chosen call fails; clones are the same one.
#[derive(Clone, Debug)]
pub struct FaultFs {
    disk: SimFs,
    plan: Arc<Mutex<Plan>>,
}

impl FaultFs {
    /// A disk that does not fail before it is told to.
    pub fn new(disk: SimFs) -> Self {
        Self { disk, plan: Arc::default() }
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses what fails, and counts calls from 0 again.
    pub fn set_fault(&self, fault: Fault) {
        *self.plan() = Plan { fault: Some(fault), ..Plan::default() };
    }

    /// Does this once, right behind the next sync of a file and before it answers.
    pub fn during_next_sync(&self, act: impl FnOnce() + Send + 'static) {
        self.plan().meanwhile = Some(Meanwhile(Box::new(act)));
    }

    /// Does this once, right before a file of this name is opened or created.
    pub fn before_open_of(&self, name: &str, act: impl FnOnce() + Send + 'static) {
        self.plan().before_open = Some((name.to_owned(), Meanwhile(Box::new(act))));
    }

    fn run_meanwhile(&self) {
        let meanwhile = self.plan().meanwhile.take();
        if let Some(Meanwhile(act)) = meanwhile {
            act();
        }
    }

    /// Nothing fails, and no call is counted, until [`resume`](Self::resume).
    pub fn heal(&self) {
        self.plan().healed = true;
    }

    /// Calls are counted again, and fail as planned.
    pub fn resume(&self) {
        self.plan().healed = false;
    }

    /// Every call so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.plan().calls.clone()
    }

    /// How many calls have failed.
    pub fn hits(&self) -> u64 {
        self.plan().hits
    }

    /// Counts a call; answers the failure that is planned for it, and whether its effect happens.
    fn count(&self, call: Call) -> Option<(Failure, bool)> {
        let mut plan = self.plan();
        if plan.healed {
            return None;
        }
        let number = plan.calls.len();
        plan.calls.push(call);
        let fault = plan.fault?;
        let due = number == fault.at || (fault.sticky && number > fault.at);
        let can = call.failures().contains(&fault.failure);
        let ends = fault.failure == Failure::Interrupted && plan.hits >= INTERRUPTIONS_MAX;
        if !due || !can || ends {
            return None;
        }
        plan.hits += 1;
        Some((fault.failure, fault.after && call.has_effect()))
    }

    /// Makes a call, unless it is the one that fails.
    fn call<T>(&self, call: Call, effect: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some((failure, after)) = self.count(call) else { return effect() };
        if after {
            effect()?;
        }
        Err(failure.error().unwrap_or_else(|| io::ErrorKind::Interrupted.into()))
    }

    /// A sync that fails has marked everything as written.
    fn sync(&self, call: Call, effect: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Some((failure, after)) = self.count(call) else { return effect() };
        if !after {
            self.disk.fail_sync_after(0);
        }
        let _ = effect();
        failure.error().map_or(Ok(()), Err)
    }

    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultFile { inner, fs: self.clone() })
    }
}

impl FileSystem for FaultFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let before = self.plan().before_open.take_if(|(name, _)| path.ends_with(&*name));
        if let Some((_, Meanwhile(act))) = before {
            act();
        }
        let call = if mode == OpenMode::CreateNew { Call::Create } else { Call::Open };
        self.call(call, || self.disk.open(path, mode)).map(|file| self.file(file))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Call::CreateDir, || self.disk.create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename, || self.disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove, || self.disk.remove(path))
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Call::RemoveDir, || self.disk.remove_dir(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.call(Call::List, || self.disk.list(path))
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.call(Call::Metadata, || self.disk.metadata(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.sync(Call::SyncDir, || self.disk.sync_dir(path))
    }

    fn lock(&self, path: &Path, wait: bool) -> io::Result<Box<dyn Lock>> {
        self.call(Call::Lock, || self.disk.lock(path, wait))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.call(Call::Space, || self.disk.space(path))
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Arc<dyn File>,
    fs: FaultFs,
}

impl File for FaultFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.fs.count(Call::Read) {
            None => self.inner.read_at(buffer, offset),
            Some((Failure::Short, _)) => {
                let half = buffer.len().div_ceil(2);
                self.inner.read_at(buffer.get_mut(..half).unwrap_or_default(), offset)
            }
            Some((failure, _)) => failure.error().map_or(Ok(0), Err),
        }
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let Some((failure, after)) = self.fs.count(Call::Write) else {
            return self.inner.write_at(parts, offset);
        };
        if after || failure == Failure::Short {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let half = bytes.len().div_ceil(2);
            let written = if failure == Failure::Short || failure == Failure::Interrupted {
                bytes.get(..half).unwrap_or_default()
            } else {
                &bytes
            };
            let count = self.inner.write_at(&[io::IoSlice::new(written)], offset)?;
            if failure == Failure::Short {
                return Ok(count);
            }
        }
        Err(failure.error().unwrap_or_else(|| io::ErrorKind::Interrupted.into()))
    }

    fn begin_write_out(&self, offset: u64, len: u64) {
        self.inner.begin_write_out(offset, len);
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.fs.sync(Call::SyncData, || self.inner.sync_data());
        self.fs.run_meanwhile();
        synced
    }

    fn sync_all(&self) -> io::Result<()> {
        let synced = self.fs.sync(Call::SyncAll, || self.inner.sync_all());
        self.fs.run_meanwhile();
        synced
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.call(Call::SetLen, || self.inner.set_len(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.call(Call::Len, || self.inner.len())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.fs.call(Call::Allocate, || self.inner.allocate(offset, len))
    }
}
