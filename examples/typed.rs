//! cargo run --release --example typed --features json,postcard,blake3
//!
//! Orders as values: keys from a field, a content hash, a switch from JSON to postcard.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use futures::StreamExt;
use msglog::codec::{Json, Postcard};
use msglog::{Decoded, Msn, ReadLimit, Result, UtcOffset};
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    table: u32,
    item: String,
}

fn order(table: u32, item: &str) -> Order {
    Order { table, item: item.to_owned() }
}

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let topic = log.topic("orders").await?;

    let orders = topic
        .typed::<Order>(Json::default())
        .keyed_by(|order: &Order| order.table.to_string())
        .with_hash()
        .with_utc_offset(UtcOffset::from_minutes(120)?);
    orders.append(&order(7, "two coffees")).await?.ack().await?;
    orders.append_batch([order(7, "one tea"), order(7, "the bill")]).await?.ack().await?;

    // Later the payloads become smaller; what is there already is still read.
    let orders = topic.typed::<Order>(Postcard::default()).reading(Json::default());
    orders.append(&order(8, "three cakes")).await?.ack().await?;
    // Someone else's bytes are handed out as they are.
    topic.append("not an order").await?.ack().await?;

    let page = orders.read(0, Msn::ZERO, ReadLimit::default()).await?;
    for read in &page.records {
        let bytes = read.record.payload.as_ref().map_or(0, |payload| payload.len());
        match &read.decoded {
            Decoded::Value(order) => println!("MSN {}: {order:?} in {bytes} bytes", read.msn()),
            other => println!("MSN {}: {bytes} bytes, {other:?}", read.msn()),
        }
    }
    assert_eq!(page.records.len(), 5);
    let offset = page.records.first().and_then(|read| read.utc_offset());
    assert_eq!(offset, Some(UtcOffset::from_minutes(120)?));

    let mut tail = orders.subscribe(0, Msn::new(3))?;
    if let Some(read) = tail.next().await {
        assert_eq!(read?.into_value()?, Some(order(8, "three cakes")));
    }
    Ok(())
}
