//! Consumer commits: durable, never back, never beyond the end, each consumer's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use msglog_core::log::{ResetTo, Retention};
use msglog_core::store::Survives;
use msglog_core::{ErrorKind, Log, ManualClock, Message, MsgLog, Msn, Timestamp, TopicConfig};

use super::{TOPIC, append_each, open, open_reader, open_with, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::store_suite::cancellation::poll_then_drop;
use crate::{CaseResult, Cx, ensure, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-consumer":
    commit_is_read_back;
    commit_never_moves_back;
    commit_beyond_the_end_is_refused;
    consumers_and_partitions_commit_apart;
    concurrent_commits_keep_the_highest;
    commit_survives_reopen [REOPENS];
    commit_beside_the_writer_is_seen [Need::SharedDocuments];
    commits_for_later_are_there_after_close [REOPENS];
    cancelled_commit_is_whole_or_not_at_all [REOPENS];
    cancelled_flush_of_commits_for_later_can_be_repeated [REOPENS];
    cancelled_reset_is_whole_or_not_at_all [REOPENS];
    lag_counts_what_is_left_to_do;
    consumers_are_listed_with_how_far_they_are;
    reset_moves_back_and_forward_and_stays [REOPENS];
    reset_that_cannot_be_changes_nothing;
    deleted_consumer_starts_anew;
    dead_consumer_expires_and_a_living_one_does_not [REOPENS];
    deleted_topic_takes_its_commits_along [REOPENS];
}

/// What was committed is answered, and nothing before the first commit.
pub async fn commit_is_read_back(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let billing = topic.consumer("billing")?;
    ensure_eq!(billing.committed(0).await?, None, "before the first commit");
    for msn in [0, 1, 5] {
        billing.commit(0, Msn::new(msn)).await?;
        ensure_eq!(billing.committed(0).await?, Some(Msn::new(msn)), "after a commit");
    }
    Ok(())
}

/// A commit below the last one changes nothing.
pub async fn commit_never_moves_back(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let billing = topic.consumer("billing")?;
    for (commit, expected) in [(3, 3), (2, 3), (0, 3), (4, 4)] {
        billing.commit(0, Msn::new(commit)).await?;
        let committed = billing.committed(0).await?;
        ensure_eq!(committed, Some(Msn::new(expected)), "after a commit of {commit}");
    }
    Ok(())
}

/// A commit beyond what readers see is `Invalid` and changes nothing.
pub async fn commit_beyond_the_end_is_refused(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..2).await?;
    let billing = topic.consumer("billing")?;
    check_refused(billing.commit(0, Msn::new(3)).await, ErrorKind::Invalid, "commit beyond")?;
    check_refused(billing.commit(1, Msn::ZERO).await, ErrorKind::Invalid, "partition 1 of 1")?;
    ensure_eq!(billing.committed(0).await?, None, "after refused commits");
    billing.commit(0, Msn::new(2)).await?;
    check_refused(topic.consumer("../x"), ErrorKind::Invalid, "a consumer named ../x")
}

/// One consumer's commits are not another's, and one partition's not another's.
pub async fn consumers_and_partitions_commit_apart(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let config = msglog_core::TopicConfig::default().with_partitions(2);
    log.create_topic(&TOPIC.parse()?, config).await?;
    let topic = log.topic(TOPIC).await?;
    for _ in 0..6 {
        topic.append("x").await?.ack().await?;
    }
    let (one, other) = (topic.consumer("one")?, topic.consumer("other")?);
    one.commit(0, Msn::new(1)).await?;
    one.commit(1, Msn::new(2)).await?;
    other.commit(0, Msn::new(3)).await?;
    ensure_eq!(one.committed(0).await?, Some(Msn::new(1)), "one, partition 0");
    ensure_eq!(one.committed(1).await?, Some(Msn::new(2)), "one, partition 1");
    ensure_eq!(other.committed(0).await?, Some(Msn::new(3)), "other, partition 0");
    ensure_eq!(other.committed(1).await?, None, "other, partition 1");
    Ok(())
}

/// Commits at the same time leave the highest.
pub async fn concurrent_commits_keep_the_highest(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..10).await?;
    let commits = (1..=10).map(|msn| {
        let topic = topic.clone();
        async move { topic.consumer("billing")?.commit(0, Msn::new(msn)).await }
    });
    for committed in futures::future::join_all(commits).await {
        committed?;
    }
    let committed = topic.consumer("billing")?.committed(0).await?;
    ensure_eq!(committed, Some(Msn::new(10)), "after ten commits at the same time");
    Ok(())
}

/// A commit that returned is there after reopening, and reading goes on from it.
pub async fn commit_survives_reopen(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    topic.consumer("billing")?.commit(0, Msn::new(3)).await?;
    drop(topic);
    let log = reopen(&cx, log).await?;
    let billing = log.topic(TOPIC).await?.consumer("billing")?;
    ensure_eq!(billing.committed(0).await?, Some(Msn::new(3)), "after reopen");
    ensure_eq!(billing.subscribe(0).await?.next_msn(), Msn::new(3), "where reading goes on");
    Ok(())
}

/// A log opened for reading commits beside the writer, and both see it.
pub async fn commit_beside_the_writer_is_seen(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let reader = open_reader(&cx).await?;
    let beside = reader.topic(TOPIC).await?.consumer("billing")?;
    beside.commit(0, Msn::new(2)).await?;
    let here = topic.consumer("billing")?;
    ensure_eq!(here.committed(0).await?, Some(Msn::new(2)), "as the writer sees it");
    here.commit(0, Msn::new(4)).await?;
    ensure_eq!(beside.committed(0).await?, Some(Msn::new(4)), "as the reader sees it");
    Ok(())
}

/// Commits for later are stored by `flush`, and by `close` when nobody flushes.
pub async fn commits_for_later_are_there_after_close(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..9).await?;
    let billing = topic.consumer("billing")?;
    for msn in 1..=4 {
        billing.commit_later(0, Msn::new(msn)).await?;
    }
    billing.flush().await?;
    ensure_eq!(billing.committed(0).await?, Some(Msn::new(4)), "after flush");
    check_refused(billing.commit_later(0, Msn::new(10)).await, ErrorKind::Invalid, "beyond")?;
    billing.commit_later(0, Msn::new(8)).await?;
    drop((topic, billing));
    let log = reopen(&cx, log).await?;
    let billing = log.topic(TOPIC).await?.consumer("billing")?;
    ensure_eq!(billing.committed(0).await?, Some(Msn::new(8)), "after close and reopen");
    Ok(())
}

/// Dropped at any poll, and the log after it: the old commit is there or the new one, and a further
/// one is taken.
pub async fn cancelled_commit_is_whole_or_not_at_all(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    append_each(&log.topic(TOPIC).await?, 0..40).await?;
    let mut before = 0;
    for polls in 0..20 {
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        let to = before + 1;
        let answer = poll_then_drop(billing.commit(0, Msn::new(to)), polls).await;
        let done = answer.is_some();
        answer.transpose()?;
        drop((billing, log));
        log = open(&cx).await?;
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        let found = billing.committed(0).await?.map_or(0, Msn::get);
        ensure!(found == to || found == before && !done, "{found} after {polls} polls to {to}");
        billing.commit(0, Msn::new(to)).await?;
        before = to;
        if done {
            return Ok(());
        }
    }
    Err(crate::Failure::new("a commit does not end"))
}

/// Dropped at any poll, it can be called again, and what it has not stored is stored by the next.
pub async fn cancelled_flush_of_commits_for_later_can_be_repeated(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    append_each(&log.topic(TOPIC).await?, 0..40).await?;
    let mut before = 0;
    for polls in 0..20 {
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        let to = before + 1;
        billing.commit_later(0, Msn::new(to)).await?;
        let answer = poll_then_drop(billing.flush(), polls).await;
        let mut done = answer.is_some();
        answer.transpose()?;
        if polls % 2 == 0 {
            billing.flush().await?;
            done = true;
        }
        drop((billing, log));
        log = open(&cx).await?;
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        let found = billing.committed(0).await?.map_or(0, Msn::get);
        ensure!(found == to || found == before && !done, "{found} after {polls} polls to {to}");
        before = found;
    }
    Ok(())
}

/// Dropped at any poll, and the log after it: it has moved the consumer, or changed nothing.
pub async fn cancelled_reset_is_whole_or_not_at_all(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    append_each(&log.topic(TOPIC).await?, 0..10).await?;
    for polls in 0..20 {
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        billing.commit(0, Msn::new(9)).await?;
        let answer = poll_then_drop(billing.reset(0, ResetTo::Msn(Msn::new(3))), polls).await;
        let done = answer.is_some();
        answer.transpose()?;
        drop((billing, log));
        log = open(&cx).await?;
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        let found = billing.committed(0).await?.map_or(0, Msn::get);
        ensure!(found == 3 || found == 9 && !done, "{found} after {polls} polls");
        if done {
            return Ok(());
        }
    }
    Err(crate::Failure::new("a reset does not end"))
}

/// The lag is the distance to the end, over all partitions; what is trimmed is not left to do.
pub async fn lag_counts_what_is_left_to_do(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    log.create_topic(&TOPIC.parse()?, TopicConfig::default().with_partitions(2)).await?;
    let topic = log.topic(TOPIC).await?;
    for _ in 0..20 {
        topic.append("x").await?.ack().await?;
    }
    let billing = topic.consumer("billing")?;
    ensure_eq!(billing.lag().await?, 20, "before the first commit");
    billing.commit(0, Msn::new(4)).await?;
    let status = billing.status().await?;
    let lags: Vec<_> = status.partitions.iter().map(|one| (one.committed, one.lag)).collect();
    ensure_eq!(lags, [(Some(Msn::new(4)), 6), (None, 10)], "after a commit of 4 in partition 0");
    ensure_eq!(billing.lag().await?, 16, "in all");
    let first = topic.trim(1, Msn::new(10)).await?;
    ensure_eq!(billing.lag().await?, 16 - first.get(), "after a trim of partition 1");
    Ok(())
}

/// Each consumer of a topic is listed, none of another, with what it committed.
pub async fn consumers_are_listed_with_how_far_they_are(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    let other = log.topic("other").await?;
    append_each(&topic, 0..5).await?;
    append_each(&other, 0..5).await?;
    ensure!(topic.consumers().await?.is_empty(), "nobody has committed");
    topic.consumer("zeta")?.commit(0, Msn::new(5)).await?;
    topic.consumer("alpha")?.commit(0, Msn::new(2)).await?;
    other.consumer("alpha")?.commit(0, Msn::new(1)).await?;
    topic.consumer("touched")?.touch().await?;
    let listed = topic.consumers().await?;
    let listed: Vec<_> = listed.iter().map(|one| (one.consumer.as_str(), one.lag())).collect();
    ensure_eq!(listed, [("alpha", 3), ("touched", 5), ("zeta", 0)], "consumers and lag");
    let all = log.consumers().await?;
    let all: Vec<_> = all.iter().map(|(topic, names)| (topic.as_str(), names.len())).collect();
    ensure_eq!(all, [("orders", 3), ("other", 1)], "consumers of all topics");
    Ok(())
}

/// A reset goes to an MSN, to a time, to the start and to the end, and is there after reopening.
pub async fn reset_moves_back_and_forward_and_stays(cx: Cx) -> CaseResult {
    let mut log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    for at in 0..10 {
        let message = Message::new("x").with_timestamp(Timestamp::from_millis(1_000 + at));
        topic.append(message).await?.ack().await?;
    }
    topic.consumer("billing")?.commit(0, Msn::new(6)).await?;
    let time = |at| ResetTo::Timestamp(Timestamp::from_millis(at));
    let resets = [
        (ResetTo::Msn(Msn::new(2)), 2),
        (ResetTo::End, 10),
        (time(1_003), 3),
        (time(9_000), 10),
        (ResetTo::Start, 0),
    ];
    for (to, expected) in resets {
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        ensure_eq!(billing.reset(0, to).await?, Msn::new(expected), "reset to {to:?}");
        let all = billing.reset_all(to).await?;
        ensure_eq!(all, BTreeMap::from([(0, Msn::new(expected))]), "all reset to {to:?}");
        drop(billing);
        log = reopen(&cx, log).await?;
        let billing = log.topic(TOPIC).await?.consumer("billing")?;
        ensure_eq!(billing.committed(0).await?, Some(Msn::new(expected)), "after {to:?}");
        billing.commit(0, Msn::new(expected)).await?;
    }
    Ok(())
}

/// A reset beyond the end, or of a partition that is not, is `Invalid` and changes nothing.
pub async fn reset_that_cannot_be_changes_nothing(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let billing = topic.consumer("billing")?;
    billing.commit(0, Msn::new(3)).await?;
    let beyond = ResetTo::Msn(Msn::new(6));
    check_refused(billing.reset(0, beyond).await, ErrorKind::Invalid, "reset beyond the end")?;
    check_refused(billing.reset_all(beyond).await, ErrorKind::Invalid, "reset all beyond")?;
    check_refused(billing.reset(1, ResetTo::Start).await, ErrorKind::Invalid, "partition 1")?;
    ensure_eq!(billing.committed(0).await?, Some(Msn::new(3)), "after refused resets");
    Ok(())
}

/// A deleted consumer is listed no more, holds nothing, and begins at the start.
pub async fn deleted_consumer_starts_anew(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let billing = topic.consumer("billing")?;
    ensure!(!billing.delete().await?, "there was nothing to delete");
    billing.commit(0, Msn::new(3)).await?;
    billing.commit_later(0, Msn::new(5)).await?;
    ensure!(billing.delete().await?, "there was something to delete");
    billing.flush().await?;
    ensure_eq!(billing.committed(0).await?, None, "after it was deleted");
    ensure!(topic.consumers().await?.is_empty(), "it is still listed");
    billing.commit(0, Msn::new(1)).await?;
    ensure_eq!(billing.committed(0).await?, Some(Msn::new(1)), "a commit below the deleted one");
    Ok(())
}

/// A consumer that says nothing for longer than the topic allows is forgotten by the next clean,
/// also when the log was reopened; one that commits, even the same MSN, or is touched, is not.
pub async fn dead_consumer_expires_and_a_living_one_does_not(cx: Cx) -> CaseResult {
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let builder = || Log::builder().clock(clock.clone());
    let log = open_with(&cx, builder()).await?;
    let retention = Retention::keep_forever().with_consumers_expire(Duration::from_secs(100));
    let config = TopicConfig::default().with_retention(retention);
    log.create_topic(&TOPIC.parse()?, config).await?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    for name in ["dead", "same", "touched"] {
        topic.consumer(name)?.commit(0, Msn::new(2)).await?;
    }
    clock.set(Timestamp::from_millis(1_060_000));
    log.clean().await?;
    ensure_eq!(topic.consumers().await?.len(), 3, "consumers after 60 s");
    topic.consumer("same")?.commit(0, Msn::new(2)).await?;
    topic.consumer("touched")?.touch().await?;
    drop(topic);
    log.close().await?;
    drop(log);
    let log = open_with(&cx, builder()).await?;
    clock.set(Timestamp::from_millis(1_100_001));
    let report = log.clean().await?;
    let expired: Vec<_> = report.expired_consumers.iter().map(|(_, name)| name.as_str()).collect();
    ensure_eq!(expired, ["dead"], "who expired after 100 s");
    let topic = log.topic(TOPIC).await?;
    let left = topic.consumers().await?;
    let left: Vec<_> = left.iter().map(|one| one.consumer.as_str()).collect();
    ensure_eq!(left, ["same", "touched"], "who is left");
    ensure_eq!(topic.consumer("dead")?.committed(0).await?, None, "what the dead one committed");
    Ok(())
}

/// A topic that is created under the name of a deleted one has no consumers.
pub async fn deleted_topic_takes_its_commits_along(cx: Cx) -> CaseResult {
    let log = open(&cx).await?;
    let name = TOPIC.parse()?;
    let topic = log.topic(TOPIC).await?;
    append_each(&topic, 0..5).await?;
    let before = topic.consumer("billing")?;
    before.commit(0, Msn::new(5)).await?;
    log.topic("other").await?.consumer("billing")?.commit(0, Msn::ZERO).await?;
    ensure!(log.delete_topic(&name).await?, "it was there");
    let anew = log.topic(TOPIC).await?;
    append_each(&anew, 0..5).await?;
    let billing = anew.consumer("billing")?;
    ensure_eq!(billing.committed(0).await?, None, "in the new topic");
    check_refused(before.commit(0, Msn::new(5)).await, ErrorKind::Closed, "by an old handle")?;
    drop((topic, anew, billing, before));
    let log = reopen(&cx, log).await?;
    let billing = log.topic(TOPIC).await?.consumer("billing")?;
    ensure_eq!(billing.committed(0).await?, None, "after reopen");
    let other = log.topic("other").await?.consumer("billing")?;
    ensure_eq!(other.committed(0).await?, Some(Msn::ZERO), "in another topic");
    Ok(())
}
