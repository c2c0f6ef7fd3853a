//! `msglog produce`: lines in, acked messages in the log.
//!
//! A thread reads lines a few batches ahead, the command appends each batch, and another thread
//! waits for the acks in order. The log bounds the bytes in flight, so memory does not depend on
//! the size of the input.

mod acks;
mod input;
mod lines;

use std::process::ExitCode;

use indicatif::ProgressBar;
use msglog::log::partition_of_key;
use msglog::{
    AppendOptions, Appended, CompressionPolicy, ErrorKind, Header, Log, Message, MsgLog, Topic,
    TopicConfig, TopicName,
};
use serde::Serialize;
use tokio::sync::mpsc;

use self::acks::Print;
use self::input::{Batch, Input, Parser};
use crate::args::{LineFormat, Output, Produce};
use crate::describe::print_json;
use crate::failure::Failure;
use crate::open;
use crate::progress::{self, Tally, Unit};
use crate::signals::{Signals, Stop};

/// Bytes that may be accepted and not yet acked.
const IN_FLIGHT_BYTES_MAX: usize = 32 << 20;
/// A batch ends with the line that reaches this many bytes.
const BATCH_BYTES: usize = 256 << 10;
/// How many appends may wait for their ack; a bound for very small ones.
const APPENDS_MAX: usize = 4096;

/// What `-o json` prints at the end.
#[derive(Serialize)]
struct Summary<'a> {
    topic: &'a TopicName,
    /// Records that are acked.
    records: u64,
    /// Bytes of input, newlines included.
    bytes: u64,
    milliseconds: u64,
    /// Whether a signal ended it before the input did.
    interrupted: bool,
}

/// Appends the input to a topic.
pub(crate) async fn run(args: Produce, output: Output) -> Result<ExitCode, Failure> {
    let parser = check(&args, output)?;
    // Before the store is opened, so that nothing is created in vain.
    let input = Input::open(args.file.as_deref())?;
    let mut signals = Signals::listen()?;
    let mut builder = Log::builder().in_flight_bytes_max(IN_FLIGHT_BYTES_MAX);
    if let Some(level) = args.durability {
        builder = builder.durability(level);
    }
    let log = open::for_writing(&args.url, builder).await?;
    let topic = open_topic(&log, &args).await?;
    let bar = progress::bar(input.size(), Unit::Bytes, args.print_acks);
    let lines_max = usize::try_from(args.batch_lines).unwrap_or(usize::MAX);
    let batches = input.start(parser, lines_max, BATCH_BYTES);

    let mut tally = Tally::start();
    let mut run = Run::start(topic, &args, bar);
    let taken = run.take_all(batches, &mut signals, &mut tally).await;
    let acked = run.finish().await;
    let closed = log.close().await;
    // An ack that failed is the cause of what failed after it.
    tally.records = acked?;
    let stopped = taken?;
    closed?;

    progress::say(&tally.line());
    if output == Output::Json {
        let milliseconds = u64::try_from(tally.elapsed().as_millis()).unwrap_or(u64::MAX);
        print_json(&Summary {
            topic: &args.topic,
            records: tally.records,
            bytes: tally.bytes,
            milliseconds,
            interrupted: stopped.is_some(),
        })?;
    }
    Ok(stopped.map_or(ExitCode::SUCCESS, |stop| ExitCode::from(stop.exit_code())))
}

/// Refuses options that do not go together; answers how lines are read.
fn check(args: &Produce, output: Output) -> Result<Parser, Failure> {
    let is_json = args.json || args.format == LineFormat::Json;
    let usage = |why: &str| Err(Failure::Usage(why.to_owned()));
    if args.print_acks && output == Output::Json {
        return usage("--print-acks and -o json both print to standard output: choose one");
    }
    if is_json && args.key_separator.is_some() {
        return usage("--key-separator is for raw lines: a JSON record names its key");
    }
    if args.keep_partition && !is_json {
        return usage("--keep-partition needs --format json");
    }
    if is_json {
        return Ok(Parser::Json);
    }
    Ok(Parser::Raw { key_separator: args.key_separator.clone() })
}

/// The topic, created as the options say when there is none.
async fn open_topic(log: &Log, args: &Produce) -> Result<Topic, Failure> {
    let name = &args.topic;
    let wanted = args.partition.map_or(0, |number| number.saturating_add(1));
    match log.topic(name.as_str()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        Ok(topic) => {
            check_config(args, &topic.config())?;
            open::chosen_partitions(&topic, args.partition)?;
            return Ok(topic);
        }
    }
    let mut config = TopicConfig::default();
    if let Some(partitions) = args.partitions {
        config = config.with_partitions(partitions);
    }
    if let Some(compression) = args.compression {
        config = config.with_compression(compression);
    }
    if wanted > config.partitions {
        open::check_partition(name, config.partitions, wanted - 1)?;
    }
    log.create_topic(name, config).await?;
    Ok(log.topic(name.as_str()).await?)
}

/// Refuses options of creation that an existing topic does not match.
fn check_config(args: &Produce, config: &TopicConfig) -> Result<(), Failure> {
    let differs = |what: &str, is: &str, wanted: &str| {
        let topic = &args.topic;
        let why = format!("topic `{topic}` exists with {what} {is}, not {wanted}");
        Err(Failure::Usage(why))
    };
    if let Some(wanted) = args.partitions.filter(|wanted| *wanted != config.partitions) {
        return differs("--partitions", &config.partitions.to_string(), &wanted.to_string());
    }
    if let Some(wanted) = args.compression.filter(|wanted| !is_same(*wanted, config.compression)) {
        let (is, wanted) = (config.compression.to_string(), wanted.to_string());
        return differs("--compression", &is, &wanted);
    }
    Ok(())
}

/// Whether two policies agree in what an option can say.
fn is_same(wanted: CompressionPolicy, is: CompressionPolicy) -> bool {
    (wanted.codec, wanted.level) == (is.codec, is.level)
}

/// The headers that every message gets.
fn headers(args: &Produce) -> Vec<Header> {
    let kind = args.content_type.iter().map(|kind| Header::new("content-type", kind.clone()));
    args.headers.iter().cloned().chain(kind).collect()
}

/// A run of produce: what is appended, and the thread that waits for the acks.
#[derive(Debug)]
struct Run {
    topic: Topic,
    options: AppendOptions,
    headers: Vec<Header>,
    keep_partition: bool,
    /// Whose turn it is among messages without a key.
    turn: u32,
    appends: mpsc::Sender<Appended>,
    acks: tokio::task::JoinHandle<Result<u64, Failure>>,
    bar: ProgressBar,
}

/// Messages for one partition, and the lines that they come from.
#[derive(Debug, Default)]
struct Share {
    messages: Vec<Message>,
    lines: Vec<u64>,
}

impl Run {
    fn start(topic: Topic, args: &Produce, bar: ProgressBar) -> Self {
        let (appends, receiver) = mpsc::channel(APPENDS_MAX);
        let print = match args.print_acks {
            false => Print::Nothing,
            true if topic.partition_count() == 1 || args.partition.is_some() => Print::Msn,
            true => Print::PartitionAndMsn,
        };
        let acks = tokio::task::spawn_blocking(move || acks::wait_for_all(receiver, print));
        let mut options = AppendOptions::default();
        options.durability = args.durability;
        options.partition = args.partition;
        let (headers, keep_partition) = (headers(args), args.keep_partition);
        Self { topic, options, headers, keep_partition, turn: 0, appends, acks, bar }
    }

    /// Appends batch after batch, until the input ends or a signal comes, which it answers.
    async fn take_all(
        &mut self,
        mut batches: mpsc::Receiver<Result<Batch, Failure>>,
        signals: &mut Signals,
        tally: &mut Tally,
    ) -> Result<Option<Stop>, Failure> {
        loop {
            let batch = tokio::select! {
                biased;
                stop = signals.stopped() => return Ok(Some(stop)),
                // An ack has failed, which `finish` answers.
                () = self.appends.closed() => return Ok(None),
                batch = batches.recv() => batch,
            };
            let Some(batch) = batch else { return Ok(None) };
            let mut batch = batch?;
            for message in &mut batch.messages {
                message.headers.extend_from_slice(&self.headers);
            }
            let input_bytes = batch.input_bytes;
            tally.bytes += input_bytes;
            for (partition, share) in self.shares(batch)? {
                self.append(share, partition).await?;
            }
            self.bar.inc(input_bytes);
        }
    }

    /// Waits for the acks of all that was appended; answers how many records were.
    async fn finish(self) -> Result<u64, Failure> {
        drop(self.appends);
        self.bar.finish_and_clear();
        self.acks.await.map_err(|cause| Failure::io("wait for acks", cause.into()))?
    }

    /// The messages of a batch by partition, each in the order of the lines.
    fn shares(&mut self, batch: Batch) -> Result<Vec<(u32, Share)>, Failure> {
        let lines = batch.first_line..;
        let count = self.topic.partition_count();
        let only = self.options.partition.or((count == 1 && !self.keep_partition).then_some(0));
        if let Some(partition) = only {
            let lines = lines.take(batch.messages.len()).collect();
            return Ok(vec![(partition, Share { messages: batch.messages, lines })]);
        }
        let mut shares = std::collections::BTreeMap::<u32, Share>::new();
        let turn = self.turn;
        self.turn = (turn + 1) % count;
        let mut named = batch.named_partitions.into_iter();
        for (message, line) in batch.messages.into_iter().zip(lines) {
            let named = named.next().flatten().filter(|_| self.keep_partition);
            let partition = match (named, &message.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_of_key(key, count),
                (None, None) => turn,
            };
            open::check_partition(self.topic.name(), count, partition)?;
            let share = shares.entry(partition).or_default();
            share.messages.push(message);
            share.lines.push(line);
        }
        Ok(shares.into_iter().collect())
    }

    async fn append(&self, share: Share, partition: u32) -> Result<(), Failure> {
        let options = self.options.with_partition(partition);
        match self.topic.append_batch_with(&share.messages, options).await {
            Ok(appended) => return self.wait_for(appended).await,
            Err(error) if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Invalid) => {}
            Err(error) => return Err(error.into()),
        }
        // One of them is too large or breaks a rule: those before it are appended, and its line is named.
        for (message, line) in share.messages.into_iter().zip(share.lines) {
            let appended = self.topic.append_with(message, options).await;
            let appended = appended.map_err(|error| match error.kind() {
                ErrorKind::Invalid => Failure::Input(format!("line {line}: {}", error.context())),
                _ => error.within(format_args!("line {line}")).into(),
            })?;
            self.wait_for(appended).await?;
        }
        Ok(())
    }

    async fn wait_for(&self, appended: Appended) -> Result<(), Failure> {
        // Nobody takes it when an ack has failed, which `finish` answers.
        let _ = self.appends.send(appended).await;
        Ok(())
    }
}
