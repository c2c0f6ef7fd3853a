//! Buffers that batches are built in, kept for the next ones while a partition is written.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;

/// The most bytes that are kept of buffers that are small beside it.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// How many large buffers are kept: about what gathers while one is written.
const KEPT_LARGE: usize = 4;
/// The most bytes that are kept of any.
const KEPT_LARGE_BYTES_MAX: usize = 32 << 20;

/// Buffers that no batch uses any more.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<BytesMut>,
    bytes: usize,
}

/// What is left of a buffer while its batch lives, and how large it is as a whole.
#[derive(Debug)]
pub(super) struct Spent {
    pub(super) buffer: BytesMut,
    pub(super) capacity: usize,
}

impl Buffers {
    /// A buffer with room for `bytes`, one that is there already if it is large enough.
    pub(super) fn take(&self, bytes: usize) -> BytesMut {
        let kept = {
            let mut kept = self.lock();
            // The one that was used last is the likeliest to be in the processor's cache.
            let buffer = kept.buffers.pop();
            if let Some(buffer) = &buffer {
                kept.bytes = kept.bytes.saturating_sub(buffer.capacity());
            }
            buffer
        };
        match kept {
            Some(buffer) if buffer.capacity() >= bytes => buffer,
            _ => BytesMut::with_capacity(bytes),
        }
    }

    /// Keeps a buffer whose batch is gone; lets it go if the batch is not, or enough are kept.
    pub(super) fn give_back(&self, spent: Spent) {
        let Spent { mut buffer, capacity } = spent;
        buffer.clear();
        // All of it: a part would be too small for the next batch sooner or later.
        if !buffer.try_reclaim(capacity) {
            return;
        }
        // Memory that is fresh from the system costs more than the copy into it.
        let large = buffer.capacity().saturating_mul(KEPT_LARGE).min(KEPT_LARGE_BYTES_MAX);
        let mut kept = self.lock();
        if kept.bytes.saturating_add(buffer.capacity()) <= large.max(KEPT_BYTES_MAX) {
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }

    /// Lets all of them go.
    pub(super) fn clear(&self) {
        drop(std::mem::take(&mut *self.lock()));
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Whole at every step, whoever panicked while holding it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn spent(buffers: &Buffers, bytes: usize) -> (Spent, BytesMut) {
        let mut buffer = buffers.take(bytes);
        let capacity = buffer.capacity();
        buffer.resize(bytes, 7);
        let batch = buffer.split();
        (Spent { buffer, capacity }, batch)
    }

    #[test]
    fn buffer_of_a_small_batch_comes_back_whole() {
        let buffers = Buffers::default();
        let mut places = BTreeSet::new();
        for _ in 0..100 {
            let mut buffer = buffers.take(4096);
            let capacity = buffer.capacity();
            places.insert(buffer.as_ptr());
            buffer.resize(161, 7);
            drop(buffer.split());
            buffers.give_back(Spent { buffer, capacity });
        }
        assert_eq!(places.len(), 1);
    }

    #[test]
    fn buffer_is_used_again_once_its_batch_is_gone() {
        let buffers = Buffers::default();
        let (first, batch) = spent(&buffers, 1000);
        let place = batch.as_ptr();
        drop(batch);
        buffers.give_back(first);
        let again = buffers.take(900);
        assert_eq!(again.as_ptr(), place);
        assert!(again.capacity() >= 1000);
    }

    #[test]
    fn buffer_of_a_living_batch_is_left_to_it() {
        let buffers = Buffers::default();
        let (first, batch) = spent(&buffers, 1000);
        buffers.give_back(first);
        let other = buffers.take(1000);
        assert_ne!(other.as_ptr(), batch.as_ptr());
        assert!(batch.iter().all(|byte| *byte == 7));
    }

    /// How many of ten buffers of so many bytes are kept.
    fn kept_of_ten(bytes: usize) -> usize {
        let buffers = Buffers::default();
        let many: Vec<_> = (0..10).map(|_| spent(&buffers, bytes).0).collect();
        many.into_iter().for_each(|spent| buffers.give_back(spent));
        let kept = buffers.lock().buffers.len();
        buffers.clear();
        assert_eq!(buffers.lock().bytes, 0);
        kept
    }

    #[test]
    fn no_more_bytes_are_kept_than_the_limit() {
        assert_eq!(kept_of_ten(KEPT_BYTES_MAX / 8), 8);
        assert_eq!(kept_of_ten(KEPT_BYTES_MAX / 2), KEPT_LARGE);
        assert_eq!(kept_of_ten(KEPT_BYTES_MAX), KEPT_LARGE);
        assert_eq!(kept_of_ten(KEPT_LARGE_BYTES_MAX / 3), 3);
        assert_eq!(kept_of_ten(KEPT_LARGE_BYTES_MAX), 1);
        assert_eq!(kept_of_ten(KEPT_LARGE_BYTES_MAX + 1), 0);
    }

    #[test]
    fn buffer_that_was_used_last_is_used_first() {
        let buffers = Buffers::default();
        let [(first, one), (last, other)] = [spent(&buffers, 1000), spent(&buffers, 1000)];
        let place = other.as_ptr();
        drop((one, other));
        buffers.give_back(first);
        buffers.give_back(last);
        assert_eq!(buffers.take(1000).as_ptr(), place);
    }
}
