//! cargo run --release --example tail
//!
//! A tail from history to live: one task appends, another sees every record once, in order.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::StreamExt;
use msglog::{MsgLog, Msn, Result};

const HISTORY: u64 = 3;
const LIVE: u64 = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let news = log.topic("news").await?;
    for n in 0..HISTORY {
        let _ = news.append(format!("old news {n}")).await?.ack().await?;
    }

    let mut tail = news.subscribe(0, Msn::ZERO)?;
    let reader = tokio::spawn(async move {
        let mut expected = Msn::ZERO;
        while let Some(record) = tail.next().await {
            let record = record?;
            assert_eq!(record.msn, expected, "no gap and no repeat");
            expected = expected.plus(1);
            let payload = record.payload.unwrap_or_default();
            println!("MSN {}: {}", record.msn, String::from_utf8_lossy(&payload));
        }
        // The stream ends when the log is closed.
        msglog::Result::Ok(expected)
    });

    for n in 0..LIVE {
        let msn = news.append(format!("breaking news {n}")).await?.ack().await?;
        println!("appended MSN {msn}");
    }
    // Lets the reader catch up: closing ends its stream.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    log.close().await?;
    match reader.await {
        Ok(seen) => println!("the tail saw all records below MSN {}", seen?),
        Err(cause) => println!("the tail ended early: {cause}"),
    }
    Ok(())
}
