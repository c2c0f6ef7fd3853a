//! `msglog topics` and `msglog describe`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use msglog::log::{PartitionDescription, TopicDescription};
use msglog::{Constraints, Log, MsgLog, TopicConfig, TopicName};
use serde::Serialize;

use crate::args::{Describe, Output, Topics};
use crate::consumers::{self, ConsumerDetail};
use crate::failure::Failure;
use crate::open;

/// A topic in the answer of `topics`.
#[derive(Serialize)]
struct TopicLine {
    topic: TopicName,
    partitions: u32,
    /// MSNs between the first and the next one, over all partitions.
    records: u64,
    bytes: u64,
}

/// The answer of `describe`.
#[derive(Serialize)]
pub(crate) struct TopicDetail {
    topic: TopicName,
    config: TopicConfig,
    partitions: Vec<PartitionDetail>,
    consumers: Vec<ConsumerDetail>,
}

#[derive(Serialize)]
struct PartitionDetail {
    partition: u32,
    first_msn: u64,
    next_msn: u64,
    durable_msn: u64,
    bytes: u64,
    allocated_bytes: u64,
    segments: u64,
    /// Half-open ranges of MSNs that are lost to damage.
    holes: Vec<[u64; 2]>,
}

/// Lists the topics of a store.
pub(crate) async fn topics(args: &Topics, output: Output) -> Result<ExitCode, Failure> {
    let (log, _store) = open::for_reading(&args.url).await?;
    let mut lines = Vec::new();
    for topic in log.topics().await? {
        lines.push(TopicLine::new(log.describe(&topic).await?));
    }
    log.close().await?;
    match output {
        Output::Json => print_json(&lines)?,
        Output::Table => {
            let heads = ["TOPIC", "PARTITIONS", "RECORDS", "BYTES"];
            let rows = lines.iter().map(TopicLine::cells).collect();
            print_text(&table(&heads, rows))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows one topic.
pub(crate) async fn describe(args: &Describe, output: Output) -> Result<ExitCode, Failure> {
    let (log, _store) = open::for_reading(&args.url).await?;
    let detail = detail(&log, &args.topic).await?;
    log.close().await?;
    show(&detail, output)
}

/// A topic in detail, with its consumers.
pub(crate) async fn detail(log: &Log, topic: &TopicName) -> Result<TopicDetail, Failure> {
    let description = log.describe(topic).await?;
    let consumers = consumers::of_topic(log, topic).await?;
    Ok(TopicDetail::new(description, consumers))
}

/// Prints one topic.
pub(crate) fn show(detail: &TopicDetail, output: Output) -> Result<ExitCode, Failure> {
    match output {
        Output::Json => print_json(detail)?,
        Output::Table => print_text(&detail.text())?,
    }
    Ok(ExitCode::SUCCESS)
}

impl TopicLine {
    fn new(description: TopicDescription) -> Self {
        let (mut records, mut bytes) = (0, 0);
        for partition in &description.partitions {
            records += partition.bounds.next_msn.distance_from(partition.bounds.first_msn);
            bytes += partition.usage.bytes;
        }
        let partitions = description.config.partitions;
        Self { topic: description.topic, partitions, records, bytes }
    }

    fn cells(&self) -> Vec<String> {
        let numbers = [u64::from(self.partitions), self.records, self.bytes];
        let cells = numbers.iter().map(u64::to_string);
        std::iter::once(self.topic.to_string()).chain(cells).collect()
    }
}

impl TopicDetail {
    fn new(description: TopicDescription, consumers: Vec<ConsumerDetail>) -> Self {
        let partitions = description.partitions.iter().map(PartitionDetail::new).collect();
        Self { topic: description.topic, config: description.config, partitions, consumers }
    }

    fn text(&self) -> String {
        let mut text = config_text(&self.topic, &self.config);
        text.push('\n');
        let heads =
            ["PARTITION", "FIRST", "NEXT", "DURABLE", "BYTES", "ALLOCATED", "SEGMENTS", "HOLES"];
        text.push_str(&table(&heads, self.partitions.iter().map(PartitionDetail::cells).collect()));
        if !self.consumers.is_empty() {
            text.push('\n');
            text.push_str(&consumers::text(&self.consumers));
        }
        text
    }
}

impl PartitionDetail {
    fn new(description: &PartitionDescription) -> Self {
        let (bounds, usage) = (description.bounds, description.usage);
        let hole = |hole: &std::ops::Range<msglog::Msn>| [hole.start.get(), hole.end.get()];
        Self {
            partition: description.partition,
            first_msn: bounds.first_msn.get(),
            next_msn: bounds.next_msn.get(),
            durable_msn: bounds.durable_msn.get(),
            bytes: usage.bytes,
            allocated_bytes: usage.allocated_bytes,
            segments: usage.segments,
            holes: description.holes.iter().map(hole).collect(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let numbers = [
            u64::from(self.partition),
            self.first_msn,
            self.next_msn,
            self.durable_msn,
            self.bytes,
            self.allocated_bytes,
            self.segments,
        ];
        let holes: Vec<_> = self.holes.iter().map(|[from, to]| format!("{from}..{to}")).collect();
        let holes = if holes.is_empty() { "-".to_owned() } else { holes.join(",") };
        numbers.iter().map(u64::to_string).chain([holes]).collect()
    }
}

/// How a topic is configured, a line for each thing.
fn config_text(topic: &TopicName, config: &TopicConfig) -> String {
    let durability =
        config.durability.map_or_else(|| "the log's".to_owned(), |level| level.to_string());
    let mut text = format!(
        "topic        {topic}\npartitions   {}\ndurability   {durability}\ncompression  {}\n",
        config.partitions, config.compression,
    );
    if config.compression.bytes_min > 0 {
        let bytes_min = config.compression.bytes_min;
        text.push_str(&format!("             from {bytes_min} bytes on\n"));
    }
    if let Some(linger) = config.linger {
        text.push_str(&format!("linger       {linger:?}\n"));
    }
    if let Some(bytes) = config.batch_bytes_max {
        text.push_str(&format!("batch bytes  {bytes}\n"));
    }
    if let Some(compaction) = &config.compaction {
        let grace = std::time::Duration::from_millis(compaction.tombstone_grace_ms);
        text.push_str(&format!("compaction   by key, tombstones stay {grace:?}\n"));
    }
    text.push_str(&rules(&config.constraints));
    text.push_str(&format!(
        "retention    {}\nadmission    {}\n",
        config.retention, config.admission
    ));
    text
}

/// The rules, one a line, as they are stored.
fn rules(constraints: &Constraints) -> String {
    if constraints.rules.is_empty() {
        return String::new();
    }
    let mut text = format!("rules        version {}\n", constraints.version);
    for rule in &constraints.rules {
        let json = serde_json::to_string(rule).unwrap_or_else(|_| rule.name().to_owned());
        text.push_str(&format!("             {json}\n"));
    }
    text
}

/// Columns as wide as their widest cell, two spaces apart.
pub(crate) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Prints one JSON value and a newline.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(|cause| Failure::Output(cause.into()))?;
    print_text(&(json + "\n"))
}

/// Prints text as it is.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["orders".to_owned(), "1".to_owned()]];
        assert_eq!(table(&["T", "COUNT"], rows), "T       COUNT\norders  1\n");
    }
}
