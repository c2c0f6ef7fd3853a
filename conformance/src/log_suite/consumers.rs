//! Consumer commits: durable, never back, never beyond the end, each consumer's own.

use msglog_core::store::Survives;
use msglog_core::{ErrorKind, MsgLog, Msn};

use super::{TOPIC, append_each, open, open_reader, reopen};
use crate::case::{Need, cases};
use crate::cx::check_refused;
use crate::{CaseResult, Cx, ensure_eq};

const REOPENS: Need = Need::SyncSurvives(Survives::Process);

cases! { "log-consumer":
    commit_is_read_back;
    commit_never_moves_back;
    commit_beyond_the_end_is_refused;
    consumers_and_partitions_commit_apart;
    concurrent_commits_keep_the_highest;
    commit_survives_reopen [REOPENS];
    commit_beside_the_writer_is_seen [Need::SharedDocuments];
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
