//! One partition as an open store sees it: checks who calls, then asks the sequence.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use msglog_core::store::{Bounds, PartitionStore, ReadLimit, Usage};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, TopicPartition};
use sled::Tree;

use crate::sequence::Sequence;
use crate::{BATCH_BYTES_MAX, Session};

#[derive(Debug)]
pub(crate) struct SledPartition {
    pub(crate) session: Arc<Session>,
    pub(crate) name: TopicPartition,
    pub(crate) sequence: Arc<Sequence>,
}

impl SledPartition {
    async fn read_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sequence, &Tree) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (name, sequence) = (self.name.clone(), Arc::clone(&self.sequence));
        self.session.run(move |engine| work(&sequence, &engine.tree_of(&name, &sequence)?)).await
    }

    async fn write_with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sequence, &Tree) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (name, sequence) = (self.name.clone(), Arc::clone(&self.sequence));
        self.session
            .run_writing(move |engine| work(&sequence, &engine.tree_of(&name, &sequence)?))
            .await
    }
}

#[async_trait]
impl PartitionStore for SledPartition {
    fn bounds(&self) -> Bounds {
        self.sequence.bounds()
    }

    async fn refresh(&self) -> Result<Bounds> {
        self.read_with(|sequence, _| Ok(sequence.bounds())).await
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        self.write_with(move |sequence, tree| {
            check_sizes(&batches)?;
            sequence.append(tree, &batches)
        })
        .await
    }

    async fn sync(&self) -> Result<Msn> {
        self.write_with(|sequence, tree| sequence.sync(tree)).await
    }

    async fn read(&self, from: Msn, limit: ReadLimit) -> Result<Vec<RecordBatch>> {
        self.read_with(move |sequence, tree| sequence.read(tree, from, limit)).await
    }

    async fn trim(&self, before: Msn) -> Result<Msn> {
        self.write_with(move |sequence, tree| sequence.trim(tree, before)).await
    }

    async fn usage(&self) -> Result<Usage> {
        let sequence = Arc::clone(&self.sequence);
        let name = self.name.clone();
        self.session
            .run(move |engine| {
                engine.tree_of(&name, &sequence)?;
                let bytes = sequence.bytes();
                // All partitions share the files: what they take up is told in whole.
                Ok(Usage::new(bytes, engine.size_on_disk()?.max(bytes), 0))
            })
            .await
    }

    fn holes(&self) -> Vec<Range<Msn>> {
        self.sequence.holes()
    }

    async fn truncate(&self, from: Msn) -> Result<Msn> {
        self.write_with(move |sequence, tree| sequence.truncate(tree, from)).await
    }

    async fn replace(&self, range: Range<Msn>, batches: Vec<RecordBatch>) -> Result<()> {
        self.write_with(move |sequence, tree| {
            check_sizes(&batches)?;
            sequence.replace(tree, &range, &batches)
        })
        .await
    }
}

fn check_sizes(batches: &[RecordBatch]) -> Result<()> {
    let length = batches.iter().map(RecordBatch::encoded_len).max().unwrap_or(0);
    if length > BATCH_BYTES_MAX {
        let why = format!("batch of {length} bytes; the limit is {BATCH_BYTES_MAX}");
        return Err(Error::new(ErrorKind::TooLarge, why));
    }
    Ok(())
}
