//! The whole log on a simulated disk, from one seed: appends, acks, commits, trims, power cuts also
//! during recovery, failed syncs, a full disk, flipped bits and lost files; after each of them what
//! was promised is kept, and in the end the log goes on.
//!
//! `MSGLOG_SEEDS=100000` runs that many seeds, `MSGLOG_SEED=42` one of them, `MSGLOG_FIRST=1000`
//! begins there. A seed that fails is run again with ever fewer steps; what is printed then,
//! `MSGLOG_SEED=42 MSGLOG_STEPS=3,17`, does only these.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use common::harm::{Harm, Mode};
use common::{shrink, small};
use msglog_core::store::{MessageStore, OpenOptions, ReadLimit};
use msglog_core::{AppendOptions, Durability, Log, MsgLog, Msn, Topic, TopicConfig};
use msglog_fs::FsStore;
use msglog_fs::io::SimFs;

/// More steps than a run can have: five lives of up to 23 calls, each with its own and its end.
const STEPS_MAX: u64 = 5 * 26;

/// A seeded sequence of choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// Everything that the log has answered.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// By MSN, the payloads that were given it and may be there.
    given: BTreeMap<u64, BTreeSet<u64>>,
    /// Everything below was acked at `Sync`.
    acked: u64,
    /// The first MSN may be up to here.
    trimmed: u64,
    /// The last commit that was answered, and the highest that was tried.
    committed: u64,
    commit_tried: u64,
    payloads: u64,
    /// The newest MSN whose batch proves that all before it was synced.
    proof: u64,
    /// The damage that was done, once.
    harm: Option<Harm>,
    /// It was found at the very end, and what cannot be told from a torn tail was cut.
    cut: bool,
}

struct Simulation {
    disk: SimFs,
    dice: Dice,
    seed: u64,
    /// The number of the next step, and which steps are done; all where it does not say.
    step: u64,
    steps: Option<BTreeSet<u64>>,
    promises: Promises,
    level: Durability,
    crashes: u64,
    /// A digest of all that was seen, to tell two runs apart.
    digest: u64,
}

impl Simulation {
    fn new(seed: u64, steps: Option<BTreeSet<u64>>) -> Self {
        let mut dice = Dice(seed);
        let level = if dice.roll(3) == 0 { Durability::Os } else { Durability::Sync };
        let (disk, promises) = (SimFs::new(), Promises::default());
        Self { disk, dice, seed, step: 0, steps, promises, level, crashes: 0, digest: seed }
    }

    /// Begins a step, whose choices depend on its number alone; answers whether it is done.
    fn begin_step(&mut self) -> bool {
        self.step += 1;
        self.dice = Dice(self.seed ^ self.step.wrapping_mul(0xD134_2543_DE82_EF95));
        self.steps.as_ref().is_none_or(|steps| steps.contains(&self.step))
    }

    fn note(&mut self, number: u64) {
        self.digest = Dice(self.digest ^ number).roll(u64::MAX);
    }

    async fn open(&mut self) -> msglog_core::Result<(Log, Topic, Arc<FsStore>)> {
        let mut options = small(2048);
        options.checkpoint_bytes = 2048;
        let store = FsStore::open_on(Arc::new(self.disk.clone()), "/store", options).await?;
        let store = Arc::new(store);
        let log = Log::builder().open(Arc::clone(&store) as Arc<dyn MessageStore>).await?;
        let name = msglog_core::TopicName::parse("orders")?;
        let config = TopicConfig::default().with_durability(self.level);
        match log.create_topic(&name, config).await {
            Err(error) if error.kind() != msglog_core::ErrorKind::AlreadyExists => Err(error)?,
            _ => {}
        }
        let topic = log.topic("orders").await?;
        Ok((log, topic, store))
    }

    /// A life of the process; `None` when something failed in it.
    async fn live(&mut self) -> Option<()> {
        let (calls, closes) = (self.dice.roll(24), self.dice.roll(3) == 0);
        let (log, topic, store) = self.open().await.ok()?;
        self.check(&topic, &store).await;
        drop(store);
        for _ in 0..calls {
            if !self.begin_step() {
                continue;
            }
            match self.dice.roll(12) {
                0 => self.trim(&topic).await?,
                1 | 2 => self.commit(&topic).await?,
                _ => self.append(&topic).await?,
            }
        }
        if closes {
            let end = topic.bounds(0).await.ok()?.next_msn.get();
            log.close().await.ok()?;
            self.promises.acked = self.promises.acked.max(end);
        }
        Some(())
    }

    /// Several appends at once, of which some are acked at `Sync`; what is acked is there for good.
    async fn append(&mut self, topic: &Topic) -> Option<()> {
        let mut acks = Vec::new();
        let acked = self.promises.acked;
        for _ in 0..1 + self.dice.roll(5) {
            self.promises.payloads += 1;
            let mut payload = format!("{} ", self.promises.payloads).into_bytes();
            payload.resize(payload.len() + usize::try_from(self.dice.roll(400)).unwrap(), b'x');
            let sync = self.dice.roll(2) == 0;
            let level = if sync { Durability::Sync } else { self.level };
            let options = AppendOptions::default().with_durability(level);
            let appended = topic.append_with(payload, options).await.ok()?;
            let msn = appended.msn().get();
            self.note(msn);
            // What had this MSN before was lost, or never there.
            let given = self.promises.given.entry(msn).or_default();
            given.insert(self.promises.payloads);
            acks.push((msn, level, appended.ack()));
        }
        for (msn, level, ack) in acks {
            let msns = ack.await.ok()?;
            assert_eq!(msns.get(), msn);
            if msn == acked {
                // Written when all before it was synced, and so it says.
                self.promises.proof = msn;
            }
            if level == Durability::Sync {
                self.promises.acked = self.promises.acked.max(msn + 1);
            }
        }
        Some(())
    }

    async fn trim(&mut self, topic: &Topic) -> Option<()> {
        let end = topic.bounds(0).await.ok()?.next_msn.get();
        let before = self.dice.roll(end + 1);
        self.promises.trimmed = self.promises.trimmed.max(before);
        topic.trim(0, Msn::new(before)).await.ok().map(drop)
    }

    async fn commit(&mut self, topic: &Topic) -> Option<()> {
        let end = topic.bounds(0).await.ok()?.next_msn.get();
        let msn = end - self.dice.roll(end.min(3) + 1);
        self.promises.commit_tried = self.promises.commit_tried.max(msn);
        topic.consumer("reader").ok()?.commit(0, Msn::new(msn)).await.ok()?;
        self.promises.committed = self.promises.committed.max(msn);
        Some(())
    }

    /// What a log that was just opened holds keeps every promise; all of it is durable.
    async fn check(&mut self, topic: &Topic, store: &FsStore) {
        let found = self.read_all(topic).await;
        let bounds = topic.bounds(0).await.unwrap();
        let (first, next) = (bounds.first_msn.get(), bounds.next_msn.get());
        self.note(next);
        self.find_harm(&found, next);
        let promises = &self.promises;
        assert!(next >= promises.acked, "ends at {next}: {promises:?}");
        assert!(first <= promises.trimmed, "begins at {first}: {promises:?}");
        let lost = promises.harm.as_ref().map_or(0..0, |harm| harm.msns.clone());
        let expected = (first..next).filter(|msn| !lost.contains(msn));
        assert!(found.keys().copied().eq(expected), "{first}..{next} has {found:?} {promises:?}");
        let partition = store.open(&common::name(), OpenOptions::existing()).await.unwrap();
        let holes = partition.holes().into_iter().map(|hole| hole.start.get()..hole.end.get());
        let holes: Vec<_> = holes.filter(|hole| hole.end > first).collect();
        let expected: Vec<_> = Some(lost).into_iter().filter(|lost| lost.end > first).collect();
        assert_eq!(holes, expected, "what is lost is reported, and nothing else: {promises:?}");
        let committed = topic.consumer("reader").unwrap().committed(0).await.unwrap();
        let committed = committed.map_or(0, Msn::get);
        assert!(committed >= promises.committed, "commit {committed} is older: {promises:?}");
        assert!(committed <= promises.commit_tried, "commit {committed}: {promises:?}");
        let fits = promises.cut || committed <= next;
        assert!(fits, "commit {committed} is beyond the end {next}: {promises:?}");
        self.promises.given =
            found.into_iter().map(|(msn, number)| (msn, BTreeSet::from([number]))).collect();
        self.promises.acked = next;
        if self.promises.proof >= next {
            // It was lost, and proves nothing any more.
            self.promises.proof = 0;
        }
        self.promises.committed = committed;
        self.promises.commit_tried = self.promises.commit_tried.max(committed);
    }

    /// Every record that is there, each one that was given its MSN.
    async fn read_all(&self, topic: &Topic) -> BTreeMap<u64, u64> {
        let (promises, mut found, mut from) = (&self.promises, BTreeMap::new(), Msn::ZERO);
        loop {
            let page = topic.read(0, from, ReadLimit::bytes(2000)).await.unwrap();
            for record in &page.records {
                let payload = record.payload.as_ref().unwrap();
                let text = std::str::from_utf8(payload).unwrap();
                let number = text.split(' ').next().unwrap().parse::<u64>().unwrap();
                let msn = record.msn.get();
                let given = promises.given.get(&msn).is_some_and(|given| given.contains(&number));
                assert!(given, "MSN {msn} holds payload {number}: {promises:?}");
                assert!(found.insert(msn, number).is_none(), "MSN {msn} twice");
            }
            if page.next_msn <= from {
                return found;
            }
            from = page.next_msn;
        }
    }

    /// After damage: what of it may be missing, now that it was looked for.
    fn find_harm(&mut self, found: &BTreeMap<u64, u64>, next: u64) {
        let Some(harm) = &mut self.promises.harm else { return };
        if harm.is_found {
            return;
        }
        harm.is_found = true;
        let survives = found.contains_key(&harm.msns.start);
        if harm.may_be_torn && next == harm.msns.start && self.promises.proof < harm.msns.end {
            // Nothing proves that this was synced: it is a torn tail.
            self.promises.acked = next;
            self.promises.cut = true;
            harm.msns = 0..0;
        } else if survives {
            harm.msns = 0..0;
        }
    }

    /// Damages the disk of a store that nobody has open, once.
    fn harm(&mut self, closed: bool) {
        if self.promises.harm.is_some() || self.dice.roll(3) > 0 {
            return;
        }
        let mode = if closed { Mode::Closed } else { Mode::Killed };
        let (dice, disk) = (&mut self.dice, &self.disk);
        self.promises.harm = Harm::to(disk, mode, &mut |sides| dice.roll(sides));
    }

    /// Lives that end in power cuts, ends of the process, failed syncs, a full disk, damage.
    async fn run(&mut self) {
        for _ in 0..5 {
            if !self.begin_step() {
                continue;
            }
            let power = self.dice.roll(4) > 0;
            if power {
                let changes = if self.dice.roll(3) == 0 { 25 } else { 250 };
                self.disk.cut_power_after(self.dice.roll(changes));
            }
            match self.dice.roll(6) {
                0 => self.disk.fail_sync_after(self.dice.roll(30)),
                1 => self.disk.set_room(Some(self.disk.used() + self.dice.roll(6000))),
                _ => {}
            }
            let crash = self.dice.roll(u64::MAX);
            let lived = self.live().await;
            self.disk.set_syncs_fail(false);
            self.disk.set_room(None);
            if power {
                self.disk.crash(crash);
                self.crashes += 1;
            }
            if self.begin_step() {
                self.settle_and_harm(lived.is_some() && !power).await;
            }
        }
        // Once nothing fails any more, the log takes appends and keeps them.
        let (log, topic, store) = self.open().await.unwrap();
        self.check(&topic, &store).await;
        drop(store);
        self.append(&topic).await.unwrap();
        log.close().await.unwrap();
    }

    /// Damages what a life has left: as it is where the process was killed, else closed first.
    async fn settle_and_harm(&mut self, killed: bool) {
        if killed && self.dice.roll(2) == 0 {
            return self.harm(false);
        }
        if self.dice.roll(3) > 0 {
            return;
        }
        let (log, topic, store) = self.open().await.unwrap();
        self.check(&topic, &store).await;
        drop(store);
        log.close().await.unwrap();
        drop((log, topic));
        self.harm(true);
    }
}

/// One seed from beginning to end: the digest of what was seen, and how many crashes there were.
fn simulate(seed: u64, steps: Option<BTreeSet<u64>>) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let mut simulation = Simulation::new(seed, steps);
    runtime.block_on(simulation.run());
    (simulation.digest, simulation.crashes)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn what_the_log_promised_survives_whatever_happens() {
    let first = number("MSGLOG_FIRST").unwrap_or(0);
    let seeds = match number("MSGLOG_SEED") {
        Some(seed) => seed..seed + 1,
        None => first..first + number("MSGLOG_SEEDS").unwrap_or(300),
    };
    let only = std::env::var("MSGLOG_STEPS").ok().map(|steps| shrink::parse(&steps));
    let (started, mut crashes) = (Instant::now(), 0);
    for seed in seeds.clone() {
        let run = |steps: Option<&BTreeSet<u64>>| simulate(seed, steps.cloned()).1;
        crashes += match &only {
            Some(steps) => run(Some(steps)),
            None => shrink::run(seed, STEPS_MAX, run),
        };
    }
    let seconds = started.elapsed().as_secs_f64();
    let count = seeds.end - seeds.start;
    println!("seeds {seeds:?}: {count} runs, {crashes} power cuts and recoveries, {seconds:.1} s");
}

#[test]
fn same_seed_sees_the_same() {
    for seed in 0..30 {
        assert_eq!(simulate(seed, None), simulate(seed, None), "seed {seed}");
    }
}
