//! The first look at a place: whether the storage keeps the one promise that everything rests on.

use bytes::Bytes;
use futures::future::join_all;
use msglog_core::store::{Access, Survives};
use msglog_core::{Error, ErrorKind, Result};
use object_store::PutPayload;
use object_store::path::Path;

use crate::bucket::{Bucket, nonce};

const FORMAT: &[u8] = b"msglog object-store 1\n";
/// Rounds of the race, and how many take part in each: a store that races lets two win in more than
/// every second round of 16.
const ROUNDS: usize = 4;
const RACERS: u8 = 16;

/// Checks that the place is one of ours; for writing makes it one.
///
/// # Errors
///
/// `NotFound` when there is none and it is opened for reading; `Unsupported` when the storage
/// overwrites what it was asked only to create, or the format is another one.
pub(crate) async fn check_place(bucket: &Bucket, access: Access, survives: Survives) -> Result<()> {
    let path = bucket.layout.format();
    if let Some(bytes) = bucket.get(&path, None).await? {
        return check_format(&path, &bytes);
    }
    if access == Access::Read {
        return Err(Error::new(ErrorKind::NotFound, "there is no store at this place"));
    }
    probe(bucket, survives).await?;
    // Whoever comes first makes it; the same bytes come from all.
    if bucket.create(&path, PutPayload::from_static(FORMAT)).await.is_err() {
        let found = bucket.get(&path, None).await?;
        match found {
            Some(bytes) => return check_format(&path, &bytes),
            None => bucket.put(&path, PutPayload::from_static(FORMAT)).await?,
        }
    }
    Ok(())
}

fn check_format(path: &Path, bytes: &Bytes) -> Result<()> {
    if bytes.as_ref() == FORMAT {
        return Ok(());
    }
    let kind = match bytes.starts_with(b"msglog object-store ") {
        true => ErrorKind::Unsupported,
        false => ErrorKind::Corrupt,
    };
    Err(Error::new(kind, format!("{path} names a format that this build does not know")))
}

/// Refuses a storage on which two writers could both believe that they were first.
async fn probe(bucket: &Bucket, survives: Survives) -> Result<()> {
    let mut paths = Vec::new();
    let outcome = put_twice(bucket, &mut paths).await;
    let outcome = match outcome {
        Ok(()) if survives >= Survives::Remote => race(bucket, &mut paths).await,
        other => other,
    };
    // What cannot be removed does no harm.
    let _ = bucket.delete(paths).await;
    outcome
}

async fn put_twice(bucket: &Bucket, paths: &mut Vec<Path>) -> Result<()> {
    let path = bucket.layout.probe(nonce()?);
    paths.push(path.clone());
    bucket.put(&path, PutPayload::from_static(b"first")).await?;
    let second = bucket.create(&path, PutPayload::from_static(b"second")).await;
    let there = bucket.get(&path, None).await?;
    if second.is_ok() || there.as_deref() != Some(b"first") {
        return Err(unsafe_place("overwrote an object that it was asked only to create"));
    }
    Ok(())
}

async fn race(bucket: &Bucket, paths: &mut Vec<Path>) -> Result<()> {
    for _ in 0..ROUNDS {
        let path = bucket.layout.probe(nonce()?);
        paths.push(path.clone());
        let racers = (0..RACERS).map(|racer| {
            let path = &path;
            async move { (racer, bucket.create(path, PutPayload::from(vec![racer])).await) }
        });
        let answers = join_all(racers).await;
        let winners: Vec<_> =
            answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(racer, _)| *racer).collect();
        if winners.len() > 1 {
            let count = winners.len();
            let why = format!("let {count} of {RACERS} create the same object at the same time");
            return Err(unsafe_place(&why));
        }
        let there = bucket.get(&path, None).await?;
        if let (Some(winner), Some(there)) = (winners.first(), &there)
            && there.as_ref() != [*winner]
        {
            return Err(unsafe_place(
                "told one writer that it was first and stored another's object",
            ));
        }
    }
    Ok(())
}

fn unsafe_place(did: &str) -> Error {
    let why = format!("this object storage {did}; no writer could be fenced off");
    Error::new(ErrorKind::Unsupported, why)
}
