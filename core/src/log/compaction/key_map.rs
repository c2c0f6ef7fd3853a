//! The newest MSN of each key, in a table of fixed size: keys by a hash of 128 bits, so that memory
//! does not depend on their length.

use std::hash::{BuildHasher, RandomState};

use crate::Msn;

/// Bytes of a place: the hash, and the MSN plus one.
const SLOT_BYTES: usize = 24;
/// The fewest places.
const SLOTS_MIN: usize = 64;

/// The newest MSN of each key.
///
/// Two keys are taken for one with a probability of 2^-128 a pair; the hash is another one each
/// time, so that nobody can choose such keys. Learnt from Kafka's offset map.
#[derive(Debug)]
pub(super) struct KeyMap {
    /// Hash and MSN plus one; zero is a free place. Pages that are never used cost no memory.
    slots: Vec<[u64; 3]>,
    keys: usize,
    hashers: [RandomState; 2],
}

impl KeyMap {
    /// A map that takes at most so many bytes, and no more than that many keys need.
    pub(super) fn with_budget(bytes: usize, keys_max: u64) -> Self {
        let needed = usize::try_from(keys_max.saturating_mul(4) / 3 + 1).unwrap_or(usize::MAX);
        let slots = (bytes / SLOT_BYTES).min(needed).max(SLOTS_MIN);
        Self {
            slots: vec![[0; 3]; slots],
            keys: 0,
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// Notes a record of a key, in rising order of MSN; `false`, and not noted, when it is full.
    pub(super) fn note(&mut self, key: &[u8], msn: Msn) -> bool {
        let hash = self.hash(key);
        let is_full = self.keys >= self.slots.len() - self.slots.len() / 4;
        let place = self.place(hash);
        let Some(slot) = self.slots.get_mut(place) else { return false };
        if slot[2] == 0 {
            if is_full {
                return false;
            }
            self.keys += 1;
        }
        *slot = [hash[0], hash[1], msn.get() + 1];
        true
    }

    /// The newest MSN of a key, if it was noted.
    pub(super) fn newest(&self, key: &[u8]) -> Option<Msn> {
        if self.keys == 0 {
            return None;
        }
        let slot = self.slots.get(self.place(self.hash(key)))?;
        slot[2].checked_sub(1).map(Msn::new)
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        [self.hashers[0].hash_one(key), self.hashers[1].hash_one(key)]
    }

    /// Where this hash is, or would be.
    fn place(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let start = (u128::from(hash[0]) * count as u128) >> 64;
        let start = usize::try_from(start).unwrap_or_default();
        let free = |slot: &&[u64; 3]| slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]);
        let behind = self.slots.iter().skip(start).position(|slot| free(&slot));
        behind.map_or_else(
            || self.slots.iter().position(|slot| free(&slot)).unwrap_or(count),
            |steps| start + steps,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_msn_of_each_key_is_kept_up_to_the_budget_and_not_beyond() {
        let mut map = KeyMap::with_budget(24 * 4000, u64::MAX);
        let mut noted = 0_u64;
        while map.note(&noted.to_le_bytes(), Msn::new(noted)) {
            noted += 1;
        }
        assert_eq!(noted, 3000);
        for key in 0..noted {
            assert!(map.note(&key.to_le_bytes(), Msn::new(key + 10_000)), "key {key} again");
        }
        for key in 0..noted {
            assert_eq!(map.newest(&key.to_le_bytes()), Some(Msn::new(key + 10_000)));
        }
        assert_eq!(map.newest(b"other"), None);
        assert_eq!(map.newest(&noted.to_le_bytes()), None);
    }

    #[test]
    fn map_for_few_keys_is_small() {
        assert!(KeyMap::with_budget(1 << 30, 1000).slots.len() < 2000);
    }
}
