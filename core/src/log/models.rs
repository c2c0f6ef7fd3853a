//! Models: the real queue, acks, appender and partition, run in every order of steps that the model
//! checker tries. Each ends; a waiter that nobody wakes is a deadlock, which the checker reports.
//!
//! `scripts/models.sh` runs them, and shows with a few broken versions that they find what they
//! should. Random schedules, and some that change over as rarely as most errors need.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use shuttle::future::{block_on, spawn, yield_now};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner, thread};
use tokio::sync::Semaphore;

use super::ack::{Ack, AckAt, Appended, Progress};
use super::cache::BatchCache;
use super::config::{AppendOptions, LogBuilder};
use super::hooks::Hooks;
use super::in_flight::Admitted;
use super::latest::Budget;
use super::partition::{Partition, Shared};
use super::queue::{Accepted, Queue, Wake};
use super::sync::Mutex;
use super::topic_config::TopicConfig;
use crate::store::{
    Bounds, Capabilities, Document, DocumentKey, Expected, MessageStore, OpenOptions,
    PartitionStore, ReadLimit, StoreInfo, Usage, Version,
};
use crate::{
    Effect, Error, ErrorKind, MessageRef, Msn, RecordBatch, Result, Timestamp, TopicPartition,
};

/// How many places change over in a schedule of the second kind.
const CHANGES: usize = 3;

/// Runs a model in many orders: half of them random, half with few changes.
fn check(model: impl Fn() + Send + Sync + Copy + 'static) {
    let runs = std::env::var("MSGLOG_SCHEDULES").map_or(500, |text| text.parse().unwrap());
    run(RandomScheduler::new(runs), model);
    run(PctScheduler::new(CHANGES, runs), model);
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(100_000);
    Runner::new(scheduler, config).run(model);
}

/// A store that keeps nothing but how far it is, and lets others run within each call.
#[derive(Debug)]
struct ModelStore {
    bounds: Mutex<Bounds>,
    /// Syncs until one fails.
    syncs_left: Mutex<Option<u64>>,
}

impl ModelStore {
    fn new() -> Arc<Self> {
        let zero = Bounds { first_msn: Msn::ZERO, next_msn: Msn::ZERO, durable_msn: Msn::ZERO };
        Arc::new(Self { bounds: Mutex::new(zero), syncs_left: Mutex::new(None) })
    }
}

#[async_trait]
impl PartitionStore for ModelStore {
    fn bounds(&self) -> Bounds {
        *self.bounds.lock().unwrap()
    }

    async fn append(&self, batches: Vec<RecordBatch>) -> Result<()> {
        for batch in batches {
            yield_now().await;
            let mut bounds = self.bounds.lock().unwrap();
            assert_eq!(batch.base_msn(), bounds.next_msn, "each batch continues the last");
            bounds.next_msn = batch.next_msn();
        }
        Ok(())
    }

    async fn sync(&self) -> Result<Msn> {
        let covered = self.bounds().next_msn;
        yield_now().await;
        if let Some(left) = &mut *self.syncs_left.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| {
                Error::new(ErrorKind::Poisoned, "the sync failed").with_unknown_effect()
            })?;
        }
        self.bounds.lock().unwrap().durable_msn = covered;
        Ok(covered)
    }

    async fn read(&self, _: Msn, _: ReadLimit) -> Result<Vec<RecordBatch>> {
        Ok(Vec::new())
    }

    async fn trim(&self, _: Msn) -> Result<Msn> {
        Ok(Msn::ZERO)
    }

    async fn usage(&self) -> Result<Usage> {
        Ok(Usage::default())
    }
}

/// Documents, of which there are none.
#[derive(Debug)]
struct NoDocuments;

fn none<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "the models need no documents"))
}

#[async_trait]
impl MessageStore for NoDocuments {
    fn info(&self) -> StoreInfo {
        StoreInfo::new("none", "")
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn open(&self, _: &TopicPartition, _: OpenOptions) -> Result<Arc<dyn PartitionStore>> {
        none()
    }

    async fn partitions(&self) -> Result<Vec<TopicPartition>> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &TopicPartition) -> Result<bool> {
        Ok(false)
    }

    async fn load(&self, _: &DocumentKey) -> Result<Option<Document>> {
        Ok(None)
    }

    async fn save(&self, _: &DocumentKey, _: Bytes, _: Expected) -> Result<Version> {
        none()
    }

    async fn discard(&self, _: &DocumentKey, _: Expected) -> Result<bool> {
        Ok(false)
    }

    async fn documents(&self, _: &str) -> Result<Vec<DocumentKey>> {
        Ok(Vec::new())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn partition(store: &Arc<ModelStore>, in_flight_bytes_max: usize) -> Arc<Partition> {
    let options = LogBuilder { in_flight_bytes_max, ..LogBuilder::default() };
    let shared = Shared {
        in_flight: Arc::new(Semaphore::new(in_flight_bytes_max)),
        store_batch_bytes_max: 1 << 20,
        store_blocks: false,
        documents: Arc::new(NoDocuments),
        hooks: Arc::new(Hooks::of(&options)),
        latest_bytes: Arc::new(Budget::of(1 << 20)),
        cache: BatchCache::new(0, false),
    };
    let name = "orders-0".parse().unwrap();
    let store = Arc::clone(store) as Arc<dyn PartitionStore>;
    Partition::start(name, store, &Arc::new(options), &TopicConfig::default(), &shared)
}

async fn accept(partition: &Partition, payload: &[u8]) -> Result<Accepted> {
    partition.accept(&MessageRef::new(payload), &AppendOptions::default()).await
}

/// Appends, and leaves the writing to the appender.
async fn append_only(partition: &Partition, payload: &[u8]) -> Result<Appended> {
    accept(partition, payload).await.map(|accepted| partition.appended(accepted))
}

/// Appends and waits: what is acked is durable and visible.
async fn append(partition: &Partition, store: &ModelStore, here: bool) -> Result<Msn> {
    let accepted = accept(partition, b"x").await?;
    let appended = match here {
        true => partition.appended_here(accepted).await,
        false => partition.appended(accepted),
    };
    let msn = appended.msn();
    assert_eq!(appended.ack().await?, msn);
    assert!(store.bounds().durable_msn > msn, "{msn} is acked and not durable");
    assert!(partition.bounds().next_msn > msn, "{msn} is acked and readers do not see it");
    Ok(msn)
}

/// A producer of a thread of its own.
fn producer(
    partition: &Arc<Partition>,
    store: &Arc<ModelStore>,
    here: bool,
) -> thread::JoinHandle<Vec<Result<Msn>>> {
    let (partition, store) = (Arc::clone(partition), Arc::clone(store));
    thread::spawn(move || {
        block_on(async {
            let mut answers = Vec::new();
            for _ in 0..2 {
                answers.push(append(&partition, &store, here).await);
            }
            answers
        })
    })
}

fn answers(producers: impl IntoIterator<Item = thread::JoinHandle<Vec<Result<Msn>>>>) -> Vec<Msn> {
    let answers = producers.into_iter().flat_map(|producer| producer.join().unwrap());
    let mut msns: Vec<_> = answers.map(|answer| answer.unwrap()).collect();
    msns.sort_unstable();
    msns
}

fn msns(range: Range<u64>) -> Vec<Msn> {
    range.map(Msn::new).collect()
}

#[test]
fn group_commit_acks_every_append_once_it_is_durable_and_visible() {
    check(|| {
        let store = ModelStore::new();
        let partition = partition(&store, 1 << 20);
        let producers = [false, false].map(|here| producer(&partition, &store, here));
        assert_eq!(answers(producers), msns(0..4));
        block_on(partition.close()).unwrap();
    });
}

#[test]
fn append_that_writes_on_its_own_thread_leaves_nobody_behind() {
    check(|| {
        let store = ModelStore::new();
        let partition = partition(&store, 1 << 20);
        let producers = [true, true, false].map(|here| producer(&partition, &store, here));
        assert_eq!(answers(producers), msns(0..6));
        block_on(partition.close()).unwrap();
    });
}

#[test]
fn bytes_in_flight_come_back_to_those_who_wait_for_them() {
    check(|| {
        let store = ModelStore::new();
        // Room for about one message: each waits for the one before.
        let partition = partition(&store, 40);
        let producers = [false, true].map(|here| producer(&partition, &store, here));
        assert_eq!(answers(producers), msns(0..4));
        block_on(partition.close()).unwrap();
    });
}

#[test]
fn append_that_races_a_close_is_durable_or_refused() {
    check(|| {
        let store = ModelStore::new();
        let partition = partition(&store, 1 << 20);
        let appending = Arc::clone(&partition);
        let producer = thread::spawn(move || {
            let mut accepted = Vec::new();
            for _ in 0..2 {
                match block_on(append_only(&appending, b"x")) {
                    Ok(appended) => accepted.push(appended),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                }
            }
            for (appended, msn) in accepted.iter().zip(msns(0..2)) {
                assert_eq!(appended.msn(), msn);
            }
            let count = accepted.len() as u64;
            for appended in accepted {
                block_on(appended.ack()).expect("close keeps what was accepted");
            }
            count
        });
        block_on(partition.close()).unwrap();
        let accepted = producer.join().unwrap();
        assert_eq!(store.bounds().durable_msn, Msn::new(accepted));
    });
}

#[test]
fn dropping_the_partition_answers_who_waits_and_ends_the_appender() {
    check(|| {
        let store = ModelStore::new();
        let partition = partition(&store, 1 << 20);
        let appender = partition.take_appender().unwrap();
        let appended = block_on(append_only(&partition, b"x")).unwrap();
        let dropping = thread::spawn(move || drop(partition));
        match block_on(appended.ack()) {
            Ok(_) => assert_eq!(store.bounds().durable_msn, Msn::new(1)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
        dropping.join().unwrap();
        let _ = block_on(appender);
    });
}

#[test]
fn failed_sync_answers_all_who_wait_and_refuses_the_rest() {
    check(|| {
        let store = ModelStore::new();
        *store.syncs_left.lock().unwrap() = Some(1);
        let partition = partition(&store, 1 << 20);
        let producers = [false, true].map(|here| producer(&partition, &store, here));
        let mut acked = 0;
        for answer in producers.into_iter().flat_map(|producer| producer.join().unwrap()) {
            match answer {
                Ok(_) => acked += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Poisoned);
                    assert_eq!(error.effect(), Effect::Unknown);
                }
            }
        }
        let durable = store.bounds().durable_msn;
        assert!(acked <= durable.get(), "{acked} acked, {durable} durable");
        assert!(acked < 4, "one sync cannot cover what comes after its answer");
        assert!(block_on(append_only(&partition, b"y")).is_err());
    });
}

#[test]
fn ack_is_woken_by_the_watermark_that_covers_it_whenever_it_came() {
    check(|| {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        let waiting = [(0, AckAt::Written), (1, AckAt::Durable), (0, AckAt::Durable)];
        let waiting = waiting.map(|(msn, at)| {
            let ack = Ack::new(Msn::new(msn)..Msn::new(msn + 1), at, Arc::clone(&progress));
            spawn(ack)
        });
        for msn in [1, 2].map(Msn::new) {
            progress.advance_written(msn);
            progress.advance_durable(msn);
        }
        block_on(async {
            for ack in waiting {
                assert!(ack.await.unwrap().is_ok());
            }
        });
    });
}

#[test]
fn failure_answers_an_ack_that_is_just_being_registered_or_given_up() {
    check(|| {
        let progress = Arc::new(Progress::behind(0, Msn::ZERO, Msn::ZERO));
        let ack = || Ack::new(Msn::ZERO..Msn::new(1), AckAt::Durable, Arc::clone(&progress));
        let (waiting, given_up) = (spawn(ack()), ack());
        let dropping = spawn(async move {
            let mut ack = pin!(given_up);
            let _ = poll_fn(|cx| Poll::Ready(ack.as_mut().poll(cx))).await;
        });
        progress.fail(Error::new(ErrorKind::Poisoned, "the sync failed"));
        block_on(async {
            assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
            dropping.await.unwrap();
        });
    });
}

/// The appender's thread: takes groups of `wanted` records as they gather, until the end.
fn take_all(queue: &Queue, wanted: u64) -> u64 {
    let (mut taken, never) = (0, Instant::now() + Duration::from_secs(3600));
    loop {
        assert!(queue.wait_for(wanted, never), "an hour has not passed");
        if let Some(group) = queue.take() {
            taken += group.records();
        }
        if queue.is_finished() {
            return taken;
        }
    }
}

#[test]
fn thread_that_waits_for_records_is_woken_by_the_append_that_completes_them() {
    check(|| {
        let queue = Arc::new(Queue::of_defaults(Msn::ZERO));
        let taking = Arc::clone(&queue);
        let appender = thread::spawn(move || take_all(&taking, 2));
        let semaphore = Arc::new(Semaphore::new(1 << 20));
        let producers = [0, 1].map(|_| {
            let (queue, semaphore) = (Arc::clone(&queue), Arc::clone(&semaphore));
            thread::spawn(move || {
                let mut wakes = 0;
                for _ in 0..2 {
                    let admitted = block_on(Admitted::of(&semaphore, 10, 100)).unwrap();
                    let (message, now) = (MessageRef::new(b"x"), Timestamp::from_millis(0));
                    let pushed = queue.push((&message, 10), now, None, admitted);
                    let wake = pushed.unwrap().wake;
                    wakes += u64::from(wake == Wake::Thread);
                    queue.wake(wake);
                }
                wakes
            })
        });
        // All four are taken before the end: two by two, none waits for the end to come.
        let wakes: u64 = producers.into_iter().map(|producer| producer.join().unwrap()).sum();
        assert!(wakes <= 2, "woken {wakes} times for two groups");
        while queue.records() >= 2 {
            thread::yield_now();
        }
        queue.end(super::queue::closed());
        assert_eq!(appender.join().unwrap(), 4);
        assert_eq!(semaphore.available_permits(), 1 << 20, "all bytes came back");
    });
}
