//! `msglog compact`: keyed topics keep the newest record of each key, now.

use std::process::ExitCode;

use msglog::log::Compacted;
use msglog::{Log, MsgLog, TopicName};
use serde::Serialize;

use crate::args::{Compact, Output};
use crate::describe::{print_json, print_text, table};
use crate::failure::{EXIT_CORRUPT, Failure};
use crate::open;

/// What was done to a partition.
#[derive(Serialize)]
struct Line {
    topic: TopicName,
    partition: u32,
    passes: u32,
    records_before: u64,
    records_after: u64,
    bytes_before: u64,
    bytes_after: u64,
    /// Half-open ranges of MSNs that were left as they are because they are damaged.
    skipped: Vec<[u64; 2]>,
}

impl Line {
    fn new(topic: &TopicName, done: &Compacted) -> Self {
        let skipped = done.skipped.iter().map(|msns| [msns.start.get(), msns.end.get()]);
        Self {
            topic: topic.clone(),
            partition: done.partition,
            passes: done.passes,
            records_before: done.records_before,
            records_after: done.records_after,
            bytes_before: done.bytes_before,
            bytes_after: done.bytes_after,
            skipped: skipped.collect(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let numbers = [
            u64::from(self.partition),
            u64::from(self.passes),
            self.records_before,
            self.records_after,
            self.bytes_before,
            self.bytes_after,
        ];
        let numbers = numbers.iter().map(ToString::to_string);
        std::iter::once(self.topic.to_string()).chain(numbers).collect()
    }
}

/// Compacts the topic, or every keyed one.
pub(crate) async fn run(args: &Compact, output: Output) -> Result<ExitCode, Failure> {
    let mut builder = Log::builder()
        .compaction_interval(std::time::Duration::ZERO)
        .compaction_bytes_per_second(args.bytes_per_second);
    if let Some(bytes) = args.memory_bytes {
        builder = builder.compaction_memory_bytes(bytes);
    }
    let log = open::for_writing(&args.url, builder).await?;
    let done = match &args.topic {
        Some(name) => {
            let done = log.topic(name.as_str()).await?.compact().await?;
            done.into_iter().map(|done| (name.clone(), done)).collect()
        }
        None => log.compact().await?,
    };
    log.close().await?;
    let lines: Vec<_> = done.iter().map(|(topic, done)| Line::new(topic, done)).collect();
    match output {
        Output::Json => print_json(&lines)?,
        Output::Table => {
            let heads = [
                "TOPIC",
                "PARTITION",
                "PASSES",
                "RECORDS BEFORE",
                "AFTER",
                "BYTES BEFORE",
                "AFTER",
            ];
            print_text(&table(&heads, lines.iter().map(Line::cells).collect()))?;
        }
    }
    let skipped = lines.iter().any(|line| !line.skipped.is_empty());
    Ok(if skipped { ExitCode::from(EXIT_CORRUPT) } else { ExitCode::SUCCESS })
}
