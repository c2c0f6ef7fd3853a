//! What an opening has found and nothing proves to be synced: it is written again before a sync
//! counts for it.
//!
//! After a failed sync the operating system shows bytes that the device never got, and says nothing
//! more about them: a later sync of the same file succeeds without writing them. So the first sync
//! writes the same bytes in place, which makes them dirty again. What they replace are the same
//! bytes, or what no sync has covered: a power cut in between takes nothing that was promised.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use msglog_core::{Msn, RecordBatch};

use crate::io::File;
use crate::options::FsOptions;
use crate::scan::{Found, Scanner};
use crate::segment::{Extent, Segment};
use crate::write::write_batches;
use crate::writer::Writer;

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 1 << 20;
/// Batches gathered for one write: each is two parts of it.
const WRITE_BATCHES: usize = 500;

/// The end of a segment that nothing proves to be synced, as an opening has found it.
#[derive(Clone, Debug)]
pub(crate) struct Unproven {
    pub(crate) segment: Arc<Segment>,
    /// How far the segment is filled with what was synced.
    pub(crate) synced: Extent,
    /// How far it was filled at the opening.
    pub(crate) found: Extent,
}

impl Unproven {
    /// How many bytes that are.
    pub(crate) fn bytes(&self) -> u64 {
        self.found.end - self.synced.end
    }

    /// Writes all of it again, where and as it is.
    ///
    /// It is checked on the way: pages that a failed sync has left clean may have been dropped since
    /// the opening, and what the device has instead must not be taken for what was read. What is
    /// missing must be among `holes`.
    ///
    /// # Errors
    ///
    /// `InvalidData` where something else is found than at the opening.
    pub(crate) fn write_again(
        &self,
        file: &dyn File,
        holes: &[Range<Msn>],
        options: &FsOptions,
    ) -> io::Result<()> {
        let (end, limit) = (self.found.end, self.found.next_msn);
        let mut scanner = Scanner::new(file, end, options.batch_bytes_max());
        let mut gathered = Gathered::from(self.synced.end);
        let (mut at, mut expected) = (self.synced.end, self.synced.next_msn);
        while at < end {
            let (place, batch) = match scanner.at(at)? {
                Found::Batch(batch) if batch.base_msn() == expected => (at, batch),
                _ => scanner.next_valid(at, &(expected..limit))?.ok_or_else(changed)?,
            };
            check_missing(&(expected..batch.base_msn()), holes)?;
            (at, expected) = (place + batch.encoded_len() as u64, batch.next_msn());
            gathered.push(batch, place, file)?;
        }
        if expected != limit {
            return Err(changed());
        }
        gathered.write(file)
    }
}

impl Writer {
    /// Syncs what the opening has found and nothing proves to be synced: written again, so that the
    /// sync counts for it. One segment after the other, as there may be more than files can be open.
    pub(crate) fn sync_found(&self, unproven: &[Unproven]) -> io::Result<()> {
        let (files, holes) = (&self.log.files, self.log.holes());
        for found in unproven {
            let file = files.file(&found.segment)?;
            found.write_again(file.as_ref(), &holes, &files.options)?;
            file.sync_data()?;
        }
        Ok(())
    }
}

/// Batches that lie behind each other, to be written at once.
struct Gathered {
    start: u64,
    bytes: usize,
    batches: Vec<RecordBatch>,
}

impl Gathered {
    fn from(start: u64) -> Self {
        Self { start, bytes: 0, batches: Vec::new() }
    }

    fn push(&mut self, batch: RecordBatch, place: u64, file: &dyn File) -> io::Result<()> {
        let continues = self.start + self.bytes as u64 == place;
        if !continues || self.bytes >= WRITE_BYTES || self.batches.len() >= WRITE_BATCHES {
            self.write(file)?;
            self.start = place;
        }
        self.bytes += batch.encoded_len();
        self.batches.push(batch);
        Ok(())
    }

    fn write(&mut self, file: &dyn File) -> io::Result<()> {
        write_batches(file, &self.batches, self.start, true)?;
        self.start += self.bytes as u64;
        self.bytes = 0;
        self.batches.clear();
        Ok(())
    }
}

fn check_missing(missing: &Range<Msn>, holes: &[Range<Msn>]) -> io::Result<()> {
    let is_known = |hole: &Range<Msn>| hole.start <= missing.start && missing.end <= hole.end;
    if missing.is_empty() || holes.iter().any(is_known) { Ok(()) } else { Err(changed()) }
}

/// What was read at the opening is not there any more.
fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what was found when opening has changed since")
}
