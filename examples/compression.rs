//! cargo run --release --example compression --features zstd,lz4
//!
//! A topic whose batches are compressed from a size on, with a level, changed while it is used.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use msglog::{
    AppendOptions, Compression, CompressionPolicy, Message, MsgLog, Msn, ReadLimit, Result, Topic,
    TopicConfig, TopicName,
};

fn orders(count: usize) -> Vec<Message> {
    (0..count)
        .map(|n| {
            Message::new(format!(r#"{{"table":{},"item":"coffee","cents":{}}}"#, n % 9, n * 7))
        })
        .collect()
}

async fn show(topic: &Topic) -> Result<Vec<Compression>> {
    let page = topic.read_batches(0, Msn::ZERO, ReadLimit::default()).await?;
    let mut codecs = Vec::new();
    for batch in &page.batches {
        let codec = batch.header().compression()?;
        let (records, bytes) = (batch.record_count(), batch.encoded_len());
        println!("MSN {}: {records} records in {bytes} bytes, {codec:?}", batch.base_msn());
        codecs.push(codec);
    }
    Ok(codecs)
}

#[tokio::main]
async fn main() -> Result<()> {
    let log = msglog::open("memory:").await?;
    let policy = CompressionPolicy::from(Compression::Zstd).with_level(1).with_bytes_min(1024);
    let config = TopicConfig::default()
        .with_compression(policy)
        .with_linger(Duration::from_millis(1))
        .with_batch_bytes_max(256 << 10);
    log.create_topic(&TopicName::parse("orders")?, config).await?;
    let topic = log.topic("orders").await?;

    topic.append_batch(orders(2)).await?.ack().await?;
    topic.append_batch(orders(1000)).await?.ack().await?;
    log.configure("orders", |config| config.compression.level = Some(19)).await?;
    topic.append_batch(orders(1000)).await?.ack().await?;
    // One append in its own way, whatever the topic's is.
    let fast = AppendOptions::default().with_compression(Compression::Lz4);
    topic.append_batch_with(&orders(1000), fast).await?.ack().await?;

    let codecs = show(&topic).await?;
    let (none, zstd, lz4) = (Compression::None, Compression::Zstd, Compression::Lz4);
    assert_eq!(codecs, [none, zstd, zstd, lz4]);
    Ok(())
}
