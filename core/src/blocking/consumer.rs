//! A named reader whose commits survive, each call waiting for its answer.

use std::sync::Arc;

use tokio::runtime::Runtime;

use super::{Subscription, Topic};
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
}
