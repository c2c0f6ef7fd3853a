//! Record batches whose every byte follows from a seed and a base MSN, so that any can be checked.

use bytes::Bytes;
use msglog_core::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
use msglog_core::{Message, Msn, RecordBatch, Timestamp};

use crate::{CaseResult, ensure, ensure_eq};

/// Makes batches; two with the same seed make the same ones.
#[derive(Clone, Copy, Debug)]
pub struct Samples {
    seed: u64,
    large_bytes: usize,
}

/// One in this many batches is large, where any are.
const LARGE_ONE_IN: u64 = 16;

impl Samples {
    /// Batches that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, large_bytes: 0 }
    }

    /// The same, but that one batch in 16 has this many bytes.
    pub fn with_large(self, large_bytes: usize) -> Self {
        Self { large_bytes, ..self }
    }

    /// A batch of `records` records at `base`; record `n` has timestamp `10 * n` milliseconds.
    pub fn batch(&self, base: Msn, records: u32) -> CaseResult<RecordBatch> {
        let first = base.get();
        let messages = (first..first + u64::from(records.max(1))).map(|msn| self.message(msn));
        batch_of(base, &messages.collect::<Vec<_>>())
    }

    /// A batch whose number of records, 1 to 7, follows from seed and base.
    pub fn next(&self, base: Msn) -> CaseResult<RecordBatch> {
        let dice = scramble(self.seed ^ scramble(base.get()));
        if self.large_bytes > 0 && (dice >> 32).is_multiple_of(LARGE_ONE_IN) {
            return self.batch_of_bytes(base, self.large_bytes);
        }
        let records = dice % 7 + 1;
        self.batch(base, u32::try_from(records).unwrap_or(1))
    }

    /// `count` such batches, one after the other from `base` on.
    pub fn run(&self, mut base: Msn, count: usize) -> CaseResult<Vec<RecordBatch>> {
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            let batch = self.next(base)?;
            base = batch.next_msn();
            batches.push(batch);
        }
        Ok(batches)
    }

    /// A batch of one record that is exactly `bytes` long when encoded.
    pub fn batch_of_bytes(&self, base: Msn, bytes: usize) -> CaseResult<RecordBatch> {
        let mut payload = bytes.saturating_sub(80);
        // The varints of the lengths grow with the payload, so the size is approached in steps.
        for _ in 0..8 {
            let filler = vec![b'x'; payload];
            let batch = batch_of(base, &[Message::new(filler).with_timestamp(timestamp(base))])?;
            if batch.encoded_len() == bytes {
                return Ok(batch);
            }
            payload = (payload + bytes).saturating_sub(batch.encoded_len());
        }
        Err(crate::Failure::new(format!("the suite cannot build a batch of {bytes} bytes")))
    }

    fn message(&self, msn: u64) -> Message {
        let filler = usize::try_from(scramble(self.seed.wrapping_add(msn)) % 97).unwrap_or(0);
        let text = format!("{:016x}:{msn}:{}", self.seed, "·".repeat(filler / 2));
        Message::new(text)
            .with_key(format!("key-{}", msn % 5))
            .with_header("seed", Bytes::copy_from_slice(&self.seed.to_be_bytes()))
            .with_timestamp(timestamp(Msn::new(msn)))
    }
}

/// The timestamp of the record at `msn` in every sample.
pub fn timestamp(msn: Msn) -> Timestamp {
    Timestamp::from_millis(i64::try_from(msn.get()).unwrap_or(i64::MAX / 10).saturating_mul(10))
}

/// A batch of these messages at `base`.
pub fn batch_of(base: Msn, messages: &[Message]) -> CaseResult<RecordBatch> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for message in messages {
        builder.push(message, timestamp(base))?;
    }
    let mut batch = builder.build()?;
    batch.stamp(base, NO_EPOCH);
    Ok(batch)
}

/// Whether two batches are the same but for the leader epoch, which a store may stamp.
pub fn same(left: &RecordBatch, right: &RecordBatch) -> bool {
    let length = |batch: &RecordBatch| batch.prefix().get(8..12).map(<[u8]>::to_vec);
    left.base_msn() == right.base_msn()
        && length(left) == length(right)
        && left.rest() == right.rest()
}

/// Checks that `found` are exactly `expected`, but for the leader epoch.
pub fn check_same(found: &[RecordBatch], expected: &[RecordBatch], what: &str) -> CaseResult {
    check_prefix(found, expected, what)?;
    ensure_eq!(found.len(), expected.len(), "{what}: number of batches");
    Ok(())
}

/// Checks that `found` are the first of `expected`, but for the leader epoch.
pub fn check_prefix(found: &[RecordBatch], expected: &[RecordBatch], what: &str) -> CaseResult {
    for (index, batch) in found.iter().enumerate() {
        let Some(wanted) = expected.get(index) else {
            ensure!(
                false,
                "{what}: more batches than were appended, from MSN {}",
                batch.base_msn()
            );
            break;
        };
        check_batch(batch, wanted, what)?;
    }
    Ok(())
}

/// Checks one batch against the one that was appended.
pub fn check_batch(found: &RecordBatch, wanted: &RecordBatch, what: &str) -> CaseResult {
    let range = |batch: &RecordBatch| format!("{}..{}", batch.base_msn(), batch.next_msn());
    let (got, want) = (range(found), range(wanted));
    ensure!(got == want, "{what}: wrong batch: got MSNs {got}, expected {want}");
    ensure!(same(found, wanted), "{what}: batch {got} has other bytes than were appended");
    Ok(())
}

/// A well mixed number from any other (splitmix64).
pub fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A sequence of well mixed numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence that follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scramble(self.0).checked_rem(end).unwrap_or(0)
    }

    /// The next index below `end`; 0 when `end` is 0.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }
}
