//! Payloads that nothing can compress, and numbers at random: the same ones each time.

use bytes::Bytes;
use msglog::Message;

/// Bytes that payloads are cut from: more than the caches of one core hold.
const POOL_BYTES: usize = 8 << 20;

/// Random numbers by xorshift, the same sequence for one seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`; 0 when there is none.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

/// Bytes that payloads of up to this size are cut from.
pub(super) fn pool(size_max: usize) -> Bytes {
    let mut random = Random::new(1);
    let mut pool = vec![0; POOL_BYTES.max(2 * size_max)];
    for chunk in pool.chunks_mut(8) {
        chunk.iter_mut().zip(random.next().to_le_bytes()).for_each(|(to, from)| *to = from);
    }
    pool.into()
}

/// An endless supply of payloads of one size.
#[derive(Clone, Debug)]
pub(super) struct Payloads {
    pool: Bytes,
    size: usize,
    at: usize,
}

impl Payloads {
    /// Payloads of `size` bytes, cut from a pool of at least as many.
    pub(super) fn of(pool: &Bytes, size: usize) -> Self {
        Self { pool: pool.clone(), size, at: 0 }
    }

    /// The same supply from another place on, for one more producer.
    pub(super) fn elsewhere(&self, place: usize) -> Self {
        let at = place * 7919 * self.size % (self.pool.len() - self.size);
        Self { pool: self.pool.clone(), size: self.size, at }
    }

    /// The size of each.
    pub(super) fn size(&self) -> u64 {
        self.size as u64
    }

    /// The next payload, a slice of the pool.
    pub(super) fn next(&mut self) -> Bytes {
        if self.at + self.size > self.pool.len() {
            self.at = 0;
        }
        let start = self.at;
        self.at += self.size;
        self.pool.slice(start..self.at)
    }

    /// The next `count` payloads as messages.
    pub(super) fn messages(&mut self, count: usize) -> Vec<Message> {
        (0..count).map(|_| Message::new(self.next())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_of_the_size_asked_for_from_any_place() {
        for size in [1, 7, 100, (8 << 20) + 3] {
            let payloads = Payloads::of(&pool(size), size);
            for place in [0, 1, 63] {
                let mut payloads = payloads.elsewhere(place);
                for _ in 0..5 {
                    assert_eq!(payloads.next().len(), size);
                }
            }
        }
    }
}
