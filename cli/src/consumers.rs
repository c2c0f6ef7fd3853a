//! `msglog consumers`: who has committed what, and changing that.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use msglog::log::{ConsumerStatus, ResetTo};
use msglog::{
    Clock, ConsumerName, ErrorKind, Log, LogBuilder, MsgLog, Msn, SystemClock, TopicName,
};
use serde::Serialize;

use crate::args::{Output, Place, consumer_name, moment, place, store_url, topic_name};
use crate::describe::{print_json, print_text, table};
use crate::failure::Failure;
use crate::moment::Moment;
use crate::open;

#[derive(Debug, Subcommand)]
pub(crate) enum Consumers {
    /// List consumers with what they have committed and how far behind they are
    List(List),
    /// Set what a consumer has committed, forwards or back
    Reset(Reset),
    /// Forget what a consumer has committed in a topic
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    url: String,
    /// Only of this topic [default: all]
    #[arg(value_parser = topic_name)]
    topic: Option<TopicName>,
}

#[derive(Args, Debug)]
pub(crate) struct Reset {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    url: String,
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    /// The consumer
    #[arg(value_parser = consumer_name)]
    consumer: ConsumerName,
    /// Where to: an MSN, start or end
    #[arg(long, value_name = "MSN|start|end", value_parser = place, allow_hyphen_values = true)]
    #[arg(required_unless_present = "since")]
    to: Option<Place>,
    /// To the first record of this time or later: RFC 3339, Unix milliseconds, or how long ago
    #[arg(long, value_name = "TIME", conflicts_with = "to")]
    #[arg(value_parser = moment, allow_hyphen_values = true)]
    since: Option<Moment>,
    /// Only this partition [default: all at once]
    #[arg(long, value_name = "N")]
    partition: Option<u32>,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    url: String,
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    /// The consumer
    #[arg(value_parser = consumer_name)]
    consumer: ConsumerName,
}

/// A consumer of a topic, as it is printed.
#[derive(Serialize)]
pub(crate) struct ConsumerDetail {
    topic: TopicName,
    consumer: ConsumerName,
    /// When it last said something, in Unix milliseconds.
    touched: Option<i64>,
    lag: u64,
    partitions: Vec<PartitionLag>,
}

#[derive(Serialize)]
struct PartitionLag {
    partition: u32,
    committed: Option<u64>,
    end: u64,
    lag: u64,
}

impl ConsumerDetail {
    pub(crate) fn new(status: &ConsumerStatus) -> Self {
        let partitions = status.partitions.iter().map(|one| PartitionLag {
            partition: one.partition,
            committed: one.committed.map(Msn::get),
            end: one.end.get(),
            lag: one.lag,
        });
        Self {
            topic: status.topic.clone(),
            consumer: status.consumer.clone(),
            touched: status.touched.map(msglog::Timestamp::as_millis),
            lag: status.lag(),
            partitions: partitions.collect(),
        }
    }

    fn rows(&self) -> impl Iterator<Item = Vec<String>> + '_ {
        self.partitions.iter().map(|one| {
            let committed = one.committed.map_or_else(|| "-".to_owned(), |msn| msn.to_string());
            vec![
                self.topic.to_string(),
                self.consumer.to_string(),
                one.partition.to_string(),
                committed,
                one.end.to_string(),
                one.lag.to_string(),
            ]
        })
    }
}

/// The consumers as a table, a row a partition.
pub(crate) fn text(consumers: &[ConsumerDetail]) -> String {
    let heads = ["TOPIC", "CONSUMER", "PARTITION", "COMMITTED", "END", "LAG"];
    table(&heads, consumers.iter().flat_map(ConsumerDetail::rows).collect())
}

/// The consumers of a topic of an open log.
pub(crate) async fn of_topic(log: &Log, topic: &TopicName) -> Result<Vec<ConsumerDetail>, Failure> {
    let consumers = log.topic(topic.as_str()).await?.consumers().await?;
    Ok(consumers.iter().map(ConsumerDetail::new).collect())
}

pub(crate) async fn run(command: &Consumers, output: Output) -> Result<ExitCode, Failure> {
    match command {
        Consumers::List(args) => list(args, output).await?,
        Consumers::Reset(args) => {
            let places = changed(&args.url, async |log| reset(log, args).await).await?;
            print_places(&places, output)?;
        }
        Consumers::Delete(args) => {
            let there = changed(&args.url, async |log| delete(log, args).await).await?;
            if !there {
                let (consumer, topic) = (&args.consumer, &args.topic);
                let why = format!("consumer `{consumer}` has committed nothing in `{topic}`");
                return Err(Failure::NotFound(why));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Changes commits beside a writer where the store lets readers do that, and as its writer elsewhere.
async fn changed<T>(
    url: &str,
    change: impl AsyncFn(&Log) -> msglog::Result<T>,
) -> Result<T, Failure> {
    let (log, _store) = open::for_reading(url).await?;
    let done = closing(&log, change(&log).await).await;
    if !done.as_ref().is_err_and(|error| error.kind() == ErrorKind::ReadOnly) {
        return Ok(done?);
    }
    let log = open::for_writing(url, quiet()).await?;
    Ok(closing(&log, change(&log).await).await?)
}

/// Closes the log, whatever was done with it; what that answered comes first.
async fn closing<T>(log: &Log, done: msglog::Result<T>) -> msglog::Result<T> {
    let closed = log.close().await;
    let done = done?;
    closed.map(|()| done)
}

async fn list(args: &List, output: Output) -> Result<(), Failure> {
    let (log, _store) = open::for_reading(&args.url).await?;
    let topics = match &args.topic {
        Some(topic) => vec![topic.clone()],
        None => log.consumers().await?.into_keys().collect(),
    };
    let mut consumers = Vec::new();
    for topic in &topics {
        match of_topic(&log, topic).await {
            // Commits that a deleted topic left behind are nobody's.
            Err(Failure::Log(error))
                if args.topic.is_none() && error.kind() == ErrorKind::NotFound => {}
            found => consumers.extend(found?),
        }
    }
    log.close().await?;
    match output {
        Output::Json => print_json(&consumers),
        Output::Table => print_text(&text(&consumers)),
    }
}

/// Where each partition was set to.
type Places = Vec<(u32, Msn)>;

async fn reset(log: &Log, args: &Reset) -> msglog::Result<Places> {
    let to = match (args.to, args.since) {
        (_, Some(moment)) => ResetTo::Timestamp(moment.at(SystemClock.now())),
        (Some(Place::End), None) => ResetTo::End,
        (Some(Place::Msn(msn)), None) => ResetTo::Msn(msn),
        (Some(Place::Start) | None, None) => ResetTo::Start,
    };
    let consumer = log.topic(args.topic.as_str()).await?.consumer(args.consumer.as_str())?;
    match args.partition {
        Some(partition) => Ok(vec![(partition, consumer.reset(partition, to).await?)]),
        None => Ok(consumer.reset_all(to).await?.into_iter().collect()),
    }
}

async fn delete(log: &Log, args: &Delete) -> msglog::Result<bool> {
    let topic = log.topic(args.topic.as_str()).await?;
    topic.consumer(args.consumer.as_str())?.delete().await
}

fn print_places(places: &Places, output: Output) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Line {
        partition: u32,
        committed: u64,
    }
    let lines: Vec<_> = places
        .iter()
        .map(|(partition, msn)| Line { partition: *partition, committed: msn.get() })
        .collect();
    match output {
        Output::Json => print_json(&lines),
        Output::Table => {
            let row = |line: &Line| vec![line.partition.to_string(), line.committed.to_string()];
            print_text(&table(&["PARTITION", "COMMITTED"], lines.iter().map(row).collect()))
        }
    }
}

/// A log that cleans nothing by itself while a command has it open.
pub(crate) fn quiet() -> LogBuilder {
    Log::builder().clean_interval(std::time::Duration::ZERO)
}
