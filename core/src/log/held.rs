//! What a cache holds, by place, and what of it has to go first: chosen by a clock with one
//! reference bit (F. J. Corbató, "A Paging Experiment with the Multics System", 1968).

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Msn;

/// A partition, and an MSN in it.
pub(super) type Place = (u64, Msn);

/// Something held of the batch that begins at its place.
pub(super) trait Covers {
    /// The MSN after the batch.
    fn next_msn(&self) -> Msn;
}

/// What is held, by the place of its batch.
#[derive(Debug)]
pub(super) struct Held<T> {
    /// By partition and base MSN: the slot.
    places: BTreeMap<Place, usize>,
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    /// The slot that the clock looks at next.
    hand: usize,
    bytes: usize,
}

#[derive(Debug)]
pub(super) struct Slot<T> {
    place: Place,
    pub(super) value: T,
    bytes: usize,
    /// Whether it was read since the hand last passed.
    pub(super) read: bool,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        let (places, slots, free) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { places, slots, free, hand: 0, bytes: 0 }
    }
}

impl<T: Covers> Held<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held of the batch that begins at the place.
    pub(super) fn at(&mut self, place: Place) -> Option<&mut Slot<T>> {
        let slot = *self.places.get(&place)?;
        self.slots.get_mut(slot)?.as_mut()
    }

    /// What is held of the batch that the MSN is in.
    pub(super) fn holder(&mut self, place: Place) -> Option<&mut Slot<T>> {
        let (found, slot) = self.places.range(..=place).next_back()?;
        if found.0 != place.0 {
            return None;
        }
        let slot = self.slots.get_mut(*slot)?.as_mut()?;
        (slot.value.next_msn() > place.1).then_some(slot)
    }

    /// Holds a value of so many bytes, instead of what was held at the place.
    pub(super) fn insert(&mut self, place: Place, value: T, bytes: usize) {
        self.remove(place);
        self.bytes += bytes;
        let slot = Some(Slot { place, value, bytes, read: false });
        let number = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(number) {
            Some(free) => *free = slot,
            None => self.slots.push(slot),
        }
        self.places.insert(place, number);
    }

    /// Lets the next one go that was not read since the hand last passed it; `false` if there is
    /// none.
    pub(super) fn evict(&mut self) -> bool {
        while !self.places.is_empty() {
            let number = self.hand;
            self.hand = if number + 1 < self.slots.len() { number + 1 } else { 0 };
            match self.slots.get_mut(number).and_then(Option::as_mut) {
                None => {}
                Some(slot) if slot.read => slot.read = false,
                Some(slot) => {
                    let place = slot.place;
                    self.remove(place);
                    return true;
                }
            }
        }
        false
    }

    /// Lets what is held at the place go.
    pub(super) fn remove(&mut self, place: Place) {
        let Some(number) = self.places.remove(&place) else { return };
        if let Some(slot) = self.slots.get_mut(number).and_then(Option::take) {
            self.bytes = self.bytes.saturating_sub(slot.bytes);
            self.free.push(number);
        }
    }

    /// Lets go what is held of batches that overlap the range.
    pub(super) fn forget(&mut self, partition: u64, range: &Range<Msn>) {
        while let Some((place, number)) =
            self.places.range((partition, Msn::ZERO)..(partition, range.end)).next_back()
        {
            let slot = self.slots.get(*number).and_then(Option::as_ref);
            if slot.is_some_and(|slot| slot.value.next_msn() <= range.start) {
                break;
            }
            let place = *place;
            self.remove(place);
        }
    }

    /// Each value, and the bytes that it counts for.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = (&T, usize)> {
        self.slots.iter().flatten().map(|slot| (&slot.value, slot.bytes))
    }
}
