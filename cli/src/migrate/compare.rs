//! Both sides batch by batch: the same bytes but for the leader epoch, and a digest of the records.

use std::ops::Range;
use std::sync::Arc;

use indicatif::ProgressBar;
use msglog::Msn;
use msglog::batch::{DecodeLimits, RecordBatch};
use msglog::store::PartitionStore;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::plan::Part;
use super::reader::Reader;
use crate::args::Holes;
use crate::failure::Failure;

/// The bytes of a batch's prefix that both sides share: the leader epoch follows.
const SAME_PREFIX_BYTES: usize = 12;

/// What was found the same on both sides.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Verified {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// SHA-256 in hex over each batch's base MSN and CRC-32C and each record's MSN, timestamp,
    /// key, payload and headers.
    pub(crate) digest: String,
}

/// Compares a range of a partition; a difference is a conflict that names its MSN.
pub(crate) async fn compare(
    part: &Part,
    there: Arc<dyn PartitionStore>,
    range: Range<Msn>,
    holes: Holes,
    bar: &ProgressBar,
) -> Result<Verified, Failure> {
    let (name, store) = (part.name.clone(), Arc::clone(&part.store));
    let mut source = Reader::new("source", name, store, range.clone(), holes);
    let mut destination =
        Reader::new("destination", part.name.clone(), there, range, Holes::Refuse);
    let mut tally = RecordDigest::default();
    loop {
        match tokio::try_join!(source.batch(), destination.batch())? {
            (None, None) => return Ok(tally.finish()),
            (Some(one), Some(other)) if is_same(&one, &other) => {
                tally.add(&other)?;
                bar.inc(other.header().msn_count());
            }
            (one, other) => {
                let msn = first_difference(one.as_ref(), other.as_ref());
                let name = &part.name;
                let why = format!("{name} differs from MSN {msn} on between the two sides");
                return Err(Failure::Conflict(why));
            }
        }
    }
}

/// Whether two batches are the same but for the leader epoch.
fn is_same(one: &RecordBatch, other: &RecordBatch) -> bool {
    let (prefix, other_prefix) = (one.prefix(), other.prefix());
    prefix.get(..SAME_PREFIX_BYTES) == other_prefix.get(..SAME_PREFIX_BYTES)
        && one.rest() == other.rest()
}

/// The first MSN whose record differs; the batch's when only the batches do.
fn first_difference(one: Option<&RecordBatch>, other: Option<&RecordBatch>) -> Msn {
    let (Some(one), Some(other)) = (one, other) else {
        return one.or(other).map_or(Msn::ZERO, RecordBatch::base_msn);
    };
    let base = one.base_msn().min(other.base_msn());
    let (Ok(ours), Ok(theirs)) =
        (one.records(DecodeLimits::default()), other.records(DecodeLimits::default()))
    else {
        return base;
    };
    for pair in ours.zip(theirs) {
        match pair {
            (Ok(ours), Ok(theirs)) if ours == theirs => {}
            (Ok(ours), Ok(theirs)) => return ours.msn.min(theirs.msn),
            _ => return base,
        }
    }
    base
}

/// Adds batches up to a digest.
#[derive(Default)]
struct RecordDigest {
    hash: Sha256,
    records: u64,
    bytes: u64,
}

impl RecordDigest {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        self.hash.update(batch.base_msn().get().to_be_bytes());
        self.hash.update(batch.header().crc().to_be_bytes());
        for record in &batch.decoded(DecodeLimits::default())? {
            let record = record?;
            self.hash.update(record.msn.get().to_be_bytes());
            self.hash.update(record.timestamp.as_millis().to_be_bytes());
            self.field(record.key);
            self.field(record.payload);
            self.hash.update((record.headers.count_left() as u64).to_be_bytes());
            for header in record.headers {
                let header = header?;
                self.field(Some(header.name.as_bytes()));
                self.field(header.value);
            }
        }
        self.records += u64::from(batch.record_count());
        self.bytes += batch.encoded_len() as u64;
        Ok(())
    }

    /// Length and bytes; a field that is not there differs from an empty one.
    fn field(&mut self, bytes: Option<&[u8]>) {
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        self.hash.update(length.to_be_bytes());
        self.hash.update(bytes.unwrap_or_default());
    }

    fn finish(self) -> Verified {
        let digest = self.hash.finalize();
        let digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Verified { records: self.records, bytes: self.bytes, digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msglog::batch::{BatchBuilder, BatchOptions};
    use msglog::{Message, Timestamp};

    fn batch(payloads: &[&str], base: u64, epoch: i32) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for payload in payloads {
            let message = Message::new((*payload).to_owned()).with_header("h", "v");
            builder.push(&message, Timestamp::from_millis(5)).unwrap();
        }
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(base), epoch);
        batch
    }

    fn digest(batches: &[RecordBatch]) -> String {
        let mut tally = RecordDigest::default();
        for batch in batches {
            tally.add(batch).unwrap();
        }
        tally.finish().digest
    }

    #[test]
    fn leader_epoch_makes_no_difference_and_all_else_does() {
        let one = batch(&["a", "b"], 7, 1);
        let stamped = batch(&["a", "b"], 7, 9);
        assert!(is_same(&one, &stamped));
        assert_eq!(digest(std::slice::from_ref(&one)), digest(&[stamped]));
        for other in [batch(&["a", "c"], 7, 1), batch(&["a", "b"], 8, 1), batch(&["a"], 7, 1)] {
            assert!(!is_same(&one, &other));
            assert_ne!(digest(std::slice::from_ref(&one)), digest(&[other]));
        }
    }

    #[test]
    fn difference_is_named_by_the_first_record_that_differs() {
        let one = batch(&["a", "b", "c"], 7, 1);
        let other = batch(&["a", "b", "x"], 7, 1);
        assert_eq!(first_difference(Some(&one), Some(&other)), Msn::new(9));
        assert_eq!(first_difference(Some(&one), None), Msn::new(7));
    }
}
