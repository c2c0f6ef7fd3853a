//! Constraints: violations change nothing, rules survive, change live, and rates are exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::future::join_all;
use msglog_core::log::{ByteRange, Rate, Rule};
use msglog_core::store::Survives;
use msglog_core::{
    AppendOptions, Clock, ErrorKind, Log, Message, MsgLog, Msn, Timestamp, TopicConfig,
};

use super::{TOPIC, check_messages, message, open, open_with, read_all, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, Failure, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-constraint":
    violations_change_nothing;
    rules_and_their_version_survive_reopening [REOPENS];
    rules_change_live;
    rules_that_cannot_be_change_nothing;
    rate_is_exact_under_concurrent_producers;
    cancelled_appends_leave_the_rate_exact;
}

fn small() -> Rule {
    Rule::PayloadBytes(ByteRange::at_most(20))
}

/// What breaks a rule is refused, alone and in a batch, uses no MSN, and is never read.
pub async fn violations_change_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_rule(small())).await?;
    let topic = log.topic(TOPIC).await?;
    let large = || Message::new("a payload of more than twenty bytes");
    for number in 0..10 {
        check_refused(topic.append(large()).await, ErrorKind::Invalid, "a large message")?;
        let batch = topic.append_batch([message(90), large(), message(91)]).await;
        let why = check_error(batch.err(), "a batch with a large message")?;
        ensure!(why.contains("`payload-bytes`"), "the rule is not named: {why}");
        ensure!(why.contains("message 1"), "the message is not named: {why}");
        let through_log = log.append(&TOPIC.parse()?, large(), AppendOptions::default()).await;
        check_refused(through_log, ErrorKind::Invalid, "a large message through the log")?;
        ensure_eq!(topic.append(message(number)).await?.ack().await?, Msn::new(number), "MSN");
    }
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 10, "records");
    check_messages(&records, 0, "beside violations")
}

fn check_error(error: Option<msglog_core::Error>, what: &str) -> CaseResult<String> {
    let Some(error) = error else {
        return Err(Failure::new(format!("{what} succeeded")));
    };
    ensure_eq!(error.kind(), ErrorKind::Invalid, "kind of the error for {what}");
    Ok(error.context().to_owned())
}

/// Rules hold after reopening, with the version that they had.
pub async fn rules_and_their_version_survive_reopening(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    log.topic(TOPIC).await?.append(message(0)).await?.ack().await?;
    log.configure(TOPIC, |config| config.constraints.rules.push(small())).await?;
    let changed =
        log.configure(TOPIC, |config| config.constraints.rules.push(Rule::KeyRequired)).await?;
    ensure_eq!(changed.constraints.version, 2, "version after two changes");
    let log = reopen(&cx, log).await?;
    let described = log.describe(&TOPIC.parse()?).await?.config;
    ensure_eq!(described.constraints, changed.constraints, "rules after reopen");
    let topic = log.topic(TOPIC).await?;
    check_refused(topic.append(message(1)).await, ErrorKind::Invalid, "no key")?;
    let appended = topic.append(message(1).with_key("key")).await?.ack().await?;
    ensure_eq!(appended, Msn::new(1), "MSN after a violation");
    let records = read_all(&topic, 0, Msn::ZERO).await?;
    ensure_eq!(records.len(), 2, "records");
    check_messages(&records, 0, "after reopen")
}

/// A rule holds for what is appended after it came, through handles that were there before; what
/// is stored stays; and without it everything is let in again.
pub async fn rules_change_live(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    topic.append(message(0)).await?.ack().await?;
    log.configure(TOPIC, |config| config.constraints.rules = vec![Rule::KeyRequired]).await?;
    check_refused(topic.append(message(1)).await, ErrorKind::Invalid, "no key")?;
    ensure_eq!(read_all(&topic, 0, Msn::ZERO).await?.len(), 1, "records without a key");
    log.configure(TOPIC, |config| config.constraints.rules.clear()).await?;
    topic.append(message(1)).await?.ack().await?;
    ensure_eq!(topic.config().constraints.version, 2, "version");
    check_messages(&read_all(&topic, 0, Msn::ZERO).await?, 0, "after all")
}

/// Rules that nothing can keep are refused, and those that were there stay in force.
pub async fn rules_that_cannot_be_change_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let impossible = Rule::PayloadBytes(ByteRange { min: 2, max: Some(1) });
    let config = TopicConfig::default().with_rule(impossible.clone());
    let created = log.create_topic(&TOPIC.parse()?, config).await;
    check_refused(created, ErrorKind::Invalid, "create with such a rule")?;
    ensure!(log.topics().await?.is_empty(), "something was created");
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_rule(Rule::KeyRequired)).await?;
    let configured =
        log.configure(TOPIC, |config| config.constraints.rules = vec![impossible.clone()]).await;
    check_refused(configured, ErrorKind::Invalid, "configure such a rule")?;
    let constraints = log.describe(&TOPIC.parse()?).await?.config.constraints;
    ensure_eq!((constraints.version, constraints.rules), (1, vec![Rule::KeyRequired]), "rules");
    let topic = log.topic(TOPIC).await?;
    check_refused(topic.append(message(0)).await, ErrorKind::Invalid, "no key")
}

/// A clock that stands still until the case moves it.
#[derive(Clone, Debug, Default)]
struct CaseClock(Arc<AtomicI64>);

impl Clock for CaseClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Of more appends at a time than the rate allows exactly as many get in as it says.
pub async fn rate_is_exact_under_concurrent_producers(cx: Cx) -> CaseResult {
    let clock = CaseClock::default();
    let log = open_with(&cx, Log::builder().clock(clock.clone())).await?;
    let rule = Rule::Rate(Rate::messages(50));
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_rule(rule)).await?;
    let topic = log.topic(TOPIC).await?;
    let mut expected = 0;
    for (millis, more) in [(0, 50), (100, 5), (10_000, 50)] {
        clock.0.fetch_add(millis, Ordering::SeqCst);
        expected += more;
        let producers = (0..8).map(|_| {
            let topic = topic.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    match topic.append("x").await {
                        Err(error) if error.kind() == ErrorKind::Refused => {}
                        appended => drop(appended?.ack().await?),
                    }
                }
                Ok::<_, msglog_core::Error>(())
            })
        });
        for ended in join_all(producers).await {
            ended.map_err(|cause| Failure::new(cause.to_string()))??;
        }
        let found = read_all(&topic, 0, Msn::ZERO).await?.len();
        ensure_eq!(found, expected, "records after {millis} ms more");
    }
    Ok(())
}

/// An append that is dropped while it waits gives back what it would have used.
pub async fn cancelled_appends_leave_the_rate_exact(cx: Cx) -> CaseResult {
    let builder = Log::builder().clock(CaseClock::default()).in_flight_bytes_max(200);
    let log = open_with(&cx, builder).await?;
    let rule = Rule::Rate(Rate::messages(50));
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_rule(rule)).await?;
    let topic = log.topic(TOPIC).await?;
    // The first ones take all room, so that the others wait.
    let producers =
        (0..20).map(|_| async { poll_then_drop(topic.append(vec![b'x'; 90]), 1).await });
    for answer in join_all(producers).await {
        answer.transpose()?;
    }
    loop {
        match topic.append("x").await {
            Ok(appended) => drop(appended.ack().await?),
            Err(error) if error.kind() == ErrorKind::Refused => break,
            Err(error) => return Err(error.into()),
        }
    }
    ensure_eq!(read_all(&topic, 0, Msn::ZERO).await?.len(), 50, "records within the rate");
    Ok(())
}
