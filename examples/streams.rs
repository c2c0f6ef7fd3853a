//! cargo run --release --example streams
//!
//! A topic as a sink and as a stream: messages are forwarded from one topic to another.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::{SinkExt, StreamExt, TryStreamExt, stream};
use msglog::{Message, MsgLog, Msn, Result};

const ORDERS: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let (orders, bills) = (log.topic("orders").await?, log.topic("bills").await?);

    // `forward` closes the sink, which returns when every message is acked.
    let messages = (0..ORDERS).map(|number| Ok(Message::new(format!("order {number}"))));
    stream::iter(messages).forward(orders.sink()).await?;
    println!("{} orders are acked", orders.bounds(0).await?.next_msn);

    // From one topic to the other; the log bounds what is in flight, so memory is bounded too.
    let mut sink = bills.sink();
    let mut new = orders.subscribe(0, Msn::ZERO)?.take(ORDERS);
    while let Some(order) = new.try_next().await? {
        let mut bill = Message::from(order);
        bill.headers.push(msglog::Header::new("kind", "bill"));
        sink.feed(bill).await?;
    }
    println!("{} bills wait for their acks", sink.unacked());
    sink.close().await?;
    println!("{} bills are acked", bills.bounds(0).await?.next_msn);
    log.close().await
}
