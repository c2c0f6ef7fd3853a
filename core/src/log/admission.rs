//! Admission: whether a topic takes appends, decided where MSNs are given out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Log;
use super::partition::Partition;
use super::queue::Queue;
use crate::store::{Access, SegmentRoom};
use crate::{Error, ErrorKind, Msn, Result, TopicName};

/// What an append may take of a segment beyond its own bytes: a batch's header, and what a
/// compression may add to bytes that it cannot compress.
const OVERHEAD_BYTES: u64 = 128;

/// Whether a topic takes appends; stored with it, and so in force after reopening.
///
/// The reasons to refuse add up; [`Log::accept`] takes all of them back.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Admission {
    /// Every append is refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refuse: bool,
    /// By partition: no record gets this MSN or a later one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refuse_at: BTreeMap<u32, Msn>,
    /// By partition: no append goes to a segment after the one that begins at this MSN.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub refuse_after_segment: BTreeMap<u32, Msn>,
}

/// Why an append was refused: the source of a [`Refused`](ErrorKind::Refused) error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// The topic takes nothing.
    Topic,
    /// A record of the append would have got this MSN or a later one.
    Limit(Msn),
    /// The append might have begun another segment.
    SegmentBoundary,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic => f.write_str("the topic refuses appends"),
            Self::Limit(msn) => write!(f, "the partition refuses appends at MSN {msn}"),
            Self::SegmentBoundary => f.write_str("the partition's segment is full"),
        }
    }
}

impl std::error::Error for Refusal {}

impl Admission {
    /// Whether nothing is refused.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn rule(&self, partition: u32) -> Rule {
        Rule {
            refuse: self.refuse,
            limit: self.refuse_at.get(&partition).copied().unwrap_or(Msn::MAX),
            segment: self.refuse_after_segment.get(&partition).copied(),
        }
    }

    pub(super) fn check(&self, partitions: u32) -> Result<()> {
        let named = self.refuse_at.keys().chain(self.refuse_after_segment.keys());
        match named.max().filter(|last| **last >= partitions) {
            None => Ok(()),
            Some(last) => {
                let why = format!("admission names partition {last} of {partitions}");
                Err(Error::new(ErrorKind::Invalid, why))
            }
        }
    }
}

impl fmt::Display for Admission {
    /// For people, e.g. `partition 0 refuses at MSN 7`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.refuse {
            return f.write_str("refuses all");
        }
        let limits = self.refuse_at.iter();
        let limits =
            limits.map(|(partition, msn)| format!("partition {partition} refuses at MSN {msn}"));
        let segments = self.refuse_after_segment.iter().map(|(partition, base)| {
            format!("partition {partition} refuses after the segment from MSN {base} on")
        });
        let parts: Vec<_> = limits.chain(segments).collect();
        f.write_str(if parts.is_empty() { "accepts" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// What holds for one partition.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    refuse: bool,
    limit: Msn,
    segment: Option<Msn>,
}

/// The gate of a partition's queue: what is below `open_below` needs no further look.
#[derive(Debug)]
pub(super) struct Gate {
    /// MSNs below are given out without asking; the largest there is when nothing is refused.
    pub(super) open_below: Msn,
    rule: Rule,
    room: Option<Room>,
}

/// What is left of the segment that may still be filled.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// The MSN that the segment begins at.
    base: Msn,
    /// Bytes left, as the store last said.
    left: u64,
    /// Bytes that the appender took since.
    taken: u64,
    /// Bytes accepted and not yet taken by the appender.
    gathered: u64,
}

impl Gate {
    pub(super) fn of(rule: Rule, segment: Option<SegmentRoom>) -> Self {
        let mut gate = Self { open_below: Msn::MAX, rule, room: None };
        gate.set(rule, segment, 0);
        gate
    }

    /// Takes another rule; `gathered` are the bytes accepted and not yet taken.
    pub(super) fn set(&mut self, rule: Rule, segment: Option<SegmentRoom>, gathered: u64) {
        self.rule = rule;
        match rule.segment {
            None => self.room = None,
            // What was found out before is more exact than what the store says in between.
            Some(base) if self.room.is_some_and(|room| room.base == base) => {}
            Some(base) => {
                let left =
                    segment.filter(|now| now.base_msn == base).map_or(0, |now| now.bytes_left);
                self.room = Some(Room { base, left, taken: 0, gathered });
            }
        }
        self.open_below = match rule {
            Rule { refuse: false, segment: None, limit } => limit,
            Rule { .. } => Msn::ZERO,
        };
    }

    /// Begins to watch a segment before the rule says so: what is accepted from now on counts.
    pub(super) fn watch(&mut self, segment: SegmentRoom, gathered: u64) {
        let (base, left) = (segment.base_msn, segment.bytes_left);
        if self.room.is_none_or(|room| room.base != base) {
            self.room = Some(Room { base, left, taken: 0, gathered });
        }
        self.open_below = Msn::ZERO;
    }

    /// Whether `count` records of `bytes` may get MSNs from `next` on. Called where
    /// `open_below` does not say so; counts what it lets through.
    pub(super) fn ask(&mut self, next: Msn, count: u64, bytes: u64) -> Result<()> {
        let Rule { refuse, limit, .. } = self.rule;
        if refuse {
            return Err(refused(Refusal::Topic));
        }
        if limit.distance_from(next) < count {
            if limit == Msn::MAX {
                return Err(Error::new(ErrorKind::TooLarge, "the partition has no MSNs left"));
            }
            return Err(refused(Refusal::Limit(limit)));
        }
        if let Some(room) = &mut self.room {
            let need = needed_bytes(bytes, 1);
            if room.taken + room.gathered + need > room.left {
                // No smaller one is let through after it: the end stays where it is.
                room.left = 0;
                return Err(refused(Refusal::SegmentBoundary));
            }
            room.gathered += need;
        }
        Ok(())
    }

    /// The appender takes what has gathered; answers whether it must say what the store has left.
    pub(super) fn take(&mut self) -> bool {
        let Some(room) = &mut self.room else { return false };
        room.taken += std::mem::take(&mut room.gathered);
        true
    }

    /// What was taken is written, and this is left; or it failed, and the store stands as before.
    pub(super) fn written(&mut self, segment: Option<SegmentRoom>) {
        let Some(room) = &mut self.room else { return };
        room.taken = 0;
        let same = segment.filter(|now| now.base_msn == room.base);
        // Once closed it stays so.
        room.left = same.map_or(0, |now| now.bytes_left.min(room.left));
    }

    /// All that waited is gone.
    pub(super) fn failed(&mut self) {
        if let Some(room) = &mut self.room {
            (room.taken, room.gathered) = (0, 0);
        }
    }

    /// Whether not even a single record gets the MSN `next`.
    pub(super) fn is_closed_at(&self, next: Msn) -> bool {
        let closed = self.room.is_some_and(|room| room.left == 0);
        self.rule.refuse || self.rule.limit <= next || closed
    }
}

/// The most that so many bytes of records take in so many batches.
pub(super) fn needed_bytes(bytes: u64, batches: u64) -> u64 {
    bytes.saturating_add(bytes / 64).saturating_add(batches.saturating_mul(OVERHEAD_BYTES))
}

fn refused(why: Refusal) -> Error {
    Error::new(ErrorKind::Refused, why.to_string()).with_source(why)
}

impl Partition {
    /// The end, if it is final: nothing more is accepted, and readers see all that was.
    pub(super) async fn final_msn(&self, admission: &Admission) -> Result<Option<Msn>> {
        let end = self.fresh_bounds().await?.next_msn;
        let is_final = match self.options.access {
            Access::Write => self.queue.is_final_at(end),
            // Only what is stored is known here; a limit that is reached is reached for good.
            Access::Read => admission.rule(self.name.partition).limit <= end,
        };
        Ok(is_final.then_some(end))
    }

    /// Counts what is accepted from now on against the segment that is written now; answers where
    /// that begins, or `None` on a store without segments.
    async fn watch_segment(&self) -> Option<Msn> {
        // Nothing is on its way to the store while this is held.
        let _lane = self.lane.lock().await;
        let segment = self.store.segment()?;
        self.queue.watch_segment(segment);
        Some(segment.base_msn)
    }
}

impl Log {
    /// Refuses every append to a topic from now on; durable, and in force, when it returns.
    ///
    /// What was accepted before is written and acked as ever. Cancelling it does not stop it half
    /// way. Readers learn the end from [`Topic::final_msn`](super::Topic::final_msn).
    ///
    /// # Errors
    ///
    /// As [`MsgLog::configure_topic`](super::MsgLog::configure_topic).
    pub async fn refuse(&self, topic: impl AsRef<str>) -> Result<()> {
        self.admit(topic.as_ref(), |admission| admission.refuse = true).await
    }

    /// Refuses appends to a partition that would give a record the MSN `msn` or a later one.
    ///
    /// Exact, however many producers there are: what fits below is accepted, a batch as a whole or
    /// not at all. Where the partition is further already, its end stays where it is. A later call
    /// for the same partition replaces the limit. Durable and in force when it returns.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a partition that is not; and as [`refuse`](Self::refuse).
    pub async fn refuse_at(&self, topic: impl AsRef<str>, partition: u32, msn: Msn) -> Result<()> {
        let set = move |admission: &mut Admission| {
            admission.refuse_at.insert(partition, msn);
        };
        self.admit(topic.as_ref(), set).await
    }

    /// Refuses, in every partition, the first append that might begin another segment, and all
    /// after it.
    ///
    /// So the segments that there are now get no successor, unless what was accepted before needs
    /// one; a few hundred bytes of the last one may stay free, and more where batches are
    /// compressed. Once full a partition takes nothing more, not even what would fit, until the log
    /// is reopened: then it takes what fits. Durable and in force when it returns.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported), with nothing changed, on a store that keeps no
    /// segments a partition; and as [`refuse`](Self::refuse).
    pub async fn refuse_at_segment_boundary(&self, topic: impl AsRef<str>) -> Result<()> {
        let log = self.clone();
        let name = TopicName::parse(topic)?;
        finish(tokio::spawn(async move {
            let topic = log.existing(&name).await?;
            let mut segments = BTreeMap::new();
            for partition in topic.partitions() {
                let Some(base) = partition.watch_segment().await else {
                    let why = "this store does not say where its segments end";
                    return Err(Error::new(ErrorKind::Unsupported, why));
                };
                segments.insert(partition.name.partition, base);
            }
            let set = |admission: &mut Admission| {
                admission.refuse_after_segment.clone_from(&segments);
            };
            let stored = log.configure(name.as_str(), |config| set(&mut config.admission)).await;
            if stored.is_err() {
                // What holds is what is stored.
                let config = topic.config();
                topic.partitions().iter().for_each(|partition| partition.configure(&config));
            }
            stored.map(drop)
        }))
        .await
    }

    /// Takes appends again, whatever was refused; durable when it returns.
    ///
    /// # Errors
    ///
    /// As [`refuse`](Self::refuse).
    pub async fn accept(&self, topic: impl AsRef<str>) -> Result<()> {
        self.admit(topic.as_ref(), |admission| *admission = Admission::default()).await
    }

    async fn admit(
        &self,
        topic: &str,
        mut change: impl FnMut(&mut Admission) + Send + 'static,
    ) -> Result<()> {
        let (log, name) = (self.clone(), TopicName::parse(topic)?);
        // A task of its own: stored but not in force is what a cancelled call would leave.
        finish(tokio::spawn(async move {
            log.configure(name.as_str(), |config| change(&mut config.admission)).await.map(drop)
        }))
        .await
    }
}

async fn finish(task: tokio::task::JoinHandle<Result<()>>) -> Result<()> {
    task.await.unwrap_or_else(|cause| {
        let error = Error::new(ErrorKind::Unavailable, "the change of admission ended early");
        Err(error.with_source(cause).with_unknown_effect())
    })
}

impl Queue {
    /// Begins to count against a segment.
    fn watch_segment(&self, segment: SegmentRoom) {
        self.with_gate(|gate, gathered| gate.watch(segment, gathered));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(limit: u64) -> Rule {
        Rule { refuse: false, limit: Msn::new(limit), segment: None }
    }

    fn segment(base: u64, bytes_left: u64) -> Option<SegmentRoom> {
        Some(SegmentRoom::new(Msn::new(base), bytes_left))
    }

    #[test]
    fn append_is_let_through_whole_or_not_at_all() {
        let mut gate = Gate::of(rule(10), None);
        assert_eq!(gate.open_below, Msn::new(10));
        gate.ask(Msn::new(7), 3, 100).unwrap();
        let error = gate.ask(Msn::new(8), 3, 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.downcast_ref(), Some(&Refusal::Limit(Msn::new(10))));
        gate.ask(Msn::new(8), 2, 100).unwrap();
    }

    #[test]
    fn segment_takes_what_fits_and_nothing_after_what_does_not() {
        let watching = Rule { segment: Some(Msn::new(5)), ..rule(u64::MAX) };
        let mut gate = Gate::of(watching, segment(5, 1_000));
        gate.ask(Msn::new(9), 1, 300).unwrap();
        gate.ask(Msn::new(10), 1, 300).unwrap();
        assert!(gate.take());
        gate.written(segment(5, 380));
        assert!(!gate.is_closed_at(Msn::new(11)));
        let full = gate.ask(Msn::new(11), 1, 300).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Refused);
        assert_eq!(gate.ask(Msn::new(11), 1, 1).unwrap_err().kind(), ErrorKind::Refused);
        assert!(gate.is_closed_at(Msn::new(11)));
        gate.set(rule(u64::MAX), segment(5, 380), 0);
        gate.ask(Msn::new(11), 1, 300).unwrap();
    }

    #[test]
    fn segment_that_is_not_the_one_any_more_is_full() {
        let watching = Rule { segment: Some(Msn::new(5)), ..rule(u64::MAX) };
        for now in [segment(6, 1_000), None] {
            let mut gate = Gate::of(watching, now);
            assert!(gate.is_closed_at(Msn::new(7)));
            assert!(gate.ask(Msn::new(7), 1, 1).is_err());
        }
    }

    #[test]
    fn configuration_that_accepts_is_stored_as_it_always_was() {
        let json = serde_json::to_string(&crate::TopicConfig::default()).unwrap();
        assert!(!json.contains("admission"), "{json}");
        let mut config = crate::TopicConfig::default();
        config.admission.refuse_at.insert(0, Msn::new(7));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<crate::TopicConfig>(&json).unwrap(), config);
    }
}
