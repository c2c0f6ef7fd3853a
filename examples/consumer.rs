//! cargo run --release --example consumer
//!
//! A consumer commits how far it is, goes away in the middle, and goes on where it left off.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::StreamExt;
use msglog::{Log, MsgLog, Result};

const ORDERS: usize = 10;

/// Does `count` orders from where the last commit left off; answers the MSNs it did.
async fn work(log: &Log, count: usize) -> Result<Vec<u64>> {
    let billing = log.topic("orders").await?.consumer("billing")?;
    println!("billing has committed {:?}", billing.committed(0).await?);
    let mut orders = billing.subscribe(0).await?.take(count);
    let mut done = Vec::new();
    while let Some(order) = orders.next().await {
        let order = order?;
        println!("billing MSN {}", order.msn);
        done.push(order.msn.get());
        // Everything below the next MSN is done: durable when it returns.
        billing.commit(0, order.msn.plus(1)).await?;
    }
    Ok(done)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("msglog-consumer-{}", std::process::id()));
    let url = format!("fs://{}", folder.display());
    let log = msglog::open(&url).await?;
    let orders = log.topic("orders").await?;
    let appended = orders.append_batch((0..ORDERS).map(|n| format!("order {n}"))).await?;
    println!("appended from MSN {} on", appended.ack().await?);

    let mut done = work(&log, 4).await?;
    println!("billing goes away; so does the log");
    log.close().await?;

    let log = msglog::open(&url).await?;
    done.extend(work(&log, ORDERS - 4).await?);
    assert!(done.iter().copied().eq(0..10), "each order is billed once");
    println!("each of {} orders was billed once", done.len());
    log.close().await?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
