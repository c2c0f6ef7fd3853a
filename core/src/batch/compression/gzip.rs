//! gzip (RFC 1952).

use std::io::{self, Write};

use bytes::{BufMut, BytesMut};
use flate2::Compression as Level;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Failure, inflate};

/// How much larger than their gzip form records are expected to be.
const RATIO_GUESS: usize = 4;

pub(super) fn compress(records: &[u8], level: Option<i32>, out: &mut BytesMut) -> io::Result<()> {
    let level = level.and_then(|level| u32::try_from(level).ok()).map(Level::new);
    let mut encoder = GzEncoder::new(out.writer(), level.unwrap_or_default());
    encoder.write_all(records)?;
    encoder.finish().map(drop)
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let guess = bytes.len().saturating_mul(RATIO_GUESS);
    inflate::read_all(MultiGzDecoder::new(bytes), guess, bytes_max)
}
