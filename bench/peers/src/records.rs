//! The records that every contender gets: pseudo-random, so that nothing can compress them.

use bytes::Bytes;

/// Bytes that records are cut from; larger than the caches of one core, smaller than a log.
const POOL_BYTES: usize = 16 << 20;

/// An endless supply of records of one size; a clone starts elsewhere in the same pool.
#[derive(Debug)]
pub struct Records {
    pool: Bytes,
    size: usize,
    at: usize,
}

impl Records {
    /// Records of `size` bytes, the same sequence each time.
    pub fn new(size: usize) -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut pool = vec![0; POOL_BYTES.max(size * 2)];
        for chunk in pool.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        Self { pool: pool.into(), size, at: 0 }
    }

    /// The same pool from another place on, for one more producer.
    pub fn from_place(&self, place: usize) -> Self {
        let at = place * 7919 * self.size % (self.pool.len() - self.size);
        Self { pool: self.pool.clone(), size: self.size, at }
    }

    /// The size of each record.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The next record.
    #[inline]
    pub fn next_ref(&mut self) -> &[u8] {
        let start = self.advance();
        &self.pool[start..start + self.size]
    }

    /// The next `count` records.
    pub fn batch(&mut self, count: usize) -> Vec<&[u8]> {
        let starts: Vec<usize> = (0..count).map(|_| self.advance()).collect();
        starts.into_iter().map(|start| &self.pool[start..start + self.size]).collect()
    }

    #[inline]
    fn advance(&mut self) -> usize {
        let start = self.at;
        self.at = if start + 2 * self.size > self.pool.len() { 0 } else { start + self.size };
        start
    }
}

/// A sequence of random numbers, the same each time.
#[derive(Debug)]
pub struct Random(u64);

impl Default for Random {
    fn default() -> Self {
        Self(88_172_645_463_325_252)
    }
}

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}
