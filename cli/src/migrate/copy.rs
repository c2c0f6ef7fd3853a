//! The batches that one partition of the destination lacks, appended behind those it has.

use std::sync::Arc;

use indicatif::ProgressBar;
use msglog::TopicPartition;
use msglog::batch::RecordBatch;
use msglog::store::{MessageStore, OpenOptions};

use super::plan::Part;
use super::reader::Reader;
use super::report::PartitionReport;
use crate::args::Holes;
use crate::failure::Failure;

/// After how many bytes the destination is synced: what an interruption may cost.
const SYNC_BYTES: usize = 32 << 20;

/// Copies from where the destination ends to the end seen at the start.
pub(crate) async fn copy(
    part: &Part,
    destination: &dyn MessageStore,
    holes: Holes,
    bar: &ProgressBar,
) -> Result<PartitionReport, Failure> {
    let create = OpenOptions::or_create_at(part.range.start);
    let there = destination.open(&part.name, create).await?;
    let bytes_max = destination.capabilities().batch_bytes_max;
    let from = there.bounds().next_msn;
    bar.inc(from.distance_from(part.range.start));
    let mut report = PartitionReport::new(part, from);
    let (name, source) = (part.name.clone(), Arc::clone(&part.store));
    let mut reader = Reader::new("source", name, source, from..part.range.end, holes);
    let mut unsynced = 0;
    let mut chunk = reader.chunk().await?;
    while !chunk.is_empty() {
        check_sizes(&part.name, &chunk, bytes_max)?;
        let (msns, bytes) = (msn_count(&chunk), bytes_of(&chunk));
        report.add(&chunk);
        // The next chunk is read while this one is written.
        let (appended, next) = tokio::join!(there.append(chunk), reader.chunk());
        appended.map_err(|error| error.within(format_args!("append to {}", part.name)))?;
        bar.inc(msns);
        unsynced += bytes;
        if unsynced >= SYNC_BYTES {
            there.sync().await?;
            unsynced = 0;
        }
        chunk = next?;
    }
    there.sync().await?;
    report.bridged = reader.bridged;
    Ok(report)
}

fn check_sizes(
    name: &TopicPartition,
    chunk: &[RecordBatch],
    bytes_max: usize,
) -> Result<(), Failure> {
    let Some(batch) = chunk.iter().find(|batch| batch.encoded_len() > bytes_max) else {
        return Ok(());
    };
    let (from, to, bytes) = (batch.base_msn(), batch.next_msn(), batch.encoded_len());
    let why = format!("MSNs {from}..{to} of {name} are one batch of {bytes} bytes");
    Err(Failure::Input(format!("{why}; the destination takes at most {bytes_max}")))
}

fn msn_count(chunk: &[RecordBatch]) -> u64 {
    chunk.iter().map(|batch| batch.header().msn_count()).sum()
}

fn bytes_of(chunk: &[RecordBatch]) -> usize {
    chunk.iter().map(RecordBatch::encoded_len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use msglog::Msn;
    use msglog::batch::empty_batches;

    #[test]
    fn batch_at_the_limit_goes_and_a_byte_more_is_refused_by_its_msns() {
        let name = "orders-0".parse().unwrap();
        let chunk = empty_batches(Msn::new(5)..Msn::new(9)).collect::<msglog::Result<Vec<_>>>();
        let chunk = chunk.unwrap();
        let bytes = bytes_of(&chunk);
        assert!(check_sizes(&name, &chunk, bytes).is_ok());
        let refused = check_sizes(&name, &chunk, bytes - 1).unwrap_err();
        assert_eq!(refused.exit_code(), 1);
        assert!(refused.to_string().contains("MSNs 5..9 of orders-0"), "{refused}");
    }
}
