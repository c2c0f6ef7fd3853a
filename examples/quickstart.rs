//! cargo run --release --example quickstart
//!
//! Appends, waits for the acks, reads back, tails, drops the log without closing it, and reopens.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::StreamExt;
use msglog::{MsgLog, Msn, ReadLimit, Record, Result};

fn text(record: &Record) -> String {
    String::from_utf8_lossy(record.payload.as_deref().unwrap_or_default()).into_owned()
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("msglog-quickstart-{}", std::process::id()));
    let url = format!("fs://{}", folder.display());
    println!("opening {url}");
    let log = msglog::open(&url).await?;
    let orders = log.topic("orders").await?;

    // The MSN comes at once; the ack resolves when the message would survive a power cut.
    let mut acks = Vec::new();
    for order in ["two coffees", "one tea", "three cakes"] {
        let appended = orders.append(order).await?;
        println!("appended `{order}` as MSN {}", appended.msn());
        acks.push(appended.ack());
    }
    for ack in acks {
        println!("MSN {} is durable", ack.await?);
    }

    let page = orders.read(0, Msn::ZERO, ReadLimit::default()).await?;
    for record in &page.records {
        println!("read back MSN {}: {}", record.msn, text(record));
    }

    // A subscription goes from history to live without a gap or a repeat.
    let mut tail = orders.subscribe(0, page.next_msn)?;
    let appended = orders.append("the bill, please").await?;
    if let Some(record) = tail.next().await {
        println!("the tail saw MSN {}: {}", appended.msn(), text(&record?));
    }

    println!("dropping the log without closing it, and opening it again");
    drop((log, orders, tail));
    let log = msglog::open(&url).await?;
    let orders = log.topic("orders").await?;
    let page = orders.read(0, Msn::ZERO, ReadLimit::default()).await?;
    for record in &page.records {
        println!("still there, MSN {}: {}", record.msn, text(record));
    }
    assert_eq!(page.records.len(), 4, "everything that was acked survives");
    log.close().await?;
    println!("closed; removing {}", folder.display());
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
