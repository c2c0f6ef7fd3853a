//! cargo run --release --example blocking
//!
//! The log without async code: every call waits for its answer, streams are iterators.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::{AppendOptions, Filter, Message, Msn, ReadLimit, Result, SubscribeOptions, blocking};

fn main() -> Result<()> {
    let log = blocking::open("memory:")?;
    let orders = log.topic("orders")?;
    for number in 0..10 {
        let order = Message::new(format!("order {number}")).with_key(format!("{}", number % 2));
        orders.append_and_wait(order, AppendOptions::default())?;
    }

    let cashier = orders.consumer("cashier")?;
    for record in cashier.subscribe(0)?.take(4) {
        cashier.commit(0, record?.msn.plus(1))?;
    }
    println!("the cashier is done below MSN {:?}", cashier.committed(0)?);

    let odd = SubscribeOptions::default().with_filter(Filter::key("1"));
    for record in orders.subscribe_with(0, Msn::ZERO, odd)?.take(3) {
        println!("odd order at MSN {}", record?.msn);
    }
    for record in orders.read_before(0, Msn::MAX, 2, ReadLimit::default())? {
        println!("one of the last two: MSN {}", record.msn);
    }
    println!("{} records in all", log.stats().total().written_records);
    log.close()
}
