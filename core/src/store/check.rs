//! What every store refuses, in the same words.
//!
//! A store calls these before it changes anything; which of them a call needs is in the contract of [`PartitionStore`](super::PartitionStore) and [`MessageStore`](super::MessageStore).

use std::ops::Range;

use super::{DocumentKey, Expected, Version};
use crate::{Error, ErrorKind, Msn, RecordBatch, Result};

/// Checks that batches continue from `next` without a gap, and answers where they end.
///
/// # Errors
///
/// [`Conflict`](ErrorKind::Conflict) when one does not.
pub fn continues(next: Msn, batches: &[RecordBatch]) -> Result<Msn> {
    batches.iter().try_fold(next, |next, batch| {
        if batch.base_msn() == next {
            return Ok(batch.next_msn());
        }
        let why = format!("batch starts at MSN {}, the next one is {next}", batch.base_msn());
        Err(Error::new(ErrorKind::Conflict, why))
    })
}

/// Checks that no batch is larger than `bytes_max`, a store's
/// [`batch_bytes_max`](super::Capabilities::batch_bytes_max).
///
/// # Errors
///
/// [`TooLarge`](ErrorKind::TooLarge) when one is.
pub fn batch_sizes(batches: &[RecordBatch], bytes_max: usize) -> Result<()> {
    size("batch", batches.iter().map(RecordBatch::encoded_len).max().unwrap_or(0), bytes_max)
}

/// Checks that a document is not larger than `bytes_max`, a store's
/// [`document_bytes_max`](super::Capabilities::document_bytes_max).
///
/// # Errors
///
/// [`TooLarge`](ErrorKind::TooLarge) when it is.
pub fn document_size(value: &[u8], bytes_max: usize) -> Result<()> {
    size("document", value.len(), bytes_max)
}

fn size(what: &str, bytes: usize, bytes_max: usize) -> Result<()> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let why = format!("{what} of {bytes} bytes; the limit is {bytes_max}");
    Err(Error::new(ErrorKind::TooLarge, why))
}

/// Checks that a document in state `current` is as expected.
///
/// # Errors
///
/// [`Conflict`](ErrorKind::Conflict) when it is not.
pub fn expected(key: &DocumentKey, expected: Expected, current: Option<Version>) -> Result<()> {
    if expected.matches(current) {
        return Ok(());
    }
    let state = match current {
        Some(version) => format!("in version {}", version.get()),
        None => "absent".to_owned(),
    };
    Err(Error::new(ErrorKind::Conflict, format!("document `{key}` is {state}")))
}

/// Checks that `range` lies below `next`, and that batches lie in it in order.
///
/// Whether the range cuts a batch only the store can tell: [`not_replaceable`] says so.
///
/// # Errors
///
/// [`Invalid`](ErrorKind::Invalid) when they do not.
pub fn replacement(range: &Range<Msn>, batches: &[RecordBatch], next: Msn) -> Result<()> {
    if range.start > range.end || range.end > next {
        return Err(not_replaceable(range, "the partition does not reach that far"));
    }
    let mut free = range.start;
    for batch in batches {
        if batch.base_msn() < free || batch.next_msn() > range.end {
            return Err(not_replaceable(range, "the new batches do not lie in it in order"));
        }
        free = batch.next_msn();
    }
    Ok(())
}

/// The [`Invalid`](ErrorKind::Invalid) answer of a `replace` that a store refuses.
#[cold]
pub fn not_replaceable(range: &Range<Msn>, why: &str) -> Error {
    let why = format!("cannot replace {}..{}: {why}", range.start, range.end);
    Error::new(ErrorKind::Invalid, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::empty_batches;

    /// A batch for these MSNs.
    fn batch(start: u64, end: u64) -> RecordBatch {
        empty_batches(Msn::new(start)..Msn::new(end)).next().unwrap().unwrap()
    }

    fn kind<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
        answer.unwrap_err().kind()
    }

    #[test]
    fn batches_continue_from_the_next_msn_and_from_each_other() {
        let (next, batches) = (Msn::new(5), [batch(5, 8), batch(8, 9)]);
        assert_eq!(continues(next, &batches).unwrap(), Msn::new(9));
        assert_eq!(continues(next, &[]).unwrap(), next);
        assert_eq!(kind(continues(Msn::new(4), &batches)), ErrorKind::Conflict);
        assert_eq!(kind(continues(next, &[batch(5, 8), batch(9, 10)])), ErrorKind::Conflict);
    }

    #[test]
    fn sizes_are_limits_that_may_be_reached() {
        let batch = batch(0, 1);
        let bytes = batch.encoded_len();
        batch_sizes(std::slice::from_ref(&batch), bytes).unwrap();
        assert_eq!(kind(batch_sizes(&[batch], bytes - 1)), ErrorKind::TooLarge);
        document_size(b"four", 4).unwrap();
        assert_eq!(kind(document_size(b"four", 3)), ErrorKind::TooLarge);
    }

    #[test]
    fn replacement_lies_within_its_range_in_order() {
        let (range, end) = (Msn::new(4)..Msn::new(8), Msn::new(8));
        replacement(&range, &[batch(4, 6), batch(7, 8)], end).unwrap();
        replacement(&range, &[], end).unwrap();
        for wrong in
            [[batch(3, 5), batch(5, 6)], [batch(6, 7), batch(5, 6)], [batch(4, 6), batch(6, 9)]]
        {
            assert_eq!(kind(replacement(&range, &wrong, end)), ErrorKind::Invalid);
        }
        assert_eq!(kind(replacement(&range, &[], Msn::new(7))), ErrorKind::Invalid);
        let reversed = Range { start: range.end, end: range.start };
        assert_eq!(kind(replacement(&reversed, &[], end)), ErrorKind::Invalid);
    }

    #[test]
    fn document_that_is_not_as_expected_is_a_conflict() {
        let (key, version) = (DocumentKey::parse("one").unwrap(), Version::new(7));
        expected(&key, Expected::Absent, None).unwrap();
        expected(&key, Expected::Version(version), Some(version)).unwrap();
        expected(&key, Expected::Any, Some(version)).unwrap();
        for (asked, current) in [
            (Expected::Absent, Some(version)),
            (Expected::Version(version), None),
            (Expected::Version(version), Some(Version::new(8))),
        ] {
            assert_eq!(kind(expected(&key, asked, current)), ErrorKind::Conflict);
        }
    }
}
