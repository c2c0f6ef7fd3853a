//! Prints records to standard output, in large writes and up to a count.

use std::io::{StdoutLock, Write, stdout};

use msglog::Record;

use crate::failure::Failure;
use crate::format::Formatter;

/// Gathered output is written at the latest when it has so many bytes.
const PRINT_BYTES: usize = 128 << 10;

/// Prints records until the count is reached.
#[derive(Debug)]
pub(super) struct Printer {
    formatter: Formatter,
    text: Vec<u8>,
    out: StdoutLock<'static>,
    /// How many may still be printed; no limit when `None`.
    left: Option<u64>,
}

impl Printer {
    pub(super) fn new(formatter: Formatter, count: Option<u64>) -> Self {
        Self { formatter, text: Vec::new(), out: stdout().lock(), left: count }
    }

    /// Whether nothing more is wanted.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Prints a record, at the latest with the next flush.
    pub(super) fn print(&mut self, partition: u32, record: &Record) -> Result<(), Failure> {
        self.formatter.write(partition, record, &mut self.text)?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
        }
        if self.text.len() >= PRINT_BYTES {
            self.write()?;
        }
        Ok(())
    }

    /// Hands everything on.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.write()?;
        self.out.flush().map_err(Failure::Output)
    }

    fn write(&mut self) -> Result<(), Failure> {
        let written = self.out.write_all(&self.text).map_err(Failure::Output);
        self.text.clear();
        written
    }
}
