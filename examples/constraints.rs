//! cargo run --release --example constraints
//!
//! A topic that lets in only what keeps its rules, rules that change live, and a rate.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use msglog::{
    ByteRange, ErrorKind, Log, Message, MsgLog, Rate, Result, Rule, Topic, TopicConfig, TopicName,
};

async fn attempt(topic: &Topic, message: Message) -> Result<Option<ErrorKind>> {
    match topic.append(message).await {
        Ok(appended) => {
            println!("MSN {}", appended.ack().await?);
            Ok(None)
        }
        Err(error) => {
            println!("{error}");
            Ok(Some(error.kind()))
        }
    }
}

async fn open() -> Result<(Log, Topic)> {
    let log = msglog::open("memory:").await?;
    let config = TopicConfig::default()
        .with_rule(Rule::KeyRequired)
        .with_rule(Rule::PayloadBytes(ByteRange { min: 2, max: Some(100) }))
        .with_rule(Rule::ContentType(vec!["application/json".to_owned()]))
        .with_rule(Rule::Json);
    log.create_topic(&TopicName::parse("orders")?, config).await?;
    let topic = log.topic("orders").await?;
    Ok((log, topic))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (log, orders) = open().await?;
    let order = |payload: &'static str| {
        Message::new(payload).with_key("table-7").with_header("content-type", "application/json")
    };
    assert_eq!(attempt(&orders, order(r#"{"item": "tea"}"#)).await?, None);
    assert_eq!(attempt(&orders, order(r#"{"item": "#)).await?, Some(ErrorKind::Invalid));
    assert_eq!(attempt(&orders, Message::new("{}")).await?, Some(ErrorKind::Invalid));
    // A batch is let in whole, or not at all.
    let batch = orders.append_batch([order("{}"), order("1")]).await;
    println!("{}", batch.map_or_else(|error| error.to_string(), |_| "let in".to_owned()));

    // Ten at once, then ten a second: others are told when to come again.
    let rate = Rule::Rate(Rate::messages(10));
    let config = log.configure("orders", |config| {
        config.constraints.rules = vec![rate.clone()];
    });
    println!("version {} of the rules", config.await?.constraints.version);
    let mut refused = 0;
    for _ in 0..15 {
        match orders.append("now without key").await {
            Err(error) if error.kind() == ErrorKind::Refused && error.is_transient() => {
                refused += 1
            }
            appended => drop(appended?.ack().await?),
        }
    }
    println!("{refused} of 15 were refused");
    assert!(refused > 0);
    Ok(())
}
