//! A partition's side of idempotent producers: appends that carry sequences, and what it remembers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::registry;
use super::snapshot::Snapshot;
use super::table::{Sequenced, Table};
use crate::batch::BatchBuilder;
use crate::log::ack::{Ack, AckAt, Appended};
use crate::log::partition::Partition;
use crate::store::{MessageStore, ReadLimit};
use crate::{AsMessage, Result};

/// Bytes that producers append between two snapshots: about what is read when they are next opened
/// after a crash.
const SNAPSHOT_BYTES: u64 = 64 << 20;
/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// What a partition has beside its table, which lies in its queue.
#[derive(Debug)]
pub(in crate::log) struct Remembered {
    documents: Arc<dyn MessageStore>,
    loaded: AtomicBool,
    /// Held while the table is loaded or saved.
    turn: tokio::sync::Mutex<()>,
    /// Bytes appended since the last snapshot.
    bytes: AtomicU64,
}

impl Remembered {
    pub(in crate::log) fn new(documents: Arc<dyn MessageStore>) -> Self {
        let (loaded, turn) = (AtomicBool::new(false), tokio::sync::Mutex::default());
        Self { documents, loaded, turn, bytes: AtomicU64::new(0) }
    }
}

impl Partition {
    /// Appends the next records of a producer in a batch of their own, or answers where they are.
    pub(super) async fn append_sequenced(
        self: &Arc<Self>,
        messages: &[impl AsMessage],
        records: &Sequenced,
    ) -> Result<Appended> {
        self.check_writable()?;
        let mut bytes = 0;
        for message in messages {
            let message = message.as_message();
            let bound = BatchBuilder::record_bytes_bound(message);
            self.check_message(message.key.is_some(), bound)?;
            bytes += bound;
        }
        let admitted = self.admit(bytes).await?;
        let built = self.build_as(messages, bytes, records.header())?;
        let now = self.options.clock.now();
        let pushed = self.queue.push_sequenced(built, records, now, admitted);
        let (accepted, is_new) = pushed.map_err(|error| self.named(error))?;
        if is_new {
            let since = self.remembered.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            if since + bytes as u64 >= SNAPSHOT_BYTES {
                self.remembered.bytes.store(0, Ordering::Relaxed);
                let partition = self.clone();
                tokio::spawn(async move {
                    if let Err(error) = partition.save_producers().await {
                        let partition = &partition.name;
                        tracing::warn!(%partition, %error, "producers are not saved");
                    }
                });
            }
        }
        Ok(self.appended(accepted))
    }

    /// Makes known what the stored batches say of producers: reads what came behind the snapshot.
    pub(in crate::log) async fn load_producers(&self) -> Result<()> {
        if self.remembered.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.remembered.turn.lock().await;
        if self.remembered.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let found = Snapshot::load(&self.remembered.documents, &self.name).await?;
        let (mut table, mut from) = (found.producers, found.below);
        let end = self.store.bounds().next_msn;
        while from < end {
            let batches = self.store.read(from, ReadLimit::bytes(READ_BYTES)).await?;
            let Some(last) = batches.last() else { break };
            let news = batches.iter().filter(|batch| batch.base_msn() >= from);
            news.for_each(|batch| table.replay(batch.header()));
            from = last.next_msn();
        }
        self.queue.change_producers(|producers| *producers = table);
        self.remembered.loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Remembers the producers of records that are about to be trimmed or compacted.
    pub(in crate::log) async fn keep_producers(&self) -> Result<()> {
        if !self.remembered.loaded.load(Ordering::Acquire) {
            let registry = registry::key(&self.name.topic)?;
            if self.remembered.documents.load(&registry).await?.is_none() {
                return Ok(());
            }
            self.load_producers().await?;
        }
        self.save_producers().await
    }

    /// Saves what is known of producers once all of it is durable.
    pub(in crate::log) async fn save_producers(&self) -> Result<()> {
        if !self.remembered.loaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.remembered.turn.lock().await;
        let (producers, below, progress) = self.queue.producers();
        if producers.is_empty() {
            return Ok(());
        }
        Ack::new(below..below, AckAt::Written, progress).await?;
        self.sync_up_to(below).await?;
        let snapshot = Snapshot { below, producers };
        snapshot.save(&self.remembered.documents, &self.name).await
    }

    /// Lets only this epoch and later ones of a producer append; answers its next sequence.
    pub(super) fn fence(&self, id: i64, epoch: i16) -> u64 {
        self.queue.change_producers(|table| table.fence(id, epoch))
    }

    pub(super) fn next_sequence(&self, id: i64) -> u64 {
        self.queue.change_producers(|table| table.next(id))
    }

    pub(super) fn with_producers<T>(&self, work: impl FnOnce(&mut Table) -> T) -> T {
        self.queue.change_producers(work)
    }
}
