//! Reading: from the tail in RAM where it reaches back, else from the objects.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use futures::{StreamExt, stream};
use msglog_core::batch::BatchHeader;
use msglog_core::store::{Access, ReadLimit};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result};
use object_store::path::Path;

use crate::catalogue::{Extent, Holder};
use crate::core::{Core, Pace};
use crate::state::removed;

/// Read-ahead grows to this many chunks.
const READ_AHEAD_CHUNKS_MAX: u64 = 8;
/// Small objects that one read fetches at the same time.
const GETS_IN_FLIGHT: usize = 16;
/// How often a read looks anew after an object was deleted under it.
const TRIES: usize = 3;

/// Where each partition's last cold read ended, and how many chunks to fetch beyond the next.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead(Mutex<HashMap<u64, (Msn, u64)>>);

impl ReadAhead {
    /// Notes a cold read; answers how many chunks to fetch ahead.
    fn note(&self, id: u64, from: Msn, end: Msn) -> u64 {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chunks = match ends.get(&id) {
            Some((expected, chunks)) if *expected == from => {
                (chunks * 2).clamp(1, READ_AHEAD_CHUNKS_MAX)
            }
            _ => 0,
        };
        ends.insert(id, (end, chunks));
        chunks
    }
}

/// What a read has to do.
enum Plan {
    Done(Vec<RecordBatch>),
    Fetch { from: Msn, extents: Vec<(Extent, Path)>, ahead: Vec<(Extent, Path)> },
}

/// Whole batches from the one that holds `from` on.
pub(crate) async fn read(
    core: &Arc<Core>,
    id: u64,
    from: Msn,
    limit: ReadLimit,
) -> Result<Vec<RecordBatch>> {
    let mut from = from;
    let mut tries = 0;
    let mut looked = core.access == Access::Write;
    loop {
        let (at, extents, ahead) = match plan(core, id, from, limit)? {
            // The end, as far as is known: the writer may have gone on.
            Plan::Done(batches) if batches.is_empty() && !looked => {
                looked = true;
                core.follow(Pace::Slow).await?;
                continue;
            }
            Plan::Done(batches) => return Ok(batches),
            Plan::Fetch { from, extents, ahead } => (from, extents, ahead),
        };
        let end = extents.last().map_or(at, |(extent, _)| extent.run.next);
        match fetch(core, id, at, &extents, limit).await {
            Ok(batches) => {
                let Some(last) = batches.last() else {
                    // All of it is damaged: on to what is behind.
                    from = end;
                    continue;
                };
                let chunks = core.read_ahead.note(id, at, last.next_msn());
                warm(core, chunks, ahead);
                return Ok(batches);
            }
            Err(error) if error.kind() == ErrorKind::NotFound && tries < TRIES => {
                tries += 1;
                core.follow(Pace::Thorough).await?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let kind = match core.access {
                    Access::Read => ErrorKind::Unavailable,
                    Access::Write => ErrorKind::Corrupt,
                };
                return Err(Error::new(kind, error.context()));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Looks what is where; the lock is held only here.
fn plan(core: &Core, id: u64, from: Msn, limit: ReadLimit) -> Result<Plan> {
    let state = core.lock_open()?;
    let partition = state.catalogue.partitions.get(&id).ok_or_else(removed)?;
    let from = from.max(partition.start);
    if let Some(tail) = state.tails.get(&id)
        && let Some(batches) = tail.read(from, limit.bytes)
    {
        return Ok(Plan::Done(batches));
    }
    let named = |extent: &Extent| (*extent, path_of(core, &partition.name, extent.holder));
    let all = partition.extents_from(from);
    let mut bytes = 0;
    let wanted = all.iter().take_while(|extent| {
        let more = bytes == 0 || bytes < limit.bytes as u64;
        bytes += extent.run.length;
        more
    });
    let extents: Vec<_> = wanted.map(named).collect();
    let ahead_bytes_max =
        (READ_AHEAD_CHUNKS_MAX * core.cache.chunk_bytes()).min(core.cache.bytes_max() as u64 / 2);
    let mut bytes = 0;
    let rest = all.get(extents.len()..).unwrap_or_default();
    let ahead = rest.iter().take_while(|extent| {
        bytes += extent.run.length;
        bytes <= ahead_bytes_max
    });
    Ok(Plan::Fetch { from, ahead: ahead.map(named).collect(), extents })
}

pub(crate) fn path_of(core: &Core, name: &msglog_core::TopicPartition, holder: Holder) -> Path {
    match holder {
        Holder::Commit(seq) => core.bucket.layout.commit(seq),
        Holder::Segment { base, nonce } => core.bucket.layout.segment(name, base, nonce),
    }
}

pub(crate) fn range_of(extent: &Extent) -> Range<u64> {
    extent.run.offset..extent.run.offset + extent.run.length
}

async fn fetch(
    core: &Core,
    id: u64,
    from: Msn,
    extents: &[(Extent, Path)],
    limit: ReadLimit,
) -> Result<Vec<RecordBatch>> {
    let mut answer = Vec::new();
    let mut bytes = 0_usize;
    let fetches: Vec<_> =
        extents.iter().map(|(extent, path)| batches_of(core, id, extent, path)).collect();
    let mut fetched = stream::iter(fetches).buffered(GETS_IN_FLIGHT);
    while let Some(batches) = fetched.next().await {
        for batch in batches? {
            if batch.next_msn() <= from {
                continue;
            }
            bytes = bytes.saturating_add(batch.encoded_len());
            if bytes > limit.bytes && !answer.is_empty() {
                return Ok(answer);
            }
            answer.push(batch);
        }
    }
    Ok(answer)
}

/// The batches of an extent, each checked; what stays damaged when fetched again is a hole.
pub(crate) async fn batches_of(
    core: &Core,
    id: u64,
    extent: &Extent,
    path: &Path,
) -> Result<Vec<RecordBatch>> {
    let range = range_of(extent);
    let bytes = core.cache.read(&core.bucket, path, range.clone()).await?;
    let (batches, holes) = decode_all(bytes, extent);
    if holes.is_empty() {
        return Ok(batches);
    }
    core.cache.forget(path, &range);
    let bytes = core.cache.read(&core.bucket, path, range).await?;
    let (batches, holes) = decode_all(bytes, extent);
    for hole in holes {
        tracing::error!(object = %path, start = %hole.start, end = %hole.end, "damaged batches");
        let mut known = core.holes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(id).or_default();
        if !known.contains(&hole) {
            known.push(hole);
            known.sort_by_key(|hole| hole.start);
        }
    }
    Ok(batches)
}

fn decode_all(mut bytes: Bytes, extent: &Extent) -> (Vec<RecordBatch>, Vec<Range<Msn>>) {
    let mut batches = Vec::new();
    let mut holes: Vec<Range<Msn>> = Vec::new();
    let mut next = extent.run.base;
    while !bytes.is_empty() {
        match RecordBatch::split_first(&mut bytes) {
            Ok(Some(batch)) if batch.base_msn() >= next && batch.next_msn() <= extent.run.next => {
                if batch.base_msn() > next {
                    holes.push(next..batch.base_msn());
                }
                next = batch.next_msn();
                batches.push(batch);
            }
            Ok(Some(_)) => {}
            // The header still says where the next batch would be; the MSNs tell whether it is.
            _ => match BatchHeader::parse(&bytes).map(|header| header.encoded_len()) {
                Ok(length) if length <= bytes.len() => bytes.advance(length),
                _ => break,
            },
        }
    }
    if next < extent.run.next {
        holes.push(next..extent.run.next);
    }
    (batches, holes)
}

/// Fetches chunks that a reader in sequence will want, in the background.
fn warm(core: &Arc<Core>, chunks: u64, ahead: Vec<(Extent, Path)>) {
    if chunks == 0 || ahead.is_empty() {
        return;
    }
    let core = core.clone();
    tokio::spawn(async move {
        let mut left = chunks;
        let mut last: Option<(Path, u64)> = None;
        let mut wanted = Vec::new();
        for (extent, path) in ahead {
            let end = core.cache.chunk_end(extent.run.offset);
            if last.as_ref().is_some_and(|last| last.0 == path && last.1 == end) {
                continue;
            }
            if left == 0 {
                break;
            }
            left -= 1;
            last = Some((path.clone(), end));
            wanted.push((path, extent.run.offset..extent.run.offset + 1));
        }
        let fetches = wanted.iter().map(|(path, range)| {
            let core = &core;
            async move {
                // Only a hint: the read itself says what goes wrong.
                let _ = core.cache.read(&core.bucket, path, range.clone()).await;
            }
        });
        futures::future::join_all(fetches).await;
    });
}
