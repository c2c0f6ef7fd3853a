//! The input of produce: lines read and parsed on a thread of their own, a few batches ahead.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;
use std::thread;

use bytes::Bytes;
use memchr::memmem;
use msglog::Message;
use tokio::sync::mpsc;

use super::lines::{LineLimits, Lines};
use crate::failure::Failure;
use crate::json;

/// How many batches are read ahead.
const BATCHES_AHEAD: usize = 4;
/// The longest line; the log's own limit of a message lies below.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Input {
    Stdin,
    /// A file, and its size when it is one that has a size.
    File(File, Option<u64>),
}

/// How lines become messages.
#[derive(Clone, Debug)]
pub(super) enum Parser {
    /// The line is the payload, after a key if a separator says so.
    Raw { key_separator: Option<String> },
    /// The line is a record in JSON.
    Json,
}

/// Messages in the order of their lines.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    /// The partition that each line names; empty for raw lines.
    pub(super) named_partitions: Vec<Option<u32>>,
    /// The number of the first line, counted from 1.
    pub(super) first_line: u64,
    /// Bytes of input, newlines included.
    pub(super) input_bytes: u64,
}

impl Input {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stdin) };
        let failed = |cause| Failure::io(format!("open `{}`", path.display()), cause);
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            return Err(Failure::Input(format!("`{}` is a folder", path.display())));
        }
        Ok(Self::File(file, about.is_file().then_some(about.len())))
    }

    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Stdin => None,
            Self::File(_, size) => *size,
        }
    }

    /// Starts to read; ends with the input, an error, or when nobody takes any more.
    pub(super) fn start(
        self,
        parser: Parser,
        lines_max: usize,
        answer_bytes: usize,
    ) -> mpsc::Receiver<Result<Batch, Failure>> {
        let limits = LineLimits { lines_max, answer_bytes, line_bytes_max: LINE_BYTES_MAX };
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        thread::spawn(move || match self {
            Self::Stdin => read(Lines::new(stdin(), limits), &parser, &sender),
            Self::File(file, _) => read(Lines::new(file, limits), &parser, &sender),
        });
        receiver
    }
}

fn read(
    mut lines: Lines<impl Read>,
    parser: &Parser,
    sender: &mpsc::Sender<Result<Batch, Failure>>,
) {
    let mut first_line = 1;
    loop {
        let next = match lines.next_lines() {
            Ok(next) if next.is_empty() => return,
            Ok(next) => next,
            Err(cause) => {
                let failure = Failure::io(format!("read line {first_line}"), cause);
                // Nobody hears it when the command has ended already.
                let _ = sender.blocking_send(Err(failure));
                return;
            }
        };
        let count = next.len() as u64;
        let (batch, failure) = parser.parse(next, first_line);
        first_line += count;
        if sender.blocking_send(Ok(batch)).is_err() {
            return;
        }
        if let Some(failure) = failure {
            let _ = sender.blocking_send(Err(failure));
            return;
        }
    }
}

impl Parser {
    /// The messages of these lines, up to the first that is none.
    fn parse(&self, lines: Vec<Bytes>, first_line: u64) -> (Batch, Option<Failure>) {
        let mut batch = Batch { first_line, ..Batch::default() };
        batch.messages.reserve(lines.len());
        for (line, number) in lines.into_iter().zip(first_line..) {
            batch.input_bytes += line.len() as u64 + 1;
            match self {
                Self::Raw { key_separator } => {
                    batch.messages.push(raw_message(line, key_separator.as_deref()));
                }
                Self::Json => match json::parse_message(&line) {
                    Ok((message, partition)) => {
                        batch.messages.push(message);
                        batch.named_partitions.push(partition);
                    }
                    Err(why) => {
                        let failure = Failure::Input(format!("line {number} is no record: {why}"));
                        return (batch, Some(failure));
                    }
                },
            }
        }
        (batch, None)
    }
}

fn raw_message(line: Bytes, key_separator: Option<&str>) -> Message {
    let found = key_separator.and_then(|separator| {
        memmem::find(&line, separator.as_bytes()).map(|at| (at, at + separator.len()))
    });
    match found {
        Some((key_end, start)) => Message {
            key: Some(line.slice(..key_end)),
            payload: Some(line.slice(start..)),
            ..Message::default()
        },
        None => Message { payload: Some(line), ..Message::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_what_stands_before_the_first_separator() {
        let parse = |line: &'static str| raw_message(Bytes::from(line), Some(" => "));
        assert_eq!(parse("a => b => c"), Message::new("b => c").with_key("a"));
        assert_eq!(parse(" => b"), Message::new("b").with_key(""));
        assert_eq!(parse("no key"), Message::new("no key"));
    }

    #[test]
    fn lines_before_one_that_is_no_record_are_kept() {
        let lines = [r#"{"payload":"a"}"#, "nonsense", r#"{"payload":"b"}"#];
        let (batch, failure) = Parser::Json.parse(lines.map(Bytes::from).to_vec(), 10);
        assert_eq!(batch.messages, [Message::new("a")]);
        assert!(failure.unwrap().to_string().contains("line 11"));
    }
}
