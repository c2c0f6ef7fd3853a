//! cargo run --release --example group_commit
//!
//! Many tasks append at `Sync`, each waiting for its ack; one sync serves all that gathered.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Instant;

use msglog::{MsgLog, Result};

const TASKS: usize = 64;
const APPENDS_PER_TASK: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("msglog-group-{}", std::process::id()));
    let log = msglog::open(&format!("fs://{}", folder.display())).await?;
    let topic = log.topic("orders").await?;
    let started = Instant::now();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let topic = topic.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..APPENDS_PER_TASK {
                topic.append(format!("task {task}, message {n}")).await?.ack().await?;
            }
            msglog::Result::Ok(())
        }));
    }
    for task in futures::future::join_all(tasks).await.into_iter().flatten() {
        task?;
    }
    let appends = TASKS * APPENDS_PER_TASK;
    let rate = appends as f64 / started.elapsed().as_secs_f64();
    let syncs: u64 = log.stats().partitions.iter().map(|partition| partition.syncs).sum();
    println!("appends {appends}");
    println!("syncs {syncs}");
    println!("appends per second {rate:.0}");
    drop(topic);
    log.close().await?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
