//! What a place holds, in RAM: which partitions, which runs of batches in which objects, documents.
//!
//! It follows from the commit objects alone: applying them in order, from the beginning or from a
//! checkpoint on, always makes the same catalogue.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use msglog_core::store::{Document, DocumentKey, Version};
use msglog_core::{Error, ErrorKind, Msn, Result, TopicPartition};

use crate::commit::{CommitHeader, Directory, Event, Run, read_run, write_run};
use crate::wire::{Reader, Writer, checksum};

const MAGIC: u64 = u64::from_be_bytes(*b"msglogck");
const VERSION: u32 = 1;

/// The object that a run of batches is in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Holder {
    /// The commit object of this seq.
    Commit(u64),
    /// A merged segment of the run's own partition.
    Segment { base: Msn, nonce: u128 },
}

/// A run of batches and the object that it is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Extent {
    pub(crate) run: Run,
    pub(crate) holder: Holder,
}

/// One partition: what of it is durable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Partition {
    pub(crate) name: TopicPartition,
    /// The oldest readable MSN; batches below may still be in `extents`.
    pub(crate) start: Msn,
    pub(crate) next: Msn,
    /// Sorted, without a gap from `start` to `next`.
    pub(crate) extents: Vec<Extent>,
}

impl Partition {
    /// The extents from the one that holds `from` on.
    pub(crate) fn extents_from(&self, from: Msn) -> &[Extent] {
        let first = self.extents.partition_point(|extent| extent.run.next <= from);
        self.extents.get(first..).unwrap_or_default()
    }

    /// Whether its extents follow each other and reach from its start to its end.
    fn is_whole(&self) -> bool {
        let runs = || self.extents.iter().map(|extent| extent.run);
        let first = runs().next().map_or(self.next, |run| run.base);
        let last = runs().next_back().map_or(self.start, |run| run.next);
        self.start <= self.next && first <= self.start && last == self.next && follow(runs())
    }

    fn trim(&mut self, start: Msn) {
        self.start = self.start.max(start).min(self.next);
        let dead = self.extents.partition_point(|extent| extent.run.next <= self.start);
        self.extents.drain(..dead);
    }

    fn merge(&mut self, holder: Holder, runs: &[Run]) -> Result<()> {
        let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return Ok(()) };
        if !follow(runs.iter().copied()) {
            let why = format!("a merged segment of {} has a gap", self.name);
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        if last.next <= self.start {
            return Ok(());
        }
        let low = self.extents.partition_point(|extent| extent.run.next <= first.base);
        let high = self.extents.partition_point(|extent| extent.run.base < last.next);
        let replaced = self.extents.get(low..high).unwrap_or_default();
        // What lies below the start is dead, whether or not the segment has it.
        let dead = first.base <= self.start;
        let starts = replaced.first().is_some_and(|extent| dead || extent.run.base >= first.base);
        let ends = replaced.last().is_some_and(|extent| extent.run.next == last.next);
        if !starts || !ends {
            let why = format!("a merged segment of {} cuts what it replaces", self.name);
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        let alive = runs.iter().filter(|run| run.next > self.start);
        self.extents.splice(low..high, alive.map(|run| Extent { run: *run, holder }));
        Ok(())
    }
}

/// Everything that a place holds as of a seq.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Catalogue {
    /// The last commit object that is in here; 0 for none.
    pub(crate) seq: u64,
    /// The highest writer epoch of any; 0 for none.
    pub(crate) epoch: u64,
    /// The highest partition id ever given.
    pub(crate) ids: u64,
    /// The highest document version ever given.
    pub(crate) versions: u64,
    pub(crate) partitions: BTreeMap<u64, Partition>,
    pub(crate) documents: BTreeMap<DocumentKey, Document>,
}

impl Catalogue {
    /// Takes in the commit object that follows; one of a lower epoch is dead and only passed over.
    pub(crate) fn apply(&mut self, header: &CommitHeader, directory: &Directory) -> Result<()> {
        if Some(header.seq) != self.seq.checked_add(1) {
            let why = format!("commit object {} does not follow {}", header.seq, self.seq);
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        if header.epoch >= self.epoch {
            self.take(header.seq, directory)
                .map_err(|error| error.within(format_args!("commit object {}", header.seq)))?;
            self.epoch = header.epoch;
        }
        self.seq = header.seq;
        Ok(())
    }

    /// Takes in the commit that this writer put at `seq`; those before it are taken in or dead.
    pub(crate) fn apply_own(&mut self, seq: u64, directory: &Directory) -> Result<()> {
        self.take(seq, directory)?;
        self.seq = seq;
        Ok(())
    }

    fn take(&mut self, seq: u64, directory: &Directory) -> Result<()> {
        for (id, run) in &directory.runs {
            let partition = self.partition(*id)?;
            if run.base != partition.next {
                let why =
                    format!("{} has {} next, not {}", partition.name, partition.next, run.base);
                return Err(Error::new(ErrorKind::Corrupt, why));
            }
            partition.next = run.next;
            partition.extents.push(Extent { run: *run, holder: Holder::Commit(seq) });
        }
        directory.events.iter().try_for_each(|event| self.happen(event))
    }

    fn happen(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Create { id, name, first } => {
                let (name, start, next) = (name.clone(), *first, *first);
                self.ids = self.ids.max(*id);
                self.partitions.insert(*id, Partition { name, start, next, extents: Vec::new() });
            }
            Event::Remove { id } => {
                self.partitions.remove(id);
            }
            Event::Trim { id, start } => {
                if let Some(partition) = self.partitions.get_mut(id) {
                    partition.trim(*start);
                }
            }
            Event::Save { key, version, value } => {
                self.versions = self.versions.max(*version);
                let document = Document { value: value.clone(), version: Version::new(*version) };
                self.documents.insert(key.clone(), document);
            }
            Event::Discard { key } => {
                self.documents.remove(key);
            }
            Event::Merge { id, base, nonce, runs } => {
                let holder = Holder::Segment { base: *base, nonce: *nonce };
                if let Some(partition) = self.partitions.get_mut(id) {
                    partition.merge(holder, runs)?;
                }
            }
        }
        Ok(())
    }

    fn partition(&mut self, id: u64) -> Result<&mut Partition> {
        self.partitions
            .get_mut(&id)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("there is no partition id {id}")))
    }

    /// The commit objects whose batches are still read from there.
    pub(crate) fn commits_in_use(&self) -> BTreeSet<u64> {
        self.holders()
            .filter_map(|(_, holder)| match holder {
                Holder::Commit(seq) => Some(seq),
                Holder::Segment { .. } => None,
            })
            .collect()
    }

    /// Every object that batches are read from, with the id of the partition.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (u64, Holder)> {
        self.partitions
            .iter()
            .flat_map(|(id, partition)| partition.extents.iter().map(|extent| (*id, extent.holder)))
    }

    /// The bytes of a checkpoint.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        out.u64(MAGIC);
        out.u32(VERSION);
        for number in [self.seq, self.epoch, self.ids, self.versions] {
            out.u64(number);
        }
        out.count(self.partitions.len());
        for (id, partition) in &self.partitions {
            out.u64(*id);
            out.bytes(partition.name.to_string().as_bytes());
            out.u64(partition.start.get());
            out.u64(partition.next.get());
            out.count(partition.extents.len());
            for extent in &partition.extents {
                write_extent(&mut out, extent);
            }
        }
        out.count(self.documents.len());
        for (key, document) in &self.documents {
            out.bytes(key.as_str().as_bytes());
            out.u64(document.version.get());
            out.bytes(&document.value);
        }
        let body = out.finish();
        let mut whole = Vec::with_capacity(body.len() + 4);
        whole.extend_from_slice(&body);
        whole.extend_from_slice(&checksum(&body).to_be_bytes());
        whole.into()
    }

    /// Reads the bytes of a checkpoint.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Err(Error::new(ErrorKind::Corrupt, "checkpoint: it is cut"));
        };
        if checksum(body) != u32::from_be_bytes(*crc) {
            return Err(Error::new(ErrorKind::Corrupt, "checkpoint: it has another CRC"));
        }
        let mut input = Reader::new(bytes.slice(..body.len()), "checkpoint");
        if input.u64()? != MAGIC {
            return Err(input.broken("it has another magic"));
        }
        let version = input.u32()?;
        if version != VERSION {
            let why = format!("checkpoint of version {version}; this build reads {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let mut catalogue = Self {
            seq: input.u64()?,
            epoch: input.u64()?,
            ids: input.u64()?,
            versions: input.u64()?,
            ..Self::default()
        };
        for _ in 0..input.count()? {
            let id = input.u64()?;
            catalogue.partitions.insert(id, read_partition(&mut input)?);
        }
        for _ in 0..input.count()? {
            let key = DocumentKey::parse(input.text()?)?;
            let version = Version::new(input.u64()?);
            catalogue.documents.insert(key, Document { version, value: input.bytes()? });
        }
        Ok(catalogue)
    }
}

/// Whether each run begins where the one before it ends.
fn follow(runs: impl Iterator<Item = Run> + Clone) -> bool {
    runs.clone().zip(runs.skip(1)).all(|(run, behind)| run.next == behind.base)
}

fn read_partition(input: &mut Reader) -> Result<Partition> {
    let mut partition = Partition {
        name: input.text()?.parse()?,
        start: Msn::new(input.u64()?),
        next: Msn::new(input.u64()?),
        extents: Vec::new(),
    };
    for _ in 0..input.count()? {
        partition.extents.push(read_extent(input)?);
    }
    if !partition.is_whole() {
        return Err(input.broken(&format!("{} has a gap", partition.name)));
    }
    Ok(partition)
}

fn write_extent(out: &mut Writer, extent: &Extent) {
    write_run(out, &extent.run);
    match extent.holder {
        Holder::Commit(seq) => {
            out.u8(0);
            out.u64(seq);
        }
        Holder::Segment { base, nonce } => {
            out.u8(1);
            out.u64(base.get());
            out.u128(nonce);
        }
    }
}

fn read_extent(input: &mut Reader) -> Result<Extent> {
    let run = read_run(input)?;
    let holder = match input.u8()? {
        0 => Holder::Commit(input.u64()?),
        1 => Holder::Segment { base: Msn::new(input.u64()?), nonce: input.u128()? },
        _ => return Err(input.broken("it names an unknown kind of object")),
    };
    Ok(Extent { run, holder })
}

#[cfg(test)]
mod tests;
