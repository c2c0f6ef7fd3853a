//! cargo run --release --example compaction
//!
//! A keyed topic keeps the newest record of each key; MSNs stay, deletions are seen.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use msglog::log::Compaction;
use msglog::{Message, MsgLog, Msn, ReadLimit, Result, Topic, TopicConfig};

async fn show(topic: &Topic) -> Result<usize> {
    let page = topic.read(0, Msn::ZERO, ReadLimit::default()).await?;
    for record in &page.records {
        let text = |bytes: &Option<bytes::Bytes>| {
            bytes.as_ref().map_or("-".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        println!("  MSN {}: {} = {}", record.msn, text(&record.key), text(&record.payload));
    }
    Ok(page.records.len())
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("msglog-compaction-{}", std::process::id()));
    let log = msglog::open(&format!("fs://{}", folder.display())).await?;
    // A short grace, so that the example ends: by default tombstones stay for a day.
    let compaction = Compaction::default().with_tombstone_grace(Duration::from_millis(1));
    let config = TopicConfig::default().with_compaction(compaction);
    log.create_topic(&"prices".parse()?, config).await?;
    let prices = log.topic("prices").await?;

    for day in 1..=100 {
        for coffee in ["espresso", "filter", "flat white"] {
            prices.append(Message::new(format!("{day} ct")).with_key(coffee)).await?.ack().await?;
        }
    }
    prices.append(Message::tombstone("filter")).await?.ack().await?;
    println!(
        "espresso costs {:?}",
        prices.latest("espresso").await?.and_then(|found| found.payload)
    );
    println!("filter costs {:?}", prices.latest("filter").await?.and_then(|found| found.payload));

    for done in prices.compact().await? {
        println!("{} records became {}:", done.records_before, done.records_after);
    }
    assert_eq!(show(&prices).await?, 3, "the newest of each key, and the tombstone");
    tokio::time::sleep(Duration::from_millis(10)).await;
    prices.compact().await?;
    println!("once the tombstone has had its time:");
    assert_eq!(show(&prices).await?, 2, "the newest of each key");
    log.close().await?;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
