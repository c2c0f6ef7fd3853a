//! What goes on in the background: merging, checkpoints, and deleting what is no longer needed.
//!
//! Nothing here is on the way of an ack, and nothing here is believed until a commit object says so:
//! a merged segment becomes visible by a commit, and an object is deleted when no catalogue of the
//! last [`grace`](crate::BucketOptions::grace) needed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use msglog_core::store::{Access, ReadLimit};
use msglog_core::{Error, ErrorKind, Msn, RecordBatch, Result, TopicPartition};
use object_store::PutPayload;
use object_store::path::Path;
use tokio::time::Instant;

use crate::bucket::nonce;
use crate::catalogue::{Catalogue, Holder};
use crate::commit::{Event, runs_of};
use crate::core::Core;
use crate::layout::seq_of;
use crate::pipeline::check_ownership;
use crate::read;

/// Objects that no catalogue needs any more, and since when that is known.
#[derive(Debug, Default)]
pub(crate) struct Unused {
    since: BTreeMap<Path, Instant>,
    looked_at: Option<Instant>,
    looked_seq: u64,
}

/// What [`maintain`](crate::BucketStore::maintain) did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Maintained {
    /// Segments that took the place of batches in commit objects.
    pub segments: usize,
    /// Whether a checkpoint was written.
    pub checkpoint: bool,
    /// Objects deleted.
    pub deleted: usize,
}

/// Looks after the place until the store is closed or can no longer write.
pub(crate) async fn run(core: Arc<Core>, interval: std::time::Duration) {
    while !core.is_finished() {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = core.maintenance_due.notified() => {}
        }
        if core.is_finished() {
            return;
        }
        if let Err(error) = maintain(&core, false).await {
            tracing::warn!(location = %core.options.location, %error, "maintenance failed");
        }
    }
}

/// One round: merges what is worth it, writes a checkpoint when one is due, deletes.
pub(crate) async fn maintain(core: &Arc<Core>, asked: bool) -> Result<Maintained> {
    let mut unused = core.lane.lock().await;
    let mut done = Maintained::default();
    while let Some(job) = next_merge(core)? {
        if !merge(core, job).await? {
            break;
        }
        done.segments += 1;
    }
    let due = {
        let state = core.lock_to_write()?;
        let commits = state.commits_since_checkpoint;
        commits >= core.options.checkpoint_commits || (asked && commits > 0)
    };
    if due {
        checkpoint(core).await?;
        done.checkpoint = true;
    }
    if asked || unused.is_due(core) {
        done.deleted = delete(core, &mut unused).await?;
    }
    Ok(done)
}

/// Writes the catalogue as it is now.
pub(crate) async fn checkpoint(core: &Core) -> Result<()> {
    let (seq, commits, bytes) = {
        let state = core.lock_to_write()?;
        (state.catalogue.seq, state.commits_since_checkpoint, state.catalogue.encode())
    };
    core.bucket.put(&core.bucket.layout.checkpoint(seq), PutPayload::from(bytes)).await?;
    let mut state = core.lock();
    state.checkpoint_seq = state.checkpoint_seq.max(seq);
    state.commits_since_checkpoint = state.commits_since_checkpoint.saturating_sub(commits);
    Ok(())
}

/// A stretch of batches in commit objects that is worth an object of its own.
#[derive(Debug)]
struct Job {
    id: u64,
    name: TopicPartition,
    from: Msn,
    end: Msn,
}

fn next_merge(core: &Core) -> Result<Option<Job>> {
    let state = core.lock_to_write()?;
    for (id, partition) in &state.catalogue.partitions {
        let in_commit = |holder| matches!(holder, Holder::Commit(_));
        let first = partition.extents.iter().position(|extent| in_commit(extent.holder));
        let Some(loose) = first.and_then(|first| partition.extents.get(first..)) else { continue };
        let bytes: u64 = loose.iter().map(|extent| extent.run.length).sum();
        let many = loose.len() >= core.options.merge_commits;
        let (Some(oldest), true) = (loose.first(), bytes >= core.options.merge_bytes || many)
        else {
            continue;
        };
        let mut bytes = 0;
        let mut taken = loose.iter().take_while(|extent| {
            bytes += extent.run.length;
            in_commit(extent.holder)
                && (bytes <= core.options.segment_bytes || extent.run.base == oldest.run.base)
        });
        let end = taken.by_ref().last().map_or(oldest.run.next, |extent| extent.run.next);
        let from = oldest.run.base.max(partition.start);
        return Ok(Some(Job { id: *id, name: partition.name.clone(), from, end }));
    }
    Ok(None)
}

/// Writes one segment and commits it; `false` when damage is in the way.
async fn merge(core: &Arc<Core>, job: Job) -> Result<bool> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut next = job.from;
    while next < job.end {
        let page = match read::read(core, job.id, next, ReadLimit::bytes(8 << 20)).await {
            // The partition was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::Closed => return Ok(false),
            page => page?,
        };
        let Some(first) = page.first() else { return Ok(false) };
        if first.base_msn() > next && !batches.is_empty() {
            return Ok(false);
        }
        for batch in page.into_iter().take_while(|batch| batch.next_msn() <= job.end) {
            if batches.last().is_some_and(|last| last.next_msn() != batch.base_msn()) {
                return Ok(false);
            }
            next = batch.next_msn();
            batches.push(batch);
        }
    }
    let Some(first) = batches.first() else { return Ok(false) };
    let (base, nonce) = (first.base_msn(), nonce()?);
    let runs = runs_of(&batches, &mut 0).collect();
    let path = core.bucket.layout.segment(&job.name, base, nonce);
    let payload: PutPayload = batches.iter().map(RecordBatch::to_bytes).collect();
    core.bucket.put(&path, payload).await?;
    let group = core.lock_to_write()?.enqueue(Event::Merge { id: job.id, base, nonce, runs });
    core.durable(group).await?;
    Ok(true)
}

impl Unused {
    /// Whether it is time to look for objects to delete: not while nothing happens.
    fn is_due(&self, core: &Core) -> bool {
        let state = core.lock();
        let news = state.checkpoint_seq > self.looked_seq || !self.since.is_empty();
        let pause = core.options.grace / 4;
        news && self.looked_at.is_none_or(|looked| looked.elapsed() >= pause)
    }

    /// Notes which of the objects that are there are not needed; answers those to delete now.
    fn note(&mut self, now_unused: Vec<Path>, core: &Core) -> Vec<Path> {
        let now = Instant::now();
        let before = std::mem::take(&mut self.since);
        for path in now_unused {
            let since = before.get(&path).copied().unwrap_or(now);
            self.since.insert(path, since);
        }
        let ripe = self.since.iter().filter(|(_, since)| since.elapsed() >= core.options.grace);
        ripe.map(|(path, _)| path.clone()).collect()
    }
}

/// Deletes what has not been needed for long enough.
///
/// The first look notes, a look at least `grace` later deletes: by then nobody reads with a
/// catalogue that needs it, and no writer can mistake the forgotten seq for a free one.
async fn delete(core: &Core, unused: &mut Unused) -> Result<usize> {
    if core.access == Access::Read {
        return Err(Error::new(ErrorKind::ReadOnly, "the store is open for reading"));
    }
    let layout = &core.bucket.layout;
    let commits = core.bucket.list(&layout.log(), None).await?;
    let segments = core.bucket.list(&layout.segments(), None).await?;
    let checkpoints = core.bucket.list(&layout.checkpoints(), None).await?;
    // A writer that has been replaced knows nothing of the segments of its successor.
    check_ownership(core).await?;
    let dead = {
        let state = core.lock_to_write()?;
        let in_use = state.catalogue.commits_in_use();
        let covered = state.checkpoint_seq;
        unused.looked_seq = covered;
        let newest = state.catalogue.seq;
        let segments_in_use = segments_of(&state.catalogue, core);
        let commits = commits.iter().map(|meta| &meta.location).filter(|path| {
            let dead = |seq| seq <= covered && seq < newest && !in_use.contains(&seq);
            seq_of(path).is_some_and(dead)
        });
        let checkpoints = checkpoints.iter().map(|meta| &meta.location);
        let checkpoints = checkpoints.filter(|path| seq_of(path).is_some_and(|seq| seq < covered));
        let segments = segments.iter().map(|meta| &meta.location);
        let segments = segments.filter(|path| !segments_in_use.contains(path));
        commits.chain(checkpoints).chain(segments).cloned().collect()
    };
    unused.looked_at = Some(Instant::now());
    let ripe = unused.note(dead, core);
    if ripe.is_empty() {
        return Ok(0);
    }
    let deleted = core.bucket.delete(ripe.clone()).await?;
    for path in ripe {
        unused.since.remove(&path);
    }
    Ok(deleted)
}

fn segments_of(catalogue: &Catalogue, core: &Core) -> std::collections::BTreeSet<Path> {
    let segments =
        catalogue.holders().filter(|(_, holder)| matches!(holder, Holder::Segment { .. }));
    let named = segments.filter_map(|(id, holder)| {
        let name = &catalogue.partitions.get(&id)?.name;
        Some(read::path_of(core, name, holder))
    });
    named.collect()
}
