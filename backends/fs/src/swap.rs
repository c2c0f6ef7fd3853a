//! The switch from old segments to those that replace them: one file decides, the rest follows.
//!
//! New segments are written and synced as `<first MSN>.cleaned`. Then the file `swap` is put in
//! place: the checkpoint of the partition as it will be. From then on the new segments are the log:
//! each gets its name, the old ones go, and `swap` becomes the checkpoint. Every step can be
//! repeated, so that recovery just does them all. Learnt from Kafka's `.cleaned` and `.swap` files.

use std::io;
use std::path::Path;

use msglog_core::Msn;

use crate::checkpoint::Checkpoint;
use crate::io::{FileSystem, remove_if_there};
use crate::layout::{
    CHECKPOINT, QUARANTINE, SWAP, SWAP_TEMPORARY, cleaned_base, cleaned_path, segment_base,
    segment_name,
};
use crate::opening::remove_segment;

/// The swap of a partition that was decided and is not done; `None` too when it is damaged.
pub(crate) fn pending(fs: &dyn FileSystem, dir: &Path) -> io::Result<Option<Checkpoint>> {
    Checkpoint::load_from(fs, &dir.join(SWAP))
}

/// Decides: from here on the new segments are the log. Their content is synced.
pub(crate) fn decide(fs: &dyn FileSystem, dir: &Path, swap: &Checkpoint) -> io::Result<()> {
    swap.write_as(fs, &dir.join(SWAP), &dir.join(SWAP_TEMPORARY))
}

/// Does what was decided, or takes back what was not; called when a partition is opened to be
/// written.
pub(crate) fn settle(fs: &dyn FileSystem, dir: &Path, epoch: i32) -> io::Result<()> {
    let names: Vec<_> = fs.list(dir)?.into_iter().map(|entry| entry.name).collect();
    let is_there = |name: &str| names.iter().any(|there| there == name);
    if is_there(SWAP) {
        match pending(fs, dir)?.filter(|swap| swap.writer_epoch <= epoch) {
            Some(swap) => return finish(fs, dir, &swap),
            None => put_aside(fs, dir, &names)?,
        }
    }
    for name in names.iter().filter(|name| cleaned_base(name).is_some()) {
        remove_if_there(fs, &dir.join(name))?;
    }
    remove_if_there(fs, &dir.join(SWAP_TEMPORARY)).map(drop)
}

/// Gives the new segments their names, removes the old ones, and makes the swap the checkpoint.
pub(crate) fn finish(fs: &dyn FileSystem, dir: &Path, swap: &Checkpoint) -> io::Result<()> {
    apply(fs, dir, swap)?;
    install(fs, dir)
}

/// The first half of [`finish`]: afterwards every file has the name that the swap says.
pub(crate) fn apply(fs: &dyn FileSystem, dir: &Path, swap: &Checkpoint) -> io::Result<()> {
    let is_kept = |base: Msn| swap.segments.iter().any(|entry| entry.base == base);
    let entries = fs.list(dir)?;
    for base in entries.iter().filter_map(|entry| cleaned_base(&entry.name)) {
        let path = dir.join(segment_name(base));
        if is_kept(base) {
            fs.rename(&cleaned_path(&path), &path)?;
        } else {
            remove_if_there(fs, &cleaned_path(&path))?;
        }
    }
    let last = swap.segments.last().map(|last| last.base).unwrap_or_default();
    for base in entries.iter().filter_map(|entry| segment_base(&entry.name)) {
        if base >= swap.first_msn && base < last && !is_kept(base) {
            remove_segment(fs, &dir.join(segment_name(base)))?;
        }
    }
    Ok(())
}

/// The second half of [`finish`]: the names are made durable before the swap is the checkpoint.
pub(crate) fn install(fs: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    fs.sync_dir(dir)?;
    fs.rename(&dir.join(SWAP), &dir.join(CHECKPOINT))?;
    fs.sync_dir(dir)
}

/// A damaged swap decides nothing: what may be the only copy of something is kept.
fn put_aside(fs: &dyn FileSystem, dir: &Path, names: &[String]) -> io::Result<()> {
    tracing::error!(partition = %dir.display(), "swap is damaged and not used");
    let folder = dir.join(QUARANTINE);
    match fs.create_dir(&folder) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(cause),
        _ => {}
    }
    for name in names.iter().filter(|name| cleaned_base(name).is_some()) {
        fs.rename(&dir.join(name), &folder.join(name))?;
    }
    fs.sync_dir(&folder)?;
    fs.sync_dir(dir)?;
    fs.remove(&dir.join(SWAP))?;
    fs.sync_dir(dir)
}
