//! What was done, for people and for programs.

use std::ops::Range;

use indicatif::HumanBytes;
use msglog::batch::RecordBatch;
use msglog::{Msn, TopicName};
use serde::Serialize;

use super::compare::Verified;
use super::plan::Part;
use crate::args::Output;
use crate::describe::{print_json, print_text, table};
use crate::failure::Failure;
use crate::progress::{self, Tally};

/// What became of all partitions.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) partitions: Vec<PartitionReport>,
    /// How many documents were written.
    pub(crate) documents: usize,
    pub(crate) verified: bool,
}

/// What became of one partition.
#[derive(Debug, Serialize)]
pub(crate) struct PartitionReport {
    topic: TopicName,
    partition: u32,
    first_msn: u64,
    next_msn: u64,
    /// Where copying went on: what lies before was there.
    resumed_at: u64,
    records: u64,
    bytes: u64,
    /// Half-open ranges of MSNs that batches without records stand for.
    #[serde(rename = "holes", serialize_with = "as_pairs")]
    pub(crate) bridged: Vec<Range<Msn>>,
    /// MSNs that came to the source after the start and were not copied.
    pub(crate) arrived: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<Verified>,
}

/// The answer of `migrate`.
#[derive(Serialize)]
struct Summary<'a> {
    partitions: &'a [PartitionReport],
    documents: usize,
    records: u64,
    bytes: u64,
    verified: bool,
    milliseconds: u64,
}

fn as_pairs<S: serde::Serializer>(ranges: &[Range<Msn>], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(ranges.iter().map(|range| [range.start.get(), range.end.get()]))
}

impl PartitionReport {
    pub(crate) fn new(part: &Part, from: Msn) -> Self {
        Self {
            topic: part.name.topic.clone(),
            partition: part.name.partition,
            first_msn: part.range.start.get(),
            next_msn: part.range.end.get(),
            resumed_at: from.get(),
            records: 0,
            bytes: 0,
            bridged: Vec::new(),
            arrived: 0,
            verified: None,
        }
    }

    /// Counts batches that are copied.
    pub(crate) fn add(&mut self, chunk: &[RecordBatch]) {
        self.records += chunk.iter().map(|batch| u64::from(batch.record_count())).sum::<u64>();
        self.bytes += chunk.iter().map(|batch| batch.encoded_len() as u64).sum::<u64>();
    }

    fn cells(&self) -> Vec<String> {
        let name = format!("{}-{}", self.topic, self.partition);
        let numbers = [self.first_msn, self.next_msn, self.records, self.bytes];
        let mut cells = vec![name];
        cells.extend(numbers.iter().map(u64::to_string));
        if let Some(verified) = &self.verified {
            let digest = verified.digest.clone();
            cells.extend([verified.records.to_string(), verified.bytes.to_string(), digest]);
        }
        cells
    }
}

impl Report {
    /// Prints it; on a terminal also how long it took.
    pub(crate) fn print(&self, output: Output, tally: &Tally) -> Result<(), Failure> {
        let records = self.partitions.iter().map(|partition| partition.records).sum();
        let bytes = self.partitions.iter().map(|partition| partition.bytes).sum();
        let milliseconds = u64::try_from(tally.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (partitions, documents, verified) = (&*self.partitions, self.documents, self.verified);
        let seconds = tally.elapsed().as_secs_f64();
        progress::say(&format!("{records} records, {} in {seconds:.2} s", HumanBytes(bytes)));
        match output {
            Output::Json => print_json(&Summary {
                partitions,
                documents,
                records,
                bytes,
                verified,
                milliseconds,
            }),
            Output::Table => print_text(&self.text()),
        }
    }

    fn text(&self) -> String {
        let mut heads = vec!["PARTITION", "FIRST_MSN", "NEXT_MSN", "COPIED", "BYTES"];
        if self.verified {
            heads.extend(["SAME_RECORDS", "SAME_BYTES", "DIGEST"]);
        }
        let mut text = table(&heads, self.partitions.iter().map(PartitionReport::cells).collect());
        for partition in &self.partitions {
            let name = format!("{}-{}", partition.topic, partition.partition);
            for hole in &partition.bridged {
                let line = format!("{name}: MSNs {}..{} stay a hole\n", hole.start, hole.end);
                text.push_str(&line);
            }
            if partition.arrived > 0 {
                let line = format!(
                    "{name}: {} MSNs came to the source since the start; run again to copy them\n",
                    partition.arrived
                );
                text.push_str(&line);
            }
        }
        text
    }
}
