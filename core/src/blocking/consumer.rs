//! A named reader whose commits survive, each call waiting for its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Runtime;

use super::{Subscription, Topic};
use crate::log::{ConsumerStatus, ResetTo};
use crate::store::wait_for;
use crate::{ConsumerName, Msn, Result, log};

/// A named reader of a topic. See [`log::Consumer`].
#[derive(Clone, Debug)]
pub struct Consumer {
    runtime: Arc<Runtime>,
    consumer: log::Consumer,
}

impl Topic {
    /// A named reader of this topic, with commits that survive.
    ///
    /// # Errors
    ///
    /// As [`log::Topic::consumer`].
    pub fn consumer(&self, name: impl AsRef<str>) -> Result<Consumer> {
        Ok(Consumer { runtime: self.runtime.clone(), consumer: self.topic.consumer(name)? })
    }
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &ConsumerName {
        self.consumer.name()
    }

    /// States that everything below `msn` is done; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::commit`].
    pub fn commit(&self, partition: u32, msn: Msn) -> Result<()> {
        wait_for(self.runtime.handle(), self.consumer.commit(partition, msn))
    }

    /// As [`commit`](Self::commit), stored soon and with others.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::commit_later`].
    pub fn commit_later(&self, partition: u32, msn: Msn) -> Result<()> {
        wait_for(self.runtime.handle(), self.consumer.commit_later(partition, msn))
    }

    /// Stores every commit for later.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::flush`].
    pub fn flush(&self) -> Result<()> {
        wait_for(self.runtime.handle(), self.consumer.flush())
    }

    /// What was committed last; `None` when nothing ever was.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::committed`].
    pub fn committed(&self, partition: u32) -> Result<Option<Msn>> {
        wait_for(self.runtime.handle(), self.consumer.committed(partition))
    }

    /// An iterator that starts where the last commit left off, or at the beginning.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::subscribe`].
    pub fn subscribe(&self, partition: u32) -> Result<Subscription> {
        let subscription = wait_for(self.runtime.handle(), self.consumer.subscribe(partition))?;
        Ok(Subscription { runtime: self.runtime.clone(), subscription })
    }

    /// How far it is in every partition, and how far that is from the end.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::status`].
    pub fn status(&self) -> Result<ConsumerStatus> {
        wait_for(self.runtime.handle(), self.consumer.status())
    }

    /// Sets what is committed in a partition, forwards or back.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::reset`].
    pub fn reset(&self, partition: u32, to: ResetTo) -> Result<Msn> {
        wait_for(self.runtime.handle(), self.consumer.reset(partition, to))
    }

    /// As [`reset`](Self::reset), all partitions at once.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::reset_all`].
    pub fn reset_all(&self, to: ResetTo) -> Result<BTreeMap<u32, Msn>> {
        wait_for(self.runtime.handle(), self.consumer.reset_all(to))
    }

    /// Says that the consumer lives, so that it does not expire.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::touch`].
    pub fn touch(&self) -> Result<()> {
        wait_for(self.runtime.handle(), self.consumer.touch())
    }

    /// Forgets what it has committed in the topic.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::delete`].
    pub fn delete(&self) -> Result<bool> {
        wait_for(self.runtime.handle(), self.consumer.delete())
    }

    /// By how many records it is behind, in all partitions.
    ///
    /// # Errors
    ///
    /// As [`log::Consumer::lag`].
    pub fn lag(&self) -> Result<u64> {
        wait_for(self.runtime.handle(), self.consumer.lag())
    }
}
