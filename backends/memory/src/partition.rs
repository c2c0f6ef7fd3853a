//! One partition as an open store sees it: checks who calls, then asks the sequence.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, Usage, check};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp};

use crate::sequence::Sequence;
use crate::{Session, lock};

#[derive(Debug)]
pub(crate) struct MemoryPartition {
    pub(crate) session: Arc<Session>,
    pub(crate) sequence: Arc<Mutex<Sequence>>,
    pub(crate) batch_bytes_max: usize,
}

impl MemoryPartition {
    fn to_read(&self) -> Result<MutexGuard<'_, Sequence>> {
        self.session.check_open()?;
        let sequence = lock(&self.sequence);
        if sequence.removed {
            return Err(Error::new(ErrorKind::Closed, "the partition was removed"));
        }
        Ok(sequence)
    }

    fn to_write(&self) -> Result<MutexGuard<'_, Sequence>> {
        self.session.check_writable()?;
        self.to_read()
    }
}

#[async_trait]
impl PartitionStore for MemoryPartition {
    fn bounds(&self) -> Bounds {
        lock(&self.sequence).bounds()
    }

    async fn refresh(&self) -> Result<Bounds> {
        Ok(self.to_read()?.bounds())
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        let mut sequence = self.to_write()?;
        check::batch_sizes(&batches, self.batch_bytes_max)?;
        sequence.append(batches)
    }

    async fn sync(&self) -> Result<Msn> {
        Ok(self.to_write()?.bounds().durable_msn)
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        Ok(self.to_read()?.read(from, limit))
    }

    async fn read_part(&self, batch: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
        Ok(self.to_read()?.part(&batch, bytes))
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        Ok(self.to_write()?.trim(before))
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(self.to_read()?.usage())
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        Ok(self.to_write()?.truncate(from))
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        Ok(self.to_read()?.find(timestamp))
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        self.to_write()?.replace(range, batches)
    }
}
