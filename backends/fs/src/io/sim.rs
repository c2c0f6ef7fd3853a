//! A disk in memory whose power can be cut: what was not synced is lost, kept or torn, by seed.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sim_disk::{Disk, Node};
use super::{Entry, File, FileSystem, Lock, Metadata, OpenMode, Space};

/// A simulated disk; clones are the same disk.
///
/// Pages of 512 bytes, lengths and names that were not synced are lost or kept independently of
/// each other when the power is cut; of what was changed more than once between two syncs any
/// version may be kept. A failed sync marks everything as written, as operating systems do: a
/// later one succeeds without writing it. Starts with an empty root folder `/`.
#[derive(Clone, Default)]
pub struct SimFs {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimFs")
    }
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    locks: BTreeSet<PathBuf>,
    /// Changes until the power goes; `None` for ever.
    changes_left: Option<u64>,
    /// Bytes of room; `None` for endless.
    room: Option<u64>,
    /// Syncs until one fails.
    syncs_until_failure: Option<u64>,
    /// Every sync fails.
    syncs_fail: bool,
    /// Incremented by each crash: open files of earlier times are dead.
    era: u64,
    /// Changes until the next forks, the last one first.
    forks_after: Vec<u64>,
    forks: Vec<SimFs>,
}

impl State {
    /// Counts a change; an error once the power is off.
    fn change(&mut self) -> io::Result<()> {
        self.change_forking(Disk::fork)
    }

    /// The same, where `fork` makes the copy if one is due just before the change.
    fn change_forking(&mut self, fork: impl Fn(&Disk) -> Disk) -> io::Result<()> {
        self.powered()?;
        for left in &mut self.forks_after {
            *left = left.saturating_sub(1);
        }
        while self.forks_after.pop_if(|left| *left == 0).is_some() {
            self.forks.push(SimFs::of(fork(&self.disk)));
        }
        if let Some(left) = &mut self.changes_left {
            *left -= 1;
        }
        Ok(())
    }

    fn powered(&self) -> io::Result<()> {
        if self.changes_left == Some(0) {
            return Err(io::Error::other("power is off"));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.change()?;
        if self.syncs_fail {
            return Err(io::Error::other("simulated sync failure"));
        }
        match &mut self.syncs_until_failure {
            Some(0) => {
                self.syncs_until_failure = None;
                Err(io::Error::other("simulated sync failure"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Brings the power back.
    fn restart(&mut self) {
        self.locks.clear();
        self.forks_after.clear();
        self.changes_left = None;
        self.syncs_until_failure = None;
        self.era += 1;
    }

    /// How many of `wanted` more bytes there is room for.
    fn grant(&self, wanted: u64) -> io::Result<u64> {
        let Some(room) = self.room else { return Ok(wanted) };
        let free = room.saturating_sub(self.disk.used());
        if wanted > 0 && free == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(wanted.min(free))
    }
}

impl SimFs {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the power now and brings it back: what was not synced survives by the whims of `seed`.
    ///
    /// Open files and locks of before are dead.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state();
        state.disk.crash(seed);
        state.restart();
    }

    /// The same, where `choose` decides for each unsynced sector, length and change of a name: it
    /// is given the number of versions and answers which one survives, 0 for the synced one.
    pub fn crash_choosing(&self, mut choose: impl FnMut(usize) -> usize) {
        let mut state = self.state();
        state.disk.crash_choosing(&mut choose);
        state.restart();
    }

    /// A copy of the disk as it is, unsynced changes included; nothing of it is open or locked.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::of(self.state().disk.fork())
    }

    fn of(disk: Disk) -> Self {
        Self { state: Arc::new(Mutex::new(State { disk, ..State::default() })) }
    }

    /// Makes a copy of the disk, as [`fork`](Self::fork) does, after each of these numbers of
    /// changes more, for [`take_forks`](Self::take_forks). The change during which a copy is made
    /// is in it by half if it is a write, else not at all. A crash forgets those still to come.
    pub fn fork_after(&self, changes: impl IntoIterator<Item = u64>) {
        let mut after: Vec<_> = changes.into_iter().map(|count| count.saturating_add(1)).collect();
        after.sort_unstable_by(|one, other| other.cmp(one));
        self.state().forks_after = after;
    }

    /// The copies that were made since they were last taken, the oldest first.
    pub fn take_forks(&self) -> Vec<Self> {
        std::mem::take(&mut self.state().forks)
    }

    /// A digest of the names and files below `path` as they are now.
    pub fn digest(&self, path: &Path) -> u64 {
        self.state().disk.digest(path)
    }

    /// Makes everything survive that is there now.
    pub fn sync_everything(&self) {
        self.state().disk.sync();
    }

    /// Lets the power go after `changes` more changes: every call fails from then until `crash`.
    pub fn cut_power_after(&self, changes: u64) {
        self.state().changes_left = Some(changes);
    }

    /// Lets one sync fail after `syncs` more that succeed.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().syncs_until_failure = Some(syncs);
    }

    /// Lets every sync fail from now on, or none.
    pub fn set_syncs_fail(&self, fail: bool) {
        let mut state = self.state();
        state.syncs_fail = fail;
        state.syncs_until_failure = None;
    }

    /// Drops from memory what a failed sync has marked as written: from now on programs see what the
    /// device has, as when the system needs the memory.
    pub fn drop_what_is_marked(&self) {
        self.state().disk.drop_what_is_marked();
    }

    /// Sets how many bytes all files may have together; `None` for endless.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// The bytes of all files together.
    pub fn used(&self) -> u64 {
        self.state().disk.used()
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FileSystem for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut state = self.state();
        state.powered()?;
        let node = match (state.disk.find(path), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(node), _) if node.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(node), _) => node,
            (None, OpenMode::CreateNew) => {
                state.change()?;
                let node = Node::file();
                state.disk.link(path, &node)?;
                node
            }
            (None, _) => return Err(missing()),
        };
        let era = state.era;
        Ok(Arc::new(SimFile { fs: self.clone(), node, era, writable: mode != OpenMode::Read }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.disk.find(path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change()?;
        state.disk.link(path, &Node::dir())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let node = state.disk.find(path).ok_or_else(missing)?;
        if node.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.change()?;
        state.disk.unlink(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.disk.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.change()?;
        state.disk.unlink(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        state.powered()?;
        let listed = state.disk.list(path)?;
        Ok(listed.into_iter().map(|(name, is_dir)| Entry { name, is_dir }).collect())
    }

    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state();
        state.powered()?;
        let node = state.disk.find(path).ok_or_else(missing)?;
        Ok(Metadata { len: node.len(), is_dir: node.is_dir() })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.sync()?;
        state.disk.find(path).ok_or_else(missing)?.sync();
        Ok(())
    }

    fn lock(&self, path: &Path, wait: bool) -> io::Result<Box<dyn Lock>> {
        loop {
            let mut state = self.state();
            state.powered()?;
            if state.disk.find(path).is_none() {
                state.change()?;
                state.disk.link(path, &Node::file())?;
            }
            if state.locks.insert(path.to_owned()) {
                let era = state.era;
                return Ok(Box::new(SimLock { fs: self.clone(), path: path.to_owned(), era }));
            }
            drop(state);
            if !wait {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            std::thread::yield_now();
        }
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state();
        let total_bytes = state.room.unwrap_or(u64::MAX);
        Ok(Space { free_bytes: total_bytes.saturating_sub(state.disk.used()), total_bytes })
    }
}

#[derive(Debug)]
struct SimLock {
    fs: SimFs,
    path: PathBuf,
    era: u64,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.fs.state();
        if state.era == self.era {
            state.locks.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimFile {
    fs: SimFs,
    node: Node,
    era: u64,
    writable: bool,
}

impl SimFile {
    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.fs.state();
        if state.era != self.era {
            return Err(io::Error::other("opened before the power was cut"));
        }
        Ok(state)
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.alive()?.powered()?;
        Ok(self.node.read(buffer, offset))
    }

    fn write_at(&self, parts: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.alive()?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let end = offset.saturating_add(bytes.len() as u64);
        let wanted = end.saturating_sub(self.node.len().max(offset));
        let granted = state.grant(wanted)?;
        let short = usize::try_from(wanted - granted).unwrap_or(usize::MAX);
        let kept = bytes.get(..bytes.len().saturating_sub(short)).unwrap_or_default();
        let half = kept.get(..kept.len() / 2).unwrap_or_default();
        state.change_forking(|disk| disk.fork_written(&self.node, half, offset))?;
        // The change at which the power goes is done by half: a torn write.
        let last = state.changes_left == Some(0);
        let kept = if last { half } else { kept };
        self.node.write(kept, offset);
        if last {
            return Err(io::Error::other("power is off"));
        }
        Ok(kept.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.alive()?.sync();
        match synced {
            Ok(()) => self.node.sync(),
            Err(_) => self.node.fail_to_sync(),
        }
        synced
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.alive()?;
        let wanted = len.saturating_sub(self.node.len());
        if state.grant(wanted)? < wanted {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.change()?;
        self.node.set_len(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.alive()?.powered()?;
        Ok(self.node.len())
    }

    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
