//! Buffers of large reads, used again once nobody holds a batch of them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::blocking::lock;

/// Smaller buffers are not worth keeping.
const KEPT_BYTES_MIN: usize = 64 << 10;
/// Larger ones are too large to keep.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// How many are kept: what a few readers that read ahead have in turn.
const KEPT_MAX: usize = 4;

/// The buffers that are kept; clones share them. All of their bytes are initialised, so that a
/// read costs neither fresh memory nor zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadBuffers {
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl ReadBuffers {
    /// `len` bytes that `fill` overwrites; it answers how many of them it has.
    pub(crate) fn fill<E>(
        &self,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Bytes, E> {
        if !(KEPT_BYTES_MIN..=KEPT_BYTES_MAX).contains(&len) {
            let mut buffer = vec![0; len];
            let count = fill(&mut buffer)?;
            buffer.truncate(count);
            return Ok(buffer.into());
        }
        let mut buffer = lock(&self.kept).pop().unwrap_or_default();
        if buffer.len() < len {
            buffer = vec![0; len];
        }
        let mut lent = Lent { buffer, kept: Arc::clone(&self.kept) };
        let count = fill(lent.buffer.get_mut(..len).unwrap_or_default())?;
        Ok(Bytes::from_owner(lent).slice(..count))
    }
}

/// A buffer that comes back when its last slice is dropped.
struct Lent {
    buffer: Vec<u8>,
    kept: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut kept = lock(&self.kept);
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(buffers: &ReadBuffers, len: usize, byte: u8) -> Bytes {
        let fill = |room: &mut [u8]| {
            room.fill(byte);
            Ok::<_, ()>(room.len())
        };
        buffers.fill(len, fill).unwrap()
    }

    #[test]
    fn buffer_is_used_again_only_when_nobody_holds_a_slice_of_it() {
        let buffers = ReadBuffers::default();
        let first = read(&buffers, 100_000, 1);
        let (place, held) = (first.as_ptr(), first.slice(5..6));
        drop(first);
        let second = read(&buffers, 100_000, 2);
        assert_ne!(second.as_ptr(), place);
        assert_eq!(held[..], [1]);
        drop(held);
        let third = read(&buffers, 70_000, 3);
        assert_eq!((third.as_ptr(), third.len()), (place, 70_000));
    }

    #[test]
    fn no_more_buffers_are_kept_than_the_limit() {
        let buffers = ReadBuffers::default();
        drop((0..KEPT_MAX + 2).map(|_| read(&buffers, 100_000, 1)).collect::<Vec<_>>());
        assert_eq!(lock(&buffers.kept).len(), KEPT_MAX);
    }
}
