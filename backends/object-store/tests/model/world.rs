//! The rule itself, as steps of a world that is small enough to be walked through whole.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "a test: writers and items are few, and named by their place"
)]

use std::collections::BTreeMap;

/// How large the world is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) writers: usize,
    /// Requests that a writer has in flight.
    pub(crate) depth: u8,
    /// Commits of one writer.
    pub(crate) commits: u8,
    /// How often the clock ticks.
    pub(crate) time: u8,
    /// Requests that a writer gave up and that arrive later.
    pub(crate) late: u8,
    /// Answers lost or requests dropped, over all.
    pub(crate) losses: u8,
    /// Whether checkpoints are written and objects deleted.
    pub(crate) deletes: bool,
}

/// A way to get the rule wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mutant {
    None,
    SendsAgainElsewhere,
    TrustsExisting,
    AcksOutOfOrder,
    PipelinesAtOnce,
    PipelinesTooSoon,
    KeepsEpoch,
    FencesBehindHole,
    DoesNotReadAgain,
    DeletesEarly,
    MeasuresFromSend,
    NeverVerifies,
    DeletesNewest,
    OpensLate,
}

/// An ack is trusted this long after the last proof of ownership.
const STALL_LIMIT: u8 = 1;
/// What a checkpoint covers is deleted this long after it was written.
const GRACE: u8 = 2;

type Seq = u8;
type Epoch = u8;
/// Who wrote it, and how many items came before: in a sound log the place of the item.
type Item = (u8, u8);

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Object {
    epoch: Epoch,
    writer: u8,
    /// `None` in the fence of a takeover.
    item: Option<Item>,
}

#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
struct Checkpoint {
    seq: Seq,
    epoch: Epoch,
    items: Vec<Item>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Answer {
    /// The request is under way.
    Sent,
    /// Some error: nobody knows what happened.
    Lost,
    Committed,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Slot {
    seq: Seq,
    object: Object,
    sent_at: u8,
    answer: Answer,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Phase {
    Idle,
    /// Has read the checkpoint.
    Opening,
    /// Has read the log too, and sends its fence.
    Fencing,
    Open,
    Fenced,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Writer {
    phase: Phase,
    epoch: Epoch,
    /// What it knows to be in the log: recovered, then acked.
    known: Checkpoint,
    opened_at: u8,
    window: Vec<Slot>,
    next_seq: Seq,
    commits: u8,
    /// The last moment at which it is sure to have been the owner.
    proof: u8,
    serial_until: Seq,
    /// Its checkpoint, and since when it stands.
    covered: Option<(Seq, u8)>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct World {
    time: u8,
    log: BTreeMap<Seq, Object>,
    checkpoint: Checkpoint,
    writers: Vec<Writer>,
    late: Vec<(Seq, Object)>,
    late_left: u8,
    losses_left: u8,
    acked: Vec<Item>,
}

pub(crate) type Step = (String, Result<World, String>);

impl World {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let writer = Writer {
            phase: Phase::Idle,
            epoch: 0,
            known: Checkpoint::default(),
            opened_at: 0,
            window: Vec::new(),
            next_seq: 1,
            commits: 0,
            proof: 0,
            serial_until: 0,
            covered: None,
        };
        Self {
            time: 0,
            log: BTreeMap::new(),
            checkpoint: Checkpoint::default(),
            writers: vec![writer; bounds.writers],
            late: Vec::new(),
            late_left: bounds.late,
            losses_left: bounds.losses,
            acked: Vec::new(),
        }
    }

    /// What must hold always: the log has no gap and no repeat, holds all that was acked, and every
    /// writer's knowledge is a prefix of it.
    pub(crate) fn check(&self) -> Result<(), String> {
        let log = self.recover(self.checkpoint.clone());
        for (place, item) in log.items.iter().enumerate() {
            if usize::from(item.1) != place {
                return Err(format!("item {item:?} stands at place {place} of {:?}", log.items));
            }
        }
        for item in &self.acked {
            if log.items.get(usize::from(item.1)) != Some(item) {
                return Err(format!("acked {item:?} is not in {:?}", log.items));
            }
        }
        for (name, writer) in self.writers.iter().enumerate() {
            if writer.phase == Phase::Open && !log.items.starts_with(&writer.known.items) {
                return Err(format!("writer {name} knows what is not in {:?}", log.items));
            }
        }
        Ok(())
    }

    /// What a newcomer reads: live objects without a gap, from the checkpoint on.
    fn recover(&self, from: Checkpoint) -> Checkpoint {
        let mut known = from;
        while let Some(object) = self.log.get(&(known.seq + 1)) {
            known.seq += 1;
            if object.epoch >= known.epoch {
                known.epoch = object.epoch;
                known.items.extend(object.item);
            }
        }
        known
    }

    pub(crate) fn steps(&self, bounds: Bounds, mutant: Mutant) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.time < bounds.time {
            let mut next = self.clone();
            next.time += 1;
            steps.push(("the clock ticks".to_owned(), Ok(next)));
        }
        for index in 0..self.late.len() {
            let mut next = self.clone();
            let (seq, object) = next.late.remove(index);
            next.log.entry(seq).or_insert(object);
            steps.push((format!("a late request for seq {seq} arrives"), Ok(next)));
        }
        for name in 0..self.writers.len() {
            self.opening(name, mutant, &mut steps);
            self.sending(name, bounds, mutant, &mut steps);
            self.answers(name, mutant, &mut steps);
            self.acks(name, mutant, &mut steps);
            if bounds.deletes {
                self.forgetting(name, mutant, &mut steps);
            }
        }
        steps
    }

    fn with(&self, name: usize, change: impl FnOnce(&mut Writer)) -> Self {
        let mut next = self.clone();
        change(&mut next.writers[name]);
        next
    }

    fn opening(&self, name: usize, mutant: Mutant, steps: &mut Vec<Step>) {
        let writer = &self.writers[name];
        match writer.phase {
            // Writers come in the order of their names: others would be the same world.
            Phase::Idle if name == 0 || self.writers[name - 1].phase != Phase::Idle => {
                let next = self.with(name, |writer| {
                    writer.phase = Phase::Opening;
                    writer.known = self.checkpoint.clone();
                    writer.opened_at = self.time;
                    writer.window.clear();
                });
                steps.push((format!("writer {name} reads the checkpoint"), Ok(next)));
            }
            Phase::Opening => {
                let known = self.recover(writer.known.clone());
                let mut seq = known.seq + 1;
                if mutant == Mutant::FencesBehindHole {
                    seq = seq.max(self.log.keys().next_back().map_or(0, |last| last + 1));
                }
                let epoch = known.epoch + u8::from(mutant != Mutant::KeepsEpoch || name == 0);
                let next = self.with(name, |writer| {
                    writer.phase = Phase::Fencing;
                    writer.epoch = epoch;
                    writer.known = known;
                    let object = Object { epoch, writer: name as u8, item: None };
                    writer.window =
                        vec![Slot { seq, object, sent_at: self.time, answer: Answer::Sent }];
                });
                steps.push((format!("writer {name} reads the log, fences at {seq}"), Ok(next)));
            }
            _ => {}
        }
    }

    /// The end of an opening: its fence stands.
    fn fenced(&self, name: usize, slot: Slot, depth: u8, mutant: Mutant) -> Self {
        let late = self.time - self.writers[name].opened_at > STALL_LIMIT;
        self.with(name, |writer| {
            writer.window.clear();
            if late && mutant != Mutant::OpensLate {
                writer.phase = Phase::Idle;
                return;
            }
            writer.phase = Phase::Open;
            writer.known.seq = slot.seq;
            writer.known.epoch = writer.epoch;
            writer.next_seq = slot.seq + 1;
            writer.proof = slot.sent_at;
            let serial = slot.seq + depth - 1;
            writer.serial_until = if mutant == Mutant::PipelinesAtOnce { 0 } else { serial };
        })
    }

    fn sending(&self, name: usize, bounds: Bounds, mutant: Mutant, steps: &mut Vec<Step>) {
        let writer = &self.writers[name];
        if let (Phase::Fencing, [slot]) = (writer.phase, writer.window.as_slice())
            && slot.answer == Answer::Committed
        {
            let next = self.fenced(name, *slot, bounds.depth, mutant);
            steps.push((format!("writer {name} has its fence"), Ok(next)));
        }
        // Where a dead object may stand, a commit may have to move: nothing may be behind it.
        let oldest = writer.window.first().map_or(writer.next_seq, |slot| slot.seq);
        let serial = oldest <= writer.serial_until && mutant != Mutant::PipelinesTooSoon;
        let too_soon = writer.next_seq <= writer.serial_until;
        let depth = if serial || too_soon { 1 } else { bounds.depth };
        let room = writer.window.len() < usize::from(depth) && writer.commits < bounds.commits;
        if writer.phase == Phase::Open && room {
            let next = self.with(name, |writer| {
                let waiting = writer.window.iter().filter(|slot| slot.object.item.is_some());
                let place = writer.known.items.len() + waiting.count();
                let item = Some((name as u8, place as u8));
                let object = Object { epoch: writer.epoch, writer: name as u8, item };
                let (seq, sent_at) = (writer.next_seq, self.time);
                writer.window.push(Slot { seq, object, sent_at, answer: Answer::Sent });
                writer.next_seq += 1;
                writer.commits += 1;
            });
            steps.push((format!("writer {name} sends seq {}", writer.next_seq), Ok(next)));
        }
    }

    fn answers(&self, name: usize, mutant: Mutant, steps: &mut Vec<Step>) {
        if self.writers[name].phase == Phase::Fenced {
            return;
        }
        for (index, slot) in self.writers[name].window.iter().enumerate() {
            let what = format!("writer {name}, seq {}", slot.seq);
            match slot.answer {
                Answer::Sent => self.delivery((name, index), *slot, mutant, steps),
                Answer::Lost => {
                    let next = self.read_back(name, index, *slot, mutant);
                    steps.push((format!("{what}: reads back"), next));
                }
                Answer::Committed => {}
            }
        }
    }

    fn delivery(
        &self,
        (name, index): (usize, usize),
        slot: Slot,
        mutant: Mutant,
        steps: &mut Vec<Step>,
    ) {
        let what = format!("writer {name}, seq {}", slot.seq);
        let absent = !self.log.contains_key(&slot.seq);
        let mut applied = self.clone();
        applied.log.entry(slot.seq).or_insert(slot.object);
        let answer = match absent {
            true => Answer::Committed,
            false if mutant == Mutant::TrustsExisting => Answer::Committed,
            false => Answer::Lost,
        };
        let answered = applied.with(name, |writer| writer.window[index].answer = answer);
        steps.push((format!("{what}: put and answered, absent: {absent}"), Ok(answered)));
        if self.losses_left > 0 {
            applied.losses_left -= 1;
            let lost = applied.with(name, |writer| writer.window[index].answer = Answer::Lost);
            steps.push((format!("{what}: put, the answer is lost"), Ok(lost)));
            let mut dropped = self.clone();
            dropped.losses_left -= 1;
            let dropped = dropped.with(name, |writer| writer.window[index].answer = Answer::Lost);
            steps.push((format!("{what}: the request is lost"), Ok(dropped)));
        }
        if self.late_left > 0 {
            let mut late = self.clone();
            late.late_left -= 1;
            late.late.push((slot.seq, slot.object));
            let late = late.with(name, |writer| writer.window[index].answer = Answer::Lost);
            steps.push((format!("{what}: given up, still under way"), Ok(late)));
        }
    }

    /// After any error: look what stands there.
    fn read_back(
        &self,
        name: usize,
        index: usize,
        slot: Slot,
        mutant: Mutant,
    ) -> Result<Self, String> {
        let opening = self.writers[name].phase == Phase::Fencing;
        let next = match self.log.get(&slot.seq) {
            Some(found) if *found == slot.object && mutant != Mutant::SendsAgainElsewhere => {
                self.with(name, |writer| writer.window[index].answer = Answer::Committed)
            }
            None => self.with(name, |writer| writer.window[index].answer = Answer::Sent),
            Some(_) if opening && mutant == Mutant::DoesNotReadAgain => self.with(name, |writer| {
                writer.window[index].seq += 1;
                writer.window[index].answer = Answer::Sent;
            }),
            Some(_) if opening => self.with(name, |writer| {
                writer.phase = Phase::Idle;
                writer.window.clear();
            }),
            Some(found) if found.epoch > slot.object.epoch => self.with(name, |writer| {
                writer.phase = Phase::Fenced;
                writer.window.clear();
            }),
            Some(found) if found.epoch < slot.object.epoch || *found == slot.object => {
                self.with(name, |writer| {
                    let seq = writer.next_seq.max(slot.seq + 1);
                    writer.window[index].seq = seq;
                    writer.window[index].answer = Answer::Sent;
                    writer.next_seq = seq + 1;
                })
            }
            Some(found) => return Err(format!("met {found:?} of the same epoch")),
        };
        Ok(next)
    }

    fn acks(&self, name: usize, mutant: Mutant, steps: &mut Vec<Step>) {
        let writer = &self.writers[name];
        if writer.phase != Phase::Open {
            return;
        }
        let ready = match mutant {
            Mutant::AcksOutOfOrder => {
                writer.window.iter().position(|slot| slot.answer == Answer::Committed)
            }
            _ => writer.window.first().filter(|slot| slot.answer == Answer::Committed).map(|_| 0),
        };
        let Some(index) = ready else { return };
        let slot = writer.window[index];
        let since = if mutant == Mutant::MeasuresFromSend { slot.sent_at } else { writer.proof };
        if self.time - since <= STALL_LIMIT || mutant == Mutant::NeverVerifies {
            let mut next = self.with(name, |writer| {
                writer.window.remove(index);
                writer.known.seq = slot.seq;
                writer.known.items.extend(slot.object.item);
                writer.proof = writer.proof.max(slot.sent_at);
            });
            next.acked.extend(slot.object.item);
            steps.push((format!("writer {name} acks seq {}", slot.seq), Ok(next)));
            return;
        }
        let fenced = self.log.values().any(|object| object.epoch > writer.epoch);
        let next = self.with(name, |writer| {
            writer.proof = self.time;
            if fenced {
                writer.phase = Phase::Fenced;
                writer.window.clear();
            }
        });
        steps.push((format!("writer {name} verifies, fenced: {fenced}"), Ok(next)));
    }

    fn forgetting(&self, name: usize, mutant: Mutant, steps: &mut Vec<Step>) {
        let writer = &self.writers[name];
        if writer.phase != Phase::Open {
            return;
        }
        if writer.covered.is_none_or(|(seq, _)| seq < writer.known.seq) {
            let mut next = self.with(name, |writer| {
                writer.covered = Some((writer.known.seq, self.time));
            });
            if writer.known.seq > self.checkpoint.seq {
                next.checkpoint = writer.known.clone();
            }
            steps.push((format!("writer {name} writes a checkpoint"), Ok(next)));
        }
        let Some((covered, since)) = writer.covered else { return };
        let grace = if mutant == Mutant::DeletesEarly { STALL_LIMIT } else { GRACE };
        if self.time - since < grace {
            return;
        }
        // The lowest first: what else stands below the checkpoint makes no difference to anyone.
        if let Some(seq) = self.log.keys().copied().find(|seq| *seq <= covered)
            && (seq < writer.known.seq || mutant == Mutant::DeletesNewest)
        {
            let mut next = self.clone();
            next.log.remove(&seq);
            steps.push((format!("writer {name} deletes seq {seq}"), Ok(next)));
        }
    }
}
