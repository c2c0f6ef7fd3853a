//! What a store is opened with, and the limits of it.

use msglog_core::store::{Access, check};
use msglog_core::{Error, ErrorKind, RecordBatch, Result};

/// The size at which a segment is sealed, unless the options say otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 256 << 20;
/// The smallest size of a segment.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 10;
/// The largest size of a segment: offsets in an index have 31 bits.
pub const SEGMENT_BYTES_MAX: u64 = (1 << 31) - 1;
/// The bytes between two entries of an index, unless the options say otherwise.
pub const INDEX_INTERVAL_BYTES_DEFAULT: u64 = 4096;
/// The most bytes between two entries of an index.
pub const INDEX_INTERVAL_BYTES_MAX: u64 = 1 << 30;
/// How many segment files are held open, unless the options say otherwise.
pub const OPEN_FILES_MAX_DEFAULT: usize = 512;
/// The fewest segment files that can be held open.
pub const OPEN_FILES_MAX_MIN: usize = 4;
/// The synced bytes between two checkpoints of a partition, unless the options say otherwise.
pub const CHECKPOINT_BYTES_DEFAULT: u64 = 32 << 20;
/// The fewest bytes between two checkpoints.
pub const CHECKPOINT_BYTES_MIN: u64 = 1 << 10;
/// The most zeros ahead of what is written, unless the options say otherwise.
pub const ZEROS_AHEAD_BYTES_DEFAULT: u64 = 8 << 20;
/// The largest encoded batch; also bounded by the size of a segment.
pub const BATCH_BYTES_MAX: u64 = 64 << 20;
/// The largest document.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// How a store is opened.
///
/// ```
/// use msglog_fs::FsOptions;
///
/// let mut options = FsOptions::default();
/// options.segment_bytes = 64 << 20;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct FsOptions {
    /// For reading or for writing.
    pub access: Access,
    /// The size at which a segment is sealed, in bytes; a bound of the largest batch too.
    pub segment_bytes: u64,
    /// Bytes of a segment between two entries of its index.
    pub index_interval_bytes: u64,
    /// How many segment files are held open; those with unsynced bytes come on top.
    pub open_files_max: usize,
    /// Refuse to open a partition in which acknowledged data was damaged, and to read over damage.
    pub strict: bool,
    /// Bytes between two checkpoints: about what is scanned when a partition is opened after a
    /// crash. What nobody asks to sync is synced after as many, but not more than once a second.
    pub checkpoint_bytes: u64,
    /// The most bytes of zeros ahead of what is written, in the active segment and in the next one,
    /// of a partition that is synced; 0 for none.
    ///
    /// A sync of bytes that overwrite zeros costs about half of one that makes the file grow. The
    /// active segment gets as many as it holds bytes, in the background; the next one gets them
    /// when the active one is half full. They are written and synced as everything else is, so a
    /// disk that is busy all the time does that twice: where syncs cover 512 KiB or more there are
    /// none. Where there are pauses, as many as a burst brings are worth it: `segment_bytes`
    /// prepares whole segments.
    pub zeros_ahead_bytes: u64,
    /// Read everything when a partition is opened, not only what lies past its checkpoint: finds
    /// all damage at once, at the cost of reading the partition.
    pub full_scan: bool,
    /// Do the housekeeping on a thread of the store; else the calls that cause it do it.
    pub background: bool,
}

impl Default for FsOptions {
    fn default() -> Self {
        Self {
            access: Access::Write,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            index_interval_bytes: INDEX_INTERVAL_BYTES_DEFAULT,
            open_files_max: OPEN_FILES_MAX_DEFAULT,
            strict: false,
            checkpoint_bytes: CHECKPOINT_BYTES_DEFAULT,
            zeros_ahead_bytes: ZEROS_AHEAD_BYTES_DEFAULT,
            full_scan: false,
            background: true,
        }
    }
}

impl FsOptions {
    /// The default options for this access.
    pub fn new(access: Access) -> Self {
        Self { access, ..Self::default() }
    }

    /// The largest batch of a store with these options.
    pub fn batch_bytes_max(&self) -> u64 {
        BATCH_BYTES_MAX.min(self.segment_bytes)
    }

    pub(crate) fn check_batch_sizes(&self, batches: &[RecordBatch]) -> Result<()> {
        let bytes_max = usize::try_from(self.batch_bytes_max()).unwrap_or(usize::MAX);
        check::batch_sizes(batches, bytes_max)
    }

    /// Checks every limit.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the option that is out of range.
    pub fn check(&self) -> Result<()> {
        let files = self.open_files_max as u64;
        within("segment_bytes", self.segment_bytes, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)?;
        let interval = self.index_interval_bytes;
        within("index_interval_bytes", interval, 1, INDEX_INTERVAL_BYTES_MAX)?;
        within("open_files_max", files, OPEN_FILES_MAX_MIN as u64, u64::MAX)?;
        within("checkpoint_bytes", self.checkpoint_bytes, CHECKPOINT_BYTES_MIN, u64::MAX)
    }
}

fn within(name: &str, value: u64, min: u64, max: u64) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let why = format!("{name} {value} is out of range ({min} to {max})");
    Err(Error::new(ErrorKind::Invalid, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_at_the_limits_are_taken_and_beyond_them_invalid() {
        let with = |segment_bytes| FsOptions { segment_bytes, ..FsOptions::default() }.check();
        assert!(with(SEGMENT_BYTES_MIN).is_ok() && with(SEGMENT_BYTES_MAX).is_ok());
        for segment_bytes in [SEGMENT_BYTES_MIN - 1, SEGMENT_BYTES_MAX + 1] {
            let error = with(segment_bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("segment_bytes"), "{error}");
        }
        let error = FsOptions { open_files_max: 3, ..FsOptions::default() }.check().unwrap_err();
        assert!(error.to_string().contains("open_files_max"), "{error}");
    }
}
