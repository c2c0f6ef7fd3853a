//! Retention: what a rule keeps stays, what it does not keep goes, past the delete hooks.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use msglog_core::log::{ArchiveHook, CleanReport, DeleteHook, Deletion, HeldBy, Retention};
use msglog_core::store::{Access, MessageStore, Survives};
use msglog_core::{
    AppendOptions, Durability, Error, ErrorKind, Log, LogBuilder, ManualClock, Message, MsgLog,
    Msn, Result, Timestamp, Topic, TopicConfig, TopicName,
};

use super::{TOPIC, append_each, check_messages, message, open, open_with, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-retention":
    without_a_rule_nothing_goes;
    old_records_go_and_young_ones_stay;
    oldest_bytes_go_and_as_many_as_asked_for_stay;
    only_what_all_consumers_committed_goes;
    limit_and_condition_must_both_let_go;
    retention_changes_live_and_stays [REOPENS];
    background_cleaner_applies_the_rule;
    what_is_not_durable_is_made_so_before_it_goes [Need::AppendSurvives(Survives::Os)];
    hook_sees_every_record_before_it_goes;
    failing_hook_keeps_the_records_and_is_tried_again;
    hanging_hook_is_dropped_after_its_time_and_keeps_the_records;
    panicking_hook_keeps_the_records;
    one_failing_hook_does_not_repeat_the_others;
    close_waits_for_a_hook_at_work [REOPENS];
    close_drops_a_hook_that_hangs [REOPENS];
    dropped_clean_loses_nothing [REOPENS];
    clean_dropped_in_a_hook_that_hangs_loses_nothing [REOPENS];
    trim_and_deletion_of_a_topic_pass_by_the_hooks;
    archive_and_log_together_hold_everything [REOPENS];
    archive_that_is_repeated_holds_nothing_twice [REOPENS];
    empty_topic_expires_and_one_that_is_used_does_not [REOPENS];
    topic_that_cannot_be_cleaned_is_told_and_others_are_cleaned;
}

/// Time in these cases, in milliseconds: a second a message, from here on.
const START: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1_000)
}

/// Messages `numbers`, each a batch of its own, a second apart from [`START`] on.
async fn append_timed(topic: &Topic, numbers: std::ops::Range<u64>) -> CaseResult {
    for number in numbers {
        let second = i64::try_from(number).unwrap_or(i64::MAX);
        topic.append(message(number).with_timestamp(at(second))).await?.ack().await?;
    }
    Ok(())
}

fn aged(seconds: u64) -> Retention {
    Retention::keep_forever().with_age(Duration::from_secs(seconds))
}

async fn create(log: &Log, retention: Retention) -> CaseResult<Topic> {
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_retention(retention)).await?;
    Ok(log.topic(TOPIC).await?)
}

/// What is there is the messages from the first MSN on, and the first MSN is at most `before`; on a
/// store that trims exactly it is `before`.
async fn check_left(cx: &Cx, topic: &Topic, before: u64, end: u64, what: &str) -> CaseResult {
    let bounds = topic.bounds(0).await?;
    let first = bounds.first_msn.get();
    ensure!(first <= before, "{what}: {first} is the first MSN, {before} had to stay");
    if cx.capabilities().exact_trim || before == end {
        ensure_eq!(first, before, "{what}: first MSN");
    }
    let records = read_all(topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len() as u64, end - first, "{what}: number of records");
    check_messages(&records, first, what)
}

/// A hook that notes what it sees, and does as it is told.
#[derive(Clone, Debug, Default)]
struct Watch {
    seen: Arc<Mutex<Vec<u64>>>,
    calls: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    slow: Arc<AtomicBool>,
}

impl Watch {
    fn seen(&self) -> Vec<u64> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn called(&self, times: u64) -> CaseResult {
        for _ in 0..2_000 {
            if self.calls() >= times {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Err(crate::Failure::new(format!("the hook was called {} times", self.calls())))
    }
}

#[async_trait]
impl DeleteHook for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    async fn before_delete(&self, deletion: &Deletion) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let is = |flag: &AtomicBool| flag.load(Ordering::SeqCst);
        if is(&self.hangs) {
            std::future::pending::<()>().await;
        }
        if is(&self.slow) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if is(&self.panics) {
            std::panic::resume_unwind(Box::new("as it was told"));
        }
        if is(&self.fails) {
            return Err(Error::new(ErrorKind::Unavailable, "as it was told"));
        }
        let mut seen = Vec::new();
        for record in deletion.records() {
            let record = record?;
            if record.payload != message(record.msn.get()).payload {
                return Err(Error::new(ErrorKind::Corrupt, "the hook sees another record"));
            }
            seen.push(record.msn.get());
        }
        let counted = deletion.record_count == seen.len() as u64;
        let bytes: usize = deletion.batches.iter().map(|batch| batch.encoded_len()).sum();
        if !counted || deletion.bytes != bytes as u64 || deletion.timestamps.is_none() {
            return Err(Error::new(ErrorKind::Corrupt, "the hook sees wrong figures"));
        }
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Ok(())
    }
}

/// The hook's own error, which may go away.
fn check_held<T>(result: Result<T>, what: &str) -> CaseResult {
    let Err(error) = result else {
        return Err(crate::Failure::new(format!("{what}: the hook held nothing back")));
    };
    ensure_eq!(error.kind(), ErrorKind::Unavailable, "{what}: kind");
    Ok(())
}

fn held_by_failure(report: &CleanReport) -> bool {
    report.held_back.iter().any(|held| matches!(held.by, HeldBy::Failure(_)))
}

/// A topic is kept for ever unless it says otherwise, however old and large.
pub async fn without_a_rule_nothing_goes(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_timed(&topic, 0..10).await?;
    topic.consumer("billing")?.commit(0, Msn::new(10)).await?;
    let report = log.clean().await?;
    ensure!(report.trimmed.is_empty() && report.held_back.is_empty(), "report {report:?}");
    check_left(&cx, &topic, 0, 10, "kept for ever").await
}

/// Batches whose newest record is older than the age go, by the log's clock; others stay.
pub async fn old_records_go_and_young_ones_stay(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(at(0)));
    let log = open_with(&cx, Log::builder().clock(clock.clone())).await?;
    let topic = create(&log, aged(10)).await?;
    append_timed(&topic, 0..20).await?;
    for (now, before) in [(5, 0), (10, 0), (11, 1), (17, 7), (29, 19), (30, 20), (99, 20)] {
        clock.set(at(now));
        let first = topic.bounds(0).await?.first_msn;
        let report = log.clean().await?;
        check_left(&cx, &topic, before, 20, &format!("after {now} s")).await?;
        let now_first = topic.bounds(0).await?.first_msn;
        let told: Vec<_> = report.trimmed.iter().map(|one| one.msns.clone()).collect();
        let expected = if now_first > first { vec![first..now_first] } else { Vec::new() };
        ensure_eq!(told, expected, "what the report says was trimmed after {now} s");
    }
    ensure_eq!(topic.append("next").await?.msn(), Msn::new(20), "MSN after all were trimmed");
    Ok(())
}

/// The oldest go while more than the bytes are there, and never so many that less stay.
pub async fn oldest_bytes_go_and_as_many_as_asked_for_stay(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..40).await?;
    let usage = async || -> CaseResult<u64> {
        let described = topic.describe().await?;
        Ok(described.partitions.iter().map(|partition| partition.usage.bytes).sum())
    };
    let all = usage().await?;
    for keep in [all * 2, all, all / 2, all / 4, 1] {
        let retention = Retention::keep_forever().with_bytes(keep);
        log.configure(TOPIC, |config| config.retention = retention).await?;
        log.clean().await?;
        let left = usage().await?;
        ensure!(left >= keep.min(all), "{left} bytes are left, {keep} had to stay");
        if cx.capabilities().exact_trim {
            // The largest batch of this case is less than 100 bytes.
            ensure!(left < keep + 100, "{left} bytes are left of {all}, asked for was {keep}");
        }
        let first = topic.bounds(0).await?.first_msn.get();
        check_left(&cx, &topic, first, 40, &format!("{keep} bytes")).await?;
        ensure!(first < 40, "the newest record is gone");
    }
    Ok(())
}

/// A record goes when every consumer of the topic has committed it; with none, nothing goes.
pub async fn only_what_all_consumers_committed_goes(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = create(&log, Retention::keep_forever().with_committed()).await?;
    append_each(&topic, 0..20).await?;
    let report = log.clean().await?;
    let nobody = report.held_back.iter().any(|held| matches!(held.by, HeldBy::NoConsumer));
    ensure!(nobody, "without a consumer: {report:?}");
    check_left(&cx, &topic, 0, 20, "without a consumer").await?;
    let (fast, slow) = (topic.consumer("fast")?, topic.consumer("slow")?);
    slow.touch().await?;
    fast.commit(0, Msn::new(15)).await?;
    log.clean().await?;
    check_left(&cx, &topic, 0, 20, "with one that has committed nothing").await?;
    slow.commit(0, Msn::new(6)).await?;
    let report = log.clean().await?;
    check_left(&cx, &topic, 6, 20, "with the slow one at 6").await?;
    let by_slow = report.held_back.iter().any(|held| {
        matches!(&held.by, HeldBy::Consumer(name) if name.as_str() == "slow")
            && held.msns == (Msn::new(6)..Msn::new(20))
    });
    ensure!(by_slow, "who holds back: {report:?}");
    slow.delete().await?;
    log.clean().await?;
    check_left(&cx, &topic, 15, 20, "without the slow one").await?;
    fast.commit(0, Msn::new(20)).await?;
    log.clean().await?;
    check_left(&cx, &topic, 20, 20, "when all is done").await
}

/// With age and `committed`, only what is old and committed goes.
pub async fn limit_and_condition_must_both_let_go(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(at(15)));
    let log = open_with(&cx, Log::builder().clock(clock.clone())).await?;
    let topic = create(&log, aged(10).with_committed()).await?;
    append_timed(&topic, 0..20).await?;
    let billing = topic.consumer("billing")?;
    for (now, committed, before) in
        [(15, 0, 0), (15, 3, 3), (15, 12, 5), (25, 12, 12), (99, 20, 20)]
    {
        clock.set(at(now));
        billing.commit(0, Msn::new(committed)).await?;
        log.clean().await?;
        let what = format!("{committed} committed after {now} s");
        check_left(&cx, &topic, before, 20, &what).await?;
    }
    Ok(())
}

/// A changed rule holds for the next run, and is there after reopening.
pub async fn retention_changes_live_and_stays(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(at(20)));
    let builder = || Log::builder().clock(clock.clone());
    let log = open_with(&cx, builder()).await?;
    let topic = log.topic(TOPIC).await?;
    append_timed(&topic, 0..20).await?;
    log.clean().await?;
    log.configure(TOPIC, |config| config.retention = aged(15)).await?;
    log.clean().await?;
    check_left(&cx, &topic, 5, 20, "with a rule").await?;
    drop(topic);
    log.close().await?;
    drop(log);
    let log = open_with(&cx, builder()).await?;
    clock.set(at(25));
    // The topic was not asked for: the cleaner finds it.
    log.clean().await?;
    let topic = log.topic(TOPIC).await?;
    ensure_eq!(topic.config().retention, aged(15), "rule after reopen");
    check_left(&cx, &topic, 10, 20, "after reopen").await?;
    log.configure(TOPIC, |config| config.retention = Retention::keep_forever()).await?;
    clock.set(at(99));
    log.clean().await?;
    check_left(&cx, &topic, 10, 20, "without a rule again").await?;
    let bad = aged(15).with_age(Duration::ZERO);
    let refused = log.configure(TOPIC, |config| config.retention = bad).await;
    check_refused(refused, ErrorKind::Invalid, "an age of nothing")
}

/// Without being asked, the cleaner runs every interval.
pub async fn background_cleaner_applies_the_rule(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(at(99)));
    let builder = Log::builder().clock(clock).clean_interval(Duration::from_millis(10));
    let log = open_with(&cx, builder).await?;
    let topic = create(&log, aged(10)).await?;
    append_timed(&topic, 0..5).await?;
    for _ in 0..1_000 {
        // The report is there when the run has ended, a moment after the trim.
        if topic.bounds(0).await?.first_msn == Msn::new(5) && log.last_clean().is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(crate::Failure::new("nothing was trimmed in the background, or not reported"))
}

/// Records at a weaker level are synced before they go.
pub async fn what_is_not_durable_is_made_so_before_it_goes(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(at(99)));
    let log = open_with(&cx, Log::builder().clock(clock)).await?;
    let config = TopicConfig::default().with_durability(Durability::Os).with_retention(aged(50));
    log.create_topic(&TOPIC.parse()?, config).await?;
    let topic = log.topic(TOPIC).await?;
    append_timed(&topic, 0..5).await?;
    let young = AppendOptions::default().with_durability(Durability::Os);
    topic.append_with(message(5).with_timestamp(at(98)), young).await?.ack().await?;
    log.clean().await?;
    let bounds = topic.bounds(0).await?;
    ensure!(bounds.durable_msn >= Msn::new(5), "trimmed below 5, durable is {bounds:?}");
    check_left(&cx, &topic, 5, 6, "at os").await
}

/// Each record is seen whole, once, in order, with true figures, and before it is gone.
pub async fn hook_sees_every_record_before_it_goes(cx: Cx) -> CaseResult {
    let (watch, clock) = (Watch::default(), Arc::new(ManualClock::at(at(0))));
    let log =
        open_with(&cx, Log::builder().clock(clock.clone()).delete_hook(watch.clone())).await?;
    let topic = create(&log, aged(10)).await?;
    append_timed(&topic, 0..30).await?;
    for now in [5, 15, 22, 31, 99] {
        clock.set(at(now));
        log.clean().await?;
        let first = topic.bounds(0).await?.first_msn.get();
        let seen = watch.seen();
        ensure!(seen.iter().copied().eq(0..seen.len() as u64), "seen was {seen:?}");
        ensure!(seen.len() as u64 >= first, "{} were seen, all below {first} are gone", seen.len());
    }
    ensure_eq!(watch.seen().len(), 30, "records that the hook saw");
    let stats = log.stats().delete_hooks;
    let stats = stats.first().map(|one| (one.name.clone(), one.passes, one.failures, one.at_work));
    ensure_eq!(stats, Some(("watch".into(), watch.calls(), 0, 0)), "stats of the hook");
    Ok(())
}

async fn watched(cx: &Cx, builder: LogBuilder) -> CaseResult<(Log, Topic, Watch)> {
    let watch = Watch::default();
    let builder = builder.clock(ManualClock::at(at(99))).delete_hook(watch.clone());
    let log = open_with(cx, builder).await?;
    let topic = create(&log, aged(10)).await?;
    append_timed(&topic, 0..10).await?;
    Ok((log, topic, watch))
}

/// An error keeps every record; it is told, and the next run tries again.
pub async fn failing_hook_keeps_the_records_and_is_tried_again(cx: Cx) -> CaseResult {
    let (log, topic, watch) = watched(&cx, Log::builder()).await?;
    watch.fails.store(true, Ordering::SeqCst);
    for run in 1..=3 {
        let report = log.clean().await?;
        ensure!(held_by_failure(&report), "run {run} tells nothing: {report:?}");
        ensure_eq!(watch.calls(), run, "calls");
        check_left(&cx, &topic, 0, 10, "while the hook fails").await?;
    }
    check_held(topic.trim(0, Msn::new(10)).await, "trim")?;
    check_left(&cx, &topic, 0, 10, "after a trim while the hook fails").await?;
    watch.fails.store(false, Ordering::SeqCst);
    log.clean().await?;
    check_left(&cx, &topic, 10, 10, "when the hook works").await?;
    let failures = log.stats().delete_hooks.first().map(|hook| hook.failures);
    ensure_eq!(failures, Some(4), "failures in the stats");
    Ok(())
}

/// A hook that never answers holds its records, and the run ends when its time is up.
pub async fn hanging_hook_is_dropped_after_its_time_and_keeps_the_records(cx: Cx) -> CaseResult {
    let builder = Log::builder().hook_timeout(Duration::from_millis(50));
    let (log, topic, watch) = watched(&cx, builder).await?;
    watch.hangs.store(true, Ordering::SeqCst);
    let report = log.clean().await?;
    ensure!(held_by_failure(&report), "the report tells nothing: {report:?}");
    check_left(&cx, &topic, 0, 10, "while the hook hangs").await?;
    let timeouts = log.stats().delete_hooks.first().map(|hook| hook.timeouts);
    ensure_eq!(timeouts, Some(1), "timeouts in the stats");
    watch.hangs.store(false, Ordering::SeqCst);
    log.clean().await?;
    check_left(&cx, &topic, 10, 10, "when the hook works").await
}

/// A hook that panics holds its records and harms nothing else.
pub async fn panicking_hook_keeps_the_records(cx: Cx) -> CaseResult {
    let (log, topic, watch) = watched(&cx, Log::builder()).await?;
    watch.panics.store(true, Ordering::SeqCst);
    ensure!(held_by_failure(&log.clean().await?), "the report tells nothing");
    check_left(&cx, &topic, 0, 10, "while the hook panics").await?;
    watch.panics.store(false, Ordering::SeqCst);
    log.clean().await?;
    check_left(&cx, &topic, 10, 10, "when the hook works").await
}

/// What has passed one hook is not shown to it again because another fails.
pub async fn one_failing_hook_does_not_repeat_the_others(cx: Cx) -> CaseResult {
    let (good, clock) = (Watch::default(), Arc::new(ManualClock::at(at(15))));
    let builder = Log::builder().clock(clock.clone()).delete_hook(good.clone());
    let (log, topic, bad) = {
        let bad = Watch::default();
        let log = open_with(&cx, builder.delete_hook(bad.clone())).await?;
        let topic = create(&log, aged(10)).await?;
        (log, topic, bad)
    };
    append_timed(&topic, 0..10).await?;
    bad.fails.store(true, Ordering::SeqCst);
    for now in [15, 16, 17] {
        clock.set(at(now));
        log.clean().await?;
    }
    check_left(&cx, &topic, 0, 10, "while one hook fails").await?;
    bad.fails.store(false, Ordering::SeqCst);
    clock.set(at(99));
    log.clean().await?;
    check_left(&cx, &topic, 10, 10, "when both work").await?;
    let all: Vec<u64> = (0..10).collect();
    ensure_eq!(good.seen(), all, "what the good one saw");
    ensure_eq!(bad.seen(), all, "what the bad one saw");
    Ok(())
}

/// `close` lets a hook finish; what it passed may be gone, the rest is there after reopening.
pub async fn close_waits_for_a_hook_at_work(cx: Cx) -> CaseResult {
    let builder = Log::builder().clean_interval(Duration::from_millis(1));
    let (log, topic, watch) = {
        let watch = Watch::default();
        watch.slow.store(true, Ordering::SeqCst);
        let builder = builder.clock(ManualClock::at(at(99))).delete_hook(watch.clone());
        let log = open_with(&cx, builder).await?;
        let topic = create(&log, aged(10)).await?;
        (log, topic, watch)
    };
    append_timed(&topic, 0..1).await?;
    watch.called(1).await?;
    log.close().await?;
    ensure!(!watch.seen().is_empty(), "close did not wait for the hook");
    let seen = watch.seen().len() as u64;
    drop((topic, log));
    let log = open(&cx).await?;
    let first = log.topic(TOPIC).await?.bounds(0).await?.first_msn.get();
    ensure!(first <= seen, "{first} is the first MSN, the hook saw {seen} records");
    Ok(())
}

/// `close` does not wait for ever: the hook is dropped, its records are there after reopening.
pub async fn close_drops_a_hook_that_hangs(cx: Cx) -> CaseResult {
    let builder = Log::builder().hooks_close_timeout(Duration::from_millis(50));
    let (log, topic, watch) = watched(&cx, builder).await?;
    watch.hangs.store(true, Ordering::SeqCst);
    let cleaning = tokio::spawn({
        let log = log.clone();
        async move { log.clean().await }
    });
    watch.called(1).await?;
    let closed = tokio::time::timeout(Duration::from_secs(10), log.close()).await;
    ensure!(closed.is_ok(), "close waits for a hook that hangs");
    closed.unwrap_or(Ok(()))?;
    let _ = tokio::time::timeout(Duration::from_secs(10), cleaning).await;
    drop((topic, log));
    let log = open(&cx).await?;
    check_left(&cx, &log.topic(TOPIC).await?, 0, 10, "after reopen").await
}

/// A run that is cancelled anywhere leaves what the hook has not passed, and the next one goes on.
pub async fn dropped_clean_loses_nothing(cx: Cx) -> CaseResult {
    let (log, topic, watch) = watched(&cx, Log::builder()).await?;
    for polls in 1..40 {
        let mut cleaning = Box::pin(log.clean());
        for _ in 0..polls {
            if futures::poll!(&mut cleaning).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(cleaning);
        let first = topic.bounds(0).await?.first_msn.get();
        let seen: BTreeSet<u64> = watch.seen().into_iter().collect();
        let lost: Vec<_> = (0..first).filter(|msn| !seen.contains(msn)).collect();
        ensure!(lost.is_empty(), "after {polls} polls {lost:?} are gone unseen");
    }
    log.clean().await?;
    check_left(&cx, &topic, 10, 10, "after a whole run").await?;
    drop(topic);
    let log = reopen(&cx, log).await?;
    check_left(&cx, &log.topic(TOPIC).await?, 10, 10, "after reopen").await
}

/// A run, a trim and the deletion of the topic, each dropped while the hook hangs, and the log
/// dropped with it: every record is there after reopening, and goes once the hook has passed it.
pub async fn clean_dropped_in_a_hook_that_hangs_loses_nothing(cx: Cx) -> CaseResult {
    let (mut log, mut topic, watch) = watched(&cx, Log::builder()).await?;
    watch.hangs.store(true, Ordering::SeqCst);
    let name: TopicName = TOPIC.parse()?;
    for round in 0..3 {
        let calls = watch.calls() + 1;
        let working = async {
            match round {
                0 => log.clean().await.map(drop),
                1 => topic.trim(0, Msn::new(10)).await.map(drop),
                _ => log.delete_topic(&name).await.map(drop),
            }
        };
        tokio::select! {
            ended = working => return Err(crate::Failure::new(format!("ended early: {ended:?}"))),
            called = watch.called(calls) => called?,
        }
        drop((topic, log));
        let builder = Log::builder().clock(ManualClock::at(at(99))).delete_hook(watch.clone());
        log = open_with(&cx, builder).await?;
        topic = log.topic(TOPIC).await?;
        check_left(&cx, &topic, 0, 10, &format!("after round {round}")).await?;
    }
    watch.hangs.store(false, Ordering::SeqCst);
    log.clean().await?;
    check_left(&cx, &topic, 10, 10, "once the hook has passed").await?;
    ensure!(watch.seen().iter().copied().eq(0..10), "seen was {:?}", watch.seen());
    Ok(())
}

/// An archive is whole: what a trim or the end of a topic takes is seen as well.
pub async fn trim_and_deletion_of_a_topic_pass_by_the_hooks(cx: Cx) -> CaseResult {
    let watch = Watch::default();
    let log = open_with(&cx, Log::builder().delete_hook(watch.clone())).await?;
    let name: TopicName = TOPIC.parse()?;
    let topic = log.topic(TOPIC).await?;
    append_timed(&topic, 0..20).await?;
    let first = topic.trim(0, Msn::new(8)).await?;
    ensure!(watch.seen().len() as u64 >= first.get(), "trimmed was {first}, less was seen");
    watch.fails.store(true, Ordering::SeqCst);
    check_held(log.delete_topic(&name).await, "delete the topic")?;
    ensure_eq!(log.topics().await?, std::slice::from_ref(&name), "topics after a failed deletion");
    let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
    check_messages(&records, first.get(), "after a failed deletion")?;
    ensure_eq!(records.len() as u64, 20 - first.get(), "records after a failed deletion");
    watch.fails.store(false, Ordering::SeqCst);
    ensure!(log.delete_topic(&name).await?, "it was there");
    ensure!(watch.seen().iter().copied().eq(0..20), "seen was {:?}", watch.seen());
    Ok(())
}

/// A log that archives to another place, and the store of that place.
async fn archived(cx: &Cx, away: &Cx) -> CaseResult<(Log, Arc<dyn MessageStore>)> {
    let archive = away.open_once_free().await?;
    let builder = Log::builder().clock(ManualClock::at(at(15)));
    let log = open_with(cx, builder.delete_hook(ArchiveHook::to(archive.clone()))).await?;
    Ok((log, archive))
}

/// Every record of a partition of a store that is open for writing.
async fn read_archive(archive: &Arc<dyn MessageStore>) -> CaseResult<Vec<msglog_core::Record>> {
    let log =
        Log::builder().access(Access::Read).create_topics(false).open(archive.clone()).await?;
    match log.topic(TOPIC).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        topic => read_all(&topic?, 0, Msn::ZERO).await,
    }
}

/// What was appended is in the archive or in the log, each under its own MSN, over reopenings.
pub async fn archive_and_log_together_hold_everything(cx: Cx) -> CaseResult {
    let away = cx.elsewhere().await?;
    for round in 0..4_u64 {
        let (log, archive) = archived(&cx, &away).await?;
        if round == 0 {
            create(&log, aged(10)).await?;
        }
        let topic = log.topic(TOPIC).await?;
        append_timed(&topic, round * 5..round * 5 + 5).await?;
        if round % 2 == 0 {
            log.clean().await?;
        } else {
            topic.trim(0, Msn::new(round * 5 + 2)).await?;
        }
        let first = topic.bounds(0).await?.first_msn.get();
        let kept = read_archive(&archive).await?;
        check_messages(&kept, 0, "the archive")?;
        ensure!(kept.len() as u64 >= first, "archived are {}, gone {first}", kept.len());
        let live = read_all(&topic, 0, Msn::ZERO).await?;
        check_messages(&live, first, "the log")?;
        ensure_eq!(first + live.len() as u64, round * 5 + 5, "end of the log");
        drop(topic);
        log.close().await?;
        drop(log);
        archive.close().await?;
    }
    Ok(())
}

/// A clean that was cancelled anywhere, with the log dropped, stores nothing twice when repeated.
pub async fn archive_that_is_repeated_holds_nothing_twice(cx: Cx) -> CaseResult {
    let away = cx.elsewhere().await?;
    for polls in (1..30).step_by(3) {
        let (log, archive) = archived(&cx, &away).await?;
        if polls == 1 {
            let topic = create(&log, aged(10)).await?;
            append_timed(&topic, 0..12).await?;
        }
        let mut cleaning = Box::pin(log.clean());
        for _ in 0..polls {
            if futures::poll!(&mut cleaning).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(cleaning);
        drop(log);
        drop(archive);
    }
    let (log, archive) = archived(&cx, &away).await?;
    log.clean().await?;
    let kept = read_archive(&archive).await?;
    check_messages(&kept, 0, "the archive")?;
    ensure!(kept.len() >= 5, "{} records are archived, 5 had to go", kept.len());
    check_left(&cx, &log.topic(TOPIC).await?, 5, 12, "the log").await
}

/// A topic that was empty for long enough is deleted, also over a reopening; an append, or not yet
/// the time, keeps it.
pub async fn empty_topic_expires_and_one_that_is_used_does_not(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(at(0)));
    let builder = || Log::builder().clock(clock.clone()).create_topics(false);
    let log = open_with(&cx, builder()).await?;
    let retention = aged(10).with_topic_expires(Duration::from_secs(100));
    let config = TopicConfig::default().with_retention(retention).with_partitions(2);
    for name in ["unused", "used", "full"] {
        log.create_topic(&name.parse()?, config.clone()).await?;
    }
    log.clean().await?;
    clock.set(at(60));
    let used = log.topic("used").await?;
    used.append(Message::new("x").with_timestamp(at(0))).await?.ack().await?;
    log.clean().await?;
    ensure_eq!(used.bounds(0).await?.first_msn, Msn::new(1), "first MSN of what was used");
    let full = log.topic("full").await?;
    full.append(Message::new("x").with_timestamp(at(500))).await?.ack().await?;
    clock.set(at(100));
    ensure!(log.clean().await?.expired_topics.is_empty(), "100 s are not longer than 100 s");
    drop((used, full));
    log.close().await?;
    drop(log);
    let log = open_with(&cx, builder()).await?;
    clock.set(at(101));
    let expired = log.clean().await?.expired_topics;
    ensure_eq!(expired, ["unused".parse::<TopicName>()?], "what expired after 101 s");
    check_refused(log.topic("unused").await, ErrorKind::NotFound, "the expired topic")?;
    clock.set(at(161));
    let expired = log.clean().await?.expired_topics;
    ensure_eq!(expired, ["used".parse::<TopicName>()?], "what expired 101 s after its last use");
    ensure_eq!(log.topics().await?, ["full".parse::<TopicName>()?], "what is left");
    Ok(())
}

/// Stored commits that cannot be read hold their own topic only.
pub async fn topic_that_cannot_be_cleaned_is_told_and_others_are_cleaned(cx: Cx) -> CaseResult {
    let store = cx.open_once_free().await?;
    let log = Log::builder().clock(ManualClock::at(at(99))).open(store.clone()).await?;
    let retention = aged(10).with_committed();
    let name: TopicName = "damaged".parse()?;
    log.create_topic(&name, TopicConfig::default().with_retention(retention)).await?;
    let damaged = log.topic("damaged").await?;
    append_timed(&damaged, 0..3).await?;
    let key = msglog_core::store::DocumentKey::parse("commits/billing/damaged")?;
    store.save(&key, "no commits".into(), msglog_core::store::Expected::Any).await?;
    let topic = create(&log, aged(10)).await?;
    append_timed(&topic, 0..3).await?;
    let report = log.clean().await?;
    let failed: Vec<_> = report.failures.iter().map(|(name, error)| (name, error.kind())).collect();
    ensure_eq!(failed, [(&name, ErrorKind::Corrupt)], "what failed");
    check_left(&cx, &damaged, 0, 3, "the topic that cannot be cleaned").await?;
    check_left(&cx, &topic, 3, 3, "the other topic").await
}
