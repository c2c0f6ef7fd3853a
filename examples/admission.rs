//! cargo run --release --example admission
//!
//! A topic is ended at an MSN: producers are told, consumers drain it and know that it is the end.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::{ErrorKind, MsgLog, Msn, ReadLimit, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let orders = log.topic("orders").await?;
    log.refuse_at("orders", 0, Msn::new(100)).await?;

    // Four producers, until each is refused; together they fill it exactly.
    let producers = (0..4).map(|producer| {
        let orders = orders.clone();
        async move {
            loop {
                match orders.append(format!("from {producer}")).await {
                    Ok(appended) => drop(appended.ack().await?),
                    Err(error) if error.kind() == ErrorKind::Refused => return Ok(error),
                    Err(error) => return Err(error),
                }
            }
        }
    });
    for refusal in futures::future::join_all(producers).await {
        println!("a producer ends: {}", refusal?);
    }

    let (mut next, mut seen) = (Msn::ZERO, 0);
    while orders.final_msn(0).await? != Some(next) {
        let page = orders.read(0, next, ReadLimit::default()).await?;
        seen += page.records.len();
        next = page.next_msn;
    }
    println!("drained: {seen} records, and no more will come");
    assert_eq!(seen, 100);

    log.accept("orders").await?;
    orders.append("again").await?.ack().await?;
    log.close().await
}
