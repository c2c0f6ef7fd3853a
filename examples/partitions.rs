//! cargo run --release --example partitions
//!
//! All partitions of a topic as one stream that can be resumed, and a partitioner of one's own.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::StreamExt;
use msglog::{Message, MessageRef, MsgLog, Partitioner, Result, SubscribeOptions, TopicConfig};

/// Urgent messages have partition 0 for themselves; the others share the rest by turns of length.
#[derive(Debug)]
struct UrgentFirst;

impl Partitioner for UrgentFirst {
    fn partition(&self, message: MessageRef<'_>, partitions: u32) -> Option<u32> {
        let urgent = message.headers.iter().any(|header| header.name == "urgent");
        let length = message.payload.map_or(0, <[u8]>::len);
        let others = partitions.saturating_sub(1).max(1);
        Some(if urgent { 0 } else { 1 + u32::try_from(length).unwrap_or(0) % others })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    log.create_topic(&"jobs".parse()?, TopicConfig::default().with_partitions(3)).await?;
    let jobs = log.topic("jobs").await?.with_partitioner(UrgentFirst);
    for number in 0..9 {
        let mut job = Message::new(format!("job {}", "#".repeat(number)));
        if number % 4 == 0 {
            job = job.with_header("urgent", "yes");
        }
        jobs.append(job).await?.ack().await?;
    }

    let mut all = jobs.subscribe_all()?;
    for _ in 0..4 {
        if let Some(found) = all.next().await {
            let found = found?;
            println!("partition {} MSN {}", found.partition, found.record.msn);
        }
    }
    // Keep these, e.g. as commits of a consumer, to go on after a restart.
    let positions = all.positions();
    println!("stopped at {positions:?}");
    drop(all);

    let mut rest = jobs.subscribe_partitions(positions, &SubscribeOptions::default())?;
    for _ in 4..9 {
        if let Some(found) = rest.next().await {
            let found = found?;
            println!("resumed: partition {} MSN {}", found.partition, found.record.msn);
        }
    }
    log.close().await
}
