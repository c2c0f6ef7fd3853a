//! Zigzag varints of the record format: 7 bits a byte, the least significant first.

use bytes::BufMut;

/// Most bytes of a 32-bit varint.
const INT_BYTES_MAX: usize = 5;
/// Most bytes of a 64-bit varint.
const LONG_BYTES_MAX: usize = 10;

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
