//! Opening: the newest checkpoint, what was committed since, and the fence of a new writer.
//!
//! A constant number of requests: FORMAT, one list of checkpoints, one checkpoint, one list from
//! there, the heads of the commit objects found (bounded by how often checkpoints are written), and
//! the fence.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use msglog_core::{Error, ErrorKind, Result};
use object_store::ObjectMeta;

use crate::bucket::{Bucket, nonce};
use crate::cache::ChunkCache;
use crate::catalogue::Catalogue;
use crate::commit::{Commit, CommitHeader, Directory, HEAD_BYTES, decode_head};
use crate::layout::seq_of;
use crate::options::{BucketOptions, PIPELINE_DEPTH_MAX};
use crate::propose::{Verdict, propose};
use crate::stopwatch::{Moment, Stopwatch};

/// Heads of commit objects that are fetched at the same time.
const GETS_IN_FLIGHT: usize = 16;
/// How often an opening starts again because others came first.
const OPENINGS_MAX: usize = 64;

/// A place that has been taken over.
#[derive(Debug)]
pub(crate) struct Takeover {
    pub(crate) catalogue: Catalogue,
    pub(crate) epoch: u64,
    /// Until this seq an object of an earlier writer may stand in the way.
    pub(crate) serial_until: u64,
    /// When the fence was sent.
    pub(crate) proof: Moment,
    /// The checkpoint that it started from; 0 for none.
    pub(crate) checkpoint_seq: u64,
}

/// Reads what is there, as a reader does: without changing anything. Answers also the seq of the
/// checkpoint that it started from.
pub(crate) async fn read_place(bucket: &Bucket, cache: &ChunkCache) -> Result<(Catalogue, u64)> {
    for _ in 0..OPENINGS_MAX {
        let Some(mut catalogue) = newest_checkpoint(bucket).await? else { continue };
        let since = commits_after(bucket, cache, catalogue.seq).await?;
        let checkpoint_seq = catalogue.seq;
        for (header, directory) in &since {
            catalogue.apply(header, directory)?;
        }
        return Ok((catalogue, checkpoint_seq));
    }
    Err(Error::new(ErrorKind::Unavailable, "checkpoints are replaced faster than they are read"))
}

/// Takes the place over: reads all there is and puts a fence at the first free seq.
pub(crate) async fn take_over(
    bucket: &Bucket,
    cache: &ChunkCache,
    options: &BucketOptions,
    stopwatch: &Stopwatch,
) -> Result<Takeover> {
    let fence = Commit::new(&[], Vec::new());
    for _ in 0..OPENINGS_MAX {
        let started = stopwatch.now();
        let (mut catalogue, checkpoint_seq) = read_place(bucket, cache).await?;
        let (epoch, seq, nonce) = (catalogue.epoch + 1, catalogue.seq + 1, nonce()?);
        let proof = stopwatch.now();
        let payload = fence.payload(epoch, seq, nonce);
        if let Verdict::Occupied(_) = propose(bucket, seq, payload, nonce).await? {
            continue;
        }
        // What was read may have been deleted meanwhile, and the fence may stand at a seq that was
        // forgotten: then all of it is read again. Such a fence is below the newest checkpoint,
        // where nobody looks.
        if stopwatch.since(started) > options.stall_limit {
            continue;
        }
        catalogue.seq = seq;
        catalogue.epoch = epoch;
        let serial_until = seq + PIPELINE_DEPTH_MAX as u64 - 1;
        return Ok(Takeover { catalogue, epoch, serial_until, proof, checkpoint_seq });
    }
    Err(Error::new(ErrorKind::Unavailable, "other writers keep taking the place over"))
}

/// The newest checkpoint, the empty catalogue when there is none; `None` when it was just replaced.
async fn newest_checkpoint(bucket: &Bucket) -> Result<Option<Catalogue>> {
    let found = bucket.list(&bucket.layout.checkpoints(), None).await?;
    let Some(seq) = found.iter().filter_map(|meta| seq_of(&meta.location)).max() else {
        return Ok(Some(Catalogue::default()));
    };
    let bytes = bucket.get(&bucket.layout.checkpoint(seq), None).await?;
    bytes.as_ref().map(Catalogue::decode).transpose()
}

/// The seq of the newest checkpoint.
pub(crate) async fn newest_checkpoint_seq(bucket: &Bucket) -> Result<u64> {
    let found = bucket.list(&bucket.layout.checkpoints(), None).await?;
    Ok(found.iter().filter_map(|meta| seq_of(&meta.location)).max().unwrap_or(0))
}

/// The commit objects after `seq`, up to the first that is missing.
pub(crate) async fn commits_after(
    bucket: &Bucket,
    cache: &ChunkCache,
    seq: u64,
) -> Result<Vec<(CommitHeader, Directory)>> {
    let found = list_after(bucket, seq).await?;
    let contiguous = found.iter().zip(seq + 1..).take_while(|((found, _), seq)| found == seq);
    let heads = contiguous.map(|((seq, meta), _)| head_of(bucket, cache, *seq, meta.size));
    let heads: Vec<_> = heads.collect();
    let heads: Vec<_> = stream::iter(heads).buffered(GETS_IN_FLIGHT).try_collect().await?;
    // One that was deleted between the list and the get ends what can be known.
    Ok(heads.into_iter().map_while(|head| head).collect())
}

/// The commit objects after `seq` up to the first that is missing, asked for by their names.
///
/// One GET when there is nothing new: a twelfth of the price of a list.
pub(crate) async fn commits_following(
    bucket: &Bucket,
    cache: &ChunkCache,
    mut seq: u64,
) -> Result<Vec<(CommitHeader, Directory)>> {
    let mut found = Vec::new();
    let mut count = 1;
    loop {
        let next = seq + 1..=seq + count;
        let heads = next.map(|seq| head_of(bucket, cache, seq, HEAD_BYTES));
        let heads = futures::future::try_join_all(heads).await?;
        for head in heads {
            let Some(head) = head else { return Ok(found) };
            found.push(head);
        }
        seq += count;
        count = (count * 2).min(GETS_IN_FLIGHT as u64);
    }
}

/// The commit objects after `seq` that a list shows, whether or not some are missing.
pub(crate) async fn list_after(bucket: &Bucket, seq: u64) -> Result<Vec<(u64, ObjectMeta)>> {
    let after = bucket.layout.commit(seq);
    let found = bucket.list(&bucket.layout.log(), Some(&after)).await?;
    let named = found.into_iter().filter_map(|meta| Some((seq_of(&meta.location)?, meta)));
    Ok(named.filter(|(found, _)| *found > seq).collect())
}

/// Header and directory of a commit object of at most `size` bytes as far as is known; `None` when
/// it is gone. A small one is kept whole.
pub(crate) async fn head_of(
    bucket: &Bucket,
    cache: &ChunkCache,
    seq: u64,
    size: u64,
) -> Result<Option<(CommitHeader, Directory)>> {
    let path = bucket.layout.commit(seq);
    let Some(mut head) = bucket.get(&path, Some(0..size.clamp(1, HEAD_BYTES))).await? else {
        return Ok(None);
    };
    // Fewer bytes than a head may have: that is all of it.
    if (head.len() as u64) < HEAD_BYTES {
        cache.keep(&path, &head);
    }
    let within = |error: Error| error.within(&path);
    let header = CommitHeader::decode(&head).map_err(within)?;
    if header.seq != seq {
        let why = format!("{path} says that it is commit object {}", header.seq);
        return Err(Error::new(ErrorKind::Corrupt, why));
    }
    if header.head_bytes() > head.len() as u64 {
        let whole: Option<Bytes> = bucket.get(&path, Some(0..header.head_bytes())).await?;
        let Some(whole) = whole else { return Ok(None) };
        head = whole;
    }
    let directory = decode_head(&header, &head).map_err(within)?;
    Ok(Some((header, directory)))
}
