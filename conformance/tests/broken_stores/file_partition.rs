//! One partition of the file store.

use std::fs::File;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, Usage, blocking};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, TopicPartition};

use crate::contents::{Change, Part};
use crate::file_store::{FileFault, Inner, Session};

#[derive(Clone, Debug)]
pub(crate) struct FilePartition {
    pub(crate) session: Arc<Session>,
    pub(crate) name: TopicPartition,
    pub(crate) creation: u64,
    pub(crate) batch_bytes_max: usize,
    /// The bounds as of the last change.
    pub(crate) shown: Arc<Mutex<Bounds>>,
    /// A file of the store's folder, where the store is broken so.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) kept: Option<Arc<File>>,
}

impl FilePartition {
    fn part<'a>(&self, inner: &'a Inner) -> Result<&'a Part> {
        let part = inner.contents.partitions.get(&self.name);
        part.filter(|part| part.creation == self.creation)
            .ok_or_else(|| Error::new(ErrorKind::Closed, "the partition was removed"))
    }

    fn to_write(&self) -> Result<MutexGuard<'_, Inner>> {
        let inner = self.session.to_write()?;
        self.part(&inner)?;
        Ok(inner)
    }

    fn change(&self, inner: &mut Inner, change: Change) -> Result<()> {
        self.session.change(inner, change).map(drop)
    }

    fn is(&self, fault: FileFault) -> bool {
        self.session.switches.fault() == fault
    }

    /// Does what waits for the device where nobody else waits.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.is(FileFault::BlocksItsThread) {
            return work(self);
        }
        let this = self.clone();
        blocking(move || work(&this)).await
    }

    fn append_now(&self, batches: Vec<RecordBatch>) -> Result<()> {
        let mut inner = self.to_write()?;
        let mut next = self.part(&inner)?.next;
        for batch in &batches {
            if batch.base_msn() != next {
                return Err(Error::new(ErrorKind::Conflict, format!("the next MSN is {next}")));
            }
            if batch.encoded_len() > self.batch_bytes_max {
                return Err(Error::new(ErrorKind::TooLarge, "the batch is too large"));
            }
            next = batch.next_msn();
        }
        if batches.is_empty() {
            return Ok(());
        }
        self.change(&mut inner, Change::Append(self.name.clone(), batches))
    }

    fn sync_now(&self) -> Result<Msn> {
        let mut inner = self.to_write()?;
        self.session.sync(&mut inner, FileFault::NoSync)?;
        Ok(self.part(&inner)?.durable)
    }
}

#[async_trait]
impl PartitionStore for FilePartition {
    fn bounds(&self) -> Bounds {
        let waits = self.is(FileFault::BoundsWait);
        let _whole = waits.then(|| self.session.peek());
        *self.shown.lock().unwrap()
    }

    async fn refresh(&self) -> Result<Bounds> {
        Ok(self.part(&*self.session.to_read()?)?.bounds())
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        self.run(|this| this.append_now(batches)).await
    }

    async fn sync(&self) -> Result<Msn> {
        self.run(|this| this.sync_now()).await
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        Ok(self.part(&*self.session.to_read()?)?.read(from, limit))
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        let mut inner = self.to_write()?;
        self.change(&mut inner, Change::Trim(self.name.clone(), before))?;
        self.session.sync(&mut inner, FileFault::TrimNoSync)?;
        Ok(self.part(&inner)?.bounds().first_msn)
    }

    async fn usage(&self) -> Result<Usage> {
        self.part(&*self.session.to_read()?)?.usage()
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        let mut inner = self.to_write()?;
        self.change(&mut inner, Change::Truncate(self.name.clone(), from))?;
        Ok(self.part(&inner)?.next)
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        let mut inner = self.to_write()?;
        if !self.part(&inner)?.may_replace(&range, &batches) {
            return Err(Error::new(ErrorKind::Invalid, "the range or the batches do not fit"));
        }
        self.change(&mut inner, Change::Replace(self.name.clone(), range, batches))
    }
}
