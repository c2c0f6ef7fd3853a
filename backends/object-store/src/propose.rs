//! One commit object, put so that its outcome is known whatever the storage answers.
//!
//! An answer to a conditional PUT can be wrong in both directions: a lost answer and a retry make
//! `AlreadyExists` out of our own success, and some stores answer a conflict although nothing is
//! stored. So no error is believed. The object itself is looked at: the own nonce means committed,
//! nothing there means that the same bytes are sent again, anything else is another writer.

use bytes::Bytes;
use msglog_core::{Error, ErrorKind, Result};
use object_store::PutPayload;

use crate::bucket::{Bucket, kind_of};
use crate::commit::{Commit, CommitHeader, HEADER_BYTES};

/// What stands at a seq after a proposal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The own object.
    Committed,
    /// The object of another writer.
    Occupied(CommitHeader),
}

/// Who proposes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposer {
    pub(crate) epoch: u64,
    /// Up to here an object of a lower epoch is dead, and the next seq is to be tried.
    pub(crate) serial_until: u64,
}

/// Puts `commit` at `seq` unless another writer has been there.
///
/// # Errors
///
/// `Unavailable` with unknown effect when the storage gives no usable answer for too long.
pub(crate) async fn propose(
    bucket: &Bucket,
    seq: u64,
    payload: PutPayload,
    nonce: u128,
) -> Result<Verdict> {
    let path = bucket.layout.commit(seq);
    let what = format!("put {path}");
    let mut patience = bucket.patience();
    loop {
        let Err(cause) = bucket.create(&path, payload.clone()).await else {
            return Ok(Verdict::Committed);
        };
        let there = bucket.get(&path, Some(0..HEADER_BYTES as u64)).await;
        match there.map_err(Error::with_unknown_effect)? {
            Some(bytes) => return judge(&bytes, nonce),
            // Refused for good: nothing is there, and nothing will be.
            None if kind_of(&cause) == ErrorKind::Invalid => {
                return Err(Error::new(ErrorKind::Invalid, what).with_source(cause));
            }
            None => {
                let cause = as_transient(cause);
                patience.wait(&what, cause).await.map_err(Error::with_unknown_effect)?;
            }
        }
    }
}

/// An error that is only there for as long as the storage says so: the next try may succeed.
fn as_transient(cause: object_store::Error) -> object_store::Error {
    match kind_of(&cause) {
        ErrorKind::Unavailable => cause,
        _ => object_store::Error::Generic { store: "msglog", source: Box::new(cause) },
    }
}

fn judge(bytes: &Bytes, nonce: u128) -> Result<Verdict> {
    let header = CommitHeader::decode(bytes)?;
    Ok(if header.nonce == nonce { Verdict::Committed } else { Verdict::Occupied(header) })
}

/// Puts `commit` at `seq`, or behind the dead objects that stand there; answers where it is.
///
/// # Errors
///
/// `Fenced` when another writer has taken over; `Corrupt` for what the rule excludes.
pub(crate) async fn commit(
    bucket: &Bucket,
    commit: &Commit,
    mut seq: u64,
    proposer: Proposer,
) -> Result<u64> {
    let nonce = crate::bucket::nonce()?;
    loop {
        let payload = commit.payload(proposer.epoch, seq, nonce);
        let found = match propose(bucket, seq, payload, nonce).await? {
            Verdict::Committed => return Ok(seq),
            Verdict::Occupied(found) => found,
        };
        if found.epoch > proposer.epoch {
            return Err(fenced(proposer.epoch, found.epoch));
        }
        if found.epoch == proposer.epoch || seq > proposer.serial_until {
            let why = format!("commit object {seq} has epoch {}, which cannot be", found.epoch);
            return Err(Error::new(ErrorKind::Corrupt, why).with_unknown_effect());
        }
        seq += 1;
    }
}

/// Another writer has taken over.
pub(crate) fn fenced(own: u64, other: u64) -> Error {
    let why = format!("a writer of epoch {other} has taken over from epoch {own}");
    Error::new(ErrorKind::Fenced, why).with_unknown_effect()
}
