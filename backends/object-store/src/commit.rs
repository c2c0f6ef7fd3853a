//! The commit object: one group of batches of all partitions, and what else happened.
//!
//! ```text
//! header     64 bytes  magic, version, epoch, seq, nonce, length and CRC-32C of the directory,
//!                      CRC-32C of the header
//! directory            runs of batches (partition, MSNs, where they are), then events in order
//! batches              Kafka record batches, each with its own CRC-32C
//! ```
//!
//! The directory stands first, so that its reader needs one ranged GET and no knowledge of the
//! object's length. A commit object is written by a single PUT and so is there whole or not at all.

use bytes::{Bytes, BytesMut};
use msglog_core::store::DocumentKey;
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, Timestamp, TopicPartition};
use object_store::PutPayload;

use crate::wire::{Reader, Writer, checksum};

/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 64;
/// How many of the first bytes a reader of directories asks for.
pub(crate) const HEAD_BYTES: u64 = 64 << 10;

const MAGIC: u64 = u64::from_be_bytes(*b"msglogco");
const VERSION: u32 = 1;
/// A run of batches is split where it grows beyond this, so that a point read fetches little.
const RUN_BYTES: usize = 1 << 20;
/// Batches from this size on are sent as they lie in memory; smaller ones are put together first, so
/// that an object has few pieces.
const APART_BYTES_MIN: usize = 16 << 10;

/// The first bytes of a commit object: who wrote it, and when in the order of commits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CommitHeader {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) nonce: u128,
    directory_bytes: u32,
    directory_crc: u32,
}

impl CommitHeader {
    /// Bytes that the header and the directory take together.
    pub(crate) fn head_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.directory_bytes)
    }

    fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        out.u64(MAGIC);
        out.u32(VERSION);
        out.u64(self.epoch);
        out.u64(self.seq);
        out.u128(self.nonce);
        out.u32(self.directory_bytes);
        out.u32(self.directory_crc);
        out.u64(0);
        let fields = out.finish();
        let mut whole = Vec::with_capacity(HEADER_BYTES);
        whole.extend_from_slice(&fields);
        whole.extend_from_slice(&checksum(&fields).to_be_bytes());
        whole.into()
    }

    /// Reads the header at the front of `bytes`.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self> {
        let Some((fields, crc)) = bytes.get(..HEADER_BYTES).and_then(|b| b.split_last_chunk::<4>())
        else {
            return Err(Error::new(ErrorKind::Corrupt, "commit object: its header is cut"));
        };
        if checksum(fields) != u32::from_be_bytes(*crc) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "commit object: its header has another CRC",
            ));
        }
        let mut input = Reader::new(bytes.slice(..fields.len()), "commit object");
        if input.u64()? != MAGIC {
            return Err(input.broken("it has another magic"));
        }
        let version = input.u32()?;
        if version != VERSION {
            let why = format!("commit object of version {version}; this build reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        Ok(Self {
            epoch: input.u64()?,
            seq: input.u64()?,
            nonce: input.u128()?,
            directory_bytes: input.u32()?,
            directory_crc: input.u32()?,
        })
    }
}

/// Consecutive batches of one partition and where in an object they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    pub(crate) base: Msn,
    pub(crate) next: Msn,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// What happened, other than batches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Event {
    Create {
        id: u64,
        name: TopicPartition,
        first: Msn,
    },
    Remove {
        id: u64,
    },
    Trim {
        id: u64,
        start: Msn,
    },
    Save {
        key: DocumentKey,
        version: u64,
        value: Bytes,
    },
    Discard {
        key: DocumentKey,
    },
    /// The runs of an object take the place of all that the partition had from its first run's
    /// base to its last one's end.
    Merge {
        id: u64,
        base: Msn,
        nonce: u128,
        runs: Vec<Run>,
    },
}

/// The directory of a commit object: runs first, then events in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Directory {
    /// By partition id.
    pub(crate) runs: Vec<(u64, Run)>,
    pub(crate) events: Vec<Event>,
}

impl Directory {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        out.count(self.runs.len());
        for (id, run) in &self.runs {
            out.u64(*id);
            write_run(&mut out, run);
        }
        out.count(self.events.len());
        for event in &self.events {
            write_event(&mut out, event);
        }
        out.finish()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self> {
        let mut input = Reader::new(bytes, "directory of a commit object");
        let mut directory = Self::default();
        for _ in 0..input.count()? {
            let id = input.u64()?;
            directory.runs.push((id, read_run(&mut input)?));
        }
        for _ in 0..input.count()? {
            directory.events.push(read_event(&mut input)?);
        }
        if !input.is_empty() {
            return Err(input.broken("bytes follow its end"));
        }
        Ok(directory)
    }
}

/// A commit before it has a seq: batches and events, encoded as far as they can be.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) directory: Directory,
    encoded: Bytes,
    blocks: Vec<Bytes>,
}

impl Commit {
    pub(crate) fn new(batches: &[(u64, Vec<RecordBatch>)], events: Vec<Event>) -> Self {
        let mut directory = Directory { runs: Vec::new(), events };
        let mut offset = 0;
        for (id, batches) in batches {
            directory.runs.extend(runs_of(batches, &mut offset).map(|run| (*id, run)));
        }
        let blocks = blocks_of(batches.iter().flat_map(|(_, batches)| batches));
        // The length of the directory does not depend on the offsets in it.
        let shift = HEADER_BYTES as u64 + directory.encode().len() as u64;
        for (_, run) in &mut directory.runs {
            run.offset += shift;
        }
        let encoded = directory.encode();
        Self { directory, encoded, blocks }
    }

    /// The object's bytes for this place in the order.
    pub(crate) fn payload(&self, epoch: u64, seq: u64, nonce: u128) -> PutPayload {
        let directory_bytes = u32::try_from(self.encoded.len()).unwrap_or(u32::MAX);
        let directory_crc = checksum(&self.encoded);
        let header = CommitHeader { epoch, seq, nonce, directory_bytes, directory_crc };
        let front = [header.encode(), self.encoded.clone()];
        front.into_iter().chain(self.blocks.iter().cloned()).collect()
    }
}

/// The bytes of batches, one after the other.
fn blocks_of<'a>(batches: impl Iterator<Item = &'a RecordBatch>) -> Vec<Bytes> {
    let (mut blocks, mut together) = (Vec::new(), BytesMut::new());
    for batch in batches {
        together.extend_from_slice(&batch.prefix());
        if batch.encoded_len() < APART_BYTES_MIN {
            together.extend_from_slice(batch.rest());
        } else {
            blocks.push(together.split().freeze());
            blocks.push(batch.rest_bytes());
        }
    }
    if !together.is_empty() {
        blocks.push(together.freeze());
    }
    blocks
}

/// Reads the directory out of the first bytes of a commit object.
pub(crate) fn decode_head(header: &CommitHeader, head: &Bytes) -> Result<Directory> {
    let end = usize::try_from(header.head_bytes()).unwrap_or(usize::MAX);
    if head.len() < end {
        return Err(Error::new(ErrorKind::Corrupt, "commit object: its directory is cut"));
    }
    let directory = head.slice(HEADER_BYTES..end);
    if checksum(&directory) != header.directory_crc {
        return Err(Error::new(ErrorKind::Corrupt, "commit object: its directory has another CRC"));
    }
    Directory::decode(directory)
}

/// The runs of these batches when they are written one after the other from `offset` on.
pub(crate) fn runs_of(batches: &[RecordBatch], offset: &mut u64) -> impl Iterator<Item = Run> {
    let mut runs: Vec<Run> = Vec::new();
    for batch in batches {
        let length = batch.encoded_len() as u64;
        match runs.last_mut() {
            Some(run)
                if run.length + length <= RUN_BYTES as u64 && run.next == batch.base_msn() =>
            {
                run.next = batch.next_msn();
                run.length += length;
                run.max_timestamp = run.max_timestamp.max(batch.max_timestamp());
            }
            _ => runs.push(Run {
                base: batch.base_msn(),
                next: batch.next_msn(),
                max_timestamp: batch.max_timestamp(),
                offset: *offset,
                length,
            }),
        }
        *offset += length;
    }
    runs.into_iter()
}

pub(crate) fn write_run(out: &mut Writer, run: &Run) {
    out.u64(run.base.get());
    out.u64(run.next.get());
    out.i64(run.max_timestamp.as_millis());
    out.u64(run.offset);
    out.u64(run.length);
}

pub(crate) fn read_run(input: &mut Reader) -> Result<Run> {
    let run = Run {
        base: Msn::new(input.u64()?),
        next: Msn::new(input.u64()?),
        max_timestamp: Timestamp::from_millis(input.i64()?),
        offset: input.u64()?,
        length: input.u64()?,
    };
    if run.next <= run.base || run.length == 0 || run.offset.checked_add(run.length).is_none() {
        return Err(input.broken("it names a run that cannot be"));
    }
    Ok(run)
}

fn write_event(out: &mut Writer, event: &Event) {
    match event {
        Event::Create { id, name, first } => {
            out.u8(1);
            out.u64(*id);
            out.bytes(name.to_string().as_bytes());
            out.u64(first.get());
        }
        Event::Remove { id } => {
            out.u8(2);
            out.u64(*id);
        }
        Event::Trim { id, start } => {
            out.u8(3);
            out.u64(*id);
            out.u64(start.get());
        }
        Event::Save { key, version, value } => {
            out.u8(4);
            out.bytes(key.as_str().as_bytes());
            out.u64(*version);
            out.bytes(value);
        }
        Event::Discard { key } => {
            out.u8(5);
            out.bytes(key.as_str().as_bytes());
        }
        Event::Merge { id, base, nonce, runs } => {
            out.u8(6);
            out.u64(*id);
            out.u64(base.get());
            out.u128(*nonce);
            out.count(runs.len());
            for run in runs {
                write_run(out, run);
            }
        }
    }
}

fn read_event(input: &mut Reader) -> Result<Event> {
    let event = match input.u8()? {
        1 => Event::Create {
            id: input.u64()?,
            name: input.text()?.parse()?,
            first: Msn::new(input.u64()?),
        },
        2 => Event::Remove { id: input.u64()? },
        3 => Event::Trim { id: input.u64()?, start: Msn::new(input.u64()?) },
        4 => Event::Save {
            key: DocumentKey::parse(input.text()?)?,
            version: input.u64()?,
            value: input.bytes()?,
        },
        5 => Event::Discard { key: DocumentKey::parse(input.text()?)? },
        6 => {
            let (id, base, nonce) = (input.u64()?, Msn::new(input.u64()?), input.u128()?);
            let mut runs = Vec::new();
            for _ in 0..input.count()? {
                runs.push(read_run(input)?);
            }
            Event::Merge { id, base, nonce, runs }
        }
        other => return Err(input.broken(&format!("it names an unknown event {other}"))),
    };
    Ok(event)
}

#[cfg(test)]
mod tests {
    use msglog_core::Message;
    use msglog_core::batch::{BatchBuilder, BatchOptions};

    use super::*;

    #[test]
    fn batches_of_all_sizes_follow_each_other_with_their_stamps_in_few_pieces() {
        let sizes = [10, 200, 20, APART_BYTES_MIN, 2 * APART_BYTES_MIN, 30, 40];
        let mut next = Msn::new(7);
        let batches = sizes.map(|size| {
            let mut builder = BatchBuilder::new(BatchOptions::default());
            builder.push(Message::new(vec![1; size]), Timestamp::from_millis(1)).unwrap();
            let mut batch = builder.build().unwrap();
            batch.stamp(next, 3);
            next = batch.next_msn();
            batch
        });
        let blocks = blocks_of(batches.iter());
        assert_eq!(blocks.concat(), batches.map(|batch| batch.to_bytes()).concat());
        assert_eq!(blocks.len(), 5);
    }
}
