//! One partition as an open store sees it: checks who calls, then asks the sequence.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, Usage, check};
use msglog_core::{Msn, RecordBatch, Result, Timestamp};

use crate::sequence::Sequence;
use crate::session::Session;
use crate::{BATCH_BYTES_MAX, Database};

#[derive(Debug)]
pub(crate) struct Partition<D: Database> {
    pub(crate) session: Arc<Session<D>>,
    pub(crate) sequence: Arc<Sequence<D>>,
}

impl<D: Database> Partition<D> {
    async fn read_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sequence<D>, &D) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let sequence = Arc::clone(&self.sequence);
        self.session
            .run(move |opening| {
                sequence.check_there()?;
                work(&sequence, &opening.database)
            })
            .await
    }

    async fn write_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sequence<D>, &D) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let sequence = Arc::clone(&self.sequence);
        self.session.run_writing(move |opening| work(&sequence, &opening.database)).await
    }
}

#[async_trait]
impl<D: Database> PartitionStore for Partition<D> {
    fn bounds(&self) -> Bounds {
        self.sequence.bounds()
    }

    async fn refresh(&self) -> Result<Bounds> {
        let sequence = Arc::clone(&self.sequence);
        self.session
            .run(move |opening| {
                if opening.is_follower() {
                    return sequence.refresh(&opening.database);
                }
                sequence.check_there()?;
                Ok(sequence.bounds())
            })
            .await
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        self.write_with(move |sequence, database| {
            check::batch_sizes(&batches, BATCH_BYTES_MAX)?;
            sequence.append(database, &batches)
        })
        .await
    }

    async fn sync(&self) -> Result<Msn> {
        self.write_with(Sequence::sync).await
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        self.read_with(move |sequence, database| sequence.read(database, from, limit)).await
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        self.write_with(move |sequence, database| sequence.trim(database, before)).await
    }

    async fn usage(&self) -> Result<Usage> {
        self.read_with(Sequence::usage).await
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        self.sequence.holes()
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        self.write_with(move |sequence, database| sequence.truncate(database, from)).await
    }

    async fn find(&self, timestamp: Timestamp) -> Result<Msn> {
        self.read_with(move |sequence, database| sequence.find(database, timestamp)).await
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        self.write_with(move |sequence, database| {
            check::batch_sizes(&batches, BATCH_BYTES_MAX)?;
            sequence.replace(database, &range, &batches)
        })
        .await
    }
}
