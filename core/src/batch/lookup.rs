//! Single records out of a batch, by MSN.

use super::records::{DecodedBatch, RecordView, RecordViews};
use super::{Compression, DecodeLimits, RecordBatch, corrupt};
use crate::{Msn, Record, Result};

/// How many records lie between two marks: what is parsed at most to reach one.
const MARK_RECORDS: u32 = 16;

/// A batch's records with marks among them, so that one is found without parsing those before it.
#[derive(Clone, Debug)]
pub(crate) struct RecordIndex {
    decoded: DecodedBatch,
    marks: Box<[Mark]>,
    /// Bytes of memory beside those of the batch.
    bytes: usize,
}

/// Where a record begins.
#[derive(Clone, Copy, Debug)]
struct Mark {
    offset: u32,
    /// The smallest offset delta that the record may have.
    delta_min: u32,
    /// How many records there are from here on.
    left: u32,
}

impl RecordIndex {
    /// Decompresses the batch, and parses every record once.
    ///
    /// # Errors
    ///
    /// As [`RecordBatch::decoded`], and [`Corrupt`](crate::ErrorKind::Corrupt) for records that no
    /// batch can hold.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self> {
        let decoded = batch.decoded(DecodeLimits::default())?;
        let mut marks = Vec::new();
        let mut views = decoded.iter();
        let mut number = 0;
        loop {
            if number % MARK_RECORDS == 0 {
                let (offset, delta_min, left) = views.place(decoded.bytes_len());
                let offset = u32::try_from(offset).map_err(|_| corrupt("batch is too long"))?;
                marks.push(Mark { offset, delta_min, left });
            }
            let Some(record) = views.next() else { break };
            record?;
            number += 1;
        }
        let marks = marks.into_boxed_slice();
        let inflated = match batch.header().compression()? {
            Compression::None => 0,
            _ => decoded.bytes_len(),
        };
        let bytes = size_of_val::<[Mark]>(&marks) + inflated;
        Ok(Self { decoded, marks, bytes })
    }

    /// The record at `msn`, if the batch has it. Parses at most 16 records.
    pub(crate) fn record(&self, msn: Msn) -> Result<Option<Record>> {
        let delta = msn.distance_from(self.decoded.base_msn());
        let behind = self.marks.partition_point(|mark| u64::from(mark.delta_min) <= delta);
        let Some(mark) = behind.checked_sub(1).and_then(|place| self.marks.get(place)) else {
            return Ok(None);
        };
        let offset = usize::try_from(mark.offset).unwrap_or(usize::MAX);
        let mut views = self.decoded.iter_from(offset, mark.left);
        find(&mut views, &self.decoded, msn)
    }

    /// Bytes of memory beside those of the batch.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl DecodedBatch {
    /// The record at `msn`, if the batch has it; passes over all before it.
    pub(crate) fn record(&self, msn: Msn) -> Result<Option<Record>> {
        find(&mut self.iter(), self, msn)
    }

    /// An owned record that keeps at most twice its size in memory: a slice of the batch if it is
    /// most of it, else a copy.
    pub(crate) fn own(&self, view: &RecordView<'_>) -> Result<Record> {
        let bytes = view.key.map_or(0, <[u8]>::len) + view.payload.map_or(0, <[u8]>::len);
        match bytes >= self.bytes_len() / 2 {
            true => self.slice(view),
            false => self.copy(view, bytes),
        }
    }
}

impl RecordBatch {
    /// The same batch in memory of its own, which it fills.
    pub(crate) fn detached(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        bytes.extend_from_slice(&self.prefix());
        bytes.extend_from_slice(self.rest());
        Self { header: self.header, bytes: bytes.into() }
    }
}

fn find(views: &mut RecordViews<'_>, decoded: &DecodedBatch, msn: Msn) -> Result<Option<Record>> {
    match views.next_from(msn) {
        Some(view) => {
            let view = view?;
            if view.msn == msn { decoded.own(&view).map(Some) } else { Ok(None) }
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, BatchOptions, NO_EPOCH};
    use crate::{Message, Timestamp};

    /// A batch at MSN 100 whose records have these offset deltas.
    fn batch(deltas: &[u32], payload: usize) -> RecordBatch {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for delta in deltas {
            let message = Message::new(vec![b'x'; payload])
                .with_key(format!("key {delta}"))
                .with_header("delta", delta.to_string());
            builder.push_at(*delta, &message, Timestamp::from_millis(7)).unwrap();
        }
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(100), NO_EPOCH);
        batch
    }

    #[test]
    fn record_is_found_at_its_msn_and_nowhere_else() {
        for count in [1_u32, 15, 16, 17, 100] {
            for gap in [1_u32, 2, 37] {
                let deltas: Vec<u32> = (0..count).map(|n| (n + 1) * gap - 1).collect();
                let batch = batch(&deltas, 10);
                let decoded = batch.decoded(DecodeLimits::default()).unwrap();
                let index = RecordIndex::of(&batch).unwrap();
                let all: Vec<_> = batch.records(DecodeLimits::default()).unwrap().collect();
                for delta in 0..=count * gap {
                    let msn = Msn::new(100 + u64::from(delta));
                    let wanted = all.iter().flatten().find(|record| record.msn == msn).cloned();
                    assert_eq!(index.record(msn).unwrap(), wanted, "{count} x {gap}, {delta}");
                    assert_eq!(decoded.record(msn).unwrap(), wanted, "{count} x {gap}, {delta}");
                }
                assert_eq!(index.record(Msn::ZERO).unwrap(), None, "before the batch");
            }
        }
    }

    #[test]
    fn sixteen_records_lie_between_two_marks_and_their_memory_is_told() {
        let deltas: Vec<u32> = (0..100).collect();
        let batch = batch(&deltas, 10);
        let index = RecordIndex::of(&batch).unwrap();
        let left: Vec<_> = index.marks.iter().map(|mark| mark.left).collect();
        assert_eq!(left, [100, 84, 68, 52, 36, 20, 4]);
        assert_eq!(index.bytes(), 7 * size_of::<Mark>(), "the records are those of the batch");
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn memory_of_inflated_records_is_told() {
        let options = BatchOptions::default().with_compression(Compression::Lz4);
        let mut builder = BatchBuilder::new(options);
        builder.push(Message::new(vec![0; 10_000]), Timestamp::from_millis(7)).unwrap();
        let records_bytes = builder.encoded_len() - crate::batch::HEADER_BYTES;
        let index = RecordIndex::of(&builder.build().unwrap()).unwrap();
        assert_eq!(index.bytes(), size_of::<Mark>() + records_bytes);
    }

    #[test]
    fn small_record_is_a_copy_and_large_one_a_slice() {
        let many = batch(&[0, 1, 2, 3], 100).decoded(DecodeLimits::default()).unwrap();
        let shares = |decoded: &DecodedBatch| {
            let record = decoded.record(Msn::new(100)).unwrap().unwrap();
            let views: Vec<_> = decoded.iter().map(|view| view.unwrap().payload.unwrap()).collect();
            record.payload.unwrap().as_ptr() == views[0].as_ptr()
        };
        assert!(!shares(&many));
        assert!(shares(&batch(&[0], 1000).decoded(DecodeLimits::default()).unwrap()));
    }
}
