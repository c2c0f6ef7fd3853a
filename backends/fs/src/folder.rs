//! The folders of partitions: created, opened, listed and removed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use msglog_core::store::{Access, OpenOptions};
use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};

use crate::follower::Follower;
use crate::io::{FileSystem, OpenMode};
use crate::layout::{CREATING, REMOVED, partition_dir, segment_name};
use crate::log::Log;
use crate::loose_end::LooseEnd;
use crate::opening::{Opened, Opening};
use crate::partition::Partition;
use crate::place::remove_tree;
use crate::recovery::recover;
use crate::store::Shared;
use crate::unproven::Unproven;
use crate::writer::{State, Unsynced, Writer};

impl Shared {
    /// Every partition there is, sorted.
    pub(crate) fn list(&self) -> Result<Vec<TopicPartition>> {
        let listed = self.fs.list(&self.root);
        let entries = listed.map_err(|cause| self.failed("list", &self.root, cause))?;
        let folders = entries.iter().filter(|entry| entry.is_dir);
        let mut partitions: Vec<_> =
            folders.filter_map(|entry| entry.name.parse::<TopicPartition>().ok()).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Opens a partition that is not open.
    pub(crate) fn look_at(
        &self,
        partition: &TopicPartition,
        options: OpenOptions,
    ) -> Result<Partition> {
        let dir = partition_dir(&self.root, partition);
        let there = match self.fs.metadata(&dir) {
            Ok(metadata) => metadata.is_dir,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => false,
            Err(cause) => return Err(self.failed("open", &dir, cause)),
        };
        let writes = self.options().access == Access::Write;
        self.sync_root().map_err(|cause| self.failed("open", &dir, cause))?;
        match (there, options.create_at, writes) {
            (true, _, _) => {}
            (false, None, _) => {
                let why = format!("there is no partition {partition}");
                return Err(Error::new(ErrorKind::NotFound, why));
            }
            (false, Some(_), false) => {
                let why = format!("there is no partition {partition}, and this store only reads");
                return Err(Error::new(ErrorKind::ReadOnly, why));
            }
            (false, Some(first), true) => {
                let created = self.create(partition, &dir, first);
                created.map_err(|cause| self.failed("create", &dir, cause))?;
            }
        }
        let opening = Opening {
            fs: self.fs.as_ref(),
            dir: &dir,
            options: self.options(),
            files: &self.files,
            epoch: self.epoch,
            trusts_zeros: false,
        };
        if writes {
            return self.open_writer(&opening);
        }
        let follower = Follower::open(&opening, &self.root)?;
        Ok(Partition::Follower(Arc::new(follower)))
    }

    fn open_writer(&self, opening: &Opening<'_>) -> Result<Partition> {
        let (opened, report) = recover(opening)?;
        let failed = |cause| self.failed("open", opening.dir, cause);
        let Some(active) = opened.segments.last().map(Arc::clone) else {
            return Err(failed(io::ErrorKind::NotFound.into()));
        };
        let len = self.fs.metadata(&active.path).map_err(failed)?.len;
        let mut state = State::new(active, len);
        self.take_up(&mut state, &opened).map_err(failed)?;
        let log = Log::new(opening.dir.to_owned(), Arc::clone(&self.files), opened);
        let owner = (self.hold(), self.epoch);
        let tending = self.housekeeper.tending();
        let writer = Arc::new(Writer::new(Arc::new(log), state, report, owner, tending));
        writer.tend_later();
        Ok(Partition::Writer(writer))
    }

    /// Leaves to the first sync what an opening does not wait for.
    fn take_up(&self, state: &mut State, opened: &Opened) -> io::Result<()> {
        if let Some(proven) = &opened.proven {
            state.synced = proven.clone();
        }
        state.unsynced_bytes = opened.unproven.iter().map(Unproven::bytes).sum();
        if let Some(LooseEnd { segment, is_torn }) = &opened.loose_end {
            state.folder_unsynced = true;
            if *is_torn {
                // Behind it are no zeros.
                state.zeroed_end = segment.extent().end;
            }
            let (segment, file) = (Arc::clone(segment), self.files.file(segment)?);
            state.unsynced.push(Unsynced { segment, file });
        }
        state.unproven.clone_from(&opened.unproven);
        state.loose_end.clone_from(&opened.loose_end);
        // Closing then says for good that what only this life has synced was synced.
        state.touched = state.loose_end.is_some();
        Ok(())
    }

    /// Creates an empty partition: it is there whole, or not at all.
    fn create(&self, partition: &TopicPartition, dir: &Path, first: Msn) -> io::Result<()> {
        let temporary = self.root.join(format!("{CREATING}{partition}"));
        if self.fs.metadata(&temporary).is_ok() {
            remove_tree(self.fs.as_ref(), &temporary)?;
        }
        self.fs.create_dir(&temporary)?;
        self.fs.open(&temporary.join(segment_name(first)), OpenMode::CreateNew)?;
        self.fs.sync_dir(&temporary)?;
        self.root_unsynced.store(true, Ordering::Release);
        self.fs.rename(&temporary, dir)?;
        self.sync_root()
    }

    /// Makes the names of partitions durable if a change of them is not, also one that has failed.
    fn sync_root(&self) -> io::Result<()> {
        if self.root_unsynced.swap(false, Ordering::AcqRel) {
            let synced = self.fs.sync_dir(&self.root);
            if synced.is_err() {
                self.root_unsynced.store(true, Ordering::Release);
            }
            return synced;
        }
        Ok(())
    }

    /// Removes the folder of a partition; answers whether there was one.
    pub(crate) fn delete(&self, partition: &TopicPartition) -> Result<bool> {
        let dir = partition_dir(&self.root, partition);
        let failed = |cause| self.failed("remove", &dir, cause);
        let removed = self.root.join(format!("{REMOVED}{partition}"));
        if self.fs.metadata(&removed).is_ok() {
            remove_tree(self.fs.as_ref(), &removed).map_err(failed)?;
        }
        let unknown = |cause| failed(cause).with_unknown_effect();
        self.sync_root().map_err(failed)?;
        self.root_unsynced.store(true, Ordering::Release);
        match self.fs.rename(&dir, &removed) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(unknown(cause)),
        }
        self.sync_root().map_err(unknown)?;
        remove_tree(self.fs.as_ref(), &removed).map_err(unknown)?;
        Ok(true)
    }

    fn failed(&self, verb: &str, path: &Path, cause: io::Error) -> Error {
        Error::from_io(format!("{verb} {}", path.display()), cause)
    }
}
