//! cargo run --release --example retention
//!
//! A topic keeps what is young, or not yet committed by everyone; the rule changes while it is used.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use msglog::log::{HeldBy, Retention};
use msglog::{Clock, Log, Message, MsgLog, Msn, Result, SystemClock, Timestamp, TopicConfig};

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open_with("memory:", Log::builder()).await?;
    let hour = Duration::from_secs(3600);
    // Older than an hour, and done by every consumer: both must hold before a record goes.
    let retention = Retention::keep_forever().with_age(hour).with_committed();
    log.create_topic(&"orders".parse()?, TopicConfig::default().with_retention(retention)).await?;
    let orders = log.topic("orders").await?;

    let two_hours_ago = Timestamp::from_millis(SystemClock.now().as_millis() - 7_200_000);
    for n in 0..10 {
        let message = Message::new(format!("order {n}"));
        let message = if n < 8 { message.with_timestamp(two_hours_ago) } else { message };
        orders.append(message).await?.ack().await?;
    }
    orders.consumer("billing")?.commit(0, Msn::new(5)).await?;

    // The cleaner does this every minute by itself; here it is asked.
    let report = log.clean().await?;
    println!("trimmed: {:?}", report.trimmed);
    for held in &report.held_back {
        println!("held back: MSNs {:?}: {:?}", held.msns, held.by);
        assert!(matches!(&held.by, HeldBy::Consumer(name) if name.as_str() == "billing"));
    }
    assert_eq!(orders.bounds(0).await?.first_msn, Msn::new(5), "old, and billed");

    log.configure("orders", |config| config.retention.committed = false).await?;
    log.clean().await?;
    assert_eq!(orders.bounds(0).await?.first_msn, Msn::new(8), "old, billed or not");
    println!("now the log begins at MSN {}", orders.bounds(0).await?.first_msn);
    log.close().await
}
