//! Which batches were asked for lately, in a fixed amount of memory.

use crate::Msn;

/// The fewest and the most places that are remembered.
const PLACES_MIN: usize = 1 << 10;
const PLACES_MAX: usize = 1 << 20;
/// One place, of 8 bytes, for so many bytes of the budget: less than a hundredth of it.
const BUDGET_BYTES_PER_PLACE: usize = 1 << 10;

/// When each of the last places was asked for. Two that fall on each other forget each other.
#[derive(Debug)]
pub(super) struct Touches {
    places_max: usize,
    /// A part of the place's hash, and the count of touches when it was asked for; empty until the
    /// first touch.
    places: Vec<(u32, u32)>,
    count: u32,
}

impl Touches {
    /// As many places as fit a cache of this budget.
    pub(super) fn for_budget(bytes: usize) -> Self {
        let places = (bytes / BUDGET_BYTES_PER_PLACE).clamp(PLACES_MIN, PLACES_MAX);
        Self { places_max: places, places: Vec::new(), count: 0 }
    }

    /// Whether the place was asked for among the last `within` touches; remembers that it is now.
    pub(super) fn touch(&mut self, (partition, msn): (u64, Msn), within: usize) -> bool {
        if self.places.is_empty() {
            self.places = vec![(0, 0); self.places_max];
        }
        self.count = self.count.wrapping_add(1);
        let hash = scramble(msn.get() ^ scramble(partition));
        let [a, b, c, d, low @ ..] = hash.to_be_bytes();
        let print = u32::from_be_bytes([a, b, c, d]).max(1);
        let at = usize::try_from(u32::from_be_bytes(low)).unwrap_or(0);
        let Some(place) = self.places.get_mut(at % self.places_max) else { return false };
        let (before, when) = std::mem::replace(place, (print, self.count));
        let ago = usize::try_from(self.count.wrapping_sub(when)).unwrap_or(usize::MAX);
        before == print && ago <= within
    }
}

/// A well mixed number from any other (the finalizer of splitmix64).
fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_known_for_as_many_touches_as_asked() {
        let mut touches = Touches::for_budget(1 << 20);
        for others in [0, 1, 5] {
            for within in 0..8 {
                let place = (others as u64, Msn::new(within as u64));
                assert!(!touches.touch(place, usize::MAX), "never asked for");
                for other in 0..others {
                    touches.touch((99, Msn::new(other as u64)), 0);
                }
                assert_eq!(touches.touch(place, within), others < within, "{others} in {within}");
            }
        }
    }

    #[test]
    fn memory_does_not_grow() {
        let mut touches = Touches::for_budget(1 << 20);
        for msn in 0..100_000 {
            touches.touch((1, Msn::new(msn)), 0);
        }
        assert_eq!(touches.places.len(), PLACES_MIN);
    }
}
