//! Where the commits of one consumer gather, so that a burst of them is one document write.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::commits::{Commits, CommitsDocument};
use super::queue::closed;
use crate::store::{Expected, MessageStore};
use crate::{ConsumerName, Msn, Result, Timestamp, TopicName};

/// The commits of a consumer in a topic, from all its handles in this log.
///
/// Whoever writes takes with it what all have stated; those who wait meanwhile find it done.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) name: ConsumerName,
    document: CommitsDocument,
    waiting: Mutex<Waiting>,
    /// Held while the document is changed from here.
    lane: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Stated, synced, and not yet known to be stored.
    stated: BTreeMap<u32, Msn>,
    /// Stated for some time soon, and not yet synced.
    later: BTreeMap<u32, Msn>,
    /// Whether a task will see to `later`.
    is_scheduled: bool,
    /// The number of the next write.
    next_write: u64,
    /// Every write below this number is stored.
    stored_below: u64,
    /// Whether the topic was deleted.
    is_ended: bool,
}

/// The time of a commit, and how old the stored time may be to be left as it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub(super) now: Timestamp,
    pub(super) after: Duration,
}

impl Committer {
    /// States that everything below `msn` is done; answers the number of the write to wait for.
    pub(super) fn state(&self, partition: u32, msn: Msn) -> u64 {
        let mut waiting = self.lock();
        raise(&mut waiting.stated, partition, msn);
        waiting.next_write
    }

    /// Notes it for later; answers whether somebody has to see to that.
    pub(super) fn state_later(&self, partition: u32, msn: Msn) -> bool {
        let mut waiting = self.lock();
        raise(&mut waiting.later, partition, msn);
        !std::mem::replace(&mut waiting.is_scheduled, true)
    }

    /// What was noted for later; whoever notes more has to see to it anew.
    pub(super) fn noted(&self) -> BTreeMap<u32, Msn> {
        let mut waiting = self.lock();
        waiting.is_scheduled = false;
        waiting.later.clone()
    }

    /// Makes of what was noted for later, and is synced now, a statement as others.
    pub(super) fn settle(&self, partition: u32, msn: Msn) {
        let mut waiting = self.lock();
        if waiting.later.get(&partition).is_some_and(|noted| *noted <= msn) {
            waiting.later.remove(&partition);
        }
        raise(&mut waiting.stated, partition, msn);
    }

    /// The number of the write that stores what is stated and not yet stored, if anything is.
    pub(super) fn unstored(&self) -> Option<u64> {
        let waiting = self.lock();
        (!waiting.stated.is_empty()).then_some(waiting.next_write)
    }

    /// Waits until the write of this number is stored, writing it if nobody else has.
    ///
    /// Cancelling it leaves what was stated to the next one.
    pub(super) async fn store(&self, write: u64, touch: Touch) -> Result<()> {
        let _lane = self.lane.lock().await;
        let (stated, this_write) = {
            let mut waiting = self.lock();
            if waiting.is_ended {
                return Err(closed());
            }
            if waiting.stored_below > write {
                return Ok(());
            }
            let this_write = waiting.next_write;
            waiting.next_write += 1;
            (waiting.stated.clone(), this_write)
        };
        self.document.change(|commits| commits.take_up(&stated, touch)).await?;
        let mut waiting = self.lock();
        waiting.stored_below = this_write + 1;
        waiting.stated.retain(|partition, msn| stated.get(partition) != Some(msn));
        Ok(())
    }

    /// Moves commits to these MSNs, forwards or back; what was stated before counts as older.
    pub(super) async fn reset(&self, to: &BTreeMap<u32, Msn>, now: Timestamp) -> Result<()> {
        let _lane = self.lane.lock().await;
        {
            let mut waiting = self.lock();
            if waiting.is_ended {
                return Err(closed());
            }
            waiting.stated.retain(|partition, _| !to.contains_key(partition));
            waiting.later.retain(|partition, _| !to.contains_key(partition));
        }
        let set = |commits: &mut Commits| {
            commits.partitions.extend(to);
            commits.touched = Some(now);
            true
        };
        self.document.change(set).await
    }

    /// Says that the consumer lives, without moving anything.
    pub(super) async fn touch(&self, now: Timestamp) -> Result<()> {
        let _lane = self.lane.lock().await;
        if self.lock().is_ended {
            return Err(closed());
        }
        let touch = |commits: &mut Commits| {
            let changes = commits.touched != Some(now);
            commits.touched = Some(now);
            changes
        };
        self.document.change(touch).await
    }

    /// Forgets all commits; answers whether there were any.
    pub(super) async fn delete(&self) -> Result<bool> {
        let _lane = self.lane.lock().await;
        {
            let mut waiting = self.lock();
            waiting.stated.clear();
            waiting.later.clear();
        }
        self.document.discard(Expected::Any).await
    }

    /// What is stored.
    pub(super) async fn load(&self) -> Result<Option<Commits>> {
        Ok(self.document.load().await?.map(|(commits, _)| commits))
    }

    /// Waits for the write that runs, and lets no other begin.
    async fn end(&self) {
        let _lane = self.lane.lock().await;
        self.lock().is_ended = true;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every step leaves it whole, whoever panicked while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Commits {
    /// Raises what was stated, never moves back; answers whether there is anything to save.
    fn take_up(&mut self, stated: &BTreeMap<u32, Msn>, touch: Touch) -> bool {
        let before = self.partitions.clone();
        for (partition, msn) in stated {
            raise(&mut self.partitions, *partition, *msn);
        }
        let is_stale = self.touched.is_none_or(|at| {
            let age = touch.now.as_millis().saturating_sub(at.as_millis());
            u128::from(age.unsigned_abs()) >= touch.after.as_millis()
        });
        let changes = self.partitions != before || (is_stale && !stated.is_empty());
        if changes {
            self.touched = Some(touch.now);
        }
        changes
    }
}

fn raise(commits: &mut BTreeMap<u32, Msn>, partition: u32, msn: Msn) {
    let done = commits.entry(partition).or_insert(msn);
    *done = msn.max(*done);
}

/// The consumers of a topic that have handles in this log.
#[derive(Debug, Default)]
pub(super) struct Committers {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_name: HashMap<ConsumerName, Weak<Committer>>,
    /// Names whose handles are gone are forgotten when so many are there.
    sweep_at: usize,
    is_ended: bool,
}

impl Committers {
    /// The one of this name; all its handles share it.
    pub(super) fn of(
        &self,
        name: &ConsumerName,
        topic: &TopicName,
        store: &Arc<dyn MessageStore>,
    ) -> Result<Arc<Committer>> {
        let mut open = self.lock();
        if let Some(there) = open.by_name.get(name).and_then(Weak::upgrade) {
            return Ok(there);
        }
        if open.by_name.len() >= open.sweep_at {
            open.by_name.retain(|_, there| there.strong_count() > 0);
            open.sweep_at = (2 * open.by_name.len()).max(16);
        }
        let document = CommitsDocument::of(store.clone(), name, topic)?;
        let waiting = Waiting { is_ended: open.is_ended, ..Waiting::default() };
        let committer = Arc::new(Committer {
            name: name.clone(),
            document,
            waiting: Mutex::new(waiting),
            lane: tokio::sync::Mutex::new(()),
        });
        open.by_name.insert(name.clone(), Arc::downgrade(&committer));
        Ok(committer)
    }

    /// Those that somebody holds.
    pub(super) fn open(&self) -> Vec<Arc<Committer>> {
        self.lock().by_name.values().filter_map(Weak::upgrade).collect()
    }

    /// Ends all handles, present and to come: their topic is deleted.
    pub(super) async fn end(&self) {
        self.lock().is_ended = true;
        for committer in self.open() {
            committer.end().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Every step leaves it whole, whoever panicked while holding it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
