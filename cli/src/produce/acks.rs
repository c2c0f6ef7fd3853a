//! Waits for the acks in order, and prints each MSN once it is acked.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};

use futures::executor::block_on;
use msglog::Appended;
use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::failure::Failure;

/// Printed MSNs are handed on at the latest when so many bytes are gathered.
const PRINT_BYTES: usize = 64 << 10;

/// How acked MSNs are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Print {
    Nothing,
    Msn,
    PartitionAndMsn,
}

/// Waits for every ack; answers how many records were acked.
///
/// What is acked is printed before anything is waited for. Blocks its thread.
pub(super) fn wait_for_all(
    mut appends: mpsc::Receiver<Appended>,
    print: Print,
) -> Result<u64, Failure> {
    let mut lines = AckLines { print, text: String::new() };
    let mut acked = 0;
    loop {
        let appended = match appends.try_recv() {
            Ok(appended) => appended,
            Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                lines.flush()?;
                match appends.blocking_recv() {
                    Some(appended) => appended,
                    None => break,
                }
            }
        };
        let (partition, msns) = (appended.partition(), appended.msns());
        let ack = appended.ack();
        if !ack.is_acked() {
            lines.flush()?;
        }
        block_on(ack)?;
        acked += msns.end.distance_from(msns.start);
        lines.add(partition, msns.start.get()..msns.end.get());
        if lines.text.len() >= PRINT_BYTES {
            lines.flush()?;
        }
    }
    lines.flush()?;
    Ok(acked)
}

#[derive(Debug)]
struct AckLines {
    print: Print,
    text: String,
}

impl AckLines {
    fn add(&mut self, partition: u32, msns: std::ops::Range<u64>) {
        for msn in msns {
            // Writing to a string does not fail.
            let _ = match self.print {
                Print::Nothing => return,
                Print::Msn => writeln!(self.text, "{msn}"),
                Print::PartitionAndMsn => writeln!(self.text, "{partition}:{msn}"),
            };
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.text.is_empty() {
            return Ok(());
        }
        let mut out = stdout().lock();
        let written = out.write_all(self.text.as_bytes()).and_then(|()| out.flush());
        self.text.clear();
        // Not as output that nobody reads: acks that go nowhere are an error.
        written.map_err(|cause| Failure::io("print acks", cause))
    }
}
