//! Reading a topic: pages, single records, streams, by time, by key.

use super::Topic;
use crate::log::{
    BatchPage, BatchSubscription, Filter, MergedSubscription, Missing, Page, SubscribeOptions,
    Subscription,
};
use crate::store::{Bounds, ReadLimit};
use crate::{MessageRef, Msn, Record, Result, Timestamp};

impl Topic {
    /// Records of a partition in order, from `from` or the next available MSN on.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a partition that is not;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for records that a checked batch cannot hold;
    /// [`Closed`](crate::ErrorKind::Closed).
    pub async fn read(&self, partition: u32, from: Msn, limit: ReadLimit) -> Result<Page> {
        self.partition(partition)?.read(from, limit).await
    }

    /// The record at `msn`; `None` when readers see none there. [`read_many`](Self::read_many) says
    /// why.
    ///
    /// Costs one read of the batch that holds it, unless the batch cache has it.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn record(&self, partition: u32, msn: Msn) -> Result<Option<Record>> {
        self.partition(partition)?.record(msn).await
    }

    /// A record for each of `msns`, in the order asked, or why there is none.
    ///
    /// The MSNs need not be sorted and may repeat; at most 100,000 at a time. Each batch that holds
    /// any of them is read once. The records keep no batch in memory.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); and [`TooLarge`](crate::ErrorKind::TooLarge) for too many.
    pub async fn read_many(
        &self,
        partition: u32,
        msns: &[Msn],
    ) -> Result<Vec<std::result::Result<Record, Missing>>> {
        self.partition(partition)?.read_many(msns).await
    }

    /// A stream of a partition's records from `from` on, from history to live.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a partition that is not.
    pub fn subscribe(&self, partition: u32, from: Msn) -> Result<Subscription> {
        self.subscribe_with(partition, from, SubscribeOptions::default())
    }

    /// As [`subscribe`](Self::subscribe), with a filter, or pages of one's own.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a partition that is not, and for options out of range.
    pub fn subscribe_with(
        &self,
        partition: u32,
        from: Msn,
        options: SubscribeOptions,
    ) -> Result<Subscription> {
        options.check()?;
        Ok(Subscription::new(self.partition(partition)?.clone(), from, options))
    }

    /// A stream of all partitions' records from their beginning on, from history to live.
    ///
    /// # Errors
    ///
    /// As [`subscribe_partitions`](Self::subscribe_partitions).
    pub fn subscribe_all(&self) -> Result<MergedSubscription> {
        let all = (0..self.partition_count()).map(|partition| (partition, Msn::ZERO));
        self.subscribe_partitions(all, &SubscribeOptions::default())
    }

    /// A stream of some partitions' records, each from an MSN on, from history to live.
    ///
    /// Goes on where another one stood with its
    /// [`positions`](MergedSubscription::positions).
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a partition that is not or is named twice, and for
    /// options out of range.
    pub fn subscribe_partitions(
        &self,
        positions: impl IntoIterator<Item = (u32, Msn)>,
        options: &SubscribeOptions,
    ) -> Result<MergedSubscription> {
        let mut subscriptions = Vec::new();
        for (partition, from) in positions {
            let subscription = self.subscribe_with(partition, from, options.clone())?;
            subscriptions.push((partition, subscription));
        }
        MergedSubscription::new(subscriptions)
    }

    /// As [`read`](Self::read), only the records that `filter` asks for.
    ///
    /// One read of the store of about `limit` bytes, of which the page may have no record at all;
    /// go on at [`Page::next_msn`]. Nothing more is there when that is not beyond `from`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_filtered(
        &self,
        partition: u32,
        from: Msn,
        limit: ReadLimit,
        filter: &Filter,
    ) -> Result<Page> {
        self.partition(partition)?.read_filtered(from, limit, filter).await
    }

    /// The newest records below `before`, oldest first: at most `count`, of about `limit` bytes, at
    /// least one if there is any and `count` is not 0.
    ///
    /// Empty only where nothing is below. To go on backwards, call it again with the MSN of the
    /// first record. Reads about twice the MSNs that it answers, each batch once.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_before(
        &self,
        partition: u32,
        before: Msn,
        count: usize,
        limit: ReadLimit,
    ) -> Result<Vec<Record>> {
        self.partition(partition)?.read_before(before, count, limit).await
    }

    /// As [`read`](Self::read), record batches as they are stored: the least cost.
    ///
    /// The first batch may begin before `from`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_batches(
        &self,
        partition: u32,
        from: Msn,
        limit: ReadLimit,
    ) -> Result<BatchPage> {
        self.partition(partition)?.read_batches(from, limit).await
    }

    /// As [`subscribe`](Self::subscribe), record batches as they are stored: the least cost.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_batches(&self, partition: u32, from: Msn) -> Result<BatchSubscription> {
        let options = SubscribeOptions::default();
        Ok(BatchSubscription::new(self.partition(partition)?.clone(), from, &options))
    }

    /// The MSN of the first record at or after `timestamp`; the end of what readers see if none is.
    ///
    /// Always: the record answered is at or after `timestamp`, and the one before it is older.
    /// Where times never fall from record to record, as with
    /// [`TimestampKind::Append`](crate::batch::TimestampKind::Append) and a clock that never goes
    /// back, all before it are older, so nothing that was asked for is missed. Where times fall, a
    /// record of that time may also lie before the answer, or before the end. Costs one read of a
    /// batch where the store has an index of times, else one for each halving of the partition.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn find(&self, partition: u32, timestamp: Timestamp) -> Result<Msn> {
        self.partition(partition)?.find(timestamp).await
    }

    /// What a partition holds for readers: `next_msn` is the end of what they see.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) for a partition that is not.
    pub async fn bounds(&self, partition: u32) -> Result<Bounds> {
        self.partition(partition)?.fresh_bounds().await
    }

    /// The end of a partition, if it is final until the topic accepts again: no append gets in any
    /// more, and readers see all that did. `None` while more may come.
    ///
    /// A log opened for reading knows it only of partitions with a limit that is reached, and by the
    /// configuration as of when it opened the topic.
    ///
    /// # Errors
    ///
    /// As [`bounds`](Self::bounds).
    pub async fn final_msn(&self, partition: u32) -> Result<Option<Msn>> {
        let admission = self.config().admission.clone();
        self.partition(partition)?.final_msn(&admission).await
    }

    /// The newest record of a key; `None` when it has none, or its newest one is a tombstone.
    ///
    /// Sees what readers see. The first call reads the partition and keeps the newest record of
    /// each key in memory; each further one reads what has come since. Where these records take
    /// more than [`latest_bytes_max`](crate::log::LogBuilder::latest_bytes_max), every call reads the
    /// whole partition instead.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn latest(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        let key = key.as_ref();
        self.latest_in(self.choose(&MessageRef::tombstone(key)), key).await
    }

    /// As [`latest`](Self::latest), in this partition, for keys that were appended to one of the
    /// caller's choice.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub async fn latest_in(&self, partition: u32, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        self.partition(partition)?.latest(key.as_ref()).await
    }
}
