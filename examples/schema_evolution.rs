//! cargo run --release --example schema_evolution --features json,postcard
//!
//! Two versions of a struct in one topic. JSON takes a new optional field as it is; a change that
//! old bytes do not fit gets an id of its own, and a function that turns old into new.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::codec::{Json, Postcard};
use msglog::{Msn, ReadLimit, Result};
use serde::{Deserialize, Serialize};

/// As it was.
#[derive(Deserialize, Serialize)]
struct OrderV1 {
    item: String,
    price: f64,
}

/// As it is: money in cents, and a field that old records lack.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Order {
    item: String,
    cents: u64,
    #[serde(default)]
    note: Option<String>,
}

impl From<OrderV1> for Order {
    fn from(old: OrderV1) -> Self {
        let cents = format!("{:.0}", old.price * 100.0).parse().unwrap_or(0);
        Self { item: old.item, cents, note: None }
    }
}

/// Before the note was added, JSON records looked like this.
#[derive(Deserialize, Serialize)]
struct OrderWithoutNote {
    item: String,
    cents: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let topic = log.topic("orders").await?;

    let first = topic.typed(Postcard::named("order.v1+postcard")?);
    first.append(&OrderV1 { item: "tea".to_owned(), price: 2.5 }).await?.ack().await?;
    let second = topic.typed(Json::named("order.v2+json")?);
    second.append(&OrderWithoutNote { item: "cake".to_owned(), cents: 420 }).await?.ack().await?;

    // The reader of today knows all of them, and hands out one type.
    let orders = topic
        .typed::<Order>(Json::named("order.v2+json")?)
        .reading_as(Postcard::named("order.v1+postcard")?, |old: OrderV1| old.into());
    let note = Some("no sugar".to_owned());
    orders.append(&Order { item: "coffee".to_owned(), cents: 300, note }).await?.ack().await?;

    let page = orders.read(0, Msn::ZERO, ReadLimit::default()).await?;
    let mut cents = Vec::new();
    for read in page.records {
        let order = read.into_value()?;
        println!("{order:?}");
        cents.extend(order.map(|order| order.cents));
    }
    assert_eq!(cents, [250, 420, 300]);
    Ok(())
}
