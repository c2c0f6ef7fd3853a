//! Topics that are configured while they are used, and those that keep the newest record of a key.

use super::{Log, Topic};
use crate::log::{Compacted, TopicConfig};
use crate::store::wait_for;
use crate::{Record, Result, TopicName};

impl Log {
    /// Changes a topic's configuration while it is used; answers what it is now.
    ///
    /// # Errors
    ///
    /// As [`log::Log::configure`](crate::log::Log::configure).
    pub fn configure(
        &self,
        topic: impl AsRef<str>,
        change: impl FnMut(&mut TopicConfig) + Send,
    ) -> Result<TopicConfig> {
        wait_for(self.runtime.handle(), self.log.configure(topic, change))
    }

    /// Compacts every keyed topic now, however little is new; answers what it did.
    ///
    /// # Errors
    ///
    /// As [`log::Log::compact`](crate::log::Log::compact).
    pub fn compact(&self) -> Result<Vec<(TopicName, Compacted)>> {
        wait_for(self.runtime.handle(), self.log.compact())
    }
}

impl Topic {
    /// Compacts every partition now, however little is new; answers what it did in each.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::compact`](crate::log::Topic::compact).
    pub fn compact(&self) -> Result<Vec<Compacted>> {
        wait_for(self.runtime.handle(), self.topic.compact())
    }

    /// The newest record of a key.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::latest`](crate::log::Topic::latest).
    pub fn latest(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        wait_for(self.runtime.handle(), self.topic.latest(key))
    }

    /// As [`latest`](Self::latest), in this partition.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::latest_in`](crate::log::Topic::latest_in).
    pub fn latest_in(&self, partition: u32, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        wait_for(self.runtime.handle(), self.topic.latest_in(partition, key))
    }
}
