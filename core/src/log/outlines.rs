//! Outlines of stored batches that were checked: with one, a record costs the reading of a part.

use std::ops::Range;

use super::held::{Covers, Held, Place};
use crate::Msn;
use crate::batch::{BatchHeader, Outline, Part};

/// A smaller batch is read as fast as a part of it.
pub(super) const OUTLINE_BATCH_BYTES_MIN: usize = 8 << 10;
/// What an outline costs beside its own bytes: its place, its slot, the headers of allocations.
const OUTLINE_OVERHEAD_BYTES: usize = 160;

/// The outlines that a cache holds.
#[derive(Debug, Default)]
pub(super) struct Outlines(Held<Outlined>);

#[derive(Debug)]
struct Outlined {
    outline: Outline,
    /// How many more bytes are read part by part before the whole batch is worth holding.
    bytes_left: usize,
}

impl Covers for Outlined {
    fn next_msn(&self) -> Msn {
        self.outline.header().next_msn()
    }
}

/// What an outline answers for an MSN.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The part that the record is in.
    Part(Part),
    /// The same, and as much was read by parts as the batch has since this was answered last.
    Worn(Part),
}

impl Outlines {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Where the record is, if the batch is known that holds it and ends at or below `end`.
    pub(super) fn part(&mut self, place: Place, end: Msn) -> Option<Outcome> {
        let slot = self.0.holder(place)?;
        if slot.value.next_msn() > end {
            return None;
        }
        slot.read = true;
        let part = slot.value.outline.part(place.1)?;
        Some(match slot.value.bytes_left.checked_sub(part.bytes().len()) {
            Some(left) => {
                slot.value.bytes_left = left;
                Outcome::Part(part)
            }
            None => {
                slot.value.bytes_left = part.header().encoded_len();
                Outcome::Worn(part)
            }
        })
    }

    /// Whether the outline of this very batch is held.
    pub(super) fn has(&mut self, place: Place, header: &BatchHeader) -> bool {
        self.0.at(place).is_some_and(|slot| slot.value.outline.header() == header)
    }

    /// How many bytes an outline counts for.
    pub(super) fn cost(outline: &Outline) -> usize {
        outline.bytes() + OUTLINE_OVERHEAD_BYTES
    }

    pub(super) fn insert(&mut self, place: Place, outline: Outline) {
        let (bytes, bytes_left) = (Self::cost(&outline), outline.header().encoded_len());
        self.0.insert(place, Outlined { outline, bytes_left }, bytes);
    }

    pub(super) fn remove(&mut self, place: Place) {
        self.0.remove(place);
    }

    /// Lets one go; `false` if there is none.
    pub(super) fn evict(&mut self) -> bool {
        self.0.evict()
    }

    pub(super) fn forget(&mut self, partition: u64, range: &Range<Msn>) {
        self.0.forget(partition, range);
    }

    /// The bytes that each counts for.
    #[cfg(test)]
    pub(super) fn costs(&self) -> Vec<usize> {
        self.0.all().map(|(_, bytes)| bytes).collect()
    }
}
