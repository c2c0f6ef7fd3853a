//! Where recovery keeps what it cuts: nothing that was once written is thrown away unasked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use msglog_core::Msn;

use crate::io::{File, FileSystem, OpenMode, read_full, write_full};
use crate::layout::{QUARANTINE, segment_name};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;

/// The quarantine of one partition, during one recovery.
#[derive(Debug)]
pub(crate) struct Quarantine<'a> {
    fs: &'a dyn FileSystem,
    dir: &'a Path,
    taken: Vec<PathBuf>,
    touched: bool,
}

impl<'a> Quarantine<'a> {
    pub(crate) fn new(fs: &'a dyn FileSystem, dir: &'a Path) -> Self {
        Self { fs, dir, taken: Vec::new(), touched: false }
    }

    /// Moves a whole segment aside; an empty one is just removed.
    pub(crate) fn take_segment(&mut self, base: Msn) -> io::Result<()> {
        let path = self.dir.join(segment_name(base));
        self.touched = true;
        if self.fs.metadata(&path)?.len == 0 {
            return self.fs.remove(&path);
        }
        let target = self.free_name(&segment_name(base))?;
        self.fs.rename(&path, &target)?;
        self.taken.push(target);
        Ok(())
    }

    /// Cuts a segment at `offset`; a copy of what was there is durable before.
    pub(crate) fn cut_segment(&mut self, base: Msn, offset: u64) -> io::Result<()> {
        match self.keep(base, offset)? {
            Some(file) => self.cut(file.as_ref(), offset),
            None => Ok(()),
        }
    }

    /// Copies what a segment holds from `offset` on, if that is anything but zeros; the copy is
    /// synced, its name not. Answers the file, unless it ends there. After an error there is no copy.
    pub(crate) fn keep(&mut self, base: Msn, offset: u64) -> io::Result<Option<Arc<dyn File>>> {
        let file = self.fs.open(&self.dir.join(segment_name(base)), OpenMode::ReadWrite)?;
        if file.len()? <= offset {
            return Ok(None);
        }
        self.touched = true;
        let mut copy = None;
        let copied = self.copy(file.as_ref(), (base, offset), &mut copy);
        let Some((target, copy)) = copy else { return copied.map(|()| Some(file)) };
        if let Err(cause) = copied.and_then(|()| copy.sync_all()) {
            let _ = self.fs.remove(&target);
            return Err(cause);
        }
        self.taken.push(target);
        Ok(Some(file))
    }

    fn copy(
        &self,
        file: &dyn File,
        (base, offset): (Msn, u64),
        copy: &mut Option<(PathBuf, Arc<dyn File>)>,
    ) -> io::Result<()> {
        let mut at = offset;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = read_full(file, &mut buffer, at)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            // A window of zeros needs no bytes of its own: the copy has a hole there.
            if bytes.iter().any(|byte| *byte != 0) {
                if copy.is_none() {
                    let target = self.free_name(&format!("{:020}-{offset}.torn", base.get()))?;
                    *copy = Some((target.clone(), self.fs.open(&target, OpenMode::CreateNew)?));
                }
                if let Some((_, copy)) = copy {
                    let parts = &mut [io::IoSlice::new(bytes)];
                    write_full(copy.as_ref(), parts, at - offset)?;
                }
            }
            at += count as u64;
        }
    }

    /// Cuts a segment file at `offset`, once the names of what was kept are durable.
    pub(crate) fn cut(&self, file: &dyn File, offset: u64) -> io::Result<()> {
        if !self.taken.is_empty() {
            self.sync_dirs()?;
        }
        file.set_len(offset)?;
        file.sync_all()
    }

    /// Makes the new names durable; answers the files in quarantine.
    pub(crate) fn finish(self) -> io::Result<Vec<PathBuf>> {
        if self.touched {
            self.sync_dirs()?;
        }
        Ok(self.taken)
    }

    fn sync_dirs(&self) -> io::Result<()> {
        if !self.taken.is_empty() {
            self.fs.sync_dir(&self.dir.join(QUARANTINE))?;
        }
        self.fs.sync_dir(self.dir)
    }

    fn free_name(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.dir.join(QUARANTINE);
        match self.fs.create_dir(&folder) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
            _ => {}
        }
        let taken = self.fs.list(&folder)?;
        let is_free = |name: &String| taken.iter().all(|entry| entry.name != *name);
        let names = std::iter::once(name.to_owned());
        let mut names = names.chain((1..).map(|number: u64| format!("{name}.{number}")));
        let free = names.find(is_free).unwrap_or_default();
        Ok(folder.join(free))
    }
}
