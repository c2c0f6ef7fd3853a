//! Checks a stored batch whose bytes come in pieces, so that nobody has to hold all of them.

use std::fmt;

use crc_fast::{CrcAlgorithm, Digest};

use super::header::{BatchHeader, CRC_START};

/// The check of one stored batch: whether its bytes match the CRC in its header.
///
/// Takes them in order, in pieces of any length; costs no memory beside them.
///
/// ```
/// use msglog_core::batch::{BatchBuilder, BatchCheck, BatchHeader, BatchOptions};
/// use msglog_core::Timestamp;
///
/// # fn main() -> msglog_core::Result<()> {
/// let mut builder = BatchBuilder::new(BatchOptions::default());
/// builder.push("two coffees", Timestamp::from_millis(1))?;
/// let stored = builder.build()?.to_bytes();
/// let mut check = BatchCheck::of(BatchHeader::parse(&stored)?);
/// for piece in stored.chunks(7) {
///     check.push(piece);
/// }
/// assert!(check.is_passed());
/// # Ok(())
/// # }
/// ```
pub struct BatchCheck {
    header: BatchHeader,
    /// How many bytes were taken.
    taken: usize,
    /// The CRC of what was taken, where that was more than one piece.
    digest: Option<Digest>,
    passed: bool,
}

impl fmt::Debug for BatchCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchCheck")
            .field("header", &self.header)
            .field("taken", &self.taken)
            .field("passed", &self.passed)
            .finish_non_exhaustive()
    }
}

impl BatchCheck {
    /// The check of the batch that begins with this header.
    pub fn of(header: BatchHeader) -> Self {
        Self { header, taken: 0, digest: None, passed: false }
    }

    /// How many bytes of the batch were not taken yet.
    pub fn left(&self) -> usize {
        self.header.encoded_len().saturating_sub(self.taken)
    }

    /// Takes the next bytes of the batch, from its first one on; what goes beyond its end is not
    /// looked at.
    pub fn push(&mut self, piece: &[u8]) {
        let piece = piece.get(..self.left()).unwrap_or(piece);
        let covered = piece.get(CRC_START.saturating_sub(self.taken)..).unwrap_or_default();
        let is_first = self.taken == 0;
        self.taken += piece.len();
        let is_last = self.left() == 0;
        let crc = if is_first && is_last {
            crc_fast::crc32_iscsi(covered)
        } else {
            let fresh = || Digest::new(CrcAlgorithm::Crc32Iscsi);
            let digest = self.digest.get_or_insert_with(fresh);
            digest.update(covered);
            if !is_last {
                return;
            }
            u32::try_from(digest.finalize()).unwrap_or_default()
        };
        self.passed = crc == self.header.crc;
    }

    /// Whether the whole batch was taken, and is what was built.
    pub fn is_passed(&self) -> bool {
        self.passed
    }
}
