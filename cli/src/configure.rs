//! `msglog configure`: a topic's configuration, changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use msglog::log::{Admission, Compaction, Retention};
use msglog::{
    CompressionPolicy, Durability, Log, MsgLog, Msn, Result, Rule, TopicConfig, TopicName,
};

use crate::args::{
    Output, compression, durability, duration, partition_msn, store_url, topic_name,
};
use crate::consumers::quiet;
use crate::describe;
use crate::failure::Failure;
use crate::open;

#[derive(Args, Debug)]
pub(crate) struct Configure {
    /// The store, e.g. fs:///var/lib/orders; must not have a writer
    #[arg(value_parser = store_url)]
    url: String,
    /// The topic
    #[arg(value_parser = topic_name)]
    topic: TopicName,
    #[command(flatten)]
    changes: Changes,
}

/// What changes; at least one of it.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct Changes {
    /// How many partitions it has: only more than before
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// When a message counts as acked: memory, os, interval:<n>ms or sync
    #[arg(long, value_parser = durability)]
    durability: Option<Durability>,
    /// none, lz4, snappy, gzip or zstd, the last two also with a level, e.g. zstd:9
    #[arg(long, value_name = "CODEC[:LEVEL]", value_parser = compression)]
    compression: Option<CompressionPolicy>,
    /// Leave batches whose records are smaller uncompressed
    #[arg(long, value_name = "BYTES")]
    compression_bytes_min: Option<u32>,
    /// How long the first append of a group waits for more, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    linger_us: Option<u64>,
    /// Up to which size single appends share a batch
    #[arg(long, value_name = "BYTES")]
    batch_bytes_max: Option<u32>,
    /// A file with a JSON array of the rules that messages must keep, in place of those there are
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Keep only the newest record of each key; every message then needs a key
    #[arg(long, conflicts_with = "keep_all_keys")]
    compact: bool,
    /// How long a tombstone stays after the compaction that first met it; implies --compact
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "keep_all_keys")]
    tombstone_grace: Option<Duration>,
    /// No longer compact
    #[arg(long)]
    keep_all_keys: bool,
    /// Keep everything again, before the other options are applied
    #[arg(long)]
    keep_forever: bool,
    /// Records older than this may go: 500ms, 30s, 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,
    /// The oldest records may go as long as so many bytes stay in a partition
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Only what every consumer has committed may go
    #[arg(long)]
    committed: bool,
    /// Forget consumers that say nothing for so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    consumers_expire: Option<Duration>,
    /// Delete the topic once it has been empty for so long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    topic_expires: Option<Duration>,
    /// Take appends again, before the other options are applied
    #[arg(long)]
    accept: bool,
    /// Refuse every append
    #[arg(long)]
    refuse: bool,
    /// Refuse appends to a partition from an MSN on; can be given several times
    #[arg(long, value_name = "PARTITION:MSN", value_parser = partition_msn)]
    refuse_at: Vec<(u32, Msn)>,
    /// Refuse the first append that would begin another segment
    #[arg(long)]
    refuse_at_segment_boundary: bool,
}

/// Changes what the options name, and shows the topic.
pub(crate) async fn run(args: &Configure, output: Output) -> Result<ExitCode, Failure> {
    let rules = args.changes.rules.as_deref().map(read_rules).transpose()?;
    // First for reading, so that no store is created in vain.
    let (reader, _store) = open::for_reading(&args.url).await?;
    reader.describe(&args.topic).await?;
    reader.close().await?;
    drop((reader, _store));

    let log = open::for_writing(&args.url, quiet()).await?;
    let configured = configure(&log, args, rules.as_deref()).await;
    let detail = describe::detail(&log, &args.topic).await;
    log.close().await?;
    configured?;
    describe::show(&detail?, output)
}

async fn configure(log: &Log, args: &Configure, rules: Option<&[Rule]>) -> Result<()> {
    let (topic, changes) = (args.topic.as_str(), &args.changes);
    let change = |config: &mut TopicConfig| {
        change_batching(config, changes);
        if let Some(rules) = rules {
            config.constraints.rules = rules.to_vec();
        }
        change_compaction(&mut config.compaction, changes);
        change_retention(&mut config.retention, changes);
        change_admission(&mut config.admission, changes);
    };
    log.configure(topic, change).await?;
    if changes.refuse_at_segment_boundary {
        log.refuse_at_segment_boundary(topic).await?;
    }
    Ok(())
}

fn change_batching(config: &mut TopicConfig, changes: &Changes) {
    if let Some(partitions) = changes.partitions {
        config.partitions = partitions;
    }
    if let Some(level) = changes.durability {
        config.durability = Some(level);
    }
    if let Some(compression) = changes.compression {
        let bytes_min = config.compression.bytes_min;
        config.compression = compression.with_bytes_min(bytes_min);
    }
    if let Some(bytes) = changes.compression_bytes_min {
        config.compression.bytes_min = bytes;
    }
    if let Some(micros) = changes.linger_us {
        config.linger = Some(Duration::from_micros(micros));
    }
    if let Some(bytes) = changes.batch_bytes_max {
        config.batch_bytes_max = Some(bytes);
    }
}

fn change_compaction(compaction: &mut Option<Compaction>, changes: &Changes) {
    if changes.keep_all_keys {
        *compaction = None;
    }
    if changes.compact || changes.tombstone_grace.is_some() {
        let mut changed = compaction.take().unwrap_or_default();
        if let Some(grace) = changes.tombstone_grace {
            changed = changed.with_tombstone_grace(grace);
        }
        *compaction = Some(changed);
    }
}

fn change_retention(retention: &mut Retention, changes: &Changes) {
    if changes.keep_forever {
        *retention = Retention::keep_forever();
    }
    retention.age = changes.max_age.or(retention.age);
    retention.bytes = changes.max_bytes.or(retention.bytes);
    retention.committed |= changes.committed;
    retention.consumers_expire = changes.consumers_expire.or(retention.consumers_expire);
    retention.topic_expires = changes.topic_expires.or(retention.topic_expires);
}

fn change_admission(admission: &mut Admission, changes: &Changes) {
    if changes.accept {
        *admission = Admission::default();
    }
    admission.refuse |= changes.refuse;
    admission.refuse_at.extend(changes.refuse_at.iter().copied());
}

fn read_rules(file: &Path) -> Result<Vec<Rule>, Failure> {
    let shown = file.display();
    let text = fs::read(file).map_err(|cause| Failure::io(format!("read {shown}"), cause))?;
    serde_json::from_slice(&text)
        .map_err(|cause| Failure::Input(format!("{shown} is no JSON array of rules: {cause}")))
}
