//! cargo run --release --example idempotent
//!
//! An import that is interrupted again and again stores each line once: after a crash it asks where
//! to go on.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::{Message, MsgLog, Msn, ReadLimit, Result};

const LINES: u64 = 20;

fn line(number: u64) -> Message {
    Message::new(format!("line {number}"))
}

/// Imports up to `count` lines and then dies: some are sent, and nobody has waited for their ack.
async fn import(url: &str, count: u64) -> Result<bool> {
    let log = msglog::open(url).await?;
    let orders = log.topic("orders").await?;
    let importer = orders.producer("importer").await?;
    // So many of its messages are stored: everything after a crash is in this line.
    let next = importer.next_sequence(0)?;
    println!("goes on at line {next}");
    for number in next..LINES.min(next + count) {
        let appended = importer.append_at(0, number, &[line(number)]).await?;
        if number % 2 == 0 {
            appended.ack().await?;
        }
    }
    // An append whose outcome was not known is sent again: it is stored once.
    if next > 0 {
        let msn = importer.append_at(0, next - 1, &[line(next - 1)]).await?.ack().await?;
        println!("line {} was stored before, at MSN {msn}", next - 1);
    }
    Ok(importer.next_sequence(0)? >= LINES)
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("msglog-idempotent-{}", std::process::id()));
    let url = format!("fs://{}", folder.display());
    // Each round drops the log without closing it.
    while !import(&url, 7).await? {}
    let log = msglog::open(&url).await?;
    let orders = log.topic("orders").await?;
    let importer = orders.producer("importer").await?;
    let stored = importer.next_sequence(0)?;
    for number in stored..LINES {
        importer.append_at(0, number, &[line(number)]).await?.ack().await?;
    }
    let page = orders.read(0, Msn::ZERO, ReadLimit::default()).await?;
    let payloads = page.records.iter().map(|record| record.payload.clone());
    assert!(payloads.eq((0..LINES).map(|number| line(number).payload)), "each line once, in order");
    println!("{} lines, each of them once", page.records.len());
    log.close().await?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
