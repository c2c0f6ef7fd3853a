//! A peer as a log of lines, for scripts that cut its power or damage its files.
//!
//! `peer_lines PEER append FOLDER FIRST` appends each line of standard input, the first one with the
//! number FIRST, and prints its number when the peer says that it is durable. `peer_lines PEER read
//! FOLDER` prints every line there is. An error that the peer reports ends it with status 2; where
//! it panics instead, the status is 101.

use std::io::{BufRead, Write, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Visit<'a> = &'a mut dyn FnMut(&[u8]);

/// The bytes of a segment, where the peer lets us choose.
const SEGMENT_BYTES: usize = 4096;

trait Peer {
    /// Appends a line; returns when it is durable, as far as the peer knows that.
    fn append(&mut self, number: u64, line: &[u8]) -> Result<(), Failure>;
    fn read(&mut self, visit: Visit<'_>) -> Result<(), Failure>;
}

struct CommitLog(commitlog::CommitLog);

impl Peer for CommitLog {
    fn append(&mut self, _: u64, line: &[u8]) -> Result<(), Failure> {
        self.0.append_msg(line).map_err(debugged)?;
        Ok(self.0.flush()?)
    }

    fn read(&mut self, visit: Visit<'_>) -> Result<(), Failure> {
        use commitlog::message::MessageSet;
        let mut from = 0;
        loop {
            let limit = commitlog::ReadLimit::max_bytes(1 << 20);
            let page = self.0.read(from, limit).map_err(debugged)?;
            let Some(last) = page.iter().last() else { return Ok(()) };
            page.iter().for_each(|message| visit(message.payload()));
            if last.offset() < from {
                return Err("offsets go back".into());
            }
            from = last.offset() + 1;
        }
    }
}

/// okaywal hands records out only while it opens.
#[derive(Debug, Default)]
struct Recovered(Arc<Mutex<Vec<Vec<u8>>>>);

impl okaywal::LogManager for Recovered {
    fn recover(&mut self, entry: &mut okaywal::Entry<'_>) -> std::io::Result<()> {
        while let okaywal::ReadChunkResult::Chunk(mut chunk) = entry.read_chunk()? {
            let line = chunk.read_all()?;
            if !chunk.check_crc()? {
                return Err(std::io::Error::other("a chunk fails its checksum"));
            }
            self.0.lock().expect("lock").push(line);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _: okaywal::EntryId,
        _: &mut okaywal::SegmentReader,
        _: &okaywal::WriteAheadLog,
    ) -> std::io::Result<()> {
        Ok(())
    }
}

struct OkayWal {
    wal: okaywal::WriteAheadLog,
    recovered: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Peer for OkayWal {
    fn append(&mut self, _: u64, line: &[u8]) -> Result<(), Failure> {
        let mut entry = self.wal.begin_entry()?;
        entry.write_chunk(line)?;
        entry.commit()?;
        Ok(())
    }

    fn read(&mut self, visit: Visit<'_>) -> Result<(), Failure> {
        self.recovered.lock().expect("lock").iter().for_each(|line| visit(line));
        Ok(())
    }
}

struct Sled(sled::Db);

impl Peer for Sled {
    fn append(&mut self, number: u64, line: &[u8]) -> Result<(), Failure> {
        self.0.insert(number.to_be_bytes(), line)?;
        self.0.flush()?;
        Ok(())
    }

    fn read(&mut self, visit: Visit<'_>) -> Result<(), Failure> {
        for value in self.0.iter().values() {
            visit(&value?);
        }
        Ok(())
    }
}

fn debugged(error: impl std::fmt::Debug) -> Failure {
    format!("{error:?}").into()
}

fn open(name: &str, folder: &Path) -> Result<Box<dyn Peer>, Failure> {
    Ok(match name {
        "commitlog" => {
            let mut options = commitlog::LogOptions::new(folder);
            options.segment_max_bytes(SEGMENT_BYTES);
            Box::new(CommitLog(commitlog::CommitLog::new(options)?))
        }
        "okaywal" => {
            let recovered = Recovered::default();
            let lines = recovered.0.clone();
            let config = okaywal::Configuration::default_for(folder)
                .preallocate_bytes(SEGMENT_BYTES as u32)
                .checkpoint_after_bytes(u64::MAX / 2);
            Box::new(OkayWal { wal: config.open(recovered)?, recovered: lines })
        }
        "sled" => Box::new(Sled(sled::open(folder)?)),
        _ => return Err(format!("no peer {name}").into()),
    })
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, verb, folder, rest @ ..] = arguments.as_slice() else {
        return Err("usage: peer_lines PEER append|read FOLDER [FIRST]".into());
    };
    let mut peer = open(name, &PathBuf::from(folder))?;
    let mut out = stdout().lock();
    match (verb.as_str(), rest) {
        ("append", [first]) => {
            for (number, line) in (first.parse()?..).zip(stdin().lock().split(b'\n')) {
                peer.append(number, &line?)?;
                writeln!(out, "{number}")?;
                out.flush()?;
            }
            Ok(())
        }
        ("read", []) => peer.read(&mut |line| {
            let _ = out.write_all(line).and_then(|()| out.write_all(b"\n"));
        }),
        _ => Err("append takes the number of the first line, read nothing".into()),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
