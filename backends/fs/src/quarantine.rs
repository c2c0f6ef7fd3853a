//! Where recovery keeps what it cuts: nothing that was once written is thrown away unasked.

use std::io;
use std::path::{Path, PathBuf};

use msglog_core::Msn;

use crate::io::{FileSystem, OpenMode, read_full, write_full};
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
        let file = self.fs.open(&self.dir.join(segment_name(base)), OpenMode::ReadWrite)?;
        if file.len()? <= offset {
            return Ok(());
        }
        self.touched = true;
        let (mut at, mut copy) = (offset, None);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let count = read_full(file.as_ref(), &mut buffer, at)?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            // A window of zeros needs no bytes of its own: the copy has a hole there.
            if bytes.iter().any(|byte| *byte != 0) {
                if copy.is_none() {
                    let name = format!("{:020}-{offset}.torn", base.get());
                    let target = self.free_name(&name)?;
                    copy = Some(self.fs.open(&target, OpenMode::CreateNew)?);
                    self.taken.push(target);
                }
                if let Some(copy) = &copy {
                    let parts = &mut [io::IoSlice::new(bytes)];
                    write_full(copy.as_ref(), parts, at - offset)?;
                }
            }
            at += count as u64;
        }
        if let Some(copy) = copy {
            copy.sync_all()?;
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

    fn free_name(&mut self, name: &str) -> io::Result<PathBuf> {
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
