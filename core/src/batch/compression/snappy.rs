//! Snappy in the framing of the Java library that Kafka's own client uses (xerial's `snappy-java`).
//!
//! A magic and two version numbers, then blocks: length (u32, big-endian), raw Snappy. Some
//! clients write one raw block without any framing, which is read too.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::Failure;

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
/// The version written, and the oldest that can read it.
const VERSION: u32 = 1;
const FRAME_HEADER_BYTES: usize = 16;
const BLOCK_BYTES: usize = 32 << 10;

pub(super) fn compress(records: &[u8], out: &mut BytesMut) -> io::Result<()> {
    out.put_slice(MAGIC);
    out.put_u32(VERSION);
    out.put_u32(VERSION);
    let mut encoder = Encoder::new();
    let mut room = vec![0; max_compress_len(records.len().min(BLOCK_BYTES))];
    for block in records.chunks(BLOCK_BYTES) {
        let length = encoder.compress(block, &mut room).map_err(io::Error::other)?;
        out.put_u32(u32::try_from(length).map_err(io::Error::other)?);
        out.put_slice(room.get(..length).unwrap_or_default());
    }
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = Decoder::new();
    let mut records = Vec::new();
    if !bytes.starts_with(MAGIC) {
        decompress_block(&mut decoder, bytes, &mut records, bytes_max)?;
        return Ok(records);
    }
    let mut blocks = bytes.get(FRAME_HEADER_BYTES..).ok_or_else(|| damaged("header is cut"))?;
    while !blocks.is_empty() {
        let length = blocks.try_get_u32().map_err(damaged)?;
        let length = usize::try_from(length).map_err(damaged)?;
        let (block, rest) =
            blocks.split_at_checked(length).ok_or_else(|| damaged("block is cut"))?;
        decompress_block(&mut decoder, block, &mut records, bytes_max)?;
        blocks = rest;
    }
    Ok(records)
}

/// Appends the records of one block, whose claimed size is checked before any room is made.
fn decompress_block(
    decoder: &mut Decoder,
    block: &[u8],
    records: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<(), Failure> {
    let start = records.len();
    let length = decompress_len(block).map_err(damaged)?;
    let end = start.saturating_add(length);
    if end > bytes_max {
        return Err(Failure::TooLarge);
    }
    if end > records.capacity() {
        let room = end.max(start.saturating_mul(2)).min(bytes_max);
        records.reserve_exact(room - start);
    }
    records.resize(end, 0);
    let room = records.get_mut(start..).unwrap_or_default();
    decoder.decompress(block, room).map_err(damaged)?;
    Ok(())
}

fn damaged(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::Damaged(cause.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_room_than_the_limit_is_made_for_many_blocks() {
        for size in [BLOCK_BYTES * 2, 100_000, 200_000] {
            let records = vec![7; size];
            let mut out = BytesMut::new();
            compress(&records, &mut out).unwrap();
            let read = decompress(&out, size).unwrap_or_default();
            assert!(read == records && read.capacity() <= size, "{size}: {}", read.capacity());
            assert!(matches!(decompress(&out, size - 1), Err(Failure::TooLarge)));
        }
    }
}
