//! The ways to read, each call waiting for its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;

use super::{BatchSubscription, MergedSubscription, Subscription, Topic};
use crate::log::{
    BatchPage, Filter, Missing, Page, PartitionRecord, Partitioner, SubscribeOptions, TopicConfig,
};
use crate::store::{ReadLimit, wait_for};
use crate::{Msn, Record, RecordBatch, Result, Timestamp, TopicName};

impl Topic {
    /// Its name.
    pub fn name(&self) -> &TopicName {
        self.topic.name()
    }

    /// How it is configured now.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.topic.config()
    }

    /// How many partitions it has.
    pub fn partition_count(&self) -> u32 {
        self.topic.partition_count()
    }

    /// The same topic, with partitions chosen by `partitioner`.
    #[must_use]
    pub fn with_partitioner(&self, partitioner: impl Partitioner) -> Self {
        let topic = self.topic.with_partitioner(partitioner);
        Self { runtime: self.runtime.clone(), topic }
    }

    /// The record at `msn`; `None` when readers see none there.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::record`](crate::log::Topic::record).
    pub fn record(&self, partition: u32, msn: Msn) -> Result<Option<Record>> {
        wait_for(self.runtime.handle(), self.topic.record(partition, msn))
    }

    /// A record for each of `msns`, in the order asked, or why there is none.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::read_many`](crate::log::Topic::read_many).
    pub fn read_many(
        &self,
        partition: u32,
        msns: &[Msn],
    ) -> Result<Vec<std::result::Result<Record, Missing>>> {
        wait_for(self.runtime.handle(), self.topic.read_many(partition, msns))
    }

    /// As [`read`](Self::read), only the records that `filter` asks for.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::read_filtered`](crate::log::Topic::read_filtered).
    pub fn read_filtered(
        &self,
        partition: u32,
        from: Msn,
        limit: ReadLimit,
        filter: &Filter,
    ) -> Result<Page> {
        wait_for(self.runtime.handle(), self.topic.read_filtered(partition, from, limit, filter))
    }

    /// The newest records below `before`, oldest first.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::read_before`](crate::log::Topic::read_before).
    pub fn read_before(
        &self,
        partition: u32,
        before: Msn,
        count: usize,
        limit: ReadLimit,
    ) -> Result<Vec<Record>> {
        wait_for(self.runtime.handle(), self.topic.read_before(partition, before, count, limit))
    }

    /// As [`read`](Self::read), record batches as they are stored.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::read_batches`](crate::log::Topic::read_batches).
    pub fn read_batches(&self, partition: u32, from: Msn, limit: ReadLimit) -> Result<BatchPage> {
        wait_for(self.runtime.handle(), self.topic.read_batches(partition, from, limit))
    }

    /// The MSN of the first record at or after `timestamp`, or the end.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::find`](crate::log::Topic::find).
    pub fn find(&self, partition: u32, timestamp: Timestamp) -> Result<Msn> {
        wait_for(self.runtime.handle(), self.topic.find(partition, timestamp))
    }

    /// As [`subscribe`](Self::subscribe), with a filter, or pages of one's own.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::subscribe_with`](crate::log::Topic::subscribe_with).
    pub fn subscribe_with(
        &self,
        partition: u32,
        from: Msn,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        let subscription = self.topic.subscribe_with(partition, from, options)?;
        Ok(Subscription { runtime: self.runtime.clone(), subscription })
    }

    /// An iterator over a partition's record batches as they are stored.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::subscribe_batches`](crate::log::Topic::subscribe_batches).
    pub fn subscribe_batches(&self, partition: u32, from: Msn) -> Result<BatchSubscription> {
        let subscription = self.topic.subscribe_batches(partition, from)?;
        Ok(BatchSubscription { runtime: self.runtime.clone(), subscription })
    }

    /// An iterator over all partitions' records from their beginning on.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::subscribe_all`](crate::log::Topic::subscribe_all).
    pub fn subscribe_all(&self) -> Result<MergedSubscription> {
        let subscription = self.topic.subscribe_all()?;
        Ok(MergedSubscription { runtime: self.runtime.clone(), subscription })
    }

    /// An iterator over some partitions' records, each from an MSN on.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::subscribe_partitions`](crate::log::Topic::subscribe_partitions).
    pub fn subscribe_partitions(
        &self,
        positions: impl IntoIterator<Item = (u32, Msn)>,
        options: &SubscribeOptions,
    ) -> Result<MergedSubscription> {
        let subscription = self.topic.subscribe_partitions(positions, options)?;
        Ok(MergedSubscription { runtime: self.runtime.clone(), subscription })
    }
}

impl Subscription {
    /// The smallest MSN that the next record can have.
    pub fn next_msn(&self) -> Msn {
        self.subscription.next_msn()
    }
}

impl BatchSubscription {
    /// The smallest MSN that the next batch can bring.
    pub fn next_msn(&self) -> Msn {
        self.subscription.next_msn()
    }
}

impl Iterator for BatchSubscription {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        wait_for(self.runtime.handle(), self.subscription.next())
    }
}

impl MergedSubscription {
    /// The smallest MSN that the next record of each partition can have.
    pub fn positions(&self) -> BTreeMap<u32, Msn> {
        self.subscription.positions()
    }
}

impl Iterator for MergedSubscription {
    type Item = Result<PartitionRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        wait_for(self.runtime.handle(), self.subscription.next())
    }
}
