//! Reading a decompressor to its end within a limit.

use std::io::{self, Read};

use super::Failure;

const ROOM_BYTES_MIN: usize = 4 << 10;

/// Everything that `reader` gives; `guess` bytes are allocated at first, and never more than
/// `bytes_max`.
pub(super) fn read_all(
    mut reader: impl Read,
    guess: usize,
    bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; guess.max(ROOM_BYTES_MIN).min(bytes_max)];
    let mut filled = 0;
    loop {
        if filled == bytes.len() {
            if filled == bytes_max {
                return match read(&mut reader, &mut [0])? {
                    0 => Ok(bytes),
                    _ => Err(Failure::TooLarge),
                };
            }
            let room = bytes.len().saturating_mul(2).max(ROOM_BYTES_MIN).min(bytes_max);
            bytes.reserve_exact(room - filled);
            bytes.resize(room, 0);
        }
        let taken = read(&mut reader, bytes.get_mut(filled..).unwrap_or_default())?;
        if taken == 0 {
            bytes.truncate(filled);
            return Ok(bytes);
        }
        filled += taken;
    }
}

fn read(reader: &mut impl Read, room: &mut [u8]) -> Result<usize, Failure> {
    loop {
        match reader.read(room) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(|cause| Failure::Damaged(cause.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_itself_is_reached_but_not_passed() {
        let input = vec![7; 100_000];
        for guess in [0, 1, 99_999, 100_000, 1 << 20] {
            let all = read_all(&input[..], guess, input.len());
            assert!(all.is_ok_and(|bytes| bytes == input && bytes.capacity() <= input.len()));
            let short = read_all(&input[..], guess, input.len() - 1);
            assert!(matches!(short, Err(Failure::TooLarge)));
        }
        assert!(read_all(&[][..], 0, 0).is_ok_and(|bytes| bytes.is_empty()));
    }
    #[test]
    fn interrupted_read_goes_on_and_a_failed_one_is_damage() {
        struct Reads<'a>(Option<io::ErrorKind>, &'a [u8]);
        impl Read for Reads<'_> {
            fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
                self.0.take().map_or_else(|| self.1.read(room), |kind| Err(kind.into()))
            }
        }
        let read = |kind| read_all(Reads(Some(kind), &[7; 10]), 0, 10);
        assert!(read(io::ErrorKind::Interrupted).is_ok_and(|bytes| bytes == [7; 10]));
        assert!(matches!(read(io::ErrorKind::InvalidData), Err(Failure::Damaged(_))));
    }
}
