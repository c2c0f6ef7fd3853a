//! cargo run --release --example observability
//!
//! What a log tells of itself: counts, rates, latencies, and what it would change.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::{MsgLog, Result};

const BATCHES: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let readings = log.topic("readings").await?;
    let before = log.stats();
    for hour in 0..BATCHES {
        let batch = (0..100).map(|minute| format!("{{\"hour\": {hour}, \"minute\": {minute}}}"));
        readings.append_batch(batch).await?.ack().await?;
    }
    for n in 0..2_000 {
        readings.append(format!("{{\"alarm\": {n}}}")).await?.ack().await?;
    }

    let stats = log.stats();
    let total = stats.total();
    println!("{} records in {} batches", total.written_records, total.batches);
    let rates = stats.rates_since(&before);
    println!("{:.0} records and {:.0} syncs a second", rates.appended_records, rates.syncs);
    for share in [0.5, 0.99] {
        let (append, sync) = (&total.append_latency, &total.sync_latency);
        println!("{share}: append {:?}, sync {:?}", append.quantile(share), sync.quantile(share));
    }
    for (partition, usage) in log.usage().await? {
        println!("{partition}: {} bytes in {} segments", usage.bytes, usage.segments);
    }
    for advice in log.advise().await? {
        println!("advice: {advice}");
    }
    log.close().await
}
