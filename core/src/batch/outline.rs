//! Where records lie in a stored batch that was checked, so that a part of it can be checked alone.

use std::ops::Range;

use bytes::Bytes;

use super::records::DecodedBatch;
use super::{BatchHeader, Compression, DecodeLimits, HEADER_BYTES, RecordBatch, corrupt};
use crate::{Msn, Result};

/// A group of records has so many bytes or more, but for the last one of a batch.
const GROUP_BYTES_MIN: u32 = 4 << 10;

/// What was seen of an uncompressed batch when all of it was checked: enough to read, check and
/// decode some of its records without the rest.
#[derive(Debug)]
pub(crate) struct Outline {
    header: BatchHeader,
    groups: Box<[Group]>,
}

/// Consecutive records, up to where the next group or the end of the batch is.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Bytes from the start of the batch.
    offset: u32,
    /// The smallest offset delta that the first record may have.
    delta_min: u32,
    /// How many records there are from here to the end of the batch.
    left: u32,
    /// CRC-32C of the bytes.
    crc: u32,
}

/// One group of records of a stored batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    header: BatchHeader,
    group: Group,
    /// Bytes from the start of the batch.
    end: u32,
    /// The offset delta that the next group starts at.
    delta_end: u32,
    count: u32,
}

impl Outline {
    /// Passes once over the records and their bytes; `None` for a batch that is compressed.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for records that no batch can hold.
    pub(crate) fn of(batch: &RecordBatch) -> Result<Option<Self>> {
        let header = *batch.header();
        if header.compression()? != Compression::None {
            return Ok(None);
        }
        let decoded = batch.decoded(DecodeLimits::default())?;
        let mut groups = Groups { records: decoded.bytes(), found: Vec::new() };
        let mut views = decoded.iter();
        loop {
            let (start, delta_min, left) = views.place(decoded.bytes_len());
            let Some(record) = views.pass() else { break };
            groups.record_at(start, delta_min, left)?;
            record?;
        }
        groups.close(decoded.bytes_len());
        Ok(Some(Self { header, groups: groups.found.into_boxed_slice() }))
    }

    /// The part in which the record at `msn` is, if the batch has it.
    pub(crate) fn part(&self, msn: Msn) -> Option<Part> {
        if !self.header.msns().contains(&msn) {
            return None;
        }
        let delta = msn.distance_from(self.header.base_msn);
        let behind = self.groups.partition_point(|group| u64::from(group.delta_min) <= delta);
        self.part_at(behind.checked_sub(1)?)
    }

    fn part_at(&self, number: usize) -> Option<Part> {
        let (header, group) = (self.header, *self.groups.get(number)?);
        let (end, delta_end, left) = match self.groups.get(number + 1) {
            Some(next) => (next.offset, next.delta_min, next.left),
            None => {
                let end = u32::try_from(header.encoded_len()).ok()?;
                (end, header.last_offset_delta.saturating_add(1), 0)
            }
        };
        Some(Part { header, group, end, delta_end, count: group.left - left })
    }

    /// The header of the batch as it was.
    pub(crate) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val::<[Group]>(&self.groups)
    }
}

/// The groups of a batch so far.
struct Groups<'a> {
    records: &'a [u8],
    found: Vec<Group>,
}

impl Groups<'_> {
    /// Takes note of a record that begins at `start` among the records: in a group of its own if
    /// there is enough in the last one.
    fn record_at(&mut self, start: usize, delta_min: u32, left: u32) -> Result<()> {
        let offset = u32::try_from(HEADER_BYTES + start);
        let offset = offset.map_err(|_| corrupt("batch is too long"))?;
        let last = self.found.last().map(|group| group.offset);
        if last.is_none_or(|last| offset - last >= GROUP_BYTES_MIN) {
            self.close(start);
            self.found.push(Group { offset, delta_min, left, crc: 0 });
        }
        Ok(())
    }

    /// The last group ends at `end` among the records.
    fn close(&mut self, end: usize) {
        if let Some(group) = self.found.last_mut() {
            let start = usize::try_from(group.offset).unwrap_or(usize::MAX) - HEADER_BYTES;
            group.crc = crc_fast::crc32_iscsi(self.records.get(start..end).unwrap_or_default());
        }
    }
}

impl Part {
    /// The header of the batch as it was.
    pub(crate) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The MSNs whose records are in this part, and in no other one of the batch.
    pub(crate) fn msns(&self) -> Range<Msn> {
        let base = self.header.base_msn;
        let at = |delta: u32| base.plus(u64::from(delta));
        at(self.group.delta_min)..at(self.delta_end)
    }

    /// Where it lies, in bytes from the start of the batch.
    pub(crate) fn bytes(&self) -> Range<usize> {
        let [start, end] =
            [self.group.offset, self.end].map(|at| usize::try_from(at).unwrap_or(usize::MAX));
        start..end
    }

    /// How many records it has.
    pub(crate) fn record_count(&self) -> u32 {
        self.count
    }

    /// Its records, if these are the bytes that it had when the whole batch was checked.
    pub(crate) fn decoded(&self, bytes: Bytes) -> Option<DecodedBatch> {
        let same =
            bytes.len() == self.bytes().len() && crc_fast::crc32_iscsi(&bytes) == self.group.crc;
        same.then(|| DecodedBatch::part(&self.header, bytes, self.group.delta_min, self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchBuilder, BatchOptions, NO_EPOCH, TimestampKind};
    use crate::{Message, Record, Timestamp};

    /// A batch at MSN 100 whose records have these offset deltas and payloads of these lengths.
    fn batch(records: &[(u32, usize)], options: BatchOptions) -> RecordBatch {
        let mut builder = BatchBuilder::new(options);
        for (delta, len) in records {
            let message = Message::new(vec![u8::try_from(delta % 251).unwrap(); *len])
                .with_key(format!("key {delta}"))
                .with_header("delta", delta.to_string());
            let at = Timestamp::from_millis(i64::from(*delta) * 7 % 1_000 + 5_000);
            builder.push_at(*delta, &message, at).unwrap();
        }
        let mut batch = builder.build().unwrap();
        batch.stamp(Msn::new(100), NO_EPOCH);
        batch
    }

    fn shapes() -> Vec<RecordBatch> {
        let even = |count: u32, gap: u32, len: usize| -> Vec<(u32, usize)> {
            (0..count).map(|number| ((number + 1) * gap - 1, len)).collect()
        };
        let lens = [1, 9_000, 30, 4_096, 700];
        let mixed: Vec<_> =
            (0..200).zip(lens.into_iter().cycle()).map(|(n, len)| (n * 3, len)).collect();
        let append = BatchOptions::default().with_timestamp_kind(TimestampKind::Append);
        vec![
            batch(&even(1, 1, 10), BatchOptions::default()),
            batch(&even(1, 40, 20_000), BatchOptions::default()),
            batch(&even(1_000, 1, 100), BatchOptions::default()),
            batch(&even(300, 7, 1_024), BatchOptions::default()),
            batch(&mixed, BatchOptions::default()),
            batch(&mixed, append),
        ]
    }

    /// The record as a reader of the part alone finds it.
    fn by_part(outline: &Outline, stored: &Bytes, msn: Msn) -> Option<Record> {
        let part = outline.part(msn)?;
        assert!(part.msns().contains(&msn), "{msn} in {:?}", part.msns());
        let decoded = part.decoded(stored.slice(part.bytes())).expect("it is what was checked");
        assert_eq!(decoded.iter().map(Result::unwrap).count(), part.record_count() as usize);
        decoded.record(msn).unwrap()
    }

    #[test]
    fn record_of_a_part_is_that_of_the_batch_at_every_msn() {
        for batch in shapes() {
            let outline = Outline::of(&batch).unwrap().unwrap();
            let whole = batch.decoded(DecodeLimits::default()).unwrap();
            let stored = batch.to_bytes();
            for msn in 90..batch.next_msn().get() + 10 {
                let msn = Msn::new(msn);
                let wanted = whole.record(msn).unwrap();
                assert_eq!(by_part(&outline, &stored, msn), wanted, "MSN {msn}");
            }
        }
    }

    #[test]
    fn parts_cover_the_records_once_and_are_small() {
        for batch in shapes() {
            let outline = Outline::of(&batch).unwrap().unwrap();
            let (mut at, mut msn, mut count) = (HEADER_BYTES, batch.base_msn(), 0);
            for number in 0..outline.groups.len() {
                let part = outline.part_at(number).unwrap();
                assert_eq!((part.bytes().start, part.msns().start), (at, msn));
                let records = part.decoded(batch.to_bytes().slice(part.bytes())).unwrap();
                let longest = records.iter().map(|view| view.unwrap().payload.unwrap().len());
                assert!(part.bytes().len() < 4_096 + longest.max().unwrap() + 100);
                (at, msn) = (part.bytes().end, part.msns().end);
                count += part.record_count();
            }
            assert_eq!((at, msn), (batch.encoded_len(), batch.next_msn()));
            assert_eq!(count, batch.record_count());
        }
    }

    #[test]
    fn part_with_any_byte_flipped_cut_or_added_is_not_decoded() {
        let batch =
            batch(&[(0, 900), (1, 900), (2, 900), (3, 900), (4, 900), (5, 900)], <_>::default());
        let outline = Outline::of(&batch).unwrap().unwrap();
        for number in 0..outline.groups.len() {
            let part = outline.part_at(number).unwrap();
            let good = batch.to_bytes().slice(part.bytes());
            assert!(part.decoded(good.clone()).is_some());
            for at in 0..good.len() {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << (at % 8);
                assert!(part.decoded(bad.into()).is_none(), "flipped at {at}");
                assert!(part.decoded(good.slice(..at)).is_none(), "cut at {at}");
            }
            assert!(part.decoded([good.as_ref(), &[0]].concat().into()).is_none(), "one more");
        }
    }

    #[test]
    fn outline_takes_less_than_a_hundredth_of_a_large_batch() {
        let records: Vec<_> = (0..1_000).map(|number| (number, 1_024)).collect();
        let batch = batch(&records, BatchOptions::default());
        let outline = Outline::of(&batch).unwrap().unwrap();
        assert!(outline.bytes() * 200 < batch.encoded_len(), "{} bytes", outline.bytes());
    }

    #[cfg(feature = "lz4")]
    #[test]
    fn compressed_batch_has_none() {
        let options = BatchOptions::default().with_compression(Compression::Lz4);
        let records: Vec<_> = (0..100).map(|number| (number, 1_000)).collect();
        let batch = batch(&records, options);
        assert_eq!(batch.header().compression().unwrap(), Compression::Lz4);
        assert!(Outline::of(&batch).unwrap().is_none());
    }
}
