//! cargo run --release --example reading
//!
//! Ways to read: by time, one by one, backwards, and only what a filter asks for.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::{Filter, Message, MsgLog, Msn, ReadLimit, Record, Result, Timestamp};

const ORDERS: i64 = 20;

fn shown(record: &Record) -> String {
    let payload = record.payload.as_deref().unwrap_or_default();
    format!("MSN {} `{}`", record.msn, String::from_utf8_lossy(payload))
}

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let orders = log.topic("orders").await?;
    for number in 0..ORDERS {
        let order = Message::new(format!("order {number}"))
            .with_key(format!("table-{}", number % 3))
            .with_timestamp(Timestamp::from_millis(number * 1_000));
        orders.append(order).await?.ack().await?;
    }

    let since = orders.find(0, Timestamp::from_millis(7_500)).await?;
    println!("the first order after 7.5 s has MSN {since}");

    for (msn, found) in [3, 1, 99].iter().zip(orders.read_many(0, &[3, 1, 99].map(Msn::new)).await?)
    {
        match found {
            Ok(record) => println!("asked for {msn}: {}", shown(&record)),
            Err(why) => println!("asked for {msn}: {why}"),
        }
    }

    for record in orders.read_before(0, Msn::MAX, 2, ReadLimit::default()).await? {
        println!("among the last two: {}", shown(&record));
    }

    let table = Filter::key("table-2");
    let mut next = since;
    loop {
        let page = orders.read_filtered(0, next, ReadLimit::default(), &table).await?;
        page.records.iter().for_each(|record| println!("of table 2: {}", shown(record)));
        if page.next_msn <= next {
            break;
        }
        next = page.next_msn;
    }
    log.close().await
}
