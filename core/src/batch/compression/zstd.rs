//! Zstandard (RFC 8878).

use std::io;

use bytes::BytesMut;
use zstd::bulk;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::compress_bound;

use super::{Failure, inflate};

/// How much larger than their Zstandard form records are expected to be.
const RATIO_GUESS: usize = 4;

pub(super) fn compress(records: &[u8], level: Option<i32>, out: &mut BytesMut) -> io::Result<()> {
    let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
    let start = out.len();
    out.resize(start + compress_bound(records.len()), 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = bulk::compress_to_buffer(records, room, level)?;
    out.truncate(start + written);
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let decoder = Decoder::with_buffer(bytes).map_err(|cause| Failure::Damaged(cause.into()))?;
    let guess = bytes.len().saturating_mul(RATIO_GUESS);
    inflate::read_all(decoder, guess, bytes_max)
}
