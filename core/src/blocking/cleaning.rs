//! What is kept, who reads, and whether appends are taken, each call waiting for its answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Log, Topic};
use crate::log::{CleanReport, ConsumerStatus};
use crate::store::wait_for;
use crate::{ConsumerName, Msn, Result, TopicName};

impl Log {
    /// Applies every topic's retention now.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Log::clean`].
    pub fn clean(&self) -> Result<CleanReport> {
        wait_for(self.runtime.handle(), self.log.clean())
    }

    /// What the last run of the cleaner came to; `None` before it.
    pub fn last_clean(&self) -> Option<Arc<CleanReport>> {
        self.log.last_clean()
    }

    /// The consumers that there are, by topic.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Log::consumers`].
    pub fn consumers(&self) -> Result<BTreeMap<TopicName, Vec<ConsumerName>>> {
        wait_for(self.runtime.handle(), self.log.consumers())
    }

    /// Refuses every append to a topic from now on.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Log::refuse`].
    pub fn refuse(&self, topic: impl AsRef<str>) -> Result<()> {
        wait_for(self.runtime.handle(), self.log.refuse(topic))
    }

    /// Refuses appends to a partition that would give a record the MSN `msn` or a later one.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Log::refuse_at`].
    pub fn refuse_at(&self, topic: impl AsRef<str>, partition: u32, msn: Msn) -> Result<()> {
        wait_for(self.runtime.handle(), self.log.refuse_at(topic, partition, msn))
    }

    /// Refuses the first append that might begin another segment, and all after it.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Log::refuse_at_segment_boundary`].
    pub fn refuse_at_segment_boundary(&self, topic: impl AsRef<str>) -> Result<()> {
        wait_for(self.runtime.handle(), self.log.refuse_at_segment_boundary(topic))
    }

    /// Takes appends again, whatever was refused.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Log::accept`].
    pub fn accept(&self, topic: impl AsRef<str>) -> Result<()> {
        wait_for(self.runtime.handle(), self.log.accept(topic))
    }
}

impl Topic {
    /// The end of a partition, if it is final until the topic accepts again.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Topic::final_msn`].
    pub fn final_msn(&self, partition: u32) -> Result<Option<Msn>> {
        wait_for(self.runtime.handle(), self.topic.final_msn(partition))
    }

    /// The consumers of this topic, with how far they are.
    ///
    /// # Errors
    ///
    /// As [`crate::log::Topic::consumers`].
    pub fn consumers(&self) -> Result<Vec<ConsumerStatus>> {
        wait_for(self.runtime.handle(), self.topic.consumers())
    }
}
