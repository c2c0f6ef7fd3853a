//! A log whose process is killed at any moment: every printed ack holds, and all is a prefix.

use std::time::Duration;

use msglog_core::store::Survives;
use msglog_core::{Log, MsgLog, Msn};

use super::{TOPIC, check_messages, message, open, read_all};
use crate::case::{MULTI, Need, cases};
use crate::process::{Child, Job, said};
use crate::sample::Dice;
use crate::store_suite::crash::rounds;
use crate::{CaseResult, Cx, ensure};

cases! { "log-crash":
    killed_log_keeps_what_was_acked
        [Need::SyncSurvives(Survives::Os), Need::Address] { runtimes: MULTI, seconds_max: 60 };
}

/// How many messages the child has in flight.
const IN_FLIGHT: usize = 64;

/// What the child process does: appends message after message, and says `A <MSN>` for each ack.
pub(crate) async fn append_for_ever(
    log: Log,
    mut say: impl FnMut(&str) -> CaseResult,
) -> CaseResult {
    let topic = log.topic(TOPIC).await?;
    let mut number = topic.bounds(0).await?.next_msn.get();
    let mut acks = std::collections::VecDeque::new();
    loop {
        acks.push_back(topic.append(message(number)).await?.ack());
        number += 1;
        if acks.len() >= IN_FLIGHT
            && let Some(oldest) = acks.pop_front()
        {
            say(&format!("A {}", oldest.await?))?;
        }
    }
}

/// Killed again and again: every record whose ack was said is there, and all is a prefix.
pub async fn killed_log_keeps_what_was_acked(cx: Cx) -> CaseResult {
    let mut dice = Dice::new(cx.seed());
    for _ in 0..rounds() {
        let mut child = Child::start(&cx, Job::AppendToLog)?;
        let mut lines = vec![child.line().await?];
        tokio::time::sleep(Duration::from_micros(dice.below(40_000))).await;
        lines.extend(child.kill().await?);
        let acked = lines.iter().filter_map(|line| said(line, "A")).next_back();
        let log = open(&cx).await?;
        let records = read_all(&log.topic(TOPIC).await?, 0, Msn::ZERO).await?;
        check_messages(&records, 0, "recovered after kill -9")?;
        let found = records.len() as u64;
        ensure!(acked.is_none_or(|acked| found > acked), "acked {acked:?}, recovered {found}");
        log.close().await?;
    }
    Ok(())
}
