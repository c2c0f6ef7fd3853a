//! Zigzag varints of the record format: 7 bits a byte, the least significant first.

use bytes::BufMut;

/// Most bytes of a 32-bit varint.
const INT_BYTES_MAX: usize = 5;
/// Most bytes of a 64-bit varint.
const LONG_BYTES_MAX: usize = 10;
/// The zigzag of what takes more than three bytes, at least.
const SMALL_END: u64 = 1 << 21;

/// A few bytes as they are written, in a register: a value that takes three at most, or several.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    /// The bytes, the first one in the lowest place.
    pub(super) bytes: u64,
    /// How many bits they have.
    pub(super) bits: u32,
}

impl Small {
    /// A value, if it takes at most three bytes.
    #[inline]
    pub(super) fn of(value: i64) -> Option<Self> {
        Self::of_zigzag(zigzag(value))
    }

    /// A length, if it takes at most three bytes.
    #[inline]
    pub(super) fn of_length(length: usize) -> Option<Self> {
        // Nothing is so long that the zigzag of its length does not fit.
        Self::of_zigzag((length as u64) << 1)
    }

    /// The length of a field, -1 for none, if it takes at most three bytes.
    #[inline]
    pub(super) fn of_field(field: Option<&[u8]>) -> Option<Self> {
        field.map_or(Some(Self { bytes: 1, bits: 8 }), |field| Self::of_length(field.len()))
    }

    #[inline]
    fn of_zigzag(value: u64) -> Option<Self> {
        let (first, second) = (value & 0x7f, (value << 1) & 0x7f00);
        match value {
            0..0x80 => Some(Self { bytes: value, bits: 8 }),
            0x80..0x4000 => Some(Self { bytes: first | second | 0x80, bits: 16 }),
            0x4000..SMALL_END => {
                let third = (value << 2) & 0x7f_0000;
                Some(Self { bytes: first | second | third | 0x8080, bits: 24 })
            }
            SMALL_END.. => None,
        }
    }

    /// These bytes and then those of `next`, together eight at most.
    #[inline]
    pub(super) fn then(self, next: Self) -> Self {
        Self { bytes: self.bytes | next.bytes << self.bits, bits: self.bits + next.bits }
    }
}

/// The zigzag of the value at the low end of `word` and how many bits it has there; `None` for one of
/// more than three bytes, however large it is.
#[inline]
pub(super) fn small_at(word: u64) -> Option<(u32, u32)> {
    let [first, second, third, ..] = word.to_le_bytes();
    let (low, middle) = (u32::from(first & 0x7f), u32::from(second & 0x7f) << 7);
    if first < 0x80 {
        Some((low, 8))
    } else if second < 0x80 {
        Some((low | middle, 16))
    } else if third < 0x80 {
        Some((low | middle | u32::from(third) << 14, 24))
    } else {
        None
    }
}

/// What a zigzag stands for.
#[inline]
pub(super) fn of_zigzag(bits: u32) -> i32 {
    (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed()
}

/// What a zigzag stands for, if that is not negative.
#[inline]
pub(super) fn not_negative(bits: u32) -> Option<u32> {
    (bits & 1 == 0).then_some(bits >> 1)
}

/// How many bytes [`put`] writes for this value; 32-bit values take the same bytes either way.
#[inline]
pub(super) fn encoded_len(value: i64) -> usize {
    match zigzag(value) {
        0..0x80 => 1,
        bits => (70 - bits.leading_zeros() as usize) / 7,
    }
}

/// Appends a value; free of allocation when the buffer has room.
#[inline]
pub(super) fn put(buffer: &mut impl BufMut, value: i64) {
    let mut bytes = [0; LONG_BYTES_MAX];
    let len = write(&mut bytes, value);
    buffer.put_slice(bytes.get(..len).unwrap_or_default());
}

/// Writes a value to the front of `room`, which is long enough, and answers how many bytes it has.
#[inline]
pub(super) fn write(room: &mut [u8], value: i64) -> usize {
    let mut bits = zigzag(value);
    match room {
        [byte, ..] if bits < 0x80 => {
            *byte = (bits & 0x7f) as u8;
            return 1;
        }
        // Lengths and offset deltas of most records have two bytes.
        [low, high, ..] if bits < 0x4000 => {
            (*low, *high) = ((bits & 0x7f) as u8 | 0x80, ((bits >> 7) & 0x7f) as u8);
            return 2;
        }
        _ => {}
    }
    let mut len = 0;
    for byte in room {
        len += 1;
        *byte = (bits & 0x7f) as u8;
        bits >>= 7;
        if bits == 0 {
            break;
        }
        *byte |= 0x80;
    }
    len
}

/// Takes a 32-bit value off the front; `None` when it is cut, overlong or too large.
#[inline]
pub(super) fn take_int(input: &mut &[u8]) -> Option<i32> {
    let bits = match input.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *input = rest;
            u32::from(byte)
        }
        // Lengths and offset deltas of most records have two bytes.
        Some((&low, [high, rest @ ..])) if *high < 0x80 => {
            *input = rest;
            u32::from(low & 0x7f) | (u32::from(*high) << 7)
        }
        _ => u32::try_from(take_bits(input, INT_BYTES_MAX)?).ok()?,
    };
    Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
}

/// Takes a 64-bit value off the front; `None` when it is cut, overlong or too large.
#[inline]
pub(super) fn take_long(input: &mut &[u8]) -> Option<i64> {
    let bits = match input.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *input = rest;
            u64::from(byte)
        }
        // Lengths and offset deltas of most records have two bytes.
        Some((&low, [high, rest @ ..])) if *high < 0x80 => {
            *input = rest;
            u64::from(low & 0x7f) | (u64::from(*high) << 7)
        }
        _ => take_bits(input, LONG_BYTES_MAX)?,
    };
    Some((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn take_bits(input: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut bits = 0_u64;
    let mut shift = 0_u32;
    for (at, &byte) in input.iter().take(bytes_max).enumerate() {
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        bits |= part << shift;
        shift += 7;
        if byte < 0x80 {
            *input = input.get(at + 1..)?;
            return Some(bits);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn encoded(value: i64) -> BytesMut {
        let mut buffer = BytesMut::new();
        put(&mut buffer, value);
        buffer
    }

    #[test]
    fn long_at_every_power_of_two_comes_back_with_the_length_foretold() {
        let edges = (0..64).map(|shift| 1_i64 << shift);
        for value in edges.flat_map(|v| [v, v.wrapping_sub(1), v.wrapping_neg(), !v]) {
            let bytes = encoded(value);
            assert_eq!(bytes.len(), encoded_len(value), "{value}");
            let mut input = &bytes[..];
            assert_eq!(take_long(&mut input), Some(value));
            assert!(input.is_empty());
            let mut input = &bytes[..];
            assert_eq!(take_int(&mut input), i32::try_from(value).ok(), "{value}");
        }
    }

    #[test]
    fn small_value_has_the_bytes_of_any_and_a_larger_one_is_none() {
        let edges = (0..64).map(|shift| 1_i64 << shift);
        for value in edges.flat_map(|v| [v, v.wrapping_sub(1), v.wrapping_neg(), !v]) {
            let any = encoded(value);
            let small = Small::of(value).map(|small| {
                let bytes = small.bytes.to_le_bytes();
                assert!(bytes[small.bits as usize / 8..].iter().all(|byte| *byte == 0), "{value}");
                bytes[..small.bits as usize / 8].to_vec()
            });
            assert_eq!(small, (any.len() <= 3).then(|| any.to_vec()), "{value}");
        }
    }

    #[test]
    fn small_value_in_a_word_is_taken_as_from_bytes() {
        for first in 0..=u8::MAX {
            for second in (0..=u8::MAX).step_by(3) {
                for third in [0, 1, 0x40, 0x7f, 0x80, 0xff] {
                    let bytes = [first, second, third, 0xff, 0xff, 0xff, 0xff, 0xff];
                    let mut rest = &bytes[..];
                    let taken = take_int(&mut rest).map(|int| (int, bytes.len() - rest.len()));
                    let small = small_at(u64::from_le_bytes(bytes));
                    let small = small.map(|(bits, len)| (of_zigzag(bits), len as usize / 8));
                    assert_eq!(small, taken, "{bytes:02x?}");
                    let negative = taken.map(|(int, _)| u32::try_from(int).ok());
                    let zigzag = small_at(u64::from_le_bytes(bytes)).map(|(bits, _)| bits);
                    assert_eq!(zigzag.map(not_negative), negative, "{bytes:02x?}");
                }
            }
        }
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (-64, &[127]),
            (64, &[0x80, 1]),
            (-8192, &[0xff, 0x7f]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            assert_eq!(&encoded(value)[..], bytes, "{value}");
        }
    }

    #[test]
    fn overlong_and_cut_values_are_refused() {
        for bytes in [&[][..], &[0x80], &[0x80; 4], &[0x80; 5], &[0x80, 0x80, 0x80, 0x80, 0x10]] {
            assert_eq!(take_int(&mut &bytes[..]), None, "{bytes:?}");
        }
        let mut six = [0x80; 6];
        six[5] = 0;
        assert_eq!(take_int(&mut &six[..]), None);
        for last in [2, 0x7f, 0x80, 0xff] {
            let mut ten = [0x80; 10];
            ten[9] = last;
            assert_eq!(take_long(&mut &ten[..]), None, "{last}");
        }
        let mut eleven = [0x80; 11];
        eleven[10] = 0;
        assert_eq!(take_long(&mut &eleven[..]), None);
    }
}
