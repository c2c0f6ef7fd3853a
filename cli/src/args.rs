//! What can be asked of the command, and the help text.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use futures::FutureExt;
use msglog::{
    Access, CompressionPolicy, ConsumerName, Durability, Header, Msn, StoreUrl, Timestamp,
    TopicName,
};

use crate::bench::Bench;
use crate::clean::Clean;
use crate::configure::Configure;
use crate::consumers::Consumers;
use crate::format::RecordFormat;
use crate::moment::{Moment, parse_duration};

const EXIT_CODES: &str = "\
Exit codes:
  0    done (also when the reader of the output went away, as in `| head`)
  1    error
  2    stored bytes are damaged
  3    not found: store, topic, partition or MSN
  4    locked by another process, fenced, or refused
  5    repair: there is something to repair, and nothing was changed
  6    conflict: the destination of migrate, or the place of bench, holds something else
  64   the command cannot be understood
  130  stopped by SIGINT: what produce has read is acked, what bench has made is gone
  143  as 130, by SIGTERM";

/// A durable message log on the storage that you choose.
#[derive(Debug, Parser)]
#[command(name = "msglog", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// How results are printed; json is stable and one value a line
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Append messages, one a line, from a file or standard input
    #[command(after_help = EXIT_CODES)]
    Produce(Produce),
    /// Print records, up to the present end or on and on
    #[command(after_help = EXIT_CODES)]
    Consume(Consume),
    /// List the topics of a store
    #[command(after_help = EXIT_CODES)]
    Topics(Topics),
    /// Show a topic's configuration, what each partition holds, and its consumers
    #[command(after_help = EXIT_CODES)]
    Describe(Describe),
    /// Change a topic's configuration; what is stored stays as it is
    #[command(after_help = EXIT_CODES)]
    Configure(Configure),
    /// Keep only the newest record of each key of keyed topics, now
    #[command(after_help = EXIT_CODES)]
    Compact(Compact),
    /// Trim what the topics' retention no longer keeps, once
    #[command(after_help = EXIT_CODES)]
    Clean(Clean),
    /// List, reset and delete consumers
    #[command(subcommand, after_help = EXIT_CODES)]
    Consumers(Consumers),
    /// Read every byte of a store and say which segments are whole, torn or damaged
    #[command(after_help = EXIT_CODES)]
    Verify(Verify),
    /// Cut what is torn and make known what is lost; only says so unless told to apply it
    #[command(after_help = EXIT_CODES)]
    Repair(Repair),
    /// Copy a store into another one; after an interruption run it again
    #[command(after_help = EXIT_CODES)]
    Migrate(Migrate),
    /// Measure what a store does, in an empty place of its own
    #[command(after_help = EXIT_CODES)]
    Bench(Bench),
}

#[derive(Args, Debug)]
pub(crate) struct Compact {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
    /// The topic [default: every keyed one]
    #[arg(value_parser = topic_name)]
    pub(crate) topic: Option<TopicName>,
    /// Read and write at most so many bytes a second
    #[arg(long, value_name = "BYTES")]
    pub(crate) bytes_per_second: Option<u64>,
    /// The memory that it may take [default: 128 MiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory_bytes: Option<usize>,
}

#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The store, e.g. fs:///var/lib/orders; never changed
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
}

#[derive(Args, Debug)]
pub(crate) struct Repair {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
    /// Do it, after a backup
    #[arg(long, requires = "backup")]
    pub(crate) apply: bool,
    /// Where the store is copied to before anything is changed; must not exist
    #[arg(long, value_name = "FOLDER")]
    pub(crate) backup: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Produce {
    /// The store, e.g. fs:///var/lib/orders; created when there is none
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
    /// The topic; created when there is none
    #[arg(value_parser = topic_name)]
    pub(crate) topic: TopicName,
    /// Where the lines come from, instead of standard input
    pub(crate) file: Option<PathBuf>,
    /// When a message counts as acked: memory, os, interval:<n>ms or sync [default: the topic's]
    #[arg(long, value_parser = durability)]
    pub(crate) durability: Option<Durability>,
    /// Print each MSN on a line of its own once it is acked, in order per partition;
    /// as <partition>:<MSN> where messages go to several partitions
    #[arg(long)]
    pub(crate) print_acks: bool,
    /// What a line is: raw bytes, or a JSON record as `consume -o json` prints it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: LineFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Text between key and payload of a raw line; a line without it has no key
    #[arg(long, value_name = "SEP", value_parser = separator)]
    pub(crate) key_separator: Option<String>,
    /// Append to this partition [default: by key, or in turn]
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// Append each JSON record to the partition that it names
    #[arg(long, conflicts_with = "partition")]
    pub(crate) keep_partition: bool,
    /// How many partitions the topic gets when it is created [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) partitions: Option<u32>,
    /// How the topic's batches are compressed when it is created: none, lz4, snappy, gzip or zstd,
    /// the last two also with a level, e.g. zstd:9 [default: none]
    #[arg(long, value_name = "CODEC[:LEVEL]", value_parser = compression)]
    pub(crate) compression: Option<CompressionPolicy>,
    /// Give every message this header, after those that it has; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) headers: Vec<Header>,
    /// The same as --header content-type=TYPE
    #[arg(long, value_name = "TYPE")]
    pub(crate) content_type: Option<String>,
    /// The most lines in one record batch, which is appended whole or not at all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_lines: u32,
}

#[derive(Args, Debug)]
pub(crate) struct Consume {
    /// The store, e.g. fs:///var/lib/orders; never changed, may have a writer
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
    /// The topic
    #[arg(value_parser = topic_name)]
    pub(crate) topic: TopicName,
    /// Wait for more at the end
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Where to start: an MSN, start or end; a trimmed MSN stands for the next one there is
    #[arg(long, value_name = "MSN|start|end", default_value = "start")]
    #[arg(value_parser = place, allow_hyphen_values = true)]
    pub(crate) from: Place,
    /// Stop before this MSN
    #[arg(long, value_name = "MSN", value_parser = msn)]
    pub(crate) to: Option<Msn>,
    /// Start at the first record of this time or later: RFC 3339, Unix milliseconds, or how long
    /// ago (500ms, 30s, 10m, 2h, 7d)
    #[arg(long, value_name = "TIME", conflicts_with = "from")]
    #[arg(value_parser = moment, allow_hyphen_values = true)]
    pub(crate) since: Option<Moment>,
    /// Start at the newest so many records of each partition
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["from", "since"])]
    pub(crate) last: Option<u64>,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub(crate) count: Option<u64>,
    /// Only this partition [default: all, one after the other; merged with --follow]
    #[arg(long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// How a record is printed: raw (payload and newline), json, or a template with
    /// %t topic, %p partition, %m MSN, %T timestamp, %k key, %s payload, %% and \n \r \t \0 \\
    #[arg(long, value_parser = record_format)]
    pub(crate) format: Option<RecordFormat>,
    /// Print raw records as key, this text and payload; a record without key as payload alone
    #[arg(long, value_name = "SEP", value_parser = separator)]
    pub(crate) key_separator: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Topics {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
}

#[derive(Args, Debug)]
pub(crate) struct Describe {
    /// The store, e.g. fs:///var/lib/orders
    #[arg(value_parser = store_url)]
    pub(crate) url: String,
    /// The topic
    #[arg(value_parser = topic_name)]
    pub(crate) topic: TopicName,
}

#[derive(Args, Debug)]
pub(crate) struct Migrate {
    /// The store to copy, e.g. fs:///var/lib/orders; never changed, may have a writer
    #[arg(value_name = "SRC", value_parser = store_url)]
    pub(crate) source: String,
    /// The store to copy into; created when there is none, refused when it holds something else
    #[arg(value_name = "DST", value_parser = store_url)]
    pub(crate) destination: String,
    /// Compare everything: what is there before writing, and both sides at the end
    #[arg(long)]
    pub(crate) verify: bool,
    /// Only this topic and its commits; can be given several times [default: everything]
    #[arg(long = "topic", value_name = "NAME", value_parser = topic_name)]
    pub(crate) topics: Vec<TopicName>,
    /// What to do about MSNs that the source has lost: refuse, or keep them as batches without
    /// records, so that all others keep their MSNs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) holes: Holes,
}

/// What becomes of MSNs that the source has lost.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum Holes {
    /// It is an error that names them
    #[default]
    Refuse,
    /// A batch without records stands for them
    Keep,
}

/// What a line of input is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum LineFormat {
    /// Any bytes
    #[default]
    Raw,
    /// A JSON record
    Json,
}

/// Where reading starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Start,
    End,
    Msn(Msn),
}

pub(crate) fn store_url(text: &str) -> Result<String, String> {
    let url = StoreUrl::parse(text).map_err(|error| error.context().to_owned())?;
    let registry = msglog::registry();
    if registry.schemes().any(|scheme| scheme == url.scheme()) {
        return Ok(text.to_owned());
    }
    // A scheme that is not registered is answered at once, naming the cargo feature if there is one.
    match registry.open(text, Access::Read).now_or_never() {
        Some(Err(error)) => Err(error.context().to_owned()),
        _ => Err(format!("unknown scheme `{}`", url.scheme())),
    }
}

pub(crate) fn topic_name(text: &str) -> Result<TopicName, String> {
    TopicName::parse(text).map_err(|error| error.context().to_owned())
}

pub(crate) fn consumer_name(text: &str) -> Result<ConsumerName, String> {
    ConsumerName::parse(text).map_err(|error| error.context().to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let millis = parse_duration(text).and_then(|millis| u64::try_from(millis).ok());
    millis.map(Duration::from_millis).ok_or_else(|| format!("`{text}` is no time span"))
}

pub(crate) fn partition_msn(text: &str) -> Result<(u32, Msn), String> {
    let (partition, place) = text.split_once(':').ok_or("it has the form <partition>:<MSN>")?;
    let partition = partition.parse().map_err(|_| format!("`{partition}` is no partition"))?;
    Ok((partition, msn(place)?))
}

pub(crate) fn durability(text: &str) -> Result<Durability, String> {
    text.parse().map_err(|error: msglog::Error| error.context().to_owned())
}

pub(crate) fn compression(text: &str) -> Result<CompressionPolicy, String> {
    text.parse().map_err(|error: msglog::Error| error.context().to_owned())
}

fn header(text: &str) -> Result<Header, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Header::new(name, value.to_owned())),
        _ => Err(format!("`{text}` is not a name, `=` and a value")),
    }
}

fn msn(text: &str) -> Result<Msn, String> {
    text.parse().map_err(|error: msglog::Error| error.context().to_owned())
}

pub(crate) fn place(text: &str) -> Result<Place, String> {
    match text {
        "start" => Ok(Place::Start),
        "end" => Ok(Place::End),
        number => msn(number).map(Place::Msn),
    }
}

pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    Moment::parse(text).ok_or_else(|| format!("`{text}` is no time that is understood"))
}

fn record_format(text: &str) -> Result<RecordFormat, String> {
    RecordFormat::parse(text)
}

fn separator(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a separator has at least one character".to_owned());
    }
    Ok(text.to_owned())
}

impl Moment {
    /// The time meant, seen from `now`.
    pub(crate) fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Absolute(timestamp) => timestamp,
            Self::Ago { milliseconds } => {
                Timestamp::from_millis(now.as_millis().saturating_sub(milliseconds))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
