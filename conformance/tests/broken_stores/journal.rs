//! A journal file: checksummed frames, each saying how much had been synced when it was written.

use std::fs::{File, OpenOptions};
use std::io::{Error as IoError, Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::file_store::{FileFault, Switches};

const MAGIC: &[u8; 4] = b"MLF1";
/// Magic, length of the payload, how much was synced.
const HEAD_BYTES: usize = 16;
const HASH_BYTES: usize = 8;

/// An open journal, and how much of it is there and synced.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    pub(crate) end: u64,
    synced: u64,
    held_back: Vec<u8>,
}

/// A frame's payload and where the frame ends.
pub(crate) struct Frame {
    pub(crate) payload: Vec<u8>,
    pub(crate) end: u64,
}

impl Journal {
    /// Opens the file for reading only.
    pub(crate) fn to_read(path: &Path) -> Result<Self, IoError> {
        let file = File::open(path)?;
        Ok(Self { file, end: 0, synced: 0, held_back: Vec::new() })
    }

    /// Opens or creates the file; the caller locks it, and then recovers.
    pub(crate) fn to_write(folder: &Path, path: &Path, fault: FileFault) -> Result<Self, IoError> {
        let made = !path.exists();
        let options = OpenOptions::new().read(true).write(true).create(true).clone();
        let file = options.open(path)?;
        if made && fault != FileFault::NoFolderSync {
            File::open(folder)?.sync_all()?;
        }
        Ok(Self { file, end: 0, synced: 0, held_back: Vec::new() })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// All whole frames; what is torn behind them is cut off. `None` when synced bytes are damaged.
    pub(crate) fn recover(
        &mut self,
        fault: FileFault,
        switches: &Switches,
    ) -> Result<Option<Vec<Frame>>, IoError> {
        let mut all = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut all)?;
        let (frames, end) = frames(&all, 0, fault);
        self.end = end;
        let cut = usize::try_from(end).unwrap();
        let proof = (cut + 1..all.len())
            .any(|at| frame(&all, at, FileFault::None).is_some_and(|(_, _, synced)| synced > end));
        if proof && fault != FileFault::CutsSilently {
            return Ok(None);
        }
        if fault == FileFault::KeepsTornTail {
            self.end = all.len() as u64;
        } else if cut < all.len() {
            self.file.set_len(end)?;
        }
        self.file.sync_all()?;
        switches.is_durable_to(self.end);
        self.synced = self.end;
        Ok(Some(frames))
    }

    /// The frames that a writer has added since the last look.
    pub(crate) fn follow(&mut self) -> Result<Vec<Frame>, IoError> {
        let mut new = Vec::new();
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.read_to_end(&mut new)?;
        let (frames, end) = frames(&new, self.end, FileFault::None);
        self.end = end;
        Ok(frames)
    }

    /// Adds a frame and answers where it ends.
    pub(crate) fn add(&mut self, payload: &[u8], switches: &Switches) -> Result<u64, IoError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(self.synced.to_be_bytes());
        bytes.extend(payload);
        bytes.extend(hash(&bytes).to_be_bytes());
        let end = self.end + bytes.len() as u64;
        match switches.fault() {
            FileFault::BuffersAppends | FileFault::AcksFromBuffer => {
                self.held_back.extend(bytes);
                if self.held_back.len() > 100_000 {
                    self.flush()?;
                }
            }
            FileFault::TearsWhenFull if switches.is_full() => {
                self.write(bytes.get(..20).unwrap())?;
                self.end += 20;
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            _ if switches.is_full() => return Err(std::io::ErrorKind::StorageFull.into()),
            _ => self.write(&bytes)?,
        }
        self.end = end;
        Ok(end)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytes)
    }

    pub(crate) fn flush(&mut self) -> Result<(), IoError> {
        self.file.seek(SeekFrom::End(0))?;
        let held_back = std::mem::take(&mut self.held_back);
        self.file.write_all(&held_back)
    }

    /// Makes all frames durable, unless told not to.
    pub(crate) fn sync(&mut self, switches: &Switches, skip: FileFault) -> Result<(), IoError> {
        if switches.fault() != FileFault::AcksFromBuffer {
            self.flush()?;
        }
        if switches.sync_fails() {
            return Err(IoError::other("the device failed"));
        }
        if switches.fault() != skip && switches.fault() != FileFault::ForgetsToSync {
            self.file.sync_data()?;
            switches.is_durable_to(self.end);
        }
        self.synced = self.end;
        Ok(())
    }
}

/// The whole frames at the start of `bytes`, which begin at `base` in the file, and their end.
fn frames(bytes: &[u8], base: u64, fault: FileFault) -> (Vec<Frame>, u64) {
    let mut frames = Vec::new();
    let mut at = 0;
    loop {
        let Some((payload, length, _)) = frame(bytes, at, fault) else {
            if fault == FileFault::SkipsBadDocuments
                && let Some(length) = document_length(bytes, at)
            {
                at += length;
                continue;
            }
            let mut rest = at + 1..bytes.len();
            let next = rest.find(|at| frame(bytes, *at, fault).is_some());
            match next.filter(|_| fault == FileFault::SkipsBadFrames) {
                Some(next) => at = next,
                None => break,
            }
            continue;
        };
        at += length;
        frames.push(Frame { payload, end: base + at as u64 });
    }
    (frames, base + at as u64)
}

/// How long the frame at an offset is, if it holds a document, damaged or not.
fn document_length(bytes: &[u8], at: usize) -> Option<usize> {
    let (payload, length, _) = frame(bytes, at, FileFault::ChecksNothing)?;
    payload.starts_with(b"D").then_some(length)
}

/// The frame at an offset: its payload, its length, and how much it says was synced.
fn frame(bytes: &[u8], at: usize, fault: FileFault) -> Option<(Vec<u8>, usize, u64)> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    if !head.starts_with(MAGIC) {
        return None;
    }
    let length = u32::from_be_bytes(head.get(4..8)?.try_into().ok()?) as usize;
    let synced = u64::from_be_bytes(head.get(8..16)?.try_into().ok()?);
    let end = at.checked_add(HEAD_BYTES)?.checked_add(length)?;
    let stored = bytes.get(end..end.checked_add(HASH_BYTES)?)?;
    let right = u64::from_be_bytes(stored.try_into().ok()?) == hash(bytes.get(at..end)?);
    let payload = bytes.get(at + HEAD_BYTES..end)?;
    let unchecked = match fault {
        FileFault::ChecksNothing => true,
        FileFault::ChecksNoDocuments => payload.starts_with(b"D"),
        _ => false,
    };
    if !right && !unchecked {
        return None;
    }
    Some((payload.to_vec(), HEAD_BYTES + length + HASH_BYTES, synced))
}

/// FNV-1a, enough against chance.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
