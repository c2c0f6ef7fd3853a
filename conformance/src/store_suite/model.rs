//! Random histories, each compared step by step with a model, shrunk to the shortest that differs.

use msglog_core::store::{Bounds, Expected, ReadLimit, Survives, Version};
use msglog_core::{ErrorKind, Msn, RecordBatch};
use proptest::prelude::{Strategy, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Handle;

use crate::case::{MULTI, cases};
use crate::cx::{Opened, during, key, read_all};
use crate::sample::{check_same, timestamp};
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

/// How many histories are played.
const HISTORIES: usize = 48;
/// How many more are played to shorten one that fails.
const SHRINKS_MAX: usize = 200;

cases! { "model":
    random_histories_match_the_model { runtimes: MULTI, seconds_max: 120 };
}

/// One step of a history; numbers are taken modulo what makes sense.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(usize),
    Sync,
    Read(u64, usize),
    Trim(u64),
    Truncate(u64),
    Find(u64),
    Save(u8),
    SaveStale(u8),
    Discard(u8),
    Close,
    Drop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_usize..5).prop_map(Step::Append),
        2 => proptest::strategy::Just(Step::Sync),
        4 => (0_u64..80, 0_usize..4_000).prop_map(|(from, bytes)| Step::Read(from, bytes)),
        2 => (0_u64..80).prop_map(Step::Trim),
        1 => (0_u64..80).prop_map(Step::Truncate),
        1 => (0_u64..80).prop_map(Step::Find),
        2 => (0_u8..3).prop_map(Step::Save),
        1 => (0_u8..3).prop_map(Step::SaveStale),
        1 => (0_u8..3).prop_map(Step::Discard),
        2 => proptest::strategy::Just(Step::Close),
        2 => proptest::strategy::Just(Step::Drop),
    ];
    proptest::collection::vec(step, 1..40)
}

/// What must be there: the batches, which of them are safe, and three documents.
#[derive(Default)]
struct Model {
    batches: Vec<RecordBatch>,
    next: Msn,
    durable: Msn,
    documents: [Option<(Vec<u8>, Version)>; 3],
    saves: u8,
}

/// Whatever the history, every answer is that of the model; what fails is shrunk and shown.
pub async fn random_histories_match_the_model(cx: Cx) -> CaseResult {
    let runtime = Handle::current();
    // proptest's trees stay on one thread, which waits for each history to be played.
    let explored = tokio::task::spawn_blocking(move || explore(&cx, &runtime)).await;
    explored.map_err(|cause| Failure::new(format!("a history crashed: {cause}")))?
}

fn explore(cx: &Cx, runtime: &Handle) -> CaseResult {
    let mut seed = [0_u8; 32];
    for (byte, number) in seed.iter_mut().zip(cx.seed().to_le_bytes()) {
        *byte = number;
    }
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for _ in 0..HISTORIES {
        let tree = steps().new_tree(&mut runner);
        let mut tree = tree.map_err(|why| Failure::new(format!("no history: {why}")))?;
        let play = |steps: &[Step]| runtime.block_on(play(cx, steps));
        if let Err(failure) = play(&tree.current()) {
            return Err(shrunk(&mut tree, failure, play));
        }
    }
    Ok(())
}

/// The failure of the shortest history that was found to fail, with that history.
fn shrunk(
    tree: &mut impl ValueTree<Value = Vec<Step>>,
    first: Failure,
    play: impl Fn(&[Step]) -> CaseResult,
) -> Failure {
    let mut shortest = (tree.current(), first);
    let mut smaller = tree.simplify();
    for _ in 0..SHRINKS_MAX {
        if !smaller {
            break;
        }
        smaller = match play(&tree.current()) {
            Err(failure) => {
                shortest = (tree.current(), failure);
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
    }
    let (steps, failure) = shortest;
    failure.during(format!("history {steps:?}"))
}

async fn play(cx: &Cx, steps: &[Step]) -> CaseResult {
    let cx = cx.elsewhere().await?;
    let mut opened = cx.open_partition().await?;
    let mut model = Model::default();
    let reopens = cx.capabilities().sync_survives >= Survives::Process;
    for (number, step) in steps.iter().enumerate() {
        let what = format!("step {number}, {step:?}");
        opened = match step {
            Step::Close | Step::Drop if !reopens => opened,
            Step::Close => {
                model.durable = model.next;
                let opened = cx.reopen(opened).await.map_err(|failure| failure.during(&what))?;
                model.after_reopen(&opened).await.map_err(|failure| failure.during(&what))?;
                opened
            }
            Step::Drop => {
                let opened = cx.reopen_dropped(opened).await;
                let opened = opened.map_err(|failure| failure.during(&what))?;
                model.after_reopen(&opened).await.map_err(|failure| failure.during(&what))?;
                opened
            }
            step => {
                model.step(&cx, &opened, *step).await.map_err(|failure| failure.during(&what))?;
                opened
            }
        };
        let bounds = opened.partition.bounds();
        ensure_eq!(bounds.next_msn, model.next, "{what}: next_msn");
    }
    let found = read_all(&opened.partition, Msn::ZERO).await?;
    check_same(&found, &model.batches, "at the end")?;
    drop(opened);
    cx.place().destroy().await?;
    Ok(())
}

impl Model {
    async fn step(&mut self, cx: &Cx, opened: &Opened, step: Step) -> CaseResult {
        match step {
            Step::Append(count) => self.append(cx, opened, count).await,
            Step::Sync => {
                ensure_eq!(opened.partition.sync().await?, self.next, "what sync answered");
                self.durable = self.next;
                Ok(())
            }
            Step::Read(from, bytes) => self.read(opened, Msn::new(from), bytes).await,
            Step::Trim(before) => self.trim(opened, Msn::new(before)).await,
            Step::Truncate(from) if cx.capabilities().truncate => {
                self.truncate(opened, Msn::new(from)).await
            }
            Step::Find(msn) if cx.capabilities().find => self.find(opened, Msn::new(msn)).await,
            Step::Save(which) => self.save(opened, which, false).await,
            Step::SaveStale(which) => self.save(opened, which, true).await,
            Step::Discard(which) => self.discard(opened, which).await,
            Step::Truncate(_) | Step::Find(_) | Step::Close | Step::Drop => Ok(()),
        }
    }

    async fn append(&mut self, cx: &Cx, opened: &Opened, count: usize) -> CaseResult {
        let batches = cx.samples().run(self.next, count)?;
        let answer = opened.partition.append(batches.clone()).await;
        answer.map_err(|error| during("append", error))?;
        self.next = batches.last().map_or(self.next, RecordBatch::next_msn);
        self.batches.extend(batches);
        Ok(())
    }

    async fn read(&self, opened: &Opened, from: Msn, bytes: usize) -> CaseResult {
        let found = opened.partition.read(from, ReadLimit::bytes(bytes)).await?;
        let mut wanted: Vec<RecordBatch> =
            self.batches.iter().filter(|batch| batch.next_msn() > from).cloned().collect();
        ensure_eq!(found.is_empty(), wanted.is_empty(), "whether a read from {from} is empty");
        wanted.truncate(found.len());
        check_same(&found, &wanted, &format!("read from {from}"))
    }

    /// A store may keep more than was asked to be dropped; the model then keeps the same.
    async fn trim(&mut self, opened: &Opened, before: Msn) -> CaseResult {
        let first = opened.partition.trim(before).await?;
        let least = self.batches.iter().find(|batch| batch.next_msn() > before);
        let least = least.map_or(self.next, RecordBatch::base_msn);
        let held = self.batches.first().map_or(self.next, RecordBatch::base_msn);
        ensure!(first <= least, "trim before {before} dropped up to {first}");
        ensure!(first >= held, "trim before {before} answered {first}, below {held}");
        self.batches.retain(|batch| batch.base_msn() >= first);
        Ok(())
    }

    async fn truncate(&mut self, opened: &Opened, from: Msn) -> CaseResult {
        let next = opened.partition.truncate(from).await?;
        let cut = self.batches.iter().find(|batch| batch.next_msn() > from);
        let wanted = cut.map_or(self.next, RecordBatch::base_msn);
        ensure_eq!(next, wanted, "what truncate from {from} answered");
        self.batches.retain(|batch| batch.next_msn() <= next);
        (self.next, self.durable) = (next, self.durable.min(next));
        // Until it is synced, a crash may undo it; the histories drop, and so sync first.
        opened.partition.sync().await?;
        self.durable = next;
        Ok(())
    }

    async fn find(&self, opened: &Opened, msn: Msn) -> CaseResult {
        let time = timestamp(msn);
        let holder = self.batches.iter().find(|batch| batch.max_timestamp() >= time);
        let wanted = holder.map_or(self.next, RecordBatch::base_msn);
        ensure_eq!(opened.partition.find(time).await?, wanted, "find the time of {msn}");
        Ok(())
    }

    async fn save(&mut self, opened: &Opened, which: u8, stale: bool) -> CaseResult {
        let name = key(&format!("documents/{which}"))?;
        let Some(slot) = self.documents.get_mut(usize::from(which)) else { return Ok(()) };
        let expected = match (&*slot, stale) {
            (Some((_, version)), false) => Expected::Version(*version),
            (Some(_), true) => Expected::Absent,
            (None, false) => Expected::Absent,
            (None, true) => Expected::Version(Version::new(u64::MAX)),
        };
        self.saves = self.saves.wrapping_add(1);
        let value = vec![self.saves; usize::from(self.saves)];
        let answer = opened.store.save(&name, value.clone().into(), expected).await;
        if stale {
            return crate::cx::check_refused(answer, ErrorKind::Conflict, "a stale save");
        }
        *slot = Some((value, answer.map_err(|error| during("save", error))?));
        Ok(())
    }

    async fn discard(&mut self, opened: &Opened, which: u8) -> CaseResult {
        let name = key(&format!("documents/{which}"))?;
        let Some(slot) = self.documents.get_mut(usize::from(which)) else { return Ok(()) };
        let there = opened.store.discard(&name, Expected::Any).await?;
        ensure_eq!(there, slot.take().is_some(), "what discard answered");
        Ok(())
    }

    /// What was durable is there, and perhaps more of what was appended; the model goes on from it.
    async fn after_reopen(&mut self, opened: &Opened) -> CaseResult {
        let found = read_all(&opened.partition, Msn::ZERO).await?;
        let bounds: Bounds = opened.partition.bounds();
        ensure!(bounds.next_msn >= self.durable, "{} durable, {bounds:?} there", self.durable);
        ensure!(bounds.next_msn <= self.next, "{} appended, {bounds:?} there", self.next);
        self.batches.retain(|batch| batch.next_msn() <= bounds.next_msn);
        check_same(&found, &self.batches, "after reopen")?;
        (self.next, self.durable) = (bounds.next_msn, bounds.next_msn);
        for (which, document) in self.documents.iter().enumerate() {
            let found = opened.store.load(&key(&format!("documents/{which}"))?).await?;
            let found = found.map(|found| (found.value.to_vec(), found.version));
            ensure_eq!(&found, document, "document {which} after reopen");
        }
        Ok(())
    }
}
