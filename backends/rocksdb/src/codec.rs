//! The keys and values in the database.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `partitions` | name | number u32, next MSN u64, bytes u64 |
//! | `partitions` | empty | the next number u64 |
//! | `batches` | number u32, base MSN u64 | the batch |
//! | `index` | number u32, base MSN u64 | next MSN u64, length u32, newest timestamp i64 |
//! | `documents` | key | version u64, value |
//! | `documents` | empty | the next version u64 |
//!
//! All integers are big-endian. The numbers of partitions and versions are never used again.

use bytes::BufMut;
use msglog_core::{Msn, RecordBatch, Result, Timestamp};
use msglog_kv::corrupt;

/// The key of a counter: no name and no document key is empty.
pub(crate) const COUNTER_KEY: [u8; 0] = [];

/// The key of a batch and of its entry in the index.
pub(crate) fn batch_key(number: u32, base: Msn) -> [u8; 12] {
    let mut key = [0; 12];
    let mut out = key.as_mut_slice();
    out.put_u32(number);
    out.put_u64(base.get());
    key
}

/// The base MSN in the key of a batch.
pub(crate) fn base_of(key: &[u8]) -> Result<Msn> {
    match key.last_chunk::<8>() {
        Some(base) if key.len() == 12 => Ok(Msn::new(u64::from_be_bytes(*base))),
        _ => Err(corrupt("the key of a batch cannot be read")),
    }
}

/// What is stored of a partition as a whole; changes with each of its batches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PartitionEntry {
    pub(crate) number: u32,
    pub(crate) next: Msn,
    pub(crate) bytes: u64,
}

impl PartitionEntry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (number, next) = (self.number.to_be_bytes(), self.next.get().to_be_bytes());
        [number.as_slice(), &next, &self.bytes.to_be_bytes()].concat()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let mut input = Input(value);
        let number = u32::from_be_bytes(input.take()?);
        let next = Msn::new(u64::from_be_bytes(input.take()?));
        let bytes = u64::from_be_bytes(input.take()?);
        input.end(Self { number, next, bytes })
    }
}

/// What the index says of a batch, so that the batch need not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct IndexEntry {
    pub(crate) next: Msn,
    pub(crate) length: u32,
    pub(crate) max_timestamp: Timestamp,
}

impl IndexEntry {
    pub(crate) fn of(batch: &RecordBatch) -> Self {
        let length = u32::try_from(batch.encoded_len()).unwrap_or(u32::MAX);
        Self { next: batch.next_msn(), length, max_timestamp: batch.max_timestamp() }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (next, length) = (self.next.get().to_be_bytes(), self.length.to_be_bytes());
        [next.as_slice(), &length, &self.max_timestamp.as_millis().to_be_bytes()].concat()
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self> {
        let mut input = Input(value);
        let next = Msn::new(u64::from_be_bytes(input.take()?));
        let length = u32::from_be_bytes(input.take()?);
        let max_timestamp = Timestamp::from_millis(i64::from_be_bytes(input.take()?));
        input.end(Self { next, length, max_timestamp })
    }
}

/// A counter, or the version in front of a document's value.
pub(crate) fn decode_number(value: &[u8]) -> Result<u64> {
    let mut input = Input(value);
    let number = u64::from_be_bytes(input.take()?);
    input.end(number)
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| corrupt("an entry is cut"))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn end<T>(self, value: T) -> Result<T> {
        if self.0.is_empty() { Ok(value) } else { Err(corrupt("an entry goes on")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_partition_and_then_msn() {
        let keys = [(0, 0), (0, 256), (1, 0), (1, 255), (1, 256), (256, 1)];
        let keys = keys.map(|(number, base)| batch_key(number, Msn::new(base)));
        assert!(keys.is_sorted());
        assert_eq!(base_of(&batch_key(u32::MAX, Msn::MAX)).unwrap(), Msn::MAX);
        assert_eq!(batch_key(0x0102_0304, Msn::new(5)), [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5]);
        assert!(base_of(b"short").is_err());
    }

    #[test]
    fn entries_are_read_back_and_refused_when_cut_or_longer() {
        let entry = PartitionEntry { number: 7, next: Msn::new(1 << 40), bytes: 99 };
        let value = entry.encode();
        assert_eq!(PartitionEntry::decode(&value).unwrap(), entry);
        let max_timestamp = Timestamp::from_millis(-1);
        let index = IndexEntry { next: Msn::MAX, length: 61, max_timestamp };
        assert_eq!(IndexEntry::decode(&index.encode()).unwrap(), index);
        for cut in 0..value.len() {
            assert!(PartitionEntry::decode(&value[..cut]).is_err(), "cut at {cut}");
            assert!(IndexEntry::decode(&index.encode()[..cut]).is_err(), "cut at {cut}");
        }
        assert!(PartitionEntry::decode(&[value, vec![0]].concat()).is_err());
    }
}
