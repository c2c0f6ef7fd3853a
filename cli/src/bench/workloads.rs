//! The table: every workload by name, what it does, and for what it is run again.

use futures::FutureExt;
use futures::future::BoxFuture;
use msglog::Durability;

use super::meter::Outcome;
use super::setup::Setup;
use super::{appending, consuming, documents, lifecycle, reading, refusals};
use crate::failure::Failure;

/// One row of the table.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) by: By,
    pub(super) run: Run,
}

pub(super) type Run = fn(Setup) -> BoxFuture<'static, Result<Outcome, Failure>>;

/// For what a workload is run again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    Once,
    /// Each durability level, with the first payload size.
    Level,
    /// Each payload size.
    Size,
    LevelAndSize,
}

/// A workload at one level with payloads of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    pub(super) workload: &'static Workload,
    pub(super) level: Option<Durability>,
    pub(super) payload_bytes: usize,
}

const LEVELS: [Durability; 4] = [
    Durability::Memory,
    Durability::Os,
    Durability::Interval(std::time::Duration::from_millis(100)),
    Durability::Sync,
];

macro_rules! workloads {
    ($($name:literal, $by:ident, $run:path, $what:literal;)*) => {
        &[$(Workload { name: $name, what: $what, by: By::$by, run: |setup| $run(setup).boxed() }),*]
    };
}

pub(super) const WORKLOADS: &[Workload] = workloads! {
    "open", Once, lifecycle::open_empty, "open and close a log that holds nothing";
    "reopen", Once, lifecycle::open_filled, "open a filled log, look at its end, close it";
    "topic", Once, lifecycle::topic, "create a topic, open it, delete it";
    "append", LevelAndSize, appending::one_by_one, "one producer that awaits each ack";
    "append-window", LevelAndSize, appending::pipelined, "one producer, acks awaited behind a window";
    "append-batch", LevelAndSize, appending::in_batches, "one producer that awaits each batch of 100, at most 1 MiB";
    "producers", LevelAndSize, appending::by_many, "many producers that each await their acks";
    "tail", Level, appending::to_subscriber, "from an append to its delivery in a subscriber";
    "replay", Size, reading::replay, "all records in order, by a subscription";
    "replay-batches", Size, reading::replay_batches, "all record batches in order, records by reference";
    "read", Size, reading::pages, "pages of 1 MiB from random MSNs on";
    "read-before", Size, reading::backwards, "100 records, at most 1 MiB, below random MSNs";
    "record", Size, reading::points, "single records at random MSNs, with the batch cache";
    "record-uncached", Size, reading::points_uncached, "the same without batch cache";
    "find", Once, reading::find, "the first record at or after a random time";
    "commit", Once, consuming::commit, "a consumer that awaits each commit";
    "commit-later", Once, consuming::commit_later, "100 commits for later, then a flush";
    "trim", Once, consuming::trim, "a filled log, a batch's records at a time";
    "document-save", Size, documents::save, "one document, by compare-and-swap";
    "document-load", Size, documents::load, "one document";
    "document-conflict", Once, documents::conflict, "error: a save that expects something else";
    "append-refused", Once, refusals::append_refused, "error: appends to a topic that refuses";
    "append-too-large", Once, refusals::append_too_large, "error: messages beyond the log's limit";
    "append-closed", Once, refusals::append_closed, "error: appends to a closed log";
    "commit-beyond", Once, refusals::commit_beyond, "error: commits beyond the end";
    "topic-missing", Once, refusals::topic_missing, "error: a topic that is not there";
};

impl Workload {
    /// All that this row stands for.
    pub(super) fn measurements(&'static self, sizes: &[u64]) -> Vec<Measurement> {
        let (by_level, by_size) = match self.by {
            By::Once => (false, false),
            By::Level => (true, false),
            By::Size => (false, true),
            By::LevelAndSize => (true, true),
        };
        let levels: Vec<_> = if by_level { LEVELS.map(Some).to_vec() } else { vec![None] };
        let sizes = sizes.iter().take(if by_size { sizes.len() } else { 1 });
        // Sizes have been checked against a limit that every usize holds.
        let sizes: Vec<usize> = sizes.filter_map(|size| usize::try_from(*size).ok()).collect();
        let with = |level| sizes.iter().map(move |size| (level, *size));
        let all = levels.into_iter().flat_map(with);
        all.map(|(level, payload_bytes)| Measurement { workload: self, level, payload_bytes })
            .collect()
    }
}

impl Measurement {
    /// What it is called, e.g. `append/sync/1024`.
    pub(super) fn name(&self) -> String {
        let mut name = self.workload.name.to_owned();
        if let Some(level) = self.level {
            name.push_str(&format!("/{level}"));
        }
        if self.has_size() {
            name.push_str(&format!("/{}", self.payload_bytes));
        }
        name
    }

    /// Whether it is run again for each payload size.
    pub(super) fn has_size(&self) -> bool {
        matches!(self.workload.by, By::Size | By::LevelAndSize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_measurements_have_one_name() {
        let all: Vec<_> =
            WORKLOADS.iter().flat_map(|workload| workload.measurements(&[100, 1024])).collect();
        let names: BTreeSet<_> = all.iter().map(Measurement::name).collect();
        assert_eq!(names.len(), all.len());
        for name in ["open", "append/sync/1024", "tail/interval:100ms", "replay/100"] {
            assert!(names.contains(name), "{name}");
        }
    }
}
