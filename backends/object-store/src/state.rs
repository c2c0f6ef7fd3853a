//! What an open store knows: the durable catalogue, and ahead of it what is not durable yet.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use msglog_core::store::{Bounds, DocumentKey, Expected, Version, check};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, TopicPartition};
use tokio::time::Instant;

use crate::catalogue::Catalogue;
use crate::commit::{Commit, Event};
use crate::stopwatch::Moment;

/// Everything behind the store's one lock, which is never held across an await.
#[derive(Debug)]
pub(crate) struct State {
    /// What is durable.
    pub(crate) catalogue: Catalogue,
    /// Partitions by name, including those whose creation is under way, without those removed.
    pub(crate) names: BTreeMap<TopicPartition, u64>,
    pub(crate) tails: HashMap<u64, Tail>,
    /// Newest batches of all partitions in the order of their coming, for eviction.
    ring: VecDeque<(u64, Msn, usize)>,
    ring_bytes: usize,
    /// Documents whose newest change is not durable yet.
    ahead: BTreeMap<DocumentKey, Ahead>,
    pub(crate) ids: u64,
    pub(crate) versions: u64,
    pub(crate) gather: Gather,
    pub(crate) window: VecDeque<Slot>,
    /// How many groups have been sent.
    pub(crate) sent: u64,
    pub(crate) unsynced_bytes: usize,
    pub(crate) next_seq: u64,
    pub(crate) serial_until: u64,
    pub(crate) epoch: u64,
    pub(crate) proof: Moment,
    pub(crate) checking: bool,
    pub(crate) sent_at: Option<Instant>,
    pub(crate) commits_since_checkpoint: u64,
    /// The newest checkpoint that is known to be there; 0 for none.
    pub(crate) checkpoint_seq: u64,
    /// Why nothing can be written any more.
    pub(crate) failure: Option<Error>,
    pub(crate) closed: bool,
}

/// The newest batches of a partition, and where its next one goes.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) next: Msn,
    pub(crate) batches: VecDeque<RecordBatch>,
}

#[derive(Debug)]
struct Ahead {
    version: Option<Version>,
    changes: usize,
}

/// What waits to be sent.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    pub(crate) batches: BTreeMap<u64, Vec<RecordBatch>>,
    pub(crate) events: Vec<Event>,
    pub(crate) bytes: usize,
    /// Since when there is something.
    pub(crate) since: Option<Instant>,
    /// Since when somebody waits for it to be durable.
    pub(crate) wanted_since: Option<Instant>,
}

impl Gather {
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.events.is_empty()
    }
}

/// A group under way.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) group: u64,
    pub(crate) commit: Arc<Commit>,
    pub(crate) seq: u64,
    pub(crate) sent_at: Moment,
    pub(crate) gathered_bytes: usize,
    pub(crate) landed: bool,
}

impl State {
    pub(crate) fn new(catalogue: Catalogue, now: Moment) -> Self {
        let mut state = Self {
            names: BTreeMap::new(),
            tails: HashMap::new(),
            ring: VecDeque::new(),
            ring_bytes: 0,
            ahead: BTreeMap::new(),
            ids: catalogue.ids,
            versions: catalogue.versions,
            gather: Gather::default(),
            window: VecDeque::new(),
            sent: 0,
            unsynced_bytes: 0,
            next_seq: catalogue.seq + 1,
            serial_until: u64::MAX,
            epoch: catalogue.epoch,
            proof: now,
            checking: false,
            sent_at: None,
            commits_since_checkpoint: 0,
            checkpoint_seq: 0,
            failure: None,
            closed: false,
            catalogue,
        };
        state.follow_catalogue();
        state
    }

    /// Makes names and ends those of the catalogue, for a store whose writer is elsewhere.
    pub(crate) fn follow_catalogue(&mut self) {
        let partitions = &self.catalogue.partitions;
        self.names = partitions.iter().map(|(id, found)| (found.name.clone(), *id)).collect();
        self.tails = partitions
            .iter()
            .map(|(id, found)| (*id, Tail { next: found.next, batches: VecDeque::new() }))
            .collect();
    }

    pub(crate) fn bounds(&self, id: u64) -> Option<Bounds> {
        let durable = self.catalogue.partitions.get(&id)?;
        let next_msn = self.tails.get(&id).map_or(durable.next, |tail| tail.next);
        Some(Bounds { first_msn: durable.start, next_msn, durable_msn: durable.next })
    }

    /// Takes batches in: visible from now on, durable later.
    pub(crate) fn append(&mut self, id: u64, batches: Vec<RecordBatch>) -> Result<()> {
        let tail = self.tails.get_mut(&id).ok_or_else(removed)?;
        tail.next = check::continues(tail.next, &batches)?;
        for batch in &batches {
            let length = batch.encoded_len();
            self.ring.push_back((id, batch.next_msn(), length));
            self.ring_bytes += length;
            self.gather.bytes += length;
            self.unsynced_bytes += length;
            tail.batches.push_back(batch.clone());
        }
        if !batches.is_empty() {
            self.gather.since.get_or_insert_with(Instant::now);
            self.gather.batches.entry(id).or_default().extend(batches);
        }
        Ok(())
    }

    /// Takes an event in; answers the group that will make it durable.
    pub(crate) fn enqueue(&mut self, event: Event) -> u64 {
        if let Event::Save { value, .. } = &event {
            self.gather.bytes += value.len();
            self.unsynced_bytes += value.len();
        }
        self.gather.events.push(event);
        self.want()
    }

    /// Asks for all that was taken in to become durable; answers the group after which it is.
    pub(crate) fn want(&mut self) -> u64 {
        if self.gather.is_empty() {
            return self.sent;
        }
        self.gather.wanted_since.get_or_insert_with(Instant::now);
        self.sent + 1
    }

    /// Whether a change of this document is under way.
    pub(crate) fn is_changing(&self, key: &DocumentKey) -> bool {
        self.ahead.contains_key(key)
    }

    /// Checks a document's state, changes that are under way included.
    pub(crate) fn check_expected(&self, key: &DocumentKey, expected: Expected) -> Result<bool> {
        let current = match self.ahead.get(key) {
            Some(ahead) => ahead.version,
            None => self.catalogue.documents.get(key).map(|document| document.version),
        };
        check::expected(key, expected, current)?;
        Ok(current.is_some())
    }

    /// Notes a change of a document that is under way.
    pub(crate) fn change(&mut self, key: &DocumentKey, version: Option<Version>) {
        let ahead = self.ahead.entry(key.clone()).or_insert(Ahead { version, changes: 0 });
        ahead.version = version;
        ahead.changes += 1;
    }

    /// Takes the oldest group under way into the catalogue: it is durable.
    pub(crate) fn settle(&mut self, slot: &Slot, tail_bytes: usize) -> Result<()> {
        self.catalogue.apply_own(slot.seq, &slot.commit.directory)?;
        for event in &slot.commit.directory.events {
            let (Event::Save { key, .. } | Event::Discard { key }) = event else { continue };
            let Some(ahead) = self.ahead.get_mut(key) else { continue };
            ahead.changes -= 1;
            if ahead.changes == 0 {
                self.ahead.remove(key);
            }
        }
        self.unsynced_bytes = self.unsynced_bytes.saturating_sub(slot.gathered_bytes);
        self.commits_since_checkpoint += 1;
        self.evict(tail_bytes);
        Ok(())
    }

    /// Lets the oldest durable batches go while there are too many.
    fn evict(&mut self, tail_bytes: usize) {
        while self.ring_bytes > tail_bytes {
            let Some((id, next, length)) = self.ring.front().copied() else { return };
            let durable = self.catalogue.partitions.get(&id).map(|partition| partition.next);
            if durable.is_some_and(|durable| durable < next) {
                return;
            }
            self.ring.pop_front();
            self.ring_bytes -= length;
            if let Some(tail) = self.tails.get_mut(&id) {
                tail.batches.pop_front();
            }
        }
    }

    /// Refuses writing after a failure.
    pub(crate) fn check_healthy(&self) -> Result<()> {
        let Some(failure) = &self.failure else { return Ok(()) };
        let kind = match failure.kind() {
            ErrorKind::Fenced => ErrorKind::Fenced,
            _ => ErrorKind::Poisoned,
        };
        Err(Error::new(kind, failure.context()).with_source(failure.clone()))
    }
}

impl Tail {
    /// The batches from the one that holds `from` on, when they reach back that far.
    pub(crate) fn read(&self, from: Msn, bytes_max: usize) -> Option<Vec<RecordBatch>> {
        if from >= self.next {
            return Some(Vec::new());
        }
        if self.batches.front().is_none_or(|oldest| from < oldest.base_msn()) {
            return None;
        }
        let first = self.batches.partition_point(|batch| batch.next_msn() <= from);
        let mut bytes = 0_usize;
        let mut answer: Vec<RecordBatch> = Vec::new();
        for batch in self.batches.range(first..) {
            bytes = bytes.saturating_add(batch.encoded_len());
            if bytes > bytes_max && !answer.is_empty() {
                break;
            }
            answer.push(batch.clone());
        }
        Some(answer)
    }
}

pub(crate) fn removed() -> Error {
    Error::new(ErrorKind::Closed, "the partition was removed")
}
