//! The LZ4 frame format, in independent blocks of 64 KiB, which is all that Kafka's clients read.

use std::io::{self, Write};

use bytes::{BufMut, BytesMut};
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Failure, inflate};

/// How much larger than their LZ4 form records are expected to be.
const RATIO_GUESS: usize = 3;

pub(super) fn compress(records: &[u8], out: &mut BytesMut) -> io::Result<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, out.writer());
    encoder.write_all(records)?;
    encoder.finish()?;
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut input = bytes;
    let guess = bytes.len().saturating_mul(RATIO_GUESS);
    let records = inflate::read_all(FrameDecoder::new(&mut input), guess, bytes_max)?;
    // One frame is all there may be: the decoder would silently stop before a second one.
    if !input.is_empty() {
        return Err(Failure::Damaged("bytes after the frame".into()));
    }
    Ok(records)
}
