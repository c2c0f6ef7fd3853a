//! The cleaner: applies the topics' retention, in the background and when asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::task::JoinHandle;

use super::TopicConfig;
use super::clean_report::{CleanReport, HeldBack, HeldBy, Trimmed};
use super::commits::Commits;
use super::partition::Partition;
use super::retention::Retention;
use super::topics::Topics;
use crate::{ConsumerName, Error, ErrorKind, Msn, Result, TopicName};

/// How many topics are cleaned at the same time: one with a slow hook holds up no other for long.
const TOPICS_AT_A_TIME: usize = 8;

/// What the cleaner of a log knows between runs.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// The topics for which there is something to do; complete once all were looked at.
    topics: Mutex<BTreeSet<TopicName>>,
    knows_all: AtomicBool,
    /// Held by the run that there is.
    running: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<CleanReport>>>,
}

impl Cleaner {
    /// Takes note of a topic's configuration.
    pub(super) fn note(&self, topic: &TopicName, config: &TopicConfig) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if config.retention.is_forever() {
            topics.remove(topic);
        } else {
            topics.insert(topic.clone());
        }
    }

    /// Takes note that a topic is gone.
    pub(super) fn forget(&self, topic: &TopicName) {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// What the last run came to.
    pub(super) fn last(&self) -> Option<Arc<CleanReport>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The background runs of a log; they end with it.
#[derive(Debug)]
pub(super) struct CleanerTask(JoinHandle<()>);

impl CleanerTask {
    /// Runs the cleaner `every` so often; the first time after that long.
    pub(super) fn spawn(topics: &Arc<Topics>, every: Duration) -> Self {
        let topics = Arc::downgrade(topics);
        Self(tokio::spawn(run(topics, every)))
    }
}

impl Drop for CleanerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(topics: Weak<Topics>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(topics) = topics.upgrade() else { return };
        match topics.clean().await {
            Err(error) if error.kind() == ErrorKind::Closed => return,
            Err(error) => tracing::warn!(%error, "cleaning failed"),
            Ok(_) => {}
        }
    }
}

/// By partition: what all consumers have committed, and who has committed least.
struct Done(Vec<(ConsumerName, Commits)>);

impl Done {
    fn of(&self, partition: u32) -> (Msn, HeldBy) {
        let committed = self.0.iter().map(|(name, commits)| {
            (commits.partitions.get(&partition).copied().unwrap_or_default(), name)
        });
        match committed.min() {
            Some((msn, name)) => (msn, HeldBy::Consumer(name.clone())),
            None => (Msn::ZERO, HeldBy::NoConsumer),
        }
    }
}

impl Topics {
    /// Applies every topic's retention once; one run at a time.
    pub(super) async fn clean(&self) -> Result<CleanReport> {
        self.check_writable()?;
        let _running = self.cleaner.running.lock().await;
        let mut report = CleanReport::default();
        let names = self.topics_to_clean(&mut report).await?;
        // Not asked for where no topic has retention, as in most logs.
        let consumers = if names.is_empty() { BTreeMap::new() } else { self.consumers().await? };
        let runs = names.iter().map(|name| {
            let consumers = consumers.get(name).map(Vec::as_slice).unwrap_or_default();
            self.clean_topic(name, consumers)
        });
        let runs: Vec<_> = runs.collect();
        let mut runs = stream::iter(runs).buffer_unordered(TOPICS_AT_A_TIME);
        while let Some(cleaned) = runs.next().await {
            report.add(cleaned);
        }
        drop(runs);
        report.trimmed.sort_by(|one, other| one.partition.cmp(&other.partition));
        report.held_back.sort_by(|one, other| one.partition.cmp(&other.partition));
        let last = Some(Arc::new(report.clone()));
        *self.cleaner.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(report)
    }

    /// The topics with retention; the first time every configuration is looked at.
    async fn topics_to_clean(&self, report: &mut CleanReport) -> Result<Vec<TopicName>> {
        let cleaner = &self.cleaner;
        if !cleaner.knows_all.load(Ordering::Acquire) {
            for name in self.names().await? {
                match self.load_config(&name).await {
                    Ok(Some((config, _))) if !config.retention.is_forever() => {
                        cleaner.note(&name, &config);
                    }
                    Ok(_) => {}
                    Err(error) => report.failures.push((name, error)),
                }
            }
            cleaner.knows_all.store(report.failures.is_empty(), Ordering::Release);
        }
        self.check_not_closed().await?;
        let topics = cleaner.topics.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(topics.iter().cloned().collect())
    }

    async fn clean_topic(&self, name: &TopicName, consumers: &[ConsumerName]) -> CleanReport {
        let mut report = CleanReport::default();
        if let Err(error) = self.clean_topic_into(name, consumers, &mut report).await {
            tracing::warn!(topic = %name, %error, "cleaning failed");
            report.failures.push((name.clone(), error));
        }
        report
    }

    async fn clean_topic_into(
        &self,
        name: &TopicName,
        consumers: &[ConsumerName],
        report: &mut CleanReport,
    ) -> Result<()> {
        let topic = self.existing(name).await?;
        let rule = topic.config().retention;
        let mut living = Vec::with_capacity(consumers.len());
        for consumer in consumers {
            match rule.consumers_expire {
                Some(limit) if topic.expire(consumer, limit).await? => {
                    tracing::info!(topic = %name, %consumer, "consumer expired");
                    report.expired_consumers.push((name.clone(), consumer.clone()));
                }
                _ => living.push(consumer.clone()),
            }
        }
        if rule.trims() {
            let done = if rule.committed { Some(topic.load_commits(&living).await?) } else { None };
            let done = done.map(Done);
            for partition in topic.partitions() {
                partition.clean(&rule, done.as_ref(), report).await;
            }
        }
        if let Some(limit) = rule.topic_expires
            && self.expire_topic(&topic, limit).await?
        {
            tracing::info!(topic = %name, "topic expired");
            report.expired_topics.push(name.clone());
        }
        Ok(())
    }
}

impl Partition {
    /// Applies the rule to this partition, and tells the report what came of it.
    async fn clean(&self, rule: &Retention, done: Option<&Done>, report: &mut CleanReport) {
        let mut going = self.going.lock().await;
        let first = self.bounds().first_msn;
        let held = |msns, by| HeldBack { partition: self.name.clone(), msns, by };
        let limit = match self.limit(rule, self.options.clock.now(), &mut going).await {
            Ok(limit) => limit,
            Err(error) => return report.fail(self, error),
        };
        let mut before = limit;
        if let Some((committed, by)) = done.map(|done| done.of(self.name.partition))
            && committed < limit
        {
            before = committed.max(first);
            report.held_back.push(held(before..limit, by));
        }
        if before <= first {
            return;
        }
        // What goes was durable: so a crash never takes more than what went.
        let gone = match self.sync_up_to(before).await {
            Ok(()) => self.let_go(&mut going, before).await,
            Err(error) => return report.fail(self, error),
        };
        let (now_first, by) = match gone {
            Ok(now_first) => (now_first, HeldBy::StoreUnit),
            Err(stopped) => (stopped.first_msn, HeldBy::Failure(stopped.error)),
        };
        if now_first > first {
            let (partition, msns) = (self.name.clone(), first..now_first);
            tracing::debug!(%partition, from = %msns.start, to = %msns.end, "trimmed");
            report.trimmed.push(Trimmed { partition, msns });
        }
        if now_first < before {
            report.held_back.push(held(now_first..before, by));
        }
    }
}

impl CleanReport {
    fn fail(&mut self, partition: &Partition, error: Error) {
        let topic = partition.name.topic.clone();
        self.failures.push((topic, error.within(format_args!("`{}`", partition.name))));
    }
}
