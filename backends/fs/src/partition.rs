//! One partition as the contract sees it: the writer's own, or one that is followed.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, SegmentRoom, Usage};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp};

use crate::blocking::blocking;
use crate::follower::Follower;
use crate::log::Log;
use crate::part::Wanted;
use crate::recovery::RecoveryReport;
use crate::writer::Writer;

/// An open partition; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) enum Partition {
    /// Ours to write.
    Writer(Arc<Writer>),
    /// Written by another, or by nobody.
    Follower(Arc<Follower>),
}

impl Partition {
    fn log(&self) -> &Arc<Log> {
        match self {
            Self::Writer(writer) => &writer.log,
            Self::Follower(follower) => &follower.log,
        }
    }

    fn writer(&self) -> Result<Arc<Writer>> {
        match self {
            Self::Writer(writer) => Ok(Arc::clone(writer)),
            Self::Follower(_) => Err(Error::new(ErrorKind::ReadOnly, "open for reading")),
        }
    }

    /// Refuses every further call.
    pub(crate) fn refuse(&self) {
        self.log().close();
    }

    /// Makes everything durable; the caller has refused further calls before.
    pub(crate) fn close(&self) -> Result<()> {
        match self {
            Self::Writer(writer) => writer.close(),
            Self::Follower(_) => Ok(()),
        }
    }

    /// Waits until no housekeeping runs.
    pub(crate) fn settle(&self) {
        if let Self::Writer(writer) = self {
            drop(crate::blocking::lock(&writer.chores));
            drop(crate::blocking::lock(&writer.syncing));
            drop(crate::blocking::lock(&writer.state));
        }
    }

    /// What recovery did when it was opened.
    pub(crate) fn report(&self) -> RecoveryReport {
        match self {
            Self::Writer(writer) => crate::blocking::lock(&writer.report).clone(),
            Self::Follower(_) => RecoveryReport::default(),
        }
    }
}

#[async_trait]
impl PartitionStore for Partition {
    fn bounds(&self) -> Bounds {
        self.log().bounds()
    }

    async fn refresh(&self) -> Result<Bounds> {
        match self {
            Self::Writer(writer) => {
                writer.log.usable()?;
                Ok(writer.log.bounds())
            }
            Self::Follower(follower) => {
                let follower = Arc::clone(follower);
                blocking(move || follower.refresh()).await
            }
        }
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        let writer = self.writer()?;
        if batches.is_empty() {
            return writer.usable().map(drop);
        }
        blocking(move || writer.append(batches)).await
    }

    async fn sync(&self) -> Result<Msn> {
        let writer = self.writer()?;
        blocking(move || writer.sync()).await
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        if let Self::Writer(writer) = self {
            // A hop to another thread costs more than a small read of what is in memory.
            if let Some(batches) = writer.log.read_at_once(from, limit)? {
                return Ok(batches);
            }
        }
        let partition = self.clone();
        blocking(move || match partition {
            Self::Writer(writer) => writer.log.read(from, limit),
            Self::Follower(follower) => follower.read(from, limit),
        })
        .await
    }

    async fn read_part(&self, batch: Range<Msn>, bytes: Range<usize>) -> Result<Option<Bytes>> {
        let wanted = Wanted { batch, bytes };
        if let Some(bytes) = self.log().read_part_at_once(&wanted)? {
            return Ok(Some(bytes));
        }
        let log = Arc::clone(self.log());
        blocking(move || log.read_part(&wanted)).await
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        let writer = self.writer()?;
        blocking(move || writer.trim(before)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.log().usable()?;
        Ok(match self {
            Self::Writer(writer) => writer.usage(),
            Self::Follower(follower) => follower.log.usage(0),
        })
    }

    fn segment(&self) -> Option<SegmentRoom> {
        match self {
            Self::Writer(writer) => Some(writer.segment()),
            Self::Follower(_) => None,
        }
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        self.log().holes()
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        let writer = self.writer()?;
        blocking(move || writer.truncate(from)).await
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        let writer = self.writer()?;
        blocking(move || writer.replace(&range, batches)).await
    }

    fn unit_end(&self, from: Msn) -> Option<Msn> {
        let segments = self.log().segments();
        let behind = segments.partition_point(|segment| segment.base <= from);
        match segments.get(behind) {
            Some(next) => Some(next.base),
            None => segments.last().map(|last| last.extent().next_msn),
        }
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        let partition = self.clone();
        blocking(move || {
            if let Self::Follower(follower) = &partition {
                follower.refresh()?;
            }
            partition.log().find(timestamp)
        })
        .await
    }
}
