//! What the files of a folder hold, to be put back as a power cut or a bad device would leave it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::CaseResult;
use crate::sample::Dice;

/// The unit that a device writes or does not.
const BLOCK_BYTES: usize = 512;

/// The files and folders below a folder; all-zero blocks take no memory.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct File {
    inode: u64,
    bytes: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Snapshot {
    /// What is there now, read through the page cache: also what was not synced.
    pub fn of(folder: &Path) -> CaseResult<Self> {
        let mut snapshot = Self::default();
        snapshot.add(folder, Path::new(""))?;
        Ok(snapshot)
    }

    fn add(&mut self, root: &Path, below: &Path) -> CaseResult {
        for entry in fs::read_dir(root.join(below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.folders.push(path.clone());
                self.add(root, &path)?;
                continue;
            }
            match File::read(&root.join(&path)) {
                Ok(file) => drop(self.files.insert(path, file)),
                // Background work of the store may remove a file at any time.
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
                Err(cause) => return Err(cause.into()),
            }
        }
        Ok(())
    }

    /// Makes the folder hold this and nothing else.
    pub fn restore(&self, folder: &Path) -> CaseResult {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        for below in &self.folders {
            fs::create_dir_all(folder.join(below))?;
        }
        for (path, file) in &self.files {
            file.write(&folder.join(path))?;
        }
        Ok(())
    }

    /// The files, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.keys().cloned().collect()
    }

    /// Where the last byte of a file that is not zero ends.
    pub fn end_of_data(&self, file: &Path) -> u64 {
        self.files.get(file).map_or(0, File::end_of_data)
    }

    /// The file that holds these bytes in one piece, and where in it they begin.
    pub fn position(&self, bytes: &[u8]) -> Option<(PathBuf, u64)> {
        self.files.iter().find_map(|(path, file)| {
            let at = file.data().windows(bytes.len().max(1)).position(|there| there == bytes)?;
            Some((path.clone(), at as u64))
        })
    }

    /// The same with a file cut to `bytes`.
    #[must_use]
    pub fn cut(&self, file: &Path, bytes: u64) -> Self {
        self.changed(file, |file| file.bytes = file.bytes.min(bytes))
    }

    /// The same with all bits of one byte flipped.
    #[must_use]
    pub fn flipped(&self, file: &Path, at: u64) -> Self {
        self.changed(file, |file| file.change(at, |byte| *byte = !*byte))
    }

    /// The same with all bytes from `at` on zero.
    #[must_use]
    pub fn zeroed(&self, file: &Path, at: u64) -> Self {
        self.changed(file, |file| {
            (at..file.end_of_data()).for_each(|at| file.change(at, |b| *b = 0))
        })
    }

    fn changed(&self, file: &Path, change: impl FnOnce(&mut File)) -> Self {
        let mut changed = self.clone();
        if let Some(file) = changed.files.get_mut(file) {
            change(file);
        }
        changed
    }

    /// A state between this and a `later` one: each block, length and new name is there or not.
    ///
    /// A file that was replaced by another under its name is the old one or the new one, whole.
    #[must_use]
    pub fn mixed_with(&self, later: &Self, dice: &mut Dice) -> Self {
        let mut mixed = Self { folders: later.folders.clone(), files: BTreeMap::new() };
        mixed.folders.extend(self.folders.iter().cloned());
        // Loses much, loses little, or anything between.
        let keep = dice.below(5);
        let paths: std::collections::BTreeSet<_> =
            self.files.keys().chain(later.files.keys()).collect();
        for path in paths {
            let first = dice.below(2) == 0;
            let file = match (self.files.get(path), later.files.get(path)) {
                (Some(old), Some(new)) if old.inode == new.inode => old.mixed_with(new, keep, dice),
                (Some(old), Some(new)) => if first { old } else { new }.clone(),
                (Some(old), None) if first => old.clone(),
                (None, Some(new)) if first => File::default().mixed_with(new, keep, dice),
                _ => continue,
            };
            mixed.files.insert(path.clone(), file);
        }
        mixed
    }
}

impl File {
    fn read(path: &Path) -> std::io::Result<Self> {
        let inode = inode(&fs::metadata(path)?);
        let all = fs::read(path)?;
        let chunks = (0_u64..).zip(all.chunks(BLOCK_BYTES));
        let full = chunks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        let blocks = full.map(|(number, block)| (number, block.to_vec())).collect();
        Ok(Self { inode, bytes: all.len() as u64, blocks })
    }

    fn write(&self, path: &Path) -> CaseResult {
        let mut file = fs::File::create(path)?;
        for (number, block) in &self.blocks {
            file.seek(SeekFrom::Start(number * BLOCK_BYTES as u64))?;
            file.write_all(block)?;
        }
        file.set_len(self.bytes)?;
        Ok(())
    }

    /// All up to the last byte that is not zero.
    fn data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        for (number, block) in &self.blocks {
            let start = usize::try_from(number * BLOCK_BYTES as u64).unwrap_or(usize::MAX);
            data.resize(start, 0);
            data.extend(block);
        }
        data
    }

    fn end_of_data(&self) -> u64 {
        let Some((number, block)) = self.blocks.last_key_value() else { return 0 };
        let length = block.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        number * BLOCK_BYTES as u64 + length as u64
    }

    fn change(&mut self, at: u64, change: impl FnOnce(&mut u8)) {
        let block =
            self.blocks.entry(at / BLOCK_BYTES as u64).or_insert_with(|| vec![0; BLOCK_BYTES]);
        let index = usize::try_from(at % BLOCK_BYTES as u64).unwrap_or(0);
        if let Some(byte) = block.get_mut(index) {
            change(byte);
        }
    }

    fn mixed_with(&self, new: &Self, keep: u64, dice: &mut Dice) -> Self {
        let shorter = self.bytes.min(new.bytes);
        let between = shorter + dice.below(self.bytes.max(new.bytes) - shorter + 1);
        let bytes = match dice.below(3) {
            0 => self.bytes,
            1 => new.bytes,
            _ => between,
        };
        let mut mixed = Self { inode: new.inode, bytes, blocks: self.blocks.clone() };
        for (number, block) in &new.blocks {
            if self.blocks.get(number) != Some(block) && dice.below(4) < keep {
                mixed.blocks.insert(*number, block.clone());
            }
        }
        mixed
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_restored_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/file"), [7; 1_000]).unwrap();
        let before = Snapshot::of(folder.path()).unwrap();
        fs::write(folder.path().join("sub/file"), [8; 2_000]).unwrap();
        fs::write(folder.path().join("new"), "x").unwrap();
        before.restore(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("sub/file")).unwrap(), [7; 1_000]);
        assert!(!folder.path().join("new").exists());
    }

    #[test]
    fn mix_has_every_block_from_one_side_and_reaches_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [1; BLOCK_BYTES * 8]).unwrap();
        let old = Snapshot::of(folder.path()).unwrap();
        fs::write(&path, [2; BLOCK_BYTES * 8]).unwrap();
        let new = Snapshot::of(folder.path()).unwrap();
        let mut dice = Dice::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            old.mixed_with(&new, &mut dice).restore(folder.path()).unwrap();
            let blocks = fs::read(&path).unwrap();
            for block in blocks.chunks(BLOCK_BYTES) {
                assert!(block.iter().all(|byte| *byte == block[0]), "a block is torn");
            }
            seen.insert(blocks.iter().step_by(BLOCK_BYTES).copied().collect::<Vec<_>>());
        }
        assert!(seen.contains(&vec![1; 8]) && seen.contains(&vec![2; 8]), "an end is not reached");
        assert!(seen.len() > 20, "{} different mixes", seen.len());
    }
}
